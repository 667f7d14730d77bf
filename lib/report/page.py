"""The page: what state/ says of all jobs as HTML, whole in one file, without script.

``overview`` is its front, ``job_page`` the page of one job.  Both are pure functions of
a Snapshot.  The texts around the facts are in ``templates/``; everything that a job, a
server or the settings say goes through jinja2's autoescape.  What is Markup here is
made of numbers and of words of this module only.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec.structs import replace

from lib.core import announcements, health
from lib.core.announcements import Announcement, Level
from lib.core.decisions import Entry
from lib.core.enums import IN_THE_WAY, Decision, Health, Status
from lib.core.health import proof_in, proved_at
from lib.core.jobs import KIND_FILES, CatalogEntry, JobKey, page_name
from lib.core.records import Record, counted_jobs
from lib.core.results import (
    DURATION,
    Unit,
    Value,
    Values,
    amount_words,
    telling_value,
    value_lines,
)
from lib.core.sanitize import harmless
from lib.core.settings import Settings
from lib.core.silences import Held
from lib.core.text import (
    TimeText,
    age,
    counted,
    cut,
    duration,
    in_zone,
    policy_words,
    table_time,
    zone_words,
)
from lib.report import graphs, status
from lib.report.explain import folded
from lib.report.graphs import LEFT_OUT, LETTERS, Series
from lib.report.incidents import Incident
from lib.report.ours import MARK
from lib.report.rows import (
    DISABLED,
    NOT_RUN_YET,
    checked_at,
    details_of,
    notified_words,
    status_of,
)
from lib.report.snapshot import Snapshot
from lib.storage.history import Row, Share, share_of

if TYPE_CHECKING:
    from lib.report.owntemplates import OwnTemplates

INDEX = "index.html"
#: How many jobs the part "not OK" shows with all that is known of them.
MAX_TROUBLE = 50
#: How many incidents a page lists, and of how many days.
MAX_INCIDENTS, INCIDENT_DAYS = 30, 7
#: From so many jobs on, the groups in which all is well are closed.
CLOSED_FROM = 100
#: The most of a reason that a page shows of a job, and in a list.
MAX_REASON, MAX_LINE = 4000, 300
MAX_DECISIONS = 30
#: The letter of what could not be judged, as something else is in the way.
OUT_OF_REACH = "r"
#: The order of a list, by letters, and what counts as not OK.
_ORDER, NOT_OK = "fuwrphon", "fuwr"
_OTHERS = "Other jobs"
#: In place of a job's key, which the public is not to see.
NOBODY = JobKey("", "")
_TEMPLATES = Path(__file__).parent / "templates"


class Forms(msgspec.Struct, frozen=True):
    """What may be asked for on the page of a job."""

    #: The code that each action needs, by its name; empty: nothing may be asked.
    codes: Mapping[str, str] = MappingProxyType({})
    #: For how long it may be muted.
    lengths: tuple[str, ...] = ()
    #: What was just asked, in words.
    said: str = ""


NO_FORMS = Forms()


class JobStory(msgspec.Struct, frozen=True):
    """What the page of a job has beside the snapshot."""

    #: Its rows of 24 hours, all of its incidents, what was decided of late.
    rows: tuple[Row, ...] = ()
    series: tuple[Series, ...] = ()
    incidents: tuple[Incident, ...] = ()
    entries: tuple[Entry, ...] = ()


class Look(msgspec.Struct, frozen=True):
    """How the pages are given to people."""

    #: A file: it answers no search, and is as old as it says.
    is_file: bool = True
    #: How often a browser gets it anew.
    every_s: float = 300.0
    #: What somebody searches for.
    query: str = ""
    #: Somebody's own templates, if there are such.
    templates: OwnTemplates | None = None


PLAIN = Look()


class JobLine(NamedTuple):
    """A job in a list."""

    key: JobKey
    name: str
    link: str
    #: Its letter, a class of the page, and its status in words.
    letter: str
    status: str
    tags: tuple[str, ...]
    uptime: str
    value: str
    bar: Markup
    graph: Markup


class Trouble(NamedTuple):
    """A job that is not OK, and all that is known of it in short."""

    line: JobLine
    details: str
    notified: str
    held: str
    runbook: str


class IncidentLine(NamedTuple):
    """An incident, for people."""

    name: str
    link: str
    letter: str
    status: str
    #: Since when, or from when to when.
    span: str
    #: The same and for how long.
    when: str
    reason: str
    held: str
    sendings: tuple[str, ...]


class Known(NamedTuple):
    """How a job is checked, as the settings say."""

    description: str
    schedule: str
    contact: tuple[str, ...]
    tags: tuple[str, ...]
    depends: tuple[str, ...]


class AnnouncementLine(NamedTuple):
    """An announcement, for people."""

    #: The place of it on the page.
    anchor: str
    letter: str
    level: str
    when: str
    tags: str
    text: str
    told: str


def link_of(key: JobKey) -> str:
    """Return the file of a job's page, beside the front page."""
    return page_name(key)


def overview(snapshot: Snapshot, look: Look = PLAIN) -> str:
    """Return the front page."""
    names = graphs.day_names(_today(snapshot))
    lines = sorted(job_lines(snapshot, names), key=_order)
    found = [line for line in lines if _is_found(line, look.query)]
    bad = [line for line in found if line.letter in NOT_OK]
    meant = {line.key for line in found}
    incidents = [
        incident
        for incident in snapshot.incidents
        if incident.key in meant or not look.query
    ]
    return _rendered(
        "page.html",
        snapshot,
        look,
        sentence=sentence_of(lines, snapshot),
        troubles=[_trouble(line, snapshot) for line in bad[:MAX_TROUBLE]],
        announcements=announcement_lines(snapshot.announcements, snapshot),
        worst=_worst(lines, snapshot),
        more_trouble=max(0, len(bad) - MAX_TROUBLE),
        groups=_groups(found),
        are_open=len(found) < CLOSED_FROM or bool(look.query),
        count=len(lines),
        found=len(found),
        incidents=[incident_line(one, snapshot) for one in incidents[:MAX_INCIDENTS]],
        incident_days=INCIDENT_DAYS,
        slices=graphs.slices_for(len(lines)),
        health=[
            (row["item"], row["value"])
            # What is announced has a place of its own.
            for row in status.rows(replace(snapshot, announcements=()))
        ],
    )


def job_page(
    snapshot: Snapshot,
    key: JobKey,
    story: JobStory,
    look: Look = PLAIN,
    forms: Forms = NO_FORMS,
) -> str:
    """Return the page of a job."""
    names = graphs.day_names(_today(snapshot))
    record, known = snapshot.records.get(key, Record(key)), snapshot.catalog.get(key)
    days, values = snapshot.days.get(key, {}), snapshot.values.get(key, {})
    time_text = _time_text(snapshot)
    line = _line_of(snapshot, key, names, graphs.FINE)
    latest, zone = snapshot.latest.get(key), snapshot.settings.zone
    ran_at = checked_at(key, record, known, latest, snapshot.run, zone)
    reason = record.last_reason if record.status is not Status.OK else ""
    return _rendered(
        "job.html",
        snapshot,
        look,
        line=line,
        key=str(key),
        forms=forms,
        announcements=announcement_lines(
            announcements.about(snapshot.announcements, line.tags), snapshot
        ),
        is_bad=record.since is not None,
        is_held=_held(snapshot, key) is not None,
        details=_trouble(line, snapshot),
        reason=_text(reason, MAX_REASON) if "\n" in reason.strip() else "",
        note=_text(snapshot.notes.get(key, ""), MAX_REASON),
        known=_known(known) if known else None,
        policy=policy_words(known.policy) if known else "",
        runbook=safe_link(known.runbook) if known else "",
        ran_at=time_text(ran_at) if ran_at else "",
        took=amount_words(latest.seconds, Unit.SECONDS) if latest else "",
        values=[*map(harmless, value_lines(values))],
        graphs=[_large_graph(one, values.get(one.name)) for one in story.series],
        bar=_large_bar(graphs.letters_of(days, names)),
        days=[*_days(days, names)],
        uptimes=[*_uptimes(days, names, story.rows, snapshot.now)],
        incidents=[incident_line(one, snapshot) for one in story.incidents],
        decisions=[
            (time_text(entry.at), harmless(text))
            for entry, text in folded(story.entries, time_text)[
                : -MAX_DECISIONS - 1 : -1
            ]
        ],
    )


def _known(known: CatalogEntry) -> Known:
    return Known(
        known.description,
        known.schedule,
        known.contact,
        known.tags,
        tuple(map(str, known.depends)),
    )


def public(snapshot: Snapshot, look: Look = PLAIN) -> str:
    """Return the page for the public: the jobs of ``[page] public``, by tag.

    It has no host, reason or contact: a job is called by its description, or by the
    name of its section without kind and host.
    """
    names = graphs.day_names(_today(snapshot))
    lines = {
        line.key: line
        for line in sorted(job_lines(snapshot, names), key=_order)
        if line.letter != "n"
    }
    shown: dict[JobKey, JobLine] = {}
    groups = []
    tags = snapshot.settings.page.public
    for tag in tags:
        found = [line for line in lines.values() if tag in line.tags]
        for line in found:
            known = snapshot.catalog.get(line.key)
            shown[line.key] = _for_public(
                line, known, tags, _is_in_window(snapshot, line.key)
            )
        those = [shown[line.key] for line in found]
        if those:
            groups.append(Group(harmless(tag), "", those[0].letter, those))
    incidents = [one for one in snapshot.incidents if one.key in shown]
    return _rendered(
        "public.html",
        snapshot,
        look,
        title=harmless(snapshot.settings.page.title or "Status"),
        sentence=sentence_of(shown.values(), snapshot),
        announcements=announcement_lines(
            announcements.for_public(
                snapshot.announcements, snapshot.settings.page.public
            ),
            snapshot,
        ),
        worst=_worst(shown.values(), snapshot),
        groups=groups,
        incidents=[
            incident_line(_incident_for_public(one), snapshot)._replace(
                name=shown[one.key].name, link="", reason="", held="", sendings=()
            )
            for one in incidents
        ],
        incident_days=INCIDENT_DAYS,
        own_trouble="",
    )


def _incident_for_public(incident: Incident) -> Incident:
    """Return an incident as the list of jobs has it: what is in the way is unknown."""
    if incident.shown_status in IN_THE_WAY:
        return replace(incident, in_the_way="", status=Status.UNKNOWN)
    return incident


def _is_in_window(snapshot: Snapshot, key: JobKey) -> bool:
    held = _held(snapshot, key)
    return held is not None and held.code is Decision.MAINTENANCE


def _for_public(
    line: JobLine, known: CatalogEntry | None, tags: Collection[str], is_planned: bool
) -> JobLine:
    """Return the line of a job without what is nobody else's business.

    ``is_planned``: it is in a maintenance window, which uptime leaves out.  Somebody's
    own template gets no more than ours shows.
    """
    name = line.name
    word, _space, rest = name.partition(" ")
    if word in KIND_FILES and rest:
        name = rest
    if known is not None and known.description:
        name = harmless(known.description)
    else:
        name = name.partition("/")[0] or line.name
    # Who muted it, and that something is in the way, is said nowhere.
    letter = "u" if line.letter == OUT_OF_REACH else line.letter
    words = {letter: str(status) for status, letter in LETTERS.items()}
    status = words.get(letter, "unknown")
    status = "OK" if status == "ok" else status
    if is_planned and letter in NOT_OK:
        letter, status = LEFT_OUT, str(Decision.MAINTENANCE)
    return line._replace(
        key=NOBODY,
        name=name,
        link="",
        letter=letter,
        status=status,
        tags=tuple(tag for tag in line.tags if tag in tags),
        value="",
        graph=Markup(""),
    )


def _worst(lines: Iterable[JobLine], snapshot: Snapshot) -> str:
    """Return the letter of the worst status, which is unknown if runs have stopped."""
    default = "u" if status.is_of_the_past(snapshot) else "o"
    bad = [line.letter for line in lines if line.letter in NOT_OK]
    return min([*bad, default], key=_ORDER.index)


def sentence_of(lines: Iterable[JobLine], snapshot: Snapshot) -> str:
    """Return the state of everything in one sentence."""
    if snapshot.run.ended_at is None:
        return "Nothing is known yet: no run has finished."
    if older := status.past_sentence(snapshot):
        return older
    counts: Counter[str] = Counter(line.letter for line in lines)
    every = sum(counts.values())
    words = {letter: str(one) for one, letter in LETTERS.items()}
    words[OUT_OF_REACH] = "out of reach"
    bad = [f"{counts[letter]} {words[letter]}" for letter in NOT_OK if counts[letter]]
    number = sum(counts[letter] for letter in NOT_OK)
    if not every:
        return "There are no jobs yet."
    if bad:
        verb = "is" if number == 1 else "are"
        return f"{number:,} of {counted(every, 'job')} {verb} not OK: {', '.join(bad)}."
    seen = counts["o"] + counts["p"]
    if seen < every:
        return f"Nothing is down; {seen:,} of {counted(every, 'job')} can be judged."
    return f"All {every:,} jobs are OK." if every > 1 else "The only job is OK."


# The jobs.


def keys_of(snapshot: Snapshot) -> list[JobKey]:
    """Return each job, and what else is not OK, such as a broken job file."""
    return counted_jobs(snapshot.catalog, snapshot.records)


def has_page(snapshot: Snapshot, key: JobKey) -> bool:
    """Return whether a job has a page; one that is no longer checked has none."""
    return key in snapshot.catalog or key in keys_of(snapshot)


def job_lines(snapshot: Snapshot, names: list[str]) -> Iterator[JobLine]:
    """Yield the line of each job; ``names`` are the days of its bar."""
    keys = keys_of(snapshot)
    slices = graphs.slices_for(len(keys))
    for key in keys:
        yield _line_of(snapshot, key, names, slices)


def _line_of(snapshot: Snapshot, key: JobKey, names: list[str], slices: int) -> JobLine:
    record = snapshot.records.get(key)
    known = snapshot.catalog.get(key)
    code, words, letter = _status(record or Record(key), known)
    values, days = snapshot.values.get(key, {}), snapshot.days.get(key, {})
    name_of_value = telling_value(values) or DURATION
    series = next(
        (one for one in snapshot.series.get(key, ()) if one.name == name_of_value), None
    )
    name = (known.name if known else record.name if record else "") or str(key)
    held = _held(snapshot, key) if record is not None else None
    if held is not None and held.code.value != words:
        words = f"{words}, {held.code}"
    month = [days[day] for day in names[-30:] if day in days]
    return JobLine(
        key,
        harmless(name),
        link_of(key),
        letter,
        words,
        known.tags if known else (),
        graphs.uptime_words(sum(month, Share()).uptime),
        _value_words(values, name_of_value, snapshot.latest.get(key)),
        _bar(graphs.letters_of(days, names)),
        _graph(series, values.get(name_of_value), slices),
    )


_LETTERS_OF_CODES = {
    **{status.value: letter for status, letter in LETTERS.items()},
    Decision.UNREACHABLE.value: OUT_OF_REACH,
    Decision.BLIND.value: OUT_OF_REACH,
    NOT_RUN_YET: "n",
}


def _status(record: Record, known: CatalogEntry | None) -> tuple[str, str, str]:
    """Return a job's status as a code, in words, and its letter."""
    if known is not None and not known.enabled:
        return DISABLED, DISABLED, "n"
    code = status_of(record, known is not None and known.judged)
    letter = _LETTERS_OF_CODES.get(code, LEFT_OUT)
    return code, "OK" if code == "ok" else code.replace("_", " "), letter


def _held(snapshot: Snapshot, key: JobKey) -> Held | None:
    record, known = snapshot.records.get(key, Record(key)), snapshot.catalog.get(key)
    name = known.name if known else record.name
    tags = known.tags if known else ()
    return snapshot.silences.holding_record(record, name, tags, snapshot.now)


def _value_words(values: Values, name: str, latest: Row | None) -> str:
    if name in values:
        return amount_words(values[name].number, values[name].unit)
    return amount_words(latest.seconds, Unit.SECONDS) if latest else ""


def _order(line: JobLine) -> tuple[int, str]:
    return _ORDER.index(line.letter), line.name


def _is_found(line: JobLine, query: str) -> bool:
    words = query.casefold().split()
    text = " ".join((line.name, line.status, *line.tags)).casefold()
    return all(word in text for word in words)


class Group(NamedTuple):
    """The jobs of a tag."""

    name: str
    words: str
    #: The letter of its worst job.
    letter: str
    lines: list[JobLine]


def _groups(lines: Iterable[JobLine]) -> list[Group]:
    """Return the jobs by their first tag, those without a tag at the end."""
    by_tag: dict[str, list[JobLine]] = {}
    for line in lines:
        by_tag.setdefault(line.tags[0] if line.tags else "", []).append(line)
    has_tags = any(by_tag)
    groups = []
    for tag, those in sorted(by_tag.items(), key=lambda pair: (not pair[0], pair[0])):
        bad = sum(line.letter in NOT_OK for line in those)
        words = (
            f"{counted(len(those), 'job')}, {bad or 'all'} {'not OK' if bad else 'OK'}"
        )
        if not bad and any(line.letter not in "op" for line in those):
            words = counted(len(those), "job")
        name = harmless(tag) or (_OTHERS if has_tags else "Jobs")
        groups.append(Group(name, words, those[0].letter, those))
    return groups


def _trouble(line: JobLine, snapshot: Snapshot) -> Trouble:
    record = snapshot.records.get(line.key, Record(line.key))
    known = snapshot.catalog.get(line.key)
    time_text, held = _time_text(snapshot), _held(snapshot, line.key)
    return Trouble(
        line,
        _text(details_of(record, snapshot.now, time_text), MAX_LINE),
        harmless(notified_words(record)),
        harmless(held.words(time_text)) if held else "",
        safe_link(known.runbook) if known else "",
    )


def safe_link(url: str) -> str:
    """Return the URL if a browser may follow it: http, https or mailto; else ""."""
    scheme = url.strip().partition(":")[0].lower()
    return url.strip() if scheme in ("http", "https", "mailto") else ""


def incident_line(incident: Incident, snapshot: Snapshot) -> IncidentLine:
    """Return an incident in words."""
    time_text, key = _time_text(snapshot), incident.key
    known, record = snapshot.catalog.get(key), snapshot.records.get(key)
    name = (known.name if known else record.name if record else "") or key.identity
    ended_at = incident.ended_at
    began = "since before " if incident.began_before else "since "
    length = duration(age(incident.began_at, ended_at or snapshot.now))
    span = f"{began}{time_text(incident.began_at)}"
    when = f"{span}, for {length}"
    if ended_at is not None:
        before = "before " if incident.began_before else ""
        span = f"{before}{time_text(incident.began_at)} to {time_text(ended_at)}"
        when = f"{span}, {length}"
    held = Decision(incident.held) if incident.held else None
    return IncidentLine(
        harmless(name or str(key)),
        link_of(key) if has_page(snapshot, key) else "",
        _LETTERS_OF_CODES[incident.shown_status],
        incident.shown_status,
        span,
        when,
        _text(incident.reason, MAX_LINE),
        f"alerts held back: {held}" if held else "",
        tuple(
            harmless(
                f"{time_text(one.at)}: {one.words}"
                + (
                    f"; mail was proved to arrive at {time_text(one.proved_at)}"
                    if one.proved_at
                    else ""
                )
            )
            for one in incident.sendings
        ),
    )


_LETTERS_OF_LEVELS = {
    Level.OUTAGE: "f",
    Level.WARNING: "w",
    Level.MAINTENANCE: "p",
    Level.INFORMATION: "h",
    Level.RESOLVED: "o",
}


def announcement_lines(
    those: Iterable[Announcement], snapshot: Snapshot
) -> list[AnnouncementLine]:
    """Return announcements in words."""
    return [_announcement_line(one, snapshot) for one in those]


def _announcement_line(one: Announcement, snapshot: Snapshot) -> AnnouncementLine:
    time_text = _time_text(snapshot)
    done = "changed" if one.changed_at else "announced"
    by = f" by {one.who}" if one.who else ""
    return AnnouncementLine(
        f"announcement-{one.id}",
        _LETTERS_OF_LEVELS[one.level],
        one.level.capitalize(),
        announcements.when_words(one, snapshot.now, time_text),
        harmless(", ".join(one.tags)),
        _text(one.text, MAX_REASON),
        harmless(f"{done} {time_text(one.told_at)}{by}"),
    )


# Drawings.


def _bar(letters: str) -> Markup:
    return Markup(f"<svg class=b aria-hidden=true>{_paths(letters)}</svg>")


@lru_cache(maxsize=4096)
def _paths(letters: str) -> str:
    """Return lines, of which nothing is to be escaped."""
    return "".join(_path(*pair) for pair in graphs.bar_paths(letters))


def _path(letter: str, line: str) -> str:
    return f'<path class={letter} d="{line}"/>'


def _large_bar(letters: str) -> Markup:
    shape = 'class="b large" viewBox="0 0 90 20" preserveAspectRatio=none'
    return Markup(f"<svg {shape} aria-hidden=true>{_paths(letters)}</svg>")


def _graph(series: Series | None, value: Value | None, slices: int) -> Markup:
    if series is None:
        return Markup("")
    is_low = value is not None and value.is_low_bad
    drawn = graphs.drawing(graphs.coarser(series, slices, is_low=is_low), value)
    if not drawn.line:
        return Markup("")
    return Markup(f"<svg class=g aria-hidden=true>{_lines(drawn)}</svg>")


def _lines(drawn: graphs.Drawing) -> str:
    limits = [_path(letter, line) for letter, line in drawn.limits]
    return "".join([*limits, f'<path d="{drawn.line}"/>'])


class LargeGraph(NamedTuple):
    """A graph of a job's own page."""

    name: str
    svg: Markup
    low: str
    high: str
    #: What it shows, in a sentence, for those who do not see it.
    words: str


def _large_graph(series: Series, value: Value | None) -> LargeGraph:
    drawn = graphs.drawing(series, value, height=60)
    known = [point for point in series.points if point is not None]
    name = harmless(series.name)
    if not known:
        return LargeGraph(name, Markup(""), "", "", "no number in the last 24 hours")
    low, high = graphs.span_words(drawn, series.unit)
    ends = (amount_words(end, series.unit) for end in (min(known), max(known)))
    words = "from {} to {} in the last 24 hours".format(*ends)
    shape = 'class="g large" viewBox="0 0 96 60" preserveAspectRatio=none'
    svg = Markup(f"<svg {shape} aria-hidden=true>{_lines(drawn)}</svg>")
    return LargeGraph(name, svg, low, high, words)


def _days(
    days: Mapping[str, Share], names: Iterable[str]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield each day that was not OK all along: uptime, time failing, time left out."""
    for name in reversed([*names]):
        share = days.get(name)
        if share is None:
            continue
        if graphs.letter_of(share) == "o" and share.left_out < 1:
            continue
        yield (
            name,
            graphs.uptime_words(share.uptime),
            _length(share.failing),
            _length(share.left_out),
        )


def _length(seconds: float) -> str:
    return duration(timedelta(seconds=seconds)) if seconds else "–"


def _uptimes(
    days: Mapping[str, Share], names: list[str], rows: Iterable[Row], now: datetime
) -> Iterator[tuple[str, str]]:
    """Yield the uptime of 24 hours, 7, 30 and 90 days."""
    until = now.timestamp()
    last = share_of(rows, until - graphs.GRAPH_S, until)
    yield "24 hours", graphs.uptime_words(last.uptime)
    for count in (7, 30, 90):
        shares = [days[name] for name in names[-count:] if name in days]
        yield f"{count} days", graphs.uptime_words(sum(shares, Share()).uptime)


# What all pages have.


def error_page(status: str, text: str, home: str) -> str:
    """Return the page that says to a browser why it gets nothing else.

    ``status`` is that of HTTP, with its number; ``home`` the way to the front page.
    """
    facts = {"status": status, "text": text, "home": home}
    css = _text_of("page.css")
    return environment().get_template("error.html").render(**facts, css=css)


def _rendered(name: str, snapshot: Snapshot, look: Look, **facts: Any) -> str:
    settings, time_text = snapshot.settings, _time_text(snapshot)
    state = health.assess(
        health.inputs_of(snapshot.run), settings, snapshot.now, time_text
    )
    trouble = "" if state.word is Health.OK else f"{state.word}: {state.why}"
    facts = {
        "title": title_of(settings),
        "own_trouble": harmless(trouble),
        **facts,
        "home": INDEX,
        "css": _text_of("page.css", look.templates),
        "script": _text_of("page.js", look.templates),
        "policy_of_content": content_policy(look.templates),
        "is_file": look.is_file,
        "query": look.query,
        "every_s": round(look.every_s),
        "every": duration(timedelta(seconds=look.every_s)),
        "at": time_text(snapshot.now),
        "at_s": round(snapshot.now.timestamp()),
        "zone": zone_words(settings.zone, snapshot.now),
    }
    if look.templates is not None:
        text = look.templates.render(name, facts)
        if text is not None:
            return with_mark(text)
    return environment().get_template(name).render(facts)


def with_mark(text: str) -> str:
    """Return a page with what says that it is ours, in a comment if it has none."""
    if MARK in text[:1000]:
        return text
    doctype = re.match(r"\s*<!doctype[^>]*>\s*", text, re.IGNORECASE)
    place = doctype.end() if doctype else 0
    return f"{text[:place]}<!-- {MARK} -->\n{text[place:]}"


def title_of(settings: Settings) -> str:
    """Return the heading of the page."""
    return harmless(settings.page.title or settings.servername or "Checker")


def content_policy(own: OwnTemplates | None = None) -> str:
    """Return the Content-Security-Policy of the pages: nothing but what is in them."""
    hashes = [
        " ".join(
            f"'{_hash(text)}'"
            for text in dict.fromkeys((_text_of(name), _text_of(name, own)))
        )
        for name in ("page.css", "page.js")
    ]
    return (
        "default-src 'none'; style-src {}; script-src {}; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'"
    ).format(*hashes)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _text_of(name: str, own: OwnTemplates | None = None) -> Markup:
    """Return styles or script; ``own`` may have others in their place."""
    text = own.text_of(name) if own is not None else None
    return _shipped_text(name) if text is None else Markup(text.strip())


@lru_cache
def _shipped_text(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8").strip())


@lru_cache
def environment() -> Environment:
    """Return what makes texts of our templates; all that they get is escaped."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        # Also what is no HTML: a badge and a feed are XML.
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _time_text(snapshot: Snapshot) -> TimeText:
    return partial(table_time, zone=snapshot.settings.zone, now=snapshot.now)


def _today(snapshot: Snapshot) -> date:
    return in_zone(snapshot.now, snapshot.settings.zone).date()


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _text(text: str, length: int) -> str:
    """Return text of others, without control characters and not too long."""
    return "\n".join(harmless(line) for line in cut(text, length).splitlines())


def proof_of(snapshot: Snapshot) -> datetime | None:
    """Return when a mail to ourselves was last found to have arrived."""
    return proved_at(proof_in(snapshot.records.values()))
