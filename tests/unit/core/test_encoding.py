"""What leaves a process comes back the same, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.core import encoding
from lib.core.enums import Decision, JobFrequency, MessageKind, Status
from lib.core.jobs import FailureRule, Job, JobKey, Policy
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.results import CheckResult, JobReport
from lib.storage.codec import packed, unpacked

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: Whatever a job may call itself: emoji, line ends, halves of surrogate pairs.
texts = st.text(st.characters(exclude_categories=()), max_size=20).map(
    # Two halves that meet are one character in JSON.
    lambda text: json.loads(json.dumps(text))
)
moments = st.datetimes(
    min_value=datetime(1970, 1, 2),
    max_value=datetime(9998, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11, minutes=30))]),
)
numbers = st.integers(min_value=0, max_value=2**53 - 1)
conditions = st.sampled_from(Status)
memories = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts | st.floats(allow_nan=False),
        lambda parts: st.lists(parts, max_size=3)
        | st.dictionaries(texts, parts, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
).filter(lambda memory: "Infinity" not in json.dumps(memory))
messages = st.builds(
    Message,
    message_id=texts,
    kind=st.sampled_from(MessageKind),
    subject=texts,
    body=texts,
    to=st.lists(texts, max_size=3).map(tuple),
    born_at=moments,
    thread=st.none() | texts,
    attempts=numbers,
    retry_at=st.none() | moments,
    last_error=texts,
    reason=texts,
)
keys = st.builds(JobKey, texts.map(lambda text: text.replace("/", "") or "X"), texts)
records = st.builds(
    Record,
    key=keys,
    name=texts,
    status=conditions,
    failures=numbers,
    failing_since=st.none() | moments,
    notified_at=st.none() | moments,
    notified=st.lists(texts, max_size=3).map(tuple),
    notified_status=st.none() | conditions,
    thread=st.none() | texts,
    last_reason=texts,
    pending_since=st.none() | moments,
    memory=memories,
    queued=st.lists(messages, max_size=3).map(tuple),
    unseen_since=st.none() | moments,
)


@pytest.mark.long
@given(record=records)
def test_a_record_comes_back_from_its_file_the_same(record):
    body, has_sum = unpacked(packed(record))
    assert has_sum
    assert encoding.convert(body, Record) == record


@given(message=messages)
def test_a_report_comes_back_from_a_pipe_the_same(message):
    job = Job(
        JobKey("K", "k"),
        "n",
        "f.py",
        JobFrequency.HOUR,
        Policy(failures=FailureRule(3)),
        ("a@b.c",),
    )
    report = JobReport(
        job,
        CheckResult(Status.UNKNOWN, "why", seconds=0.5, ask_again=True),
        Decision.NOT_YET,
        (message,),
        memory={"seen": [1, 2.5, None]},
    )
    assert (
        encoding.convert(encoding.decode(encoding.encode(report)), JobReport) == report
    )


def test_what_has_its_default_is_not_written():
    assert encoding.plain(Record(JobKey("K", "k"), failures=1)) == {
        "key": ["K", "k"],
        "failures": 1,
    }


def test_what_is_no_value_of_ours_is_written_as_text():
    assert encoding.plain({1: Path("/x")}) == {"1": "/x"}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("key", 5),
        ("key", "disk full"),
        ("key", "/disk full"),
        ("name", None),
        ("status", "well"),
        ("status", ["fine"]),
        ("failures", -1),
        pytest.param("failures", 10**400, id="failures-huge"),
        ("failures", True),
        ("failures", 1.0),
        ("failures", "1"),
        ("pending_since", 1),
        ("notified_at", 12),
        ("notified_at", "yesterday"),
        ("notified_at", "2026-03-01T12:00:00"),
        ("notified_at", "0001-01-01T00:00:00+14:00"),
        ("notified_at", "9999-12-31T23:59:59-14:00"),
        ("told", "ops@example.com"),
        ("told", [1]),
        ("memory", []),
        ("queued", {}),
        ("queued", ["x"]),
        ("queued", [{"kind": "note"}]),
        ("surprise", 1),
    ],
)
def test_a_wrong_type_is_refused_and_named(member, value, approved):
    with pytest.raises(ValueError) as error:
        encoding.convert({"key": ["K", "k"], member: value}, Record)
    approved(str(error.value))


@pytest.mark.parametrize("body", [None, [], "text", 5, True])
def test_what_is_no_object_is_no_record(body, approved):
    with pytest.raises(ValueError) as caught:
        encoding.convert(body, Record)
    approved(str(caught.value))


@pytest.mark.parametrize(
    "seconds", [pytest.param(10**400, id="huge"), -(2**53), True, "1", float("inf")]
)
def test_a_number_without_bounds_is_refused(seconds, approved):
    with pytest.raises(ValueError) as caught:
        encoding.convert({"status": "fine", "seconds": seconds}, CheckResult)
    approved(str(caught.value))


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "[1e999]", "{", "", "[" * 100_000]
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError):
        encoding.decode(text.encode())


@pytest.mark.long
def test_what_json_cannot_hold_is_refused():
    deep: list[object] = []
    for _level in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError):
        encoding.encode(deep)


def nested(levels: int) -> dict[str, object]:
    memory: dict[str, object] = {}
    for _level in range(levels - 1):
        memory = {"in": memory}
    return memory


def test_memory_is_given_back_as_json_would():
    assert encoding.plain_memory({1: (2, "ü"), "x": None}) == {"1": [2, "ü"], "x": None}


def test_memory_may_be_as_deep_as_a_record_takes_it():
    memory = encoding.plain_memory(nested(encoding.MAX_DEPTH))
    record = Record(JobKey("K", "k"), memory=memory)
    assert encoding.convert(encoding.plain(record), Record) == record


@pytest.mark.parametrize(
    "memory",
    [
        [],
        {"at": NOON},
        {"x": float("nan")},
        nested(encoding.MAX_DEPTH + 1),
        nested(100_000),
        {"x": "y" * encoding.MAX_MEMORY},
    ],
    ids=["list", "object", "nan", "deep", "very-deep", "large"],
)
def test_memory_that_cannot_be_kept_is_refused(memory, approved):
    with pytest.raises((TypeError, ValueError)) as caught:
        encoding.plain_memory(memory)
    # Newer Pythons name the value.
    approved(str(caught.value), hide={"compliant: .*": "compliant"})


def test_a_record_whose_memory_is_too_deep_is_refused(approved):
    body = {"key": ["K", "k"], "memory": nested(encoding.MAX_DEPTH + 1)}
    with pytest.raises(ValueError) as caught:
        encoding.convert(body, Record)
    approved(str(caught.value))
    approved(str(caught.value))


def test_times_of_last_runs_are_kept_as_text():
    facts = RunRecord(last_runs={"minute": NOON.isoformat()}, records=("a-1",))
    assert encoding.convert(encoding.plain(facts), RunRecord) == facts
