"""The man page: current, whole, and roff without a fault."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.cli.arguments import EXIT_CODES, flags_of
from lib.cli.main import MODES
from lib.cli.manpage import man_page
from lib.core.enums import VERSION

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "contrib" / "checker.1"
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
#: The macros it may use, each with what stands behind it.
MACRO = re.compile(r'\.(?:TH CHECKER 1 .+|SH [A-Z ]+|[TP]P|BR? \S.*|\\" .*)')
ESCAPE = re.compile(r"\\(?:-|e|&|f[BIR]|\(aq)")


def test_it_is_what_the_tables_say():
    assert PAGE.read_text("ascii") == man_page(MODES), "stale: see make man"


def test_it_is_what_make_man_writes():
    command = [sys.executable, "-m", "lib.cli.manpage"]
    assert f"-m lib.cli.manpage >{PAGE.relative_to(ROOT)}" in MAKEFILE
    assert subprocess.check_output(command, cwd=ROOT) == PAGE.read_bytes()


def plain():
    text = PAGE.read_text("ascii")
    for escape, sign in ((r"\-", "-"), (r"\(aq", "'"), (r"\&", "")):
        text = text.replace(escape, sign)
    return re.sub(r"\\f[BIR]", "", text)


def test_it_names_every_mode_flag_and_exit_code():
    lines = plain().splitlines()
    for name, mode in MODES.items():
        assert f"-m {name} {mode.words}".strip() in lines
    for flag in flags_of(MODES):
        assert f"{', '.join(flag.names)} {flag.value}".strip() in lines
    for code in EXIT_CODES:
        assert str(code) in lines
    assert f"Checker {VERSION}" in lines[1]


def test_no_line_is_an_order_that_roff_does_not_know():
    for line in PAGE.read_text("ascii").splitlines():
        assert line and not line.startswith("'")
        assert not line.startswith(".") or MACRO.fullmatch(line)
        if not line.startswith(r".\""):
            assert "\\" not in ESCAPE.sub("", line)
        assert line.count(r"\fB") + line.count(r"\fI") == line.count(r"\fR")


def test_each_heading_and_each_item_has_its_text():
    lines = PAGE.read_text("ascii").splitlines()
    for number, line in enumerate(lines):
        if line == ".TP":
            assert not any(
                one.startswith(".") for one in lines[number + 1 : number + 3]
            )
        if line == ".PP":
            assert not lines[number + 1].startswith(".")


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [["groff", "-man", "-Tutf8", "-ww", "-z"], ["mandoc", "-Tlint", "-Wwarning"]],
    ids=lambda words: words[0],
)
def test_a_formatter_has_nothing_to_say(words):
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    ran = subprocess.run([*words, str(PAGE)], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("", "")
