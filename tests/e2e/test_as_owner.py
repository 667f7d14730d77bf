"""Root types a command about the state folder of another user, and goes on as them."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness_calls import needs_strace
from tests.support.instance import CHECKER

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others"),
]

#: One of whom the system knows, and one whom it does not.
NOBODY = pwd.getpwnam("nobody").pw_uid
STRANGER = 12345
SETTINGS = """\
[general]
servername = web1
alertcontact = ops@example.com
state = memory
jobs = my jobs
[email]
nomail = yes
"""
#: Notes who runs it, beside its file.
WHO = """\
import json, os
from pathlib import Path
from lib.jobbase import JobBase, JobFrequency

class Who(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        told = [os.getresuid(), os.getresgid(), os.getgroups()]
        told += [os.environ.get(one) for one in ("HOME", "USER", "LOGNAME")]
        Path(__file__).with_name("who").write_text(json.dumps(told))
        return False
"""


def _as(uid: int, program: str, *command: str) -> bool:
    """Return whether a user can run a program."""
    done = subprocess.run(
        [program, *command], user=uid, group=uid, extra_groups=(), capture_output=True
    )
    return done.returncode == 0


class Place:
    """A copy of the program and an instance of its own, where any user may look."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.program = folder / "program"
        self.program.mkdir()
        shutil.copy(CHECKER, self.program)
        for name in ("lib", "jobs"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKER.parent / name, self.program / name, ignore=ignored)
        self.home = folder / "theirs"
        self.settings = self.home / "settings.cfg"
        self.state = self.home / "memory"
        self.jobs = self.home / "my jobs"
        for made in (self.home, self.state, self.jobs):
            made.mkdir(mode=0o700)
        self.settings.write_text(SETTINGS)
        self.settings.chmod(0o600)
        (self.jobs / "Who.py").write_text(WHO)
        self.python, self.libraries = _python()

    def give(self, uid: int, *paths: Path) -> None:
        for path in paths or (self.home, *self.home.rglob("*")):
            os.chown(path, uid, uid)

    def owners(self) -> set[int]:
        return {path.stat().st_uid for path in (self.home, *self.home.rglob("*"))}

    def run(self, *words: str, prefix: tuple[str, ...] = ()) -> Any:
        command = [self.python, str(self.program / "checker.py"), "-m", *words]
        return subprocess.run(
            [*prefix, *command, "-f", str(self.settings)],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": "/root",
                "USER": "root",
                "XDG_RUNTIME_DIR": "/run/user/0",
                "PYTHONPATH": self.libraries,
            },
            cwd="/root",
            capture_output=True,
            text=True,
            timeout=100,
        )


def _python() -> tuple[str, str]:
    """Return a Python that everybody may run, and where its libraries are."""
    libraries = sysconfig.get_path("purelib")
    look = f"import sys; sys.path.append({libraries!r}); import requests, rich"
    look += "; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if _as(STRANGER, python, "-c", look):
                return python, libraries
        except OSError:
            continue
    pytest.skip("there is no Python that another user than root may run")


@pytest.fixture
def place() -> Iterator[Place]:
    # pytest's own folders are root's alone.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Place(Path(folder))


MODES = (
    ("cron", "-c", "minute"),
    ("list",),
    ("run", "Who"),
    ("check", "Who"),
    ("why", "Who"),
    ("validate",),
    ("status",),
    ("testmail",),
    ("drill", "Who"),
    ("peers",),
    ("mute", "Who", "--for", "1h"),
    ("ack", "Who"),
    ("unmute", "Who"),
    ("announce", "We", "know"),
    ("cron", "-c", "hour", "-v"),
)


@pytest.mark.parametrize(("uid", "modes"), [(NOBODY, MODES), (STRANGER, MODES[-1:])])
def test_every_mode_is_carried_out_as_the_owner(place, uid, modes):
    place.give(uid)
    for words in modes:
        ran = place.run(*words)
        assert ran.stderr == ""
        # The job is failing, which only these tell.
        assert ran.returncode == (words[0] in ("run", "check")), (words, ran)
        assert place.owners() == {uid}, words
    who = json.loads((place.jobs / "who").read_text())
    home = pwd.getpwuid(uid).pw_dir if uid == NOBODY else "/"
    name = "nobody" if uid == NOBODY else str(uid)
    gid = pwd.getpwuid(uid).pw_gid if uid == NOBODY else uid
    assert who == [[uid] * 3, [gid] * 3, [gid], home, name, name]
    assert (place.state / "checker.log").exists()
    # What cron's user then does, it can do.
    again = [place.python, str(place.program / "checker.py"), "-m", "cron"]
    again += ["-c", "minute", "-f", str(place.settings)]
    ran = subprocess.run(
        again,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": place.libraries},
        user=uid,
        group=gid,
        extra_groups=(),
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_state_folder_may_stand_on_the_command_line_or_be_the_default(place):
    other = place.folder / "other"
    other.mkdir(mode=0o700)
    place.give(STRANGER)
    place.give(STRANGER, other)
    assert place.run("cron", "-c", "minute", "--state", str(other)).returncode == 0
    assert {path.stat().st_uid for path in other.rglob("*")} == {STRANGER}
    assert list(place.state.iterdir()) == []
    text = place.settings.read_text().replace("state = memory\n", "")
    place.settings.write_text(text)
    default = place.program / "state"
    default.mkdir(mode=0o700)
    place.give(STRANGER, default)
    assert place.run("cron", "-c", "minute").returncode == 0
    assert {path.stat().st_uid for path in default.rglob("*")} == {STRANGER}


def test_what_is_roots_stays_roots(place):
    ran = place.run("cron", "-c", "minute")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert place.owners() == {0}
    assert json.loads((place.jobs / "who").read_text())[0] == [0, 0, 0]


@needs_strace
def test_root_reads_nothing_but_the_way_to_the_folder(place):
    (place.home / "password").write_text("hunter2\n")
    (place.home / "more.cfg").write_text("[disk root]\npath = /\n")
    text = place.settings.read_text().replace("nomail = yes", "nomail = no")
    text = text.replace("[email]", "include = *.cfg\n[email]")
    text += "smtpserver = 127.0.0.1\nsmtpport = 9\nuser = me\npass_file = password\n"
    place.settings.write_text(text)
    (place.home / "password").chmod(0o600)
    place.give(STRANGER)
    trace = place.folder / "trace"
    calls = ("-f", "-e", "trace=open,openat,setuid,execve")
    ran = place.run("validate", prefix=("strace", "-o", str(trace), *calls))
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = trace.read_text().splitlines()
    at = next(
        number for number, line in enumerate(lines) if f"setuid({STRANGER})" in line
    )
    opened = re.compile(rf'open(?:at)?\([^"]*"({re.escape(str(place.home))}[^"]*)"')
    before, after = (
        {found[1] for line in some if (found := opened.search(line))}
        for some in (lines[:at], lines[at:])
    )
    assert before == {str(place.settings)}
    assert {str(place.home / name) for name in ("password", "more.cfg")} <= after
    assert str(place.jobs / "Who.py") in after


def test_root_leaves_no_compiled_file_in_the_program_of_another(place):
    place.give(STRANGER)
    place.give(STRANGER, place.program, *place.program.rglob("*"))
    assert place.run("cron", "-c", "minute").returncode == 0
    owners = {path.stat().st_uid for path in place.program.rglob("*")}
    assert owners == {STRANGER}


# Where the user cannot go on, one line says why.


def one_line(ran: Any) -> str:
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    line: str = ran.stderr.strip()
    return line


def test_a_program_that_the_owner_may_not_read_is_named(place):
    place.give(STRANGER)
    place.program.chmod(0o700)
    assert one_line(place.run("list")) == (
        f"checker: the state folder {place.state} belongs to 12345, but the command "
        f"cannot go on as 12345: 12345 may not read {place.program}/checker.py; mend "
        f"that, or: chown -R root {place.state}"
    )


def test_settings_that_the_owner_may_not_read_are_named(place):
    place.give(STRANGER)
    place.give(0, place.settings)
    said, more = place.run("list").stderr.splitlines()
    assert f"{place.settings} cannot be read: Permission denied" in said
    assert "nothing runs: there is no copy of earlier settings" in more


def test_a_folder_that_only_an_included_file_names_is_not_used(place):
    place.settings.write_text(SETTINGS.replace("state = memory", "include = more"))
    (place.home / "more").write_text("[general]\nstate = memory\n")
    place.give(STRANGER, place.state)
    assert one_line(place.run("cron", "-c", "minute")) == (
        f"checker: the state folder {place.state} belongs to 12345, and root looks for "
        f"its name in {place.settings} only, not in what that includes; put the line "
        f"there, or type: --state {place.state}"
    )
    assert list(place.state.iterdir()) == []


def test_root_does_not_go_by_the_settings_of_another(place):
    place.give(STRANGER, place.settings)
    said, more = place.run("cron", "-c", "minute").stderr.splitlines()
    assert "settings.cfg: it belongs to 12345, not to root: chown root" in said
    # Nor by what they say of where the copy of earlier ones may be.
    assert "no copy of earlier settings" in more and str(place.state) not in more
    assert list(place.state.iterdir()) == []
