"""Approved texts: what is on file is what is said, and a command rewrites it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import approved
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
def project(pytester):
    (pytester.path / "tests").mkdir()
    (pytester.path / "pytest.ini").write_text("[pytest]\n")
    (pytester.path / "tests" / "test_a.py").write_text(FIRST)
    return pytester.path


@pytest.fixture
def run_tests(pytester, monkeypatch):
    """Return what runs the tests of the project, and returns what pytest says."""

    def run(*args: str, approving: bool = False) -> str:
        # For workers, and for tests that run here.
        monkeypatch.setenv("CHECKER_APPROVE", str(int(approving)))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setattr(approved, "APPROVING", approving)
        plugin = ("-p", "tests.support.approved")
        return pytester.runpytest_inprocess(*plugin, "-q", *args).stdout.str()

    return run


@pytest.mark.long
def test_a_text_is_written_when_approved_and_held_against_that(project, run_tests):
    path = project / "tests" / "approved" / "test_a.txt"
    assert "nothing is approved yet for test_one[1]" in run_tests()
    assert "3 passed" in run_tests("-n", "2", approving=True)
    assert read_sections(path) == SECTIONS
    assert "1 failed, 3 passed" in run_tests()
    test = project / "tests" / "test_a.py"
    test.write_text(FIRST.replace("of them", "of those"))
    said = run_tests()
    assert "-1 of them\n" in said and "+1 of those\n" in said
    assert "3 failed, 1 passed" in said


@pytest.mark.long
def test_a_text_that_no_test_has_is_forgotten_when_the_others_are_approved(
    project, run_tests
):
    path = project / "tests" / "approved" / "test_a.txt"
    run_tests(approving=True)
    test = project / "tests" / "test_a.py"
    test.write_text(
        FIRST.replace("test_other", "test_another").replace("[1, 2]", "[1]")
    )
    run_tests("-k", "one", approving=True)
    assert list(read_sections(path)) == ["test_one[1]"]
    test.unlink()
    run_tests(approving=True)
    assert not path.exists()


def test_a_block_of_a_document_may_be_an_approved_text(project, run_tests):
    document = project / "page.md"
    document.write_text("# A\n\n<!-- what -->\n```\nold\n```\n\n```\nmore\n```\n")
    test = project / "tests" / "test_a.py"
    test.write_text(
        "from pathlib import Path\n"
        "def test(approved):\n"
        "    approved('new\\n', 'what', file=Path('page.md'))\n"
    )
    assert "1 failed" in run_tests()
    assert "1 passed" in run_tests(approving=True)
    assert document.read_text() == (
        "# A\n\n<!-- what -->\n```\nnew\n```\n\n```\nmore\n```\n"
    )


def test_each_approved_text_has_its_test(request):
    assert stale(request.config) == {}
