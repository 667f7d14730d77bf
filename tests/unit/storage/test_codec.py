"""A damaged text never passes for a whole one, nor an edited one for a damaged one."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record
from lib.storage.codec import packed, packed_tightly, read_value, value_in
from lib.system.errors import StateError
from lib.system.files import Damaged

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALERT = Message("ab12", MessageKind.ALERT, "it fails", "why\n", ("a@b.c",), NOON)
FAILING = Record(
    JobKey("Web", "http höme 🏠"),
    "http höme 🏠",
    Status.FAILING,
    failures=7,
    failing_since=NOON,
    memory={"last": 1.5, "seen": ["a"]},
    queued=(ALERT,),
)
TEXT = packed(FAILING)


def read(content: bytes) -> Record | None:
    """Return the record in a text; None if the text is damaged."""
    try:
        return value_in(content, Record)[0]
    except (Damaged, ValueError):
        return None


def edited(**changes: object) -> bytes:
    body = json.loads(TEXT)
    body.update(changes)
    return json.dumps(body).encode()


def test_a_person_can_read_it():
    lines = TEXT.decode("utf-8").splitlines()
    assert lines[:4] == [
        "{",
        ' "format": 1,',
        ' "key": [',
        '  "Web",',
    ]
    assert lines[-2].startswith(' "sum": "')


def test_a_name_that_is_not_unicode_still_makes_a_text_in_utf_8():
    record = Record(JobKey.of_refused_file(Path("/tmp/\udcff.py")), failures=1)
    assert b'"/tmp/\\udcff.py"' in packed(record)
    assert read(packed(record)) == record


def test_cut_at_any_byte_it_is_damaged():
    whole = [length for length in range(len(TEXT)) if read(TEXT[:length]) is not None]
    # The last byte is the end of the line.
    assert whole == [len(TEXT) - 1]


def test_whatever_bit_flips_it_is_damaged_or_says_the_same():
    for position in range(len(TEXT)):
        for bit in range(8):
            flipped = bytearray(TEXT)
            flipped[position] ^= 1 << bit
            assert read(bytes(flipped)) in (None, FAILING), (position, bit)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(len(TEXT)),
        bytes(range(256)),
        b"[" * 100_000,
        b'{"format": 1, "memory": ' + b'{"x":' * 500 + b"1" + b"}" * 501,
        b"[1, 2]",
        b"null",
        b"{}",
        b'{"format": "1"}',
        b'{"format": true}',
        b'{"format": 0}',
        b'{"format": 1, "sum": 5}',
        edited(failures=0),
        edited(format=2),
        TEXT[:40] + bytes(8) + TEXT[48:],
    ],
)
def test_what_is_no_text_of_ours_says_how_it_shows(tmp_path, content, approved):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(Damaged) as caught:
        read_value(path, Record)
    approved(str(caught.value))


def test_a_text_laid_out_anew_says_the_same():
    assert read(json.dumps(json.loads(TEXT), sort_keys=True).encode()) == FAILING
    assert read(packed_tightly(FAILING)) == FAILING
    with_a_default = TEXT.replace(b' "key"', b' "unseen_since": null,\n "key"')
    assert read(with_a_default) == FAILING


def test_an_edited_text_without_its_sum_is_taken_with_a_warning(
    tmp_path, caplog, approved
):
    body = json.loads(edited(failures=0))
    del body["sum"]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(body))
    with caplog.at_level(logging.WARNING):
        assert read_value(path, Record).failures == 0
    approved(caplog.messages)


def test_a_text_of_a_newer_checker_is_left_alone_and_named(tmp_path, approved):
    path = tmp_path / "x.json"
    path.write_text('{"format": 2, "key": "k", "newer": 1}')
    with pytest.raises(StateError) as error:
        read_value(path, Record)
    approved(str(error.value))


def test_a_limit_of_our_own_is_not_the_files_fault(tmp_path, approved):
    import resource

    path = tmp_path / "x.json"
    path.write_bytes(TEXT)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StateError) as caught:
            read_value(path, Record)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    approved(str(caught.value))
    assert read_value(path, Record) == FAILING
