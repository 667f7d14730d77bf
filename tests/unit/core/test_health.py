"""How we are: stories of evidence, and the file that tells it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.core import health
from lib.core.enums import DeferralCode, Health, MessageKind, Status
from lib.core.health import HealthInputs
from lib.core.jobs import JobKey
from lib.core.messages import Deferral, DeferredMessage
from lib.core.records import Record, RunRecord
from lib.core.settings import Mail, Mailbox, Settings
from lib.peers import answer
from tests.support.approved import REAL
from tests.support.instance import NO_MAIL, Instance, flag_job
from tests.support.servers import SmtpServer

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAIL = Mail(smtpserver="smtp.example.com", mailbox=Mailbox("imap.example.com"))
NO_BOX = Mail(smtpserver="smtp.example.com")


def assess(found, mail, now):
    at = Path("settings.cfg")
    return health.assess(found, Settings(at, "web1", (), at, at, mail), now)


def ago(**length):
    return NOON - timedelta(**length)


def proof(**times):
    found = {name: moment.isoformat() for name, moment in times.items()}
    return {**found, "interval_s": 3600, "result": "never"}


PROVEN = proof(proved_at=ago(minutes=50))
OK = HealthInputs(ago(seconds=30), proof=PROVEN)


@pytest.mark.parametrize(
    ("last_run", "word"),
    [
        (ago(seconds=30), Health.OK),
        (ago(seconds=179), Health.OK),
        (ago(seconds=181), Health.JOB_PROBLEM),
        (None, Health.JOB_PROBLEM),
    ],
)
def test_a_run_must_have_finished_within_three_minutes(last_run, word):
    assert assess(HealthInputs(last_run, proof=PROVEN), MAIL, NOON).word is word


@pytest.mark.long
def test_how_long_ago_a_run_may_have_finished_is_for_the_settings_to_say(
    tmp_path, approved
):
    instance, _file = instance_with_file(tmp_path, "[email]\nsmtpserver = 127.0.0.1\n")
    instance.add("runage = 3600\n")
    instance.cron()

    def age(content):
        ended = datetime.now(UTC) - timedelta(minutes=50)
        content["ended_at"] = ended.isoformat()

    def health():
        return instance.run("-m", "status", "--json").json()["health"]

    instance.mend(age, "run.json")
    assert health()["word"] == "True"
    instance.write(instance.settings.read_text().replace("3600", "300"))
    assert health()["word"] == "JobProblem"
    approved(health()["reason"], hide=REAL)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (PROVEN, ""),
        (None, "not proven yet"),
        ({"result": "not set up"}, "not proven yet"),
        (proof(proved_at=ago(hours=1), failed_at=ago(minutes=1)), "has failed: never"),
        (proof(failed_at=ago(minutes=1)), "has failed"),
        (proof(proved_at=ago(hours=1, minutes=59)), ""),
        (proof(proved_at=ago(hours=2, minutes=1)), "too old: 2026-11-22"),
        ({"proved_at": "no time"}, "not proven yet"),
    ],
)
def test_mail_is_ok_while_the_last_proof_stands(found, why):
    how = assess(HealthInputs(ago(seconds=30), proof=found), MAIL, NOON)
    assert how.word is (Health.MAIL_PROBLEM if why else Health.OK)
    assert why in how.why


@pytest.mark.parametrize(
    ("minutes", "word"), [(None, Health.OK), (14, Health.OK), (15, Health.JOB_PROBLEM)]
)
def test_settings_that_cannot_be_used_are_a_problem_after_15_minutes(minutes, word):
    since = None if minutes is None else ago(minutes=minutes)
    how = assess(
        HealthInputs(ago(seconds=30), proof=PROVEN, settings_failing_since=since),
        MAIL,
        NOON,
    )
    assert how.word is word
    assert ("settings.cfg has been unusable since" in how.why) is (minutes == 15)


UNEXPLAINED = Deferral()


def left(minutes, why=UNEXPLAINED):
    """Return the facts of a run that left five messages for so long, and two others."""
    since, to = ago(minutes=minutes), ("ops@example.com",)
    oldest = DeferredMessage("x", MessageKind.ALERT, "x is failing", to, since, why)
    young = replace(oldest, since=ago(minutes=10))
    return HealthInputs(ago(seconds=30), (oldest,) * 5 + (young,) * 2, proof=PROVEN)


def test_without_a_mailbox_only_what_is_stuck_is_a_problem():
    assert assess(HealthInputs(ago(seconds=30)), NO_BOX, NOON).word is Health.OK
    assert assess(left(15), NO_BOX, NOON).word is Health.MAIL_PROBLEM
    assert assess(left(14), NO_BOX, NOON).word is Health.OK


@pytest.mark.parametrize(
    "why",
    [Deferral(), Deferral(DeferralCode.RATE_LIMIT), Deferral(error="451 not now")],
    ids=["bundle", "limit", "server"],
)
def test_what_is_stuck_is_counted_with_its_reason_whatever_that_is(why, approved):
    how = assess(left(15, why), MAIL, NOON)
    assert (how.word, how.stuck) == (Health.MAIL_PROBLEM, 5)
    assert how.stuck_since == ago(minutes=15)
    approved(how.why)
    late = assess(left(14, why), MAIL, NOON)
    assert (late.word, late.stuck, late.stuck_since) == (Health.OK, 0, None)


def test_an_instance_without_mail_says_so_unless_that_is_fine():
    assert assess(OK, Mail(), NOON).word is Health.MAIL_PROBLEM
    assert assess(OK, Mail(nomail=True), NOON).word is Health.MAIL_PROBLEM
    fine = Mail(nomail=True, nomail_is_ok=True)
    assert assess(OK, fine, NOON).word is Health.OK


def test_peers_are_not_told_of_warnings():
    run = RunRecord(ended_at=ago(seconds=30), ran=3, warning=3, proof=PROVEN)
    slow = Record(JobKey("Web", "slow"), "slow", Status.WARNING, warnings=3)
    prover = Record(JobKey("EmailChecker", "x"), memory={"proof": PROVEN})
    found = health.inputs_of(health.with_inputs(run, [slow, prover]))
    assert assess(found, MAIL, NOON).word is Health.OK


def test_of_more_than_are_listed_all_that_were_stuck_count():
    assert assess(replace(left(15), stuck=120), MAIL, NOON).stuck == 120
    assert assess(replace(left(14), stuck=120), MAIL, NOON).stuck == 0


def test_no_run_is_worse_than_no_mail():
    assert assess(HealthInputs(None), Mail(), NOON).word is Health.JOB_PROBLEM


def test_a_run_keeps_what_it_leaves_in_the_queue_and_the_last_proof():
    prover = Record(JobKey("EmailChecker", "E"), memory={"proof": PROVEN})
    found = left(60)
    run = RunRecord(ended_at=found.last_run)
    kept = health.with_inputs(run, [prover], found.deferred, 7)
    assert health.inputs_of(kept) == found
    nothing = health.with_inputs(kept, [])
    assert health.inputs_of(nothing) == HealthInputs(found.last_run)


# The file.


def instance_with_file(tmp_path, email):
    served = tmp_path / "www"
    served.mkdir()
    file = served / "checker.txt"
    instance = Instance(tmp_path, f"{email}[status]\nwrite = {file}\n")
    instance.job("Flag", flag_job(tmp_path / "flag"))
    (tmp_path / "flag").touch()
    return instance, file


def read(file, key=""):
    return answer.judged(file.read_bytes(), key=key, now=datetime.now(UTC))


def test_each_run_replaces_the_file_and_everybody_may_read_it(tmp_path):
    instance, file = instance_with_file(tmp_path, "[email]\nsmtpserver = 127.0.0.1\n")
    assert instance.cron().silent
    assert read(file).peer_status is answer.PeerStatus.OK
    assert file.stat().st_mode & 0o777 == 0o644
    os.utime(file, (1, 1))
    assert instance.cron().silent
    assert time.time() - file.stat().st_mtime < 60
    assert [path.name for path in file.parent.iterdir()] == ["checker.txt"]


def test_an_idle_minute_dates_the_file_too(tmp_path):
    instance, file = instance_with_file(tmp_path, NO_MAIL)
    (instance.jobs / "Flag.py").unlink()
    for _ in range(4):
        assert instance.cron().silent
        os.utime(file, (1, 1))
    assert instance.cron().silent
    assert time.time() - file.stat().st_mtime < 60


def test_the_file_is_signed_with_the_key_of_each_peer(tmp_path):
    instance, file = instance_with_file(tmp_path, "[email]\nsmtpserver = 127.0.0.1\n")
    instance.add("[peers]\nfriend = https://x.example/,a@example.com,key=we two\n")
    instance.cron()
    found = read(file, "we two")
    assert found.peer_status is answer.PeerStatus.OK and found.signed
    assert found.answer.server == "web1"
    assert read(file, "others").peer_status is answer.PeerStatus.UNSIGNED


# Of one the mail is tried itself; of so many at once, one mail for all of them.
@pytest.mark.long
@pytest.mark.parametrize("count", [1, 9])
def test_mail_that_is_stuck_is_reported(tmp_path, count):
    with SmtpServer(security="none") as server:
        instance, file = instance_with_file(tmp_path, server.email_section())
        text = flag_job(tmp_path / "flag")
        for number in range(1, count):
            name = f"Flag{number}"
            instance.job(name, text.replace("class Flag", f"class {name}"))
        server.answer_data = lambda mail: "451 4.3.0 not now"
        (tmp_path / "flag").unlink()
        instance.cron()
        assert read(file).peer_status is answer.PeerStatus.OK
        long_ago = (datetime.now(UTC) - timedelta(minutes=20)).isoformat()

        def grow_old(content):
            for one in content.get("queued", ()):
                one["born_at"] = long_ago

        instance.mend(grow_old)
        instance.cron()
        assert read(file).peer_status is answer.PeerStatus.MAIL_PROBLEM


def test_a_run_that_cannot_be_written_down_is_a_job_problem(tmp_path):
    instance, file = instance_with_file(tmp_path, NO_MAIL)
    instance.cron()
    instance.state.chmod(0o500)
    try:
        assert instance.cron().code == 1
    finally:
        instance.state.chmod(0o700)
    assert read(file).peer_status is answer.PeerStatus.JOB_PROBLEM


@pytest.mark.long
def test_a_folder_that_cannot_be_written_is_one_line_and_the_jobs_run(
    tmp_path, approved
):
    instance, file = instance_with_file(tmp_path, NO_MAIL)
    file.parent.chmod(0o500)
    try:
        ran = instance.cron()
        checked = instance.run("-m", "validate")
    finally:
        file.parent.chmod(0o700)
    assert ran.code == 0
    assert ran.err.count("\n") == 1
    approved(ran.err, hide=REAL)
    assert instance.last_run()["ran"] >= 1
    said = f"write: this user may not write into {file.parent}; use chown"
    assert checked.code == 1 and said in checked.out
    # Somebody is told of it, and of its end.
    name = "settings.cfg [status]"
    assert said in instance.records()[name]["last_reason"]
    instance.cron()
    assert name not in instance.records()


@pytest.mark.parametrize(
    "path",
    [
        "gone/checker.txt",
        "www",
        "flag/checker.txt",
    ],
)
def test_a_place_that_cannot_be_is_named(tmp_path, path, approved):
    instance, file = instance_with_file(tmp_path, NO_MAIL)
    text = instance.settings.read_text()
    instance.write(text.replace(str(file), str(tmp_path / path)))
    approved(instance.run("-m", "validate").out, hide=REAL)
    assert instance.cron().code == 0
