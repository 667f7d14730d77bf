"""Logs under the real logrotate, on real file systems, while a program writes on."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from lib.net.connect import Deadline
from lib.plugins import logfiles, search
from tests.support.followed import Followed, write
from tests.support.waits import until

pytestmark = pytest.mark.integration

#: Writes numbered lines until it is stopped; opens its log anew when it is told to.
WRITER = """\
import signal, sys, time
again = []
signal.signal(signal.SIGHUP, lambda *_: again.append(1))
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
log, number = open(sys.argv[1], "ab", buffering=0), 0
print("ready", flush=True)
while not stop:
    number += 1
    log.write(b"<%d> ERROR %s\\n" % (number, b"x" * (number % 300)))
    if again:
        again.clear()
        log.close()
        log = open(sys.argv[1], "ab", buffering=0)
    time.sleep(0.0005)
"""
ROTATIONS = 4
#: So much is in a log before it is rotated: its writer has opened the new one.
MIN_BYTES = 10_000
MANNERS = {
    "create": "create",
    "create, compress": "create\ncompress",
    "create, delaycompress": "create\ncompress\ndelaycompress",
    "create, dateext": "create\ncompress\ndateext\ndateformat -%Y%m%d-%H%M%S",
    "copytruncate": "copytruncate",
    "copytruncate, compress": "copytruncate\ncompress\ncompresscmd /bin/bzip2\n"
    "compressext .bz2",
    "copytruncate, delaycompress": "copytruncate\ncompress\ndelaycompress",
    "copytruncate, dateext": "copytruncate\ndateext\ndateformat -%s",
}

#: In the others logrotate itself loses lines: those that come between copying and
#: truncating, or while a file is compressed.  They may have been told.
LOSSLESS = ("create", "create, delaycompress")


@pytest.fixture(scope="module", params=["ext4", "tmpfs"])
def disk(request, tmp_path_factory):
    """The folder of a file system that is mounted for these tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    folder = tmp_path_factory.mktemp(request.param)
    command = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if request.param == "ext4":
        image = tmp_path_factory.mktemp("image") / "ext4"
        with image.open("wb") as file:
            file.truncate(64 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"{request.param} cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def folder(disk):
    """An empty folder on it."""
    path = disk / "logs"
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


class Told(search.News):
    """All lines that were found, and what was said beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Counter[int] = Counter()

    def take(self, found, source=""):
        assert found.count == len(found.lines)
        self.lines.update(numbers(b"\n".join(found.lines)))


def numbers(content: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^<(\d+)>", content, re.M)]


class Follower:
    """Follows a log from its start, and keeps where it is."""

    def __init__(self, log) -> None:
        self.told, self._log, self._kept = Told(), log, {}

    def look(self) -> None:
        within = Deadline(30)
        with search.Search(re.compile(rb"ERROR", re.M), None, within) as searching:
            look = search.Look(
                searching, self.told, within, time.time(), is_from_end=False
            )
            self._kept = logfiles.follow(look, str(self._log), "", self._kept)


def in_files(log) -> Counter[int]:
    """Return which lines there are in a log and in what is rotated of it."""
    opened = {".gz": gzip.open, ".bz2": bz2.open}
    lines: Counter[int] = Counter()
    for path in log.parent.glob(f"{log.name}*"):
        with opened.get(path.suffix, open)(path, "rb") as file:
            lines.update(numbers(file.read()))
    return lines


@contextlib.contextmanager
def written(log):
    """A process that writes lines until the end."""
    command = [sys.executable, "-IS", "-c", WRITER, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        try:
            yield writer
        finally:
            writer.terminate()


@pytest.mark.skipif(not shutil.which("logrotate"), reason="logrotate is not installed")
@pytest.mark.parametrize("manner", MANNERS)
def test_each_line_is_told_once_while_logrotate_runs(
    folder, tmp_path, manner, monkeypatch
):
    monkeypatch.setattr(search, "MAX_LINES", 1_000_000)
    log, config = folder / "app.log", tmp_path / "rotate.conf"
    follower = Follower(log)
    told = follower.told
    # Between its renaming and its making of a new one by logrotate, there is none.
    may_be_missing = {f"{log} is not there"} if "create" in manner else set()
    log.touch()
    follower.look()
    with written(log) as writer:
        signal = f"postrotate\nkill -HUP {writer.pid}\nendscript"
        manners = f"{MANNERS[manner]}\nrotate 50\n{signal}"
        config.write_text(f"{log} {{\n{manners}\n}}\n")
        for rotation in range(ROTATIONS):
            # Names with a second in them must differ.
            ends_at = time.monotonic() + (1.1 if "dateext" in manner else 0.2)
            while time.monotonic() < ends_at:
                # In every other round, several rotations are met at once.
                if rotation % 2:
                    follower.look()
                time.sleep(0.02)
            until(lambda: log.stat().st_size >= MIN_BYTES)
            assert told.missing == []
            command = ["logrotate", "-f", "-s", str(tmp_path / "state"), str(config)]
            # gzip warns of a file that is still written to, and logrotate ends with 1.
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as rotating:
                while rotating.poll() is None and rotation % 2:
                    follower.look()
            assert set(told.missing) <= may_be_missing
            told.missing.clear()
    for _look in range(3):
        follower.look()
    there = in_files(log)
    assert len(list(folder.iterdir())) > ROTATIONS / 2
    assert len(there) > 100
    twice = sorted(number for number, times in told.lines.items() if times > 1)
    untold = sorted(there.keys() - told.lines.keys())
    assert (twice, untold) == ([], [])
    assert (told.unknown, told.missing) == ([], [])
    # What comes between the copy and the truncation logrotate itself loses.
    by_logrotate = set(range(1, max(there) + 1)) - there.keys() - told.lines.keys()
    # It gives the new file its owner and mode when it is there already.
    lost = [words for words in told.lost if "or only touched" not in words]
    assert not (lost if "create" in manner else told.lost) or by_logrotate
    if manner in LOSSLESS:
        assert told.lines.keys() == there.keys()


def with_number_of(log, removed: int) -> bool:
    """Make files until one has the number of a removed one; return whether one has."""
    for _number in range(50):
        log.touch()
        if log.stat().st_ino == removed:
            return True
        log.rename(log.with_name(f"other{next(_others)}"))
    return False


_others = itertools.count()


@pytest.mark.parametrize("content", ["", "ERROR 1\n"])
def test_a_file_that_gets_the_number_of_a_removed_one_is_another(
    folder, content, request
):
    log = folder / "app.log"
    log.write_text(content)
    followed = Followed(log)
    assert followed.says() == "ok"
    number = log.stat().st_ino
    log.unlink()
    has_number = with_number_of(log, number)
    assert has_number is ("ext4" in request.node.name)
    write(log, "ERROR 2\nERROR 3\n")
    said = followed.says()
    assert said.startswith("failing: 2 lines match: ERROR 2")
    assert "is not there any more" in said
