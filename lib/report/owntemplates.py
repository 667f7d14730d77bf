"""``[page] templates``: somebody's own templates, and why one is not used.

They are read here, as job files are: of root or of this user, and for nobody else to
write.  Pages are made of them in a process of its own, ``lib/report/sandbox.py``, which
is ended when it takes too long.  What fails is one line in the log, and the page is
made of ours.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from lib.core.sanitize import harmless
from lib.core.text import cut, first_line
from lib.system.permissions import why_not_run

logger = logging.getLogger(__name__)

#: The folder of our own, and those of them that may be replaced.
SHIPPED = Path(__file__).parent / "templates"
PAGES = ("page.html", "job.html", "public.html")
PARTS = ("base.html", "parts.html")
TEXTS = ("page.css", "page.js")
#: The most files that are read, and the most bytes of one.
MAX_FILES, MAX_BYTES = 50, 256 * 1024
#: The most characters of a page, and bytes of memory of the process that makes it.
MAX_PAGE, MAX_MEMORY = 4_000_000, 768 * 1024 * 1024
#: The most CPU seconds of a page, and how long it is waited for on a busy machine.
LIMIT_S, WAIT_S = 2.0, 15.0
#: How long a page that failed is made of ours before theirs is tried again.
AGAIN_S = 300.0
#: The most of what jinja2 says.
MAX_WHY = 300
#: The only member of an object that stands for text which is HTML already, as
#: ``sandbox.py`` has it.
HTML = "\x00html"
_INSTEAD = "our own template is used; docs/page.md says what a template gets"
#: The most bytes of an answer: JSON may write a character in six.
MAX_ANSWER = 6 * MAX_PAGE + 1000
_SANDBOX = Path(__file__).parent / "sandbox.py"


class _Broken(Exception):
    """A page that could not be made; each text says what is wrong with a template."""


class OwnTemplates:
    """The templates of a folder, as they are now."""

    def __init__(
        self,
        folder: Path,
        *,
        limit_s: float = LIMIT_S,
        wait_s: float = WAIT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self._monotonic = folder, monotonic
        self._limit_s, self._wait_s = limit_s, wait_s
        #: What is wrong, a line each.
        self.problems: list[str] = []
        #: How often the folder was read.
        self.version = 0
        self._lock = threading.Lock()
        #: What the folder was like when it was read; at first like nothing.
        self._mark: object = object()
        self._texts: dict[str, str] = {}
        self._failed: dict[str, float] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def refresh(self) -> None:
        """Read the folder again if it has changed."""
        with self._lock:
            mark = self._mark_now()
            if mark == self._mark:
                return
            self._mark = mark
            self.version += 1
            self._failed.clear()
            self.problems.clear()
            self.close()
            self._texts = dict(self._read())

    def text_of(self, name: str) -> str | None:
        """Return a text that is no template: the styles, the script; None: ours."""
        return self._texts.get(name)

    def render(self, name: str, facts: Mapping[str, Any]) -> str | None:
        """Return a page; None if it is to be made of ours."""
        with self._lock:
            if not any(text.endswith(".html") for text in self._texts):
                return None
            if self._failed.get(name, 0.0) > self._monotonic():
                return None
            try:
                return self._asked(name, facts)
            except _Broken as broken:
                self._failed[name] = self._monotonic() + AGAIN_S
                for why in broken.args:
                    self._note(f"{why}; {_INSTEAD}")
                return None

    def _note(self, line: str) -> None:
        """Keep a problem, and log it once."""
        if line not in self.problems:
            self.problems.append(line)
            logger.error("[page] templates: %s", line)

    # The files.

    def _mark_now(self) -> object:
        try:
            names = os.listdir(self.folder)
            return _facts(self.folder), {
                name: _facts(self.folder / name) for name in names
            }
        except OSError:
            return None

    def _read(self) -> Iterator[tuple[str, str]]:
        try:
            why = why_not_run(self.folder)
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            self._note(f"{self.folder} cannot be read: {error.strerror}; {_INSTEAD}")
            return
        if why:
            self._note(f"{self.folder} is not used: {why}; {_INSTEAD}")
            return
        names = [name for name in names if _may_be_template(name)]
        if len(names) > MAX_FILES:
            self._note(f"{self.folder} has more than {MAX_FILES} files; {_INSTEAD}")
            return
        for name in names:
            path = self.folder / name
            try:
                yield name, _content(path)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                self._note(f"{harmless(str(path))} is not used: {why}; {_INSTEAD}")

    # The process.

    def _asked(self, name: str, facts: Mapping[str, Any]) -> str:
        """Return a page of their templates; raise _Broken."""
        try:
            found = self._answer(name, facts)
        except OSError as error:
            self.close()
            raise _Broken(f"{name}: no process makes it: {error.strerror}") from error
        text = found.get("text")
        if isinstance(text, str):
            return text
        if found.get("too_slow"):
            why = f"it takes more than {self._limit_s:g} seconds of CPU time"
            found = {**found, "why": why}
        raise _Broken(*map(self._wrong, (found, *found.get("others", ()))))

    def _wrong(self, found: Mapping[str, Any]) -> str:
        """Return where something is wrong with a template, and what."""
        where, line = self._where(str(found.get("name"))), found.get("line")
        place = f"{where}, line {line}" if line else where
        why = first_line(str(found.get("why", "")))
        return f"{place}: {cut(harmless(why).rstrip('.'), MAX_WHY)}"

    def _where(self, name: str) -> str:
        """Return the file of a template; of one of ours its name."""
        if name in self._texts:
            return harmless(str(self.folder / name))
        return f"our own {harmless(name.removeprefix('ours/'))}"

    def _answer(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of the process; raise OSError if none can be started."""
        process, first = self._started()
        asked = {"name": name, "facts": plain(facts), "limit_s": self._limit_s}
        content = first + _line(asked)
        until = self._monotonic() + self._wait_s
        answer = _talk(process, content, until, self._monotonic)
        if answer is None:
            self.close()
            why = f"no page was made within {self._wait_s:.0f} seconds"
            return {"name": name, "why": why}
        try:
            found: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
        except ValueError:
            # It ran into a limit where Python could not say so.
            self.close()
            why = "the process that makes it ran out of memory or of time"
            return {"name": name, "why": why}
        return found

    def _started(self) -> tuple[subprocess.Popen[bytes], bytes]:
        """Return the process, and what it is to get first."""
        process = self._process
        if process is not None and process.poll() is None:
            return process, b""
        self.close()
        kept = ("PATH", "PYTHONPATH", "HOME")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SANDBOX)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # Our environment may have secrets.
            env={name: os.environ[name] for name in kept if name in os.environ},
            start_new_session=True,
        )
        ours = {name: (SHIPPED / name).read_text("utf-8") for name in (*PAGES, *PARTS)}
        theirs = {name: text for name, text in self._texts.items() if name not in TEXTS}
        first = {
            "ours": ours,
            "theirs": theirs,
            "memory": MAX_MEMORY,
            "longest": MAX_PAGE,
        }
        return self._process, _line(first)


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _talk(
    process: subprocess.Popen[bytes],
    content: bytes,
    until: float,
    monotonic: Callable[[], float],
) -> bytes | None:
    """Return the line that a process answers; None if there is none in time.

    It is not whole if the process has ended, or answers too much.
    """
    assert process.stdin is not None and process.stdout is not None
    given, out = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(given, False)
    left, found = memoryview(content), bytearray()
    poll = select.poll()
    poll.register(out, select.POLLIN)
    poll.register(given, select.POLLOUT)
    while (wait_s := until - monotonic()) > 0:
        for descriptor, event in poll.poll(1000 * wait_s):
            if descriptor == given and event & select.POLLOUT:
                left = left[os.write(given, left[:65536]) :]
            if descriptor == given and (not left or event & ~select.POLLOUT):
                poll.unregister(given)
            if descriptor == out:
                part = os.read(out, 1024 * 1024)
                found += part
                if not part or part.endswith(b"\n") or len(found) > MAX_ANSWER:
                    return bytes(found)
    return None


# What a template gets.


def plain(value: Any) -> Any:
    """Return a fact as JSON has it: text, numbers, lists, and dicts by their names."""
    if isinstance(value, Markup):
        return {HTML: str(value)}
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Iterable):
        return [plain(part) for part in value]
    return str(value)


# Files.


def _may_be_template(name: str) -> bool:
    return name.endswith((".html", ".css", ".js")) and not name.startswith((".", "#"))


def _facts(path: Path) -> tuple[int, ...]:
    """Return what a changed file differs in, or who may write it."""
    try:
        facts = path.stat()
    except OSError:
        # A link to nothing.
        return ()
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size, facts.st_mode, facts.st_uid)


def _content(path: Path) -> str:
    """Return the text of a template; raise OSError or ValueError, in words."""
    if why := why_not_run(path):
        raise ValueError(why)
    if not path.is_file():
        raise ValueError("it is no file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, and {MAX_BYTES:,} are read")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    if path.name in TEXTS and "</s" in text.lower():
        raise ValueError("it holds </s, which would end it on the page")
    return text
