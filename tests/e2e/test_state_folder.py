"""A state folder that others may write to: nothing is kept there, and all say so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.config.load import load_settings
from lib.web.routes import reply
from tests.support.instance import CHECKER, Instance, flag_job

STATUS = "[email]\nnomail = yes\nnomailisfine = yes\n[status]\nwrite = {}/answer\n"


@pytest.fixture
def instance(tmp_path):
    there = Instance(tmp_path, STATUS.format(tmp_path))
    there.job("Flag", flag_job(tmp_path / "flag"))
    (tmp_path / "flag").touch()
    assert there.cron().silent
    return there


def sentence(folder):
    return (
        f"nothing is kept in the folder {folder}: anybody can write it: "
        f"chmod o-w {folder}"
    )


@pytest.mark.parametrize("inside", ["", "jobs"])
def test_a_run_judges_and_keeps_nothing_until_it_is_closed(instance, inside):
    loose = instance.state / inside
    loose.mkdir(exist_ok=True)
    loose.chmod(0o707)
    before = instance.last_run()
    (instance.folder / "flag").unlink()
    ran = instance.cron()
    assert (ran.code, ran.out) == (1, "")
    first = ran.err.splitlines()[0]
    assert first.startswith(f"checker: {sentence(loose)}; this run judges")
    assert "Traceback" not in ran.err
    assert instance.last_run() == before
    # What is not kept did not happen.
    assert not (instance.state / "decisions.log").exists()
    assert (instance.folder / "answer").read_text().startswith("JobProblem")
    loose.chmod(0o700)
    (instance.folder / "flag").touch()
    assert instance.cron().silent
    assert instance.last_run() != before


@pytest.mark.long
def test_the_tables_are_shown_with_a_warning(instance):
    instance.state.chmod(0o707)
    for words in (["list"], ["status"]):
        said = instance.run("-m", *words)
        assert said.code == 0
        assert said.err == f"checker: warning: {sentence(instance.state)}\n"
    said = instance.run("-m", "validate", "--json")
    assert said.code == 1
    assert [row["text"] for row in said.json()] == [sentence(instance.state)]


def test_what_others_may_have_written_is_not_sent_to_peers(instance):
    settings = load_settings(
        instance.settings, base=CHECKER.parent, state=instance.state
    )
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert reply(settings, "", now).startswith(b"True")
    instance.state.chmod(0o707)
    assert reply(settings, "", now).startswith(b"JobProblem")


def test_a_web_folder_in_which_anybody_may_replace_the_answer_is_a_warning(instance):
    def problems():
        found = load_settings(instance.settings, base=CHECKER.parent).problems
        return [(str(one), one.warning) for one in found if not one.note]

    assert problems() == []
    # As /tmp is: nobody but its owner can replace a file.
    instance.folder.chmod(0o1777)
    assert problems() == []
    instance.folder.chmod(0o777)
    assert problems() == [
        (
            "settings.cfg:8: [status] write: anybody can replace it: "
            f"chmod o-w {instance.folder}",
            True,
        )
    ]
