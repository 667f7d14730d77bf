"""What is promised of first alerts and their recoveries, stated naively.

It knows what was queued, which attempts there were, and what a reader of the mails
sees; it shares no code with the program.  The promise is DESIGN decision 15:

- While the account's last attempt was accepted, the first alert of a quiet job, and its
  recovery, have left within 5 minutes.  Quiet: no alert about it left in the hour
  before.  After an outage the 5 minutes begin when a message was accepted.
- While three quarters of the limits are not used, a first alert leaves in its run.
- During an outage one message is tried at least every 5 minutes.
- No more mails than the limits allow leave, but for 12 an hour to each set of people.
- What is beside the limits tells of a first alert or a recovery.
- What is over when its alert leaves is not said to be failing; nor does a run say that
  a job is failing and then that it is OK again.
- What is late says so first; what may have been accepted comes again as it was.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

PROMISE = timedelta(minutes=5)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
#: What has waited for so long leaves before its run has found whether it is over.
PRESSING = PROMISE - timedelta(seconds=10)
#: What a mail says that leaves beside the limits.
BESIDE = "The rate limit is reached"
#: What is found in a run leaves in it if it leaves within this.
A_RUN = timedelta(seconds=30)
#: The share of the limits that first alerts may use: the rest is for notes.
ROOM = 0.75
#: Cron starts one run a little later than another.
JITTER = timedelta(seconds=5)
BUNDLES_AN_HOUR = 12
_NAME = re.compile(r"job\d+x")
_FAILING = re.compile(r"(job\d+x) is (?:still )?failing")


@dataclass(frozen=True)
class Queued:
    """A message from the moment of its commit."""

    at: datetime
    job: str
    #: alert, recovery or reminder.
    kind: str
    message_id: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """A mail that was tried, as a reader would see it."""

    at: datetime
    message_id: str
    to: tuple[str, ...]
    subject: str
    text: str
    #: accepted, refused, or in doubt (and then whether the reader has it).
    result: str
    arrived: bool

    @property
    def may_be_taken(self) -> bool:
        """Return whether it may have been accepted: a killed run notes no result."""
        return self.result != "refused"

    @property
    def jobs(self) -> set[str]:
        """Return the names of the jobs that it tells of."""
        return {*_NAME.findall(self.subject), *_NAME.findall(self.text)}

    @property
    def failing(self) -> set[str]:
        """Return the jobs that it says are failing."""
        if _NAME.search(self.subject):
            return set(_FAILING.findall(self.subject))
        lines = [line for line in self.text.splitlines() if line.startswith("    2")]
        return {
            name
            for line in lines
            for name in _FAILING.findall(line)
            if "(again)" not in line
        }


@dataclass
class Model:
    """What happened in a history, and what is wrong with it."""

    per_hour: int
    per_day: int
    queued: list[Queued] = field(default_factory=list)
    #: When each message was no longer queued, by its id.
    left_at: dict[str, datetime] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    #: When each job was found OK; None once it fails again.
    ok_since: dict[str, datetime] = field(default_factory=dict)
    #: The runs that were killed: what they tried nobody knows.
    killed: list[datetime] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    longest: timedelta = timedelta(0)

    def judge(self) -> None:
        """Note all that is wrong."""
        self._resolve_merged()
        for one in self.queued:
            self._judge_left(one)
        for one in self._promised():
            self._judge_promised(one)
            self._judge_prompt(one)
        self._judge_outages()
        self._judge_limits()
        self._judge_beside()
        self._judge_ended()
        self._judge_repeated()
        self._judge_late()

    # While it goes on.

    def tried(self, attempt: Attempt) -> None:
        """Note an attempt; it must not say that what is over is going on."""
        before = [one for one in self.attempts if one.message_id == attempt.message_id]
        self.attempts.append(attempt)
        if any(one.may_be_taken for one in before):
            return
        for job in attempt.failing:
            since = self.ok_since.get(job)
            if since is not None and since < attempt.at:
                self.faults.append(f"{attempt.at}: {job} is OK, and called failing")

    def left(self, message_id: str, began_at: datetime) -> None:
        """Note that a message is no longer queued after a run that began then."""
        one = next((one for one in self.queued if one.message_id == message_id), None)
        if one is None:
            # It is a note of Checker's own.
            return
        told = [
            mail.at
            for mail in self.attempts
            if mail.at >= max(began_at, one.at)
            and mail.result == "accepted"
            and mail.to == one.to
            and one.job in mail.jobs
        ]
        if told:
            self.left_at[message_id] = min(told)

    def _resolve_merged(self) -> None:
        """Have what is no longer queued, and was in no mail, leave with newer news."""
        following: dict[tuple[str, tuple[str, ...]], datetime] = {}
        for one in reversed(self.queued):
            about = one.job, one.to
            if one.message_id not in self.left_at and about in following:
                self.left_at[one.message_id] = following[about]
            if one.message_id in self.left_at:
                following[about] = self.left_at[one.message_id]

    # The promise.

    def _promised(self) -> Iterator[Queued]:
        """Yield first alerts, and the recovery of each."""
        by_job: dict[tuple[str, tuple[str, ...]], list[Queued]] = defaultdict(list)
        for one in self.queued:
            if one.kind != "reminder":
                by_job[one.job, one.to].append(one)
        for those in by_job.values():
            for number, one in enumerate(those):
                before, after = those[:number], those[number + 1 : number + 2]
                if one.kind == "alert":
                    if self._is_first(one, before):
                        yield one
                elif (
                    self._is_first(before[-1], before[:-1])
                    and self._is_known(before, one.at)
                    and self._lasts(one, after)
                ):
                    yield one

    def _is_first(self, alert: Queued, before: list[Queued]) -> bool:
        """Return whether no alert left in the hour before, and none waits."""
        alerts = [one for one in before if one.kind == "alert"]
        left = [self.left_at.get(one.message_id) for one in alerts]
        return all(at is not None and at < alert.at - HOUR for at in left)

    def _is_known(self, before: list[Queued], at: datetime) -> bool:
        """Return whether the alert before it had left then."""
        alert = before[-1]
        left_at = self.left_at.get(alert.message_id)
        return alert.kind == "alert" and left_at is not None and left_at < at

    def _lasts(self, recovery: Queued, after: list[Queued]) -> bool:
        """Return whether it is still true when it leaves; else newer news tell more."""
        left_at = self.left_at.get(recovery.message_id, recovery.at + DAY)
        return all(one.at > left_at for one in after)

    def _left(self, one: Queued, at: datetime) -> bool:
        return self.left_at.get(one.message_id, at + DAY) <= at

    def _judge_promised(self, one: Queued) -> None:
        left_at = self.left_at.get(one.message_id)
        if left_at is None:
            return
        start = self._start(one.at, left_at)
        self.longest = max(self.longest, left_at - start)
        if left_at - start > PROMISE + JITTER:
            self.faults.append(
                f"{one.job}: the {one.kind} of {one.at} left only at {left_at}"
            )

    def _judge_prompt(self, one: Queued) -> None:
        """Note a first alert that waits although nothing is wrong and there is room."""
        left_at = self.left_at.get(one.message_id)
        if one.kind != "alert" or left_at is None or left_at - one.at < A_RUN:
            return
        if not self._is_calm(one.at - HOUR, left_at):
            return
        sent = [one.at for one in self.attempts if one.at <= left_at]
        in_hour = sum(one.at - at < HOUR for at in sent)
        if in_hour <= self.per_hour * ROOM and len(sent) <= self.per_day * ROOM:
            self.faults.append(f"{one.job}: the alert of {one.at} waited to {left_at}")

    def _is_calm(self, begin: datetime, end: datetime) -> bool:
        """Return whether every attempt was accepted then, and its run not killed."""
        failed = [one.at for one in self.attempts if one.result != "accepted"]
        return not any(begin < at <= end for at in (*failed, *self.killed))

    def _start(self, start: datetime, end: datetime) -> datetime:
        """Return from when the promise counts: an attempt in vain interrupts it."""
        failed = [one.at for one in self.attempts if one.result != "accepted"]
        bad = [*failed, *self.killed]
        good = [one.at for one in self.attempts if one.result == "accepted"]
        while True:
            last_bad = max((at for at in bad if at <= start), default=None)
            last_good = max((at for at in good if at <= start), default=None)
            is_bad = last_bad is not None and (
                last_good is None or last_good <= last_bad
            )
            if not is_bad:
                bad_in_time = [
                    at for at in bad if start < at <= min(end, start + PROMISE)
                ]
                if not bad_in_time:
                    return start
                start = min(bad_in_time)
            following = [at for at in good if start < at]
            if not following or min(following) > end:
                return end
            start = min(following)

    def _judge_outages(self) -> None:
        """Note where nothing was tried for long although something waited."""
        moments = sorted({one.at for one in self.attempts})
        for before, after in zip(moments, moments[1:], strict=False):
            those = [one for one in self.attempts if one.at == before]
            if any(one.result == "accepted" for one in those):
                continue
            if any(before <= at <= after for at in self.killed):
                continue
            waits = [
                one
                for one in self.queued
                if one.at <= before and not self._left(one, before)
            ]
            if waits and after - before > PROMISE + JITTER:
                self.faults.append(f"nothing was tried from {before} to {after}")

    def _judge_left(self, one: Queued) -> None:
        left_at = self.left_at.get(one.message_id)
        if left_at is None:
            self.faults.append(f"{one.job}: the {one.kind} of {one.at} never left")
        elif one.kind != "reminder" and not any(
            mail.arrived and one.at <= mail.at <= left_at and one.job in mail.jobs
            for mail in self.attempts
            if mail.to == one.to
        ):
            self.faults.append(
                f"{one.job}: no mail tells of the {one.kind} of {one.at}"
            )

    def _judge_limits(self) -> None:
        accepted = {
            one.message_id: one
            for one in reversed(self.attempts)
            if one.result == "accepted"
        }
        sets = len({one.to for one in accepted.values()})
        times = sorted(one.at for one in accepted.values())
        for length, limit in ((HOUR, self.per_hour), (DAY, self.per_day)):
            hours = length / HOUR
            most = limit + BUNDLES_AN_HOUR * sets * hours
            for number, at in enumerate(times):
                count = sum(at <= other < at + length for other in times[number:])
                if count > most:
                    self.faults.append(f"{count} mails within {length} from {at}")
                    break

    def _judge_beside(self) -> None:
        """Note what leaves beside the limits without anything new in it."""
        for mail in self.attempts:
            if BESIDE not in mail.text or not self._is_calm(mail.at - HOUR, mail.at):
                continue
            told = [
                one
                for one in self.queued
                if one.to == mail.to and self.left_at.get(one.message_id) == mail.at
            ]
            if not any(self._is_new(one, mail.at) for one in told):
                self.faults.append(f"{mail.at}: nothing in it is new: {mail.subject}")

    def _is_new(self, one: Queued, at: datetime) -> bool:
        """Return whether it is a recovery, or the only alert of its job in an hour."""
        if one.kind != "alert":
            return one.kind == "recovery"
        return not any(
            at - HOUR < self.left_at.get(other.message_id, at) < at
            for other in self.queued
            if (other.job, other.to, other.kind) == (one.job, one.to, "alert")
        )

    def _judge_ended(self) -> None:
        """Note where a run says that a job is failing, and then that it is OK again."""
        for one in self.queued:
            left_at = self.left_at.get(one.message_id)
            if one.kind != "recovery" or left_at is None:
                continue
            begin = left_at.replace(second=0)
            mails = [
                mail
                for mail in self.attempts
                if begin <= mail.at < one.at and mail.to == one.to
            ]
            said = any(
                one.job in mail.failing and self._may_wait(mail, begin)
                for mail in mails
            )
            if said and self._is_calm(begin, left_at):
                self.faults.append(f"{left_at}: {one.job} ended in the same run")

    def _may_wait(self, mail: Attempt, begin: datetime) -> bool:
        """Return whether it may wait for what the run finds that began then.

        What was tried before comes again as it was; what would leave too late does not
        wait, unless mail was away.
        """
        before = [one for one in self.attempts if one.at < begin]
        tried = [one for one in before if one.message_id == mail.message_id]
        if any(one.may_be_taken for one in tried):
            return False
        was_away = bool(before) and before[-1].result != "accepted"
        born = [one.at for one in self.queued if one.message_id == mail.message_id]
        return was_away or (bool(born) and mail.at - born[0] < PRESSING)

    def _judge_repeated(self) -> None:
        """Note what may have been accepted and came again in other words."""
        doubtful: dict[str, Attempt] = {}
        for one in self.attempts:
            first = doubtful.get(one.message_id)
            if first and (first.subject, first.text) != (one.subject, one.text):
                self.faults.append(
                    f"{one.at}: came again, and not the same: {one.subject}"
                )
            if one.may_be_taken:
                doubtful[one.message_id] = one

    def _judge_late(self) -> None:
        """Note alerts that are late and do not say so, and the other way round."""
        born = {one.message_id: one.at for one in self.queued}
        doubtful: set[str] = set()
        for one in self.attempts:
            if one.message_id not in born or one.message_id in doubtful:
                continue
            if one.may_be_taken:
                doubtful.add(one.message_id)
            is_late = one.at - born[one.message_id] > PROMISE
            says_so = one.text.startswith("Delayed ")
            if is_late is not says_so:
                self.faults.append(f"{one.at}: says delayed: {says_so}: {one.subject}")
