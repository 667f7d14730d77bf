"""Rows H: targets that are slow, broken, lying, or not there."""

from __future__ import annotations

import socket
import time

import pytest

from tests.faults.table import measured
from tests.instance import Instance


@pytest.mark.fault("H12", "100 slow targets")
def test_h12_targets_that_do_not_answer_cost_a_slot_not_the_run(tmp_path):
    instance = Instance(tmp_path)
    silent = socket.create_server(("127.0.0.1", 0), backlog=1000)
    port = silent.getsockname()[1]
    for number in range(100):
        instance.add(
            f"[http hangs{number}]\nurl = http://127.0.0.1:{port}/\ntimeout = 5\n"
            f"[disk fine{number}]\npath = /\nlimit = 100\nevery = minute\n"
        )
    started = time.monotonic()
    with silent:
        assert instance.cron().silent
    seconds = time.monotonic() - started
    assert seconds < 15
    run = instance.last_run()
    assert (run["ran"], run["failing"]) == (200, 100)
    assert len(instance.records()) == 100
    measured(f"all judged in {seconds:.1f} s")
