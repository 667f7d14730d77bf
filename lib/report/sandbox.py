"""Makes pages of somebody's own templates, in a process of its own.

``lib/report/owntemplates.py`` starts it as a program and ends it.  A template may loop
without end, fill memory or break jinja2's sandbox: all that it can harm is this
process, which holds no secret, opens no file and has no more than what it was sent.
So nothing of ours is imported here.

It reads lines of JSON and answers each with one.  The first has the templates and the
limits, each other one a template's name and what it gets.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, TextIO

from jinja2 import (
    BaseLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

#: The only member of an object that stands for text which is HTML already.
HTML = "\x00html"
#: Before the name of our own template, where theirs of this name replaces it.
OURS = "ours/"
#: What the code of a template is called in a traceback, before its name.
_FILE = "template "


class TooLarge(Exception):
    """A page that is longer than a page may be."""


class _Loader(BaseLoader):
    """Finds a template among those that were sent."""

    def __init__(self, ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
        self._texts = {**ours, **theirs}
        self._texts |= {f"{OURS}{name}": text for name, text in ours.items()}
        self._kept = ours.keys() - theirs.keys()

    def get_source(self, environment: Any, template: str) -> tuple[str, str, Any]:
        if template not in self._texts:
            raise TemplateNotFound(template)
        is_ours = template in self._kept or template.startswith(OURS)
        name = f"{OURS}{template.removeprefix(OURS)}" if is_ours else template
        return self._texts[template], f"{_FILE}{name}", None


class _Environment(ImmutableSandboxedEnvironment):
    """What they get are dicts: a name means their member, never a method."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def environment_of(ours: Mapping[str, str], theirs: Mapping[str, str]) -> _Environment:
    """Return what makes pages of their templates, and of ours where they have none."""
    return _Environment(
        loader=_Loader(ours, theirs),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def answer(
    environment: _Environment, name: str, facts: Mapping[str, Any], longest: int
) -> dict[str, Any]:
    """Return the text of a template; or why it has none, of which template, where."""
    try:
        return {"text": _rendered(environment, name, facts, longest)}
    except TemplateSyntaxError as error:
        filename = (error.filename or "").removeprefix(_FILE)
        where = (filename or error.name or name, error.lineno)
        return _failure(*where, error.message or "")
    except TemplateNotFound as error:
        why = f"there is no template {error.name!r}"
        return _failure(*_place(error, name), why)
    except TooLarge as error:
        return _failure(*_place(error, name), str(error))
    except TimeoutError:
        return {**_failure(*_place(sys.exception(), name), ""), "too_slow": True}
    except MemoryError:
        return _failure(name, 0, "it takes too much memory")
    except RecursionError as error:
        return _failure(*_place(error, name), "it includes or calls itself for ever")
    except Exception as error:
        kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
        return _failure(*_place(error, name), f"{kind}{error}")


def _rendered(
    environment: _Environment, name: str, facts: Mapping[str, Any], longest: int
) -> str:
    parts, length = [], 0
    for part in environment.get_template(name).generate(facts):
        length += len(part)
        if length > longest:
            raise TooLarge(f"the page is longer than {longest:,} characters")
        parts.append(part)
    return "".join(parts)


def also_wrong(
    environment: _Environment, theirs: Iterable[str], name: str
) -> list[dict[str, Any]]:
    """Return why others of their templates cannot be read, beside the one of a name."""
    found = []
    for other in sorted(set(theirs) - {name}):
        try:
            environment.get_template(other)
        except TemplateSyntaxError as error:
            found.append(_failure(other, error.lineno, error.message or ""))
        except (TimeoutError, MemoryError, RecursionError):
            # Its own page says so.
            break
    return found


def _failure(name: str, line: int, why: str) -> dict[str, Any]:
    return {"name": name, "line": line, "why": why}


def _place(error: BaseException | None, name: str) -> tuple[str, int]:
    """Return the last template in which an error was, and its line; 0: no line."""
    found = (name, 0)
    for frame, line in traceback.walk_tb(error.__traceback__ if error else None):
        file = frame.f_code.co_filename
        if file.startswith(_FILE):
            found = (file.removeprefix(_FILE), line)
    return found


def with_markup(value: dict[str, Any]) -> Any:
    """Return an object of JSON as a template gets it."""
    return Markup(value[HTML]) if value.keys() == {HTML} else value


def serve(given: TextIO, out: TextIO) -> None:
    """Answer what is asked until there is no more."""
    first = json.loads(given.readline())
    _limit_memory(first["memory"])
    environment = environment_of(first["ours"], first["theirs"])
    for line in given:
        asked = json.loads(line, object_hook=with_markup)
        _limit_time(asked["limit_s"])
        try:
            found = answer(environment, asked["name"], asked["facts"], first["longest"])
            if "why" in found:
                _limit_time(asked["limit_s"])
                others = also_wrong(environment, first["theirs"], found["name"])
                found["others"] = others
        except TimeoutError:
            found = {**_failure(asked["name"], 0, ""), "too_slow": True}
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write(f"{json.dumps(found)}\n")
        out.flush()


def _limit_memory(most: int) -> None:
    for which, limit in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        _lower(which, limit)


def _limit_time(limit_s: float) -> None:
    """Have this page interrupted after so many CPU seconds: it waits for nothing.

    What holds the interpreter is ended by the kernel, some seconds later, also if
    nobody is left to wait for it.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime + limit_s
    _hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_s) + 5, _hard))
    signal.signal(signal.SIGPROF, _interrupt)
    signal.setitimer(signal.ITIMER_PROF, limit_s)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def _lower(which: int, limit: int) -> None:
    try:
        resource.setrlimit(which, (limit, limit))
    except (OSError, ValueError):
        # Not every system has every limit.
        return


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
