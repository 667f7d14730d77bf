"""The endpoint: who asks what, and is told what."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from lib.config.load import load_settings
from lib.core.records import RunRecord
from lib.core.secret import Secret
from lib.core.settings import AnswerEndpoint, Peer, Peers, Settings
from lib.peers import answer, publish
from lib.storage.store import State
from lib.web import routes
from tests.faults.rows import job
from tests.support.approved import REAL
from tests.support.daemon import Daemon
from tests.support.instance import NO_MAIL, Instance
from tests.support.waits import SOON_S, until

KEY = "what the two of us share"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAIL = "[email]\nsmtpserver = 127.0.0.1\n"
FRIEND = f"[peers]\nfriend = https://x.example/,a@example.org,key={KEY}\n"


@pytest.fixture
def settings(tmp_path):
    """Settings of an instance whose last run was fine, and which shares a key."""
    instance = Instance(tmp_path, MAIL + FRIEND)
    found = load_settings(instance.settings, base=tmp_path, state=instance.state)
    State(instance.state).save_run(RunRecord(ended_at=NOON - timedelta(seconds=20)))
    return found


def question(**said):
    return urlencode(said)


def lines(content):
    return content.decode("ascii").splitlines()


# What is answered.


def test_a_stranger_gets_the_word_and_digits(settings):
    assert lines(routes.reply(settings, "", NOON)) == [
        "True",
        f"time: {int(NOON.timestamp())}",
        f"last-run: {int(NOON.timestamp()) - 20}",
    ]


def test_who_names_a_key_of_ours_gets_it_signed_with_the_nonce(settings):
    asked = question(nonce="5e0c", key=answer.key_id(KEY))
    said = routes.reply(settings, asked, NOON)
    found = answer.judged(said, key=KEY, nonce="5e0c", now=NOON)
    assert (found.peer_status, found.signed) == (answer.PeerStatus.OK, True)
    assert found.answer.server == "web1"
    assert answer.judged(said, key=KEY, nonce="5e0d", now=NOON).peer_status is (
        answer.PeerStatus.STALE
    )


@pytest.mark.parametrize(
    "asked",
    [
        question(key=answer.key_id("another")),
        question(key=KEY),
        question(nonce="True"),
        question(nonce="5e0c" * 20),
        "nonce=a&" * 500,
        "%ff%00&;;=&key",
        "key=" + "0" * 5000,
    ],
    ids=["another key", "the key itself", "a word", "long", "many", "odd", "longer"],
)
def test_whatever_else_is_asked_is_answered_as_to_a_stranger(settings, asked):
    later = NOON + timedelta(minutes=4)
    said = routes.reply(settings, asked, later)
    assert lines(said)[0] == "JobProblem" and b"True" not in said
    assert {line.partition(":")[0] for line in lines(said)[1:]} <= {
        "time",
        "last-run",
        "nonce",
    }


def test_the_file_and_the_endpoint_say_the_same_in_the_same_bytes(settings):
    run = State(settings.state).load_run()
    file = publish.own_answer(settings, run, NOON)
    asked = question(key=answer.key_id(KEY))
    assert routes.reply(settings, asked, NOON) == file


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(b"\0" * 200),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["missing", "half", "zeros", "a folder"],
)
def test_where_the_last_run_cannot_be_read_no_run_has_finished(settings, spoil):
    spoil(settings.state / "run.json")
    assert lines(routes.reply(settings, "", NOON)) == [
        "JobProblem",
        f"time: {int(NOON.timestamp())}",
    ]


def test_of_forty_keys_a_peer_still_finds_its_own_line_within_4_kb(tmp_path):
    keys = [f"key {number}" for number in range(40)]
    peers = Peers(
        tuple(Peer(key, "https://x/", "a@x.org", Secret(key)) for key in keys)
    )
    settings = Settings(
        path=Path(),
        servername="x" * 100,
        alertcontact=(),
        logfile=Path(),
        state=tmp_path,
        mail=load_settings_mail(),
        peers=peers,
        status=AnswerEndpoint(),
    )
    run = RunRecord(ended_at=NOON)
    said = publish.own_answer(settings, run, NOON, nonce="a" * 32)
    assert len(said) <= answer.MAX_BYTES
    assert answer.judged(said, key=keys[-1], now=NOON).signed


def load_settings_mail():
    from lib.core.settings import Mail

    return Mail(smtpserver="smtp.example.com")


def test_head_has_no_body_and_nothing_can_be_set(settings):
    app = routes.application(lambda: settings, lambda: NOON)
    heard = []

    def call(method):
        heard.clear()
        environ = {"REQUEST_METHOD": method, "wsgi.input": io.BytesIO(b"True")}
        body = b"".join(app(environ, lambda status, headers: heard.append(status)))
        return heard[0].partition(" ")[0], body

    assert call("HEAD") == ("200", b"")
    assert call("GET")[1].startswith(b"True")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", ""):
        assert call(method)[0] == "405"


# The process.


def job_file(tmp_path):
    return job("Slow", f"time.sleep(4)\nopen({str(tmp_path / 'done')!r}, 'w')")


@pytest.mark.long
def test_it_tells_of_runs_as_they_end_also_while_one_is_at_work(tmp_path):
    instance = Instance(tmp_path, MAIL)
    with Daemon(instance) as daemon:
        assert daemon.word() == "JobProblem"
        instance.cron()
        assert daemon.word() == "True"
        instance.job("Slow", job_file(tmp_path))
        began = instance.last_run()["began_at"]
        process = instance.start("-m", "cron", "-c", "minute")
        until(lambda: instance.last_run()["began_at"] != began)
        assert daemon.word() == "True"
        assert not (tmp_path / "done").exists()
        process.communicate(timeout=60)
        assert daemon.word() == "True"


@pytest.mark.long
def test_it_goes_on_while_runs_fail_and_says_so_once_they_are_too_old(
    tmp_path, approved
):
    instance = Instance(tmp_path, MAIL)
    instance.cron()
    with Daemon(instance) as daemon:
        good = instance.settings.read_text()
        instance.write(good.replace("alertcontact", "alertcontract"))
        assert instance.cron().code == 1
        assert daemon.word() == "True"
        old = (datetime.now(UTC) - timedelta(minutes=3, seconds=1)).isoformat()
        instance.mend(lambda run: run.update(ended_at=old), "run.json")
        assert daemon.word() == "JobProblem"
        instance.write(good)
        assert instance.cron().code == 0
        assert daemon.word() == "True"
    approved(daemon.err, hide=REAL)
    assert "alertcontact" in daemon.err and "Traceback" not in daemon.err


def test_a_new_key_is_known_without_a_new_start(tmp_path):
    instance = Instance(tmp_path, MAIL)
    instance.cron()
    with Daemon(instance) as daemon:
        path = f"/?key={answer.key_id(KEY)}"
        assert b"mac" not in daemon.ask(path)[1]
        instance.add(FRIEND)
        assert b"mac" in daemon.ask(path)[1]


@pytest.mark.long
def test_it_can_be_asked_on_any_path_and_learns_nothing(tmp_path):
    instance = Instance(tmp_path, MAIL)
    instance.cron()
    kept = instance.everything_written()
    with Daemon(instance) as daemon:
        for path in ("/", "/checker.txt", "/../../etc/passwd", "/%00", "/?x=y"):
            status, body = daemon.ask(path)
            assert (status, body.partition(b"\n")[0]) == (200, b"True")
        for method in ("POST", "PUT", "DELETE"):
            assert daemon.ask("/", method)[0] == 405
    assert instance.everything_written() == kept
    assert daemon.err == ""


@pytest.mark.long
def test_it_ends_at_once_when_asked_to_and_with_the_answer_under_way(tmp_path):
    instance = Instance(tmp_path, NO_MAIL)
    with Daemon(instance) as daemon:
        daemon.ask()
        began = time.monotonic()
        daemon.process.terminate()
        assert daemon.process.wait(3 * SOON_S) == 0
        assert time.monotonic() - began < SOON_S
    with Daemon(instance, daemon.port) as again:
        assert again.word() == "JobProblem"


@pytest.mark.long
def test_an_address_that_is_taken_is_one_clear_line(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL)
    with Daemon(instance):
        ran = instance.run("-m", "daemon")
    assert (ran.code, ran.out) == (1, "")
    approved(ran.err, hide=REAL)


def test_an_address_of_another_machine_is_one_clear_line(tmp_path, approved):
    instance = Instance(tmp_path, f"{NO_MAIL}[status]\nlisten = 192.0.2.1:5000\n")
    ran = instance.run("-m", "daemon")
    assert ran.code == 1 and ran.err.count("\n") == 1
    approved(ran.err, hide=REAL)


@pytest.mark.long
def test_the_rc_script_starts_shows_and_stops_it(tmp_path, approved):
    root = Path(__file__).resolve().parents[3]
    home = tmp_path / "home"
    home.mkdir()
    (home / ".venv").symlink_to(sys.prefix)
    (home / "checker.py").symlink_to(root / "checker.py")
    instance = Instance(tmp_path, NO_MAIL)
    daemon = Daemon(instance)
    environment = {
        "PATH": "/usr/bin:/bin",
        "CHECKER_HOME": str(home),
        "CHECKER_USER": "",
        "CHECKER_PIDFILE": str(tmp_path / "pid"),
        "CHECKER_LOG": str(tmp_path / "log"),
        "CHECKER_OPTIONS": f"-f '{instance.settings}' --state '{instance.state}'",
    }

    def rc(word):
        done = subprocess.run(
            ["/bin/sh", str(root / "contrib" / "checker.rc"), word],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    assert rc("status") == (3, "checker: not at work\n")
    code, said = rc("start")
    try:
        assert code == 0, said
        until(lambda: "answers peers" in (tmp_path / "log").read_text())
        assert daemon.word() == "JobProblem"
        approved(rc("start")[1], hide=REAL)
        assert rc("status")[0] == 0
    finally:
        code, said = rc("stop")
    assert (code, said) == (0, "checker: stopped\n")
    assert rc("status")[0] == 3
    # One that cannot start says why.
    instance.write(instance.settings.read_text().replace("servername", "sevrername"))
    code, said = rc("start")
    assert code == 1 and "[general] servername" in said


def test_the_unit_starts_the_daemon_and_every_path_in_it_is_the_readmes():
    unit = (
        Path(__file__).resolve().parents[3] / "contrib" / "checker.service"
    ).read_text()
    starts = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert starts == [
        "ExecStart=/opt/checker/.venv/bin/python /opt/checker/checker.py -m daemon"
    ]
