"""Lost records: which there are, of which people were notified, which are waited for.

A record is lost where its file is damaged, or is missing though run.json lists it.  One
mail names it.  That it was named is noted in Checker's own record, durable in one step
with the mail, and before a damaged file goes to quarantine: whenever a run is killed,
the next one finds it in its place or noted.  Its job is unknown until a run has met it
and kept a record of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.core.jobs import OWN_KEY, file_stem
from lib.core.policy import FORGET_AFTER
from lib.storage.records import STEM

#: The stem of run.json; no record's is that.
RUN = "run"
#: The file of Checker's own record.
OWN_STEM = file_stem(OWN_KEY)


class LostRecords(msgspec.Struct, frozen=True):
    """The lost records, by file stem."""

    #: What is wrong with each, for people.
    why: Mapping[str, str] = {}
    #: Since when people know of it, as text; of those that have come back, too.
    noted: Mapping[str, Any] = {}


def known_lost(
    found: Mapping[str, str], noted: Mapping[str, Any], there: Iterable[str]
) -> LostRecords:
    """Return what is lost now, and what was before and has not come back.

    ``there`` are the stems of the records that were read.
    """
    if not noted:
        return LostRecords(found)
    gone = (stem for stem in noted.keys() - set(there) if _is_of_a_job(stem))
    before = {stem: f"{stem}: it was lost before" for stem in gone}
    return LostRecords({**before, **found}, noted)


def not_noted(lost: LostRecords) -> dict[str, str]:
    """Return those that people are to be notified of, and what is wrong with each."""
    return {stem: why for stem, why in lost.why.items() if stem not in lost.noted}


def with_all_noted(lost: LostRecords, now: datetime) -> LostRecords:
    """Return the same once a mail names all of them."""
    since = dict.fromkeys(not_noted(lost), now.isoformat())
    return replace(lost, noted={**lost.noted, **since})


def waited_for(lost: LostRecords, met: Iterable[str], now: datetime) -> list[str]:
    """Return the stems of those whose jobs are still to be met.

    ``met`` are the stems of the jobs that a run has met.  They are waited for as long
    as the records of jobs are kept that no run meets.
    """
    if not lost.why:
        # What is met in an ordinary run is many, and naming each costs a digest.
        return []
    return sorted(
        stem
        for stem in lost.why.keys() - set(met) - {OWN_STEM}
        if _is_of_a_job(stem) and now - _since(lost, stem, now) <= FORGET_AFTER
    )


def _is_of_a_job(stem: str) -> bool:
    return stem != RUN and not STEM.fullmatch(stem)


def _since(lost: LostRecords, stem: str, otherwise: datetime) -> datetime:
    try:
        return min(datetime.fromisoformat(lost.noted[stem]), otherwise)
    except (KeyError, TypeError, ValueError):
        return otherwise
