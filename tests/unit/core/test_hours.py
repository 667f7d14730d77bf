"""``when``: in which hours messages may leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lib.core import hours
from lib.core.enums import MessageKind
from lib.core.hours import Windows
from lib.core.messages import Message

BERLIN = ZoneInfo("Europe/Berlin")
#: A Monday.
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def at(day, clock):
    hour, minute = map(int, clock.split(":"))
    return MONDAY + timedelta(days=DAYS.index(day), hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("mon-fri 08:00-20:00", "mon-fri 08:00-20:00"),
        ("Mon - Fri  8:00 - 20:00", "mon-fri 8:00-20:00"),
        ("always", ""),
        ("Always", ""),
    ],
)
def test_a_window_is_kept_as_it_is_given(given, kept):
    assert hours.read(given) == kept


@pytest.mark.parametrize(
    ("text", "is_open", "is_closed"),
    [
        ("08:00-20:00", ["mon 08:00", "sun 19:59"], ["mon 07:59", "sun 20:00"]),
        ("mon-fri 08:00-20:00", ["fri 19:59"], ["sat 12:00", "sun 12:00"]),
        ("mon, wed 08:00-09:00", ["mon 08:30", "wed 08:30"], ["tue 08:30"]),
        ("mon wed 08:00-09:00", ["mon 08:30", "wed 08:30"], ["tue 08:30"]),
        (
            "mon-fri 08:00-12:00, 13:00-17:00",
            ["mon 11:59", "fri 13:00"],
            ["mon 12:30", "sat 13:30"],
        ),
        (
            "mon-fri 08:00-20:00, sat 10:00-14:00",
            ["mon 19:00", "sat 10:00"],
            ["sat 14:00", "sat 09:00", "sun 11:00"],
        ),
        (
            "fri 22:00-06:00",
            ["fri 22:00", "sat 00:00", "sat 05:59"],
            ["fri 05:00", "sat 06:00", "sat 22:00"],
        ),
        ("22:00-06:00", ["mon 23:00", "mon 05:00"], ["mon 06:00", "mon 21:59"]),
        ("sun 22:00-06:00", ["sun 23:00", "mon 05:59"], ["mon 06:00", "mon 22:00"]),
        ("fri-mon 00:00-24:00", ["fri 00:00", "mon 23:59"], ["tue 00:00", "thu 23:59"]),
        ("sat, sun", ["sat 00:00", "sun 23:59"], ["fri 23:59", "mon 00:00"]),
        ("sat 10:00-12:00, sun", ["sat 11:00", "sun 03:00"], ["sat 13:00"]),
        ("sat-sun 00:00-24:00", ["sat 23:59", "sun 00:00"], []),
        ("00:00-24:00", ["mon 00:00", "sun 23:59"], []),
    ],
)
def test_when_it_is_open(text, is_open, is_closed):
    assert hours.read(text) == text
    for words in is_open:
        assert hours.opens_at((text,), at(*words.split()), UTC) is None, words
    for words in is_closed:
        assert hours.opens_at((text,), at(*words.split()), UTC), words


@pytest.mark.parametrize(
    ("texts", "now", "opens"),
    [
        (("mon-fri 08:00-20:00",), "fri 20:00", at("sun", "08:00") + timedelta(days=1)),
        (("mon-fri 08:00-20:00",), "tue 20:00", at("wed", "08:00")),
        (("mon-fri 08:00-20:00",), "tue 07:00", at("tue", "08:00")),
        (("sun 03:00-03:01",), "mon 00:00", at("sun", "03:00")),
        (("mon-fri 08:00-20:00", "12:00-24:00"), "tue 07:00", at("tue", "12:00")),
        (("mon-fri 08:00-20:00", "12:00-24:00"), "tue 21:00", at("wed", "12:00")),
        # Never both: the first, that of the channel, counts.
        (("mon 08:00-09:00", "tue 08:00-09:00"), "mon 07:00", at("mon", "08:00")),
    ],
)
def test_when_it_opens_next(texts, now, opens):
    assert hours.opens_at(texts, at(*now.split()), UTC) == opens


def test_ranges_that_touch_are_one():
    everything = (
        "mon-fri 08:00-20:00, 20:00-08:00, sat-sun 00:00-24:00, mon 0:00-8:00",
    )
    now = at("mon", "12:00")
    assert hours.opened_at(everything, now, UTC) < now - timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "night", "open_in_utc"),
    [
        # Forward: 02:00 is 03:00, at 01:00 UTC.
        ("02:00-03:00", "2026-03-29", ("01:00", "02:00")),
        ("02:30-03:00", "2026-03-29", ("01:30", "02:00")),
        ("01:00-03:30", "2026-03-29", ("00:00", "01:30")),
        ("22:00-06:00", "2026-03-28", ("21:00", "04:00")),
        # Back: 03:00 is 02:00 again, at 01:00 UTC.
        ("02:00-03:00", "2026-10-25", ("00:00", "02:00")),
        ("02:00-02:30", "2026-10-25", ("00:00", "00:30")),
        ("02:30-04:00", "2026-10-25", ("00:30", "03:00")),
        ("22:00-06:00", "2026-10-24", ("20:00", "05:00")),
    ],
)
def test_it_is_there_once_in_each_night_in_which_clocks_change(
    text, night, open_in_utc
):
    day = datetime.fromisoformat(f"{night}T00:00+00:00")
    begin = day - timedelta(hours=12) if "22:00" not in text else day
    minutes = [begin + timedelta(minutes=number) for number in range(36 * 60)]
    opened = [
        now
        for before, now in zip(minutes, minutes[1:], strict=False)
        if hours.opens_at((text,), before, BERLIN) and not is_closed(text, now)
    ]
    closed = [
        now
        for before, now in zip(minutes, minutes[1:], strict=False)
        if is_closed(text, now) and not is_closed(text, before)
    ]
    # Of the day before or after there may be one more, at its ordinary time.
    (first,) = [one for one in opened if f"{one:%H:%M}" == open_in_utc[0]][:1]
    assert (
        next(one for one in closed if one > first).strftime("%H:%M") == open_in_utc[1]
    )
    same_night = [one for one in opened if abs(one - first) < timedelta(hours=12)]
    assert same_night == [first]


def is_closed(text, now):
    return hours.opens_at((text,), now, BERLIN) is not None


def test_the_zone_is_that_of_the_settings():
    now = datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
    assert hours.opens_at(("08:00-20:00",), now, BERLIN) is None
    assert hours.opens_at(("08:00-20:00",), now, UTC) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "mon-fry 08:00-20:00",
        "08:00",
        "8-20",
        "25:00-26:00",
        "08:60-09:00",
        "24:00-08:00",
        "20:00-24:01",
        "20:00-20:00",
        "mon-fri 08:00-20:00 sat",
        "mon-fri 08:00-20:00,",
        "mon--fri 08:00-20:00",
        "mon-fri-sat 08:00-20:00",
        "never",
        "08:00-12:00-14:00",
        "mon-fri 08:00-20:00 13:00-14:00",
    ],
)
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ValueError, match="expected|no day|no length|no day has"):
        hours.read(text)


# Messages.

WINDOWS = Windows({"oncall": "mon-fri 08:00-20:00", "": "06:00-22:00"}, UTC)


def message(to, born="mon 21:00", **more):
    more = {"kind": MessageKind.ALERT, **more}
    kind = more.pop("kind")
    return Message("a", kind, "s", "b", (to,), at(*born.split()), **more)


@pytest.mark.parametrize(
    ("to", "more", "texts"),
    [
        ("oncall", {}, ("mon-fri 08:00-20:00",)),
        ("oncall/ntfy", {}, ("mon-fri 08:00-20:00",)),
        ("other", {}, ()),
        ("other", {"when": "12:00-13:00"}, ("12:00-13:00",)),
        ("oncall", {"when": "12:00-13:00"}, ("mon-fri 08:00-20:00", "12:00-13:00")),
        ("a@b.c", {}, ("06:00-22:00",)),
        ("a@b.c", {"kind": MessageKind.ROUND_TRIP, "when": "12:00-13:00"}, ()),
    ],
)
def test_which_windows_hold_for_a_message(to, more, texts):
    assert WINDOWS.texts(message(to, **more)) == texts


@pytest.mark.parametrize(
    ("born", "now", "waits_until", "due_at"),
    [
        ("mon 21:00", "mon 22:00", "tue 08:00", "tue 08:00"),
        ("mon 21:00", "tue 08:00", None, "tue 08:00"),
        ("mon 19:00", "mon 19:10", None, "mon 19:00"),
        ("mon 19:59", "mon 20:30", "tue 08:00", "tue 08:00"),
        ("mon 19:59", "tue 09:00", None, "tue 08:00"),
    ],
)
def test_since_when_a_message_may_leave(born, now, waits_until, due_at):
    one, now = message("oncall", born), at(*now.split())
    until = at(*waits_until.split()) if waits_until else None
    assert WINDOWS.opens_at(one, now) == until
    assert WINDOWS.due_at(one, now) == at(*due_at.split())
    assert WINDOWS.has_waited(one, now) == (born != due_at)
