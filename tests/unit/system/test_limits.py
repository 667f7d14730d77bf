"""What a worker may take of the machine."""

from __future__ import annotations

import os
import resource
import threading

import pytest

from lib.core.settings import Limits
from lib.system import limits


def in_a_child(work):
    """Return what ``work`` says in a process of its own, which is held to limits."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def soft(which):
    return resource.getrlimit(which)[0]


def test_memory_is_limited_and_what_is_over_it_raises():
    def work():
        limits.hold(Limits(memory_mb=1024))
        try:
            bytearray(1100 * limits.MB)
        except MemoryError:
            return limits.memory_words()

    words = "out of memory: [general] workermemory is 1024 MB"
    assert in_a_child(work) == words


def test_each_thread_has_room_for_its_stack():
    def work():
        # Far more than the process that runs the tests has already.
        limits.hold(Limits(memory_mb=1024))
        over = threading.Event()
        threads = []
        for _ in range(128):
            limits.make_room_for_a_thread()
            threads.append(threading.Thread(target=over.wait, daemon=True))
            threads[-1].start()
        alive = sum(thread.is_alive() for thread in threads)
        over.set()
        return alive

    assert in_a_child(work) == "128"


def test_files_and_processes_are_limited_and_may_be_raised_again():
    def work():
        limits.hold(Limits(files=100, processes=5000))
        return (
            soft(resource.RLIMIT_NOFILE),
            resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 100,
        )

    assert in_a_child(work) == "(100, True)"


def test_more_files_than_the_system_begins_with_are_asked_for():
    def work():
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        limits.hold(Limits(files=512))
        return soft(resource.RLIMIT_NOFILE)

    assert in_a_child(work) == "512"


def test_a_lower_limit_of_the_system_stays():
    def work():
        resource.setrlimit(resource.RLIMIT_DATA, (400 * limits.MB, -1))
        limits.hold(Limits(memory_mb=1000))
        return soft(resource.RLIMIT_DATA) // limits.MB

    assert in_a_child(work) == "400"


@pytest.mark.parametrize("held", [False, True])
def test_room_for_a_thread_is_made_only_where_there_is_a_limit(held):
    def work():
        if held:
            limits.hold(Limits(memory_mb=200))
        before = soft(resource.RLIMIT_DATA)
        limits.make_room_for_a_thread()
        return soft(resource.RLIMIT_DATA) > before

    assert in_a_child(work) == str(held)


def test_without_a_limit_there_is_none_to_name(approved):
    approved(limits.memory_words())
