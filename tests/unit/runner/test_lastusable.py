"""What runs go on with when settings.cfg cannot be used, told by the program."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lib.runner.lastusable import note_folder, noted_folder
from tests.support.instance import NO_MAIL, Instance, flag_job
from tests.support.servers import SmtpServer

TCP = "[tcp {name}]\nhost = 127.0.0.1\nport = 1\n"


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path)


def names(instance):
    return [row["job"] for row in instance.listed()]


def copied(instance):
    text = (instance.state / "settings" / "last.json").read_text()
    return json.loads(text)["files"]


def breaks(instance):
    instance.add("[email\n")


@pytest.mark.long
def test_includes_are_copied_and_used_in_their_order(instance):
    (instance.folder / "conf.d").mkdir()
    for name in "ab":
        (instance.folder / "conf.d" / f"{name}.cfg").write_text(TCP.format(name=name))
    text = instance.settings.read_text()
    instance.write(text.replace("[general]", "[general]\ninclude = conf.d/*.cfg"))
    assert instance.cron().code == 0
    assert list(copied(instance)) == ["settings.cfg", "conf.d/a.cfg", "conf.d/b.cfg"]
    shutil.rmtree(instance.folder / "conf.d")
    (instance.folder / "conf.d").write_text("")
    assert instance.cron().code == 1
    assert names(instance) == ["tcp a", "tcp b", "settings.cfg"]


def test_an_include_that_goes_while_it_is_read_is_taken_from_the_copy(instance):
    more = instance.folder / "more.cfg"
    more.write_text(TCP.format(name="more"))
    text = instance.settings.read_text()
    instance.write(text.replace("[general]", "[general]\ninclude = more.cfg"))
    assert instance.cron().code == 0
    more.unlink()
    # It is listed, and cannot be opened.
    more.symlink_to("nowhere")
    assert instance.cron().code == 1
    assert instance.records()["tcp more"]["failures"] == 2


@pytest.mark.long
def test_the_copy_is_written_only_when_the_settings_change(instance):
    assert instance.cron().code == 0
    path = instance.state / "settings" / "last.json"
    before = path.stat().st_ino
    os.utime(instance.settings)
    assert instance.cron().code == 0
    assert instance.cron("hour").code == 0
    assert path.stat().st_ino == before
    instance.add(TCP.format(name="more"))
    assert instance.cron().code == 0
    assert "[tcp more]" in copied(instance)["settings.cfg"]


def test_settings_that_cannot_be_used_are_not_copied(instance):
    assert instance.cron().code == 0
    breaks(instance)
    assert instance.cron().code == 1
    assert "[email" not in copied(instance)["settings.cfg"]


def test_a_wrong_target_is_usable_and_stays_wrong(instance):
    instance.add("[tcp a]\nhots = 127.0.0.1\n")
    assert instance.cron().code == 0
    breaks(instance)
    assert instance.cron().code == 1
    record = instance.records()["tcp a"]
    assert (record["failures"], "hots" in record["last_reason"]) == (2, True)


@pytest.mark.long
def test_commands_say_which_settings_are_in_use(instance, approved):
    assert instance.cron().code == 0
    breaks(instance)
    assert instance.cron().code == 1
    status = instance.run("-m", "status")
    (line,) = [line for line in status.out.splitlines() if line.startswith("settings ")]
    data = instance.run("-m", "status", "--json").json()["settings"]
    assert data["copy_in_use"] and data["copy_of"] and len(data["problems"]) == 1
    said = instance.run("-m", "validate")
    assert (status.code, said.code) == (1, 1)
    texts = [line.removeprefix("settings").strip(), said.out.strip().splitlines()[-1]]
    for number, text in enumerate(texts):
        texts[number] = text.replace(str(instance.folder), "FOLDER")
    approved(without_times("\n".join(texts)))
    instance.state.joinpath("settings", "last.json").unlink()
    assert "Nothing runs: there is no copy" in instance.run("-m", "validate").out


def without_times(text):
    import re

    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d( UTC)?", "TIME", text)


@pytest.mark.long
def test_a_password_that_is_not_to_be_had_stops_no_job(tmp_path, ca, cafile):
    with SmtpServer(ca) as smtp:
        section = smtp.email_section(cafile)
        secret = tmp_path / "secret"
        secret.write_text("pass%word\n")
        secret.chmod(0o600)
        line = next(line for line in section.splitlines() if line.startswith("pass ="))
        secret.write_text(line.partition("=")[2].strip() + "\n")
        instance = Instance(tmp_path, section.replace(line, "pass_file = secret"))
        instance.job("Flag", flag_job(tmp_path / "flag"))
        (tmp_path / "flag").touch()
        assert instance.cron().silent
        secret.rename(tmp_path / "away")
        (tmp_path / "flag").unlink()
        ran = instance.cron()
        assert ran.code == 1 and "pass_file: there is no such file" in ran.err
        assert smtp.mails == []
        assert len(instance.records()["Flag"]["queued"]) == 1
        status = instance.run("-m", "status").out
        assert "runs have not been able to use them since" in status
        (tmp_path / "away").rename(secret)
        instance.let_time_pass_for_mails()
        assert instance.cron().code == 0
        assert len(smtp.mails) == 2


# Where the state folder is.


class Named(Instance):
    """An instance whose state folder is named by its settings alone."""

    def command(self, *arguments: str) -> list[str]:
        return super().command(*arguments)[:-2]


@pytest.fixture
def named(tmp_path):
    kept = tmp_path / "state"
    return Named(
        tmp_path,
        NO_MAIL,
        general=(
            "[general]\nservername = web1\nalertcontact = ops@example.com\n"
            f"state = {kept}\n"
        ),
    )


def test_the_state_folder_is_found_where_a_run_noted_it(named):
    assert named.cron().code == 0
    ended = named.last_run()["ended_at"]
    named.settings.unlink()
    assert named.cron().code == 1
    assert named.last_run()["ended_at"] > ended


def test_it_is_found_where_broken_settings_still_say(named):
    assert named.cron().code == 0
    shutil.rmtree(named.folder / "checker")
    ended = named.last_run()["ended_at"]
    breaks(named)
    assert named.cron().code == 1
    assert named.last_run()["ended_at"] > ended


def test_where_nothing_says_it_the_error_does(named):
    assert named.cron().code == 0
    shutil.rmtree(named.folder / "checker")
    ended = named.last_run()["ended_at"]
    named.settings.write_text("[general]\nservername = w")
    ran = named.cron()
    assert (ran.code, named.last_run()["ended_at"]) == (1, ended)
    assert "if the state folder is another one, type --state" in ran.err
    assert Instance.run(named, "-m", "status", "--state", str(named.state)).code == 1


def test_a_note_is_replaced_and_belongs_to_its_settings(tmp_path):
    place, one, other = tmp_path / "place", Path("/etc/one.cfg"), Path("/etc/two.cfg")
    for folder in ("/a", "/b", "/b"):
        note_folder(one, Path(folder), [tmp_path / "no" / "place", place])
    assert noted_folder(one, [place]) == Path("/b")
    assert noted_folder(other, [place]) is None
    place.chmod(0o755)
    assert noted_folder(one, [place]) is None
