"""``-m wrap`` with programs of Debian: what a preset says of how they really end.

Most of these end with 0 though something is wrong, or with a code of their own though
all is well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs.HeartbeatChecker import PRESETS, HeartbeatChecker
from lib.core.enums import Status
from tests.support import mounts
from tests.support.databases import Database, database
from tests.support.listeners import job_of, result_of
from tests.support.powers import as_anybody

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {
    "restic": "restic",
    "borg": "borgbackup",
    "rsync": "rsync",
    "rclone": "rclone",
    "tar": "tar",
    "logrotate": "logrotate",
    "apt-get": "apt",
    "zip": "zip",
    "duplicity": "duplicity",
    "rsnapshot": "rsnapshot",
    "psql": "postgresql-client",
    "pg_dump": "postgresql-client",
    "mariadb-check": "mariadb-client",
    "mariadb-dump": "mariadb-client",
    "redis-cli": "redis-server",
}
#: The servers that clients ask.
SERVERS = {
    "psql": "postgres",
    "pg_dump": "postgres",
    "mariadb-check": "mysql",
    "mariadb-dump": "mysql",
}
OK, WARNING, FAILING = Status.OK, Status.WARNING, Status.FAILING

pytestmark = pytest.mark.integration

#: What is there before the commands below: two files, one that only root could read.
BEFORE = """\
umask 022
mkdir from to kept
echo one >from/one
echo log >from/log
cp -r from shut
chmod 0 shut/log
printf '%s\\n' "$PWD/from/log {" " rotate 1" "}" >good.conf
printf '%s\\n' "$PWD/from/log {" " rotate 1" " nosuch" "}" >bad.conf
printf '%s\\n' "$PWD/nosuch {" " rotate 1" "}" >missing.conf
cp good.conf open.conf
chmod 664 open.conf
sed "s/ = /\t/" >snap.conf <<END
config_version = 1.2
snapshot_root = $PWD/to/
cmd_cp = /bin/cp
cmd_rsync = /usr/bin/rsync
retain = alpha\t2
backup = $PWD/from/\there/
END
sed 's#/from/#/nosuch/#' snap.conf >badsnap.conf
sed 's#/from/#/shut/#' snap.conf >shutsnap.conf
printf 'backup_script\t/bin/false\tscript/\n' | cat snap.conf - >scriptsnap.conf
printf '%s\n' 'create temp table t (n int);' 'select * from nosuch;' \
    'insert into t values (1);' >bad.sql
echo 'select 1;' >good.sql
"""
RESTIC = "restic -q init -r repo &&"
DUPLICITY = "duplicity --no-encryption --archive-dir $PWD/archive"
BORG = "borg init -e none repo &&"
APT = (
    "mkdir -p lists/partial archives/partial &&"
    " echo 'deb [trusted=yes] http://127.0.0.1:1/x y z' >list &&"
    " apt-get update -o Dir::Etc::SourceList=$PWD/list -o Dir::Etc::SourceParts=/none"
    " -o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD -o Acquire::Retries=0"
    " -o Acquire::http::Proxy=DIRECT"
)

TAR_WHILE_IT_GROWS = (
    "head -c 1000000 /dev/zero >from/big; tar -cf kept/tar --checkpoint=20"
    " --checkpoint-action=exec='echo >>from/big' from"
)

#: Starts a server of Redis for what follows, and ends it with the code of that.
REDIS = (
    "redis-server --port 0 --unixsocket $PWD/s --save '' --dir $PWD --daemonize yes"
    " >/dev/null; until [ -S s ]; do sleep 0.05; done; alias redis='redis-cli -s s'\n"
    "trap 'code=$?; redis shutdown nosave; exit $code' EXIT\n"
)

#: A preset, a line of the shell, its exit code, the verdict, and words of the reason.
CASES = [
    ("restic", f"{RESTIC} restic backup -r repo from", 0, OK, ""),
    ("restic", f"{RESTIC} restic backup -r repo from nosuch", 0, FAILING, "skipping"),
    ("restic", f"{RESTIC} restic backup -r repo shut", 3, WARNING, "be read"),
    ("restic", "restic backup -r nosuch from", 1, FAILING, "ended with 1"),
    ("borg", f"{BORG} borg create repo::a from", 0, OK, ""),
    ("borg", f"{BORG} borg create repo::a from nosuch", 1, WARNING, "is missing"),
    ("borg", f"{BORG} borg delete repo::nosuch", 0, FAILING, "nothing was deleted"),
    ("borg", "borg create nosuch::a from", 2, FAILING, "ended with 2"),
    ("rsync", "rsync -a from/ to/", 0, OK, ""),
    ("rsync", "rsync -a from/ nosuch to/", 23, WARNING, "not transferred"),
    ("rsync", "rsync -a --link-dest=/nosuch from/ to/", 0, WARNING, "copied again"),
    ("rsync", "mkfifo from/fifo; rsync -r from/ to/", 0, WARNING, "not copied"),
    (
        "rsync",
        "touch to/old; rsync -a --delete --max-delete=0 from/ to/",
        25,
        WARNING,
        "--max-delete",
    ),
    ("rsync", "rsync -a from/ /dev/null/", 3, FAILING, "ended with 3"),
    ("rclone", "rclone copy from to", 0, OK, ""),
    (
        "rclone",
        "rclone copy from to; rclone copy --error-on-no-transfer from to",
        9,
        OK,
        "",
    ),
    ("rclone", "rclone copy --max-transfer 1b from to", 8, WARNING, "--max-transfer"),
    ("rclone", "rclone copy --retries 1 nosuch to", 3, FAILING, "ended with 3"),
    ("rclone", "rclone copy --retries 1 shut to", 1, FAILING, "ended with 1"),
    ("tar", "tar -cf kept/tar from", 0, OK, ""),
    ("tar", TAR_WHILE_IT_GROWS, 1, WARNING, "changed or went"),
    ("tar", "tar -cf kept/tar from nosuch", 2, FAILING, "ended with 2"),
    ("logrotate", "logrotate -s state good.conf", 0, OK, ""),
    ("logrotate", "logrotate -s state bad.conf", 0, FAILING, "ignoring line"),
    ("logrotate", "logrotate -s state open.conf", 0, FAILING, "writable by group"),
    ("logrotate", "logrotate -s state missing.conf", 1, FAILING, "ended with 1"),
    (
        "logrotate",
        "logrotate -s state good.conf; flock state logrotate -s state good.conf",
        3,
        FAILING,
        "has the lock",
    ),
    ("apt-get", APT, 0, FAILING, "Failed to fetch"),
    ("apt-get", f"{APT} -o APT::Update::Error-Mode=any", 100, FAILING, "with 100"),
    ("zip", "zip kept/zip from/one", 0, OK, ""),
    ("zip", "zip kept/zip from/one; zip -u kept/zip from/one", 12, OK, ""),
    ("zip", "zip kept/zip from/one nosuch", 0, FAILING, "a source is missing"),
    ("zip", "zip -q kept/zip nosuch", 12, FAILING, "Nothing to do"),
    ("zip", "zip kept/zip shut/one shut/log", 18, WARNING, "be read"),
    ("duplicity", f"{DUPLICITY} from file://$PWD/kept", 0, OK, ""),
    ("duplicity", f"{DUPLICITY} shut file://$PWD/kept", 0, FAILING, "were left out"),
    ("duplicity", f"{DUPLICITY} nosuch file://$PWD/kept", 13, FAILING, "with 13"),
    ("rsnapshot", "rsnapshot -c snap.conf alpha", 0, OK, ""),
    ("rsnapshot", "rsnapshot -c shutsnap.conf alpha", 2, WARNING, "most of it was"),
    ("rsnapshot", "rsnapshot -c badsnap.conf alpha", 1, FAILING, "ended with 1"),
    ("rsnapshot", "rsnapshot -c scriptsnap.conf alpha", 1, FAILING, "ended with 1"),
    ("psql", "psql -f good.sql", 0, OK, ""),
    ("psql", "psql -f bad.sql", 0, FAILING, "does not exist"),
    ("psql", "psql -1 -f bad.sql", 0, FAILING, "with -1 all of it was rolled back"),
    ("psql", "psql -qAt -1 <bad.sql", 0, FAILING, "with -1 all of it was rolled back"),
    ("psql", "psql -v ON_ERROR_STOP=1 -f bad.sql", 3, FAILING, "ended a script"),
    ("psql", "psql -c 'select * from nosuch' -c 'select 1'", 0, FAILING, "not exist"),
    ("psql", "printf '%s' '\\nosuch' | psql", 0, FAILING, "invalid command"),
    ("psql", "psql nosuch -c 'select 1'", 2, FAILING, "connection was lost"),
    (
        "psql",
        "psql -c 'select pg_terminate_backend(pg_backend_pid())'",
        2,
        FAILING,
        "connection was lost",
    ),
    ("mariadb-check", "mariadb-check OPTIONS full", 0, OK, ""),
    ("mariadb-check", "mariadb-check OPTIONS full nosuch", 0, FAILING, "not right"),
    (
        "mariadb-check",
        "BROKEN mariadb-check OPTIONS full",
        0,
        FAILING,
        "not right",
    ),
    (
        "mariadb-check",
        "BROKEN mariadb-check OPTIONS -s --all-databases",
        0,
        FAILING,
        "not right",
    ),
    ("mariadb-check", "mariadb-check OPTIONS nosuch", 2, FAILING, "ended with 2"),
    ("pg_dump", "pg_dump | gzip >kept/dump", 0, OK, ""),
    ("pg_dump", "pg_dump nosuch | gzip >kept/dump", 0, FAILING, "set -o pipefail"),
    ("pg_dump", "pg_dump nosuch >kept/dump", 1, FAILING, "ended with 1"),
    (
        "pg_dump",
        "PGUSER=nosuch pg_dumpall | gzip >kept/dump",
        0,
        FAILING,
        "set -o pipefail",
    ),
    ("mariadb-dump", "mariadb-dump OPTIONS full | gzip >kept/dump", 0, OK, ""),
    (
        "mariadb-dump",
        "mariadb-dump OPTIONS nosuch | gzip >kept/dump",
        0,
        FAILING,
        "set -o pipefail",
    ),
    (
        "mariadb-dump",
        "mariadb-dump OPTIONS full nosuch | gzip >kept/dump",
        0,
        FAILING,
        "set -o pipefail",
    ),
    (
        "mariadb-dump",
        "BROKEN mariadb-dump OPTIONS full | gzip >kept/dump",
        0,
        FAILING,
        "set -o pipefail",
    ),
    ("mariadb-dump", "mariadb-dump OPTIONS nosuch", 2, FAILING, "ended with 2"),
    ("redis-cli", f"{REDIS}redis save", 0, OK, ""),
    ("redis-cli", f"{REDIS}redis --rdb kept/dump", 0, OK, ""),
    ("redis-cli", f"{REDIS}redis nosuch", 0, FAILING, "redis-cli -e"),
    ("redis-cli", f"{REDIS}redis -e nosuch", 1, FAILING, "ended with 1"),
    (
        "redis-cli",
        f"{REDIS}redis lpush a 1 >/dev/null; redis --no-raw get a",
        0,
        FAILING,
        "redis-cli -e",
    ),
    (
        "redis-cli",
        f"{REDIS}redis config set maxmemory 1; redis set a 1",
        0,
        FAILING,
        "OOM command not allowed",
    ),
    (
        "redis-cli",
        f"{REDIS}redis replicaof 127.0.0.1 1; redis set a 1",
        0,
        FAILING,
        "READONLY",
    ),
    (
        "redis-cli",
        f"{REDIS}printf 'multi\nnosuch\nexec\n' | redis",
        0,
        FAILING,
        "redis-cli -e",
    ),
    ("redis-cli", "redis-cli -s nosuch save", 1, FAILING, "ended with 1"),
]


def needed(preset: str) -> None:
    if shutil.which(preset, path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip(f"as root: apt-get install {PACKAGES[preset]}")


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Database]]:
    """Return what starts the server of a client once."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Database] = {}

        def server_of(preset: str) -> Database:
            if preset not in running:
                running[preset] = stack.enter_context(database(SERVERS[preset]))
            return running[preset]

        yield server_of


#: A table that can be broken from outside; made anew for each case.
TABLE = (
    "drop database if exists full; create database full;"
    " create table full.a (n int) engine=myisam;"
    " insert into full.a values (1), (2); flush tables"
)


class Around(NamedTuple):
    """What a command needs: its whole line, and variables."""

    line: str
    environment: dict[str, str]


def around_of(
    preset: str, line: str, servers: Callable[[str], Database], folder: Path
) -> Around:
    """Return what a client finds its server with; the table is ``BROKEN`` if asked."""
    if preset not in SERVERS:
        return Around(line, {})
    server = servers(preset)
    if SERVERS[preset] == "mysql":
        assert server.run(folder, f"mariadb OPTIONS -e '{TABLE}'") == 0
    command = line.removeprefix("BROKEN ")
    if command != line:
        os.truncate(server.folder / "data" / "full" / "a.MYD", 11)
        assert server.run(folder, "mariadb OPTIONS -e 'flush tables'") == 0
    return Around(server.line(command), server.environment)


def run(folder: Path, line: str, environment: dict[str, str]) -> int:
    """Wrap a line of the shell, with what it needs around it; return its exit code."""
    spool = folder / "spool"
    spool.mkdir()
    words = [sys.executable, str(ROOT / "checker.py"), "-m", "wrap", "it"]
    words += ["--spool", str(spool), "--output", "tail", "--", "sh", "-c", line]
    around = {
        "PATH": "/usr/sbin:/usr/bin:/bin",
        "LC_ALL": "C",
        "HOME": str(folder),
        "RESTIC_PASSWORD": "x",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        **environment,
    }
    how = {"cwd": folder, "env": around, "timeout": 60}
    subprocess.run(["sh", "-c", BEFORE], check=True, **how)
    return subprocess.run(
        as_anybody(words), stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, **how
    ).returncode


@pytest.mark.parametrize(
    ("preset", "line", "code", "status", "said"),
    CASES,
    ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)],
)
def test_what_a_preset_says_of_a_program(
    tmp_path, servers, preset, line, code, status, said
):
    needed(preset)
    around = around_of(preset, line, servers, tmp_path)
    assert run(tmp_path, *around) == code
    spool = tmp_path / "spool"
    result = result_of(
        job_of(HeartbeatChecker, period="1h", spool=spool, preset=preset)
    )
    assert result.status is status, result.reason
    assert said in result.reason


def test_a_spool_on_a_full_disk_does_not_hurt_the_command(tmp_path):
    if reason := mounts.why_not_small():
        pytest.skip(reason)
    with mounts.small(tmp_path / "spool") as spool:
        filler = mounts.fill(spool)
        words = [sys.executable, str(ROOT / "checker.py"), "-m", "wrap", "it"]
        words += ["--spool", str(spool), "--output", "tail", "--", "sh", "-c"]
        done = subprocess.run(
            [*words, "echo copied; exit 3"], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (3, "copied\n")
        assert "is not kept" in done.stderr and "No space left" in done.stderr
        assert done.stderr.count("\n") == 1
        assert list(spool.iterdir()) == [filler]


def test_each_preset_that_can_be_tried_is():
    assert {case[0] for case in CASES} == set(PACKAGES) <= set(PRESETS)
