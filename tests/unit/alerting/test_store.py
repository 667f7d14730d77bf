"""What is remembered of sending, in real files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting import store
from lib.alerting.store import AlertStore
from lib.core import ratelimit
from lib.core.messages import Bundle
from lib.core.ratelimit import SendLog
from lib.storage.writer import Writer
from lib.system.errors import StateError
from tests.support.mailing import message

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BOOK = ratelimit.with_counted(SendLog(), ["a"], NOON)


def again(folder):
    return AlertStore(folder, NOON, Writer())


def test_a_new_folder_holds_nothing_and_is_left_so(tmp_path):
    bag = again(tmp_path)
    assert (bag.send_log, bag.bundles) == (SendLog(), {})
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_found_again(tmp_path):
    bag = again(tmp_path)
    bundle = Bundle(message(), ("m1", "m2"), NOON)
    bag.save_send_log(BOOK)
    bag.save_bundle(bundle)
    found = again(tmp_path)
    assert found.send_log == BOOK
    assert found.bundles == {bundle.message.message_id: bundle}
    found.drop_bundle(bundle.message.message_id)
    assert again(tmp_path).bundles == {}


def test_a_book_that_did_not_change_is_not_written(tmp_path):
    bag = again(tmp_path)
    bag.save_send_log(BOOK)
    before = (tmp_path / "outbox.json").stat().st_ino
    bag.save_send_log(replace(BOOK))
    assert (tmp_path / "outbox.json").stat().st_ino == before


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": 1, "counted": 7}'])
def test_what_is_damaged_is_put_aside_and_the_rest_goes_on(tmp_path, damage, caplog):
    bag = again(tmp_path)
    bag.save_send_log(BOOK)
    bundle = Bundle(message(), ("m1",))
    bag.save_bundle(bundle)
    (tmp_path / "outbox.json").write_bytes(damage)
    (tmp_path / "bundles" / "other.json").write_bytes(damage)
    found = again(tmp_path)
    assert found.send_log == SendLog()
    assert list(found.bundles) == [bundle.message.message_id]
    assert len(list((tmp_path / "quarantine").iterdir())) == 2
    assert "outbox.json" in caplog.text


def test_a_bundle_under_another_ones_name_is_no_bundle(tmp_path):
    bag = again(tmp_path)
    bag.save_bundle(Bundle(message(), ("m1",)))
    (file,) = (tmp_path / "bundles").iterdir()
    file.rename(file.with_name("b.json"))
    assert again(tmp_path).bundles == {}


def test_leftovers_and_strangers_are_no_bundles(tmp_path):
    folder = tmp_path / "bundles"
    folder.mkdir()
    (folder / ".a.json.0123abcd.tmp").write_text("half")
    (folder / "notes.txt").write_text("mine")
    assert again(tmp_path).bundles == {}
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_refused_mail_is_kept_once_with_the_reason(tmp_path):
    bag = again(tmp_path)
    for _ in range(2):
        bag.save_dead_letter(message(), {"gone@example.com": "550 no such user"}, NOON)
    (file,) = (tmp_path / "dead").iterdir()
    assert file.name.startswith("20261122T120000-")
    content = json.loads(file.read_text())
    assert content["why"] == {"gone@example.com": "550 no such user"}
    assert content["message"]["subject"] == message().subject


def dead_letters(folder):
    return sorted(path.name for path in (folder / "dead").iterdir())


def save_dead_letters(folder, born_at, count=5):
    bag = again(folder)
    for minute in range(count):
        letter = replace(message(), born_at=born_at[minute])
        bag.save_dead_letter(letter, {"x@example.com": "no"}, NOON)


MINUTES = [NOON + timedelta(minutes=minute) for minute in range(5)]


def test_the_oldest_of_very_many_dead_mails_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAX_DEAD", 3)
    save_dead_letters(tmp_path, MINUTES)
    found = [name[:15] for name in dead_letters(tmp_path)]
    assert found == [f"20261122T120{minute}00" for minute in (2, 3, 4)]


def test_a_bound_in_bytes_leaves_the_newest_dead_mail(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MAX_DEAD_BYTES", 1)
    # The newest is about a mail that is older than the others.
    save_dead_letters(tmp_path, [*MINUTES[1:], NOON])
    assert [name[:15] for name in dead_letters(tmp_path)] == ["20261122T120000"]


def test_what_cannot_be_written_is_an_error_for_people(tmp_path):
    bag = again(tmp_path)
    (tmp_path / "bundles").write_text("in the way")
    (tmp_path / "outbox.json").mkdir()
    with pytest.raises(StateError, match="bundles"):
        bag.save_bundle(Bundle(message(), ()))
    with pytest.raises(StateError, match="outbox.json"):
        bag.save_send_log(BOOK)
