"""Work in children: what hangs, dies or takes long never takes others with it."""

import os
import time

import pytest

from lib.net.connect import Deadline
from lib.plugins import aside
from lib.plugins.aside import Piece
from lib.plugins.base import CheckFailed, CheckUnknown
from tests.support.waits import SOON_S


def fails(_progress):
    raise CheckFailed("it is broken")


def hangs(_progress):
    time.sleep(60)


def crashes(_progress):
    os.kill(os.getpid(), 9)


def test_what_work_returns_or_raises_comes_back():
    assert aside.do(lambda _progress: {"size": 5}, "it", Deadline(20)) == {"size": 5}
    with pytest.raises(CheckFailed, match="it is broken"):
        aside.do(fails, "it", Deadline(20))
    with pytest.raises(CheckUnknown, match="killed by SIGKILL"):
        aside.do(crashes, "it", Deadline(20))
    with pytest.raises(CheckUnknown, match="ZeroDivisionError"):
        aside.do(lambda _progress: 1 / 0, "it", Deadline(20))


def test_what_hangs_is_unknown_in_time():
    began = time.monotonic()
    with pytest.raises(CheckUnknown, match="/nfs did not answer within 0.5 s"):
        aside.do(hangs, "/nfs", Deadline(0.5))
    assert time.monotonic() - began < SOON_S


@pytest.mark.long
def test_what_hangs_holds_up_none_of_those_behind_it(monkeypatch):
    monkeypatch.setattr(aside, "SILENT_S", 0.2)
    works = [hangs if name == 3 else (lambda _progress: 1) for name in range(20)]
    pieces = [Piece(name, work, "it", True) for name, work in enumerate(works)]
    answers = aside.do_many(pieces, lambda some: [Deadline(4) for _ in some])
    told = dict(filter(None, answers))
    assert len(told) == 20
    assert isinstance(told[3], CheckUnknown)
    # The others do not wait until its time is over.
    assert [*told][-1] == 3
