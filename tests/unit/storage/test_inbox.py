"""Requests that wait: written whole, read in order, and damaged."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.silences import Acknowledge, Mute, Scope, Unmute
from lib.storage import inbox
from lib.storage.inbox import MAX_BYTES, MAX_REQUESTS, remove_leftovers, submit, waiting
from lib.system.errors import StateError

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MUTE = Mute("aa", NOON, Scope(("http *",), ("web",)), "ann", "deploy", until=NOON)


def test_requests_come_back_the_oldest_first(tmp_path):
    later = NOON + timedelta(seconds=1)
    requests = (
        MUTE,
        Unmute("ff", later, Scope(("http shop",)), "bob"),
        Acknowledge("bb", later + timedelta(seconds=1), Scope(("tcp *",))),
    )
    for request in reversed(requests):
        submit(tmp_path, request)
    found = waiting(tmp_path)
    assert found.requests == requests
    assert found.damaged == {}
    assert [path.stat().st_mode & 0o777 for path in found.paths] == [0o600] * 3
    assert (tmp_path / "inbox").stat().st_mode & 0o777 == 0o700


def test_where_nothing_waits_nothing_is_made(tmp_path):
    assert waiting(tmp_path) == inbox.Waiting()
    assert os.listdir(tmp_path) == []


@pytest.mark.fault("C13", "a request that is damaged or too large")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"{}", "it does not say its format"),
        (b'{"format": 1, "request": "reboot"}', "Invalid value 'reboot'"),
        (b'{"format": 1, "request": "mute", "id": "x"}', "missing required field"),
        (b'{"format": 99}', "written by a newer Checker"),
        (b"[" * 100_000, "too many for a request"),
        (b'{"format": 1, "sum": "0"}', "its sum does not fit"),
    ],
)
def test_what_is_no_request_is_named_and_the_others_count(tmp_path, content, why):
    submit(tmp_path, MUTE)
    path = tmp_path / "inbox" / "0.json"
    path.write_bytes(content)
    found = waiting(tmp_path)
    assert found.requests == (MUTE,)
    assert list(found.damaged) == [path]
    assert why in found.damaged[path]


@pytest.mark.fault("C13", "a folder, a link or a pipe in the place of a request")
def test_what_is_no_file_is_no_request(tmp_path):
    submit(tmp_path, MUTE)
    folder = tmp_path / "inbox"
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    found = waiting(tmp_path)
    assert found.requests == (MUTE,)
    assert {path.name for path in found.damaged} == {"folder", "link", "pipe"}


def test_a_request_has_a_size(tmp_path):
    scope = Scope(tuple(f"job {number}" for number in range(MAX_BYTES // 8)))
    with pytest.raises(StateError, match="name the jobs by a pattern or a tag"):
        submit(tmp_path, Unmute("u", NOON, scope))
    assert not (tmp_path / "inbox").exists()


def test_no_more_wait_than_may(tmp_path):
    submit(tmp_path, MUTE)
    for number in range(MAX_REQUESTS - 1):
        (tmp_path / "inbox" / f"{number}.json").touch()
    with pytest.raises(StateError, match="does cron start checker.py"):
        submit(tmp_path, MUTE)


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StateError, match="gone/inbox: cannot make it"):
        submit(tmp_path / "gone", MUTE)


def test_what_a_killed_command_left_is_removed_later(tmp_path):
    submit(tmp_path, MUTE)
    old, new = (tmp_path / "inbox" / f".{name}.json.tmp" for name in "ab")
    for path in (old, new):
        path.touch()
    long_ago = time.time() - 2 * inbox.LEFTOVER_S
    os.utime(old, (long_ago, long_ago))
    remove_leftovers(tmp_path)
    assert not old.exists()
    assert new.exists()
    assert waiting(tmp_path).requests == (MUTE,)
