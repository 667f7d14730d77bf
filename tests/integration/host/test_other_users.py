"""A command that goes on as another user, whom only root may end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from jobs.CommandChecker import CommandChecker
from jobs.PluginChecker import PluginChecker
from lib.plugins import command as command_module
from lib.system import orphans
from tests.support.listeners import job_of, result_of

NOBODY, OTHER = 65534, 1

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="it becomes other users, as root"),
]


@pytest.fixture
def sudo():
    """A program that becomes another user for good, as sudo does."""
    # The folders of tests are the user's alone, who is root.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield sudo_in(Path(folder))


def sudo_in(folder):
    program = folder / "sudo"
    shutil.copy(shutil.which("setpriv"), program)
    program.chmod(0o4755)
    become = [str(program), f"--reuid={OTHER}", "--clear-groups", "id", "-u"]
    ran = subprocess.run(become, user=NOBODY, capture_output=True, text=True)
    if ran.stdout != f"{OTHER}\n":
        pytest.skip("programs do not become another user in this folder (nosuid)")
    return f"{program} --reuid={OTHER} --clear-groups"


def found_as_nobody(job):
    """Return what a job finds that runs as nobody, of which it has root import all."""
    result_of(job)
    output, to_parent = os.pipe()
    child = os.fork()
    if not child:
        # Whoever is forked is not the one to whom orphans go.
        command_module._is_parent.clear()
        os.setgroups([])
        os.setresuid(NOBODY, NOBODY, NOBODY)
        result = result_of(job)
        os.write(to_parent, json.dumps([result.status.value, result.reason]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(to_parent)
    with open(output, "rb") as file:
        return json.loads(file.read())


@pytest.mark.parametrize("shell", ["no", "yes"])
@pytest.mark.parametrize("kind", [CommandChecker, PluginChecker])
def test_what_goes_on_as_another_user_is_named(sudo, kind, shell):
    marked = f"{time.time():.6f}"
    command = f"{sudo} sleep 3{marked[-9:]}"
    options = {"timeout": "1s"}
    if kind is CommandChecker and shell == "yes":
        options["shell"], command = "yes", f"{command}; true"
    elif shell == "yes":
        pytest.skip("a plugin has no shell")
    options["command"] = command
    _status, reason = found_as_nobody(job_of(kind, **options))
    words = reason.splitlines()[0]
    pid = int(words.partition("sleep (")[2].partition(")")[0])
    try:
        assert "timed out after 1 s; sleep (" in words
        assert ") of daemon goes on, which this user cannot end: " in words
        assert words.endswith("as with sudo timeout 1 COMMAND")
    finally:
        os.kill(pid, signal.SIGKILL)
        # It has become a child of this process, which started the job as well.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.mark.parametrize("kind", [CommandChecker, PluginChecker])
@pytest.mark.parametrize("how", ["", "setsid "])
def test_what_a_command_that_ends_well_leaves_to_another_user_is_named(sudo, kind, how):
    script = Path(sudo.split()[0]).with_name("leave")
    script.write_text(
        f"#!/bin/sh\n{how}{sudo} sleep 30 >&- 2>&- &\nsleep 0.3; echo fine"
    )
    script.chmod(0o755)
    status, words = found_as_nobody(job_of(kind, command=str(script)))
    pid = int(words.partition("sleep (")[2].partition(")")[0])
    try:
        assert status == "ok"
        beside = " (of this command or of one that ran beside it)" if how else ""
        assert words.endswith(
            f"sleep ({pid}) of daemon{beside} is left behind, which this user cannot "
            "end"
        )
    finally:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def test_what_goes_on_at_the_end_of_a_run_is_not_said_to_be_killed(sudo):
    output, to_parent = os.pipe()
    child = os.fork()
    if not child:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        orphans.adopt()
        sys.stderr = open(to_parent, "w")
        logging.basicConfig(force=True, format="%(message)s", stream=sys.stderr)
        with subprocess.Popen(["sh", "-c", f"{sudo} sleep 30 & sleep 0.3"]) as shell:
            shell.wait()
        orphans.end_all([])
        sys.stderr.flush()
        os._exit(0)
    os.close(to_parent)
    with open(output) as file:
        words = file.read()
    os.waitpid(child, 0)
    pid = int(words.partition("process ")[2].partition(" ")[0])
    os.kill(pid, signal.SIGKILL)
    assert words == (
        f"a job left process {pid} (sleep) behind; it is another user's, and goes on\n"
    )
