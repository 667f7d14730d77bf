"""state/ <-> what Checker remembers: of each job that is not OK, of the runs.

Only the run that holds the lock writes; anybody may read, and never meets half a file.
"""

from __future__ import annotations

import logging
import os
import time
from array import array
from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from lib.core.encoding import Moment, Stored, same
from lib.core.enums import JobFrequency
from lib.core.jobs import CatalogEntry, FileScan, JobKey, file_stem
from lib.core.records import Record, RunRecord
from lib.core.results import Threshold, Unit, Value, Values
from lib.storage.codec import as_part, packed, read_value
from lib.storage.lock import Holder, Lock
from lib.storage.lost import RUN
from lib.storage.quarantine import Quarantine, rejoined
from lib.storage.records import FROM, STEM, Batches, RecordFiles, is_too_long
from lib.storage.writer import Writer
from lib.system.errors import StateError, why_not_usable
from lib.system.files import Damaged, read_capped, replace_softly
from lib.system.permissions import why_not_keep

logger = logging.getLogger(__name__)

#: The stem of catalog.json; no record's is that.
CATALOG = "catalog"
#: The folder of the bundles, of which lib/alerting/store.py has the contents.
BUNDLES = "bundles"
#: The copy of the last usable settings, as ``lib/storage/settingscopy.py`` has it.
SETTINGS_COPY = Path("settings", "last.json")
#: The folder of the requests, which ``lib/storage/inbox.py`` writes and reads.
INBOX = "inbox"
#: The pings that the daemon has taken: events as ``lib/storage/spool.py`` has them.
PINGS = Path(INBOX, "heartbeats")
#: The folder of what was sent by each way of a channel, written by lib.alerting.
CHANNELS = "channels"


def send_log_path(state: Path, way: str) -> Path:
    """Return the file about what was sent by mail (""), or by a way of a channel."""
    if not way:
        return state / "outbox.json"
    # No name of a channel has a dot in it.
    return state / CHANNELS / f"{way.replace('/', '.')}.json"


class Remembered(msgspec.Struct, frozen=True):
    """All that was found in the state folder."""

    records: dict[JobKey, Record] = {}
    #: What is damaged or missing, by file stem, and what is wrong with it.
    lost: dict[str, str] = {}
    run: RunRecord = RunRecord()
    #: The keys of those that could not be read before.
    read_again: frozenset[JobKey] = frozenset()


#: What is wrong with the templates of ``[page] templates``, and since when.
TEMPLATES = "templates.json"
#: What each job measured last, for people.
VALUES = "values.json"


class _LastValues(Stored, frozen=True):
    #: By the job's key, in pairs; an earlier Checker wrote an object.
    values: Mapping[str, tuple[tuple[str, Value], ...] | dict[str, Value]] = {}
    #: What those that are OK say beside it, by the job's key.
    notes: Mapping[str, str] = {}


def pairs_of(values: Values) -> msgspec.Raw:
    """Return what a job measured, as ``save_values`` takes it.

    It is written in pairs, so that the order of the check stays: the names of an
    object are sorted, for its sum.
    """
    return as_part(tuple(values.items()))


#: The name, the unit and the thresholds of each value of a job.
_Rest = tuple[tuple[str, Unit, Threshold | None, Threshold | None], ...]


class Measured:
    """What jobs measured in a run: the values of thousands differ in the numbers only.

    Those are kept one after the other, and the rest is there once.
    """

    def __init__(self) -> None:
        self._keys: list[JobKey] = []
        self._numbers = array("d")
        self._rest: list[_Rest] = []
        self._same: dict[_Rest, _Rest] = {}

    def add(self, key: JobKey, values: Values) -> None:
        """Add what a job measured, in place of what was added of it before."""
        rest = tuple(
            [
                (name, value.unit, value.warn, value.fail)
                for name, value in values.items()
            ]
        )
        self._keys.append(key)
        self._numbers.extend([value.number for value in values.values()])
        self._rest.append(self._same.setdefault(rest, rest))

    def texts(self) -> dict[JobKey, msgspec.Raw]:
        """Return what each job measured, as ``save_values`` takes it."""
        numbers = iter(self._numbers)
        return {
            key: pairs_of(
                {
                    name: Value(next(numbers), unit, warn, fail)
                    for name, unit, warn, fail in rest
                }
            )
            for key, rest in zip(self._keys, self._rest, strict=True)
        }


class _LastValuesAsText(Stored, frozen=True):
    """The same, not taken apart; ``format`` and ``sum`` are those of the file."""

    values: Mapping[str, msgspec.Raw] = {}
    notes: Mapping[str, str] = {}
    format: int = 0
    sum: str = ""


class _Alike(Stored, frozen=True):
    """Jobs of one file that differ in their names only: thousands of targets may."""

    file: str
    identities: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    #: That of the first; the others differ in their names.
    entry: CatalogEntry
    #: These, in the same order; none: each is named by its identity.
    names: tuple[str, ...] = ()


class _Catalog(Stored, frozen=True):
    """The jobs that the last runs met: catalog.json.  Made anew when it is lost."""

    jobs: tuple[_Alike, ...]
    #: When each job file was last asked, by its path.
    asked: Mapping[str, FileScan] = {}
    #: The jobs that runs met before, and since when they do not.
    gone: Mapping[str, Moment] = {}


class Catalog(msgspec.Struct, frozen=True):
    """The jobs that runs have met."""

    #: Those that the last run met.
    jobs: Mapping[JobKey, CatalogEntry] = {}
    #: When each job file was last asked, by its path.
    scans: Mapping[str, FileScan] = {}
    #: Those that runs met before, and since when they do not.
    gone: Mapping[JobKey, datetime] = {}
    #: True: there is none, or it is damaged.
    is_lost: bool = True


class State:
    """The state folder."""

    def __init__(self, folder: Path, batch_from: int = FROM) -> None:
        self.folder = folder
        #: From so many records on one file takes them all.
        self._batch_from = batch_from
        self.writer = Writer()
        self._files = RecordFiles(folder, self.writer)
        self._lock = Lock(folder)
        self._batches = Batches(folder, self.writer)
        self._quarantine = Quarantine(folder, self.writer)
        self._revision = 0

    def why_not_usable(self) -> str:
        """Return what is wrong with the folder, and what to type; nothing if usable."""
        jobs = self._files.folder if self._files.is_there else self.folder
        return (
            why_not_usable(self.folder) or why_not_usable(jobs) or self.why_not_safe()
        )

    def why_not_known(self) -> str:
        """Return why nothing is known of what runs have kept, and what to type.

        The folder is missing or cannot be read; empty: what is there can be read.
        """
        try:
            os.scandir(self.folder).close()
        except OSError:
            return why_not_usable(self.folder)
        return ""

    def why_not_safe(self) -> str:
        """Return who else may write into the folder, and what to type; or nothing."""
        try:
            return why_not_keep(self.folder)
        except OSError:
            # Whatever keeps us from it, reading says so.
            return ""

    def lock(self, now: datetime, length: timedelta) -> Holder | None:
        """Take the lock for a run; return None, or who holds it if somebody does.

        Raise StateError if the folder cannot be used.
        """
        if why := self.why_not_usable():
            raise StateError(why)
        return self._lock.take(now, length)

    def unlock(self) -> None:
        """Let others take the lock, now that the run is over."""
        self._lock.give_back()

    def count_skip(self, now: datetime) -> None:
        """Note, without the lock, that a run found another at work."""
        self._lock.count_skip(now)

    def take_skips(
        self, counted: datetime | None = None
    ) -> tuple[int, datetime | None]:
        """Return how many runs were skipped after ``counted``, and when the last.

        None where nothing can be written, so that a later run counts them.
        """
        return (0, None) if self.writer.frozen else self._lock.take_skips(counted)

    # Reading.

    def size(self) -> int:
        """Return how many bytes all its files have; those of others are left out."""
        total = 0
        for folder, _folders, names in os.walk(self.folder):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except OSError:
                    # A run has just removed it, or it is not ours to see.
                    continue
        return total

    def load(self) -> Remembered:
        """Return all that is remembered; what is damaged or missing is only named.

        Raise StateError if the folder cannot be read, or a file is of a newer Checker.
        """
        run, why = self._read_run()
        batched, damaged_batches = self._batches.load()
        filed, damaged = self._files.load()
        lost: dict[str, str] = {}
        if why and not self._is_new(bool(filed or damaged)):
            lost[RUN] = f"{self._path(RUN)}: {why}"
        records = dict(batched)
        for record in filed.values():
            if record.revision >= _revision(batched.get(record.key)):
                records[record.key] = record
                self._batches.supersede([record])
        stems = {*filed, *map(file_stem, batched)}
        for stem, error in (*damaged_batches.items(), *damaged.items()):
            if stem in stems:
                # A batch has what it held, or later, and replaces it.
                why = f"{error}; a batch has its record"
                logger.warning("%s: %s", self._path(stem), why)
            else:
                lost[stem] = self._quarantine.noted(self._path(stem), error)
        for stem in run.records:
            if stem not in stems and stem not in lost:
                lost[stem] = f"{self._path(stem)}: it is missing"
        self._revision = max(map(_revision, records.values()), default=0)
        return Remembered(records, lost, run)

    def load_run(self) -> RunRecord:
        """Return what is remembered of the runs; nothing if that is lost."""
        return self._read_run()[0]

    def load_catalog(self) -> dict[JobKey, CatalogEntry]:
        """Return the jobs the last runs met, by key; none if that is lost."""
        return dict(self.load_whole_catalog().jobs)

    def load_whole_catalog(self) -> Catalog:
        """Return the jobs that runs have met; none if that is lost.

        It is made anew.  Raise StateError if it is of a newer Checker.
        """
        path = self._path(CATALOG)
        try:
            catalog = read_value(path, _Catalog)
            jobs = dict(job for alike in catalog.jobs for job in _each(alike))
            gone = {JobKey.parse(text): at for text, at in catalog.gone.items()}
            return Catalog(jobs, dict(catalog.asked), gone, is_lost=False)
        except FileNotFoundError:
            return Catalog()
        except (Damaged, ValueError) as error:
            logger.warning("%s: %s; it is made anew", path, error)
            return Catalog()

    def load_values(self) -> dict[JobKey, Values]:
        """Return what each job measured last, by key; nothing if that is lost."""
        return self.load_values_and_notes()[0]

    def load_values_and_notes(
        self,
    ) -> tuple[dict[JobKey, Values], dict[JobKey, str]]:
        """Return what each job measured last, and the notes of those that are OK."""
        path = self.folder / VALUES
        try:
            last = read_value(path, _LastValues)
            return (
                {JobKey.parse(key): dict(pairs) for key, pairs in last.values.items()},
                {JobKey.parse(key): note for key, note in last.notes.items()},
            )
        except FileNotFoundError:
            return {}, {}
        except (Damaged, StateError, ValueError) as error:
            logger.info("%s: %s; it is made anew", path, error)
            return {}, {}

    # Writing, under the lock.

    def save_values(
        self,
        measured: Mapping[JobKey, msgspec.Raw],
        known: Container[JobKey],
        notes: Mapping[JobKey, str] = MappingProxyType({}),
        judged: Container[JobKey] = (),
    ) -> None:
        """Keep what each job measured in this run; where that fails, the run goes on.

        ``notes`` are of those that are OK; of the others that were ``judged`` there is
        none any more.  Of jobs that are ``known`` and were not checked what they
        measured before stays.  Nothing is judged by it, so it is written without fsync.
        """
        before = self._last_values()
        said = {
            key: note
            for key, note in before.notes.items()
            if JobKey.parse(key) in known and JobKey.parse(key) not in judged
        }
        said.update({str(key): note for key, note in notes.items()})
        if not measured and said == before.notes:
            return
        new = {str(key): text for key, text in measured.items()}
        values = {
            key: as_part(msgspec.json.decode(text))
            for key, text in before.values.items()
            if key not in new and JobKey.parse(key) in known
        }
        values.update(new)
        last = _LastValuesAsText(values, said)
        try:
            replace_softly(self.folder / VALUES, packed(last))
        except StateError as error:
            logger.warning("%s; the run goes on", error)

    def _last_values(self) -> _LastValuesAsText:
        try:
            content = read_capped(self.folder / VALUES)
            return msgspec.json.decode(content, type=_LastValuesAsText)
        except (OSError, Damaged, ValueError):
            # Whoever reads it says so.
            return _LastValuesAsText()

    def clear_leftovers(self) -> None:
        """Remove what a run that was killed left half written."""
        for folder in (self.folder, self._files.folder):
            self.writer.remove_leftovers(folder)

    def quarantine(self, stems: Iterable[str], now: datetime) -> None:
        """Move damaged files out of the way; one that cannot be moved stays.

        Those that could not be read are kept apart, for ``with_read_again``.
        """
        self._quarantine.put([self._path(stem) for stem in stems], now)

    def put_away(self, paths: Iterable[Path], now: datetime) -> None:
        """Move files that are no requests to quarantine; what cannot be moved stays."""
        self._quarantine.put(paths, now)

    def with_read_again(self, found: Remembered, now: datetime) -> Remembered:
        """Return what is remembered with what can be read by now, and could not before.

        When all of it is saved, ``drop_read_again`` removes where it was.
        """
        if self.writer.frozen:
            return found
        records, lost = dict(found.records), dict(found.lost)
        keys = []
        for old in self._quarantine.read_again(now):
            keys.append(old.key)
            records[old.key] = rejoined(records.get(old.key), old)
            lost.pop(file_stem(old.key), None)
            self._revision = max(self._revision, old.revision)
        return Remembered(records, lost, found.run, frozenset(keys))

    def drop_read_again(self) -> None:
        """Remove the files of what could be read again; raise StateError."""
        self._quarantine.drop()

    def save(self, records: Iterable[Record]) -> None:
        """Commit records, each with its queued messages; raise StateError.

        Many go into one file first; ``settle`` gives each its own.  One that has grown
        too large to be read again is not written: it stays as it was, until what is
        queued has left.
        """
        self._revision += 1
        records = [replace(one, revision=self._revision) for one in records]
        if len(records) >= self._batch_from:
            self._batches.write((one,) for one in records if not is_too_long(one))
            return
        self._write(records)

    def move(self, pairs: Iterable[tuple[Record, Record]]) -> None:
        """Commit pairs of records, both of a pair in one step; raise StateError.

        What one held is in the other, so that it is never in both or in none.
        """
        self._revision += 1
        self._batches.write(
            tuple(replace(record, revision=self._revision) for record in pair)
            for pair in pairs
            if not any(map(is_too_long, pair))
        )

    def settle(self, until: float) -> None:
        """Put what is in batches into files of its own; raise StateError.

        As much as can be done until that moment of the monotonic clock; the next run
        goes on with it.
        """
        for some in self._batches.pending():
            if time.monotonic() >= until:
                return
            self._write(some)
        self._batches.remove()

    @property
    def is_settled(self) -> bool:
        """Return whether each record is in a file of its own."""
        return not self._batches.are_there

    def _write(self, records: list[Record]) -> None:
        self._files.write(records)
        self._batches.supersede(records)

    def forget(self, stems: Iterable[str]) -> None:
        """Remove the files of jobs of which nothing is left to remember.

        Not while a batch may hold an older record of one, which would come back.
        """
        stems = list(stems) if self.is_settled else []
        if stems:
            self._files.remove(stems)

    def save_run(self, run: RunRecord) -> None:
        """Commit what is remembered of the runs; raise StateError."""
        self.writer.replace([(self._path(RUN), packed(run))])

    def save_catalog(
        self,
        jobs: Mapping[JobKey, CatalogEntry],
        asked: Mapping[str, FileScan] | None = None,
        gone: Mapping[JobKey, datetime] | None = None,
    ) -> None:
        """Replace the list of jobs that were met; raise StateError."""
        gone_in_order = {str(key): at for key, at in sorted((gone or {}).items())}
        content = packed(_Catalog(_alike(jobs), asked or {}, gone_in_order))
        self.writer.replace([(self._path(CATALOG), content)])

    def _is_new(self, has_files: bool) -> bool:
        """Return whether no run has left anything in the folder yet."""
        others = (self._path(RUN), self._path(CATALOG))
        is_there = has_files or not self.is_settled or any(map(os.path.lexists, others))
        if not is_there:
            logger.info("the state folder %s is empty: a fresh start", self.folder)
        return not is_there

    def _path(self, stem: str) -> Path:
        if stem in (RUN, CATALOG) or STEM.fullmatch(stem):
            return self.folder / f"{stem}.json"
        return self._files.path(stem)

    def _read_run(self) -> tuple[RunRecord, str]:
        """Return what is remembered of the runs, and why that is nothing if it is."""
        try:
            return read_value(self._path(RUN), RunRecord), ""
        except FileNotFoundError:
            return RunRecord(), "it is missing"
        except Damaged as error:
            return RunRecord(), str(error)


#: All of an entry but its name, by which targets differ.
_what_it_shares = attrgetter(*CatalogEntry.__struct_fields__[1:])


def _alike(jobs: Mapping[JobKey, CatalogEntry]) -> tuple[_Alike, ...]:
    """Return the jobs of a catalog in order, those that are alike together."""
    groups: dict[Any, list[JobKey]] = {}
    for key in sorted(jobs):
        entry = jobs[key]
        is_named = entry.name != key.identity
        groups.setdefault((key.file, is_named, _what_it_shares(entry)), []).append(key)
    return tuple(
        _Alike(
            file,
            tuple(key.identity for key in keys),
            jobs[keys[0]],
            tuple(jobs[key].name for key in keys) if is_named else (),
        )
        for (file, is_named, _shared), keys in groups.items()
    )


def _each(alike: _Alike) -> Iterator[tuple[JobKey, CatalogEntry]]:
    """Yield jobs that are alike, what they have in common stored once.

    Raise ValueError if some have no name.
    """
    file, entry = same(alike.file), alike.entry
    entry = replace(
        entry,
        file=same(entry.file),
        schedule=same(entry.schedule),
        policy=same(entry.policy),
        contact=same(entry.contact),
        tags=same(entry.tags),
    )
    if len(alike.identities) == 1:
        yield JobKey(file, alike.identities[0]), entry
        return
    names = alike.names or alike.identities
    for identity, name in zip(alike.identities, names, strict=True):
        yield JobKey(file, identity), replace(entry, name=name)


def last_runs(run: RunRecord) -> dict[JobFrequency, datetime]:
    """Return when each frequency last ran; what cannot be read is left out."""
    found = {}
    for word, moment in run.last_runs.items():
        try:
            when = datetime.fromisoformat(moment)
            if when.tzinfo is not None:
                found[JobFrequency(word)] = when
        except (TypeError, ValueError):
            logger.warning("run.json: %r is no time of a last run", word)
    return found


def _revision(record: Record | None) -> int:
    return record.revision if record else 0
