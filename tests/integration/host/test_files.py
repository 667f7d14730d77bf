"""[file NAME] on what real programs wrote: whole, cut, emptied, changed, zeros behind.

Archives of gzip, xz, zstd, bzip2, lz4, tar and zip; a file system that does not answer.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.FileChecker import FileChecker
from lib.net.connect import Deadline
from tests.support import mounts
from tests.support.listeners import found_by, job_of
from tests.support.waits import SOON_S

pytestmark = pytest.mark.integration

PACKAGES = {
    "gzip": "gzip",
    "xz": "xz-utils",
    "zstd": "zstd",
    "bzip2": "bzip2",
    "lz4": "lz4",
    "tar": "tar",
    "zip": "zip",
}
#: A line of the shell that writes the file it is given, from ``one`` and ``two``.
PROGRAMS = {
    "gzip": "gzip -c one two >$1",
    "gzip fast": "gzip -1c <one >$1",
    "xz": "xz -c one two >$1",
    "xz in blocks": "xz --block-size=64KiB -T2 -c one >$1",
    "xz without a check": "xz -C none -c one >$1",
    "zstd": "zstd -qc one >$1; zstd -qc two >>$1",
    "zstd from a pipe": "cat one two | zstd -qc >$1",
    "zstd with a long window": "cat one two | zstd -qc --long=31 >$1",
    "zstd without a checksum": "zstd -qc --no-check one >$1",
    "bzip2": "bzip2 -c one two >$1",
    "lz4": "lz4 -qc one >$1; lz4 -qc two >>$1",
    "lz4 in linked blocks": "lz4 -qc -BD -B4 --content-size one >$1",
    "lz4 with sums of blocks": "lz4 -qc -BX one >$1",
    "tar": "tar -cf $1 one two folder",
    "tar of pax": "tar --format=pax -cf $1 one two folder",
    "tar in gzip": "tar -czf $1 one two folder",
    "tar in xz": "tar -cJf $1 one two folder",
    "tar in zstd": "tar --zstd -cf $1 one two folder",
    "tar in bzip2": "tar -cjf $1 one two folder",
    "tar in lz4": "tar -I lz4 -cf $1 one two folder",
    "zip": "zip -qr it.zip one two folder; mv it.zip $1",
    "zip from a pipe": "cat one | zip -q >$1",
    "zip not packed": "zip -0qr it.zip one two folder; mv it.zip $1",
}
#: What has no sum of its contents, so that a changed byte may go unnoticed.
UNSUMMED = ("tar", "tar of pax", "xz without a check", "zstd without a checksum")


def program_of(how: str) -> str:
    return how.partition(" ")[0]


def shell(folder: Path, line: str, *arguments: Path | str) -> int:
    words = ["sh", "-c", f"umask 022; {line}", "sh", *map(str, arguments)]
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        timeout=60,
        env=os.environ | {"LC_ALL": "C"},
    )
    return done.returncode


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with files as they are backed up."""
    folder = tmp_path_factory.mktemp("source")
    lines = [f"{n},{n * n},{'abc'[n % 3]}\n" for n in range(20_000)]
    (folder / "one").write_text("".join(lines))
    (folder / "two").write_bytes(random.Random(2).randbytes(50_000))
    (folder / "folder").mkdir()
    (folder / "folder" / ("long" * 50)).write_text("three\n")
    return folder


@pytest.fixture(scope="module")
def made(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], bytes]:
    """Return what a program makes of the files; skip what wants one not here."""
    folder = tmp_path_factory.mktemp("made")

    def make(how: str) -> bytes:
        for program in (program_of(how), how.rpartition(" ")[2]):
            if program in PACKAGES and shutil.which(program) is None:
                pytest.skip(f"as root: apt-get install {PACKAGES[program]}")
        path = folder / how.replace(" ", "-")
        assert shell(source, PROGRAMS[how], path) == 0
        return path.read_bytes()

    return make


def checked(tmp_path: Path, content: bytes, **asked: object) -> str:
    """Return what is found of a file: fine, or why not, without its path."""
    path = tmp_path / "it"
    path.write_bytes(content)
    said = found_by(FileChecker, path=path, **asked).split("\n")[0]
    return said.replace(f"{path}: ", "")


def cuts(content: bytes) -> Iterator[bytes]:
    """Yield the content without its end: a byte less, half of it, and others."""
    size = len(content)
    if content.endswith(bytes(1024)):
        # Two empty blocks are the end of an archive of tar, which pads it with more.
        size = -(-len(content.rstrip(b"\0")) // 512) * 512 + 1024
    for at in (size - 1, size - 2, size - 9, *(size * n // 7 for n in range(1, 7)), 1):
        yield content[:at]


@pytest.mark.parametrize("how", PROGRAMS)
def test_what_is_whole_is_fine_and_what_is_cut_is_not(tmp_path, made, how):
    data = made(how)
    name = program_of(how)
    for integrity in {"auto", name}:
        assert checked(tmp_path, data, integrity=integrity) == "fine"
    for cut in cuts(data):
        said = checked(tmp_path, cut, integrity="auto" if len(cut) > 10 else name)
        assert said != "fine", len(cut)
        assert not said.startswith("unknown"), said


@pytest.mark.parametrize("how", PROGRAMS)
def test_an_empty_file_is_never_fine(tmp_path, made, how):
    made(how)
    said = checked(tmp_path, b"", integrity=program_of(how))
    assert said == "it is empty (0 bytes)"


@pytest.mark.parametrize("how", PROGRAMS)
def test_zeros_may_follow_as_tapes_leave_them(tmp_path, made, how):
    data = made(how)
    said = checked(tmp_path, data + bytes(10_240), integrity="auto")
    assert said == "fine"
    # A crash of the machine leaves zeros in place of the last blocks.
    if how in ("tar", "tar of pax"):
        # That looks as if it had fewer members, of zeros.
        return
    lost = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    assert checked(tmp_path, lost, integrity="auto") != "fine"
    assert checked(tmp_path, bytes(len(data)), integrity=program_of(how)) != "fine"


@pytest.mark.parametrize("how", PROGRAMS)
def test_what_follows_and_is_no_zero_is_not_fine(tmp_path, made, how):
    data = made(how)
    said = checked(tmp_path, data + b"something else\n", integrity="auto")
    assert said != "fine"
    # As a second backup behind the first, of which half is there.
    if program_of(how) not in ("tar", "zip"):
        half = data + data[: len(data) // 2]
        assert checked(tmp_path, half, integrity="auto") != "fine"


@pytest.mark.parametrize("how", [how for how in PROGRAMS if how not in UNSUMMED])
def test_a_changed_byte_is_found(tmp_path, made, how):
    data = bytearray(made(how))
    for part in range(1, 6):
        at = len(data) * part // 6
        data[at] ^= 0x55
        assert checked(tmp_path, bytes(data), integrity="auto") != "fine", at
        data[at] ^= 0x55


@pytest.mark.parametrize(
    ("line", "integrity", "said"),
    [
        ("gzip -c </dev/null >$1", "gzip", "it holds nothing (0 bytes)"),
        ("xz -c </dev/null >$1", "xz", "it holds nothing (0 bytes)"),
        ("zstd -qc </dev/null >$1", "zstd", "it holds nothing (0 bytes)"),
        ("bzip2 -c </dev/null >$1", "bzip2", "it holds nothing (0 bytes)"),
        ("lz4 -qc </dev/null >$1", "lz4", "it holds nothing (0 bytes)"),
        ("tar -cf $1 -T /dev/null", "tar", "the archive holds no file"),
        ("tar -czf $1 -T /dev/null", "tar", "the archive holds no file"),
        ("cp one $1", "zip", "the zip archive is damaged or cut"),
        # gzip -t and tar tzf say 0 of an archive that was cut before it was packed.
        (
            "tar -cf all one two; head -c 10240 all >cut; gzip -c cut >$1",
            "auto",
            "the tar archive is cut within its member 1",
        ),
        # Only the first of two is listed by tar.
        ("tar -cf a one; tar -cf b two; cat a b >$1", "tar", "something follows the"),
        ("zip -q a one; zip -q b two; cat a.zip b.zip >$1", "zip", "it is two zip"),
        ("gzip -c one >$1", "zstd", "it is gzip, not zstd"),
        ("gzip -c one >$1", "tar", "there is no tar archive in it"),
        ("cp one $1", "auto", "it does not begin as any of gzip"),
        (
            "zip -qP word it.zip one; mv it.zip $1",
            "zip",
            "unknown: the zip archive is encrypted",
        ),
    ],
)
def test_what_holds_nothing_or_is_something_else(
    tmp_path, source, line, integrity, said
):
    for program in PACKAGES:
        if program in line.split() and shutil.which(program) is None:
            pytest.skip(f"as root: apt-get install {PACKAGES[program]}")
    work = tmp_path / "work"
    shutil.copytree(source, work)
    path = tmp_path / "it"
    shell(work, line, path)
    words = found_by(FileChecker, path=path, integrity=integrity)
    assert words.replace(f"{path}: ", "").startswith(said)


@pytest.mark.skipif(bool(mounts.why_not_small()), reason=mounts.why_not_small() or "-")
@pytest.mark.parametrize("program", ["gzip", "xz", "zstd", "bzip2", "lz4"])
def test_what_is_left_of_a_full_disk_is_not_fine(tmp_path, source, program):
    if shutil.which(program) is None:
        pytest.skip(f"as root: apt-get install {PACKAGES[program]}")
    with mounts.small(tmp_path / "small") as small:
        path = small / "it"
        shell(source, f"{program} -c <two >$1 2>&1", path)
        said = found_by(FileChecker, path=path, integrity=program)
        assert said == "fine"
        path.unlink()
        shell(source, f"head -c 99999 /dev/urandom | {program} -c >$1", path)
        assert path.stat().st_size <= 65_536
        assert found_by(FileChecker, path=path, integrity=program) != "fine"


# Within the time limit, in a child.


@pytest.mark.parametrize("program", ["zstd", "lz4"])
def test_what_takes_too_long_is_unknown_and_its_program_is_ended(tmp_path, program):
    if shutil.which(program) is None:
        pytest.skip(f"as root: apt-get install {PACKAGES[program]}")
    packed = subprocess.run(
        [program, "-c"], input=bytes(100_000_000), capture_output=True, check=True
    ).stdout
    path = tmp_path / "large"
    with path.open("wb") as file:
        # 60 GB, unpacked.
        for _number in range(600):
            file.write(packed)
    began = time.monotonic()
    said = found_by(FileChecker, path=path, integrity=program, timeout="2s")
    assert said.startswith(f"unknown: {path} took longer than 2 s: ")
    assert " are read; a longer timeout" in said
    assert time.monotonic() - began < SOON_S
    assert mounts.are_gone(program)


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[mounts.Bound]:
    """Return a mounted folder with a file, an archive and a folder in it."""
    if reason := mounts.why_not_bound():
        pytest.skip(reason)
    real = tmp_path / "real"
    real.mkdir()
    (real / "file").write_text("hello\n")
    (real / "folder").mkdir()
    (real / "folder" / "file").write_text("hello\n")
    shell(real, "gzip -c file >file.gz")
    with mounts.Bound(real, tmp_path / "mount") as it:
        yield it


@pytest.mark.parametrize(
    ("asked", "about"),
    [
        ({"path": "file"}, "file"),
        ({"path": "file.gz", "integrity": "auto"}, "file.gz"),
        ({"path": "folder", "fail_size": "1GB"}, "folder"),
        ({"glob": "*.gz", "fail_age": "1h"}, "*.gz"),
        ({"path": "none", "exists": "no"}, "none"),
    ],
)
def test_a_file_system_that_does_not_answer_is_unknown(bound, asked, about):
    asked = dict(asked)
    for name in ("path", "glob"):
        if name in asked:
            asked[name] = bound.folder / asked[name]
    assert found_by(FileChecker, **asked) == "fine"
    bound.hang()
    began = time.monotonic()
    said = found_by(FileChecker, **asked, timeout="1s")
    assert said == (
        f"unknown: {bound.folder / about} did not answer within 1 s: its file system "
        "may hang"
    )
    assert time.monotonic() - began < SOON_S
    bound.go_on()
    assert found_by(FileChecker, **asked) == "fine"


def test_a_file_system_that_does_not_answer_holds_up_no_other(bound, tmp_path):
    near = tmp_path / "near"
    near.write_text("hello\n")
    jobs = [job_of(FileChecker, path=near) for _number in range(60)]
    far = [
        job_of(FileChecker, path=bound.folder / "file", **more)
        for more in ({}, {"expect": "hello"}, {"fail_age": "1h"})
    ]
    for number, job in enumerate(far):
        jobs.insert(number * 20, job)
    bound.hang()
    answers = FileChecker.check_many(jobs, lambda some: [Deadline(4) for _ in some])
    told = {}
    for answer in filter(None, answers):
        told[id(answer[0])] = answer[1]
        if len(told) == 60:
            # Before any of those that hang have had their time.
            assert not any(id(job) in told for job in far)
    assert len(told) == 63
    for job in jobs:
        is_far = job in far
        assert isinstance(told[id(job)], Exception) == is_far
        assert ("may hang" in str(told[id(job)])) == is_far


def test_a_file_system_that_stops_while_it_is_read_is_unknown(bound, tmp_path):
    packed = subprocess.run(
        ["gzip", "-1c"], input=bytes(100_000_000), capture_output=True, check=True
    ).stdout
    with (tmp_path / "real" / "large.gz").open("wb") as file:
        for _number in range(300):
            file.write(packed)
    job = job_of(FileChecker, path=bound.folder / "large.gz", integrity="gzip")
    began = time.monotonic()
    hangs = False
    outcome: object = None
    for answer in FileChecker.check_many(
        [job], lambda some: [Deadline(3) for _ in some]
    ):
        if not hangs and time.monotonic() - began > 0.5:
            bound.hang()
            hangs = True
        outcome = answer[1] if answer else outcome
    assert str(bound.folder / "large.gz") in str(outcome)
    assert " took longer than 3 s: " in str(outcome)
