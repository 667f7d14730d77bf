"""What a mail server's no means, for the program and for people.

Pure functions of what the server said.  To teach Checker another provider's way out,
add a row to LOGIN_REMEDIES.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lib.core.settings import Mail

#: Who wants something else than the account's password, by the end of the host's name.
LOGIN_REMEDIES = {
    "gmail.com": "Google takes no account password here: make an app password at "
    "https://myaccount.google.com/apppasswords and set it as [email] pass",
    "office365.com": "allow Authenticated SMTP for the mailbox in the Microsoft 365 "
    "admin center, and check [email] user and pass",
    "outlook.com": "make an app password in the Microsoft account's security settings",
    "yahoo.com": "make an app password in the Yahoo account's security settings",
    "mail.me.com": "make an app-specific password at https://account.apple.com",
    "fastmail.com": "make an app password in Fastmail's privacy and security settings",
}
LOGIN_REMEDY = (
    "check [email] user and pass; with two-step sign-in most providers want an app "
    "password"
)

#: What to do about a server that is not reached, by the step of Unreachable; {option}
#: is the one that names the server, without the word server.
REACH_REMEDIES = {
    "resolve": "check [email] {option}server, and this machine's DNS",
    "connect": "check [email] {option}server and {option}port, and the network between",
}
#: What to do about a server's TLS, by TlsFault of lib.net.tls_errors, slow to import;
#: {option} is the one that names the server.
TLS_REMEDIES = {
    "expired": "it must be renewed on the server; check this machine's clock too",
    "not yet valid": "check this machine's clock",
    "self-signed": "[email] cafile can name it",
    "unknown issuer": "[email] cafile can name it",
    "missing intermediate": "the server must be set up to send it",
    "wrong name": "set [email] {option} to a name it is for",
}

_MORE_TLS = "the server wants more encryption: try smtpsecurity = tls, smtpport = 465"
#: What to do about a refused login, by its code or its enhanced status (RFC 4954,
#: section 6, and RFC 5248).
AUTH_REMEDIES = {
    "432": "the server wants one login by another program first, with PLAIN",
    "4.7.12": "the server wants one login by another program first, with PLAIN",
    "525": "the account is disabled: ask the server's admin",
    "5.7.13": "the account is disabled: ask the server's admin",
    "534": "the server finds this login too weak; it may want an app password, or a "
    "mechanism other than CRAM-MD5, PLAIN and LOGIN",
    "530": _MORE_TLS,
    "538": _MORE_TLS,
    "5.7.11": _MORE_TLS,
}
#: What to do where not the login was refused but the way of logging in.
NO_MECHANISM = (
    "it refuses the ways to log in that it offers; user and pass may be right.  "
    "A login is mostly taken at smtpport 587 or 465"
)
#: What an IMAP server's response code says of a login or of a folder (RFC 5530): which
#: of the problems of LookFailed it is, and what to do.  Those of "unreachable" pass.
IMAP_CODES = {
    "UNAVAILABLE": ("unreachable", ""),
    "INUSE": ("unreachable", ""),
    "LIMIT": ("unreachable", ""),
    "SERVERBUG": ("unreachable", ""),
    "EXPUNGEISSUED": ("unreachable", ""),
    "AUTHENTICATIONFAILED": ("login failed", LOGIN_REMEDY),
    "EXPIRED": ("login failed", "the password has expired: renew it in [email]"),
    "AUTHORIZATIONFAILED": (
        "login failed",
        "user and pass are right, but not for this mailbox: check [email] user",
    ),
    "PRIVACYREQUIRED": (
        "refused",
        "the server wants TLS: set [email] imapsecurity = starttls or tls",
    ),
    "CONTACTADMIN": ("refused", "ask the server's admin"),
    "NOPERM": ("refused", "the account may not do that: ask the server's admin"),
    "CORRUPTION": ("refused", "the mailbox is damaged: ask the server's admin"),
    "OVERQUOTA": ("refused", "the mailbox is full"),
    "CLIENTBUG": ("refused", ""),
    "CANNOT": ("refused", ""),
    "ALREADYEXISTS": ("refused", ""),
    "NONEXISTENT": ("folder missing", ""),
    "TRYCREATE": ("folder missing", ""),
}
#: A no without such a code that may be a yes later.
_NOT_NOW = re.compile(
    r"try again|later\b|too many|maximum (number|connection)|simultaneous|concurrent"
    r"|connection limit|temporar|unavailable|not available|in use|busy|overload"
    r"|internal (server )?error|server error|timed? ?out"
    # As Gmail says it, and as Microsoft 365 does of a login that it has accepted.
    r"|exceeded .*limit|limits? (exceeded|reached)|authenticated but not connected",
    re.I,
)
_NOT_EVER = re.compile(r"invalid|incorrect|wrong|bad (user|login|password)", re.I)
#: Codes to AUTH that speak of the command, the mechanism or TLS, not of user and
#: password.
_ABOUT_COMMAND = (500, 501, 502, 503, 504, 530, 538)
#: Codes that refuse user and password at any step.
_ABOUT_LOGIN = (525, 534, 535)
#: Refusals that speak of us or of the day, not of this mail or this address.
_ABOUT_US = re.compile(r"^5\d\d 5\.4\.5\b|^(503|530|534|535|538)\b|relay", re.I)
#: Refusals of the sender (RFC 3463), also as Postfix and Exim put them off until they
#: know a recipient.
_OF_SENDER = re.compile(
    r"^5\d\d 5\.1\.[78]\b|sender (address rejected|verify fail)", re.I
)
#: Refusals of the account or the domain for which the server has heard the whole mail:
#: RFC 5248, 7372 and 7505, and what Microsoft 365, Amazon SES and the like say.
_OF_ACCOUNT = re.compile(
    r"^5\d\d 5\.7\.(13|2\d|60|[57]\d\d)\b|not verified|verified sender|suspended"
    r"|outbound ?spam|send ?as ?denied|permissions? to send|unusual sending"
    r"|send(ing|er)? (limit|quota)",
    re.I,
)


#: Steps at which the server has taken sender and recipients.
_STEPS_OF_MAIL = ("DATA", "end of mail")


class DeliveryError(Exception):
    """The message was not accepted; the text says where, at which step and why.

    ``permanent``: trying the same again cannot help.  ``step``: the SMTP step.
    ``answer``: the server's own words, or empty where it gave none.  ``code``: the
    code in it, or None.  ``status``: the enhanced status (RFC 3463) in it, such as
    5.4.5, or empty.  ``refused``: what the server said to each recipient, where that
    was the reason.
    """

    # Its text is all that it is made of; copies and pickles carry the rest as it is.
    def __init__(  # noqa: B042
        self,
        text: str,
        *,
        step: str = "",
        answer: str = "",
        permanent: bool = False,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.step = step
        self.answer = answer
        self.permanent = permanent
        self.code = code_of(answer)
        self.status = status_of(answer)
        self.refused = dict(refused or {})


def code_of(answer: str) -> int | None:
    """Return the code an answer such as ``550 5.1.1 no such user`` starts with."""
    match = re.match(r"[2-5]\d\d\b", answer, re.ASCII)
    return int(match[0]) if match else None


def status_of(answer: str) -> str:
    """Return the enhanced status (RFC 3463) in an answer, or nothing."""
    match = re.match(r"\d{3} ([245]\.\d{1,3}\.\d{1,3})\b", answer, re.ASCII)
    return match[1] if match else ""


def is_lasting(step: str, answer: str) -> bool:
    """Return whether the same mail would be refused again, however often it is tried.

    So are 5xx to a recipient or to the mail.  Not so what speaks of the sender's
    standing (no login, no relaying, blocked, suspended, the day's limit): that holds
    for every mail, and mending it lets them all out.
    """
    if not answer.startswith("5") or _ABOUT_US.search(answer):
        return False
    if refuses_sender(step, answer):
        return False
    if step == "MAIL FROM":
        return answer.startswith("552")
    if step == "RCPT TO":
        return not status_of(answer).startswith("5.7.")
    return step in _STEPS_OF_MAIL


def refuses_sender(step: str, answer: str) -> bool:
    """Return whether an answer refuses all mail of this account or this sender."""
    if not answer.startswith("5"):
        return False
    if _OF_SENDER.search(answer):
        return True
    return step in _STEPS_OF_MAIL and bool(_OF_ACCOUNT.search(answer))


def refuses_login(step: str, code: int | None, status: str = "") -> bool:
    """Return whether an answer refuses user and password, and not for now only.

    An account may be locked after several of these.  4yz to AUTH is passing, and some
    codes are about the mechanism (RFC 4954, section 6).
    """
    if code in _ABOUT_LOGIN or status == "5.7.8":
        return True
    return step == "AUTH" and (code or 0) >= 500 and code not in _ABOUT_COMMAND


def telling(answers: Iterable[str]) -> str:
    """Return the answer that says most of those to several ways to log in.

    Where one refuses user and password, the others say only that they are no way.
    """
    answers = list(answers)
    refusals = [answer for answer in answers if _refuses_login(answer)]
    passing = [answer for answer in answers if answer.startswith("4")]
    return [*refusals, *passing, *reversed(answers)][0]


def _refuses_login(answer: str) -> bool:
    return refuses_login("AUTH", code_of(answer), status_of(answer))


def refusal_remedy(mail: Mail, step: str, answer: str) -> str:
    """Return what a person can do about a refusal, or nothing."""
    if status_of(answer) == "5.4.5":
        return "the provider's daily limit is reached; mail is held until it lifts"
    if step == "greeting" and answer.startswith("5"):
        return (
            "the server takes no mail from this machine: check [email] smtpserver and "
            "smtpport, and whether this address is blocked"
        )
    if step == "AUTH":
        return _auth_remedy(mail, answer)
    if step in ("MAIL FROM", "RCPT TO") and re.search(r"^530|relay", answer, re.I):
        return _wants_login(mail, answer)
    if step == "MAIL FROM" and answer.startswith(("550", "553", "554")):
        return "the server may want the login's own address as [email] user"
    if refuses_sender(step, answer):
        return (
            "the server refuses all mail of this account or sender: ask its admin, and "
            "check [email] user and sender"
        )
    return ""


def _auth_remedy(mail: Mail, answer: str) -> str:
    code, status, host = answer[:3], status_of(answer), mail.smtpserver.strip("[]")
    if code == "534" and host_remedy(host):
        return host_remedy(host)
    remedy = AUTH_REMEDIES.get(status) or AUTH_REMEDIES.get(code)
    if remedy:
        return remedy
    if _refuses_login(answer):
        return login_remedy(host)
    return NO_MECHANISM if code.startswith("5") else ""


def _wants_login(mail: Mail, answer: str) -> str:
    if mail.smtpsecurity == "none" and re.search("starttls", answer, re.I):
        return "the server wants TLS first: set smtpsecurity = starttls"
    if not (mail.user and mail.password):
        return "the server wants a login first: set [email] user and pass"
    if mail.smtpsecurity == "none":
        return (
            "the server wants a login first, and smtpsecurity = none sends none: set "
            "smtpsecurity = starttls or tls"
        )
    return "the server does not let this login send such mail: ask its admin"


def login_remedy(host: str) -> str:
    """Return what to do about a login that ``host`` has refused."""
    return host_remedy(host) or LOGIN_REMEDY


def host_remedy(host: str) -> str:
    """Return what the provider of ``host`` wants of a login; empty if not known."""
    for ending, remedy in LOGIN_REMEDIES.items():
        if host == ending or host.endswith(f".{ending}"):
            return remedy
    return ""


def imap_problem(answer: str, otherwise: str) -> tuple[str, str]:
    """Return the problem (that of LookFailed) of an IMAP server's no, and a remedy.

    ``answer``: its words, with the response code; ``otherwise``: the problem where they
    do not say.
    """
    code = re.match(r"\[([A-Z]+)[\] ]", answer, re.I)
    row = IMAP_CODES.get(code[1].upper()) if code else None
    if row:
        return row
    if _NOT_NOW.search(answer) and not _NOT_EVER.search(answer):
        return "unreachable", ""
    return otherwise, ""


def reach_remedy(step: str, server: str) -> str:
    """Return what to do about a server that is not reached, or nothing.

    ``step`` is that of Unreachable, ``server`` smtp or imap.
    """
    return REACH_REMEDIES.get(step, "").format(option=server)


def tls_remedy(fault: str, option: str) -> str:
    """Return what to do about the TLS of the server in ``option``, or nothing."""
    return TLS_REMEDIES.get(fault, "").format(option=option)


def with_remedy(reason: str, remedy: str) -> str:
    """Return the reason, and the way out if there is one."""
    return f"{reason}; {remedy}" if remedy else reason
