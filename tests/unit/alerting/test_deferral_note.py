"""The note about deferred mail: kept only while it is true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from lib.alerting.bookkeeping import Bookkeeper
from lib.alerting.planning import Held
from lib.core.jobs import OWN_KEY, JobKey
from lib.core.ratelimit import TimedName
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession
from lib.storage.store import State
from tests.support.mailing import message, settings_for

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_note_that_has_not_left_before_there_is_room_again_is_dropped(tmp_path):
    settings = replace(settings_for(25), state=tmp_path)
    store = State(tmp_path)
    session = StoreSession(store, store.load(), (), NOON)
    audit_log = AuditLog(tmp_path, settings.secrets)
    books = Bookkeeper(settings, session, lambda: NOON, audit_log)
    counted = tuple(TimedName(str(number), NOON) for number in range(20))
    books.send_log = replace(books.send_log, counted=counted)
    held = [Held(JobKey("X", "x"), "x", message())]

    assert books.notify_deferred(held, NOON)
    assert not books.drop_deferral_note(NOON + timedelta(minutes=59))
    assert len(session.records[OWN_KEY].queued) == 1

    assert books.drop_deferral_note(NOON + timedelta(hours=1))
    assert OWN_KEY not in session.records
    # It is due again at once if more is deferred.
    assert books.notify_deferred(held, NOON + timedelta(hours=1, seconds=1))
