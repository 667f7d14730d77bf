"""What depends on what: names, loops, and how a parent counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.config.fields import depends
from lib.core import policy
from lib.core.dependencies import (
    Dependencies,
    DependencyError,
    Parent,
    UnknownName,
    out_of_reach,
)
from lib.core.enums import Decision, Status
from lib.core.jobs import (
    CatalogEntry,
    Dependency,
    FailureRule,
    Job,
    JobKey,
    Policy,
    Rule,
)
from lib.core.records import Record
from lib.core.results import CheckResult, JobReport

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def known(**jobs):
    """Return jobs, given as ``gw=""`` or ``web="gw, router (warning)"``."""
    found = {}
    for name, words in jobs.items():
        title = name.replace("_", " ")
        key = JobKey("Kind", title)
        found[key] = Job(key, title, "/Kind.py", "minute", depends=depends(words))
    return Dependencies(found)


def key(name):
    return JobKey("Kind", name)


# Names.


def test_a_list_of_names_is_read_with_what_counts():
    assert depends("ping gw, tls x (warning) ,") == (
        Dependency("ping gw"),
        Dependency("tls x", on_warning=True),
    )
    assert [str(each) for each in depends("a, b (warning)")] == ["a", "b (warning)"]
    with pytest.raises(ValueError, match="expected names of jobs"):
        depends("a, (warning)")
    with pytest.raises(ValueError, match="at most 20"):
        depends(",".join("x" * (n + 1) for n in range(21)))


def test_a_name_may_be_the_one_that_a_job_had_before():
    """As those that depend on it still say; what has the name now comes first."""
    jobs = [
        Job(key("ping gateway"), "ping gateway", "/Kind.py", "minute", was="ping gw"),
        Job(key("ping new"), "ping new", "/Kind.py", "minute", was="ping web"),
        Job(key("ping web"), "ping web", "/Kind.py", "minute"),
        Job(
            key("http a"),
            "http a",
            "/Kind.py",
            "minute",
            depends=depends("ping gw, gw, web, ping web"),
        ),
        Job(key("http b"), "http b", "/Kind.py", "minute", depends=depends("none")),
    ]
    known = Dependencies({job.key: job for job in jobs})
    known.check(key("http a"))
    assert [parent.identity for parent, _ in known.parents(key("http a"))] == [
        *["ping gateway"] * 2,
        *["ping web"] * 2,
    ]
    with pytest.raises(UnknownName):
        known.check(key("http b"))


@pytest.mark.parametrize("words", ["ping up", "up"])
def test_a_section_with_hosts_is_no_job_and_each_of_its_hosts_is_one(words):
    jobs = [
        Job(key(f"ping up/{host}"), f"ping up/{host}", "/Kind.py", "minute")
        for host in ("a", "b")
    ]
    child = Job(key("web"), "http web", "/Kind.py", "minute", depends=depends(words))
    known = Dependencies({job.key: job for job in [*jobs, child]})
    with pytest.raises(UnknownName) as caught:
        known.check(child.key)
    assert caught.value.with_hint(lambda name: "; did you mean 'http web'?") == (
        "'ping up' has hosts: name one of its jobs, such as 'ping up/a', or a "
        "[group NAME] with of = ping up"
    )


def test_a_name_may_lack_its_kind():
    jobs = known(ping_gw="", http_web="gw", http_shop="ping gw")
    assert [parent for parent, _ in jobs.parents(key("http web"))] == [key("ping gw")]
    assert [parent for parent, _ in jobs.parents(key("http shop"))] == [key("ping gw")]


def test_a_name_that_two_jobs_share_needs_its_kind():
    jobs = known(ping_gw="", tcp_gw="", http_web="gw")
    with pytest.raises(DependencyError, match="each of ping gw, tcp gw; give the kind"):
        jobs.check(key("http web"))


def test_a_name_of_no_job_is_an_error_with_the_nearest():
    jobs = known(ping_gw="", http_web="ping gx")
    with pytest.raises(UnknownName) as caught:
        jobs.check(key("http web"))
    assert caught.value.with_hint(lambda name: "") == (
        "there is no job 'ping gx'; see -m list"
    )


def test_for_a_host_of_a_section_that_is_wrong_stands_its_job():
    wrong, web, group = key("tcp gw"), key("tcp web"), key("group g")
    rule = Rule(("tcp gw/*", "tcp gw/b"), need=1)
    jobs = Dependencies(
        {
            wrong: Job.stand_in(wrong, "tcp gw", "/Kind.py", ()),
            web: Job(
                web, "tcp web", "/Kind.py", "minute", depends=depends("gw/a, tcp gw/b")
            ),
            group: Job(group, "group g", "/Kind.py", "minute", rule=rule),
        }
    )
    assert [parent for parent, _how in jobs.parents(web)] == [wrong, wrong]
    assert jobs.members(group) == (wrong,)
    jobs.check(group)
    entries = {
        wrong: CatalogEntry("tcp gw", "/Kind.py", "minute"),
        web: CatalogEntry("tcp web", "/Kind.py", "minute", depends=depends("gw/a")),
    }
    with pytest.raises(UnknownName):
        Dependencies(entries).check(web)


def test_a_loop_is_an_error_of_each_job_in_it_and_of_no_other():
    jobs = known(a="b", b="c", c="a", d="a")
    for name in "abc":
        with pytest.raises(DependencyError, match="it depends on itself: . -> . -> "):
            jobs.check(key(name))
    jobs.check(key("d"))


def test_a_job_that_is_named_for_all_does_not_depend_on_itself():
    jobs = known(gw="gw", web="gw")
    jobs.check(key("gw"))
    assert list(jobs.parents(key("gw"))) == []
    assert jobs.dependents(key("gw")) == 1


def never(_key):
    """Say that nothing is known of a job: it is not OK, nor when it was."""


def test_what_a_job_depends_on_is_known_with_what_that_depends_on():
    jobs = known(gw="", web="gw", shop="web, gw", app="shop", lost="nobody, web")
    assert jobs.ancestors(key("gw"), never) == []
    found = jobs.ancestors(key("app"), never)
    assert set(found) == {key("shop"), key("web"), key("gw")}
    assert jobs.ancestors(key("app"), lambda one: one == key("shop")) == [key("shop")]
    with pytest.raises(DependencyError):
        jobs.ancestors(key("lost"), never)


def test_the_jobs_behind_one_are_counted_once_each():
    jobs = known(gw="", a="gw", b="gw, a", c="b", other="")
    assert [jobs.dependents(key(name)) for name in ("gw", "a", "b", "c")] == [
        3,
        2,
        1,
        0,
    ]


# Parents.


@pytest.mark.parametrize(
    ("status", "on_warning", "holds"),
    [
        (Status.OK, True, False),
        (Status.WARNING, False, False),
        (Status.WARNING, True, True),
        (Status.FAILING, False, True),
        (Status.UNKNOWN, False, True),
    ],
)
def test_a_parent_counts_while_it_is_failing(status, on_warning, holds):
    assert Parent("gw", status).holds(Dependency("gw", on_warning)) is holds


def test_a_parent_is_named_with_its_age_and_why_nobody_hears_of_it():
    assert Parent("gw", Status.FAILING).words(NOON) == "gw is failing"
    old = Parent("gw", Status.UNKNOWN, NOON - 5 * MINUTE, "muted")
    assert old.words(NOON) == "gw is unknown (5 minutes ago), muted"


def test_what_is_out_of_reach_stays_so_while_its_parent_is_failing():
    jobs = known(gw="", web="gw")._jobs
    held = {
        key("web"): Record(key("web"), status=Status.FAILING, held=Decision.UNREACHABLE)
    }
    failing = {key("gw"): Record(key("gw"), status=Status.FAILING)}
    both = {**held, **failing}
    assert out_of_reach(both, jobs, never, is_blind=False) == {key("web")}
    assert out_of_reach(held, jobs, never, is_blind=False) == set()
    # Its section is gone, or names no parent any more.
    assert out_of_reach(both, {}, never, is_blind=False) == set()
    blind = {key: replace(each, held=Decision.BLIND) for key, each in held.items()}
    assert out_of_reach(blind, jobs, never, is_blind=True) == {key("web")}
    assert out_of_reach(blind, jobs, never, is_blind=False) == set()


# Decisions.

JOB = Job(
    key("web"), "web", "/Kind.py", "minute", Policy(), contact=("ops@example.com",)
)


def story(runs):
    """Return the decisions about runs: U is a failure out of reach, F one that is not,
    S a success."""
    record, codes = Record(JOB.key), []
    for number, letter in enumerate(runs):
        now = NOON + number * MINUTE
        result = CheckResult(
            Status.OK if letter == "S" else Status.FAILING, "no answer"
        )
        decision = policy.decide(record, result, JOB.policy, now)
        if letter == "U":
            decision = policy.out_of_reach(decision, Decision.UNREACHABLE)
        report = JobReport(JOB, result, decision, held_by="gw is failing")
        record = policy.advance(record, report, now)
        codes.append(str(decision))
        assert bool(record.held_by) is (letter == "U")
    return " ".join(codes)


def test_what_still_fails_when_it_can_be_reached_is_a_first_alert():
    assert story("UUF") == "unreachable unreachable first_alert"


def test_what_flaps_and_still_fails_when_it_can_be_reached_is_one_too():
    codes = story("FSFSFSUFS").split()
    assert codes[5:] == ["first_alert", "unreachable", "first_alert", "flapping"]


def test_what_is_ok_when_it_can_be_reached_was_never_told():
    assert story("UUS") == "unreachable unreachable quiet_recovery"


def test_what_people_know_of_is_told_again_and_its_end_always():
    assert story("FUF") == "first_alert unreachable first_alert"
    assert story("FUS") == "first_alert unreachable recovery"


def test_below_the_failure_count_it_is_unreachable_too():
    slow = Policy(failures=replace(JOB.policy.failures, count=3))
    decision = policy.decide(Record(JOB.key), CheckResult(Status.FAILING), slow, NOON)
    assert decision is Decision.NOT_YET
    assert policy.out_of_reach(decision, Decision.BLIND) is Decision.BLIND


def test_time_in_which_it_was_not_judged_is_no_failure_whoever_knows_of_it():
    for asked in (Decision.MUTED, Decision.ACKNOWLEDGED):
        assert policy.out_of_reach(asked, Decision.BLIND) is Decision.BLIND
    window = Decision.MAINTENANCE
    assert policy.out_of_reach(window, Decision.UNREACHABLE) is window


def test_a_parent_that_is_ok_again_but_not_yet_for_long_enough_counts_as_ok():
    jobs = known(gw="", web="gw")
    failing = Record(key("gw"), status=Status.FAILING, failures=1, failing_since=NOON)
    assert jobs.has_failing(key("web"), {key("gw"): failing}, never)
    recovering = replace(failing, recovering=1)
    assert not jobs.has_failing(key("web"), {key("gw"): recovering}, never)


@pytest.mark.parametrize(
    ("more", "ok_at", "is_in_the_way"),
    [
        ({}, None, False),
        ({"enabled": False}, None, True),
        ({"schedule": "hour"}, None, True),
        ({"schedule": "hour"}, NOON - MINUTE, True),
        # That it fails has not kept the other one from being OK.
        ({"schedule": "hour"}, NOON, False),
    ],
)
def test_behind_a_parent_that_is_seldom_checked_its_own_is_in_the_way(
    more, ok_at, is_in_the_way
):
    found = {
        key(name): Job(key(name), name, "/Kind.py", "minute", depends=depends(words))
        for name, words in {"gw": "", "web": "gw", "shop": "web"}.items()
    }
    found[key("web")] = replace(found[key("web")], **more)
    failing = Record(key("gw"), status=Status.FAILING, failures=1, failing_since=NOON)
    jobs = Dependencies(found)
    records = {key("gw"): failing}
    assert jobs.has_failing(key("shop"), records, lambda _key: ok_at) is is_in_the_way
    assert not jobs.has_failing(key("shop"), {}, never)


def test_what_was_out_of_reach_counts_for_no_rule():
    rule = FailureRule(3, of=5)
    job = Job(key("web"), "web", "/Kind.py", "minute", Policy(failures=rule))
    record, now = Record(job.key), NOON
    ok, failing = CheckResult(Status.OK), CheckResult(Status.FAILING, "x")
    for _ in range(20):
        for result in (failing, ok):
            now += MINUTE
            decision = policy.decide(record, result, job.policy, now)
            if result is failing:
                decision = policy.out_of_reach(decision, Decision.UNREACHABLE)
            record = policy.advance(record, JobReport(job, result, decision), now)
    assert record.flapping_since is None
    assert len(record.changes) <= 1
    decision = policy.decide(record, failing, job.policy, now + MINUTE)
    assert decision is Decision.NOT_YET
