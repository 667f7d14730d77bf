"""What follows for a group from its members, also by trying all that may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.core.dependencies import Dependencies, DependencyError
from lib.core.enums import Decision, Status
from lib.core.groups import Member, found, status_of
from lib.core.jobs import Dependency, Job, JobKey, Rule

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
OK, WARNING, FAILING = Status.OK, Status.WARNING, Status.FAILING
UNKNOWN, PENDING = Status.UNKNOWN, Status.PENDING
WAYS = (None, None, Decision.UNREACHABLE, Decision.BLIND)


def of(*statuses, need=0):
    members = [Member(f"m {n}", status) for n, status in enumerate(statuses)]
    return status_of(Rule(need=need), members)[0]


@pytest.mark.parametrize(
    ("statuses", "need", "expected"),
    [
        ((OK, OK), 0, OK),
        ((OK, FAILING), 0, FAILING),
        ((OK, FAILING), 1, OK),
        ((FAILING, FAILING), 1, FAILING),
        ((OK, WARNING), 0, WARNING),
        ((OK, WARNING), 1, OK),
        ((OK, UNKNOWN), 0, UNKNOWN),
        ((FAILING, UNKNOWN), 0, FAILING),
        ((OK, PENDING), 0, PENDING),
        ((UNKNOWN, PENDING), 0, UNKNOWN),
        ((UNKNOWN, PENDING), 1, PENDING),
        ((), 1, UNKNOWN),
    ],
)
def test_a_group_is_what_its_members_leave_no_doubt_of(statuses, need, expected):
    assert of(*statuses, need=need) is expected


MEMBERS = st.lists(
    st.builds(
        lambda status, way: Member("m", FAILING if way else status, way=way),
        st.sampled_from([OK, WARNING, FAILING, UNKNOWN, PENDING]),
        st.sampled_from(WAYS),
    ),
    min_size=1,
    max_size=6,
)


def enough_whatever_is_true(members, need):
    """Return whether enough are OK in each case that may be: True, False, or None."""
    choices = []
    for member in members:
        if member.way or member.status in (UNKNOWN, PENDING):
            choices.append((True, False))
        else:
            choices.append((member.status is not FAILING,))
    answers = {sum(case) >= need for case in product(*choices)}
    return answers.pop() if len(answers) == 1 else None


@given(MEMBERS, st.integers(0, 7))
def test_it_is_ok_or_failing_only_if_it_is_so_in_every_case(members, need):
    status, way = status_of(Rule(need=need), members)
    truth = enough_whatever_is_true(members, need or len(members))
    assert (status in (OK, WARNING)) is (truth is True)
    assert (status is FAILING) is (truth is False)
    assert way is None or (status is UNKNOWN and any(each.way for each in members))


def test_what_is_unreachable_is_why_nothing_is_known():
    behind = Member("m", FAILING, way=Decision.UNREACHABLE)
    assert status_of(Rule(), [behind]) == (UNKNOWN, Decision.UNREACHABLE)
    blind = Member("m", UNKNOWN, way=Decision.BLIND)
    assert status_of(Rule(need=0), [behind, blind])[1] is Decision.BLIND
    # It would be failing with the other as it is.
    assert status_of(Rule(), [behind, Member("n", FAILING)]) == (FAILING, None)


def test_the_reason_names_the_worst_first_with_age_and_cause():
    members = [
        Member("http a", OK),
        Member("http b", PENDING),
        Member("http c", FAILING, NOON - timedelta(hours=2), held="muted", reason="no"),
        Member("http d", UNKNOWN, way=Decision.UNREACHABLE),
    ]
    assert found(Rule(need=3), members, NOON, disabled=1).reason == (
        "1 of 4 is OK, need = 3, 1 more disabled: http c is failing (2 hours ago), "
        "muted, http b is not checked yet, http d is unreachable\nhttp c: no"
    )


def test_the_reason_of_one_that_is_ok_says_how_old_that_is():
    members = [Member("a", OK), Member("b", OK, NOON - timedelta(hours=5))]
    assert found(Rule(), members, NOON).reason == (
        "2 of 2 are OK, need = all; the oldest result is 5 hours old"
    )


def test_inverted_it_is_ok_while_it_would_be_failing():
    rule = Rule(is_inverted=True)
    assert found(rule, [Member("a", FAILING)], NOON).status is OK
    turned = found(rule, [Member("a", OK)], NOON)
    assert turned.status is FAILING
    assert turned.reason.startswith("invert = yes asks that it fails, and 1 of 1 is OK")
    assert found(rule, [Member("a", UNKNOWN)], NOON).status is UNKNOWN


# Who is a member.


def known(groups, **depends):
    jobs = {}
    names = ["http a", "http b", "http web/1", "http web/2", "disk a", *groups]
    for name in names:
        tags = ("db",) if name == "disk a" else ()
        parents = tuple(map(Dependency, depends.get(name.replace(" ", "_"), ())))
        jobs[key(name)] = Job(
            key(name), name, "x", "minute", tags=tags, depends=parents,
            rule=groups.get(name),
        )  # fmt: skip
    return Dependencies(jobs)


def key(name):
    return JobKey("Kind", name)


def names_of(jobs, name):
    return [member.identity for member in jobs.members(key(name))]


def test_names_patterns_tags_and_sections_with_hosts_are_members_once():
    rule = Rule(("http ?", "http a", "http web"), ("db",))
    jobs = known({"group x": rule})
    jobs.check(key("group x"))
    found_now = ["http a", "http b", "http web/1", "http web/2", "disk a"]
    assert names_of(jobs, "group x") == found_now


def test_a_pattern_means_no_group_and_a_name_does():
    jobs = known({"group x": Rule(("*",)), "group y": Rule(("x", "group z", "*"))})
    assert not [name for name in names_of(jobs, "group x") if "group" in name]
    assert names_of(jobs, "group y")[0] == "group x"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(("http c",)), "there is no job 'http c'"),
        (Rule(("tls *",)), "no job matches 'tls *'"),
        (Rule(("a",)), "'a' may be each of disk a, http a; give the kind too"),
        (Rule((), ("web",)), "no job has the tag web"),
        (Rule(("http a",), need=2), "need = 2 can never be, as it has 1 member"),
    ],
)
def test_what_is_not_there_is_a_line(rule, words):
    with pytest.raises(DependencyError) as caught:
        known({"group x": rule}).check(key("group x"))
    assert words in str(caught.value)
    assert caught.value.option == "of"


def test_a_loop_of_groups_is_a_line_and_one_through_depends_too():
    jobs = known({"group x": Rule(("group y",)), "group y": Rule(("group x",))})
    with pytest.raises(DependencyError, match="group x -> group y -> group x") as it:
        jobs.check(key("group x"))
    assert it.value.option == "of"
    jobs = known({"group x": Rule(("http a",))}, http_a=["group x"])
    with pytest.raises(DependencyError, match="http a -> group x -> http a") as it:
        jobs.check(key("http a"))
    assert it.value.option == "depends"
    jobs.check(key("http b"))
