"""The destinations of the log.

Without flags only errors are printed, on standard error, which cron mails.  ``-v``
writes everything to the log file, ``-d`` to standard error.  If the log file cannot be
written, that is reported once, and monitoring goes on.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from pathlib import Path
from typing import TextIO

from lib.core.sanitize import scrubbed
from lib.system.streams import error_stream

FORMAT = "%(asctime)s %(levelname)s %(message)s"
#: A larger log is renamed to NAME.1 when the next run opens it.
MAX_LOG = 10 * 1024 * 1024


class _Formatter(logging.Formatter):
    """A formatter that removes secrets, whatever was logged."""

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
    """Send the log where the flags say; mails of nomail are always logged."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # A handler that cannot write must not fail a run; see handleError below.
    logging.raiseExceptions = False
    # Workers have another one later.
    stderr = error_stream()
    if to_stderr:
        _add(root, logging.StreamHandler(stderr), _Formatter(secrets))
    else:
        errors = logging.StreamHandler(stderr)
        errors.setLevel(logging.ERROR)
        # Errors of job code are reported with its job; see lib/workers/worker.py.
        errors.set_name("supervisor")
        _add(root, errors, _Formatter(secrets, "checker: %(message)s"))
    if to_file:
        log = _LogFile(logfile, stderr)
        # Opened here, so that an error is reported once, not by each process.
        log.open()
        _add(root, log, _Formatter(secrets))
    elif mails_to_file and not to_stderr:
        mails = logging.getLogger("lib.alerting.channels")
        _add(mails, _LogFile(logfile, stderr), _Formatter(secrets))


class _LogFile(logging.StreamHandler[TextIO]):
    """The log file, opened when there is something to write.

    If that fails, it is reported once, and the log continues on standard error: a mail
    of nomail must not be lost.
    """

    def __init__(self, logfile: Path, fallback: TextIO) -> None:
        super().__init__(fallback)
        self._logfile = logfile
        self._fallback = fallback
        self._is_open = False

    def emit(self, record: logging.LogRecord) -> None:
        self.open()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Continue on the fallback stream: the disk is full, or failing."""
        error = sys.exc_info()[1]
        if self.stream is not self._fallback:
            self._use_fallback(getattr(error, "strerror", None) or str(error))
            super().emit(record)

    def _use_fallback(self, why: str) -> None:
        self.stream = self._fallback
        path = self._logfile
        print(
            f"checker: the log file {path} cannot be written: {why}; "
            "logging continues here",
            file=self.stream,
        )

    def open(self) -> None:
        """Open the file, unless that was done."""
        if self._is_open:
            return
        self._is_open = True
        path = self._logfile
        # O_NONBLOCK: do not wait for a reader, or for a lease to end.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        why = _why_not_log(path)
        if why:
            self._use_fallback(why)
            return
        try:
            if path.exists() and path.stat().st_size > MAX_LOG:
                path.replace(path.with_name(f"{path.name}.1"))
            descriptor = os.open(path, flags, 0o640)
        except OSError as error:
            self._use_fallback(error.strerror or str(error))
            return
        self.stream = os.fdopen(
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )


def _why_not_log(path: Path) -> str:
    """Return why a path cannot be a log file, as writing to it might block."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return ""
        is_null = status.st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        # It does not exist yet, or opening it gives the error.
        return ""
    if stat.S_ISCHR(status.st_mode) and is_null:
        return ""
    kinds = (
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISSOCK, "socket"),
    )
    kind = next((word for test, word in kinds if test(status.st_mode)), "device")
    return f"it is a {kind}, not a regular file"


def _add(
    logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter
) -> None:
    handler.setFormatter(formatter)
    logger.addHandler(handler)
