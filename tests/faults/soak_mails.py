"""What the mails of the soak told, and how that differs from what must be told.

A mail tells one thing at a time, or lists what it stands for, a line each; such a line
may itself stand for several events of one job (``it failed 3 times in 2 hours``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.faults.crond import MINUTE
from tests.faults.reference import FAILING, OK
from tests.faults.soak_model import STILL, News
from tests.support.servers import SmtpMail

#: What a subject says behind a job's name, the word for it, and how many alerts are in
#: it; none where it stands for itself alone.
SAYINGS = (
    (r"is failing: .* \((?P<count>again)\)", FAILING),
    (r"is failing: .* \(the (?P<count>\d+)\w\w time in [^()]+\)", FAILING),
    (r"is failing: .*", FAILING),
    (r"is still failing: .*", STILL),
    (r"is OK again; it failed (?P<count>\d+) (more )?times? in .*", OK),
    (r"is OK again after .*", OK),
    (r"is OK again; it was (?P<count>failing) for .*", OK),
)
#: What else comes, and once.
ONCE = "nothing proves that mails arrive"
LINE = re.compile(r"(?m)^    (\d{4}-\d\d-\d\d \d\d:\d\d) UTC \(.*?\)  (.*)$")
DOUBT = "You may have been notified before"
#: Where mail is taken, nobody waits longer: a digest may have gone out just before.
LATE = timedelta(minutes=10)
#: Nor longer than this for the first alert in an hour, or for its recovery.
PROMISED, HOUR = timedelta(minutes=5), timedelta(hours=1)


@dataclass(frozen=True)
class Arrived:
    """A mail, and the minute in which the server took it."""

    at: datetime
    mail: SmtpMail

    @property
    def message_id(self) -> str:
        return str(self.mail.parsed["Message-ID"])


@dataclass(frozen=True)
class Statement:
    """One thing that a mail says of a job."""

    job: str
    word: str
    at: datetime
    #: How many alerts are in it, if it is a sum.
    alerts: int
    by: Arrived


class Reader:
    """Reads mails."""

    def __init__(self, jobs: Iterable[str]) -> None:
        names = "|".join(map(re.escape, jobs))
        self._sayings = [
            (re.compile(f"({names}) {saying}"), word) for saying, word in SAYINGS
        ]

    def read(self, arrived: Arrived) -> tuple[list[Statement], list[str]]:
        """Return what a mail says of jobs, and what else it says."""
        mail = arrived.mail
        lines = [
            (datetime.fromisoformat(f"{moment}Z"), text)
            for moment, text in LINE.findall(mail.body)
        ]
        if not lines:
            date = mail.parsed["Date"].datetime.astimezone(UTC)
            subject = mail.subject.strip().partition("] ")[2]
            lines = [(date.replace(second=0, microsecond=0), subject)]
        said, others = [], []
        for at, text in lines:
            statement = self._statement(at, text, arrived)
            if statement:
                said.append(statement)
            else:
                others.append(text)
        return said, others

    def _statement(self, at: datetime, text: str, by: Arrived) -> Statement | None:
        for pattern, word in self._sayings:
            found = pattern.fullmatch(text)
            if found:
                count = found.groupdict().get("count") or "0"
                alerts = int(count) if count.isdigit() else 1
                return Statement(found[1], word, at, alerts, by)
        return None


@dataclass
class Comparison:
    """How what was told differs from what must be told."""

    faults: list[str] = field(default_factory=list)
    mails: int = 0
    #: News that nobody was told, and news that was told again as if it were new.
    lost: int = 0
    anew: int = 0
    #: How often a mail came again, with its Message-ID.
    repeated: int = 0
    #: News that came again in a mail that says that this may be so.
    doubtful: int = 0
    #: The longest wait of news from before or after the trouble with mail, and that of
    #: first alerts and their recoveries.
    latest: timedelta = timedelta(0)
    promised: timedelta = timedelta(0)


def compare(
    news: Sequence[News],
    mails: Iterable[Arrived],
    reader: Reader,
    trouble: tuple[datetime, datetime],
    kills: Sequence[datetime],
) -> Comparison:
    """Hold what was told against what must be told.

    ``trouble``: from the first mail that was not taken to the last new attempt.  Only
    where a run was killed, what it may have told may come again.
    """
    found = Comparison()
    by_job: dict[str, list[News]] = defaultdict(list)
    for one in news:
        by_job[one.job].append(one)
    tellers: dict[News, list[Arrived]] = {one: [] for one in news}
    implied: set[News] = set()
    for statement in _statements(_once(mails, kills, found), reader, found):
        covered, before = _covered(by_job[statement.job], statement)
        if not covered:
            found.faults.append(f"told of what was not: {statement}")
        for one in covered:
            tellers[one].append(statement.by)
        implied.update(before)
    promised = {one for some in by_job.values() for one in _promised(some)}
    for one, those in tellers.items():
        if those:
            _judge(one, those, trouble, kills, found)
            if one in promised and not any(
                _holds(trouble, at) for at in _span(one, those)
            ):
                _judge_promised(one, those, kills, found)
        elif not (one in implied or (one.word == STILL and _holds(trouble, one.at))):
            found.lost += 1
            found.faults.append(f"lost: {one}")
    return found


def _once(
    mails: Iterable[Arrived], kills: Sequence[datetime], found: Comparison
) -> Iterator[Arrived]:
    """Yield each mail when it came first; note what comes again."""
    seen: dict[str, Arrived] = {}
    for one in mails:
        first = seen.setdefault(one.message_id, one)
        if first is one:
            yield one
            continue
        found.repeated += 1
        subject = one.mail.subject.strip()
        if first.mail.data != one.mail.data:
            found.faults.append(f"repeated, and not the same: {subject}")
        if not _are_between(kills, first, one):
            found.faults.append(f"repeated, and no run was killed: {subject}")
    found.mails = len(seen)


def _statements(
    mails: Iterable[Arrived], reader: Reader, found: Comparison
) -> Iterator[Statement]:
    """Yield what the mails say of jobs; note what they have no business to say."""
    others: list[str] = []
    for arrived in mails:
        said, more = reader.read(arrived)
        others += more
        yield from said
    odd = [one for one in others if one != ONCE]
    found.faults += [f"nobody expects this mail: {one}" for one in odd]
    if others.count(ONCE) > 1:
        found.faults.append(f"said {others.count(ONCE)} times: {ONCE}")


def _covered(
    news: Sequence[News], statement: Statement
) -> tuple[Sequence[News], Sequence[News]]:
    """Return the news of its job that a statement tells, and what goes without saying.

    Who hears that it fails again knows that it was fine before.
    """
    ends = [
        number
        for number, one in enumerate(news)
        if (one.at, one.word) == (statement.at, statement.word)
    ]
    if not ends:
        return (), ()
    begin = end = ends[0]
    if statement.alerts:
        alerts = [
            number for number, one in enumerate(news[: end + 1]) if one.word == FAILING
        ]
        if len(alerts) < statement.alerts:
            return (), ()
        begin = alerts[-statement.alerts]
    before = news[max(0, begin - 1) : begin] if statement.alerts else ()
    return news[begin : end + 1], [one for one in before if one.word == OK]


def _judge(
    one: News,
    tellers: Sequence[Arrived],
    trouble: tuple[datetime, datetime],
    kills: Sequence[datetime],
    found: Comparison,
) -> None:
    """Note what is to be said of news that was told, perhaps more than once."""
    first, *again = {mail.message_id: mail for mail in tellers}.values()
    found.doubtful += bool(again)
    for mail in again:
        if DOUBT not in mail.mail.body or not _are_between(kills, first, mail):
            found.anew += 1
            found.faults.append(f"told anew: {one}: {mail.mail.subject}")
    waited = first.at - one.at
    if _holds(trouble, one.at):
        waited = first.at - trouble[1]
    else:
        found.latest = max(found.latest, waited)
    if waited > LATE:
        found.faults.append(f"told only at {first.at}: {one}")


def _promised(news: Sequence[News]) -> Iterator[News]:
    """Yield the first alerts of a job in an hour, and what ends each."""
    last: datetime | None = None
    is_first = False
    for one in news:
        if one.word == FAILING:
            is_first = last is None or one.at - last > HOUR
        if is_first and one.word != STILL:
            yield one
        if one.word != OK:
            last = one.at


def _span(one: News, tellers: Sequence[Arrived]) -> tuple[datetime, datetime]:
    return one.at, min(mail.at for mail in tellers)


def _judge_promised(
    one: News, tellers: Sequence[Arrived], kills: Sequence[datetime], found: Comparison
) -> None:
    """Note what had to leave in time; a run that was killed begins its time anew."""
    begin, end = _span(one, tellers)
    begin = max([begin, *(kill for kill in kills if begin <= kill <= end)])
    found.promised = max(found.promised, end - begin)
    if end - begin > PROMISED:
        found.faults.append(f"promised, and told only at {end}: {one}")


def _are_between(kills: Sequence[datetime], first: Arrived, again: Arrived) -> bool:
    # What was under way when its run was killed may be taken a moment later.
    return any(first.at - MINUTE <= one <= again.at for one in kills)


def _holds(span: tuple[datetime, datetime], moment: datetime) -> bool:
    return span[0] <= moment <= span[1]
