"""The end of a dump, and the newest snapshot: what is whole and what is not."""

import gzip
import re
import sqlite3

import pytest

from lib.plugins import backups
from lib.plugins.archives import Damaged, Source
from lib.plugins.backups import Ends, missing_paths, newest_snapshot
from lib.plugins.base import CheckFailed, CheckUnknown

POSTGRES = b"""--
-- PostgreSQL database dump
--

\\restrict q0uWbX
SET client_encoding = 'UTF8';
CREATE TABLE public.a (b integer);
COPY public.a (b) FROM stdin;
1
\\.

--
-- PostgreSQL database dump complete
--

\\unrestrict q0uWbX

"""
OLDER = re.sub(rb"\\(un)?restrict .*\n", b"", POSTGRES)
CLUSTER = b"--\n-- PostgreSQL database cluster dump\n--\n\n" + POSTGRES
CLUSTER_END = b"--\n-- PostgreSQL database cluster dump complete\n--\n\n"
MARIADB = b"""/*M!999999\\- enable the sandbox mode */
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB
CREATE TABLE `a` (`b` int);
-- Dump completed on 2026-11-28  3:04:05
"""
SQLITE = b"""PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE a(b);
COMMIT;
"""
LOCKED = b"""PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
/**** ERROR: (5) database is locked *****/
ROLLBACK; -- due to errors
"""


def ends(data):
    return Ends(data[: backups.HEAD], data[-backups.TAIL :], len(data))


@pytest.mark.parametrize(
    ("judge", "data", "why"),
    [
        (backups.why_not_pg_dump, POSTGRES, ""),
        (backups.why_not_pg_dump, OLDER, ""),
        (backups.why_not_pg_dump, POSTGRES[:-5], "its last line"),
        (backups.why_not_pg_dump, POSTGRES[:-60], "it is cut"),
        (backups.why_not_pg_dump, POSTGRES[:200], "it is cut"),
        # A table may hold the marker.
        (
            backups.why_not_pg_dump,
            OLDER[:150] + b"-- PostgreSQL database dump complete\n" + b"1\n" * 10,
            "it is cut",
        ),
        (backups.why_not_pg_dump, MARIADB, "does not begin"),
        (backups.why_not_pg_dump, CLUSTER + CLUSTER_END, ""),
        # Whole but for the databases that were to follow.
        (backups.why_not_pg_dump, CLUSTER, "cluster dump complete"),
        (
            backups.why_not_pg_dump,
            POSTGRES.replace(b"CREATE", b"-").replace(b"COPY", b"-"),
            "no table is in it",
        ),
        (backups.why_not_mariadb_dump, MARIADB, ""),
        (backups.why_not_mariadb_dump, MARIADB[:-60], "it is cut"),
        (backups.why_not_mariadb_dump, MARIADB.replace(b"CREATE", b""), "no table"),
        (backups.why_not_mariadb_dump, SQLITE, "does not begin"),
        (backups.why_not_sqlite_dump, SQLITE, ""),
        (backups.why_not_sqlite_dump, SQLITE[:-2], "its last line is not COMMIT;"),
        (backups.why_not_sqlite_dump, SQLITE[:-9], "its last line is not COMMIT;"),
        (backups.why_not_sqlite_dump, LOCKED, "ERROR: (5) database is locked"),
        (
            backups.why_not_sqlite_dump,
            SQLITE.replace(b"COMMIT;", b"ROLLBACK; -- due to errors"),
            "sqlite3 gave up",
        ),
        (backups.why_not_sqlite_dump, SQLITE.replace(b"CREATE", b"--"), "no table"),
        (backups.why_not_sqlite_dump, b"\n\n", "does not begin"),
    ],
)
def test_how_a_dump_ends_tells_whether_it_is_whole(judge, data, why):
    assert why in judge(ends(data)) and bool(why) == bool(judge(ends(data)))


def checked(tmp_path, data, kind):
    path = tmp_path / "dump"
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        try:
            return backups.check_dump(Source(file, lambda _source: None), kind, print)
        except (Damaged, CheckUnknown) as error:
            return f"{type(error).__name__}: {error}"


def test_a_dump_is_read_through_its_compression(tmp_path):
    assert checked(tmp_path, POSTGRES, "pg_dump") == "pg_dump"
    assert checked(tmp_path, gzip.compress(POSTGRES), "pg_dump") == "pg_dump in gzip"
    # gzip -t says 0: what was cut is the dump.
    cut = gzip.compress(POSTGRES[:-60])
    assert "it is cut" in checked(tmp_path, cut, "pg_dump")
    assert "end too early" in checked(tmp_path, gzip.compress(POSTGRES)[:-1], "pg_dump")
    for empty in (b"", gzip.compress(b"")):
        assert "0 bytes" in checked(tmp_path, empty, "sqlite")


def test_of_a_large_dump_that_is_not_compressed_only_the_ends_are_read(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(POSTGRES[:-80])
    with path.open("r+b", buffering=0) as file:
        file.truncate(50_000_000_000)
        file.seek(0, 2)
        file.write(b"\n" + POSTGRES[-80:])
        source = Source(file, lambda _source: None)
        assert backups.check_dump(source, "pg_dump", print) == "pg_dump"
        assert source.at == 0


def test_a_copy_of_a_database_is_checked_by_sqlite(tmp_path):
    path = tmp_path / "made.db"
    database = sqlite3.connect(path)
    database.execute("create table a(b)")
    database.executemany("insert into a values (?)", [("x" * 500,)] * 100)
    database.commit()
    database.close()
    data = path.read_bytes()
    assert checked(tmp_path, data, "sqlite") == "sqlite"
    assert "fewer pages" in checked(tmp_path, data[:-4096], "sqlite")
    changed = data[:8192] + b"\xff" * 200 + data[8392:]
    assert "SQLite says" in checked(tmp_path, changed, "sqlite")
    assert "compressed cannot" in checked(tmp_path, gzip.compress(data), "sqlite")
    database = sqlite3.connect(tmp_path / "empty.db")
    database.execute("vacuum")
    database.close()
    empty = (tmp_path / "empty.db").read_bytes()
    assert checked(tmp_path, empty, "sqlite") != "sqlite"
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "dump",
        "empty.db",
        "made.db",
    ]


def test_the_newest_snapshot_is_that_of_the_last_moment():
    restic = [
        {"id": "old", "time": "2026-11-28T03:00:00.123456789+02:00"},
        {"id": "new", "time": "2026-11-28T02:00:00.123456789Z"},
    ]
    assert newest_snapshot(restic, "restic").name == "new"
    borg = [{"name": "a", "time": "2026-11-28T03:00:00.000000"}]
    assert newest_snapshot(borg, "borg").name == "a"
    with pytest.raises(CheckFailed, match="holds no snapshot"):
        newest_snapshot([], "restic")


def test_of_snapshots_of_one_second_the_last_is_the_newest():
    second = "2026-11-28T03:00:00.000000"
    listed = [{"name": name, "time": second} for name in ("a", "b", "c")]
    earlier = {"name": "d", "time": "2026-11-28T02:59:59.000000"}
    assert newest_snapshot([earlier, *listed], "borg").name == "c"
    assert newest_snapshot([*listed, earlier], "borg").name == "c"


@pytest.mark.parametrize(
    ("listed", "missing"),
    [
        (["/etc/", "/etc/hosts", "/home/me"], ["/home"]),
        (["etc/", "etc/hosts", "home/", "home/me"], []),
        (["/etc/", "/etc/hosts", "/home/me/x"], []),
        # The folder of a disk that was not mounted.
        (["/etc/", "/etc/hosts", "/home/me/"], ["/home/me"]),
        (["/etc/", "/etc/hosts", "/home/me/", "/home/me/empty/"], ["/home/me"]),
        (["/etc/hosts", "/home/me-too/x"], ["/home/me"]),
        (["/etc/hosts", "/home/me"], []),
        ([], ["/etc", "/home/me"]),
    ],
)
def test_a_path_is_held_if_there_is_something_in_it(listed, missing):
    wanted = missing[:1] if missing == ["/home"] else ["/home/me"]
    assert missing_paths(["/etc", *wanted], listed) == (
        [] if missing == ["/home"] else missing
    )
