"""Approved texts: what is on file is what is said, and a command rewrites it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.approved import read_sections, stale

ROOT = Path(__file__).resolve().parents[2]
FIRST = """\
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_one(approved, n, tmp_path):
    approved(f"{n} of them\\n\\n    ### in {tmp_path}\\n")

def test_other(approved):
    approved(["a", "b"], "lines", hide={"b": "WORD"})
    approved("127.0.0.1:54321 and 127.0.0.1:2525", "ports")

def test_of_something_else():
    assert False
"""
SECTIONS = {
    "test_one[1]": "1 of them\n\n    ### in FOLDER\n",
    "test_one[2]": "2 of them\n\n    ### in FOLDER\n",
    "test_other / lines": "a\nWORD",
    "test_other / ports": "127.0.0.1:PORT and 127.0.0.1:2525",
}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests" / "test_a.py").write_text(FIRST)
    return tmp_path


def run_tests(project: Path, *args: str, approving: bool = False) -> str:
    """Return what pytest says of these tests."""
    plugins = ["-p", "tests.support.approved", *["-p", "xdist"] * ("-n" in args)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-q", *args],
        cwd=project,
        env={
            **os.environ,
            "CHECKER_APPROVE": str(int(approving)),
            # Those that are installed take longer to load than the tests take.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


def test_a_text_is_written_when_approved_and_held_against_that(project):
    path = project / "tests" / "approved" / "test_a.txt"
    assert "nothing is approved yet for test_one[1]" in run_tests(project)
    assert "3 passed" in run_tests(project, "-n", "2", approving=True)
    assert read_sections(path) == SECTIONS
    assert "1 failed, 3 passed" in run_tests(project)
    test = project / "tests" / "test_a.py"
    test.write_text(FIRST.replace("of them", "of those"))
    said = run_tests(project)
    assert "-1 of them\n" in said and "+1 of those\n" in said
    assert "3 failed, 1 passed" in said


def test_a_text_that_no_test_has_is_forgotten_when_the_others_are_approved(project):
    path = project / "tests" / "approved" / "test_a.txt"
    run_tests(project, approving=True)
    test = project / "tests" / "test_a.py"
    test.write_text(
        FIRST.replace("test_other", "test_another").replace("[1, 2]", "[1]")
    )
    run_tests(project, "-k", "one", approving=True)
    assert list(read_sections(path)) == ["test_one[1]"]
    test.unlink()
    run_tests(project, approving=True)
    assert not path.exists()


def test_a_block_of_a_document_may_be_an_approved_text(project):
    document = project / "page.md"
    document.write_text("# A\n\n<!-- what -->\n```\nold\n```\n\n```\nmore\n```\n")
    test = project / "tests" / "test_a.py"
    test.write_text(
        "from pathlib import Path\n"
        "def test(approved):\n"
        "    approved('new\\n', 'what', file=Path('page.md'))\n"
    )
    assert "1 failed" in run_tests(project)
    assert "1 passed" in run_tests(project, approving=True)
    assert document.read_text() == (
        "# A\n\n<!-- what -->\n```\nnew\n```\n\n```\nmore\n```\n"
    )


def test_each_approved_text_has_its_test(request):
    assert stale(request.config) == {}
