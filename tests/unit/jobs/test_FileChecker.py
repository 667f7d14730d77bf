"""Files as users have them, in folders of the test; and what is told of each."""

import gzip
import os
import socket
import sqlite3
import sys
import time

import pytest

from jobs.FileChecker import FileChecker, growth, with_sample
from lib.core.enums import Status
from lib.jobbase import CheckFailed, CheckWarning
from lib.net.connect import Deadline
from lib.plugins import contents
from tests.support.listeners import found_by, job_of, result_of

#: Kept here: tests of discovery import it anew.
MODULE = sys.modules[FileChecker.__module__]
DUMP = b"""--
-- PostgreSQL database dump
--
CREATE TABLE a (b integer);
--
-- PostgreSQL database dump complete
--

"""


def found(**options):
    return found_by(FileChecker, **options)


def written(path, content=b"hello\nworld\n", age_s=0.0):
    path.write_bytes(content)
    aged(path, age_s)
    return path


def aged(path, age_s):
    os.utime(path, (time.time() - age_s,) * 2)


def test_a_file_is_there_or_it_is_not(tmp_path, approved):
    path = written(tmp_path / "file")
    assert found(path=path) == "fine"
    assert found(path=path, exists="no") == f"{path} exists, and should not"
    missing = tmp_path / "missing"
    assert found(path=missing) == f"{missing} does not exist"
    assert found(path=missing, exists="no") == "fine"
    assert found(path=path / "below", exists="no") == "fine"
    assert found(path=path / "below").endswith("a part of the path is a file")


def test_a_link_to_nothing_is_named(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    assert found(path=link) == f"{link} is a link to nowhere, which does not exist"
    assert found(path=link, exists="no") == f"{link} exists, and should not"


def test_age_and_size_are_judged_and_the_file_is_named(tmp_path):
    path = written(tmp_path / "file", age_s=7200)
    assert found(path=path, fail_age="1h") == f"age is 2h, over fail_age = 1h\n{path}"
    assert found(path=path, fail_age="3h") == "fine"
    small = f"size is 12B, under fail_small = 1MB\n{path}"
    assert found(path=path, fail_small="1MB") == small
    assert "over warn_size = 5B" in found(path=path, warn_size="5B")
    both = found(path=path, fail_small="1MB", fail_size="2MB")
    assert both.startswith("size is 12B, outside 1MB..2MB")


def test_a_time_in_the_future_is_no_age(tmp_path):
    path = written(tmp_path / "file", age_s=-7200)
    assert "2.0 h from now" in found(path=path, fail_age="1h")
    aged(path, -60)
    assert found(path=path, fail_age="1h") == "fine"


def test_of_a_glob_the_newest_that_is_finished_counts(tmp_path):
    glob = tmp_path / "*.gz*"
    assert found(glob=glob) == f"no file matches {glob}"
    written(tmp_path / "old.gz", b"1", 9000)
    new = written(tmp_path / "new.gz", b"12", 3700)
    for partial in ("newer.gz.part", "newer.gz.tmp"):
        written(tmp_path / partial, b"123")
    reason = found(glob=glob, fail_age="1h")
    assert reason == f"age is 1.028h, over fail_age = 1h\nthe newest of 2: {new}"
    assert found(glob=glob, fail_age="2h") == "fine"
    assert found(glob=glob, fail_age="1h", partial="no") == "fine"
    assert "1: " in found(glob=glob, fail_age="1min", settled="2h")


def test_matches_are_counted(tmp_path):
    for number in range(3):
        written(tmp_path / f"{number}.gz")
    assert found(glob=tmp_path / "*.gz", fail_count="1..3") == "fine"
    assert found(glob=tmp_path / "*.gz", fail_count="2").startswith("count is 3, over")
    assert "count is 0, outside" in found(glob=tmp_path / "*.xz", fail_count="1..3")
    assert found(glob=tmp_path / "*.xz", exists="no") == "fine"
    assert found(path=tmp_path, fail_count=3) == "fine"
    written(tmp_path / "4.part")
    assert found(path=tmp_path, fail_count=3) == "fine"
    assert "count is 4" in found(path=tmp_path, fail_count=3, partial="no")


def test_a_folder_is_as_large_as_what_is_below_it(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert found(path=below, fail_age="1h") == f"{below} holds no file"
    for folder in (tmp_path, below):
        written(folder / "file", b"x" * 1_000_000, age_s=4000)
    assert found(path=tmp_path, fail_size="2.1MB") == "fine"
    assert "size is 2MB, over" in found(path=tmp_path, fail_size="1.9MB")
    assert "age is 1.1" in found(path=tmp_path, fail_age="1h")


def test_owner_and_mode_are_compared(tmp_path):
    path = written(tmp_path / "file")
    path.chmod(0o640)
    facts = path.stat()
    assert found(path=path, mode="0600, 640", owner=facts.st_uid) == "fine"
    assert "its mode is 0640, expected 0600" in found(path=path, mode="0600")
    assert "expected nobody-at-all" in found(path=path, owner="nobody-at-all")
    assert "its group is" in found(path=path, group="nobody-at-all")


def test_a_checksum_is_compared(tmp_path):
    path = written(tmp_path / "file", b"")
    md5 = "d41d8cd98f00b204e9800998ecf8427e"
    assert found(path=path, checksum=f"md5:{md5.upper()}") == "fine"
    assert f"its MD5 is {md5}, expected" in found(path=path, checksum="0" * 32)
    assert "its SHA256 is e3b0c4" in found(path=path, checksum="0" * 64)


@pytest.mark.parametrize(("changed", "story"), [("tell", ".W."), ("fail", ".FF")])
def test_a_change_is_told_once_or_until_it_is_undone(tmp_path, changed, story):
    path = written(tmp_path / "file")
    job = job_of(FileChecker, path=path, changed=changed)
    told = ""
    for content in (b"one", b"two", b"two"):
        written(path, content)
        told += mark(job)
    assert told == story
    written(path, b"one")
    assert mark(job) != "F"


def mark(job):
    """Return how a check ends; the memory of the job stays as it is."""
    try:
        job.check(job.target, Deadline(20))
    except CheckWarning:
        return "W"
    except CheckFailed:
        return "F"
    return "."


def test_contents_are_searched_by_lines(tmp_path):
    path = written(tmp_path / "file")
    assert found(path=path, expect="hello", expect_regex="^world$") == "fine"
    assert "does not contain 'HELLO'" in found(path=path, expect="HELLO")
    assert "does not contain '^orld'" in found(path=path, expect_regex="^orld")
    assert "forbid_regex: world" in found(path=path, forbid_regex="or")
    packed = written(tmp_path / "file.gz", gzip.compress(b"hello\n"))
    assert found(path=packed, expect="hello") == "fine"


def test_growth_is_that_of_an_hour():
    samples = []
    for minute in range(0, 180, 5):
        samples = with_sample(samples, minute * 1000, minute * 60.0)
    assert len(samples) <= 14
    assert growth(samples, 180_000, 180 * 60.0) == pytest.approx(60_000)
    assert growth([], 5, 0.0) is None
    # A check a minute after the first one says nothing yet.
    assert growth([(0.0, 0)], 5, 60.0) is None
    # Nor does one from yesterday.
    assert growth([(0.0, 0)], 5, 86_400.0) is None
    # A clock that was set back is no growth.
    assert with_sample([(9e9, 5)], 5, 100.0) == [(100.0, 5)]


def test_a_dump_that_is_empty_or_cut_is_never_ok(tmp_path):
    path = tmp_path / "dump.sql.gz"
    asked = {"path": path, "complete": "pg_dump", "integrity": "auto"}
    written(path, gzip.compress(DUMP))
    assert found(**asked) == "fine"
    for content in (b"", gzip.compress(b""), gzip.compress(DUMP[:-60])):
        written(path, content)
        assert str(path) in found(**asked)
    written(path, gzip.compress(DUMP)[:-1])
    assert "it is cut" in found(**asked)


def test_a_copy_of_a_database_of_sqlite_is_checked(tmp_path):
    path = tmp_path / "it.db"
    database = sqlite3.connect(path)
    database.execute("create table a (b)")
    database.close()
    assert found(path=path, complete="sqlite") == "fine"
    path.write_bytes(path.read_bytes()[:-1])
    assert "it is cut" in found(path=path, complete="sqlite")


def test_what_is_no_file_is_not_read(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert found(path=fifo) == "fine"
    assert "is not a file" in found(path=fifo, integrity="auto")
    assert "is not a file" in found(path=tmp_path, expect="x")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        assert found(path=tmp_path / "socket", fail_age="1h") == "fine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_unknown(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert found(path=closed / "file").startswith("unknown: ")
    assert found(path=closed / "file", exists="no").startswith("unknown: ")
    assert found(glob=closed / "*", exists="no").startswith("unknown: ")


def test_a_file_is_read_only_where_its_contents_are_asked_for(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        contents,
        "_opened",
        lambda path: opened.append(path) or open(path, "rb"),
    )
    path = written(tmp_path / "file")
    target = job_of(FileChecker, path=path, fail_age="1h", mode="644").target
    MODULE.look(target, print)
    assert not opened
    target = job_of(FileChecker, path=path, expect="hello").target
    MODULE.look(target, lambda words: words())
    assert opened


@pytest.mark.long
def test_what_takes_too_long_says_how_far_it_was(tmp_path):
    path = tmp_path / "large.gz"
    # 20 GB, unpacked.
    content = gzip.compress(bytes(10_000_000)) * 2000
    path.write_bytes(content)
    job = job_of(FileChecker, path=path, integrity="gzip", timeout="1s")
    result = result_of(job)
    assert result.status is Status.UNKNOWN
    reason = result.reason
    assert reason.startswith(f"{path} took longer than 1 s: ")
    assert " of 19.5 MB are read; " in reason


@pytest.mark.long
def test_many_are_looked_at_together(tmp_path):
    many = [
        job_of(FileChecker, path=written(tmp_path / f"{number}"), **more)
        for number in range(120)
        for more in [{"expect": "hello"} if number % 40 == 0 else {"fail_small": "1kB"}]
    ]
    many.append(job_of(FileChecker, path=tmp_path / "missing"))
    answers = FileChecker.check_many(many, lambda some: [Deadline(20) for _ in some])
    told = {id(job): outcome for job, outcome in filter(None, answers)}
    assert len(told) == 121
    assert all(told[id(job)]["size"].number == 12 for job in many[:-1])
    assert str(told[id(many[-1])]).endswith("missing does not exist")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "one of path, glob and repository is needed"),
        ({"path": "/a", "glob": "/b*"}, "given: path and glob"),
        ({"path": "/a", "complete": "restic"}, "needs repository"),
        ({"repository": "/a"}, "needs complete"),
        ({"path": "/a", "holds": "/etc"}, "holds is for a repository"),
        ({"path": "/a", "full_check": "no"}, "full_check is for a repository"),
        ({"path": "/a", "exists": "no", "fail_age": "1h"}, "leave out fail_age"),
        ({"glob": "/a*", "changed": "tell"}, "it needs path"),
        (
            {"repository": "/a", "complete": "borg", "fail_small": "1MB"},
            "fail_small is for files",
        ),
    ],
)
def test_what_cannot_be_meant_together_is_said(options, words):
    job = job_of(FileChecker, **options)
    assert words in "; ".join(
        clash.text for clash in FileChecker.wrong_together(job.target)
    )


def test_credentials_of_a_repository_are_not_shown():
    repository = "rest:https://user:pass@backup.example.com/"
    job = job_of(FileChecker, repository=repository, complete="restic")
    assert job.shown_target() == "rest:https://***@backup.example.com/"
