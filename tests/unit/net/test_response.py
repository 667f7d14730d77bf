"""How a response is read; tests of whole requests are in test_curl.py."""

from __future__ import annotations

from lib.net.response import Reader, Reading


class Wants(Reader):
    def wants(self, answer):
        return True

    def is_enough(self, body, *, is_all=False):
        return len(body) >= 4


def test_what_comes_before_the_response_is_left_out():
    reading = Reading(Wants())
    for line in (b"HTTP/1.1 100 Continue\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n"):
        assert reading.on_header(line) is None
    assert reading.on_header(b"X-A : b\r\n") is None
    assert reading.on_header(b"\r\n") is None
    answer = reading.answer()
    assert (answer.status, answer.phrase, answer.header("x-a")) == (200, "OK", "b")


def test_no_more_is_read_than_is_wanted():
    reading = Reading(Wants())
    reading.on_header(b"HTTP/1.1 200 OK\r\n")
    reading.on_header(b"\r\n")
    assert reading.on_body(b"ab") is None
    assert reading.on_body(b"cd") == -1
    assert reading.is_stopped
