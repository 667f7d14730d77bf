"""Writes the file of ``[metrics] write`` at the end of a run."""

from __future__ import annotations

import logging
from pathlib import Path

from lib.core.enums import VERSION
from lib.core.ratelimit import SendLog
from lib.core.records import RunRecord
from lib.core.settings import MAIL
from lib.report.metrics import Facts, Sent, exposition
from lib.runner import results
from lib.runner.context import RunContext
from lib.storage.codec import read_value
from lib.storage.store import send_log_path
from lib.system.errors import NewerState, StateError
from lib.system.files import Damaged, replace_softly

logger = logging.getLogger(__name__)


def write(ctx: RunContext, run: RunRecord) -> None:
    """Replace the file; log an error if that fails."""
    path = ctx.settings.metrics.write
    facts = Facts(
        ctx.settings,
        VERSION,
        run,
        results.catalog_of(ctx) if ctx.only is None else ctx.catalog,
        ctx.session.records,
        ctx.state.load_values(),
        _sent(ctx),
        ctx.now(),
    )
    try:
        # Its temporary name does not end in .prom: node_exporter reads hidden files.
        replace_softly(Path(path), exposition(facts).encode(), mode=0o644)
    except StateError as error:
        logger.error(
            "[metrics] write: cannot write %s: %s",
            path,
            getattr(error.__cause__, "strerror", error),
        )


def _sent(ctx: RunContext) -> dict[str, Sent]:
    """Return what each way has sent, mail among them, as its file says."""
    ways = [way for one in ctx.settings.channels.values() for way in one.ways]
    sent: dict[str, Sent] = {}
    for way in ("", *ways):
        try:
            log = read_value(send_log_path(ctx.settings.state, way), SendLog)
        except (OSError, Damaged, NewerState, StateError):
            # The next session says so, if it is damaged.
            log = SendLog()
        sent[way or MAIL] = Sent(log.accepted_count, log.failed_count)
    return sent
