"""Where the password of the mail account comes from.

Nothing here shows what it reads; a sentence may be about a password that was written
in the wrong place, so none of them repeats the option's value.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lib.readers import shown
from lib.shortage import shortage
from lib.trust import why_not_secret

COMMAND_TIMEOUT_S = 10
MAX_BYTES = 64 * 1024


def find_password(
    option: str,
    value: Any,
    folder: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> str:
    """Return the password that the option (``pass``, ``pass_file``, ...) leads to.

    ``folder`` is where a relative path starts.  Raise ValueError saying what to do.
    """
    if option == "pass_file":
        return _first_line(_of_file(folder / os.path.expanduser(value), folder))
    if option == "pass_env":
        return _of_environment(value, environ)
    if option == "pass_command":
        return _first_line(_of_command(value, folder, timeout_s))
    return str(value)


def _of_file(path: Path, folder: Path) -> bytes:
    try:
        refused = why_not_secret(path)
        if refused:
            raise ValueError(f"the file holds the password, and {refused}")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            return file.read(MAX_BYTES) or b""
    except FileNotFoundError as error:
        text = f"there is no such file (a relative path starts at {folder})"
        raise ValueError(text) from error
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error


def _of_environment(name: str, environ: Mapping[str, str]) -> str:
    found = environ.get(name, "")
    if not found:
        raise ValueError(
            "there is no environment variable of that name, or it is empty; "
            "set it where Checker is started, such as at the top of the crontab"
        )
    return _first_line(found.encode("utf-8", "surrogateescape"))


def _of_command(words: Sequence[str], folder: Path, timeout_s: float) -> bytes:
    """Return what the command prints; no shell reads it, and it has no input."""
    import signal
    import subprocess

    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = shortage(error, of_process=True)
        why = why or getattr(error, "strerror", None) or "it is no command"
        raise ValueError(f"the command cannot be started: {why}") from error
    with process:
        assert process.stdout and process.stderr
        try:
            printed, said = _gathered(process.stdout, process.stderr, timeout_s)
            code = process.wait(1)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            os.killpg(process.pid, signal.SIGKILL)
            text = f"the command did not end within {timeout_s:g} s"
            raise ValueError(text) from error
    if code < 0:
        raise ValueError(f"the command was ended by signal {-code}")
    if code:
        first = said.decode(errors="replace").strip().partition("\n")[0]
        more = f": {shown('', first)}" if first else ""
        raise ValueError(f"the command ended with exit code {code}{more}")
    return printed


def _gathered(
    stdout: IO[bytes], stderr: IO[bytes], timeout_s: float
) -> tuple[bytes, bytes]:
    """Return the beginning of what both pipes bring until they are closed.

    Raise TimeoutError if that takes longer: a child that was left behind may hold them.
    """
    import selectors

    ends_at = time.monotonic() + timeout_s
    found = {stdout.fileno(): b"", stderr.fileno(): b""}
    with selectors.DefaultSelector() as waiting:
        for number in found:
            waiting.register(number, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0, ends_at - time.monotonic()))
            if time.monotonic() >= ends_at:
                raise TimeoutError
            for key, _events in ready:
                part = os.read(key.fd, MAX_BYTES)
                if not part:
                    waiting.unregister(key.fd)
                found[key.fd] = (found[key.fd] + part)[:MAX_BYTES]
    return found[stdout.fileno()], found[stderr.fileno()]


def _first_line(content: bytes) -> str:
    try:
        line = content.decode("utf-8-sig").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError as error:
        raise ValueError("what came is not UTF-8") from error
    if not line:
        raise ValueError("the first line is empty, where the password should be")
    if not line.isprintable():
        raise ValueError("the first line holds a control character")
    return line
