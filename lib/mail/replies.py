"""What it means when a mail is not taken, for the program and for people.

Pure functions of what the server said.  To teach Checker another provider's way out,
add a row to LOGIN_REMEDIES.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
    "wrong name": "set [email] {option} to a name it is for",
}

#: Refusals that speak of us or of the day, not of this mail or this address.
_ABOUT_US = re.compile(r"^5\d\d 5\.4\.5\b|^(503|530|534|535|538)\b|relay", re.I)


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
    standing (no login, no relaying, blocked, the day's limit): that holds for every
    mail, and mending it lets them all out.
    """
    if not answer.startswith("5") or _ABOUT_US.search(answer):
        return False
    if step == "MAIL FROM":
        return answer.startswith("552")
    if step == "RCPT TO":
        return not status_of(answer).startswith("5.7.")
    return step in ("DATA", "end of mail")


def refusal_remedy(host: str, step: str, answer: str) -> str:
    """Return what a person can do about a refusal, or nothing."""
    if status_of(answer) == "5.4.5":
        return "the provider's daily limit is reached; mail is held until it lifts"
    if step == "AUTH" and answer.startswith("5"):
        return login_remedy(host)
    if step in ("MAIL FROM", "RCPT TO") and re.search(r"^530|relay", answer, re.I):
        return "the server wants a login first: set [email] user and pass"
    if step == "MAIL FROM" and answer.startswith(("550", "553", "554")):
        return "the server may want the login's own address as [email] user"
    return ""


def login_remedy(host: str) -> str:
    """Return what to do about a login that ``host`` has refused."""
    for ending, remedy in LOGIN_REMEDIES.items():
        if host == ending or host.endswith(f".{ending}"):
            return remedy
    return LOGIN_REMEDY


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
