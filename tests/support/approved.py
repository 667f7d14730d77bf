"""Approved texts: what people read lies in files that ``make approve`` rewrites.

``approved(text)`` fails unless a text is the one on file.  The file of a test module is
``tests/approved/MODULE.txt``, with a section for each text.  To change a wording,
change it in the program, call ``make approve`` and look at ``git diff``.

What differs from run to run is replaced first: the folder of the test, the checkout,
the Python, a port that the system chose, and what ``hide`` matches.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

APPROVING = os.environ.get("CHECKER_APPROVE") == "1"

#: For ``hide``: a moment, and how long something took.
MOMENT = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?([+-]\d\d:\d\d|Z| UTC)?"
SECONDS = r"\d+(\.\d+)? m?s\b"
#: Ports that tests choose have fewer digits.
_CHOSEN_PORT = r"(\b127(?:\.\d+){3}|\blocalhost|\[::1\]):\d{5}\b"
_MARK = "### "
#: The tests that have approved texts, whatever -k and -m choose.
_USERS = pytest.StashKey[list[pytest.Item]]()


class Approve(Protocol):
    def __call__(
        self,
        text: str | Iterable[str],
        name: str = "",
        *,
        hide: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> None:
        """Fail unless ``text``, or these lines, is what was approved.

        A test with several texts gives each a ``name``.  ``hide`` has the word to put
        for each pattern.  With a ``file`` of its own the text is the whole of it, or,
        if it has a name, the fenced block below ``<!-- name -->``.
        """


@pytest.fixture
def approved(request: pytest.FixtureRequest) -> Approve:
    """Return what compares a text with the approved one."""
    path, title = _path_of(request.node), _title_of(request.node)
    if APPROVING:
        _forget(path, lambda section: _owner(section) == title)

    def compare(
        text: str | Iterable[str],
        name: str = "",
        *,
        hide: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> None:
        __tracebackhide__ = True
        found = _normalised(
            text if isinstance(text, str) else "\n".join(text),
            folder=request.node.funcargs.get("tmp_path"),
            checkout=request.config.rootpath,
            hide=hide or {},
        )
        if file:
            before = file.read_text("utf-8")
            after = _with_block(before, name, found) if name else found
            if APPROVING and before != after:
                file.write_text(after, "utf-8")
            elif not APPROVING:
                _fail_if_changed(before, after, str(file))
            return
        section = f"{title} / {name}" if name else title
        if APPROVING:
            with _rewriting(path) as sections:
                sections[section] = found
        else:
            _fail_if_changed(read_sections(path).get(section), found, section)

    return compare


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    users = [item for item in items if "approved" in getattr(item, "fixturenames", ())]
    config.stash[_USERS] = users
    if APPROVING:
        items[:] = users
        for path, sections in stale(config).items():
            _forget(path, sections.__contains__)


def stale(config: pytest.Config) -> dict[Path, list[str]]:
    """Return the sections that no test has, file by file.

    Those of the modules that were collected, or of all if all were.
    """
    if any("::" in arg for arg in config.args):
        return {}
    tests = config.rootpath / "tests"
    titles: dict[Path, set[str]] = {}
    for item in config.stash[_USERS]:
        titles.setdefault(_path_of(item), set()).add(_title_of(item))
    all_collected = {Path(arg).resolve() for arg in config.args} <= {
        tests,
        tests.parent,
    }
    found = {}
    for path in (tests / "approved").rglob("*.txt") if all_collected else titles:
        owners = titles.get(path, set())
        left = [one for one in read_sections(path) if _owner(one) not in owners]
        if left:
            found[path] = left
    return found


def read_sections(path: Path) -> dict[str, str]:
    """Return the texts in a file by their title; none if there is no file."""
    if not path.exists():
        return {}
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text("utf-8").split("\n"):
        if line.startswith(_MARK):
            lines = sections.setdefault(line.removeprefix(_MARK), [])
        else:
            lines.append(line.removeprefix("    "))
    # The blank line below each section is no part of it.
    return {title: "\n".join(text[:-1]) for title, text in sections.items()}


def _path_of(item: pytest.Item) -> Path:
    tests = item.config.rootpath / "tests"
    return tests / "approved" / item.path.relative_to(tests).with_suffix(".txt")


def _title_of(item: pytest.Item) -> str:
    return item.nodeid.split("::", 1)[1]


def _owner(section: str) -> str:
    return section.split(" / ")[0]


def _normalised(
    text: str, *, folder: Path | None, checkout: Path, hide: Mapping[str, str]
) -> str:
    """Return a text without what differs from run to run."""
    words = {folder: "FOLDER", sys.executable: "PYTHON", checkout: "CHECKOUT"}
    for known, word in words.items():
        text = text.replace(str(known), word) if known else text
    text = re.sub(_CHOSEN_PORT, r"\1:PORT", text)
    for pattern, word in hide.items():
        text = re.sub(pattern, word, text)
    # What a terminal would obey is shown.
    return "".join(
        char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}"
        for char in text
    )


def _with_block(document: str, name: str, text: str) -> str:
    """Return a document with a text in the fenced block below ``<!-- name -->``."""
    block = rf"(?ms)(^<!-- {re.escape(name)} -->\n\n?```\w*\n).*?(^```$)"
    after, count = re.subn(block, lambda found: f"{found[1]}{text}{found[2]}", document)
    assert count == 1, f"{count} blocks below <!-- {name} -->"
    return after


def _fail_if_changed(known: str | None, found: str, where: str) -> None:
    __tracebackhide__ = True
    if found == known:
        return
    if known is None:
        pytest.fail(f"nothing is approved yet for {where}: make approve\n{found}")
    sides = (known.splitlines(), found.splitlines())
    lines = difflib.unified_diff(*sides, "approved", "now", lineterm="")
    pytest.fail(f"{where} has changed; if rightly: make approve\n" + "\n".join(lines))


def _forget(path: Path, is_stale: Callable[[str], bool]) -> None:
    if any(map(is_stale, read_sections(path))):
        with _rewriting(path) as sections:
            for section in [one for one in sections if is_stale(one)]:
                del sections[section]


@contextmanager
def _rewriting(path: Path) -> Iterator[dict[str, str]]:
    """Give the sections of a file to change, to one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sections = read_sections(path)
        yield sections
        _write_sections(path, sections)
    finally:
        os.close(lock)


def _write_sections(path: Path, sections: dict[str, str]) -> None:
    if not sections:
        path.unlink(missing_ok=True)
        return
    parts = []
    for title, text in sorted(sections.items()):
        lines = [f"    {line}" if line else "" for line in text.split("\n")]
        parts.append("\n".join([f"{_MARK}{title}", *lines, ""]))
    # Another process may be reading it.
    beside = path.with_suffix(".new")
    beside.write_text("\n".join(parts), "utf-8")
    beside.replace(path)
