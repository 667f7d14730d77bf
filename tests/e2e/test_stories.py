"""The stories, told by the program: what was mailed must be what stands there.

``CHECKER_ROOT`` names another checkout to tell them, as ``make stories`` does.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.config.load import SettingsError, load_settings
from tests.e2e.mails import Reader
from tests.e2e.stories import STORIES
from tests.e2e.story import Story, as_table
from tests.e2e.world import FIRST_DEFAULTS, World
from tests.support.listeners import authority
from tests.support.program import CHECKOUT as OURS
from tests.support.program import Program, our_program
from tests.support.replays import replayed, words
from tests.support.servers import SmtpServer

CHECKOUT = Path(os.environ.get("CHECKER_ROOT", OURS)).resolve()
#: The stories were told by it first.
BEFORE = "0bca2c4"
#: A story of more runs takes long.
SHORT_RUNS = 4


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    if CHECKOUT == OURS:
        yield our_program()
        return
    program = Program(CHECKOUT)
    yield program
    program.stop()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, SmtpServer]]:
    """Return the mail servers: one on this machine, one that wants a password."""
    with (
        SmtpServer(security="none") as plain,
        SmtpServer(authority()) as secure,
        SmtpServer(security="none") as second,
    ):
        yield {"plain": plain, "secure": secure, "second": second}


def is_before() -> bool:
    """Return whether the checkout is the one that told the stories first."""
    if CHECKOUT == OURS:
        return False
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.startswith(BEFORE)


def named(story: Story) -> object:
    """Return the story as a parameter; the many that are short stand for the others."""
    is_long = len(story.lines()) > SHORT_RUNS
    marks = [pytest.mark.long] if is_long else []
    return pytest.param(story, id=story.name, marks=marks)


@pytest.mark.parametrize("story", list(map(named, STORIES)))
def test_story(story: Story, tmp_path, program, servers):
    notified = emit(story, tmp_path, program, servers)
    expected = as_table(story, [minute.mails for minute in story.lines()])
    if story.mended and is_before():
        assert notified != expected, f"{BEFORE} does it right as well"
    else:
        assert notified == expected
    if CHECKOUT == OURS:
        assert replayed_otherwise(tmp_path) == []


def replayed_otherwise(folder: Path) -> list[str]:
    """Return what a replay of the story by its last settings has otherwise."""
    path, state = folder / "settings.cfg", folder / "state"
    try:
        settings = load_settings(
            path, base=CHECKOUT, jobs=[folder / "my jobs"], state=state
        )
    except SettingsError:
        # The story ends with settings that are wrong.
        return []
    until = datetime(2032, 1, 1, tzinfo=UTC)
    return [words(pair) for pair in replayed(settings, until) if not pair.is_same]


def emit(
    story: Story, folder: Path, program: Program, servers: Mapping[str, SmtpServer]
) -> str:
    """Return the table of a story as the program tells it."""
    reader = Reader(story.names, str(folder))
    mails = []
    mail, second = servers["secure" if story.secure else "plain"], servers["second"]
    defaults = "" if is_before() else FIRST_DEFAULTS
    with World(folder, story, program, mail, second, defaults) as world:
        for minute in story.lines():
            said = world.pass_minute(minute)
            assert "Traceback" not in said, said
            came = [reader.read(one, minute.when) for one in mail.mails]
            came += [reader.read(one, minute.when) + " (2)" for one in second.mails]
            # Which of two jobs comes first is nobody's business.
            mails.append(tuple(sorted(came, key=subject)))
            mail.mails.clear()
            second.mails.clear()
    return as_table(story, mails)


def subject(words: str) -> str:
    """Return what the words of a mail say it is about."""
    return re.sub(r"( >| \^).*", "", words.partition(": ")[2])
