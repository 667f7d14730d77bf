"""Approved texts: what people read lies in files that ``make approve`` rewrites.

``approved(text)`` fails unless a text is the one on file.  The file of a test module is
``tests/approved/MODULE.txt``, with a section for each text.  To change a wording,
change it in the program, call ``make approve`` and look at ``git diff``.

What differs from run to run is replaced first: the folder of the test, the checkout,
the Python, the user, a port that the system chose, and what ``hide`` matches.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

APPROVING = os.environ.get("CHECKER_APPROVE") == "1"

#: A date, a time as people read it with its zone, or as files have it.
MOMENT = (
    r"\d{4}-\d\d-\d\d"
    r"([T ]\d\d:\d\d(:\d\d([.,]\d+)?(Z|[+-]\d\d:\d\d)?| UTC\b)?"
    r"( \((\d{4}-\d\d-\d\d )?\d\d:\d\d [+-]\d\d:\d\d\))?)?"
)
#: For ``hide``, where clock, disk and servers are real, and any Python may run.
REAL = {
    r"(?m)^( *)(Date|Message-ID): .*": r"\1\2: ...",
    # How long ago that is is not said where it is nothing.
    MOMENT + r"(, for \d+ \w+( \d+ \w+)?)?": "MOMENT",
    r"\b[0-9a-f]{32}\b": "RANDOM",
    r"\b(\d+ days? \d+ hours?|\d+ minutes?( \d+ seconds?)?|\d+ seconds?)\b": "SO LONG",
    r"\(process \d+\)": "(process N)",
    r"\bport \d{5}\b": "port PORT",
    r"\b\d+ bytes sent": "N bytes sent",
    r"\bused is \d+%": "used is N%",
    r"\bused: \d+%": "used: N%",
    r"\bfree: [\d.]+[kMGT]?B": "free: N GB",
    r"\S+ GB of \S+ GB": "N GB of N GB",
    # Not every file system counts them.
    r"\n *inodes: .*": "",
    r"greeting: .*": "greeting: ...",
    r"8BITMIME, .*": "8BITMIME, ...",
    r"\n +[~^]+(?=\n|$)": "",
}
#: Ports that tests choose have fewer digits.
_CHOSEN_PORT = r"(\b127(?:\.\d+){3}|\blocalhost|\[::1\]):\d{5}\b"
_MARK = "### "
#: The tests that have approved texts, whatever -k and -m choose.
_USERS = pytest.StashKey[list[pytest.Item]]()


class Approve(Protocol):
    def __call__(
        self,
        value: object,
        name: str = "",
        *,
        hide: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> None:
        """Fail unless a text, or a table or list of texts, is what was approved.

        A test with several gives each a ``name``.  ``hide`` has the word to put for
        each pattern.  With a ``file`` of its own the text is the whole of it, or, if it
        has a name, the fenced block below ``<!-- name -->``.
        """


@pytest.fixture
def approved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Approve:
    """Return what compares a text with the approved one."""
    path, title = _path_of(request.node), _title_of(request.node)
    seen: dict[str, str] = {}

    def compare(
        value: object,
        name: str = "",
        *,
        hide: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> None:
        __tracebackhide__ = True
        found = _normalised(
            _as_text(value),
            folders=tmp_path_factory.getbasetemp(),
            checkout=request.config.rootpath,
            hide=hide or {},
        )
        if file:
            with _locked(file.parent):
                before = file.read_text("utf-8")
                after = _with_block(before, name, found) if name else found
                if APPROVING and before != after:
                    file.write_text(after, "utf-8")
            if not APPROVING:
                _fail_if_changed(before, after, str(file))
            return
        section = f"{title} / {name}" if name else title
        assert seen.setdefault(section, found) == found, "two texts: give them names"
        if APPROVING:
            with _rewriting(path) as sections:
                # Those of the test that it no longer has go.
                for one in [one for one in sections if _is_of(one, {title})]:
                    del sections[one]
                sections.update(seen)
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
        left = [one for one in read_sections(path) if not _is_of(one, owners)]
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


def _is_of(section: str, titles: set[str]) -> bool:
    """Return whether it is the text, or a text with a name, of one of the tests."""
    return section in titles or section.rsplit(" / ", 1)[0] in titles


def _as_text(value: object) -> str:
    """Return a text as it is, what holds some with a line for each."""
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_as_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple | set):
        lines = map(_as_text, value)
        return "\n".join(sorted(lines) if isinstance(value, set) else lines)
    return str(value)


def _normalised(
    text: str, *, folders: Path, checkout: Path, hide: Mapping[str, str]
) -> str:
    """Return a text without what differs from run to run."""
    text = re.sub(rf"{re.escape(str(folders))}/[\w.-]+", "FOLDER", text)
    text = text.replace(sys.executable, "PYTHON").replace(str(checkout), "CHECKOUT")
    text = re.sub(_CHOSEN_PORT, r"\1:PORT", text)
    # A command to paste makes a line long where the folders are deep.
    text = re.sub(
        r"(Content-Transfer-Encoding: )(7bit|quoted-printable)", r"\1AS FITS", text
    )
    user = pwd.getpwuid(os.geteuid()).pw_name
    text = re.sub(rf"\b(chown|chown -R|by|of|to) {user}\b", r"\1 USER", text)
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
    with _locked(path.parent):
        sections = read_sections(path)
        yield sections
        _write_sections(path, sections)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one process at a time."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
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
