"""Many checks in one thread: none delays another, and each ends at its own deadline."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time

import pytest

from lib.net import bulk
from lib.net.connect import Deadline, NotTried, Unreachable
from tests.support.listeners import Listener, closed_port, says
from tests.support.waits import SOON_S


def deadlines(limit_s):
    return lambda group: [Deadline(limit_s) for _ in group]


def reached(port, talk=None):
    """Return steps that connect, which is all that most checks here do."""
    return lambda _item, own: bulk.connected("127.0.0.1", port, own, "any", talk)


def banner(sock, deadline):
    if not (yield from bulk.receive(sock, 100, deadline)):
        raise Unreachable("closed")


def results(items, steps, limit_s=5.0, **more):
    found = bulk.run(items, steps, deadlines(limit_s), **more)
    return [answer for answer in found if answer is not None]


@pytest.fixture
def silent():
    """A port that takes many connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        yield server.getsockname()[1]


def test_each_result_comes_as_soon_as_it_is_known(silent):
    with Listener(says(b"hello", first=True)) as quick:
        ports = {"slow": silent, "quick": quick.port}

        def steps(name, own):
            return bulk.connected("127.0.0.1", ports[name], own, "any", banner)

        began = time.monotonic()
        first, *rest = results(["slow", "quick"], steps, limit_s=1.0)
    assert first == ("quick", ("127.0.0.1", quick.port))
    ((name, error),) = rest
    assert name == "slow" and "no answer within 1 s" in str(error)
    assert time.monotonic() - began < SOON_S


def test_each_has_its_own_deadline(silent):
    limits = [3 * SOON_S, 0.6, 0.3]

    def begin(group):
        return [Deadline(limit) for limit in group]

    began, ended = time.monotonic(), {}
    run = bulk.run(limits, reached(silent, banner), begin)
    for answer in filter(None, run):
        ended[answer[0]] = time.monotonic() - began
        if len(ended) == 2:
            break
    run.close()
    assert [*ended] == [0.3, 0.6]
    assert all(limit * 0.8 <= took < SOON_S for limit, took in ended.items())


def test_hundreds_that_are_silent_end_together_and_delay_nobody(silent):
    with Listener(says(b"hello", first=True)) as quick:
        items = [silent] * 300 + [quick.port]

        def steps(port, own):
            return bulk.connected("127.0.0.1", port, own, "any", banner)

        began, at = time.monotonic(), {}
        for answer in bulk.run(items, steps, deadlines(2.0)):
            if answer is not None:
                at[answer[0]] = time.monotonic() - began
    assert next(iter(at)) == quick.port
    assert at[silent] < SOON_S


def test_a_refused_port_is_a_result_in_words():
    port = closed_port()
    ((_item, error),) = results(["it"], reached(port))
    assert str(error) == f"127.0.0.1:{port}: connection refused"


def test_a_name_is_looked_up_outside_and_none_is_an_answer_too():
    def steps(name, own):
        return bulk.connected(name, 80, own)

    found = results(["nowhere.invalid", "*.invalid"], steps)
    assert all(str(error).startswith("cannot resolve ") for _name, error in found)


def test_what_one_raises_is_its_own_result():
    def steps(number, own):
        yield bulk.InThread(lambda: 1 // number, own)
        return "well"

    found = dict(results([0, 1], steps))
    assert found[1] == "well"
    assert isinstance(found[0], ZeroDivisionError)


def test_one_alone_returns_or_raises():
    with pytest.raises(Unreachable, match="connection refused"):
        bulk.run_one(bulk.connected("127.0.0.1", closed_port(), Deadline(5)))


def test_a_thread_that_is_stuck_is_left_alone_at_the_deadline():
    over = threading.Event()

    def steps(_item, own):
        yield bulk.InThread(lambda: over.wait(3 * SOON_S), own)

    began = time.monotonic()
    ((_item, error),) = results(["it"], steps, limit_s=0.3)
    assert isinstance(error, TimeoutError)
    assert time.monotonic() - began < SOON_S
    over.set()


@contextlib.contextmanager
def few_files():
    """Have 80 more files than are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + 80
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def forty(monkeypatch):
    """Have room for 40 connections."""
    monkeypatch.setattr(bulk, "room", lambda: 40)


def test_the_rest_of_the_process_keeps_descriptors():
    with few_files():
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert 16 <= bulk.room() <= soft // 2 or bulk.room() == soft - bulk.SPARE


def test_for_want_of_descriptors_some_are_not_checked_and_say_what_to_do(silent, forty):
    found = results(range(60), reached(silent, banner), limit_s=1.0, patience_s=0.3)
    errors = [error for _item, error in found]
    short = [error for error in errors if isinstance(error, NotTried)]
    assert (len(errors), len(short)) == (60, 20)
    assert str(short[0]).startswith("not checked: all of 40 connections are in use")
    assert "LimitNOFILE" in str(short[0])


def test_with_patience_all_are_checked_a_few_at_a_time(silent, forty):
    found = results(range(60), reached(silent, banner), limit_s=0.3)
    assert {type(error) for _item, error in found} == {Unreachable}


def test_one_socket_too_many_is_our_own_trouble():
    with few_files(), contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            while True:
                held.enter_context(socket.socket())
        with pytest.raises(NotTried, match="LimitNOFILE"):
            bulk.open_socket(socket.AF_INET)


def test_nothing_is_left_open(silent):
    before = len(os.listdir("/proc/self/fd"))
    results(range(20), reached(silent, banner), limit_s=0.2)
    run = bulk.run(range(20), reached(silent, banner), deadlines(5.0))
    assert next(run) is None
    run.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.long
def test_those_that_are_busy_are_joined_by_no_more():
    """Thousands at once need memory, and finish no sooner than some."""
    live, most = 0, 0

    def busy(_item, _deadline):
        nonlocal live, most
        live, most = live + 1, max(most, live + 1)
        for _ in range(3):
            ends_at = time.thread_time() + 0.001
            while time.thread_time() < ends_at:
                pass
            yield Soon()
        live -= 1

    run = bulk.run(range(400), busy, lambda group: [Deadline(20) for _ in group])
    assert len([one for one in run if one is not None]) == 400
    assert most == bulk.FIRST


def most_at_once(items, limit_s, pause_s=lambda item: item):
    """Return how many of these were under way at once, each waiting for so long."""
    live, most = 0, 0

    def pausing(item, own):
        nonlocal live, most
        live, most = live + 1, max(most, live + 1)
        yield bulk.Pause(own.within(pause_s(item)))
        live -= 1

    assert len(results(items, pausing, limit_s)) == len(items)
    return most


def test_of_those_that_answer_only_so_many_are_under_way():
    """Each open connection takes memory."""
    pauses_s = [0.1 + number % 10 / 100 for number in range(1000)]
    assert bulk.FIRST < most_at_once(pauses_s, limit_s=300) <= bulk.MANY


def test_where_more_at_once_bring_no_more_results_it_stays_at_some():
    """As on a machine that has other work: they would begin too late in any case."""
    free_at = time.monotonic()

    def in_turn(_item):
        nonlocal free_at
        free_at = max(free_at, time.monotonic()) + 0.0005
        return free_at - time.monotonic()

    assert most_at_once(range(2000), limit_s=1.5, pause_s=in_turn) <= 2 * bulk.MANY


def test_of_those_that_are_silent_more_are_under_way():
    assert most_at_once([9] * 300, limit_s=1.5) == 300


def test_of_those_that_are_silent_all_begin_in_time_among_others_that_answer():
    """So that they end within 1.1 times their time limit."""
    assert most_at_once([9, 9, 9, 0.01] * 500, limit_s=1.5) >= 1500


class Soon(bulk.Wait):
    def begin(self, loop, task):
        loop.resume(task, None)
