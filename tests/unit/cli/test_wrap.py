"""``-m wrap``: the command as it would be without, and what is kept of it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.HeartbeatChecker import is_gone
from lib.cli import wrap
from lib.core.heartbeats import What, decoded
from tests.faults.harness_calls import needs_strace
from tests.support.waits import SOON_S, until

ROOT = Path(__file__).resolve().parents[3]
CHECKER = [sys.executable, str(ROOT / "checker.py"), "-m", "wrap"]


@pytest.fixture
def spool(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def started(spool, *command, options=(), **how):
    words = [*CHECKER, "job", "--spool", str(spool), *options, "--", *command]
    how = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1, **how}
    return subprocess.Popen(words, text=True, **how)


def ran(spool, *command, said="", **how):
    process = started(spool, *command, stdin=-1, **how)
    out, err = process.communicate(said, timeout=30)
    return process.returncode, out, err


def events(spool):
    found = [decoded(path.read_bytes()) for path in spool.glob("*.json")]
    return sorted(found, key=lambda event: event.what is What.END)


def test_input_output_and_code_are_as_without(spool):
    script = "read word; echo got $word; echo oops >&2; exit 7"
    assert ran(spool, "sh", "-c", script, said="it\n") == (7, "got it\n", "oops\n")
    start, end = events(spool)
    assert (start.what, end.what, start.run) == (What.START, What.END, end.run)
    assert (end.code, end.signal, end.program, end.output) == (7, "", "sh", None)
    assert end.host == os.uname().nodename
    assert 0 <= end.seconds < 20
    assert end.started_at == start.at


def test_the_last_of_the_output_is_kept_in_its_order(spool):
    script = "echo one; echo two >&2; echo three; exit 3"
    keep = ("--output", "tail")
    code, out, err = ran(spool, "sh", "-c", script, options=keep, stderr=-2)
    assert (code, out) == (3, "one\ntwo\nthree\n")
    end = events(spool)[1]
    assert (end.output, end.cut) == ("one\ntwo\nthree\n", False)


def test_a_line_of_one_stream_is_not_cut_by_one_of_the_other(spool):
    # psql writes its errors in pieces.
    script = """printf psql: >&2; sleep 0.1; echo INSERT; sleep 0.1; echo ERROR >&2
    sleep 0.1; printf a; printf b >&2"""
    _code, out, err = ran(spool, "sh", "-c", script, options=("--output", "tail"))
    assert (out, err) == ("INSERT\na", "psql:ERROR\nb")
    assert events(spool)[1].output == "INSERT\npsql:ERROR\na\nb"


def test_of_much_output_all_is_passed_on_and_four_kilobytes_are_kept(spool):
    script = "import os; os.write(1, b'x' * 3_000_000 + b'\\xffend')"
    words = [*CHECKER, "job", "--spool", str(spool), "--output=tail", "--"]
    out = subprocess.check_output([*words, sys.executable, "-c", script], timeout=30)
    assert (len(out), out[-4:]) == (3_000_004, b"\xffend")
    end = events(spool)[1]
    kept = end.output
    assert end.cut
    assert (len(kept), kept[-4:]) == (4096, "\ufffdend")


def test_what_a_command_leaves_behind_may_go_on_writing(spool, tmp_path):
    go = tmp_path / "go"
    script = f"(while [ ! -e '{go}' ]; do sleep .1; done; echo late) & echo early"
    process = started(spool, "sh", "-c", script, options=("--output", "tail"))
    assert process.wait(SOON_S) == 0
    go.touch()
    assert process.communicate(timeout=SOON_S)[0] == "early\nlate\n"
    assert events(spool)[1].output == "early\n"


def test_a_full_disk_behind_the_output_is_a_failure(spool):
    with open("/dev/full", "w") as full:
        code, _out, err = ran(
            spool, "echo", "lost", options=("--output", "tail"), stdout=full
        )
    assert code == 1
    assert "its output cannot be written: No space left on device" in err
    assert "No space left" in events(spool)[1].trouble


def test_a_reader_who_has_seen_enough_ends_the_command(spool):
    process = started(spool, "yes", options=("--output", "tail"))
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == -signal.SIGPIPE
    process.stderr.close()
    assert events(spool)[1].signal == "SIGPIPE"


@pytest.mark.parametrize("options", [(), ("--output", "tail")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_an_exit_by_signal_is_raised_again(spool, number, options):
    code, _out, err = ran(spool, "sh", "-c", f"kill -{int(number)} $$", options=options)
    assert code == -number
    end = events(spool)[1]
    assert (end.signal, end.code) == (number.name, None)


TRAP = "trap 'echo got it; exit 5' TERM USR1; echo ready; while :; do sleep 0.02; done"


@pytest.mark.parametrize("options", [(), ("--output", "tail")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_forwarded(spool, number, options):
    process = started(spool, "sh", "-c", TRAP, options=options)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == "got it\n"
    assert process.returncode == 5


def test_a_command_that_is_stopped_stops_its_wrapper(spool):
    process = started(spool, "sh", "-c", "kill -STOP $$; echo on; exit 4")
    stat = Path(f"/proc/{process.pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=20)[0] == "on\n"
    assert process.returncode == 4


def test_what_nohup_ignores_stays_ignored(spool):
    words = ["trap", "", "HUP;", "exec", *CHECKER, "job", "--spool", str(spool), "--"]
    inner = "kill -HUP $PPID; kill -HUP $$; exit 6"
    line = " ".join(words[:1] + ["''"] + words[2:]) + f" sh -c '{inner}'"
    assert subprocess.run(["sh", "-c", line], timeout=30).returncode == 6


def test_descriptors_environment_and_umask_are_as_without(spool, tmp_path):
    show = "import os; print(sorted(os.listdir('/proc/self/fd')), os.umask(0))"
    script = f"{show}; print(sorted(os.environ.items()))"
    around = {**os.environ, "LD_BIND_NOW": "1", "BASH_ENV": "/x", "PYTHONUTF8": "1"}

    def shown(words):
        with open(tmp_path / "extra", "w") as extra:
            number = extra.fileno()
            return subprocess.check_output(
                [*words, sys.executable, "-c", script],
                env=around,
                pass_fds=[number],
                umask=0o027,
            )

    assert shown([*CHECKER, "job", "--spool", str(spool), "--"]) == shown([])


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["nosuchcommand"], 127, "nosuchcommand: No such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["/nosuch/x"], 127, "/nosuch/x: No such file or directory"),
    ],
)
def test_a_command_that_cannot_be_started_ends_as_in_a_shell(
    spool, command, code, said
):
    assert ran(spool, *command) == (code, "", f"checker: {said}\n")
    end = events(spool)[1]
    assert (end.code, end.trouble) == (code, said)


def test_a_script_without_a_first_line_is_the_shells(spool, tmp_path):
    script = tmp_path / "script"
    script.write_text("exit 9\n")
    script.chmod(0o755)
    assert ran(spool, str(script))[0] == 9


def test_without_a_spool_the_command_runs_and_it_is_said_once(tmp_path):
    code, out, err = ran(tmp_path / "none", "echo", "all the same")
    assert (code, out) == (0, "all the same\n")
    assert err == (
        f"checker: heartbeat job is not kept: {tmp_path / 'none'}: No such file or "
        "directory; the command runs all the same\n"
    )


def test_a_full_disk_of_the_spool_does_not_hurt_the_command(spool):
    def nothing_can_be_written():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code, out, err = ran(spool, "echo", "out", preexec_fn=nothing_can_be_written)
    assert (code, out) == (0, "out\n")
    assert "is not kept" in err and err.count("\n") == 1
    assert os.listdir(spool) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the command stands behind --"),
        (["job", "true"], "the command stands behind --"),
        (["job", "--"], "there is no command behind --"),
        (["--", "true"], "expected one NAME"),
        (["one", "two", "--", "true"], "expected one NAME"),
        (["job", "--output", "all", "--", "true"], "--output all: expected tail"),
        (["job", "-q", "--", "true"], "-q is not known here"),
    ],
)
def test_a_wrong_command_line_says_what_is_right(arguments, said, capsys):
    assert wrap.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"checker: -m wrap: {said}")
    assert err.endswith(f"use: checker.py {wrap.USE}\n")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("cronic restic backup", ["cronic"]),
        ("nice -n 10 /usr/bin/chronic x", ["chronic"]),
        ("timeout 1h systemd-cat x", ["systemd-cat"]),
        ("restic backup /srv/cronic", []),
        ("rm -f script", []),
    ],
)
def test_what_hides_the_code_is_named(command, found):
    assert list(wrap.hiding(command.split())) == found


def test_what_hides_the_code_is_found_behind_a_shell():
    assert list(wrap.hiding(["sh", "-c", "cronic restic backup"])) == ["cronic"]


def test_neither_msgspec_nor_the_settings_are_imported(spool):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from lib.cli.wrap import main\n"
        "main(['job', '--spool', sys.argv[2], '--', 'true'])\n"
        "print(' '.join(sorted(sys.modules)))"
    )
    words = [sys.executable, "-S", "-c", code, str(ROOT), str(spool)]
    modules = set(subprocess.check_output(words, text=True).split())
    ours = {name for name in modules if re.match(r"lib\b", name)}
    assert ours == {
        "lib",
        "lib.cli",
        "lib.cli.wrap",
        "lib.storage",
        "lib.storage.spool",
    }
    heavy = "msgspec typing logging pathlib datetime argparse subprocess configparser"
    assert not modules & set(heavy.split())


#: Has as many wrappers as asked for wait for the same moment, then begin.
AT_ONCE = """\
import os, sys
sys.path.insert(0, sys.argv[1])
from lib.cli.wrap import main
waits, begins = os.pipe()
wrappers = []
for number in range(int(sys.argv[3])):
    wrappers.append(os.fork())
    if not wrappers[-1]:
        os.close(begins)
        os.read(waits, 1)
        script = f"echo {number}; exit 3"
        words = ["job", "--spool", sys.argv[2], "--output", "tail"]
        os._exit(main([*words, "--", "sh", "-c", script]))
os.close(begins)
codes = [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in wrappers]
sys.exit(codes != [3] * len(codes))
"""


@pytest.mark.long
def test_two_hundred_at_once_lose_nothing(spool):
    words = [sys.executable, "-IS", "-c", AT_ONCE, str(ROOT), str(spool), "200"]
    # Nothing goes on after a test that takes too long.
    with subprocess.Popen(words, stdout=-1, start_new_session=True) as process:
        try:
            out = process.communicate(timeout=50)[0].split()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0
    assert sorted(map(int, out)) == list(range(200))
    found = events(spool)
    ends = [event for event in found if event.what is What.END]
    assert (len(found), len(ends)) == (400, 200)
    assert {event.code for event in ends} == {3}
    assert sorted(int(event.output) for event in ends) == list(range(200))
    assert len({event.run for event in ends}) == 200
    assert not list(spool.glob(".*"))


def test_an_event_is_plain_json(spool):
    ran(spool, "true")
    (text,) = [t for p in spool.glob("*.json") if '"end"' in (t := p.read_text())]
    assert json.loads(text)["name"] == "job"


#: By these it changes a file, and ends.
CHANGING = "openat write fchmod fsync rename exit_group".split()


@needs_strace
def test_killed_at_any_point_it_leaves_whole_events_and_its_end_is_noticed(spool):
    words = [*CHECKER, "job", "--spool", str(spool), "--", "true"]
    names = ",".join(CHANGING)
    watch = ["strace", "-y", "-o", str(spool / "trace"), "-e", f"trace={names}"]
    subprocess.run([*watch, *words], timeout=30, check=True)
    lines = (spool / "trace").read_text().splitlines()
    called = [line.partition("(")[0] for line in lines]
    begun = next(number for number, line in enumerate(lines) if f"{spool}/." in line)
    points = [
        (name, called[: number + 1].count(name))
        for number, name in enumerate(called)
        if number >= begun and (str(spool) in lines[number] or name == "exit_group")
    ]
    assert len(points) >= 10
    for name, number in points:
        for path in spool.iterdir():
            path.unlink()
        inject = f"inject={name}:signal=SIGKILL:when={number}"
        ran = subprocess.run([*watch, "-e", inject, *words], timeout=30)
        assert ran.returncode == -signal.SIGKILL
        kinds = [event.what for event in events(spool)]
        assert kinds in ([], [What.START], [What.START, What.END])
        if kinds == [What.START]:
            assert is_gone(events(spool)[0])
