"""Watch what a web server answers: status, words, and that it answers at all.

One job per section ``[http NAME]``; its options are in ``lib/config/kinds.py``.
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
#: How much of an unexpected answer is shown.
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
        """Return a glob over the names the older program had for this URL."""
        import glob

        kind = "<class 'jobs.HTTPServerChecker.HTTPServerChecker.ServerChecker'>"
        url = self.values["url"]
        return glob.escape(f"{kind} for {url}|{url}") + "*"

    def execute(self) -> bool:
        """Fail unless the answer has an expected status and the expected words."""
        if self.values["expect_text"] and self.values["method"] == "head":
            raise CheckUnknown("expect_text needs method = get: head brings no text")
        try:
            return self._follow(connect.Deadline(self.timeout()))
        except (connect.Unreachable, CheckFailed) as error:
            # What was sent may come back in what the server says.
            reason = http.without_credentials(str(error), self.values["url"])
            raise CheckFailed(reason) from None
        except connect.NotTried as error:
            raise CheckUnknown(str(error)) from error

    def _follow(self, deadline: connect.Deadline) -> bool:
        """Return True if what is at the end of the redirects is as expected."""
        url = self.values["url"]
        for _hop in range(MAX_REDIRECTS + 1):
            with http.ask(
                self.values["method"],
                url,
                deadline,
                cafile=self.values["cafile"],
                verify=self.values["verify"],
            ) as answer:
                if not self._leads_on(answer):
                    return self._judge(answer)
                url = next_url(url, answer.location, self.values["redirects"])
        raise CheckFailed(
            f"more than {MAX_REDIRECTS} redirects\nthe last to {http.shown_url(url)}"
        )

    def _leads_on(self, answer: http.Answer) -> bool:
        return (
            answer.status in _REDIRECTS
            and bool(answer.location)
            and self.values["redirects"] != "none"
            and not is_expected(answer.status, self.values["expect_status"])
        )

    def _judge(self, answer: http.Answer) -> bool:
        if not is_expected(answer.status, self.values["expect_status"]):
            answer.look()
            raise CheckFailed(unexpected_status(answer, self.values["expect_status"]))
        words = self.values["expect_text"]
        if words and not answer.contains(words):
            raise CheckFailed(missing_words(answer, words))
        return True


def is_expected(status: int, ranges: Ranges) -> bool:
    """Return whether the status is in one of the ranges."""
    return any(low <= status <= high for low, high in ranges)


def next_url(url: str, location: str, policy: str) -> str:
    """Return where a redirect leads; raise CheckFailed if it is not to be followed.

    User and password go along only to the same host and port, or to https there;
    those that a server proposes are never used.
    """
    # Headers are read as Latin-1; what servers write beyond ASCII is UTF-8.
    raw = location.encode("latin-1", "replace").decode("utf-8", "replace").strip()
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, raw))
        ports = [parts.port or _PORTS.get(parts.scheme) for parts in (old, new)]
    except ValueError:
        raise CheckFailed("redirected to something that is no URL") from None
    there = http.shown_url(new.geturl())
    if new.scheme not in _PORTS or not new.hostname:
        raise CheckFailed(f"redirected to {there}, which is not http or https")
    same_host = (old.hostname or "").lower() == new.hostname.lower()
    secure_enough = (old.scheme, new.scheme) != ("https", "http")
    if policy != "any" and not same_host:
        raise CheckFailed(
            f"redirected to another host: {there}\n"
            "not followed; redirects = any would, or put that URL in the section"
        )
    if policy != "any" and not secure_enough:
        raise CheckFailed(
            f"redirected from https to http: {there}\n"
            "not followed; redirects = any would"
        )
    same_door = ports[0] == ports[1] or ports == [80, 443]
    credentials = old.netloc.rpartition("@")[0]
    place = new.netloc.rpartition("@")[2]
    if credentials and same_host and secure_enough and same_door:
        place = f"{credentials}@{place}"
    return new._replace(netloc=place, fragment="").geturl()


def unexpected_status(answer: http.Answer, ranges: Ranges) -> str:
    """Return the words for a status that was not expected."""
    got = f"{answer.status} {answer.phrase}".strip()
    lines = [f"expected status {shown_ranges(ranges)}, got {got}"]
    if answer.location:
        lines.append(f"redirected to {http.shown_url(answer.location)}")
    return "\n".join([*lines, *_who_said(answer)])


def missing_words(answer: http.Answer, words: str) -> str:
    """Return the words for an answer that lacks the expected ones."""
    wanted = http.printable(words, 60)
    size = http.shown_size(answer.size)
    where = f"the first {size}" if answer.size >= http.MAX_BYTES else "the answer"
    first = f"{wanted!r} is not in {where}"
    return "\n".join(
        [first, f"status {answer.status}, {size} read", *_who_said(answer)]
    )


def shown_ranges(ranges: Ranges) -> str:
    """Return ranges of status codes as the settings write them."""
    return ", ".join(
        str(low) if low == high else f"{low}-{high}" for low, high in ranges
    )


def _who_said(answer: http.Answer) -> Iterator[str]:
    yield f"answered by {answer.peer}"
    if head := http.printable(answer.head, MAX_SHOWN):
        yield f"it begins: {head}"
