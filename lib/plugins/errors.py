"""Turns what job code raised or returned into text for people.

Every function returns a text, even if the ``str`` or ``repr`` of an object raises.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

from lib.core.sanitize import RAW_LENGTH, harmless

#: The maximum length of a reason; an exception may hold a whole HTML page.
REASON_TEXT_LENGTH = 4000
#: The maximum length of a traceback; its end is kept.
TRACEBACK_LENGTH = 4096


#: Folders of our own code, whose frames are left out of tracebacks.
_LIB = os.path.dirname(os.path.dirname(__file__))
_OURS = tuple(
    os.path.join(_LIB, part)
    for part in (f"plugins{os.sep}", f"workers{os.sep}", f"system{os.sep}process.py")
)


def described(error: BaseException) -> str:
    """Return the class and the text of an exception."""
    text = text_of(error)
    if isinstance(error, SystemExit):
        return f"it called sys.exit({text})"
    if isinstance(error, ModuleNotFoundError) and text:
        text = f"{text}; install a library with {sys.executable} -m pip install"
    name = type(error).__name__
    if isinstance(error, MemoryError):
        from lib.system import limits

        name = limits.memory_words()
    return f"{name}: {text}" if text else name


def text_of(error: BaseException) -> str:
    """Return the text of an exception."""
    try:
        return str(error)[:RAW_LENGTH].strip()
    except BaseException as second:  # noqa: B036  # a __str__ may raise anything
        return f"(its text is not available: {type(second).__name__})"


def formatted(error: BaseException) -> str:
    """Return the traceback, from the first frame of the author's code on."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace)
        return "".join(lines)[-RAW_LENGTH:]
    except BaseException:  # noqa: B036  # a __str__ may raise anything
        return type(error).__name__


def whereabouts(thread: int) -> str:
    """Return the stack of a thread, from the author's code on; "" if it has ended."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    while stack and (
        _is_ours(stack[0].filename) or stack[0].filename == threading.__file__
    ):
        del stack[0]
    return "Stack of the job:\n" + "".join(traceback.format_list(stack))[-RAW_LENGTH:]


def shown(answer: object) -> str:
    """Return a short ``repr`` of an object, in one line."""
    try:
        words = harmless(repr(answer)[:1000])
    except BaseException:  # noqa: B036  # a __repr__ may raise anything
        return f"a {type(answer).__name__}"
    return words if len(words) <= 80 else f"{words[:77]}..."


def _is_ours(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", *_OURS))
