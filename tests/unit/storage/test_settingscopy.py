"""The copy of the last usable settings: read only if nobody else wrote it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.storage.settingscopy import SettingsCopy, find, one_name, save
from lib.storage.store import SETTINGS_COPY, State

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATH = Path("/etc/checker/settings.cfg")
TEXTS = {
    "settings.cfg": "[general]\ninclude = conf.d/*.cfg\r\n\n",
    "conf.d/ä.cfg": "[email]\npass = a%b",
    "empty.cfg": "",
}


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    assert save(State(tmp_path), SettingsCopy.of(PATH, TEXTS, NOON))
    return tmp_path


def test_what_is_copied_is_read_back_in_its_order(folder):
    copy, why = find(folder, PATH)
    assert (list(copy.texts.items()), copy.at, why) == ([*TEXTS.items()], NOON, "")


def test_only_the_owner_may_read_it(folder):
    path = folder / SETTINGS_COPY
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )


def why_not(folder, path=PATH):
    copy, why = find(folder, path)
    assert copy is None
    return why.replace(str(folder), "STATE")


def test_why_a_copy_is_not_used(folder, tmp_path, approved):
    path, lines = folder / SETTINGS_COPY, []
    lines.append(why_not(folder, Path("/etc/other.cfg")))
    path.chmod(0o604)
    lines.append(why_not(folder))
    path.chmod(0o600)
    path.parent.chmod(0o703)
    lines.append(why_not(folder))
    path.parent.chmod(0o700)
    path.write_bytes(path.read_bytes().replace(b"[email]", b"[e-ail]"))
    lines.append(why_not(folder))
    path.unlink()
    lines.append(why_not(folder))
    path.mkdir(mode=0o700)
    lines.append(why_not(folder))
    approved("\n".join(lines))


def test_a_file_has_one_name_whichever_way_it_is_named(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    names = ["real/s.cfg", "link/s.cfg", "real/../link/s.cfg"]
    assert len({one_name(tmp_path / name) for name in names}) == 1


def test_a_copy_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "settings").write_text("")
    assert not save(State(tmp_path), SettingsCopy.of(PATH, TEXTS, NOON))
    assert "the run goes on" in caplog.text
