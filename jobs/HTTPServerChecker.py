"""[http NAME]: checks that a web server sends the expected status and content."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any
from urllib.parse import SplitResult, unquote, unquote_plus, urljoin, urlsplit

import msgspec

from lib.jobbase import (
    ADDRESS_OPTIONS,
    TRUST_OPTIONS,
    CheckFailed,
    CheckUnknown,
    Clash,
    Deadline,
    Options,
    Quantity,
    Target,
    TargetJob,
    Value,
    Values,
    absolute_path,
    bytes_,
    count,
    endpoint,
    one_of,
    option,
    per_second,
    plain,
    regex,
    seconds,
    secret,
    statuses,
    text,
    text_options,
    url,
    whole,
)
from lib.net import bulk, connect, curl
from lib.net.address import (
    is_same_host,
    printable,
    secrets_in_headers,
    secrets_in_json,
    secrets_in_query,
    shown_url,
    without_credentials,
)
from lib.net.charset import text_decoder
from lib.net.response import MAX_BYTES, MAX_COUNTED, NoRoom, Reader, Response, room

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
#: A shorter one would be found in any text.
MIN_SECRET = 4
#: How many characters of an unexpected response are shown.
MAX_SHOWN = 200

#: What may not be sent again.
_ONCE = ("post", "patch")
#: While there is no memory for a body, it is looked for again after this long.
ROOM_AFTER_S = 0.1

Ranges = Sequence[tuple[int, int]]

#: The options that are what to send.
BODIES = ("body", "body_file", "json", "form")
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
#: The parts of the time that have thresholds of their own.
PARTS = {
    "": "all of it",
    "_dns": "finding the address",
    "_connect": "connecting",
    "_tls": "the TLS handshake",
    "_first_byte": "the first byte of the response, once there is a connection,",
}
#: The names of their values, and of the thresholds of each.
_OF_THE_TIME = [
    (f"time{part}", f"warn_time{part}", f"fail_time{part}") for part in PARTS if part
]
_TIMES = frozenset(limit for _name, *limits in _OF_THE_TIME for limit in limits)
_OF_TLS = ("fail_days", "warn_days", "fail_time_tls", "warn_time_tls")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x1f\x7f]*)")
_METRIC = re.compile(r"([a-zA-Z_:][\w:]*)\s*(?:\{(.*)\})?", re.A)
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)', re.A)
_TO_ESCAPE = re.compile(r'["\\\n]')
#: An exemplar of OpenMetrics, which has braces too, may be behind it.
_SAMPLE = re.compile(
    r'([a-zA-Z_:][\w:]*)\s*(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?\s+(\S+)', re.A
)


def header_lines(value: str) -> tuple[str, ...]:
    """Return headers, one from each line."""
    lines = tuple(line.strip() for line in value.split("\n") if line.strip())
    for line in lines:
        if not _HEADER.fullmatch(line):
            raise ValueError("expected one header in a line, such as Accept: text/html")
    return lines


def header_pattern(value: str) -> tuple[str, re.Pattern[str]]:
    """Return the name of a header, and the pattern that it must match."""
    match = _HEADER.fullmatch(value)
    if not match:
        raise ValueError("expected a header and a pattern, such as Server: ^nginx")
    return match[1], regex(match[2])


def json_text(value: str) -> str:
    """Return JSON as it is to be sent."""
    import json

    try:
        json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON: {error}") from error
    return value


def jmespath_expression(value: str) -> Any:
    """Return a JMESPath expression, compiled."""
    import jmespath

    try:
        return jmespath.compile(value)
    except jmespath.exceptions.JMESPathError as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"expected a JMESPath expression: {why}") from error


def metric_name(value: str) -> tuple[str, dict[str, str]]:
    """Return the name of a metric, and the labels that it must have."""
    match = _METRIC.fullmatch(value)
    labels = _labels(match[2] or "") if match else None
    if match is None or labels is None:
        raise ValueError('expected a metric, such as up or http_total{code="500"}')
    return match[1], labels


def metric_words(name: str, labels: Mapping[str, str]) -> str:
    """Return a metric as the settings write it, in one line."""
    pairs = ",".join(
        f'{label}="{re.sub(_TO_ESCAPE, _escaped, value)}"'
        for label, value in labels.items()
    )
    return printable(f"{name}{{{pairs}}}" if pairs else name, 120)


def _escaped(match: re.Match[str]) -> str:
    return r"\n" if match[0] == "\n" else f"\\{match[0]}"


def _labels(words: str) -> dict[str, str] | None:
    """Return the labels between the braces; None if they are not labels."""
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        match = _LABEL.match(words, at)
        if not match:
            return None
        found[match[1]] = re.sub(r"\\(.)", _unescaped, match[2])
        at = match.end()
    return found


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def metric_value(page: str, name: str, labels: Mapping[str, str]) -> float | None:
    """Return the sum of a metric's samples that have these labels; None without one."""
    total: float | None = None
    for line in page.split("\n"):
        if not line.startswith(name):
            continue
        match = _SAMPLE.match(line)
        if not match or match[1] != name:
            continue
        has = _labels(match[2] or "")
        if has is None or not labels.items() <= has.items():
            continue
        try:
            total = (total or 0.0) + float(match[3])
        except ValueError:
            continue
    return total


def status_or_any(value: str) -> Ranges:
    """Return ranges of status codes; ``any`` is all of them."""
    return ((100, 999),) if value.lower() == "any" else statuses(value)


def body_size(value: str) -> float:
    """Return a size of a body, in bytes."""
    size = bytes_.read(value)
    if size > MAX_COUNTED:
        most = MAX_COUNTED // 1_000_000_000
        raise ValueError(f"expected at most {most}GB, as no more of a body is counted")
    return size


BODY_SIZE = Quantity(bytes_.unit, body_size)


def proxy_url(value: str) -> str:
    """Return the URL of a proxy, or ``environment``."""
    if value == "environment":
        return value
    expected = ValueError("expected environment, or a URL such as http://proxy:3128")
    if not re.fullmatch(r"[a-z0-9]+://[^\s/]+/?", value):
        raise expected
    from lib.net import proxy

    try:
        proxy.parsed(value)
    except ValueError:
        raise expected from None
    return value


class HTTPServerChecker(bulk.InBulk, TargetJob):
    """One URL."""

    kind = "http"
    recheck = "5min"
    yields = (
        *("auth", "user", "password", "token", "method"),
        *("max_redirects", "expect_location", "fail_size", "warn_size", *_OF_TLS),
    )
    is_across_network = True
    guide = f"""
        Of a body, decoded, at most {MAX_BYTES // 1_000_000} MB are looked at. Where the
        rest of a longer one may decide of an option, the target is unknown; it is
        failing if `expect_text` is not in that part. For `fail_size` and `warn_size`,
        up to {MAX_COUNTED // 1_000_000_000} GB are counted.
        """
    options: Options = {
        "url": option(url, help="what to fetch; http or https"),
        "method": option(
            one_of(METHODS), "get", help="get, head, post, put, patch, delete, options"
        ),
        "headers": option(
            header_lines, (), help="headers to send, one in a line: Name: value"
        ),
        "body": option(text, "", help="what to send; the method is post, if not given"),
        "body_file": option(absolute_path, "", help="a file that has it"),
        "json": option(json_text, "", help="JSON to send"),
        "form": option(text, "", help="a form to send: name=value&other=value"),
        "auth": option(
            one_of(("basic", "digest")), "basic", help="how user and password are sent"
        ),
        "user": option(plain, "", help="the user to log in as"),
        "password": option(secret, None, help="the password of the user"),
        "token": option(secret, None, help="a bearer token"),
        "certificate": option(absolute_path, "", help="a certificate to show, as PEM"),
        "key": option(absolute_path, "", help="its key, if it is not in the same file"),
        "expect_status": option(
            status_or_any,
            ((200, 200),),
            help="which answers are OK: 200, 301-308, 2xx, any",
        ),
        **text_options("the answer"),
        "expect_header": option(
            header_pattern,
            None,
            help="a header and a pattern: Name: pattern; one of equal ones must match",
        ),
        "expect_json": option(
            jmespath_expression,
            None,
            help="a JMESPath expression that must be true: status == 'up'",
        ),
        "metric": option(
            metric_name,
            None,
            help='a number of a Prometheus page: NAME{label="x"}',
        ),
        "per": option(
            one_of(("s",)), "", help="s: how much the metric grows in a second"
        ),
        "fail_value": option(count, None, help="failing if the metric is above this"),
        "warn_value": option(count, None, help="a warning if it is above this"),
        "redirects": option(
            one_of(("same_host", "any", "none")),
            "same_host",
            help="redirects to follow: same_host, any or none",
        ),
        "max_redirects": option(
            whole(0, 30), MAX_REDIRECTS, help="so many redirects are followed"
        ),
        "expect_location": option(
            url, "", help="the URL at which the redirects must end"
        ),
        **ADDRESS_OPTIONS,
        "connect_to": option(
            endpoint,
            None,
            help="connect to this host:port in place of the URL's; "
            "a redirect to another host or port is not sent there",
        ),
        "proxy": option(
            proxy_url, "", help="the URL of a proxy, or environment: as http_proxy says"
        ),
        "http_version": option(
            one_of(("1.0", "1.1", "2")),
            "1.1",
            help="1.0, 1.1 or 2; 2 only over https, and 1.1 if the server has no 2",
        ),
        **TRUST_OPTIONS,
        "fail_days": option(
            whole(0, 3650, "days"),
            None,
            below=True,
            help="failing if its certificate has fewer days left",
        ),
        "warn_days": option(
            whole(0, 3650, "days"),
            None,
            below=True,
            help="a warning if it has fewer days left",
        ),
        "fail_size": option(BODY_SIZE, None, help="failing if the body is larger"),
        "warn_size": option(BODY_SIZE, None, help="a warning if the body is larger"),
        **{
            f"{status}_time{part}": option(
                seconds, None, help=f"{words} if {what} takes longer than this"
            )
            for part, what in PARTS.items()
            for status, words in (("fail", "failing"), ("warn", "a warning"))
        },
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield what does nothing, or contradicts something else."""
        # Most sections give none of these.
        if _MAY_BE_WRONG.isdisjoint(target.given_options) and not target.places:
            return
        bodies = [name for name in BODIES if getattr(target, name)]
        if bodies[1:]:
            yield Clash(f"{' and '.join(bodies)} are given; keep one", tuple(bodies))
        sends_none = target.method in ("get", "head") and target.gives("method")
        if bodies and sends_none:
            yield Clash(
                f"method = {target.method} sends no {bodies[0]}; "
                "set method = post, or leave out one of both",
                ("method", bodies[0]),
            )
        needs_body = [
            name for name in _OF_A_BODY if getattr(target, name) not in ("", None)
        ]
        if target.method == "head" and needs_body:
            yield Clash(
                f"method = head has no body in its response, and {needs_body[0]} needs "
                "one; set method = get",
                ("method", needs_body[0]),
            )
        of_metric = [name for name in _OF_THE_METRIC if getattr(target, name)]
        if of_metric and not target.metric:
            words = f"{of_metric[0]} is about a metric; give metric, or leave it out"
            yield Clash(words, (of_metric[0],))
        if target.key and not target.certificate:
            yield Clash("key is given without certificate", ("key",))
        if target.redirects == "none":
            for name in ("max_redirects", "expect_location"):
                if getattr(target, name) and target.gives(name):
                    words = f"{name} is about redirects, and redirects = none; keep one"
                    yield Clash(words, (name, "redirects"))
            if target.url.startswith("http:"):
                for name in filter(target.gives, _OF_TLS):
                    words = (
                        f"{name} is about TLS, and url is http with redirects = none; "
                        "leave it out"
                    )
                    yield Clash(words, (name, "redirects"))
        yield from _wrong_logins(target)

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this URL."""
        import glob

        kind = "<class 'jobs.HTTPServerChecker.HTTPServerChecker.ServerChecker'>"
        url = self.target.url
        return glob.escape(f"{kind} for {url}|{url}") + "*"

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long it took until the response was there, as expected."""
        return steps(self, target, deadline)


def _wrong_logins(target: Target) -> Iterator[Clash]:
    """Yield where there are two logins, or how to send one that is not given."""
    in_url = urlsplit(target.url)
    #: What is given of a user, and in which option.
    users = [
        (words, name)
        for is_given, words, name in (
            (in_url.username, "the user in url", "url"),
            (target.user, "user", "user"),
            ("password" in target.places, "password", "password"),
        )
        if is_given
    ]
    has_token = "token" in target.places
    if has_token and users:
        words, name = users[0]
        yield Clash(
            f"token and {words} are given; keep one, as only the token is sent",
            ("token", name),
        )
    if in_url.username and target.user:
        words = "user is given, and there is one in url; keep one"
        yield Clash(words, ("user", "url"))
    if in_url.password and "password" in target.places:
        words = "password is given, and there is one in url; keep one"
        yield Clash(words, ("password", "url"))
    if target.auth == "digest" and not users:
        words = "auth = digest says how user and password are sent; give these"
        yield Clash(words, ("auth",))
    names = [line.partition(":")[0].lower() for line in target.headers]
    if "authorization" in names and (has_token or users):
        words, name = ("token", "token") if has_token else users[0]
        yield Clash(
            f"headers has Authorization, and {words} is given; keep one",
            ("headers", name),
        )


def steps(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return what was measured of the response, if it is as expected."""
    ask = follow if target.addresses == "first" else _each_address
    try:
        return (yield from ask(job, target, deadline))
    except (connect.Unreachable, CheckFailed) as error:
        raise _without_secrets(error, target) from None


def _without_secrets(
    error: connect.Unreachable | CheckFailed, target: Target
) -> CheckFailed:
    # A server's message may quote the credentials that we sent.
    def clean(text: str) -> str:
        text = without_credentials(text, target.url)
        for part in login_of(target):
            text = text.replace(part, "***")
        return text

    return CheckFailed(
        clean(str(error)),
        host=error.host or urlsplit(target.url).hostname or "",
        cause=clean(error.cause),
        addresses=error.addresses,
    )


def login_of(target: Target) -> Iterator[str]:
    """Yield what a target logs in with, in each form in which it is sent."""
    from binascii import b2a_base64

    password, token = target.password.reveal(), target.token.reveal()
    if password:
        login = f"{target.user}:{password}".encode()
        yield b2a_base64(login, newline=False).decode()
    place, _mark, query = target.url.partition("?")
    quoted = [
        part
        for text in (query.partition("#")[0], target.form, target.body, target.json)
        for part in (*secrets_in_query(text), *secrets_in_json(text))
        # What is said anyway is none.
        if part not in f"{target.title} {place}"
    ]
    parts = (
        *secrets_in_headers("\n".join(target.headers)),
        *quoted,
        *map(unquote, quoted),
        *map(unquote_plus, quoted),
    )
    # Of two the longer one first, in which the other may be.
    for part in sorted((password, token, *parts), key=len, reverse=True):
        if len(part) >= MIN_SECRET:
            yield part


def _each_address(
    job: TargetJob, target: Target, deadline: Deadline
) -> bulk.Steps[Values]:
    """Return the worst that was measured at the addresses."""
    parts = urlsplit(target.url)
    host, port = target.connect_to or (parts.hostname or "", _port(parts))
    began = time.monotonic()
    addresses = yield from bulk.resolved(host, port, target.family, deadline)
    dns_s = time.monotonic() - began
    each: dict[str, dict[str, Value]] = {}
    notes: dict[str, str] = {}
    dead: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for address, own in deadline.shared(addresses):
        place, job.note = connect.shown_address(address[1]), ""
        try:
            values = yield from follow(job, target, own, address)
            notes[place] = job.note
            if "time_dns" in values:
                limits = {"warn": target.warn_time_dns, "fail": target.fail_time_dns}
                took_s = max(dns_s, values["time_dns"].number)
                values["time_dns"] = seconds(took_s, **limits)
            each[place] = values
        except (connect.Unreachable, CheckFailed) as error:
            dead[place] = str(error).partition("\n")[0]
        except (connect.NotTried, CheckUnknown) as error:
            unknown[place] = str(error)
    job.note = ""
    _forget_others(job, [connect.shown_address(address) for _, address in addresses])
    if dead:
        reason = _of_addresses(host, "fail", dead, len(addresses))
        more = (f"{place}: {why}" for place, why in unknown.items())
        raise CheckFailed("\n".join([reason, *more]), host=host)
    if len({*unknown.values()}) == 1 and len(unknown) == len(addresses):
        # It is no matter of the addresses.
        raise CheckUnknown(*{*unknown.values()})
    values = job.worst_of(each, notes, least=("days",)) if each else {}
    if unknown:
        words = _of_addresses(host, "are unknown", unknown, len(addresses))
        if not job.fails_by(values):
            raise CheckUnknown(words)
        job.note = "\n".join(filter(None, (job.note, words)))
    return values


def _of_addresses(host: str, verb: str, reasons: Mapping[str, str], of: int) -> str:
    lines = [f"{place}: {why}" for place, why in reasons.items()]
    return "\n".join([f"{len(lines)} of {of} addresses of {host} {verb}", *lines])


def _forget_others(job: TargetJob, places: Sequence[str]) -> None:
    """Forget the metric of addresses that the name has no more."""
    if before := job.memory.get("metrics"):
        kept = {place: before[place] for place in places if place in before}
        job.memory["metrics"] = kept


def follow(
    job: TargetJob,
    target: Target,
    deadline: Deadline,
    address: tuple[int, connect.Address] | None = None,
) -> bulk.Steps[dict[str, Value]]:
    """Follow the redirects; raise CheckFailed if the last response is not expected."""
    began = time.monotonic()
    hop = Hop(target.url, target.method, _body_of(target), address)
    if hop.body is not None and target.method == "get":
        hop.method = "post"
    body = BodyReader(target)
    #: What each host on the way has shown.
    chains: dict[str, Sequence[bytes]] = {}
    try:
        for _hop in range(target.max_redirects + 1):
            try:
                answer = yield from curl.fetch(request_of(target, hop, deadline, body))
            except NoRoom:
                if hop.method in _ONCE:
                    raise CheckUnknown(no_room(f"and a {hop.method} is sent once"))
                yield from body.wait_for_room(deadline)
                began = time.monotonic()
                answer = yield from curl.fetch(request_of(target, hop, deadline, body))
            job.answered_by = answer.peer
            if answer.chain:
                chains[urlsplit(hop.url).hostname or ""] = answer.chain
            if not is_redirect(target, answer):
                expect(target, hop, answer, body)
                took = time.monotonic() - began
                return values_of(job, target, answer, body, took, address, chains)
            hop = next_hop(hop, answer, target.redirects)
            body = BodyReader(target)
    finally:
        body.forget()
    raise CheckFailed(
        f"more than {target.max_redirects} redirects\n"
        f"the last one is to {shown_url(hop.url)}"
    )


class Hop(msgspec.Struct):
    """A request on the way from redirect to redirect."""

    url: str
    method: str
    body: bytes | None
    address: tuple[int, connect.Address] | None = None
    #: Whether it may have what the section says of logging in.
    is_trusted: bool = True
    cookies: Sequence[str] = ()


def next_hop(hop: Hop, answer: Response, policy: str) -> Hop:
    """Return the request that a redirect asks for, as browsers make it."""
    url = next_url(hop.url, answer.header("location"), policy)
    keeps_body = answer.status in (307, 308)
    old, new = urlsplit(hop.url), urlsplit(url)
    is_same = keeps_credentials(old, new)
    return Hop(
        url,
        hop.method if keeps_body or hop.method == "head" else "get",
        hop.body if keeps_body and is_same else None,
        _address_behind(hop.address, old, new),
        is_trusted=hop.is_trusted and is_same,
        cookies=hop.cookies if answer.cookies is None else answer.cookies,
    )


def _address_behind(
    address: tuple[int, connect.Address] | None, old: SplitResult, new: SplitResult
) -> tuple[int, connect.Address] | None:
    """Return where to ask for a redirect: at the same address, if the host is it."""
    if address is None or not is_same_host(old.hostname or "", new.hostname or ""):
        return None
    if _port(old) == _port(new):
        return address
    kind, place = address
    return kind, (place[0], _port(new), *place[2:])


def request_of(
    target: Target, hop: Hop, deadline: Deadline, body: BodyReader
) -> curl.Request:
    """Return the request for a target, or for what it has redirected to."""
    user, password = curl.credentials_of(hop.url)
    request = curl.Request(
        url=hop.url,
        deadline=deadline,
        method=hop.method,
        body=hop.body,
        user=user,
        password=password,
        cookies=hop.cookies,
        address=hop.address,
        reader=body,
    )
    # Most sections give none, and a request has the same defaults.
    if not _OF_THE_REQUEST.isdisjoint(target.given_options):
        _add_options(request, target, hop)
        if hop.is_trusted:
            _add_login(request, target)
    return request


#: What changes how it is asked for, beside the URL, the method and the body.
_OF_THE_REQUEST = frozenset(
    {
        *("cafile", "verify", "family", "http_version", "proxy"),
        *("fail_days", "warn_days", *_TIMES),
        *("headers", "json", "form", "connect_to", "certificate", "key"),
        *("user", "password", "token", "auth"),
    }
)


def _add_options(request: curl.Request, target: Target, hop: Hop) -> None:
    """Add what applies to each request of a target, wherever it redirects to."""
    request.cafile, request.verify = target.cafile, target.verify
    request.wants_dates = target.fail_days is not None or target.warn_days is not None
    request.wants_times = not _TIMES.isdisjoint(target.given_options)
    request.family = target.family
    request.version = target.http_version
    request.proxy = target.proxy
    if target.connect_to:
        if _is_same_place(hop.url, target.url):
            request.connect_to = target.connect_to
        else:
            request.address = None


def _is_same_place(one: str, other: str) -> bool:
    """Return whether two URLs have the same host and port."""
    parts, others = urlsplit(one), urlsplit(other)
    hosts = parts.hostname or "", others.hostname or ""
    return _port(parts) == _port(others) and is_same_host(*hosts)


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def _add_login(request: curl.Request, target: Target) -> None:
    """Add what only the target's own server may have."""
    request.headers = target.headers
    if request.body is not None and (target.json or target.form):
        form = "application/x-www-form-urlencoded"
        kind = "application/json" if target.json else form
        if not any(one.lower().startswith("content-type:") for one in target.headers):
            request.headers = [f"Content-Type: {kind}", *target.headers]
    request.certificate, request.key = target.certificate, target.key
    if target.user or target.password or target.auth == "digest":
        # One of both may be in the URL.
        request.user, request.auth = target.user or request.user, target.auth
        request.password = target.password or request.password
    if target.token:
        request.auth, request.password = "bearer", target.token


def _body_of(target: Target) -> bytes | None:
    if target.body_file:
        try:
            with open(target.body_file, "rb") as file:
                return file.read()
        except OSError as error:
            reason = f"body_file {target.body_file}: {error.strerror}"
            raise CheckUnknown(reason) from error
    body = target.body or target.json or target.form
    return body.encode() if body else None


def values_of(
    job: TargetJob,
    target: Target,
    answer: Response,
    body: BodyReader,
    took: float,
    address: tuple[int, connect.Address] | None,
    chains: Mapping[str, Sequence[bytes]],
) -> dict[str, Value]:
    """Return what was measured, with its thresholds.

    ``address`` is that which was to be asked, if each of the name is; ``chains`` are
    the certificates of each host that was asked.
    """
    values = {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}
    for name, warn, fail in _OF_THE_TIME if answer.times else ():
        limits = getattr(target, warn), getattr(target, fail)
        if any(limits):
            time_s = answer.times[name.removeprefix("time_")]
            values[name] = seconds(time_s, warn=limits[0], fail=limits[1])
    if target.warn_size or target.fail_size:
        size = answer.size
        values["size"] = bytes_(size, warn=target.warn_size, fail=target.fail_size)
    if chains and (target.warn_days or target.fail_days):
        values["days"] = _days_left(job, target, chains)
    if target.metric:
        place = connect.shown_address(address[1]) if address else ""
        number = _metric(job, target, body.text, place)
        if number is not None:
            unit = per_second if target.per else count
            value = unit(number, warn=target.warn_value, fail=target.fail_value)
            values["value"] = value
            if value.is_outside:
                what = "the growth of " if target.per else ""
                line = f"value is {what}{metric_words(*target.metric)}"
                job.note = "\n".join(filter(None, (job.note, line)))
    return values


def _days_left(
    job: TargetJob, target: Target, chains: Mapping[str, Sequence[bytes]]
) -> Any:
    """Return how long all chains are valid; the certificate that ends first counts."""
    from datetime import UTC, datetime

    from lib.net import certificates

    ends = []
    for host, ders in chains.items():
        chain = certificates.read_chain(ders)
        first = certificates.first_to_end(
            chain,
            lambda: certificates.trusted(target.cafile or certificates.system_store()),
            # A root of one's own is one's own to renew.
            counts_root=bool(target.verify and target.cafile),
        )
        ends.append((host, chain, first))
    host, chain, first = min(ends, key=lambda one: one[2].not_after)
    job.note = certificates.expiry_words(host, chain, first)
    left = certificates.days_left(first, datetime.now(UTC))
    return count(left, warn=target.warn_days, fail=target.fail_days)


def _metric(job: TargetJob, target: Target, page: str, place: str) -> float | None:
    """Return the number of a metric, or its growth; None where none is known yet.

    A ``place`` has a number of its own.
    """
    number, name = metric_value(page, *target.metric), metric_words(*target.metric)
    if number is None:
        raise CheckFailed(f"there is no number of {name} in the response")
    if not isfinite(number):
        # Both are allowed in Prometheus' text format.
        raise CheckFailed(f"{name} is {number} in the response, no number to judge")
    if not target.per:
        return number
    memory, key, now = job.memory, "metric", time.time()
    if place:
        memory, key = memory.setdefault("metrics", {}), place
    before = memory.get(key)
    memory[key] = [number, now]
    if not before or now <= before[1]:
        return None
    # A counter that is smaller than before has begun again at 0.
    grown = number - before[0] if number >= before[0] else number
    return float(grown / (now - before[1]))


#: With one of these the whole text is needed; with one of those the whole body.
_OF_THE_TEXT = ("reject_text", "expect_regex", "reject_regex", "expect_json", "metric")
_OF_THE_SIZE = ("fail_size", "warn_size")
_OF_THE_METRIC = ("fail_value", "warn_value", "per")
_NEEDS_THE_TEXT, _NEEDS_THE_SIZE = frozenset(_OF_THE_TEXT), frozenset(_OF_THE_SIZE)
_NEEDS_ALL = _NEEDS_THE_TEXT | _NEEDS_THE_SIZE
#: With one of these a part of it, at least.
_OF_A_BODY = ("expect_text", *_OF_THE_TEXT, *_OF_THE_SIZE)
#: Without one of these, and without a secret, no options contradict each other.
_MAY_BE_WRONG = frozenset(
    {
        *("method", "key", "user", "auth", "redirects"),
        *BODIES,
        *_OF_THE_METRIC,
    }
)


def reads_all(target: Target) -> bool:
    """Return whether the whole body is needed."""
    return not _NEEDS_ALL.isdisjoint(target.given_options)


class BodyReader(Reader):
    """Reads no more of a body than the target is judged by."""

    #: Whether the wanted words came.
    found = False
    #: The first words.
    head = ""
    _answer: Response | None = None
    _wanted: str = ""
    _decoder: Any = None
    #: The end of what was decoded, in which the wanted words may begin.
    _tail = ""
    _reads_all = False
    #: The pieces of the text, where all of it is needed.
    _parts: list[str] | None = None
    #: How many bytes these were, and for how many memory is taken.
    _kept = _taken = 0

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def text(self) -> str:
        """Return the whole text, where it is needed."""
        return "".join(self._parts or ())

    @property
    def shown(self) -> str:
        """Return the first words without what the target logs in with.

        A server may repeat it.  What is cut later would leave a part of it.
        """
        text = self.head
        for part in login_of(self._target):
            text = text.replace(part, "***")
        return text

    def wants(self, answer: Response) -> bool:
        """Return whether the body is looked at, or its first words are shown."""
        if is_redirect(self._target, answer):
            return False
        self._decoder = None
        self._answer = answer
        if answer.status == 401 and self._target.auth == "digest":
            # It may be what says how to log in: the answer comes behind its body.
            return True
        if not is_expected(answer.status, self._target.expect_status):
            return True
        self._reads_all = reads_all(self._target)
        if self._reads_all:
            given = self._target.given_options
            self.counts = not _NEEDS_THE_SIZE.isdisjoint(given)
            self._parts = None if _NEEDS_THE_TEXT.isdisjoint(given) else []
        self._wanted = self._target.expect_text
        return self._reads_all or bool(self._wanted)

    def is_enough(self, part: bytes, *, is_all: bool = False) -> bool:
        """Return whether no more of the body is needed."""
        if self._decoder is None:
            assert self._answer is not None
            self._decoder = text_decoder(self._answer.header("content-type"), part)
        words = self._decoder.decode(part, final=is_all)
        self.head = (self.head + words)[:1000]
        if self._parts is not None:
            self._keep(words, len(part))
        if self._wanted:
            words = self._tail + words
            self.found = self.found or self._wanted in words
            self._tail = words[1 - len(self._wanted) :] if self._wanted[1:] else ""
        if self._reads_all:
            return False
        return self.found if self._wanted else bool(self.head.strip())

    def _keep(self, words: str, size: int) -> None:
        """Keep a piece of the text; raise NoRoom if there is no memory for it."""
        assert self._parts is not None
        self._kept += size
        more = self._kept - self._taken
        if more > 0:
            if not room().take(more):
                raise NoRoom
            self._taken += more
        self._parts.append(words)

    def wait_for_room(self, deadline: Deadline) -> bulk.Steps[None]:
        """Begin again, once there is room for the longest body that is kept."""
        self.forget()
        while not room().take(MAX_BYTES):
            pause = deadline.within(ROOM_AFTER_S)
            if pause is deadline:
                raise CheckUnknown(no_room(f"for {deadline}"))
            yield bulk.Pause(pause)
        self._taken = MAX_BYTES
        self.head, self._tail, self.found = "", "", False

    def forget(self) -> None:
        """Give back the memory of what was kept."""
        if self._taken:
            room().give_back(self._taken)
        self._parts, self._taken, self._kept = None, 0, 0


def no_room(how_long: str) -> str:
    """Return that there was no memory for a body, and what to do."""
    return (
        "not checked: the bodies of other targets take all of the memory there is, "
        f"{how_long}\n"
        "raise timeout, or workermemory in [general]; or have so many large pages "
        "checked at different times"
    )


def is_redirect(target: Target, answer: Response) -> bool:
    """Return whether a response is a redirect to follow."""
    return (
        answer.status in _REDIRECTS
        and bool(answer.header("location"))
        and target.redirects != "none"
        and not is_expected(answer.status, target.expect_status)
    )


def expect(target: Target, hop: Hop, answer: Response, body: BodyReader) -> None:
    """Raise CheckFailed if a response is not as expected.

    Raise CheckUnknown if that is not to be seen in what was read of it.
    """
    url = hop.url
    if not is_expected(answer.status, target.expect_status):
        reason = unexpected_status(answer, target.expect_status, body.shown)
        if answer.status in _NOT_LOGGED_IN and not hop.is_trusted and logs_in(target):
            reason = "\n".join([reason, *_login_lines(url)])
        raise CheckFailed(reason, addresses=[answer.address])
    if target.expect_location and not _is_same_url(url, target.expect_location):
        raise CheckFailed(
            f"the redirects end at {shown_url(url)}, "
            f"not at {shown_url(target.expect_location)}",
            addresses=[answer.address],
        )
    if target.expect_header:
        name, pattern = target.expect_header
        _expect_header(name, pattern, answer)
    needs_more = target.expect_text and not body.found
    if answer.trouble and (needs_more or reads_all(target)):
        raise answer.trouble
    if needs_more:
        reason = missing_text(answer, target.expect_text, body.shown)
        raise CheckFailed(reason, addresses=[answer.address])
    if reads_all(target):
        _expect_text(target, answer, body)


def _expect_text(target: Target, answer: Response, body: BodyReader) -> None:
    names = [name for name in _OF_THE_TEXT if getattr(target, name)]
    if not names:
        return
    if wrong := wrong_text(target, body.text, is_cut=answer.is_cut):
        reason = "\n".join([wrong, *_response_lines(body.shown)])
        raise CheckFailed(reason, addresses=[answer.address])
    if answer.is_cut:
        raise CheckUnknown(cut_words(names))


#: 400 is nginx's for a certificate that was not shown.
_NOT_LOGGED_IN = (400, 401, 403)


def logs_in(target: Target) -> bool:
    """Return whether there is something to log in with."""
    return bool(
        target.user
        or target.password
        or target.token
        or target.headers
        or target.certificate
        or curl.credentials_of(target.url)[0]
    )


def _login_lines(url: str) -> Iterator[str]:
    yield (
        f"after the redirect to {shown_url(url)} nothing to log in with is sent: "
        "it is another host or port"
    )
    yield "if it may have that, put this URL in the section"


def _is_same_url(one: str, other: str) -> bool:
    parts, others = urlsplit(one), urlsplit(other)
    return _is_same_place(one, other) and (
        (parts.scheme, parts.path or "/", parts.query)
        == (others.scheme, others.path or "/", others.query)
    )


def _expect_header(name: str, pattern: re.Pattern[str], answer: Response) -> None:
    values = answer.headers(name.lower())
    if not any(map(pattern.search, values)):
        shown = " and ".join(repr(printable(value, 60)) for value in values)
        got = f"it is {shown}" if values else "there is none"
        raise CheckFailed(
            f"header {name} does not match {pattern.pattern!r}: {got}",
            addresses=[answer.address],
        )


def cut_words(names: Sequence[str]) -> str:
    """Return that a response is too long for what these options say to be judged."""
    most = curl.shown_size(MAX_BYTES)
    return (
        f"only the first {most} of the response were read, the most that is looked at, "
        f"so {' and '.join(names)} cannot be judged\n"
        "have the server send less: a filter or a page of its own for what is checked"
    )


def wrong_text(target: Target, page: str, *, is_cut: bool = False) -> str:
    """Return what is wrong with the text of a response; empty if nothing is.

    Where it was cut, nothing is if what was cut off may change that.
    """
    if target.reject_text and target.reject_text in page:
        return f"{printable(target.reject_text, 60)!r} is in the response"
    if is_cut:
        return ""
    if target.expect_regex and not target.expect_regex.search(page):
        return f"the response does not match {target.expect_regex.pattern!r}"
    if target.reject_regex and target.reject_regex.search(page):
        return f"the response matches {target.reject_regex.pattern!r}"
    return _wrong_json(target, page) if target.expect_json else ""


def _wrong_json(target: Target, page: str) -> str:
    import json

    import jmespath

    try:
        content = json.loads(page)
    except ValueError as error:
        return f"the response is not JSON: {printable(str(error), 100)}"
    except RecursionError:
        return "the response is JSON that is nested too deeply"
    try:
        result = target.expect_json.search(content)
    except jmespath.exceptions.JMESPathError as error:
        return f"expect_json cannot be applied: {printable(str(error), 100)}"
    except TypeError as error:
        # It compares a text with a number, of which JMESPath's own rules say null.
        why = printable(str(error), 100)
        return f"expect_json cannot be applied: {why}; to_number() reads a number"
    if result is True:
        return ""
    shown = printable(json.dumps(result), 60)
    return f"expect_json {target.expect_json.expression} is {shown}, not true"


def is_expected(status: int, ranges: Ranges) -> bool:
    """Return whether the status is in one of the ranges."""
    for low, high in ranges:
        if low <= status <= high:
            return True
    return False


def next_url(url: str, location: str, policy: str) -> str:
    """Return the URL of a redirect; raise CheckFailed if it may not be followed.

    User and password are sent only to the same host and port, or to https on that
    host.  Credentials in the redirect itself are never used.
    """
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        # This reads both ports, of which one may be out of range.
        is_same_place = keeps_credentials(old, new)
    except ValueError:
        raise CheckFailed("redirected to an invalid URL") from None
    there = shown_url(new.geturl())
    if new.scheme not in _PORTS or not new.hostname:
        raise CheckFailed(f"redirected to {there}, which is not http or https")
    same_host = is_same_host(old.hostname or "", new.hostname)
    secure_enough = (old.scheme, new.scheme) != ("https", "http")
    if policy != "any" and not same_host:
        raise CheckFailed(
            f"redirected to another host: {there}\n"
            "not followed; set redirects = any, or put that URL in the section"
        )
    if policy != "any" and not secure_enough:
        raise CheckFailed(
            f"redirected from https to http: {there}\n"
            "not followed; set redirects = any to follow it"
        )
    credentials = old.netloc.rpartition("@")[0]
    netloc = new.netloc.rpartition("@")[2]
    if credentials and is_same_place:
        netloc = f"{credentials}@{netloc}"
    return new._replace(netloc=netloc, fragment="").geturl()


def keeps_credentials(old: SplitResult, new: SplitResult) -> bool:
    """Return whether a redirect may have what the target before it had."""
    ports = [_port(old), _port(new)]
    return (
        is_same_host(old.hostname or "", new.hostname or "")
        and (old.scheme, new.scheme) != ("https", "http")
        and (ports[0] == ports[1] or ports == [80, 443])
    )


def unexpected_status(answer: Response, ranges: Ranges, head: str) -> str:
    """Return the reason for a response with an unexpected status."""
    got = f"{answer.status} {answer.phrase}".strip()
    lines = [f"expected status {shown_ranges(ranges)}, got {got}"]
    if location := answer.header("location"):
        lines.append(f"redirected to {shown_url(location)}")
    if answer.route:
        lines.append(answer.route)
    return "\n".join([*lines, *_response_lines(head)])


def missing_text(answer: Response, text: str, head: str) -> str:
    """Return the reason for a response without the expected text."""
    where, shown = "the response", curl.shown_size(min(answer.size, MAX_BYTES))
    if answer.is_cut:
        where = f"the first {shown} of the response, the most that is looked at"
    return "\n".join(
        [
            f"{printable(text, 60)!r} is not in {where}",
            f"status {answer.status}, {shown} read",
            *_response_lines(head),
        ]
    )


def shown_ranges(ranges: Ranges) -> str:
    """Return ranges of status codes as the settings write them."""
    return ", ".join(
        str(low) if low == high else f"{low}-{high}" for low, high in ranges
    )


def _response_lines(head: str) -> Iterator[str]:
    if words := printable(head, MAX_SHOWN):
        yield f"the response begins: {words}"
