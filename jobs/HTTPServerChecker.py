"""[http NAME]: checks that a web server sends the expected status and text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin, urlsplit

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    absolute_path,
    one_of,
    option,
    seconds,
    statuses,
    switch,
    text,
    url,
)
from lib.net import connect, http

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
#: How many characters of an unexpected response are shown.
MAX_SHOWN = 200

Ranges = Sequence[tuple[int, int]]


class HTTPServerChecker(TargetJob):
    """One URL."""

    kind = "http"
    options: Options = {
        "url": option(url, help="what to fetch; http or https"),
        "method": option(
            one_of(("get", "head")),
            "get",
            help="get, or head if the text does not matter",
        ),
        "expect_status": option(
            statuses,
            ((200, 200),),
            help="which answers are OK: 200, 301-308 or 2xx",
        ),
        "expect_text": option(text, "", help="text that must be in the answer"),
        "redirects": option(
            one_of(("same_host", "any", "none")),
            "same_host",
            help="redirects to follow, at most 5: same_host, any or none",
        ),
        "cafile": option(
            absolute_path, "", help="trust this CA file instead of the system's store"
        ),
        "verify": option(
            switch, True, help="no: do not verify this target's certificate"
        ),
        "fail_time": option(
            seconds, None, help="failing if it takes longer than this: 2s, 500ms"
        ),
        "warn_time": option(
            seconds, None, help="a warning if it takes longer than this"
        ),
    }

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this URL."""
        import glob

        kind = "<class 'jobs.HTTPServerChecker.HTTPServerChecker.ServerChecker'>"
        url = self.target.url
        return glob.escape(f"{kind} for {url}|{url}") + "*"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how long it took until the response was there, as expected."""
        if target.expect_text and target.method == "head":
            raise CheckUnknown(
                "expect_text needs method = get: a HEAD response has no body"
            )
        began = time.monotonic()
        try:
            follow(target, deadline)
        except (connect.Unreachable, CheckFailed) as error:
            # A server's message may quote the credentials that we sent.
            raise CheckFailed(
                http.without_credentials(str(error), target.url),
                host=error.host or urlsplit(target.url).hostname or "",
                cause=http.without_credentials(error.cause, target.url),
                addresses=error.addresses,
            ) from None
        took = time.monotonic() - began
        return {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}


def follow(target: Target, deadline: Deadline) -> None:
    """Follow the redirects; raise CheckFailed if the last response is not expected."""
    url = target.url
    for _hop in range(MAX_REDIRECTS + 1):
        with http.ask(
            target.method,
            url,
            deadline,
            cafile=target.cafile,
            verify=target.verify,
        ) as answer:
            if not is_redirect(target, answer):
                expect(target, answer)
                return
            url = next_url(url, answer.location, target.redirects)
    raise CheckFailed(
        f"more than {MAX_REDIRECTS} redirects\n"
        f"the last one is to {http.shown_url(url)}"
    )


def is_redirect(target: Target, answer: http.Answer) -> bool:
    """Return whether a response is a redirect to follow."""
    return (
        answer.status in _REDIRECTS
        and bool(answer.location)
        and target.redirects != "none"
        and not is_expected(answer.status, target.expect_status)
    )


def expect(target: Target, answer: http.Answer) -> None:
    """Raise CheckFailed if a response has not the expected status and text."""
    if not is_expected(answer.status, target.expect_status):
        answer.look()
        reason = unexpected_status(answer, target.expect_status)
        raise CheckFailed(reason, addresses=[answer.address])
    if target.expect_text and not answer.contains(target.expect_text):
        reason = missing_text(answer, target.expect_text)
        raise CheckFailed(reason, addresses=[answer.address])


def is_expected(status: int, ranges: Ranges) -> bool:
    """Return whether the status is in one of the ranges."""
    return any(low <= status <= high for low, high in ranges)


def next_url(url: str, location: str, policy: str) -> str:
    """Return the URL of a redirect; raise CheckFailed if it may not be followed.

    User and password are sent only to the same host and port, or to https on that
    host.  Credentials in the redirect itself are never used.
    """
    # Headers are decoded as Latin-1, but servers write UTF-8 beyond ASCII.
    raw = location.encode("latin-1", "replace").decode("utf-8", "replace").strip()
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, raw))
        ports = [parts.port or _PORTS.get(parts.scheme) for parts in (old, new)]
    except ValueError:
        raise CheckFailed("redirected to an invalid URL") from None
    there = http.shown_url(new.geturl())
    if new.scheme not in _PORTS or not new.hostname:
        raise CheckFailed(f"redirected to {there}, which is not http or https")
    same_host = (old.hostname or "").lower() == new.hostname.lower()
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
    same_port = ports[0] == ports[1] or ports == [80, 443]
    credentials = old.netloc.rpartition("@")[0]
    netloc = new.netloc.rpartition("@")[2]
    if credentials and same_host and secure_enough and same_port:
        netloc = f"{credentials}@{netloc}"
    return new._replace(netloc=netloc, fragment="").geturl()


def unexpected_status(answer: http.Answer, ranges: Ranges) -> str:
    """Return the reason for a response with an unexpected status."""
    got = f"{answer.status} {answer.phrase}".strip()
    lines = [f"expected status {shown_ranges(ranges)}, got {got}"]
    if answer.location:
        lines.append(f"redirected to {http.shown_url(answer.location)}")
    return "\n".join([*lines, *_response_lines(answer)])


def missing_text(answer: http.Answer, text: str) -> str:
    """Return the reason for a response without the expected text."""
    wanted = http.printable(text, 60)
    size = http.shown_size(answer.size)
    where = f"the first {size}" if answer.size >= http.MAX_BYTES else "the response"
    first = f"{wanted!r} is not in {where}"
    return "\n".join(
        [first, f"status {answer.status}, {size} read", *_response_lines(answer)]
    )


def shown_ranges(ranges: Ranges) -> str:
    """Return ranges of status codes as the settings write them."""
    return ", ".join(
        str(low) if low == high else f"{low}-{high}" for low, high in ranges
    )


def _response_lines(answer: http.Answer) -> Iterator[str]:
    yield f"answered by {answer.peer}"
    if head := http.printable(answer.head, MAX_SHOWN):
        yield f"the response begins: {head}"
