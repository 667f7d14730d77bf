"""[http NAME]: checks that a web server sends the expected status and text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self
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
from lib.net import bulk, connect, curl
from lib.net.address import (
    is_same_host,
    printable,
    shown_url,
    without_credentials,
)
from lib.net.charset import text_decoder

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
#: How many characters of an unexpected response are shown.
MAX_SHOWN = 200

Ranges = Sequence[tuple[int, int]]


class HTTPServerChecker(TargetJob):
    """One URL."""

    kind = "http"
    recheck = "5min"
    is_across_network = True
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
        return bulk.run_one(steps(self, target, deadline))

    @classmethod
    def check_many(
        cls,
        jobs: Sequence[Self],
        deadline: Callable[[Sequence[Self]], Sequence[Deadline]],
    ) -> Iterator[tuple[Self, Values | Exception] | None]:
        """Check many URLs at once."""
        return bulk.run(jobs, lambda job, own: steps(job, job.target, own), deadline)


def steps(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long it took until the response was there, as expected."""
    if target.expect_text and target.method == "head":
        raise CheckUnknown(
            "expect_text needs method = get: a HEAD response has no body"
        )
    began = time.monotonic()
    try:
        yield from follow(job, target, deadline)
    except (connect.Unreachable, CheckFailed) as error:
        # A server's message may quote the credentials that we sent.
        raise CheckFailed(
            without_credentials(str(error), target.url),
            host=error.host or urlsplit(target.url).hostname or "",
            cause=without_credentials(error.cause, target.url),
            addresses=error.addresses,
        ) from None
    took = time.monotonic() - began
    return {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}


def follow(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[None]:
    """Follow the redirects; raise CheckFailed if the last response is not expected."""
    url = target.url
    for _hop in range(MAX_REDIRECTS + 1):
        body = BodyReader(target)
        answer = yield from curl.fetch(request_of(target, url, deadline, body))
        job.answered_by = answer.peer
        if not is_redirect(target, answer):
            expect(target, answer, body)
            return
        url = next_url(url, answer.header("location"), target.redirects)
    raise CheckFailed(
        f"more than {MAX_REDIRECTS} redirects\nthe last one is to {shown_url(url)}"
    )


def request_of(
    target: Target, url: str, deadline: Deadline, body: BodyReader
) -> curl.Request:
    """Return the request for a target, or for what it has redirected to."""
    user, password = curl.credentials_of(url)
    return curl.Request(
        url=url,
        deadline=deadline,
        method=target.method,
        user=user,
        password=password,
        cafile=target.cafile,
        verify=target.verify,
        reader=body,
    )


class BodyReader(curl.Reader):
    """Reads no more of a body than the target is judged by."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._answer: curl.Response | None = None
        self._wanted: str = ""
        self._decoder: Any = None
        self._seen = 0
        #: The end of what was decoded, in which the wanted words may begin.
        self._tail = ""
        #: Whether the wanted words came.
        self.found = False
        #: The first words.
        self.head = ""

    def wants(self, answer: curl.Response) -> bool:
        """Return whether the body is looked at, or its first words are shown."""
        if is_redirect(self._target, answer):
            return False
        self._decoder = None
        self._answer = answer
        if is_expected(answer.status, self._target.expect_status):
            self._wanted = self._target.expect_text
            return bool(self._wanted)
        return True

    def is_enough(self, body: bytes | bytearray, *, is_all: bool = False) -> bool:
        """Return whether no more of the body is needed."""
        if self._decoder is None:
            assert self._answer is not None
            self._decoder = text_decoder(self._answer.header("content-type"), body)
        part = self._decoder.decode(bytes(body[self._seen :]), final=is_all)
        self._seen = len(body)
        self.head = (self.head + part)[:1000]
        if not self._wanted:
            return bool(self.head.strip())
        text = self._tail + part
        self.found = self.found or self._wanted in text
        self._tail = text[1 - len(self._wanted) :] if len(self._wanted) > 1 else ""
        return self.found


def is_redirect(target: Target, answer: curl.Response) -> bool:
    """Return whether a response is a redirect to follow."""
    return (
        answer.status in _REDIRECTS
        and bool(answer.header("location"))
        and target.redirects != "none"
        and not is_expected(answer.status, target.expect_status)
    )


def expect(target: Target, answer: curl.Response, body: BodyReader) -> None:
    """Raise CheckFailed if a response has not the expected status and text."""
    if not is_expected(answer.status, target.expect_status):
        reason = unexpected_status(answer, target.expect_status, body.head)
        raise CheckFailed(reason, addresses=[answer.address])
    if target.expect_text and not body.found:
        if answer.trouble:
            raise answer.trouble
        reason = missing_text(answer, target.expect_text, body.head)
        raise CheckFailed(reason, addresses=[answer.address])


def is_expected(status: int, ranges: Ranges) -> bool:
    """Return whether the status is in one of the ranges."""
    return any(low <= status <= high for low, high in ranges)


def next_url(url: str, location: str, policy: str) -> str:
    """Return the URL of a redirect; raise CheckFailed if it may not be followed.

    User and password are sent only to the same host and port, or to https on that
    host.  Credentials in the redirect itself are never used.
    """
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        ports = [parts.port or _PORTS.get(parts.scheme) for parts in (old, new)]
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
    same_port = ports[0] == ports[1] or ports == [80, 443]
    credentials = old.netloc.rpartition("@")[0]
    netloc = new.netloc.rpartition("@")[2]
    if credentials and same_host and secure_enough and same_port:
        netloc = f"{credentials}@{netloc}"
    return new._replace(netloc=netloc, fragment="").geturl()


def unexpected_status(answer: curl.Response, ranges: Ranges, head: str) -> str:
    """Return the reason for a response with an unexpected status."""
    got = f"{answer.status} {answer.phrase}".strip()
    lines = [f"expected status {shown_ranges(ranges)}, got {got}"]
    if location := answer.header("location"):
        lines.append(f"redirected to {shown_url(location)}")
    return "\n".join([*lines, *_response_lines(head)])


def missing_text(answer: curl.Response, text: str, head: str) -> str:
    """Return the reason for a response without the expected text."""
    wanted = printable(text, 60)
    size = len(answer.body)
    shown = curl.shown_size(size)
    where = f"the first {shown}" if size >= curl.MAX_BYTES else "the response"
    first = f"{wanted!r} is not in {where}"
    return "\n".join(
        [
            first,
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
