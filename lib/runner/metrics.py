"""Writes the file of ``[metrics] write`` at the end of a run."""

from __future__ import annotations

import logging
from pathlib import Path

from lib.core.enums import VERSION
from lib.core.records import RunRecord, with_lost
from lib.report.metrics import Facts, exposition, read_sent
from lib.runner import results
from lib.runner.context import RunContext
from lib.storage.history import History
from lib.system.errors import StateError
from lib.system.files import replace_softly

logger = logging.getLogger(__name__)


def write(ctx: RunContext, run: RunRecord) -> None:
    """Replace the file; log an error if that fails, or the state folder is gone."""
    path = ctx.settings.metrics.write
    if why := ctx.state.why_not_known():
        # It was there when the run began.
        logger.error("[metrics] write: %s is left as before: %s", path, why)
        return
    catalog = results.catalog_of(ctx) if ctx.only is None else ctx.catalog
    facts = Facts(
        ctx.settings,
        VERSION,
        run,
        catalog,
        with_lost(ctx.session.records, ctx.session.lost, catalog),
        ctx.state.load_values(),
        read_sent(ctx.settings),
        ctx.now(),
        History(ctx.settings.state, ctx.settings.zone).latest(),
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
