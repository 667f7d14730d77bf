"""Which owed messages go out now: stories of contacts, with nothing but values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec.structs import replace

from lib.alerting import bundling, planning
from lib.alerting.planning import MAX_SINGLE, Progress
from lib.alerting.queue import BundledIds
from lib.core import policy, ratelimit
from lib.core.enums import MessageKind, Severity, Status
from lib.core.jobs import OWN_KEY, JobKey
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import HOUR, Limits, Outage, SendLog, TimedName
from lib.core.records import Record

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LATER = NOON + 10 * MINUTE
OPS, BOSS = "ops@example.com", "boss@example.com"
ROOMY = Limits(1000, 1000)
STILL = MessageKind.REMINDER


def message(name, at=NOON, kind=MessageKind.ALERT, to=(OPS,), **more):
    subject = f"{name} is failing: no route"
    return Message(name, kind, subject, "body", to, at, since=at, **more)


def record(key, *queued):
    return Record(JobKey("X", key), key, Status.FAILING, queued=queued)


def jobs(count, first=0, **more):
    return [
        record(f"job{number}", message(f"m{number}", **more))
        for number in range(first, first + count)
    ]


EMPTY, NOTHING = SendLog(), BundledIds()


def plan(records, kept=(), send_log=EMPTY, limits=ROOMY, now=LATER, **run):
    by_name = {one.message.message_id: one for one in kept}
    progress = Progress(**run)
    return planning.plan(
        records, by_name, send_log, limits, now, progress=progress, zone=UTC
    )


def names(found):
    return [envelope.message.message_id for envelope in found.envelopes]


def held(found):
    return len(found.held)


def only(found):
    (envelope,) = found.envelopes
    return envelope


# Singly or in one.


def test_five_go_singly_and_six_in_one():
    assert names(plan(jobs(5))) == ["m0", "m1", "m2", "m3", "m4"]
    bundle = only(plan(jobs(6)))
    assert (bundle.key, len(bundle.ids)) == (None, 6)


def test_the_oldest_goes_first():
    records = [record("x", message("b", NOON + MINUTE)), record("y", message("a"))]
    assert names(plan(records)) == ["a", "b"]


def test_each_contact_is_gathered_by_itself():
    found = plan(jobs(6) + jobs(2, first=6, to=(BOSS,)))
    assert [len(envelope.ids) for envelope in found.envelopes] == [6, 1, 1]
    assert {envelope.message.to for envelope in found.envelopes} == {(OPS,), (BOSS,)}


def test_while_jobs_are_at_work_the_first_waits_five_seconds_for_company():
    seconds = timedelta(seconds=1)
    assert not plan(jobs(1), now=NOON + 4 * seconds, jobs_done=False).envelopes
    assert plan(jobs(1), now=NOON + 5 * seconds, jobs_done=False).envelopes
    assert plan(jobs(1), now=NOON, jobs_done=True).envelopes


def test_while_many_jobs_are_at_work_the_first_to_fail_go_in_one():
    one = plan(jobs(1), jobs_done=False, many_to_come=True)
    assert names(one) == names(plan(jobs(1)))
    few = plan(jobs(2), jobs_done=False, many_to_come=True)
    assert len(only(few).ids) == 2
    assert len(plan(jobs(2), jobs_done=False).envelopes) == 2


def test_a_bundle_has_an_id_of_its_own_that_is_the_same_for_the_same_messages():
    first, second = only(plan(jobs(6))), only(plan(jobs(6), now=LATER + MINUTE))
    assert first.message.message_id == second.message.message_id
    assert first.message.message_id not in first.ids
    assert only(plan(jobs(7))).message.message_id != first.message.message_id


def test_stale_news_counts_once():
    records = []
    for number in range(5):
        end = message(f"r{number}", NOON + MINUTE, MessageKind.RECOVERY)
        records.append(record(f"job{number}", message(f"a{number}"), end))
    found = plan(records)
    assert len(found.envelopes) == MAX_SINGLE
    assert found.envelopes[0].ids == ("a0", "r0")


def test_after_a_bundle_what_is_no_first_alert_waits_five_minutes():
    send_log = ratelimit.after_bundle(SendLog(), (OPS,), LATER)
    those = [*jobs(1, kind=STILL), *jobs(1, first=1, to=(BOSS,))]
    assert names(plan(those, send_log=send_log, now=LATER + 4 * MINUTE)) == ["m1"]
    assert names(plan(those, send_log=send_log, now=LATER + 5 * MINUTE)) == ["m0", "m1"]


def test_within_the_limits_a_first_alert_waits_for_no_bundle():
    send_log = ratelimit.after_bundle(SendLog(), (OPS,), LATER)
    those = [*jobs(3), *jobs(1, first=3, kind=MessageKind.RECOVERY)]
    assert names(plan(those, send_log=send_log)) == ["m0", "m1", "m2"]
    many = only(plan(jobs(6), send_log=send_log))
    assert many.ids == ids(6)
    # The bundle may have been the first of thousands of this run.
    assert not plan(jobs(1), send_log=send_log, jobs_done=False).envelopes


def test_a_bundle_that_is_too_long_goes_on_in_a_next_part(monkeypatch):
    monkeypatch.setattr(bundling, "MAX_PART", 100)
    monkeypatch.setattr(bundling, "MAX_LONG_PART", 100)
    parts = plan(jobs(30)).envelopes
    assert len(parts) > 1
    assert sorted(name for one in parts for name in one.ids) == sorted(ids(30))
    assert {one.key for one in parts} == {None}
    assert f"(part 2 of {len(parts)})" in parts[1].message.subject


def test_a_probe_waits_for_nothing():
    send_log = ratelimit.after_bundle(SendLog(), (OPS,), LATER)
    round_trip_mail = record("probe", message("p", LATER, MessageKind.ROUND_TRIP))
    found = plan([*jobs(10), round_trip_mail], send_log=send_log, jobs_done=False)
    assert names(found) == ["p"]


def summary(name, at=LATER, **more):
    return message(name, at, MessageKind.SUMMARY, **more)


def own(*messages):
    return Record(OWN_KEY, "state", queued=messages)


def test_a_summary_goes_by_itself_however_much_there_is():
    note = message("note", LATER, MessageKind.NOTE)
    found = plan([*jobs(6), own(summary("b1"), note, summary("b2"))])
    bundle, *others = found.envelopes
    assert set(bundle.ids) == {"m0", "m1", "m2", "m3", "m4", "m5", "note"}
    assert [one.ids for one in others] == [("b1",), ("b2",)]
    assert {one.key for one in others} == {OWN_KEY}


def test_a_summary_goes_by_itself_while_a_bundle_waits():
    waiting = waiting_bundle()
    found = plan([*jobs(6), own(summary("b1"))], [waiting])
    assert names(found) == ["b1"]
    quiet = ratelimit.after_bundle(SendLog(), (OPS,), LATER)
    assert names(plan([own(summary("b1"))], send_log=quiet)) == ["b1"]


def test_no_summary_overtakes_the_one_before():
    late = summary("b1", retry_at=LATER + MINUTE, attempts=1)
    records = [own(late, summary("b2"))]
    assert names(plan(records)) == []
    assert names(plan(records, now=LATER + MINUTE)) == ["b1", "b2"]


def test_a_bundle_takes_the_oldest_where_there_are_very_many(monkeypatch):
    monkeypatch.setattr(planning, "MAX_IN_BUNDLE", 10)
    late = [
        replace(one, key=JobKey("Late", one.key.identity))
        for one in jobs(20, 20, at=LATER)
    ]
    bundle = only(plan(late + jobs(10)))
    assert sorted(bundle.ids) == sorted(f"m{number}" for number in range(10))


# A digest on its way.


def test_what_waits_in_a_bundle_is_not_sent_otherwise():
    tried = bundling.attempted(Bundle(only(plan(jobs(6))).message, ids(6)), LATER)
    failed = replace(tried, message=replace(tried.message, in_doubt=False))
    assert plan(jobs(6), [failed]).envelopes == ()


def ids(count):
    return tuple(f"m{number}" for number in range(count))


def waiting_bundle(count=6, *, in_doubt=False):
    message = only(plan(jobs(count))).message
    tried = bundling.attempted(Bundle(message, ids(count)), LATER)
    return replace(tried, message=replace(tried.message, in_doubt=in_doubt))


def test_a_bundle_that_was_refused_is_tried_again_with_the_news_in_it():
    bundle = waiting_bundle()
    found = only(plan(jobs(8), [bundle], now=LATER + MINUTE))
    assert found.ids == ids(8)
    assert found.message.message_id == bundle.message.message_id
    assert found.message.attempts == 1


def test_news_pulls_a_waiting_bundle_forward_but_not_each_minute():
    bundle = waiting_bundle()
    late = replace(bundle.message, retry_at=LATER + 60 * MINUTE)
    bundle = replace(bundle, message=late)
    assert not plan(jobs(6), [bundle], now=LATER + 30 * MINUTE).envelopes
    assert not plan(jobs(7), [bundle], now=LATER + 4 * MINUTE).envelopes
    assert plan(jobs(7), [bundle], now=LATER + 5 * MINUTE).envelopes


def test_a_bundle_that_may_have_been_taken_goes_again_as_it_is():
    bundle = waiting_bundle(in_doubt=True)
    *news, again = plan(jobs(8), [bundle], now=LATER + MINUTE).envelopes
    assert (again.message, again.ids) == (bundle.message, ids(6))
    assert [one.message.message_id for one in news] == ["m6", "m7"]


def test_no_message_goes_before_an_older_one_of_its_job_that_is_in_doubt():
    bundle = waiting_bundle(in_doubt=True)
    records = jobs(6)
    end = message("end", LATER, MessageKind.RECOVERY)
    records[0] = replace(records[0], queued=(*records[0].queued, end))
    assert names(plan(records, [bundle], now=LATER + timedelta(seconds=5))) == []


def test_what_a_sent_bundle_stood_for_is_never_sent_again():
    bundle = replace(waiting_bundle(), sent_at=LATER)
    assert plan(jobs(6), [bundle], now=LATER + 60 * MINUTE).envelopes == ()
    assert policy.without(jobs(1)[0], {"m0"}).queued == ()


# Room.


def test_a_fifth_of_the_room_is_kept_for_checker_itself():
    send_log = ratelimit.with_counted(SendLog(), map(str, range(8)), NOON)
    limits = Limits(10, 100)
    note = Record(OWN_KEY, "state", queued=(message("note"),))
    assert names(
        plan([*jobs(1, kind=STILL), note], send_log=send_log, limits=limits)
    ) == ["note"]
    found = plan([*jobs(3, kind=STILL), note], send_log=send_log, limits=limits)
    assert held(found) == 3


def test_the_note_about_deferred_mail_leaves_beside_the_limits_and_in_no_bundle():
    send_log = ratelimit.with_counted(SendLog(), map(str, range(10)), NOON)
    note = message("note", kind=MessageKind.NOTE, lists_deferred=True)
    found = plan(
        [*jobs(3, kind=STILL), own(note)], send_log=send_log, limits=Limits(10, 100)
    )
    assert (names(found), held(found)) == (["note"], 3)
    (envelope,) = found.envelopes
    # It takes no room, and no first alert waits for it.
    assert envelope.beside_limits
    assert not envelope.starts_cool_down
    found = plan([*jobs(6), own(note)])
    assert sorted(len(one.ids) for one in found.envelopes) == [1, 6]


def test_a_summary_counts_as_checkers_own():
    send_log = ratelimit.with_counted(SendLog(), map(str, range(8)), NOON)
    limits = Limits(10, 100)
    three = own(summary("b1"), summary("b2"), summary("b3"))
    found = plan([*jobs(1, kind=STILL), three], send_log=send_log, limits=limits)
    # What is left for others is held back, and said so; its own just waits.
    assert (names(found), held(found)) == (["b1", "b2"], 1)
    send_log = ratelimit.with_counted(send_log, ["b3"], NOON)
    assert names(
        plan([own(summary("b3"))], send_log=send_log, limits=Limits(9, 9))
    ) == ["b3"]


def test_the_room_that_is_kept_is_for_the_jobs_that_watch_checker_too():
    send_log = SendLog(tuple(TimedName(f"n{n}", NOON) for n in range(16)))
    peers = [
        Record(JobKey.of_peer(str(n)), queued=(message(f"p{n}", to=(BOSS,)),))
        for n in range(2)
    ]
    found = plan(
        [*jobs(2, kind=STILL), *peers], send_log=send_log, limits=Limits(20, 100)
    )
    assert names(found) == ["p0", "p1"]
    assert held(found) == 2


def test_what_has_too_little_room_goes_as_one():
    send_log = ratelimit.with_counted(SendLog(), map(str, range(7)), NOON)
    found = plan(jobs(3), send_log=send_log, limits=Limits(10, 100))
    assert len(only(found).ids) == 3


def test_room_is_given_to_one_contact_after_the_other():
    send_log = ratelimit.with_counted(SendLog(), map(str, range(7)), NOON)
    those = [
        *jobs(1, kind=STILL),
        *jobs(4, 1, to=(BOSS,), at=NOON + MINUTE, kind=STILL),
    ]
    found = plan(those, send_log=send_log, limits=Limits(10, 100))
    assert (names(found), held(found)) == (["m0"], 4)


def test_one_that_was_counted_before_needs_no_new_room():
    send_log = ratelimit.with_counted(
        SendLog(), [f"m{number}" for number in range(8)], NOON
    )
    found = plan(jobs(9, kind=STILL), send_log=send_log, limits=Limits(10, 100))
    assert (len(found.envelopes), held(found)) == (8, 1)


def test_where_mail_goes_to_the_log_there_is_no_limit():
    send_log = ratelimit.with_counted(SendLog(), map(str, range(1000)), NOON)
    assert plan(jobs(1), send_log=send_log, limits=None).envelopes


def test_while_the_server_wants_no_mail_nothing_goes_and_then_all_in_one():
    send_log = replace(SendLog(), held_until=LATER + MINUTE)
    assert not plan(jobs(2), send_log=send_log).envelopes
    assert len(only(plan(jobs(2), send_log=send_log, now=LATER + MINUTE)).ids) == 2
    assert len(plan(jobs(2), now=LATER + MINUTE).envelopes) == 2


# First alerts, where there is no room.

FULL_BOOK = ratelimit.with_counted(SendLog(), map(str, range(8)), LATER - MINUTE)
TEN = Limits(10, 100)


def short_of_room(records, kept=(), send_log=FULL_BOOK, now=LATER, **more):
    return plan(records, kept, send_log, TEN, now, **more)


def beside(found):
    return [one.message.message_id for one in found.envelopes if one.beside_limits]


NOISY = {JobKey("X", "flap"): Severity.CRITICAL}


def test_a_noisy_job_does_not_hold_back_the_first_alert_of_another():
    noisy = record("flap", message("noise"))
    send_log = ratelimit.with_notified(FULL_BOOK, NOISY, LATER - 59 * MINUTE)
    found = short_of_room([noisy, *jobs(1)], send_log=send_log)
    assert (names(found), beside(found)) == (["m0"], ["m0"])
    assert [(one.name, one.message.message_id) for one in found.held] == [
        ("flap", "noise")
    ]
    assert "The rate limit is reached" in only(found).message.preface
    # After an hour without an alert its alert is a first one again.
    later = short_of_room([noisy], send_log=send_log, now=LATER + MINUTE)
    assert beside(later) == ["noise"]


def test_a_failure_after_the_alert_of_a_warning_is_a_first_alert():
    warned = {JobKey("X", "flap"): Severity.WARNING}
    send_log = ratelimit.with_notified(FULL_BOOK, warned, LATER)
    worse = record("flap", message("worse"))
    assert names(short_of_room([worse], send_log=send_log)) == ["worse"]
    again = record("flap", message("again", severity=Severity.WARNING))
    assert held(short_of_room([again], send_log=send_log)) == 1


def test_reminders_and_what_a_job_says_of_its_own_accord_wait_for_room():
    note = message("n", kind=MessageKind.NOTE)
    found = short_of_room([record("x", message("r", kind=STILL)), record("y", note)])
    assert (found.envelopes, held(found)) == ((), 2)


def test_the_end_of_what_people_know_of_is_not_held_back_but_that_of_noise_is():
    end = message("end", NOON + MINUTE, MessageKind.RECOVERY)
    noisy = record("flap", message("noise"), replace(end, message_id="again"))
    send_log = ratelimit.with_notified(FULL_BOOK, NOISY, LATER)
    found = short_of_room([record("x", end), noisy], send_log=send_log)
    assert (names(found), beside(found)) == (["end"], ["end"])
    assert [one.message.message_id for one in found.held] == ["noise", "again"]


def test_what_nobody_has_heard_of_goes_also_when_it_is_over():
    end = message("end", NOON + MINUTE, MessageKind.RECOVERY)
    found = only(short_of_room([record("x", message("start"), end)]))
    assert found.ids == ("start", "end")
    assert found.message.kind is MessageKind.RECOVERY


def test_where_there_is_room_a_first_alert_takes_it():
    found = plan(jobs(1), send_log=SendLog(), limits=TEN)
    assert (names(found), beside(found)) == (["m0"], [])


def counted_after(send_log, found, now):
    """Return the book after all this was tried and taken, as the program keeps it."""
    counted = [one for one in names(found) if one not in beside(found)]
    send_log = ratelimit.with_counted(send_log, counted, now)
    for one in found.envelopes:
        if one.starts_cool_down:
            send_log = ratelimit.after_bundle(send_log, one.message.to, now)
        keys = (JobKey("X", f"job{name[1:]}") for name in one.ids)
        alerted = dict.fromkeys(keys, Severity.CRITICAL)
        send_log = ratelimit.with_notified(send_log, alerted, now)
    return send_log


def hour_of_first_alerts(minutes):
    """Return the mails of each minute, where in each another job begins to fail."""
    send_log, waiting, notified = FULL_BOOK, [], []
    limits = Limits(1, 1)
    for minute in range(minutes):
        now = LATER + minute * MINUTE
        waiting += jobs(1, first=minute, at=now)
        found = plan(waiting, send_log=send_log, limits=limits, now=now)
        send_log = counted_after(send_log, found, now)
        gone = {name for one in found.envelopes for name in one.ids}
        waiting = [one for one in waiting if one.queued[0].message_id not in gone]
        notified.append("".join(str(len(one.ids)) for one in found.envelopes) or ".")
    return " ".join(notified), waiting


def test_without_room_first_alerts_share_one_mail_each_five_minutes():
    notified, waiting = hour_of_first_alerts(16)
    assert notified == "1 . . . . 5 . . . . 5 . . . . 5"
    assert waiting == []


def test_many_first_alerts_at_once_are_one_mail():
    found = short_of_room(jobs(7))
    assert (only(found).key, len(only(found).ids), held(found)) == (None, 7, 0)
    assert beside(found) == names(found)
    assert len(only(short_of_room(jobs(2))).ids) == 2


def test_each_contact_has_its_own_mails_beside_the_limits():
    send_log = ratelimit.after_bundle(FULL_BOOK, (OPS,), LATER)
    those = [*jobs(1), *jobs(1, first=1, to=(BOSS,))]
    assert names(short_of_room(those, send_log=send_log)) == ["m1"]


def test_a_bundle_of_first_alerts_that_was_refused_goes_again_without_the_noise():
    bundle = waiting_bundle()
    noisy = record("flap", message("noise"))
    send_log = ratelimit.with_notified(FULL_BOOK, NOISY, LATER)
    found = short_of_room([*jobs(6), noisy], [bundle], send_log, LATER + 2 * MINUTE)
    assert (only(found).ids, held(found)) == (ids(6), 1)
    assert only(found).message.message_id == bundle.message.message_id
    assert beside(found) == names(found)


def test_what_may_have_been_accepted_is_sent_again_as_it_is_whatever_the_limits():
    tried = replace(
        policy.attempted(message("m0", preface="Delayed 7 minutes."), NOON),
        retry_at=LATER,
    )
    end = message("end", NOON + MINUTE, MessageKind.RECOVERY)
    send_log = ratelimit.with_notified(
        FULL_BOOK, {JobKey("X", "job0"): Severity.CRITICAL}, LATER
    )
    found = short_of_room([record("job0", tried, end)], send_log=send_log)
    assert only(found).message == tried
    assert not short_of_room([record("job0", tried, end)], now=LATER - MINUTE).envelopes


# Late.


def test_a_message_that_is_late_says_so_first_with_the_reason():
    now = NOON + 25 * MINUTE
    tried = message("m0", last_error="smtp.example.com: connection refused")
    (first,) = plan([record("x", tried)], now=now).envelopes
    late = "Delayed 25 minutes: smtp.example.com: connection refused"
    as_of = "This is how it was at 2026-11-22 12:00 UTC:"
    assert first.message.text.startswith(f"{late}\n{as_of}\n\nbody")
    over = SendLog(outage=Outage(NOON, now, "451 not now"))
    (bundle,) = plan(jobs(6), send_log=over, now=now).envelopes
    assert bundle.message.text.splitlines()[0] == (
        "Its oldest message is delayed 25 minutes: 451 not now"
    )
    assert only(plan(jobs(1), now=NOON + 5 * MINUTE)).message.preface == ""


# An outage.


def outage(failures=2, minutes_ago=2):
    at = LATER - minutes_ago * MINUTE
    return SendLog(failing_since=at, failures=failures, failed_at=at, last_error="451")


def test_during_an_outage_one_message_is_tried_and_then_none_for_a_while():
    assert names(plan(jobs(5), send_log=outage())) == ["m0"]
    assert not plan(jobs(5), send_log=outage(minutes_ago=1)).envelopes


def test_after_blindness_one_is_tried_at_once_but_not_again():
    log = outage(minutes_ago=1)
    assert names(plan(jobs(5), send_log=log, sees_since=LATER)) == ["m0"]
    again = replace(log, failed_at=LATER)
    assert names(plan(jobs(5), send_log=again, sees_since=LATER)) == []


def test_during_an_outage_the_one_with_the_fewest_attempts_is_tried():
    refused = [
        record(f"job{number}", message(f"m{number}", attempts=3, retry_at=LATER + HOUR))
        for number in range(2)
    ]
    others = jobs(1, first=2, at=LATER)
    assert names(plan([*refused, *others], send_log=outage())) == ["m2"]
    assert names(plan(refused, send_log=outage())) == ["m0"]
    late = own(summary("b1", attempts=3), summary("b2"))
    assert names(plan([late], send_log=outage())) == ["b1"], "in order"


def in_doubt(attempts=1):
    """A mail at whose end the server has hung up."""
    return record("old", message("old", NOON, attempts=attempts, in_doubt=True))


def test_what_may_end_the_session_again_takes_no_other_mail_with_it():
    assert names(plan([in_doubt(), *jobs(2, at=LATER)])) == ["m0", "m1", "old"]


def test_during_an_outage_one_in_doubt_waits_for_what_was_tried_less_often():
    both = [in_doubt(attempts=2), *jobs(1, at=NOON + MINUTE, attempts=1)]
    assert names(in_a_run(both, send_log=outage())) == []
    assert names(in_a_run(both, judged=["job0"], send_log=outage())) == ["m0"]
    again = [in_doubt(), *jobs(1, at=NOON + MINUTE, attempts=2)]
    assert names(in_a_run(again, send_log=outage())) == ["old"]
    new = [in_doubt(), *jobs(1, at=LATER + 19 * SECOND)]
    assert names(in_a_run(new, judged=["job0"], send_log=outage())) == []
    # Then there is time left to send it, however long others take.
    late = LATER + planning.LONGEST_WAIT
    assert names(in_a_run(both, now=late, send_log=outage())) == ["m0"]
    alike = [in_doubt(), *jobs(1, at=LATER, attempts=1)]
    assert names(plan(alike, send_log=outage())) == ["m0"]


def test_a_round_trip_mail_is_tried_during_an_outage_too():
    probe = record("probe", message("p", LATER, MessageKind.ROUND_TRIP))
    assert names(plan([*jobs(5), probe], send_log=outage())) == ["p", "m0"]
    assert names(plan([*jobs(5), probe], send_log=outage(minutes_ago=1))) == ["p"]


# What the run has yet to find.


def in_a_run(records, judged=(), now=None, **more):
    return plan(
        records,
        now=now or LATER + timedelta(seconds=20),
        began_at=LATER,
        jobs_done=False,
        judged={JobKey("X", name) for name in judged},
        **more,
    )


def test_an_alert_of_an_earlier_run_waits_for_what_this_run_finds():
    old, new = jobs(1), jobs(1, first=1, at=LATER + timedelta(seconds=1))
    send_log = SendLog(outage=Outage(NOON, LATER, "451"))
    found = partial(in_a_run, [*old, *new], send_log=send_log)
    assert names(found()) == ["m1"]
    assert names(found(judged=["job0"])) == ["m0", "m1"]
    many = partial(in_a_run, jobs(6), send_log=send_log)
    assert not many(judged=["job0"]).envelopes
    assert len(only(many(judged=[f"job{number}" for number in range(6)])).ids) == 6


def test_no_first_alert_waits_for_that_longer_than_is_promised():
    at = LATER - 4 * MINUTE
    waiting = partial(in_a_run, jobs(1, at=at))
    assert not waiting(now=at + timedelta(minutes=4, seconds=49)).envelopes
    assert waiting(now=at + timedelta(minutes=4, seconds=50)).envelopes
    reminder = jobs(1, at=at, kind=STILL)
    assert not in_a_run(reminder, now=at + 9 * MINUTE).envelopes
