"""Jobs that are gone: what becomes of one that was not OK and is not checked any more.

Its section or file was deleted, or renamed.  That is no recovery: those who know of the
trouble get one closing message.  A job counts as gone after two complete discoveries
without it, so that neither a half-written file nor a worker that died closes anything;
one that is disabled is closed at once.
The cases are in ``tests/unit/runner/test_absence.py``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from lib.core import decisions, policy
from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.messages import Message, fit_mail
from lib.core.records import Record
from lib.core.settings import Settings
from lib.runner import results
from lib.runner.context import RunContext
from lib.runner.selection import section_of

logger = logging.getLogger(__name__)


class Discovery(msgspec.Struct, frozen=True):
    """What a run knows of which jobs there are."""

    #: The names of the job files there are, and of those that this run loaded whole.
    files: frozenset[str]
    loaded: frozenset[str]
    #: The paths of the job files.
    paths: frozenset[Path]
    #: The titles of the sections, and of those in which something is wrong.
    titles: frozenset[str]
    wrong: frozenset[str]
    #: All folders and all includes could be read, and are those of settings.cfg.
    is_whole: bool = True

    def lacks(self, key: JobKey) -> bool:
        """Return whether a job is certainly not there."""
        if not self.is_whole:
            return False
        if key.is_section:
            return key.identity not in self.titles
        if key.is_refused_file:
            return Path(key.identity) not in self.paths
        if self._is_hidden(key):
            return False
        return key.file in self.loaded or key.file not in self.files

    def has_section(self, key: JobKey) -> bool:
        """Return whether a job has the name of a section that is there."""
        return key.is_check and key.identity in self.titles

    def _is_hidden(self, key: JobKey) -> bool:
        """Return whether a wrong section may be the one that has the job."""
        base, _slash, _host = key.identity.rpartition("/")
        return bool(self.wrong & {base, key.identity, section_of(key.file)})


def discovery_of(ctx: RunContext) -> Discovery:
    """Return what a run knows when all its workers are done."""
    settings = ctx.settings
    # Those of Checker's own that are OK are not among those that were judged.
    wrong = {
        key.identity
        for key, status in ctx.judged.items()
        if status is not Status.OK and ctx.met[key].is_own
    }
    return Discovery(
        frozenset(file.name for file in settings.job_files),
        frozenset(ctx.loaded),
        frozenset(file.path for file in settings.job_files),
        frozenset(results.titles_of(settings)),
        frozenset(wrong - {""}),
        not ctx.stop.asked and _is_whole(settings),
    )


def _is_whole(settings: Settings) -> bool:
    return settings.last_usable is None and not any(
        problem.section == "general" and not problem.warning
        for problem in settings.problems
    )


def close_gone(ctx: RunContext) -> None:
    """Count the jobs that were not found, and close those that are gone."""
    there = discovery_of(ctx)
    now = ctx.now()
    for before in list(_not_found(ctx)):
        if before.key in ctx.met:
            _close(ctx, before, now)
            continue
        if not there.lacks(before.key):
            continue
        if _was_a_stand_in(ctx, before) and there.has_section(before.key):
            results.mend(ctx, before)
            continue
        record = policy.not_found(before, now)
        if not policy.is_gone(record):
            ctx.session.keep(record)
            continue
        _close(ctx, record, now)


def _close(ctx: RunContext, record: Record, now: datetime) -> None:
    messages = tuple(_messages(ctx, record))
    logger.info("%s: no longer checked; it was %s", record.name, record.status)
    ctx.session.keep(policy.closed(record, messages))
    ctx.audit_log.note(decisions.gone(record, messages, now))


def _not_found(ctx: RunContext) -> Iterator[Record]:
    """Yield the records of jobs that were not OK and are not met, or are disabled."""
    for key, record in ctx.session.records.items():
        if record.status is Status.OK or not key.is_job:
            continue
        if key not in ctx.met or not ctx.met[key].enabled:
            yield record


def _was_a_stand_in(ctx: RunContext, record: Record) -> bool:
    """Return whether the last run had a failing job in the place of a wrong section."""
    return record.unseen_since is None and record.key not in ctx.catalog


def _messages(ctx: RunContext, record: Record) -> Iterator[Message]:
    """Yield the closing message, if anybody was notified.

    A channel that is gone needs none: whoever deleted it knows.
    """
    if record.notified_at is None or record.key.is_way:
        return
    from lib.alerting.templates import MailContext, closing_message

    settings, message_id = ctx.settings, os.urandom(16).hex()
    context = MailContext(ctx.now(), settings.zone, settings.command)
    message = closing_message(message_id, record, settings.alertcontact, context)
    yield fit_mail(message, settings.secrets)
