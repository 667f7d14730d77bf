"""Turns a Message into the bytes of a mail.

The same message and settings give the same bytes, so a mail that is sent twice is one
mail for whoever sorts by Message-ID.  The bytes are ASCII, which any server accepts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
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
#: The longest line of a header, where it can be folded (RFC 5322, section 2.1.1).
LINE_LENGTH = 76
#: So many bytes in base64 are an encoded word that fits behind "Subject: ".
ENCODED_BYTES = 39

#: At least two labels, the last of which is not a number: ``v1.2`` is not a domain.
_DOMAIN = re.compile(r"([a-z0-9][a-z0-9-]{0,62}\.)+[a-z][a-z0-9-]{1,62}", re.I | re.A)
#: What a header may have without quotes (RFC 5322, section 3.2.3).
_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+", re.A)
_WORDS = re.compile(rf"{_ATOM.pattern}(\.{_ATOM.pattern})*", re.A)
#: Control characters and every line end that Python knows: none may be in a header.
_LINE_BREAKERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def compose(message: Message, settings: Settings, account: Mail | None = None) -> bytes:
    """Return the whole mail, with CRLF and in ASCII.

    ``account``: another one than that of the settings, which gives the From.

    A recipient whose name before the @ is not ASCII is named in To the way RFC 6857
    does it, since only some servers would take it as it is.
    """
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import format_datetime

    message_id = _id(message.message_id, settings)
    headers = [
        # An offset with seconds, or of a day, is none that a mail may have.
        ("Date", [format_datetime(message.born_at.astimezone(UTC))]),
        ("Message-ID", [message_id]),
        ("Subject", _encoded(_subject(message, settings))),
        ("From", _from(settings, account)),
        ("To", _separated(map(_recipient, message.to)) or ["undisclosed-recipients:;"]),
        ("Auto-Submitted", ["auto-generated"]),
    ]
    if message.kind is MessageKind.ROUND_TRIP:
        headers.append((ROUND_TRIP_HEADER, [_id_word(message.message_id)]))
    threads = not settings.mail.bustgmailthreading
    if threads and message.thread not in (None, message.message_id):
        thread = _id(str(message.thread), settings)
        headers += [("In-Reply-To", [thread]), ("References", [thread])]
    content = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    content.set_content(_body(message.text))
    head = "".join(_folded(name, parts) for name, parts in headers)
    return head.encode("ascii") + content.as_bytes()


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


def _from(settings: Settings, account: Mail | None) -> list[str]:
    name = f"{one_line(settings.servername, SERVERNAME_LENGTH)} (Checker)".strip()
    return [*_phrase(name), f"<{_shown_address(sender_of(settings, account))}>"]


def _recipient(address: str) -> list[str]:
    """Return how To names a recipient: not all can be an address there (RFC 6857)."""
    try:
        wire = wire_address(address)
    except ValueError:
        wire = ""
    if wire and wire.isascii():
        return [_shown_address(wire)]
    *parts, last = _phrase(one_line(address, SERVERNAME_LENGTH))
    return [*parts, f"{last}:;"]


def _shown_address(address: str) -> str:
    """Return an address as a header has it: what could be read otherwise is quoted."""
    local, _at, domain = address.rpartition("@")
    return f"{local if _WORDS.fullmatch(local) else _quoted(local)}@{domain}"


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


# Headers.  Python's email package folds them wrongly: up to 3.12 it loses a blank
# between two encoded words, and 3.13 writes one next to the other, which RFC 2047
# forbids.  So it writes none of ours.


def _folded(name: str, parts: Iterable[str]) -> str:
    """Return a header whose parts are separated by a blank, or by a fold."""
    lines = [f"{name}:"]
    for part in parts:
        if len(lines[-1]) + 1 + len(part) > LINE_LENGTH and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {part}"
    return "\r\n".join(lines) + "\r\n"


def _encoded(text: str) -> list[str]:
    """Return the words of a line; from the first to the last that a header cannot
    hold, encoded words, which hold the blanks between them (RFC 2047, section 6.2).
    """
    words = text.split(" ")
    bad = [at for at, word in enumerate(words) if not _fits(word)]
    if not bad:
        return words
    first, after = bad[0], bad[-1] + 1
    encoded = _encoded_words(" ".join(words[first:after]))
    return [*words[:first], *encoded, *words[after:]]


def _fits(word: str) -> bool:
    # After an end of an encoded word some readers drop the blank before the next.
    is_plain = word.isascii() and not ("=?" in word or "?=" in word)
    return is_plain and len(word) < LINE_LENGTH


def _encoded_words(text: str) -> list[str]:
    """Return the text as encoded words of whole letters, 75 characters at most each."""
    from email.charset import Charset

    # It takes the shorter of the two encodings.
    utf8 = Charset("utf-8")
    parts, part = [], ""
    for letter in text:
        if len((part + letter).encode()) > ENCODED_BYTES:
            parts.append(part)
            part = ""
        part += letter
    return [utf8.header_encode(part) for part in (*parts, part) if part]


def _phrase(name: str) -> list[str]:
    """Return a name as it stands before an address."""
    if not name.isascii():
        return _encoded_words(name)
    if all(map(_ATOM.fullmatch, name.split(" "))):
        return name.split(" ")
    return [_quoted(name)]


def _separated(lists: Iterable[list[str]]) -> list[str]:
    """Return the parts of a list of addresses, a comma after each but the last."""
    parts: list[str] = []
    for address in lists:
        if parts:
            parts[-1] += ","
        parts += address
    return parts


def _id(message_id: str, settings: Settings) -> str:
    domain = _id_domain(settings)
    return f"<{_id_word(message_id)}@{domain}>"


def _id_word(message_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "", message_id).strip(".")[:64] or "message"


def _id_domain(settings: Settings) -> str:
    """Return the domain of message ids: the sender's, for filters compare the two.

    A mail that goes by the backup account keeps its id.
    No name is looked up for it: with DNS away an alert that is sent again would get
    another id, and a recovery would not find its alert.
    """
    import socket

    try:
        mail = settings.mail
        domain = wire_address(mail.sender or mail.user).rpartition("@")[2]
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
