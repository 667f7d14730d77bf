"""What the operating system says, as a sentence with the command to type."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib.system.errors import HINTS, trouble, why_not_usable
from tests.support.powers import as_anybody

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("number", HINTS)
def test_every_error_is_named_with_its_path_and_what_to_do(tmp_path, number, approved):
    path = tmp_path / "a file"
    said = str(trouble(path, "write it", OSError(number, os.strerror(number))))
    approved(said)
    assert not re.search("[{}]", said)


def test_an_error_without_a_remedy_is_reported_as_it_is(tmp_path, approved):
    said = str(trouble(tmp_path / "x", "read it", OSError(71, "Protocol error")))
    approved(said)


def test_a_folder_that_can_be_used_is_ok(tmp_path):
    assert why_not_usable(tmp_path) == ""


def test_a_link_to_a_folder_is_ok(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    assert why_not_usable(tmp_path / "link") == ""


def test_a_folder_that_is_missing(tmp_path, approved):
    folder = tmp_path / "my state"
    approved(why_not_usable(folder))


def test_a_file_in_its_place(tmp_path, approved):
    folder = tmp_path / "state"
    folder.touch()
    approved(why_not_usable(folder))


def test_a_link_to_nothing(tmp_path, approved):
    (tmp_path / "state").symlink_to("gone")
    approved(why_not_usable(tmp_path / "state"))


def test_a_link_to_itself(tmp_path, approved):
    (tmp_path / "state").symlink_to("state")
    approved((why_not_usable(tmp_path / "state")))


def test_a_file_above_it(tmp_path, approved):
    (tmp_path / "file").touch()
    approved((why_not_usable(tmp_path / "file" / "state")))


def said_to_anybody(folder: Path) -> str:
    """Return what somebody is told for whom file modes hold."""
    code = (
        "import sys; from pathlib import Path; from lib.system.errors import *;"
        "print(why_not_usable(Path(sys.argv[1])))"
    )
    command = as_anybody([sys.executable, "-c", code, str(folder)])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("mode", [0o500, 0o300, 0o600, 0o000])
def test_a_folder_of_somebody_else(tmp_path, mode, approved):
    folder = tmp_path / "state"
    folder.mkdir(mode=mode)
    said = said_to_anybody(folder)
    folder.chmod(0o700)
    approved(said)


def test_a_folder_above_it_that_is_closed(tmp_path, approved):
    (tmp_path / "above" / "state").mkdir(parents=True)
    (tmp_path / "above").chmod(0o600)
    said = said_to_anybody(tmp_path / "above" / "state")
    (tmp_path / "above").chmod(0o700)
    # Nobody is told to give away a folder that is not Checker's.
    approved(said)
