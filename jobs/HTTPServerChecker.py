"""[http NAME]: checks that a web server sends the expected status and text.

The options of the section are in ``lib/config/kinds.py``.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin, urlsplit

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    JobBase,
    JobSpawner,
    TargetJob,
    targets,
)
from lib.net import connect, http

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
#: How many characters of an unexpected response are shown.
MAX_SHOWN = 200

Ranges = Sequence[tuple[int, int]]


class HTTPServerChecker(JobSpawner):
    """One job per section [http NAME]."""

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield a job for each section."""
        for target in targets(config, "http"):
            yield Server(config, target)


class Server(TargetJob):
    """One URL."""

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this URL."""
        import glob

        kind = "<class 'jobs.HTTPServerChecker.HTTPServerChecker.ServerChecker'>"
        url = self.given["url"]
        return glob.escape(f"{kind} for {url}|{url}") + "*"

    def execute(self) -> bool:
        """Fail unless the response has an expected status and the expected text."""
        if self.given["expect_text"] and self.given["method"] == "head":
            raise CheckUnknown(
                "expect_text needs method = get: a HEAD response has no body"
            )
        try:
            return self._follow(connect.Deadline(self.timeout()))
        except (connect.Unreachable, CheckFailed) as error:
            # A server's message may quote the credentials that we sent.
            url = self.given["url"]
            raise CheckFailed(
                http.without_credentials(str(error), url),
                host=error.host or urlsplit(url).hostname or "",
                cause=http.without_credentials(error.cause, url),
                addresses=error.addresses,
            ) from None
        except connect.NotTried as error:
            raise CheckUnknown(str(error)) from error

    def _follow(self, deadline: connect.Deadline) -> bool:
        """Follow the redirects; return True if the last response is as expected."""
        url = self.given["url"]
        for _hop in range(MAX_REDIRECTS + 1):
            with http.ask(
                self.given["method"],
                url,
                deadline,
                cafile=self.given["cafile"],
                verify=self.given["verify"],
            ) as answer:
                if not self._is_redirect(answer):
                    return self._judge(answer)
                url = next_url(url, answer.location, self.given["redirects"])
        raise CheckFailed(
            f"more than {MAX_REDIRECTS} redirects\n"
            f"the last one is to {http.shown_url(url)}"
        )

    def _is_redirect(self, answer: http.Answer) -> bool:
        return (
            answer.status in _REDIRECTS
            and bool(answer.location)
            and self.given["redirects"] != "none"
            and not is_expected(answer.status, self.given["expect_status"])
        )

    def _judge(self, answer: http.Answer) -> bool:
        if not is_expected(answer.status, self.given["expect_status"]):
            answer.look()
            reason = unexpected_status(answer, self.given["expect_status"])
            raise CheckFailed(reason, addresses=[answer.address])
        text = self.given["expect_text"]
        if text and not answer.contains(text):
            raise CheckFailed(missing_text(answer, text), addresses=[answer.address])
        return True


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
