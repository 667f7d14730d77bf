"""[file NAME] complete = ...: dumps and repositories that the real programs wrote.

Each is whole, then cut, emptied, overwritten with zeros; some were written onto a full
disk, or of a locked database, where the program itself ended with 0.
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.FileChecker import FileChecker
from tests.support import mounts
from tests.support.databases import Database, database, shell
from tests.support.listeners import found_by

pytestmark = pytest.mark.integration

PACKAGES = {
    "sqlite3": "sqlite3",
    "restic": "restic",
    "borg": "borgbackup",
    "pg_dump": "postgresql-client",
    "mariadb-dump": "mariadb-client",
    "zstd": "zstd",
    "lz4": "lz4",
}
ROWS = 3000


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"as root: apt-get install {PACKAGES[program]}")


def found(path: Path, kind: str, **more: object) -> str:
    """Return what is found of a dump: fine, or why not, without its path."""
    said = found_by(FileChecker, path=path, complete=kind, **more).split("\n")[0]
    return said.replace(f"{path}: ", "")


def is_found_out(
    path: Path, content: bytes, kind: str, at_least: int, *, zeros: int = 0
) -> None:
    """Fail unless a dump is fine, and is failing wherever it is cut or is zeros.

    ``at_least`` is how many bytes of its end say nothing, ``zeros`` how many must be
    zeros to be found.
    """
    assert found(path, kind) == "fine"
    size = len(content)
    ends = [size - at_least, size - at_least - 1, *(size * n // 9 for n in range(1, 9))]
    for end in (*ends, 10, 1):
        for rest in (b"", bytes(size - end)):
            if content[:end] + rest == content or (rest and size - end < zeros):
                continue
            path.write_bytes(content[:end] + rest)
            said = found(path, kind)
            assert said != "fine", (end, rest[:1])
            assert not said.startswith("unknown"), said
    path.write_bytes(b"")
    assert found(path, kind) == "it is empty (0 bytes)"
    path.write_bytes(bytes(size))
    assert found(path, kind) != "fine"
    path.write_bytes(content)
    assert found(path, kind) == "fine"


# PostgreSQL: a table ``a`` in the database ``full``, and ``bare`` without one.


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    needs("pg_dump")
    with database("postgres") as it:
        table = (
            f"create table a as select n, md5(n::text) from generate_series(1, {ROWS})"
            " as n; create index on a (n)"
        )
        folder = tmp_path_factory.mktemp("postgres")
        assert it.run(folder, "createdb full && createdb bare") == 0
        assert it.run(folder, f"psql -qc '{table}' full") == 0
        yield it


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    needs("mariadb-dump")
    with database("mysql") as it:
        text = (
            "create database full; create database bare;"
            " create table full.a (n int primary key, text varchar(100));"
            f" insert into full.a select seq, md5(seq) from full.seq_1_to_{ROWS}"
        )
        folder = tmp_path_factory.mktemp("mariadb")
        assert it.run(folder, f"mariadb OPTIONS -e '{text}'") == 0
        yield it


@pytest.mark.parametrize(
    ("line", "at_least"),
    [
        # Behind the last line two newlines say nothing.
        ("pg_dump full", 3),
        ("pg_dump --inserts full", 3),
        ("pg_dump -s full", 3),
        ("pg_dump -Fc full", 1),
        ("pg_dump -Fc -Z0 full", 1),
        ("pg_dumpall", 6),
        ("pg_dump full | gzip -c", 1),
        ("pg_dump full | xz -c", 1),
        ("pg_dump full | bzip2 -c", 1),
        ("pg_dump full | zstd -qc", 1),
        ("pg_dump full | lz4 -qc", 1),
        ("pg_dump -Fc full | gzip -c", 1),
        ("pg_dump -Ft full | gzip -c", 1),
    ],
)
def test_a_dump_of_postgres(tmp_path, postgres, line, at_least):
    needs(*(word for word in ("zstd", "lz4") if word in line))
    path = tmp_path / "dump"
    assert postgres.run(tmp_path, f"{line} >dump") == 0
    content = path.read_bytes()
    # A dump that is not compressed has no sums: zeros end its only table.
    zeros = len(content) if "-Z0" in line else 0
    is_found_out(path, content, "pg_dump", at_least, zeros=zeros)


def test_a_dump_of_postgres_as_tar(tmp_path, postgres):
    path = tmp_path / "dump"
    assert postgres.run(tmp_path, "pg_dump -Ft full >dump") == 0
    content = path.read_bytes()
    assert found(path, "pg_dump") == "fine"
    # pg_restore ends with 0 for each of these; the last blocks are all zeros.
    end = len(content.rstrip(b"\0"))
    for size in (end, end * 2 // 3, end // 2, 1024, 512, 100):
        path.write_bytes(content[:size])
        assert found(path, "pg_dump") not in ("fine", ""), size
    assert postgres.run(tmp_path, "tar -cf dump /etc/hostname") == 0
    assert "toc.dat is missing" in found(path, "pg_dump")


def test_a_dump_of_postgres_in_a_folder(tmp_path, postgres):
    path = tmp_path / "dump"
    assert postgres.run(tmp_path, "pg_dump -Fd -f dump full") == 0
    assert found(path, "pg_dump") == "fine"
    (data,) = path.glob("*.dat.gz")
    content = data.read_bytes()
    # pg_restore ends with 0 for the last of these.
    for cut in (content[:-1], content[: len(content) // 2], content[:20], b""):
        data.write_bytes(cut)
        said = found(path, "pg_dump")
        assert data.name in said or "pg_restore: error" in said, (len(cut), said)
    data.unlink()
    assert found(path, "pg_dump").startswith("it is damaged or cut: pg_restore")
    (path / "toc.dat").unlink()
    assert "toc.dat is missing" in found(path, "pg_dump")


@pytest.mark.parametrize("how", ["pg_dump bare", "pg_dump bare | gzip -c"])
def test_a_dump_of_postgres_without_a_table_is_not_fine(tmp_path, postgres, how):
    assert postgres.run(tmp_path, f"{how} >dump") == 0
    said = found(tmp_path / "dump", "pg_dump")
    assert said == "it ends as it should, but no table is in it"


def test_a_pipe_hides_that_pg_dump_failed(tmp_path, postgres):
    line = "set +o pipefail; pg_dump nosuch | gzip -c >dump"
    assert postgres.run(tmp_path, line) == 0
    assert found(tmp_path / "dump", "pg_dump") == "it holds nothing (0 bytes)"


# MariaDB.


@pytest.mark.parametrize(
    "line",
    [
        "mariadb-dump OPTIONS full",
        "mariadb-dump OPTIONS --databases full bare",
        "mariadb-dump OPTIONS --skip-dump-date --single-transaction full",
        "mariadb-dump OPTIONS full | gzip -c",
        "mariadb-dump OPTIONS full | zstd -qc",
    ],
)
def test_a_dump_of_mariadb(tmp_path, mariadb, line):
    needs(*(word for word in ("zstd",) if word in line))
    path = tmp_path / "dump"
    assert mariadb.run(tmp_path, f"{line} >dump") == 0
    content = path.read_bytes()
    marker = re.search(rb"-- Dump completed.*\n", content)
    is_found_out(path, content, "mariadb-dump", len(marker[0]) - 16 if marker else 1)


def test_a_dump_of_mariadb_without_a_table_is_not_fine(tmp_path, mariadb):
    assert mariadb.run(tmp_path, "mariadb-dump OPTIONS bare >dump") == 0
    said = found(tmp_path / "dump", "mariadb-dump")
    assert said == "it ends as it should, but no table is in it"


def test_a_dump_of_mariadb_that_never_says_that_it_is_complete(tmp_path, mariadb):
    assert mariadb.run(tmp_path, "mariadb-dump OPTIONS --compact full >dump") == 0
    assert "a dump with --compact" in found(tmp_path / "dump", "mariadb-dump")


# SQLite.


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    """Return a database with a table."""
    needs("sqlite3")
    path = tmp_path / "it.db"
    database = sqlite3.connect(path)
    database.execute("create table a (n integer primary key, text)")
    rows = ((f"row {n} " * 5,) for n in range(ROWS))
    database.executemany("insert into a (text) values (?)", rows)
    database.commit()
    database.close()
    return path


@pytest.mark.parametrize(
    ("line", "at_least"),
    [
        ("sqlite3 it.db .dump", 2),
        ("sqlite3 it.db .dump | gzip -c", 1),
        ("sqlite3 it.db '.backup copy' && cat copy", 1),
        ("sqlite3 it.db \"vacuum into 'copy'\" && cat copy", 1),
    ],
)
def test_a_dump_of_sqlite(tmp_path, sqlite, line, at_least):
    path = tmp_path / "dump"
    assert shell(tmp_path, f"{line} >dump") == 0
    # A database has no sums of what is in its pages.
    zeros = 20_000 if "copy" in line else 0
    is_found_out(path, path.read_bytes(), "sqlite", at_least, zeros=zeros)


def test_a_dump_of_a_locked_database_ends_with_0_and_is_not_fine(tmp_path, sqlite):
    holder = sqlite3.connect(sqlite)
    holder.execute("begin exclusive")
    assert shell(tmp_path, "sqlite3 it.db .dump >dump") == 0
    holder.close()
    said = found(tmp_path / "dump", "sqlite")
    assert said == "sqlite3 wrote into it: ERROR: (5) database is locked"


def test_a_dump_of_a_damaged_database_ends_with_0_and_is_not_fine(tmp_path, sqlite):
    content = bytearray(sqlite.read_bytes())
    content[40_960:81_920] = bytes(40_960)
    sqlite.write_bytes(content)
    assert shell(tmp_path, "sqlite3 it.db .dump >dump") == 0
    assert found(tmp_path / "dump", "sqlite") != "fine"
    assert found(sqlite, "sqlite") != "fine"


@pytest.mark.parametrize("name", ["new.db", "nosuch.db"])
def test_a_dump_of_a_database_that_is_new_is_not_fine(tmp_path, sqlite, name):
    assert shell(tmp_path, f"sqlite3 {name} .dump >dump") == 0
    said = found(tmp_path / "dump", "sqlite")
    assert said == "it ends as it should, but no table is in it"


def test_a_database_that_is_in_use_is_checked_without_a_word_to_its_users(
    tmp_path, sqlite
):
    # A process of its own: what SQLite knows of locks is not for a fork of ours.
    with subprocess.Popen(
        ["sqlite3", sqlite], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        writer.stdin.write(
            "pragma journal_mode = wal; insert into a values (-1, '');\n"
        )
        writer.stdin.write("select 'ready';\n")
        writer.stdin.flush()
        assert [writer.stdout.readline() for _line in range(2)] == ["wal\n", "ready\n"]
        before = sorted(path.name for path in tmp_path.iterdir())
        assert found(sqlite, "sqlite") == "fine"
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        writer.stdin.write("insert into a values (-2, '');\nselect 'written';\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "written\n"
        writer.stdin.close()
    assert writer.returncode == 0


# A full disk.

FULL = {
    "sqlite": ("sqlite3 {}/it.db .dump >{}/small/dump", 0),
    "pg_dump": ("pg_dump full >{}/small/dump", 1),
    "mariadb-dump": ("mariadb-dump OPTIONS full >{}/small/dump", 5),
}


@pytest.mark.parametrize("kind", FULL)
def test_a_dump_onto_a_full_disk_is_not_fine(tmp_path, sqlite, request, kind):
    if reason := mounts.why_not_small():
        pytest.skip(reason)
    line, code = FULL[kind]
    line = line.format(tmp_path, tmp_path)
    with mounts.small(tmp_path / "small") as small:
        if kind == "sqlite":
            # It says nothing of it.
            assert shell(tmp_path, line) == code
        else:
            name = "postgres" if kind == "pg_dump" else "mariadb"
            assert request.getfixturevalue(name).run(tmp_path, line) == code
        assert (small / "dump").stat().st_size <= 65_536
        assert found(small / "dump", kind) != "fine"
        (small / "dump").unlink()
        mounts.fill(small)
        shell(tmp_path, line)
        assert found(small / "dump", kind) == "it is empty (0 bytes)"


# Repositories.

RESTIC = {"RESTIC_PASSWORD": "canary-1", "RESTIC_REPOSITORY": "repo"}
BORG = {"BORG_PASSPHRASE": "canary-1", "BORG_REPO": "repo"}


class Repository:
    """A repository of restic or borg with a backup of two folders."""

    def __init__(self, program: str, folder: Path) -> None:
        needs(program)
        self.program, self.folder = program, folder
        home = {"HOME": str(folder), "BORG_BASE_DIR": str(folder)}
        self._environment = home | (RESTIC if program == "restic" else BORG)
        chance = random.Random(1)
        for name in ("etc", "srv"):
            (folder / name / "below").mkdir(parents=True)
            for number in range(20):
                # Larger than the lists of them, whatever packs it.
                path = folder / name / "below" / f"{number}"
                path.write_bytes(chance.randbytes(20_000))
        made = "restic init" if program == "restic" else "borg init -e repokey"
        assert self.run(made) == 0
        self.back_up("etc", "srv")

    def run(self, line: str) -> int:
        return shell(self.folder, line, **self._environment)

    def back_up(self, *names: str) -> int:
        """Make a backup; return what the program ended with."""
        paths = " ".join(f"{self.folder}/{name}" for name in names)
        before = (
            "restic backup" if self.program == "restic" else "borg create ::{now:%f}"
        )
        return self.run(f"{before} {paths}")

    def found(self, password: str = "canary-1", **more: object) -> str:
        """Return what is found: fine, or why not."""
        said = found_by(
            FileChecker,
            complete=self.program,
            repository=self.folder / "repo",
            password=password,
            holds=f"{self.folder}/etc, {self.folder}/srv",
            **{"timeout": "50s", **more},
        )
        assert "canary-1" not in said
        return said

    def data(self) -> list[Path]:
        """Return the files that hold what was backed up, the largest first."""
        files = (path for path in (self.folder / "repo" / "data").rglob("*"))
        return sorted(
            (path for path in files if path.is_file()),
            key=lambda path: -path.stat().st_size,
        )


@pytest.fixture(params=["restic", "borg"])
def repository(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch
) -> Repository:
    # Its caches, and what it knows of repositories.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path))
    return Repository(request.param, tmp_path)


def test_a_repository_is_whole_and_its_newest_snapshot_holds_all(repository):
    assert repository.found(fail_age="1h") == "fine"
    assert "age is" in repository.found(fail_age="1ms")


def test_a_newest_snapshot_without_one_source_is_not_fine(repository):
    shutil.rmtree(repository.folder / "srv")
    # restic says 0 of it, borg warns.
    code = repository.back_up("etc", "srv")
    assert code == (0 if repository.program == "restic" else 1)
    said = repository.found()
    assert f"does not hold {repository.folder}/srv, or no file in it" in said


def test_a_newest_snapshot_of_an_empty_mount_point_is_not_fine(repository):
    shutil.rmtree(repository.folder / "srv")
    (repository.folder / "srv" / "below").mkdir(parents=True)
    assert repository.back_up("etc", "srv") == 0
    assert f"{repository.folder}/srv, or no file in it" in repository.found()


def test_data_that_are_gone_or_cut_are_found(repository):
    data = repository.data()[0]
    content = data.read_bytes()
    data.chmod(0o600)
    data.write_bytes(content[: len(content) // 2])
    said = repository.found()
    # restic lists its snapshots as if nothing were wrong, borg does not.
    check = " check" if repository.program == "restic" else ""
    assert said.startswith(f"{repository.program}{check}: ")
    middle = len(content) // 2
    changed = bytes([content[middle] ^ 1])
    data.write_bytes(content[:middle] + changed + content[middle + 1 :])
    # borg reads all of it, and restic no data of files.
    said = repository.found()
    is_read = repository.program == "borg"
    assert said.startswith("borg check: ") if is_read else said == "fine"
    data.unlink()
    assert repository.found().startswith(repository.program)


def test_a_check_of_all_data_may_be_left_out(repository):
    data = repository.data()[0]
    content = data.read_bytes()
    middle = len(content) // 2
    data.chmod(0o600)
    if repository.program == "restic":
        data.unlink()
    else:
        changed = bytes([content[middle] ^ 1])
        data.write_bytes(content[:middle] + changed + content[middle + 1 :])
    assert repository.found().startswith(f"{repository.program} check: ")
    assert repository.found(full_check="no") == "fine"
    shutil.rmtree(repository.folder / "srv")
    repository.back_up("etc", "srv")
    assert "srv, or no file in it" in repository.found(full_check="no")


def test_a_repository_that_is_not_there_is_not_fine(repository):
    shutil.rmtree(repository.folder / "repo")
    said = repository.found()
    assert said.startswith(f"{repository.program}: "), said


def test_a_repository_without_a_snapshot_is_not_fine(repository):
    shutil.rmtree(repository.folder / "repo")
    made = "restic init" if repository.program == "restic" else "borg init -e repokey"
    assert repository.run(made) == 0
    assert repository.found() == "the repository holds no snapshot"


def test_what_is_our_own_trouble_is_unknown(repository, tmp_path):
    said = repository.found(password="canary-2")
    assert said.startswith(f"unknown: {repository.program}: "), said


def test_a_repository_that_does_not_answer_is_unknown(repository, tmp_path):
    if reason := mounts.why_not_bound():
        pytest.skip(reason)
    with mounts.Bound(repository.folder, tmp_path / "mount") as bound:
        bound.hang()
        said = found_by(
            FileChecker,
            complete=repository.program,
            repository=bound.folder / "repo",
            password="canary-1",
            timeout="3s",
        )
        assert said.startswith(f"unknown: {bound.folder}/repo took longer than 3 s: ")
        assert f"{repository.program} lists" in said
        assert mounts.are_gone(repository.program)
