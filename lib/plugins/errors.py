"""Why something failed, in words: what job code raised, returned or printed.

Whatever a stranger's object does while it is asked for its text, there is an answer.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

from lib.core.sanitize import RAW_LENGTH, harmless

#: As much of a reason as is kept; a page of HTML in an exception is not a reason.
REASON_TEXT_LENGTH = 4000
#: As much of a traceback as is kept; the end is what tells.
TRACEBACK_LENGTH = 4096


#: Whose frames say nothing to the author of a job.
_LIB = os.path.dirname(os.path.dirname(__file__))
_OURS = tuple(
    os.path.join(_LIB, part)
    for part in (f"plugins{os.sep}", f"workers{os.sep}", f"system{os.sep}process.py")
)


def described(error: BaseException) -> str:
    """Return what an exception says: its class and its text."""
    text = text_of(error)
    if isinstance(error, SystemExit):
        return f"it called sys.exit({text})"
    if isinstance(error, ModuleNotFoundError) and text:
        text = f"{text}; a library is installed with {sys.executable} -m pip install"
    name = type(error).__name__
    if isinstance(error, MemoryError):
        from lib.system import limits

        name = limits.memory_words()
    return f"{name}: {text}" if text else name


def text_of(error: BaseException) -> str:
    """Return the text of an exception, as its author gave it."""
    try:
        return str(error)[:RAW_LENGTH].strip()
    except BaseException as worse:  # noqa: B036  # whatever it is, we want words
        return f"(its text cannot be made: {type(worse).__name__})"


def formatted(error: BaseException) -> str:
    """Return the traceback, from the author's own code on."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace)
        return "".join(lines)[-RAW_LENGTH:]
    except BaseException:  # noqa: B036  # whatever it is, we want words
        return type(error).__name__


def whereabouts(thread: int) -> str:
    """Return where a thread is, from the author's own code on; "" if it is gone."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    while stack and (
        _is_ours(stack[0].filename) or stack[0].filename == threading.__file__
    ):
        del stack[0]
    return "It was here:\n" + "".join(traceback.format_list(stack))[-RAW_LENGTH:]


def shown(answer: object) -> str:
    """Return a short look at an object, in one line."""
    try:
        words = harmless(repr(answer)[:1000])
    except BaseException:  # noqa: B036  # whatever it is, we want words
        return f"a {type(answer).__name__}"
    return words if len(words) <= 80 else f"{words[:77]}..."


def _is_ours(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", *_OURS))
