"""The settings as job authors see them: a ConfigParser like any other."""

from __future__ import annotations

import configparser
import tracemalloc

import pytest

from lib.config.ini import read_ini

TEXT = """\
[general]
servername = web1

[Mine]
Count = 3
share = 0.5
loud = yes
odd = 100%(x)s
"""


@pytest.fixture
def read(tmp_path):
    def ini(text):
        path = tmp_path / "settings.cfg"
        path.write_text(text)
        return read_ini(path).ini

    return ini


def test_a_section_gives_text_numbers_and_yes_or_no(read):
    section = read(TEXT).parser()["Mine"]
    assert section["COUNT"] == "3"
    assert section.getint("count") + section.getfloat("share") == 3.5
    assert section.getboolean("loud") is True
    assert section["odd"] == "100%(x)s"
    assert section.getint("none") is None
    assert section.getint("none", 7) == section.getint("none", fallback=7) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        section.getint("share")


def test_the_jobs_that_ship_see_no_targets(read):
    ini = read(TEXT + "[http a]\nurl = x\n[email backup]\nuser = y\n")
    assert ini.parser(with_targets=False).sections() == ["general", "Mine"]
    assert ini.parser().has_section("http a")
    assert ini.parser() is ini.parser()


def test_everything_else_is_as_in_any_other(read):
    config = read(TEXT).parser()
    standard = configparser.ConfigParser(interpolation=None)
    standard.read_string(TEXT)
    assert config == standard
    assert isinstance(config, configparser.ConfigParser)
    assert config.getint("Mine", "count") == 3
    assert [*config] == [*standard] == ["DEFAULT", "general", "Mine"]
    assert {name: dict(one) for name, one in config.items()} == {
        name: dict(one) for name, one in standard.items()
    }
    assert dict(config["DEFAULT"]) == {}
    with pytest.raises(KeyError):
        config["none"]


COUNT = 1000
TARGETS = TEXT + "".join(
    f"[http target-{number}]\nurl = https://example.com/{number}\ntimeout = 5\n"
    for number in range(COUNT)
)


def test_very_many_sections_take_little_memory(read):
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        ini = read(TARGETS)
        after, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ini.sections) == COUNT + 2
    assert (after - before) / COUNT < 1000


def test_packed_they_take_hardly_more_than_their_text(read):
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        ini = read(TARGETS)
        ini.pack()
        assert ini.get("http target-3", "timeout") == "5"
        ini.pack()
        after, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 3 * len(TARGETS)


def test_packed_sections_read_as_before(read):
    plain, packed = read(TARGETS), read(TARGETS)
    packed.pack()
    packed.pack()
    assert list(packed) == list(plain) and len(packed.sections) == len(plain.sections)
    assert "Mine" in packed and "Yours" not in packed
    assert packed.options("Yours") == {}
    for title, section in plain.sections.items():
        again = packed.sections[title]
        assert (again.file, again.line) == (section.file, section.line)
        assert {
            name: (value.raw, value.where, value.section)
            for name, value in again.options.items()
        } == {
            name: (value.raw, value.where, value.section)
            for name, value in section.options.items()
        }
    assert packed.where("http target-3", "timeout") == "settings.cfg:20"
    assert packed.parser() == plain.parser()
