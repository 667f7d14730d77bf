"""Where the log goes.

Without flags only errors are heard, on standard error, where cron makes a mail of
them.  ``-v`` writes everything to the log file, ``-d`` to standard error.  A log that
cannot be written is said once, and monitoring goes on.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from lib.model import scrubbed

FORMAT = "%(asctime)s %(levelname)s %(message)s"
#: A log that is not looked after is kept to this; one older copy stays beside it.
MAX_LOG = 10 * 1024 * 1024


class _Formatter(logging.Formatter):
    """One that lets no secret through, whatever was logged."""

    def __init__(self, secrets: tuple[str, ...], form: str = FORMAT) -> None:
        super().__init__(form)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record), self._secrets)


def start_log(
    logfile: Path,
    secrets: tuple[str, ...],
    *,
    to_file: bool,
    to_stderr: bool,
    mails_to_file: bool,
) -> None:
    """Send the log where the flags say; mails of nomail always have a place."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # What a handler cannot write is no reason to fail a run; see below.
    logging.raiseExceptions = False
    stderr = _own_stderr()
    if to_stderr:
        _add(root, logging.StreamHandler(stderr), _Formatter(secrets))
    else:
        errors = logging.StreamHandler(stderr)
        errors.setLevel(logging.ERROR)
        # Job code's errors are told with its job; see lib/worker.py.
        errors.set_name("supervisor")
        _add(root, errors, _Formatter(secrets, "checker: %(message)s"))
    if to_file:
        _add(root, _LogFile(logfile, stderr), _Formatter(secrets))
    elif mails_to_file and not to_stderr:
        mails = logging.getLogger("lib.channels")
        _add(mails, _LogFile(logfile, stderr), _Formatter(secrets))


def _own_stderr() -> TextIO:
    """Return standard error as it is now; workers have another one later."""
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1, errors="replace")


class _LogFile(logging.StreamHandler[TextIO]):
    """The log file, opened when there is something to write.

    If it cannot be, that is said once, and what it would have held goes to standard
    error instead: a mail of nomail is in the log or nowhere.
    """

    def __init__(self, logfile: Path, instead: TextIO) -> None:
        super().__init__(instead)
        self._logfile = logfile
        self._instead = instead
        self._is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_open:
            self._is_open = True
            self._open()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on elsewhere: the disk is full, or failing."""
        error = sys.exc_info()[1]
        if self.stream is not self._instead:
            self._go_on_instead(getattr(error, "strerror", None) or str(error))
            super().emit(record)

    def _go_on_instead(self, why: str) -> None:
        self.stream = self._instead
        path = self._logfile
        print(
            f"checker: the log file {path} cannot be written: {why}; it goes on here",
            file=self.stream,
        )

    def _open(self) -> None:
        path = self._logfile
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            if path.exists() and path.stat().st_size > MAX_LOG:
                path.replace(path.with_name(f"{path.name}.1"))
            descriptor = os.open(path, flags, 0o640)
        except OSError as error:
            self._go_on_instead(error.strerror or str(error))
            return
        self.stream = os.fdopen(
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )


def _add(
    logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter
) -> None:
    handler.setFormatter(formatter)
    logger.addHandler(handler)
