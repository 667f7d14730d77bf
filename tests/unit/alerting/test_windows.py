"""What waits for its window, ``when``: stories of a night and the morning after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting import planning, queue, routing
from lib.alerting.planning import Progress
from lib.core import deferral, health, ratelimit
from lib.core.enums import DeferralCode, MessageKind, Severity, Status
from lib.core.hours import Windows
from lib.core.jobs import JobKey
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import Limits, SendLog
from lib.core.records import Record
from lib.core.secret import Secret
from lib.core.settings import Channel

#: A Monday.
DAY = datetime(2026, 11, 23, tzinfo=UTC)
WINDOWS = Windows({"oncall": "mon-fri 08:00-20:00"}, UTC)
ROOMY = Limits(1000, 1000)
ALERT, REMINDER, RECOVERY, NOTE = (
    MessageKind.ALERT,
    MessageKind.REMINDER,
    MessageKind.RECOVERY,
    MessageKind.NOTE,
)
SUBJECTS = {
    ALERT: "{} is failing: no route",
    REMINDER: "{} is still failing: no route",
    RECOVERY: "{} is OK again",
    NOTE: "a word from {}",
}


def at(clock, days=0):
    hour, minute = map(int, clock.split(":"))
    return DAY + timedelta(days=days, hours=hour, minutes=minute)


def message(job, clock, kind=ALERT, to="oncall", days=0, **more):
    name = f"{job}-{clock}-{kind}"
    status = Status.OK if kind is RECOVERY else Status.FAILING
    more = {"status": status, "reason": "no route", **more}
    moment = at(clock, days)
    subject = SUBJECTS[kind].format(job)
    return Message(name, kind, subject, "body", (to,), moment, since=moment, **more)


def record(job, *queued):
    return Record(JobKey("X", job), job, Status.FAILING, queued=queued)


def plan(records, now, kept=(), send_log=SendLog(), limits=ROOMY, **run):  # noqa: B008
    bundles = {one.message.message_id: one for one in kept}
    return planning.plan(
        records,
        bundles,
        send_log,
        limits,
        now,
        progress=Progress(**run),
        zone=UTC,
        windows=WINDOWS,
    )


def subjects(found):
    return [envelope.message.subject for envelope in found.envelopes]


def night(*jobs):
    """Return jobs that fail and are OK again at night."""
    return [
        record(job, message(job, "21:00"), message(job, "21:30", RECOVERY))
        for job in jobs
    ]


MORNING = at("08:00", days=1)


def test_outside_its_window_a_message_waits_and_then_leaves():
    one = [record("disk", message("disk", "21:00"))]
    assert not plan(one, at("21:00")).envelopes
    assert not plan(one, at("07:59", days=1)).envelopes
    (envelope,) = plan(one, MORNING).envelopes
    assert envelope.message.subject == "disk is failing: no route"
    assert " ".join(envelope.message.text.split()).startswith(
        "Delayed 11 hours: it waited for its window, when = mon-fri 08:00-20:00"
    )


def test_what_could_not_be_sent_when_it_opened_says_both():
    refused = message("disk", "21:00", attempts=1, last_error="answered 500.")
    later = MORNING + timedelta(minutes=2)
    (envelope,) = plan([record("disk", refused)], later).envelopes
    assert " ".join(envelope.message.preface.split()).startswith(
        "Delayed 11 hours 2 minutes: answered 500; until 2026-11-24 08:00 UTC it "
        "waited for its window, when = mon-fri 08:00-20:00 This"
    )


def test_within_it_nothing_is_said_of_it():
    one = [record("disk", message("disk", "12:00"))]
    (envelope,) = plan(one, at("12:01")).envelopes
    assert envelope.message.preface == ""


def test_the_window_of_a_section_holds_for_every_way():
    one = [record("disk", message("disk", "12:00", to="a@b.c", when="13:00-14:00"))]
    assert not plan(one, at("12:59")).envelopes
    assert len(plan(one, at("13:00")).envelopes) == 1
    both = [record("disk", message("disk", "12:00", when="19:00-21:00"))]
    assert not plan(both, at("12:59")).envelopes
    assert len(plan(both, at("19:30")).envelopes) == 1
    assert not plan(both, at("20:30")).envelopes


def test_what_is_over_by_then_is_one_line_of_a_catch_up_message(approved):
    failing = record("disk root", message("disk root", "22:00"))
    found = plan([*night("http shop", "tcp db"), failing], MORNING)
    over, alert = found.envelopes
    assert alert.message.subject == "disk root is failing: no route"
    assert (len(over.ids), over.key) == (4, None)
    approved(f"{over.message.subject}\n\n{over.message.text}")


def test_one_that_is_over_has_a_catch_up_message_too():
    (over,) = plan(night("disk"), MORNING).envelopes
    assert over.message.subject == (
        "Catch-up: disk is OK again; it was failing for 30 minutes"
    )
    assert over.key is None


def test_a_recovery_of_what_people_know_is_a_message_of_its_own():
    end = record("disk", message("disk", "21:00", RECOVERY, thread="a"))
    (envelope,) = plan([end], MORNING).envelopes
    assert (envelope.message.subject, envelope.key) == ("disk is OK again", end.key)


def test_the_end_of_what_people_were_reminded_of_is_no_catch_up():
    one = record("disk", message("disk", "21:00", REMINDER, thread="a"))
    end = message("disk", "21:30", RECOVERY, thread="a")
    found = plan([replace(one, queued=(*one.queued, end))], MORNING)
    assert [envelope.key for envelope in found.envelopes] == [one.key]


def test_what_failed_again_is_an_alert_and_no_line():
    again = record(
        "disk",
        message("disk", "21:00"),
        message("disk", "21:30", RECOVERY),
        message("disk", "22:00"),
    )
    (envelope,) = plan([again], MORNING).envelopes
    assert envelope.message.kind is ALERT
    assert "2nd time" in envelope.message.subject
    assert "it waited for its window" in " ".join(envelope.message.text.split())


def test_what_is_a_warning_by_then_is_not_over():
    eased = message("disk", "21:30", RECOVERY, status=Status.WARNING)
    one = record("disk", message("disk", "21:00"), eased)
    (envelope,) = plan([one], MORNING).envelopes
    assert not envelope.message.subject.startswith("Catch-up")


def test_what_came_and_went_within_the_window_is_no_catch_up():
    one = record("disk", message("disk", "12:00"), message("disk", "12:30", RECOVERY))
    (envelope,) = plan([one], at("12:31")).envelopes
    assert envelope.key == one.key


def test_the_first_run_of_the_window_finds_out_what_is_over():
    records = [*night("http shop"), record("disk", message("disk", "22:00"))]
    began_at = MORNING + timedelta(seconds=1)
    running = {"began_at": began_at, "jobs_done": False}
    now = MORNING + timedelta(seconds=20)
    assert not plan(records, now, judged=(), **running).envelopes
    judged = {one.key for one in records}
    # More may be over before the last job is done; an alert need not wait.
    (alert,) = plan(records, now, judged=judged, **running).envelopes
    assert alert.message.subject == "disk is failing: no route"
    assert len(plan(records, now, began_at=began_at).envelopes) == 2


def test_a_job_that_sends_something_itself_keeps_that_apart():
    one = record(
        "disk",
        message("disk", "21:00"),
        message("disk", "21:10", NOTE),
        message("disk", "21:30", RECOVERY),
    )
    found = plan([one], MORNING)
    assert sorted(subjects(found)) == [
        "Catch-up: disk is OK again; it was failing for 30 minutes",
        "a word from disk",
    ]


@pytest.mark.long
def test_hundreds_of_one_night_are_all_named():
    jobs = [f"job{number}" for number in range(300)]
    found = plan(night(*jobs), MORNING)
    assert all("Catch-up: " in subject for subject in subjects(found))
    text = "".join(envelope.message.body for envelope in found.envelopes)
    assert all(f"{job}," in text or f"{job}\n" in text for job in jobs)
    assert len(found.envelopes) <= 4


def test_without_room_the_catch_up_is_deferred_with_its_names():
    full = ratelimit.with_counted(SendLog(), [f"m{n}" for n in range(9)], MORNING)
    found = plan(night("disk"), MORNING, send_log=full, limits=Limits(8, 100))
    assert not found.envelopes
    assert {held.name for held in found.held} == {"disk"}


def test_a_catch_up_that_may_have_been_accepted_is_repeated_as_it_is():
    records = night("disk", "tcp db")
    (first,) = plan(records, MORNING).envelopes
    tried = replace(first.message, attempts=1, in_doubt=True)
    kept = [Bundle(tried, first.ids, MORNING)]
    (again,) = plan(records, MORNING + timedelta(minutes=5), kept).envelopes
    assert (again.message, again.ids) == (tried, first.ids)
    # Not after the window has closed; then it waits for the next one.
    assert not plan(records, at("20:00", days=1), kept).envelopes


def test_one_that_may_have_been_accepted_waits_and_is_repeated_as_it_is():
    doubtful = message("disk", "19:59", in_doubt=True, attempts=1)
    one = [record("disk", doubtful, message("disk", "21:00", RECOVERY))]
    assert not plan(one, at("21:01")).envelopes
    (envelope,) = plan(one, MORNING).envelopes
    assert envelope.message == doubtful


# Reminders of a night.


def test_reminders_do_not_pile_up_behind_an_alert_that_waits():
    alert = message("disk", "21:00")
    hours = [message("disk", f"{hour}:00", REMINDER) for hour in (22, 23)]
    before = record("disk", alert, *hours)
    left, stale = queue.without_stale(before, WINDOWS, at("23:00"))
    assert left.queued == (alert,)
    assert stale == [(hours[0], alert), (hours[1], alert)]
    assert queue.without_stale(before, WINDOWS, MORNING) == (before, [])


def test_of_reminders_that_wait_the_last_is_kept():
    hours = [message("disk", f"{hour}:00", REMINDER) for hour in (21, 22, 23)]
    left, stale = queue.without_stale(record("disk", *hours), WINDOWS, at("23:00"))
    assert left.queued == (hours[2],)
    assert [old for old, _new in stale] == hours[:2]


@pytest.mark.parametrize("more", [{"attempts": 1}, {"in_doubt": True}, {"to": "mail"}])
def test_what_was_tried_or_is_for_others_stands_for_no_reminder(more):
    first = message("disk", "21:00", REMINDER)
    first = replace(first, **({"to": ("x@b.c",)} if "to" in more else more))
    both = record("disk", first, message("disk", "22:00", REMINDER))
    assert queue.without_stale(both, WINDOWS, at("23:00")) == (both, [])


# Waiting is by intent.


@pytest.mark.parametrize(
    ("now", "code", "due_at", "stuck"),
    [
        (at("23:00"), DeferralCode.WINDOW, MORNING, 0),
        (at("08:14", days=1), DeferralCode.NEXT_RUN, MORNING, 0),
        (at("08:15", days=1), DeferralCode.NEXT_RUN, MORNING, 1),
        (at("21:00", days=1), DeferralCode.WINDOW, at("08:00", days=2), 0),
    ],
)
def test_what_waits_for_its_window_is_not_stuck(now, code, due_at, stuck):
    one = record("disk", message("disk", "21:00"))
    left = deferral.deferred([one], (), SendLog(), now, WINDOWS)
    (listed,) = left.messages
    assert (listed.why.code, listed.due_at, left.stuck) == (code, due_at, stuck)
    assert health.is_stuck(listed, now) == bool(stuck)
    # A reader of run.json comes later than the run.
    assert not health.is_stuck(listed, due_at + timedelta(minutes=14))
    assert health.is_stuck(listed, due_at + timedelta(minutes=15))


def test_what_is_stuck_comes_before_what_waits_for_its_window():
    waits = record("a", message("a", "20:10"))
    stuck = record("b", message("b", "21:00", to="x@b.c"))
    left = deferral.deferred([waits, stuck], (), SendLog(), at("22:00"), WINDOWS)
    assert [one.job for one in left.messages] == ["b", "a"]
    line = deferral.line(left.messages[1], lambda moment: f"{moment:%a %H:%M}")
    assert line == (
        "'a is failing: no route' to oncall, queued since Mon 20:10: "
        "waits for its window until Tue 08:00"
    )


# Fallback and escalation.

CHANNELS = {
    "oncall": Channel(
        "oncall",
        webhook=Secret("https://example.com/"),
        when="mon-fri 08:00-20:00",
        fallback=("boss", 600.0),
        escalate=("boss", 1800.0),
    ),
    "boss": Channel("boss", command=("page",)),
}


@pytest.mark.parametrize(
    ("now", "attempts", "falls_back"),
    [
        (at("23:00"), 0, False),
        (at("08:09", days=1), 0, False),
        (at("08:10", days=1), 0, True),
        # It was tried before the window closed.
        (at("23:00"), 1, True),
    ],
)
def test_a_channel_outside_its_window_does_not_fail(now, attempts, falls_back):
    one = message("disk", "19:59" if attempts else "21:00", attempts=attempts)
    after = routing.with_fallbacks(
        record("disk", one), CHANNELS, {"oncall": "answered 500"}, now, WINDOWS
    )
    assert [copy.to for copy in after.queued[1:]] == [("boss",)] * falls_back


@pytest.mark.parametrize(
    ("alerted", "now", "when", "names"),
    [
        ("21:00", at("23:00"), "", ()),
        ("21:00", at("08:29", days=1), "", ()),
        ("21:00", at("08:30", days=1), "", ("boss",)),
        ("21:00", at("08:30", days=1), "09:00-10:00", ()),
        ("21:00", at("09:30", days=1), "09:00-10:00", ("boss",)),
        # It has left before the window closed.
        ("19:45", at("20:15"), "", ("boss",)),
        ("12:00", at("12:30"), "", ("boss",)),
    ],
)
def test_an_escalation_counts_from_when_the_alert_could_leave(
    alerted, now, when, names
):
    failing = replace(
        record("disk"),
        failing_since=at(alerted),
        notified_at=at(alerted),
        alerted_at=at(alerted),
        notified=("oncall",),
        notified_status=Status.FAILING,
    )
    assert routing.escalations(failing, CHANNELS, now, UTC, when) == names


def test_a_warning_of_a_night_is_a_line_too():
    begins = message("disk", "21:00", status=Status.WARNING, severity=Severity.WARNING)
    ends = message("disk", "21:30", RECOVERY, severity=Severity.WARNING)
    (over,) = plan([record("disk", begins, ends)], MORNING).envelopes
    assert over.message.subject == (
        "Catch-up: disk is OK again; it was WARNING for 30 minutes"
    )
