"""The spool of heartbeats: what is written whole, and what is taken for an event."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lib.core.heartbeats import Event, What, decoded, encoded
from lib.storage import spool

ROOT = Path(__file__).resolve().parents[3]
EVENT = Event("backup", What.END, 1000.5, code=0, output="done\n")


def look(folder, now=2000.0):
    return spool.waiting(str(folder), now, decoded)


def test_what_is_written_is_read_as_it_was(tmp_path):
    path = spool.write(str(tmp_path), encoded(EVENT))
    (found,) = look(tmp_path).found
    assert (found.path, found.uid, found.event) == (path, os.geteuid(), EVENT)


def test_the_group_may_read_an_event_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        path = spool.write(str(tmp_path), encoded(EVENT))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640


def test_names_are_random(tmp_path):
    names = {spool.write(str(tmp_path), encoded(EVENT)) for _ in range(20)}
    assert len(names) == 20
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))


def link(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(encoded(EVENT))
    path.symlink_to(target)


def second_name(path: Path) -> None:
    path.write_bytes(encoded(EVENT))
    os.link(path, path.with_name("other"))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (link, "Too many levels of symbolic links"),
        (second_name, "it has another name, too"),
        (os.mkfifo, "it is not a regular file"),
        (os.mkdir, "it is not a regular file"),
        (lambda path: path.write_bytes(b"x" * 65537), "65537 bytes, too many"),
        (lambda path: path.write_bytes(b""), "it is not an event"),
        (lambda path: path.write_bytes(b"\xff{}"), "it is not an event"),
        (lambda path: path.write_bytes(b'{"name":"a","what":"end"}'), "`at`"),
        (lambda path: path.write_bytes(b'{"name":"","what":"end","at":1}'), "length"),
        (
            lambda path: path.write_bytes(encoded(EVENT)[:-1] + b',"more":1}'),
            "more",
        ),
    ],
)
def test_what_is_no_event_says_why(tmp_path, make, why):
    make(tmp_path / "one.json")
    (found,) = look(tmp_path).found
    assert found.event is None
    assert why in found.wrong


def test_only_so_many_of_one_user_are_read_the_oldest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MAX_OF_A_USER", 2)
    paths = [spool.write(str(tmp_path), encoded(EVENT)) for _ in range(3)]
    found = look(tmp_path)
    assert {one.path for one in found.found} <= set(paths)
    assert len(found.found) == 2
    assert found.too_many == {os.geteuid(): 3}


def test_what_a_killed_writer_left_is_named_once_it_is_old(tmp_path):
    left = tmp_path / ".1234.tmp"
    left.write_bytes(b"{")
    now = left.stat().st_ctime
    assert look(tmp_path, now).leftovers == []
    assert look(tmp_path, now + 3601).leftovers == [str(left)]


def test_an_event_that_is_too_large_is_not_written(tmp_path):
    with pytest.raises(OSError, match="File too large"):
        spool.write(str(tmp_path), b"x" * 65537)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    program = (
        "import resource, signal, sys\n"
        "from lib.storage.spool import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))\n"
        "try:\n"
        "    write(sys.argv[1], b'more than five')\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("File too large\n", "")
    assert os.listdir(tmp_path) == []


def test_a_spool_that_cannot_be_used_says_what_to_type(tmp_path):
    missing = str(tmp_path / "none")
    assert f"-m 3733 {missing}" in spool.why_not_usable(missing)
    assert spool.why_not_usable(str(tmp_path)) == ""
    tmp_path.chmod(0o3733)
    assert spool.why_not_usable(str(tmp_path)) == ""
    tmp_path.chmod(0o0733)
    assert "chmod 3733" in spool.why_not_usable(str(tmp_path))
    file = tmp_path / "file"
    file.touch()
    assert "not a folder" in spool.why_not_usable(str(file))
