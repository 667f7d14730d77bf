"""What the options that are about Checker itself may say."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from lib.config import fields, options


@pytest.mark.parametrize(
    ("read", "value", "found"),
    [
        (options.server_name, "München 1", "München 1"),
        (options.many, " a, b ,,c ", ("a", "b", "c")),
        (options.command, "gpg -d 'my file'", ("gpg", "-d", "my file")),
        (options.endpoint, "127.0.0.1:5000", ("127.0.0.1", 5000)),
        (options.endpoint, "[::1]:5000", ("::1", 5000)),
        (fields.absolute_path, "/var/www/checker.txt", "/var/www/checker.txt"),
        (options.clock, "8:00", "08:00"),
        (options.clock, "23:59", "23:59"),
        (options.weekly_clock, "Mon 8:00", ("mon", "08:00")),
        (options.time_zone, "Europe/Berlin", ZoneInfo("Europe/Berlin")),
        (options.time_zone, "UTC", ZoneInfo("UTC")),
    ],
)
def test_what_is_understood(read, value, found):
    assert read(value) == found


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (options.server_name, ""),
        (options.server_name, "a\x1b[31m"),
        (options.server_name, "a\u2028b"),
        (options.server_name, "a" * 101),
        (options.plain, "a\nb"),
        (options.command, "'"),
        (options.command, "''" * 0),
        (options.endpoint, "5000"),
        (options.endpoint, "::1:5000"),
        (options.endpoint, ":5000"),
        (options.endpoint, "localhost:0"),
        (fields.absolute_path, "checker.txt"),
        (options.clock, "24:00"),
        (options.clock, "8"),
        (options.clock, "٠٨:٠٠"),
        (options.weekly_clock, "monday 08:00"),
        (options.weekly_clock, "mon"),
        (options.time_zone, "CEST"),
        (options.time_zone, "Europe"),
        (options.time_zone, "/usr/share/zoneinfo/Europe/Berlin"),
        (options.time_zone, "../../../etc/passwd"),
        (options.time_zone, "tzdata.zi"),
        (options.time_zone, "Europe/Berlin\0"),
        (options.time_zone, "Zürich"),
        (options.time_zone, "x" * 300),
    ],
)
def test_what_is_refused(read, value):
    with pytest.raises(ValueError, match="expected"):
        read(value)


@pytest.mark.parametrize(
    "table",
    [*options.SECTIONS.values(), *options.NAMED_SECTIONS.values()],
    ids=[*options.SECTIONS, *options.NAMED_SECTIONS],
)
def test_a_default_is_shown_as_the_settings_may_have_it(table):
    for name, option in table.items():
        if option.default is options.REQUIRED:
            continue
        if words := options.written(option.default, option.unit):
            assert (name, option.read(words)) == (name, option.default)
