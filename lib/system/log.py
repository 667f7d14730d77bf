"""The destinations of the log.

Without flags only errors are printed, on standard error, which cron mails.  ``-v``
writes everything to the log file, ``-d`` to standard error.  If the log file cannot be
written, that is reported once, and monitoring goes on.

Several processes may append to the log at once (a run, one that is turned away, the
daemon), and logrotate may rename or truncate it: before each line the file is opened
again if another one is in its place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TextIO

from lib.core.sanitize import scrubbed
from lib.core.secret import Secrets
from lib.core.text import in_zone
from lib.system.streams import error_stream

logger = logging.getLogger(__name__)

FORMAT = "%(asctime)s %(levelname)s %(message)s"
#: A larger log is renamed to NAME.1, in place of the one before.
MAX_LOG = 10 * 1024 * 1024
#: What such a name leads to is another file in each process.
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/self/fd/")


class _Formatter(logging.Formatter):
    """A formatter that removes secrets, whatever was logged."""

    def __init__(
        self,
        secrets: Secrets,
        form: str = FORMAT,
        zone: tzinfo | None = None,
    ) -> None:
        super().__init__(form)
        self._secrets = secrets
        self._zone = zone

    def formatTime(  # noqa: N802
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """Return the time with its offset: ``2026-11-22 13:00:05.250+01:00``."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return in_zone(moment, self._zone).isoformat(" ", "milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record), self._secrets)


def start_log(
    logfile: Path,
    secrets: Secrets,
    *,
    to_file: bool,
    to_stderr: bool,
    mails_to_file: bool,
    zone: tzinfo | None = None,
) -> None:
    """Send the log where the flags say; mails of nomail are always logged.

    ``zone`` is for the times in it; None: the zone of this machine.
    """
    root = logging.getLogger()
    root.handlers.clear()
    # A run says one line of each job, which costs something also where nobody hears it.
    root.setLevel(logging.INFO if to_file or to_stderr else logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # A handler that cannot write must not fail a run; see handleError below.
    logging.raiseExceptions = False
    # Workers have another one later.
    stderr = error_stream()
    if to_stderr:
        _add(root, logging.StreamHandler(stderr), _Formatter(secrets, zone=zone))
    else:
        errors = logging.StreamHandler(stderr)
        errors.setLevel(logging.ERROR)
        # Errors of job code are reported with its job; see lib/workers/worker.py.
        errors.set_name("supervisor")
        _add(root, errors, _Formatter(secrets, "checker: %(message)s"))
    if to_file:
        log = LogFile(logfile, stderr)
        _add(root, log, _Formatter(secrets, zone=zone))
        # Opened here, so that an error is reported once, not by each process.
        log.open()
    elif mails_to_file and not to_stderr:
        mails = logging.getLogger("lib.alerting.channels")
        mails.setLevel(logging.INFO)
        _add(mails, LogFile(logfile, stderr), _Formatter(secrets, zone=zone))


class LogFile(logging.StreamHandler[TextIO]):
    """The log file, opened when there is something to write.

    If that fails, it is reported once, and the log continues on standard error: a mail
    of nomail must not be lost.
    """

    def __init__(
        self, logfile: Path, fallback: TextIO, most_bytes: int = MAX_LOG
    ) -> None:
        super().__init__(fallback)
        self._logfile = logfile
        self._fallback = fallback
        self._most_bytes = most_bytes
        self._has_failed = False
        self._may_rename = True
        #: What is open, by device and inode.
        self._opened: tuple[int, int] | None = None

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
        self._has_failed = True
        self.stream = self._fallback
        if why:
            print(
                f"checker: the log file {self._logfile} cannot be written: {why}; "
                "logging continues here",
                file=self.stream,
            )

    def open(self) -> None:
        """Open the file that has the log's name now; rename it first if it is full."""
        if self._has_failed:
            return
        try:
            status = os.stat(self._logfile)
        except OSError:
            # It does not exist yet, or opening it gives the error.
            self._open()
            return
        if self._may_rename and status.st_size > self._most_bytes:
            self._rename()
        elif _identity(status) != self._opened:
            self._open()

    def _open(self) -> None:
        why = _why_not_log(self._logfile)
        if why is not None:
            self._use_fallback(why)
            return
        # O_NONBLOCK: do not wait for a reader, or for a lease to end.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self._logfile, flags, 0o640)
        except OSError as error:
            self._use_fallback(error.strerror or str(error))
            return
        before, self.stream = self.stream, os.fdopen(
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
        self._opened = _identity(os.fstat(descriptor))
        if before is not self._fallback:
            with contextlib.suppress(OSError):
                before.close()

    def _rename(self) -> None:
        try:
            # Where the name is a link, the file that it leads to.
            _rename_full(self._logfile.resolve(), self._most_bytes)
        except OSError as error:
            # Its folder may be somebody else's, who has logrotate for it.
            self._may_rename = False
            why = error.strerror or error
            logger.warning("%s is full and cannot be renamed: %s", self._logfile, why)
        self._open()


def _rename_full(path: Path, most_bytes: int) -> None:
    """Rename a full log to NAME.1, in place of the one before; raise OSError.

    Whoever renames a file holds a lock on it: of two processes the second must not put
    the new file in the place of the full one.
    """
    import fcntl

    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        is_there = _identity(status) == _identity(os.stat(path))
        if is_there and status.st_size > most_bytes:
            os.rename(path, path.with_name(f"{path.name}.1"))
    except (BlockingIOError, FileNotFoundError):
        # Another process is renaming it.
        return
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _why_not_log(path: Path) -> str | None:
    """Return why a path cannot be a log file, as writing to it might block.

    Nothing where it leads to a standard stream; None where it can be a log file.
    """
    if str(path).startswith(_STREAMS):
        return ""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            return None
        is_null = status.st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        # It does not exist yet, or opening it gives the error.
        return None
    if stat.S_ISCHR(status.st_mode) and is_null:
        return None
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
