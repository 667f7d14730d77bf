"""Turns a Message into the bytes of a mail.

The same message and settings give the same bytes, so a mail that is sent twice is one
mail for whoever sorts by Message-ID.  The bytes are ASCII, which any server accepts.
"""

from __future__ import annotations

import functools
import re
from datetime import UTC

from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.settings import Mail, Settings
from lib.net.address import ascii_domain

#: Holds the token by which we find our own mail again.
ROUND_TRIP_HEADER = "X-Checker-Round-Trip"
#: Longer subjects are cut; a phone shows some forty characters of them.
SUBJECT_LENGTH = 200
SERVERNAME_LENGTH = 60

#: At least two labels, the last of which is not a number: ``v1.2`` is not a domain.
_DOMAIN = re.compile(r"([a-z0-9][a-z0-9-]{0,62}\.)+[a-z][a-z0-9-]{1,62}", re.I | re.A)
#: Control characters and every line end that Python knows: none may be in a header.
_LINE_BREAKERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def compose(message: Message, settings: Settings, account: Mail | None = None) -> bytes:
    """Return the whole mail, with CRLF and in ASCII.

    ``account``: another one than that of the settings, which gives the From.

    A recipient whose name before the @ is not ASCII is named in To the way RFC 6857
    does it, since only some servers would take it as it is.
    """
    from email.headerregistry import HeaderRegistry, MessageIDHeader
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import format_datetime

    headers = HeaderRegistry()
    # As unstructured text an id longer than a line would be encoded, and lost.
    for name in ("in-reply-to", "references"):
        headers.map_to_type(name, MessageIDHeader)  # type: ignore[arg-type]  # a mixin
    policy = SMTP.clone(cte_type="7bit", header_factory=headers)

    mail = EmailMessage(policy=policy)
    # An offset with seconds, or of a day, is none that a mail may have.
    mail["Date"] = format_datetime(message.born_at.astimezone(UTC))
    mail["Message-ID"] = _id(message.message_id, settings)
    mail["Subject"] = _subject(message, settings)
    mail["From"] = _from(settings, account)
    mail["To"] = tuple(_recipient(address) for address in message.to) or _nobody()
    mail["Auto-Submitted"] = "auto-generated"
    if message.kind is MessageKind.ROUND_TRIP:
        mail[ROUND_TRIP_HEADER] = _id_word(message.message_id)
    threads = not settings.mail.bustgmailthreading
    if threads and message.thread not in (None, message.message_id):
        mail["In-Reply-To"] = _id(str(message.thread), settings)
        mail["References"] = _id(str(message.thread), settings)
    mail.set_content(_body(message.text))
    return mail.as_bytes()


def sender_of(settings: Settings, account: Mail | None = None) -> str:
    """Return the address the mail comes from, in ASCII.

    It is the account's sender, or user where that is an address; else checker@ this
    server.
    """
    mail = account or settings.mail
    try:
        address = wire_address(mail.sender or mail.user)
    except ValueError:
        return f"checker@{_server_domain(settings) or _full_host_name()}"
    if address.isascii():
        return address
    return f"checker@{address.rpartition('@')[2]}"


def wire_address(address: str) -> str:
    """Return the address as SMTP has it: the domain in ASCII, the rest as it is.

    Raise ValueError if it is no address, or could be mistaken for more than one.
    """
    local, _at, domain = address.rpartition("@")
    plain = address.isprintable() and not re.search(r"[\s<>,;]", address)
    if not (local and domain and plain):
        raise ValueError(f"{address[:80]!r} is not a mail address")
    return f"{local}@{ascii_domain(domain)}"


def one_line(text: str, length: int) -> str:
    """Return the text as one line of a header, at most ``length`` characters.

    Nothing in it can end the line or be decoded into something that does.
    """
    words = " ".join(_LINE_BREAKERS.sub(" ", encodable(text)).split())
    # Python's email package decodes encoded words that it finds in a header's value,
    # and some versions then write the line ends that were inside.
    words = words.replace("=?", "= ?")
    if len(words) <= length:
        return words
    cut = words[: length - 1]
    at_word, _space, rest = cut.rpartition(" ")
    return f"{at_word if len(rest) < length // 4 else cut}…"


def encodable(text: str) -> str:
    r"""Return the text with what UTF-8 cannot hold (lone surrogates) as \udcNN."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _subject(message: Message, settings: Settings) -> str:
    words = f"[{one_line(settings.servername, SERVERNAME_LENGTH)}] {message.subject}"
    subject = one_line(words, SUBJECT_LENGTH)
    if settings.mail.bustgmailthreading:
        # Gmail threads by subject as well; the id is random.
        return f"{subject} ({_id_word(message.message_id)[:6]})"
    return subject


def _body(text: str) -> str:
    text = encodable(text).replace("\r\n", "\n").replace("\r", "\n")
    # Servers may drop a mail with a NUL in it, or cut it there.
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if text.endswith("\n") else f"{text}\n"


def _from(settings: Settings, account: Mail | None) -> object:
    from email.headerregistry import Address

    name = f"{one_line(settings.servername, SERVERNAME_LENGTH)} (Checker)"
    local, _at, domain = sender_of(settings, account).rpartition("@")
    return Address(name.strip(), username=local, domain=domain)


def _recipient(address: str) -> object:
    from email.headerregistry import Address, Group

    try:
        wire = wire_address(address)
    except ValueError:
        wire = ""
    if wire and wire.isascii():
        local, _at, domain = wire.rpartition("@")
        return Address(username=local, domain=domain)
    return Group(one_line(address, SERVERNAME_LENGTH))


def _nobody() -> object:
    from email.headerregistry import Group

    return Group("undisclosed-recipients")


def _id(message_id: str, settings: Settings) -> str:
    domain = _id_domain(settings)
    return f"<{_id_word(message_id)}@{domain}>"


def _id_word(message_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "", message_id).strip(".")[:64] or "message"


def _id_domain(settings: Settings) -> str:
    """Return the domain of message ids.

    No name is looked up for it: with DNS away an alert that is sent again would get
    another id, and a recovery would not find its alert.
    """
    import socket

    try:
        domain = wire_address(settings.mail.user).rpartition("@")[2]
    except ValueError:
        domain = _server_domain(settings) or socket.gethostname()
    return domain if re.fullmatch(r"[A-Za-z0-9.-]+", domain) else "checker.invalid"


def _server_domain(settings: Settings) -> str:
    """Return the server's name if it is a domain, or nothing."""
    try:
        domain = ascii_domain(settings.servername.strip())
    except ValueError:
        return ""
    return domain if _DOMAIN.fullmatch(domain) else ""


@functools.cache
def _full_host_name() -> str:
    import socket

    return socket.getfqdn()
