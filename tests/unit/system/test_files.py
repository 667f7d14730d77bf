"""A file is replaced whole or stays as it was, whatever the disk says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.system.errors import StateError
from lib.system.files import (
    MAX_FILE,
    PARALLEL_FROM,
    Damaged,
    DatedFile,
    beyond,
    listed,
    move_away,
    read_capped,
    remove_leftovers,
    replace_files,
    replace_softly,
    thin,
)
from tests.faults.harness_calls import needs_strace
from tests.support.powers import as_anybody

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[3]

#: Replace a file; the error goes past the calls that are tampered with.
REPLACE = """
import os, resource, sys
from pathlib import Path
from lib.system.files import StateError, replace_files
folder, names = Path(sys.argv[1]), sys.argv[2:]
try:
    replace_files([(folder / name, b"new " * 50) for name in names])
except StateError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    report = os.open(folder.parent / "error", os.O_CREAT | os.O_WRONLY)
    os.pwrite(report, str(error).encode(), 0)
    sys.exit(3)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "jobs").mkdir()
    return tmp_path / "jobs"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def error_of(folder: Path) -> str:
    return (folder.parent / "error").read_text()


def replaced(folder: Path, *names: str, prefix: list[str] | None = None) -> int:
    """Return the exit code of a process that replaces files in ``folder``."""
    command = [sys.executable, "-B", "-c", REPLACE, str(folder), *names]
    # Nothing but ours is to be counted, so nothing from around us comes along.
    around = {"PATH": os.environ["PATH"]}
    done = subprocess.run([*(prefix or []), *command], cwd=ROOT, env=around, timeout=30)
    return done.returncode


def traced(folder: Path, *names: str, inject: str = "") -> tuple[int, list[str]]:
    """Return the exit code, and the calls that touch ``folder``, in order."""
    log = folder.parent / "trace"
    calls = "openat,write,fsync,close,rename,unlink"
    prefix = ["strace", "-o", str(log), "-e", f"trace={calls}"]
    if inject:
        prefix += ["-e", f"inject={inject}"]
    code = replaced(folder, *names, prefix=prefix)
    return code, list(_calls(folder, log.read_text()))


def _calls(folder: Path, trace: str) -> Iterator[str]:
    ours: dict[str, str] = {}
    for line in trace.splitlines():
        found = re.match(r"(\w+)\((.*)\)\s+= (-?\d+)( E\w+)?", line)
        if found is None:
            continue
        call, arguments, result, error = found.groups()
        name = re.sub(r"\.[0-9a-f]{8}\.tmp", ".TMP", arguments)
        if call == "openat" and f'"{folder}' in arguments:
            what = arguments.split('"')[1].removeprefix(f"{folder}") or "the folder"
            what = re.sub(r"\.[0-9a-f]{8}\.tmp", ".TMP", what.lstrip("/"))
            ours[result] = what
            flags = "|".join(sorted(re.findall(r"O_[A-Z]+", arguments)))
            mode = arguments.rpartition(", ")[2] if "O_CREAT" in flags else ""
            yield f"open {what} {flags} {mode}".strip() + (error or "")
        elif call in ("write", "fsync", "close"):
            descriptor = arguments.split(",")[0]
            if descriptor in ours:
                yield f"{call} {ours[descriptor]}" + (error or "")
            if call == "close":
                ours.pop(descriptor, None)
        elif f'"{folder}' in arguments:
            paths = [Path(part).name for part in name.split('"')[1::2]]
            yield f"{call} {' '.join(paths)}" + (error or "")


#: In the name of a file that is not yet moved into place; a long name.
TEMPORARY = {r"[0-9a-f]{8}\.tmp": "N.tmp", "x{20,}": "xxx"}
NEW = "O_CLOEXEC|O_CREAT|O_EXCL|O_NOFOLLOW|O_WRONLY 0600"


@needs_strace
def test_each_step_is_durable_before_the_next(folder):
    code, calls = traced(folder, "a", "b")
    assert code == 0
    assert calls == [
        f"open .a.TMP {NEW}",
        "write .a.TMP",
        "fsync .a.TMP",
        "close .a.TMP",
        f"open .b.TMP {NEW}",
        "write .b.TMP",
        "fsync .b.TMP",
        "close .b.TMP",
        "rename .a.TMP a",
        "rename .b.TMP b",
        "open the folder O_CLOEXEC|O_RDONLY",
        "fsync the folder",
        "close the folder",
    ]


@needs_strace
def test_a_failed_fsync_is_never_repeated_but_the_file_is_written_anew(folder):
    code, calls = traced(folder, "a", inject="fsync:error=EIO:when=1")
    assert code == 0
    assert calls[:9] == [
        f"open .a.TMP {NEW}",
        "write .a.TMP",
        "fsync .a.TMP EIO",
        "close .a.TMP",
        "unlink .a.TMP",
        f"open .a.TMP {NEW}",
        "write .a.TMP",
        "fsync .a.TMP",
        "close .a.TMP",
    ]
    assert contents(folder) == {"a": b"new " * 50}


@needs_strace
@pytest.mark.parametrize(
    ("inject", "error"),
    [
        ("write:error=ENOSPC:when=1+", r"cannot write \.a\.\w+\.tmp: No space left"),
        ("fsync:error=EIO:when=1+", r"cannot fsync \.a\.\w+\.tmp: Input/output error"),
        (
            "rename:error=EACCES:when=1",
            r"cannot rename \.a\.\w+\.tmp to it: Permission",
        ),
        ("rename:error=EXDEV:when=1", r"cannot rename \.a\.\w+\.tmp to it: Invalid"),
    ],
)
def test_on_an_error_the_old_file_stays_and_nothing_is_left(folder, inject, error):
    (folder / "a").write_bytes(b"old")
    code, _calls_made = traced(folder, "a", "b", inject=inject)
    assert code == 3
    assert contents(folder) == {"a": b"old"}
    assert error_of(folder).startswith(f"{folder / 'a'}: cannot ")
    assert re.search(error, error_of(folder))


@needs_strace
def test_short_writes_go_on_where_they_stopped(folder):
    # The call returns 150 and writes nothing: what is left is written by the next.
    code, calls = traced(folder, "a", inject="write:retval=150:when=1")
    assert code == 0
    assert calls.count("write .a.TMP") == 2
    assert (folder / "a").read_bytes() == (b"new " * 50)[150:]


def test_a_disk_without_room_leaves_the_old_file_and_says_what_to_do(folder):
    (folder / "a").write_bytes(b"old")
    code = replaced(folder, "a", prefix=["prlimit", "--fsize=100:unlimited"])
    assert code == 3
    assert contents(folder) == {"a": b"old"}
    assert re.fullmatch(
        rf"{folder / 'a'}: cannot write \.a\.[0-9a-f]{{8}}\.tmp: File too large; "
        r"a limit for the size of files is set \(ulimit -f\)",
        error_of(folder),
    )


def test_a_folder_that_is_not_ours_to_write_is_named_with_the_command(folder, approved):
    folder.chmod(0o500)
    try:
        assert replaced(folder, "a", prefix=as_anybody([])) == 3
    finally:
        folder.chmod(0o700)
    assert error_of(folder).startswith(f"{folder / 'a'}: cannot create .a.")
    assert error_of(folder).endswith(f" {folder}")
    approved(error_of(folder), hide=TEMPORARY)


def test_a_folder_that_is_missing_is_named_with_the_command(tmp_path):
    with pytest.raises(StateError, match=rf"mkdir -m 700 -p {tmp_path / 'gone'}$"):
        replace_files([(tmp_path / "gone" / "a", b"new")])


def test_something_in_the_place_of_the_file_is_left_alone(folder, approved):
    (folder / "a").mkdir()
    with pytest.raises(StateError) as caught:
        replace_files([(folder / "a", b"new")])
    approved(str(caught.value), hide=TEMPORARY)
    assert listed(folder) == ["a"]


def test_files_are_private(folder):
    replace_files([(folder / "a", b"new")])
    assert (folder / "a").stat().st_mode & 0o777 == 0o600


def test_many_files_are_written_side_by_side(folder):
    many = {f"{number}": b"%d" % number for number in range(3 * PARALLEL_FROM)}
    replace_files((folder / name, content) for name, content in many.items())
    assert contents(folder) == many


def test_if_one_of_many_cannot_be_written_none_is_and_nothing_is_left(folder, approved):
    many = [(folder / f"{number}", b"x") for number in range(2 * PARALLEL_FROM)]
    # Its name is fine for a file, and too long for the one beside it.
    long = folder / ("x" * 250)
    with pytest.raises(StateError) as caught:
        replace_files([*many, (long, b"x"), *many])
    approved(str(caught.value), hide=TEMPORARY)
    assert listed(folder) == []


@needs_strace
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_killed_at_any_call_the_old_file_or_the_new_is_there(folder, call):
    for when in range(1, 10):
        (folder / "a").write_bytes(b"old")
        code, _calls_made = traced(
            folder, "a", inject=f"{call}:signal=KILL:when={when}"
        )
        assert (folder / "a").read_bytes() in (b"old", b"new " * 50)
        remove_leftovers(folder)
        assert listed(folder) == ["a"]
        if code == 0:
            break
    assert when == {"write": 2, "fsync": 3, "rename": 2}[call]


@pytest.mark.long
def test_left_over_files_are_removed_and_only_ours(folder):
    ours = [f".job-{number:010x}.json.{number:08x}.tmp" for number in range(2000)]
    others = [
        ".hidden.tmp",
        "notes.tmp",
        ".a.0123456.tmp",
        "x.0123abcd.tmp",
        ".vim.swp",
    ]
    for name in (*ours, *others):
        (folder / name).touch()
    (folder / ".dir.01234567.tmp").mkdir()
    remove_leftovers(folder)
    assert listed(folder) == sorted([*others, ".dir.01234567.tmp"])


def test_a_folder_that_is_missing_has_no_left_over_files(tmp_path):
    remove_leftovers(tmp_path / "gone")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["pipe", "folder", "link", "loop", "endless"],
)
def test_what_is_no_file_of_ours_is_not_read(tmp_path, make, approved):
    make(tmp_path / "x")
    with pytest.raises(Damaged) as caught:
        read_capped(tmp_path / "x")
    approved(str(caught.value))


def test_a_file_too_large_is_not_read(tmp_path, approved):
    with open(tmp_path / "x", "wb") as file:
        file.truncate(2 * 1024**3)
    with pytest.raises(Damaged) as caught:
        read_capped(tmp_path / "x")
    approved(str(caught.value))


def test_a_file_that_is_not_too_large_is_read_whole(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.truncate(MAX_FILE)
    assert len(read_capped(tmp_path / "x")) == MAX_FILE


def test_what_is_damaged_is_kept_under_a_dated_name(folder):
    (folder / "a.json").write_bytes(b"bad")
    (folder / "b.json").mkdir()
    attic = folder.parent / "quarantine"
    there = [folder / "a.json", folder / "b.json", folder / "gone.json"]
    move_away(there, attic, NOON)
    assert listed(folder) == []
    assert listed(attic) == [
        "a.20260301T120000.000000.json",
        "b.20260301T120000.000000.json",
    ]
    assert (attic / "a.20260301T120000.000000.json").read_bytes() == b"bad"
    assert attic.stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_moved_stays_and_is_no_reason_to_stop(folder, caplog, approved):
    (folder / "a.json").write_bytes(b"bad")
    (folder.parent / "quarantine").write_text("a file is in the way")
    move_away([folder / "a.json"], folder.parent / "quarantine", NOON)
    assert listed(folder) == ["a.json"]
    approved(caplog.messages)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_left_over_files_take_little_time(folder, count):
    for number in range(count):
        (folder / f".a.json.{number:08x}.tmp").touch()
    began = time.monotonic()
    remove_leftovers(folder)
    assert listed(folder) == []
    assert time.monotonic() - began < 10


# What may be lost.


def test_what_may_be_lost_is_replaced_whole_all_the_same(folder):
    path = folder / "a.json"
    replace_softly(path, b"old")
    replace_softly(path, b"new")
    assert contents(folder) == {"a.json": b"new"}
    assert path.stat().st_mode & 0o777 == 0o600
    (folder / "b.json").mkdir()
    with pytest.raises(StateError, match="b.json: cannot rename"):
        replace_softly(folder / "b.json", b"new")
    assert set(os.listdir(folder)) == {"a.json", "b.json"}


@pytest.mark.parametrize(
    ("most_files", "most_bytes", "gone"),
    [
        (9, 99, []),
        (4, 99, []),
        (3, 99, ["a"]),
        (1, 99, ["a", "b", "c"]),
        (0, 0, ["a", "b", "c"]),
        (9, 40, []),
        (9, 39, ["a"]),
        (9, 29, ["a", "b"]),
    ],
)
def test_of_too_many_files_the_oldest_are_beyond_and_never_the_newest(
    most_files, most_bytes, gone
):
    files = [DatedFile(moment, name, 10) for moment, name in enumerate("abcd")]
    assert beyond(files[::-1], most_files, most_bytes) == gone
    assert beyond([], most_files, most_bytes) == []


def test_what_is_no_file_is_not_thinned_and_no_folder_is_no_error(tmp_path, caplog):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "old").touch()
    time.sleep(0.01)
    (tmp_path / "new").touch()
    thin(tmp_path, most_files=0, most_bytes=0)
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "new"]
    thin(tmp_path / "missing", most_files=0, most_bytes=0)
    assert "cannot list it" in caplog.text
