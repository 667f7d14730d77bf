"""-m replay: the command line, and what it prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.core.jobs import FailureRule
from lib.report import replay as replay_report
from tests.support.instance import Instance
from tests.support.played import Played, job_of
from tests.unit.alerting.test_replay import replayed, with_policy
from tests.unit.cli.test_json import wrong_in
from tests.unit.storage.test_history import in_format_2

HEAD = "[email]\nnomail = yes\n"
SETTINGS = f"{HEAD}[disk root]\npath = /\nfailures = 1\n[disk data]\npath = /srv\n"
DISK, DATA = job_of("disk root"), job_of("disk data")


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    instance = Instance(tmp_path_factory.mktemp("replay"), SETTINGS)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    played = Played(instance.state, now - timedelta(minutes=20))
    jobs = {
        job_of("disk root"): "OFOFFFFO",
        job_of("disk data", failures=FailureRule(1)): "OOOOOFOO",
    }
    played.play(jobs)
    return instance


def other(instance, change, text=""):
    path = instance.folder / "other.cfg"
    path.write_text(instance.settings.read_text().replace(*change) + text)
    path.chmod(0o600)
    return str(path)


def test_other_settings_are_held_against_what_was_sent(instance):
    path = other(instance, ("failures = 1", "failures = 3"))
    ran = instance.run("-m", "replay", "disk root", "--settings", path)
    first, heading, *rows, last = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert first.endswith(f", by {path}")
    assert heading.split()[2:] == ["job", "what", "outcome", "to"]
    cells = [[cell.strip() for cell in row.split("  ") if cell] for row in rows]
    assert [outcome for _at, _job, _what, outcome, _to in cells] == [
        "both",
        "2 minutes later",
        "sent only",
        "sent only",
    ]
    assert last == (
        "4 sent, 2 would be; 1 problem told 2 minutes later; 1 problem never told."
    )


def test_the_same_settings_are_the_same(instance):
    ran = instance.run("-m", "replay")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == "6 sent, 6 would be: the same."
    data = instance.run("-m", "replay", "--json").json()
    assert wrong_in("replay", data) == []
    assert (data["sent"], data["would_be"], data["never"]) == (6, 6, 0)
    assert all(one["is_same"] for one in data["notifications"])


def test_what_needs_new_checks_is_said(instance):
    path = other(instance, ("path = /srv", "path = /srv\nlimit = 50"))
    out = instance.run("-m", "replay", "--settings", path).out
    assert "needs new checks: limit of [disk data]; results count" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["disk rot"], 1, "there is no job 'disk rot'; did you mean 'disk root'?"),
        (["--since", "7"], 2, "--since 7: expected how long ago, such as 24h or 7d"),
        (["--since", "1h", "--until", "2h"], 2, "that is not before the end"),
        (["--until", "2026-01-01"], 1, "what was before cannot be replayed"),
        (["--settings", "/nowhere.cfg"], 1, "/nowhere.cfg: the file is missing"),
    ],
)
def test_wrong_words_are_said_in_a_line(instance, words, code, said):
    ran = instance.run("-m", "replay", *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err and ran.err.count("\n") == 1


def test_wrong_settings_are_said_with_their_lines_and_not_replayed(instance):
    path = other(instance, ("failures = 1", "failures = many"), "[htpp a]\nurl = b\n")
    ran = instance.run("-m", "replay", "--settings", path)
    assert (ran.code, ran.out) == (1, "")
    lines = ran.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("checker: other.cfg:") for line in lines)


def test_without_a_history_it_says_so(tmp_path):
    ran = Instance(tmp_path, SETTINGS).run("-m", "replay")
    assert ran.code == 1
    assert ran.err.endswith("so nothing can be replayed\n") and ran.err.count("\n") == 1


def test_without_an_audit_log_it_is_not_known_what_was_sent(tmp_path):
    instance = Instance(tmp_path, SETTINGS)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    Played(instance.state, now - timedelta(minutes=5)).play({DISK: "OFO"})
    (instance.state / "decisions.log").unlink()
    lines = instance.run("-m", "replay").out.splitlines()
    assert lines[1] == "There is no audit log, so it is not known what was sent."
    assert lines[-1].startswith("0 sent, 2 would be")
    # Nor by what it was judged.
    (instance.state / "history" / "policies.log").unlink()
    lines = instance.run("-m", "replay").out.splitlines()
    assert lines[2].endswith("by which policy they were judged: disk root.")


def test_what_was_sent_before_the_audit_log_begins_is_left_out(tmp_path):
    instance = Instance(tmp_path, SETTINGS)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    played = Played(instance.state, now - timedelta(minutes=9))
    played.play({DISK: "OFO"})
    played.play({DISK: "OFO"})
    path = instance.state / "decisions.log"
    lines = path.read_text().splitlines(keepends=True)
    (instance.state / "decisions.log.1").write_text("".join(lines[4:6]))
    path.write_text("".join(lines[6:]))
    out = instance.run("-m", "replay").out
    assert "The audit log begins at " in out
    assert out.splitlines()[-1] == "2 sent, 2 would be: the same."


def test_history_of_a_newer_version_is_said(tmp_path):
    instance = Instance(tmp_path, SETTINGS)
    Played(instance.state).play({DISK: "OFO"})
    now = instance.state / "history" / "now.bin"
    now.write_bytes(in_format_2(now.read_bytes()))
    ran = instance.run("-m", "replay")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"checker: {now}: it was written by a newer Checker (format 2, this one knows "
        "1); upgrade this one, or move the file away\n"
    )
    (problem,) = [
        one
        for one in instance.run("-m", "validate", "--json").json()
        if one["text"].startswith("history: ")
    ]
    assert f": {now}: it was written by a newer Checker" in problem["text"]
    assert problem["severity"] == "error"


def test_a_replay_writes_nothing(instance):
    def there():
        return {
            path: path.read_bytes()
            for path in instance.state.rglob("*")
            if path.is_file()
        }

    before = there()
    instance.run("-m", "replay", "--since", "1h")
    assert there() == before


def test_of_many_those_that_differ_are_shown(tmp_path):
    played = Played(tmp_path)
    jobs = {job_of(f"disk {number}"): "OFOOO" for number in range(21)}
    played.play({**jobs, job_of("disk long"): "OFFFO"})
    pairs = replayed(played, with_policy(failures=FailureRule(3)))
    same = replayed(played)
    assert len(pairs) == 44
    shown = replay_report.shown(pairs, all_of_them=False)
    assert len(shown) == 40 and replay_report.more(pairs, shown) == (
        "and 4 more, 1 of them the same; --all lists them"
    )
    shown = replay_report.shown(same, all_of_them=False)
    assert (shown, replay_report.more(same, shown)) == (
        [],
        "and 44 that are the same; --all lists them",
    )
    assert len(replay_report.shown(pairs, all_of_them=True)) == 44
