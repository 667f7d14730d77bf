"""``-m wrap`` with programs of Debian: what a preset says of how they really end.

Most of these end with 0 though something is wrong, or with a code of their own though
all is well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.HeartbeatChecker import PRESETS, HeartbeatChecker
from lib.core.enums import Status
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
"""
RESTIC = "restic -q init -r repo &&"
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
]


def needed(preset: str) -> None:
    if shutil.which(preset, path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip(f"as root: apt-get install {PACKAGES[preset]}")


def run(folder: Path, line: str) -> int:
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
def test_what_a_preset_says_of_a_program(tmp_path, preset, line, code, status, said):
    needed(preset)
    assert run(tmp_path, line) == code
    spool = tmp_path / "spool"
    result = result_of(
        job_of(HeartbeatChecker, period="1h", spool=spool, preset=preset)
    )
    assert result.status is status, result.reason
    assert said in result.reason


def test_each_preset_that_can_be_tried_is():
    assert {case[0] for case in CASES} == set(PACKAGES) <= set(PRESETS)
