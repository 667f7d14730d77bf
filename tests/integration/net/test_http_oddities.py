"""Odd answers of HTTP servers: [http] finds what curl does, or a line says why not.

Each oddity is what a server says to one request, and closes.  curl finds the page if it
ends with 0, the status is 200, and the word is in what it has written.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import zlib

import pytest

from jobs.HTTPServerChecker import HTTPServerChecker
from tests.support.listeners import RESET, Listener, found_by, says

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed"),
]

WORD = "all is well"
BODY = WORD.encode()
#: Both find the page.
GOOD = "the page is found"
#: Neither does.
BAD = "the page is not found"
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 11\r\n"
END = b"\r\n"
PLAIN = OK + LENGTH + END + BODY


def with_headers(*lines: bytes) -> bytes:
    """Return a good answer with more headers."""
    return OK + b"".join(line + b"\r\n" for line in lines) + LENGTH + END + BODY


def chunked(*pieces: bytes) -> bytes:
    """Return an answer in chunks, which are given with their lengths."""
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(pieces)


def packed(encoding: bytes, body: bytes) -> bytes:
    """Return an answer with a content encoding."""
    length = b"Content-Length: %d\r\n" % len(body)
    return OK + b"Content-Encoding: " + encoding + b"\r\n" + length + END + body


#: What each server says, and what both find, or in which they differ and why.
ODDITIES: dict[str, tuple[bytes | tuple[bytes | str, ...], str]] = {
    "plain": (PLAIN, GOOD),
    "HTTP/1.0": (PLAIN.replace(b"/1.1", b"/1.0"), GOOD),
    "no reason phrase": (PLAIN.replace(b" OK", b""), GOOD),
    "no reason phrase, a blank": (PLAIN.replace(b" OK", b" "), GOOD),
    "a reason of many words": (PLAIN.replace(b" OK", b" All is quite OK"), GOOD),
    "a reason in Latin-1": (PLAIN.replace(b" OK", b" Gew\xe4hrt"), GOOD),
    "bare line feeds": (PLAIN.replace(b"\r\n", b"\n"), GOOD),
    "bare line feeds and a carriage return": (PLAIN.replace(b"\r\n", b"\n", 1), GOOD),
    "no length, the end of the connection": (OK + END + BODY, GOOD),
    "no headers": (OK + END + BODY, GOOD),
    "150 headers": (with_headers(*[b"X-%d: y" % n for n in range(150)]), GOOD),
    "a header of 90 kB": (with_headers(b"X: " + b"y" * 90_000), GOOD),
    "a header of 120 kB": (with_headers(b"X: " + b"y" * 120_000), BAD),
    "400 kB of headers": (with_headers(*[b"X: " + b"y" * 9_000] * 45), BAD),
    "a header without a value": (with_headers(b"X-Empty:"), GOOD),
    "a header without a colon": (
        with_headers(b"X-Odd"),
        f"{BAD}: curl 7.88 passes over it, the libcurl of pycurl's wheel refuses it",
    ),
    "a name with a blank": (with_headers(b"X Odd: y"), GOOD),
    "a blank before the colon": (OK + b"Content-Length : 11\r\n\r\n" + BODY, GOOD),
    "a folded header": (with_headers(b"X-Folded: a", b"  b"), GOOD),
    "a folded header first": (
        OK + b" X: y\r\n" + LENGTH + END + BODY,
        f"{GOOD}: curl 7.88 refuses it, the libcurl of pycurl's wheel does not",
    ),
    "a NUL in a header": (with_headers(b"X: a\0b"), BAD),
    "two equal lengths": (with_headers(b"Content-Length: 11"), GOOD),
    "a length twice in one line": (
        OK + b"Content-Length: 11, 11\r\n\r\n" + BODY,
        GOOD,
    ),
    "a length with a plus": (
        OK + b"Content-Length: +11\r\n\r\n" + BODY,
        f"{BAD}: curl 7.88 reads it as 11, the libcurl of pycurl's wheel refuses it",
    ),
    "a negative length": (OK + b"Content-Length: -1\r\n\r\n" + BODY, BAD),
    "a length that is no number": (OK + b"Content-Length: x\r\n\r\n" + BODY, BAD),
    "a length that is too small": (OK + b"Content-Length: 5\r\n\r\n" + BODY, BAD),
    "a length that is too large": (
        OK + b"Content-Length: 50\r\n\r\n" + BODY,
        f"{GOOD}: the word has come, and no more of the body is read",
    ),
    "a length of 20 digits": (OK + b"Content-Length: 1%s\r\n\r\n" % (b"0" * 20), BAD),
    "length and chunks": (
        OK
        + LENGTH
        + b"Transfer-Encoding: chunked\r\n\r\nb\r\n"
        + BODY
        + b"\r\n0\r\n\r\n",
        GOOD,
    ),
    "chunks": (chunked(b"b\r\n", BODY, b"\r\n0\r\n\r\n"), GOOD),
    "chunks in capitals": (chunked(b"B\r\n", BODY, b"\r\n0\r\n\r\n"), GOOD),
    "chunks with leading zeros": (chunked(b"00b\r\n", BODY, b"\r\n0\r\n\r\n"), GOOD),
    "a chunk extension": (chunked(b"b;a=b\r\n", BODY, b"\r\n0\r\n\r\n"), GOOD),
    "a trailer": (chunked(b"b\r\n", BODY, b"\r\n0\r\nX: y\r\n\r\n"), GOOD),
    "no last chunk": (
        chunked(b"b\r\n", BODY, b"\r\n"),
        f"{GOOD}: the word has come, and no more of the body is read",
    ),
    "a chunk that is no number": (chunked(b"x\r\n", BODY, b"\r\n0\r\n\r\n"), BAD),
    "a chunk of 17 digits": (chunked(b"1" * 17 + b"\r\n", BODY), BAD),
    "chunks, then more": (chunked(b"b\r\n", BODY, b"\r\n0\r\n\r\nmore"), GOOD),
    "gzip": (packed(b"gzip", gzip.compress(BODY)), GOOD),
    "x-gzip": (packed(b"x-gzip", gzip.compress(BODY)), GOOD),
    "deflate with a header": (packed(b"deflate", zlib.compress(BODY)), GOOD),
    "identity": (packed(b"identity", BODY), GOOD),
    "gzip that is none": (packed(b"gzip", BODY), BAD),
    "gzip that is cut": (packed(b"gzip", gzip.compress(BODY)[:-12]), BAD),
    "an unknown encoding": (packed(b"odd", BODY), BAD),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, GOOD),
    "103 first": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN, GOOD),
    "five of 102 first": (b"HTTP/1.1 102 Processing\r\n\r\n" * 5 + PLAIN, GOOD),
    "100 and no more": (b"HTTP/1.1 100 Continue\r\n\r\n", BAD),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", BAD),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", BAD),
    "500 with the word": (PLAIN.replace(b"200 OK", b"500 No"), BAD),
    "status 299": (PLAIN.replace(b"200 OK", b"299 Odd"), BAD),
    "status 999": (PLAIN.replace(b"200 OK", b"999 Odd"), BAD),
    "status 20": (PLAIN.replace(b"200 OK", b"20 OK"), BAD),
    "status 2000": (PLAIN.replace(b"200 OK", b"2000 OK"), BAD),
    "no status": (PLAIN.replace(b" 200 OK", b""), BAD),
    "HTTP/0.9": (BODY, BAD),
    "HTTP/3.1": (
        PLAIN.replace(b"/1.1", b"/3.1"),
        f"{GOOD}: curl 7.88 refuses it, the libcurl of pycurl's wheel does not",
    ),
    "ICY": (PLAIN.replace(b"HTTP/1.1", b"ICY"), BAD),
    "small letters": (PLAIN.replace(b"HTTP", b"http"), GOOD),
    "empty lines first": (b"\r\n\r\n" + PLAIN, BAD),
    "nothing": (b"", BAD),
    "a part of the first line": (b"HTTP/1.1 2", BAD),
    "headers that do not end": (OK + LENGTH, BAD),
    "a reset instead of an answer": ((RESET,), BAD),
    "a reset within the body": ((OK + b"Content-Length: 50\r\n\r\nab", RESET), BAD),
    "a byte order mark": (OK + b"Content-Length: 14\r\n\r\n\xef\xbb\xbf" + BODY, GOOD),
    "two equal Locations": (with_headers(b"Location: /a", b"Location: /a"), GOOD),
    "two Locations": (
        with_headers(b"Location: /a", b"Location: /b"),
        f"{BAD}: the libcurl of pycurl's wheel does not choose, curl 7.88 does",
    ),
    "a Location of nothing": (with_headers(b"Location:"), GOOD),
}


def curl_finds(url: str) -> bool:
    """Return whether curl gets the page, following redirects, and the word is in it."""
    command = ["curl", "-s", "-L", "--compressed", "--max-time", "5", "--noproxy", "*"]
    ran = subprocess.run(
        [*command, "-w", "\n%{http_code}", url], capture_output=True, check=False
    )
    body, _newline, status = ran.stdout.rpartition(b"\n")
    return ran.returncode == 0 and status == b"200" and BODY in body


def test_there_are_at_least_sixty():
    assert len(ODDITIES) >= 60


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_oddity_is_found_as_curl_finds_it_or_a_line_says_why_not(oddity):
    said, expected = ODDITIES[oddity]
    with Listener(says(*(said if isinstance(said, tuple) else (said,)))) as it:
        reason = found_by(HTTPServerChecker, url=it.url(), timeout=5, expect_text=WORD)
        found = GOOD if reason == "fine" else BAD
        by_curl = GOOD if curl_finds(it.url()) else BAD
    if expected in (GOOD, BAD):
        assert (found, by_curl) == (expected, expected), reason
    else:
        # Another version of curl may do as we do.
        assert expected.startswith(f"{found}: "), reason
