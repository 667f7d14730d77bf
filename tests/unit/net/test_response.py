"""How a response is read; tests of whole requests are in test_curl.py."""

from __future__ import annotations

from lib.net.response import MAX_BYTES, MAX_COUNTED, Reader, Reading


class Wants(Reader):
    def __init__(self, enough=4, counts=False):
        self.enough = enough
        self.counts = counts
        self.got = 0

    def wants(self, answer):
        return True

    def is_enough(self, part, *, is_all=False):
        self.got += len(part)
        return self.got >= self.enough


def read(reader, megabytes):
    """Return what was read of a body of so many megabytes."""
    reading = Reading(reader)
    reading.on_header(b"HTTP/1.1 200 OK\r\n")
    reading.on_header(b"\r\n")
    part = bytes(1_000_000)
    for _megabyte in range(megabytes):
        if reading.on_body(part) is not None:
            break
    return reading


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


def test_no_more_is_looked_at_than_may_be():
    reader = Wants(enough=10**12)
    reading = read(reader, 12)
    assert (reader.got, reading.size) == (MAX_BYTES, MAX_BYTES + 1_000_000)
    assert reading.is_stopped and reading.answer().is_cut


def test_a_body_that_is_just_as_long_is_whole():
    reading = read(Wants(enough=10**12), 10)
    assert reading.size == MAX_BYTES
    assert not (reading.is_stopped or reading.answer().is_cut)


def test_what_is_behind_is_counted_where_the_size_is_wanted():
    reader = Wants(enough=10**12, counts=True)
    reading = read(reader, 2_000)
    assert (reader.got, reading.size) == (MAX_BYTES, MAX_COUNTED)
