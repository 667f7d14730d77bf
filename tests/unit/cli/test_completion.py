"""What a shell completes: modes, flags, and the names of the jobs the state knows."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest

from lib.cli import completion, main
from lib.cli.arguments import flags_of
from lib.storage.store import State
from tests.support.instance import CHECKER, Instance

NAMES = ["disk root", "http it's:up", "http shop"]


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """One whose jobs a run has met, and a program of its own name on the way to it."""
    folder = tmp_path_factory.mktemp("shell")
    instance = Instance(folder)
    instance.add("[disk root]\npath = /\n")
    for name in NAMES[1:]:
        instance.add(f"[{name}]\nurl = http://127.0.0.1:1/\n")
    assert instance.cron().code == 0
    program = folder / "checker.py"
    python, script, *_rest = instance.command()
    assert script == str(CHECKER)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} {script} "$@"\n')
    program.chmod(0o755)
    return instance


def words_of(instance):
    """Return the beginning of a command line about the instance."""
    where = ["-f", instance.settings, "--state", instance.state]
    return [str(one) for one in (instance.folder / "checker.py", *where)]


def completed(instance, *words):
    """Return what bash offers for the last of these words."""
    line = [*words_of(instance), *words]
    script = completion.bash_script(main.MODES) + (
        f"COMP_WORDS=({' '.join(map(shlex.quote, line))})\n"
        f"COMP_CWORD={len(line) - 1}\n"
        '_checker\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0
    return [line for line in ran.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["-m", ""], list(main.MODES)),
        (["-m", "pe"], ["peers", "peerkey"]),
        (["-m", "cron", "-c", "day"], ["day", "day_noon"]),
        (["-m", "announce", "--level", "ma"], ["maintenance"]),
        (["-m", "list", "--j"], ["--jobs", "--json"]),
        ([""], ["-m"]),
        (["-m", "completion", "b"], ["bash"]),
        (["-m", "list", ""], []),
        (["-f", ""], []),
    ],
)
def test_bash_completes_modes_flags_and_what_a_mode_takes(instance, words, offered):
    assert completed(instance, *words) == offered


@pytest.mark.parametrize(
    ("mode", "word", "offered"),
    [
        ("why", "htt", [r"http\ it\'s\:up", r"http\ shop"]),
        ("run", r"http\ s", [r"http\ shop"]),
        ("drill", '"http s', ["http shop"]),
        ("drill", "'disk", ["disk root"]),
        ("why", "nothing", []),
    ],
)
def test_bash_completes_the_names_of_jobs(instance, mode, word, offered):
    assert completed(instance, "-m", mode, word) == offered


def test_the_names_are_those_of_the_catalog_and_no_job_is_loaded(instance):
    loaded = instance.folder / "loaded"
    instance.job("Trace", f"open({str(loaded)!r}, 'w')\n")
    try:
        ran = instance.run("-m", "completion", "jobs")
    finally:
        (instance.jobs / "Trace.py").unlink()
    known = State(instance.state).load_catalog().values()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == sorted({job.name for job in known})
    assert set(NAMES) < set(ran.out.splitlines())
    assert not loaded.exists()


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_a_script_names_every_mode_and_every_flag(shell):
    ran = subprocess.run(
        [sys.executable, str(CHECKER), "-m", "completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout == completion.SCRIPTS[shell](main.MODES)
    names = [name for flag in flags_of(main.MODES) for name in flag.names]
    for word in (
        *main.MODES,
        *names,
        "show | run | check | why | mute | unmute | ack | status | history | replay",
    ):
        assert word in ran.stdout
    assert "@" not in ran.stdout.replace('"$@"', "").replace("[@]", "")


@pytest.mark.integration
@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_a_shell_finds_no_mistake_in_its_script(shell):
    there = shutil.which(shell) or pytest.skip(f"{shell} is not installed")
    script = completion.SCRIPTS[shell](main.MODES)
    subprocess.run([there, "-n"], input=script, text=True, check=True)
