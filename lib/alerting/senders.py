"""Sends one message by one way of a channel; runs in a child process.

Each kind of channel is a function in SENDERS that returns when the message was accepted
and raises DeliveryError when it was not.  The parent ends the process at the channel's
deadline, so nothing here needs to watch the time.  No error repeats a URL: it may be a
secret.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from lib.core.enums import MessageKind, Severity
from lib.core.messages import Message
from lib.core.sanitize import printable, scrubbed
from lib.core.secret import Secrets
from lib.core.settings import Channel, Problem, Settings
from lib.mail.replies import DeliveryError

if TYPE_CHECKING:
    import requests

#: The most bytes of an environment variable of a command.
MAX_VARIABLE = 4096
#: The most of an answer or of a command's output that is read, and that is shown.
MAX_READ = 4096
MAX_SHOWN = 200
#: A shorter word of a URL is shown: to hide it would make the rest unreadable.
MIN_HIDDEN = 4
#: The oldest Apprise that can be told not to follow redirects.
LEAST_APPRISE = (2, 3)


class Call(msgspec.Struct, frozen=True):
    """A message, and the way by which it is sent."""

    settings: Settings
    channel: Channel
    way: str
    message: Message
    #: The name of its job; empty for a bundle.
    job: str = ""

    @property
    def url(self) -> str:
        """Return the URL of the service or the webhook."""
        word = self.way.partition("/")[2]
        return (self.channel.services.get(word) or self.channel.webhook).reveal()


class Report(msgspec.Struct, frozen=True):
    """Takes what a call reports."""

    #: Called just before the message may be accepted.
    begun: Callable[[], None]
    #: Takes a line for a person who watches.
    step: Callable[[str], None]


def send(call: Call, report: Report) -> None:
    """Send the message; raise DeliveryError if it is not accepted."""
    SENDERS[call.channel.kind](call, report)


def without_secrets(call: Call, text: str) -> str:
    """Return a text of a library or of another machine as it may be shown: a line."""
    from lib.config.secrets import parts_of_url

    secrets = Secrets(
        [*call.settings.secrets, *filter(None, [call.url, *parts_of_url(call.url)])]
    )
    return printable(scrubbed(text, secrets), MAX_SHOWN)


# What is sent.


def payload(call: Call) -> dict[str, Any]:
    """Return the message as webhooks and commands get it; docs/channels.md lists it."""
    message = call.message
    return {
        "type": str(message.kind),
        "timestamp": message.born_at.isoformat(),
        "data": {
            "id": message.public_id,
            "thread": message.thread or message.public_id,
            "server": call.settings.servername,
            "channel": call.way,
            "job": call.job or None,
            "status": message.status and str(message.status),
            "severity": str(message.severity),
            "since": _iso(message.since),
            "subject": message.subject,
            "text": message.text,
            "reason": message.reason,
            "host": message.host,
            "addresses": list(message.addresses),
        },
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _body(call: Call) -> bytes:
    # A lone surrogate cannot be in JSON that others read.
    text = msgspec.json.encode(_without_surrogates(payload(call)))
    return text


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _without_surrogates(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    return value


def _title(call: Call) -> str:
    return f"[{call.settings.servername}] {call.message.subject}"


# A webhook.


def _by_webhook(call: Call, report: Report) -> None:
    """POST the message as JSON, signed as Standard Webhooks has it."""
    import requests

    channel, url = call.channel, call.url
    body = _body(call)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Checker",
        **_signed(call, body),
    }
    if channel.token:
        headers["Authorization"] = f"Bearer {channel.token.reveal()}"
    host = _host(url)
    signed = ", signed" if channel.secret else ""
    report.step(f"POST to {host}, {len(body)} bytes{signed}")
    report.begun()
    try:
        with _session(channel) as session:
            answer = session.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                stream=True,
                # The parent ends the whole call at the same time.
                timeout=channel.timeout_s,
            )
            with answer:
                report.step(f"answered {answer.status_code}")
                _check_answer(call, answer, host)
    except requests.RequestException as error:
        words, step = _network_words(error)
        raise DeliveryError(f"{host}: {words}", step=step) from error


def _session(channel: Channel) -> requests.Session:
    """Return a session that knows no proxy or login but what the settings say."""
    import requests
    from requests.adapters import HTTPAdapter

    from lib.net.tls import trust

    class Adapter(HTTPAdapter):
        """Trusts what all of Checker trusts."""

        def init_poolmanager(self, *args: Any, **more: Any) -> Any:
            context = trust(channel.cafile, verify=not channel.insecure)
            return super().init_poolmanager(*args, ssl_context=context, **more)

        def cert_verify(self, *args: Any) -> None:
            """Leave it to the context."""

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Adapter())
    return session


def _signed(call: Call, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks; without a secret nothing is signed."""
    import base64
    import hashlib
    import hmac
    import time

    from lib.config.channels import signing_key

    message_id, moment = f"msg_{call.message.message_id}", int(time.time())
    headers = {"webhook-id": message_id, "webhook-timestamp": str(moment)}
    key = signing_key(call.channel.secret) if call.channel.secret else None
    if key is not None:
        signed = f"{message_id}.{moment}.".encode() + body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _check_answer(call: Call, answer: requests.Response, host: str) -> None:
    """Raise DeliveryError unless the status is 2xx."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    said = without_secrets(call, answer.reason or "")
    words = f"{host} answered {status} {said}".rstrip()
    if 300 <= status < 400:
        raise _refused(
            f"{words}, a redirect, which is not followed; give the final address"
        )
    content = answer.raw.read(MAX_READ) or b""
    more = without_secrets(call, content.decode("utf-8", "replace"))
    # Too large: the same again cannot help, a shorter one may.
    raise _refused(f"{words}: {more}" if more else words, permanent=status == 413)


def _refused(why: str, *, permanent: bool = False) -> DeliveryError:
    """Return the error of a message that was certainly not accepted."""
    return DeliveryError(why, step="call", permanent=permanent)


def _host(url: str) -> str:
    """Return the host of a URL, and its port if it has one."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{host}:{parts.port}" if parts.port else host


def _network_words(error: Exception) -> tuple[str, str]:
    """Return why there was no answer, and the step; empty: it may have been accepted.

    The URL, which is in the error's text, is in neither.
    """
    import socket
    import ssl

    from lib.net.tls_errors import ssl_words

    cause: BaseException | None = error
    reasons: list[BaseException] = []
    while cause is not None and len(reasons) < 10:
        reasons.append(cause)
        inner = getattr(cause, "reason", None)
        first = cause.args[0] if cause.args else None
        cause = next(
            (one for one in (inner, first) if isinstance(one, BaseException)),
            cause.__cause__ or cause.__context__,
        )
    for reason in reasons:
        if isinstance(reason, ssl.SSLCertVerificationError):
            return f"TLS: {reason.verify_message}", "connect"
    for reason in reasons:
        if isinstance(reason, ConnectionRefusedError | socket.gaierror):
            return f"no connection: {reason.strerror}", "connect"
    names = {type(reason).__name__ for reason in reasons}
    if names & {"ConnectTimeout", "ConnectTimeoutError"}:
        return "no connection: it took too long", "connect"
    if names & {"SSLError"}:
        causes = [reason for reason in reasons if isinstance(reason, ssl.SSLError)]
        why = f": {ssl_words(causes[0])}" if causes else ""
        return f"no TLS connection{why}", "connect"
    if names & {"ReadTimeout", "ReadTimeoutError"}:
        return "no answer in time", ""
    if names & {"RemoteDisconnected", "BadStatusLine", "ProtocolError"}:
        return "the connection was closed without an answer in HTTP", ""
    return f"no answer ({type(error).__name__})", ""


# A command.


def _by_command(call: Call, report: Report) -> None:
    """Run the program with the JSON as its input.

    It is in the process group of this process, with which the parent ends it.
    """
    import subprocess

    from lib.system.process import how_it_ended

    program = call.channel.command[0]
    report.step(f"running {program}")
    report.begun()
    try:
        done = subprocess.run(
            call.channel.command,
            input=_body(call),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables(call)},
            cwd=call.settings.path.parent,
            check=False,
        )
    except OSError as error:
        raise _refused(f"{program} cannot be started: {error.strerror}") from error
    if done.returncode:
        code = done.returncode
        how = how_it_ended(-code) if code < 0 else f"ended with exit code {code}"
        said = done.stdout[:MAX_READ].decode("utf-8", "replace").strip()
        words = without_secrets(call, said)
        name = os.path.basename(program)
        raise _refused(f"{name} {how}: {words}" if words else f"{name} {how}")


def variables(call: Call) -> dict[str, str]:
    """Return the environment variables of a command: the chief facts, one line each."""
    message = call.message
    facts: Mapping[str, str] = {
        "ID": message.public_id,
        "TYPE": str(message.kind),
        "TIME": message.born_at.isoformat(),
        "SERVER": call.settings.servername,
        "CHANNEL": call.way,
        "JOB": call.job,
        "STATUS": str(message.status or ""),
        "SEVERITY": str(message.severity),
        "SINCE": _iso(message.since) or "",
        "SUBJECT": message.subject,
        "REASON": message.reason,
        "HOST": message.host,
    }
    return {f"CHECKER_{name}": _variable(text) for name, text in facts.items()}


def _variable(text: str) -> str:
    """Return a text without control characters, at most MAX_VARIABLE bytes."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line.encode("utf-8", "replace")[:MAX_VARIABLE].decode("utf-8", "ignore")


# A service of Apprise.


#: These show Markdown whatever the format is said to be, so its marks are escaped.
ALWAYS_MARKDOWN = frozenset({"discord", "mmost", "mmosts", "guilded", "revolt"})
#: A longer text becomes an attachment at ntfy; in bytes.
NTFY_MOST = 3900
_MARKS = re.compile(r"([\\`*_~|<>\[\]])")
_LINE_STARTS = re.compile(r"(?m)^( {0,3})(?=[-+#])")
#: What notifies a whole room; a space without width takes its meaning away.
_CALLS = re.compile(r"@(?=everyone|here|channel|all)", re.I)
#: How much longer a character may become, by the format that a service gets.
_GROWTH = {
    "html": {"&": 4, "<": 3, ">": 3, '"': 5, "\n": 5},
    "markdown": dict.fromkeys("\\`*_{}[]()#+-.!|~<>&", 1),
}


def _by_apprise(call: Call, report: Report) -> None:
    """Send by one service; a redirect is a failure."""
    import apprise

    heard = _Heard()
    _isolate(call.channel)
    redirects = _refuse_redirects()
    asset = apprise.AppriseAsset(
        app_id="Checker",
        app_desc="Checker",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        http_redirects=False,
        async_mode=False,
    )
    try:
        service = _service(call.url, call.channel, heard, asset)
    except ValueError as error:
        raise _refused(f"{call.way}: {error}{heard.why(call)}") from error
    service.redirects = False
    one = apprise.Apprise(asset=asset)
    one.add(service)
    title, body = _fitted(service, call)
    report.step(f"calling {service.service_name} by Apprise {apprise.__version__}")
    if (recipients := len(service)) > 1:
        report.step(
            f"this URL has {recipients} recipients; give each a URL of its own, or a "
            "retry reaches all of them"
        )
    report.begun()
    accepted = bool(
        one.notify(
            title=title,
            body=body,
            body_format=apprise.NotifyFormat.TEXT,
            notify_type=_notify_type(call.message),
        )
    )
    if redirects:
        where = without_secrets(call, redirects[0])
        raise _refused(
            f"{call.way} answered with a redirect to {where}, which is not followed"
        )
    if not accepted:
        why = heard.why(call)
        # Without a status in it there was perhaps no answer.
        step = "call" if re.search(r"error=\d", why) else ""
        raise DeliveryError(f"{call.way} did not accept it{why}", step=step)


def _service(url: str, channel: Channel, heard: _Heard, asset: Any = None) -> Any:
    """Return the service of a URL; raise ValueError if it cannot be used as it is."""
    import apprise

    if tuple(map(int, apprise.__version__.split(".")[:2])) < LEAST_APPRISE:
        raise ValueError(
            f"Apprise {apprise.__version__} is too old: pip install 'apprise>=2.3,<3'"
        )
    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [heard], False
    log.setLevel(logging.WARNING)
    service: Any = apprise.Apprise.instantiate(url, asset=asset)
    if service is None:
        raise ValueError("Apprise cannot use the URL")
    schema = url.partition("://")[0].lower()
    if schema in ("ntfy", "ntfys") and not service.topics:
        # Without one, Apprise takes the host for a topic of the public service.
        raise ValueError(f"no topic is given; expected {schema}://HOST/TOPIC")
    if not (service.verify_certificate or channel.insecure):
        raise ValueError(
            "the URL turns off the verification of TLS; write verify=yes, or set "
            "insecure = yes"
        )
    return service


def unusable_services(settings: Settings) -> Iterator[Problem]:
    """Yield a problem for each service that Apprise cannot use; nothing is sent.

    Apprise takes a second or so to load: this is for a person at a terminal.
    """
    for name, channel in settings.channels.items():
        section = f"channel {name}"
        options = [one for one in settings.ini.given(section) if one.startswith("url")]
        where = settings.ini.where(section, *options[:1])
        for number, url in enumerate(channel.services.values(), start=1):
            schema = url.reveal().partition("://")[0]
            try:
                count = len(_service(url.reveal(), channel, _Heard()))
            except ValueError as error:
                text = f"url: service {number}, {schema}: {error}"
                yield Problem(text, where, section)
                continue
            if count > 1:
                text = (
                    f"url: service {number}, {schema}: it has {count} recipients; give "
                    "each a URL of its own, or a retry reaches all of them"
                )
                yield Problem(text, where, section, warning=True)


class _Heard(logging.Handler):
    """Keeps what Apprise says is wrong; it says so in its log only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append(record.getMessage())

    def why(self, call: Call) -> str:
        """Return the last line as the end of a sentence; empty if there is none."""
        if not self._lines:
            return ""
        # Apprise repeats parts of the URL; a topic, though a word, is a password, too.
        _scheme, _slashes, rest = call.url.partition("://")
        words = [unquote(word) for word in re.split("[/?&=,]", rest)[1:]]
        hidden = Secrets([word for word in words if len(word) >= MIN_HIDDEN])
        return f": {without_secrets(call, scrubbed(self._lines[-1], hidden))}"


def _isolate(channel: Channel) -> None:
    """Let requests know no proxy or login but the settings', and our trust store."""
    import ssl

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["NETRC"] = os.devnull
    store = channel.cafile or ssl.get_default_verify_paths().cafile
    if store:
        os.environ["REQUESTS_CA_BUNDLE"] = store


def _refuse_redirects() -> list[str]:
    """Follow no redirect in this process; return the list of those that were met.

    Followed, a POST becomes an empty GET, which then counts as a success.
    """
    import requests

    met: list[str] = []

    def refuse(_session: requests.Session, answer: requests.Response) -> None:
        if answer.is_redirect:
            met.append(_host(answer.headers["location"]) or "another place")

    setattr(requests.Session, "get_redirect_target", refuse)  # noqa: B010  # ours alone
    return met


def _notify_type(message: Message) -> str:
    if message.kind is MessageKind.RECOVERY:
        return "success"
    if message.kind not in (MessageKind.ALERT, MessageKind.REMINDER):
        return "info"
    return "failure" if message.severity is Severity.CRITICAL else "warning"


def _fitted(service: Any, call: Call) -> tuple[str, str]:
    """Return title and body as text that the service shows as it is, and whole."""
    title, body = _title(call), call.message.text.rstrip()
    schema = call.url.partition("://")[0].lower()
    if schema in ALWAYS_MARKDOWN:
        title, body = literal(title), literal(body)
    growth = _GROWTH.get(str(service.resolve_format("text").value), {})
    most: float = service.body_maxlen
    cost: Callable[[str], float] = partial(_cost, growth=growth)
    if schema in ("ntfy", "ntfys"):
        most, cost = min(most, NTFY_MOST), _cost_at_ntfy
    title = shortened(title, service.title_maxlen or most // 4, cost, mark="…")
    if not service.title_maxlen:
        # It becomes the first line of the body, perhaps in bold.
        most -= _length(title, cost) + 20
    return title, shortened(body, most, cost, mark=CUT_MARK)


def _cost(char: str, growth: Mapping[str, int]) -> float:
    return len(char.encode("utf-8", "replace")) + growth.get(char, 0)


def _cost_at_ntfy(char: str) -> float:
    """Return the bytes of a character, more where Apprise's JSON escapes it.

    What is longer than 8,000 bytes in that becomes an attachment, too.
    """
    units = len(char.encode("utf-16-le", "replace")) // 2
    return max(_cost(char, {}), 1 if " " <= char <= "~" else 3.6 * units)


#: What stands at the end of a text that was cut; {left} is its own length.
CUT_MARK = "\n(Cut: this service takes no more; the whole is {size:,} characters.)"


def shortened(
    text: str, most: float, cost: Callable[[str], float], *, mark: str
) -> str:
    """Return a text that costs at most ``most``, with a mark at its end if it was cut.

    ``cost`` is that of a character.
    """
    if _length(text, cost) <= most:
        return text
    end = mark.format(size=len(text))
    left = most - _length(end, cost)
    kept = 0
    for char in text:
        left -= cost(char)
        if left < 0:
            break
        kept += 1
    return text[:kept].rstrip("\\ \n") + end


def _length(text: str, cost: Callable[[str], float]) -> float:
    return sum(map(cost, text))


def literal(text: str) -> str:
    """Return Markdown that shows the text as it is."""
    # Four spaces would begin a block of code.
    text = re.sub(r"(?m)^ {4,}", "   ", _MARKS.sub(r"\\\1", text))
    return _CALLS.sub("@\u200b", _LINE_STARTS.sub(r"\1\\", text))


#: How each kind of channel sends.
SENDERS: Mapping[str, Callable[[Call, Report], None]] = {
    "url": _by_apprise,
    "webhook": _by_webhook,
    "command": _by_command,
}
