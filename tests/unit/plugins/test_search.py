"""The search of lines: each by itself, and none takes for ever."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

from lib.core.enums import Status
from lib.plugins.search import MAX_SEARCH_S, PROGRAM, may_run_on, word_of
from tests.support.followed import Followed, write
from tests.support.waits import SOON_S


@pytest.mark.parametrize(
    ("match", "lines"),
    [
        ("^ERROR$", ["ERROR"]),
        (r"ERROR\s", ["ERROR here"]),
        (r"\sERROR", ["an ERROR"]),
        (r"(?<=\s)ERROR", ["an ERROR"]),
        (r"ERROR(?!\s)", ["ERROR", "an ERROR"]),
        (r"\AERROR\Z", ["ERROR"]),
        (r"^(?!.*ERROR)", ["fine", ""]),
        (r"(?s)ERROR.*fine", []),
        (r"ERROR[^x]*here", ["ERROR here"]),
        ("^$", [""]),
        ("()", ["ERROR", "fine", "ERROR here", "an ERROR", ""]),
        ("(ERROR|none)+ here", ["ERROR here"]),
        ("ERROR h", ["ERROR here"]),
        ("(?i)error h", ["ERROR here"]),
        (r"an\ ERROR", ["an ERROR"]),
        (r"ERROR\nfine", []),
    ],
)
def test_a_pattern_is_for_each_line_by_itself(tmp_path, match, lines):
    log = tmp_path / "log"
    log.write_text("ERROR\nfine\nERROR here\nan ERROR\n\n")
    found = Followed(log, match=match, first="start").check()
    assert found.values["matches"].number == len(lines)
    shown = found.reason.partition(": ")[2].splitlines()
    assert [line for line in lines if line] == (
        [line for line in shown[1:] if line] if len(lines) > 1 else shown
    )


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("ERROR", "ERROR"),
        (r"\[error\] 5\.0", "[error] 5.0"),
        ("(?x) ERR OR", "ERROR"),
        ("größer", "größer"),
        ("(?i)ERROR", ""),
        ("^ERROR", ""),
        ("ERROR|FATAL", ""),
        (r"ERROR\n", ""),
        ("ERR.R", ""),
    ],
)
def test_a_pattern_that_stands_for_one_word_is_known(pattern, word):
    assert word_of(re.compile(pattern.encode(), re.M)) == word.encode()


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        ("ERROR.*disk.*full", False),
        ("(a+)+$", True),
        ("(a|a)*$", True),
        ("(?:foo|bar) +x", False),
        (r"(\w+\s?)+$", True),
        (r"(\d{1,3}\.){3}", False),
    ],
)
def test_patterns_that_may_run_on_are_known(pattern, may):
    assert may_run_on(re.compile(pattern.encode(), re.M)) is may


@pytest.mark.long
def test_a_pattern_that_runs_on_ends_at_the_deadline_and_is_named(tmp_path):
    log = tmp_path / "app.log"
    log.touch()
    followed = Followed(log, match="(x+x+)+y", timeout=4)
    followed.check()
    write(log, "x" * 40 + "\n")
    began = time.monotonic()
    assert "the pattern takes too long on a line of" in followed.says()
    assert time.monotonic() - began < SOON_S
    assert followed.result.status is Status.UNKNOWN


def test_a_search_whose_worker_is_gone_ends_by_itself():
    program = PROGRAM.replace(f"({MAX_SEARCH_S})", "(1)")
    words = [sys.executable, "-I", "-S", "-c", program, "a", ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as search:
        assert search.wait(timeout=20) == -signal.SIGALRM
