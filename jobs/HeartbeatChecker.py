"""[heartbeat NAME]: whether somebody's own cron job runs, in time and well."""

from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from msgspec.structs import replace

from lib.core import heartbeats
from lib.core.heartbeats import (
    Clock,
    Event,
    Judgement,
    Memory,
    Rule,
    Status,
    Words,
    plain,
    remembered,
)
from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    CheckWarning,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    absolute_path,
    count,
    exit_codes,
    one_of,
    option,
    seconds,
    secret,
    text_options,
    time_zone,
)
from lib.storage import spool
from lib.system.clock import since_boot

FAILING, WARNING = Status.FAILING, Status.WARNING
#: An event that no section asks for, or whose user is not believed, is removed later;
#: one of a section that is not checked, such as a disabled one, much later.
UNCLAIMED_S, NOT_CHECKED_S = 3600.0, 40 * 86_400.0
#: What a wrapped program does to the exit code, and so what to do instead.
HIDES = {
    "cronic": "cronic always ends with 0",
    "chronic": "chronic makes of a signal an exit code of 1",
    "systemd-cat": "systemd-cat does not run the command without journald",
    "systemd-run": "systemd-run makes of a signal an exit code of 2",
    "script": "script ends with 0 unless -e is given",
}


class Preset(NamedTuple):
    """What is known of a program: its partial successes, and the words to look for."""

    ok: tuple[int, ...] = ()
    warn: Mapping[int, str] = {}
    fail: Mapping[int, str] = {}
    words: tuple[tuple[Status, str, str], ...] = ()


#: What programs end with, and say when they end well though not all was done: tried
#: with those of Debian 12.  restic's 10 to 12 and rclone's 10 are of newer ones.
PRESETS = {
    "restic": Preset(
        warn={3: "some of the source could not be read"},
        fail={
            10: "there is no repository",
            11: "the repository is locked",
            12: "wrong password",
        },
        words=(
            (FAILING, "does not exist, skipping", "a source is missing"),
            (WARNING, "^(error|warning): ", ""),
        ),
    ),
    "borg": Preset(
        warn={
            1: "a warning, as of a source that is missing or changed",
            **dict.fromkeys(range(100, 128), "a warning"),
        },
        words=(
            (FAILING, r"^Archive .* not found", "nothing was deleted"),
            (WARNING, r"\bfile changed while we (backed it up|read it)", ""),
        ),
    ),
    "rsync": Preset(
        warn={
            23: "some files were not transferred",
            24: "files vanished before they could be transferred",
            25: "--max-delete stopped the deletion",
        },
        words=(
            (WARNING, "--link-dest arg does not exist", "all is copied again"),
            (WARNING, "^skipping non-regular file", "it was not copied"),
        ),
    ),
    "rclone": Preset(
        ok=(9,),
        warn={
            6: "less serious errors",
            8: "--max-transfer was reached",
            10: "--max-duration was reached",
        },
        words=((FAILING, r"^Errors:\s+[1-9]", ""), (WARNING, r"\bERROR : ", "")),
    ),
    "tar": Preset(warn={1: "files changed or went while they were read"}),
    "logrotate": Preset(
        fail={3: "another logrotate has the lock, so nothing was rotated"},
        words=((FAILING, "^error: ", "logs were not rotated as configured"),),
    ),
    "apt-get": Preset(
        fail={100: "an error"},
        words=(
            (
                FAILING,
                "^(W: Failed to fetch|W: Some index files failed|Err:)",
                "the lists are old ones; -o APT::Update::Error-Mode=any has it fail",
            ),
            (FAILING, "^E: ", ""),
            (WARNING, "^W: ", ""),
        ),
    ),
    "psql": Preset(
        fail={2: "the connection was lost", 3: "ON_ERROR_STOP ended a script"},
        words=(
            (
                FAILING,
                r"^(psql:.*: )?(ERROR|FATAL|PANIC):  ?",
                "with -1 all of it was rolled back; set ON_ERROR_STOP",
            ),
            (FAILING, r"^(psql:.*: )?(error: |invalid command )", ""),
            (FAILING, "^ROLLBACK$", "all of it was rolled back"),
        ),
    ),
    "duplicity": Preset(
        words=((FAILING, "^Errors [1-9]", "files were left out"),),
    ),
    "rsnapshot": Preset(warn={2: "warnings; most of it was done"}),
    "zip": Preset(
        ok=(12,),
        warn={18: "some files could not be read"},
        words=(
            (FAILING, "zip warning: name not matched", "a source is missing"),
            # With -u it ends with 12 as well, and says nothing, when all is there.
            (FAILING, "zip error: Nothing to do", "no source is there"),
        ),
    ),
    "mariadb-check": Preset(
        words=((FAILING, r"^(error|Error)\s*: ", "a table is not right"),),
    ),
    "pg_dump": Preset(
        words=((FAILING, "^pg_dump(all)?: error: ", "a pipe hid it; set -o pipefail"),),
    ),
    "mariadb-dump": Preset(
        words=(
            (
                FAILING,
                "^(mariadb-dump|mysqldump): (Got error|Couldn't|Error)",
                "a pipe or --force hid it; set -o pipefail",
            ),
        ),
    ),
    "redis-cli": Preset(
        words=(
            (
                FAILING,
                r"^(\(error\) |AUTH failed: )?(ERR|BUSY|EXECABORT|LOADING|MASTERDOWN"
                "|MISCONF|NOAUTH|NOPERM|NOREPLICAS|NOSCRIPT|OOM|READONLY|WRONGPASS"
                "|WRONGTYPE) ",
                "redis-cli -e has it fail",
            ),
        ),
    ),
}


def period(value: str) -> float | tuple[str, Any]:
    """Return the seconds of a period, or a cron expression and its zone or None."""
    words = value.split()
    if len(words) in (5, 6):
        zone = time_zone(words[5]) if len(words) == 6 else None
        return heartbeats.read_cron(" ".join(words[:5])), zone
    try:
        length = seconds.read(value)
    except ValueError:
        length = 0.0
    if not 60 <= length <= 366 * 86_400:
        raise ValueError(
            "expected a time from 1min to 366d such as 1d, or the five fields of cron, "
            "and perhaps a time zone: 30 2 * * * Europe/Berlin"
        )
    return length


def users(value: str) -> tuple[str, ...]:
    """Return names or numbers of users; raise ValueError."""
    names = tuple(re.split(r"[,\s]+", value.strip()))
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?", name, re.ASCII):
            raise ValueError("expected names of users such as root, backup")
    return names


class HeartbeatChecker(TargetJob):
    """One cron job of somebody's."""

    kind = "heartbeat"
    can_retry = False
    guide = r"""
        Wrap the job's command: `checker.py -m wrap NAME -- COMMAND`; see
        [operations](operations.md#heartbeats-of-cron-jobs) for the folder that it
        needs. Or have the job touch a `file` when it is done.

        It is new, started, up, late or down. It is failing if the last run ended
        badly, if a run was killed or is too long, and if no run has begun within
        `grace` of when it was due: a quarter of the period unless given, from 5
        minutes to an hour. What was due while the machine was off, asleep or had
        another time is waited for by up to an hour more. Runs more than asked for,
        early or side by side are no trouble; `fail_running = 1` makes them one.

        A run that has no end is failing once its process is gone. `fail_duration =
        1min..2h` is failing for a run that is shorter or longer. `period` as a cron
        expression is in `timezone` of [general] unless a zone stands behind it.

        `preset` says which exit codes of a program are partial, and which words of
        its output mean that nothing was done although it ended with 0. The words must
        be in the last 4 kB of the output, which is kept with `-m wrap NAME --output
        tail`; `LC_ALL=C` has them in English. An event is believed if a user in `user`
        has written it.

        With a `token` and `ping = yes` in [page] the daemon takes pings as Healthchecks
        does: `/ping/TOKEN`, `/start`, `/fail`, `/log`, `/EXIT` behind it, `?rid=UUID`,
        and the output in a POST. The spool then counts only if it is given, too. """
    options: Options = {
        "period": option(
            period,
            help="how often it runs: 1d, or the five fields of cron and perhaps a zone",
        ),
        "grace": option(
            seconds, None, help="how late it may begin; if not given, see below"
        ),
        "spool": option(
            absolute_path, spool.DEFAULT_SPOOL, help="where -m wrap keeps how it went"
        ),
        "token": option(
            secret, None, help="what /ping/TOKEN of the daemon is to say, see [page]"
        ),
        "user": option(
            users, (), help="the users who are believed; if not given, Checker's own"
        ),
        "file": option(
            absolute_path, "", help="a file that it touches when done; then no spool"
        ),
        "exit_ok": option(exit_codes, ((0, 0),), help="exit codes that are OK: 0, 24"),
        "exit_warn": option(
            exit_codes, (), help="exit codes that are a warning: 1, 100-127"
        ),
        "preset": option(
            one_of(PRESETS), "", help=f"what is known of {', '.join(PRESETS)}"
        ),
        **text_options("the output"),
        "fail_duration": option(
            seconds, None, help="failing if a run takes longer, or is outside a range"
        ),
        "warn_duration": option(
            seconds, None, help="a warning if a run takes longer, or is outside a range"
        ),
        "fail_running": option(
            count, None, help="failing if more than this run at once"
        ),
        "warn_running": option(
            count, None, help="a warning if more than this run at once"
        ),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterable[Clash]:
        """Return what is wrong in options that are right one by one."""
        of_runs = [
            name
            for name in cls.options
            if name not in ("period", "grace", "file") and target.gives(name)
        ]
        if target.file and of_runs:
            yield Clash(
                f"file tells nothing of a run; leave out {', '.join(of_runs)}",
                ("file", *of_runs),
            )
        for name in target.user:
            if uid_of(name) is None:
                yield Clash(f"user: there is no user {name} on this machine", ("user",))

    @classmethod
    def advice_of_last_run(
        cls, target: Target, memory: Mapping[str, Any]
    ) -> Iterable[str]:
        """Return what hides the exit code, and which output is not to be had."""
        last = remembered(memory).last if memory else None
        for program in last.through if last else ():
            yield (
                f"{HIDES.get(program, program)}; wrap the inner command: "
                f"{program} checker.py -m wrap {target.name} -- COMMAND"
            )
        needs = [name for name in _OF_OUTPUT if target.gives(name)]
        if target.preset and PRESETS[target.preset].words:
            needs.append(f"preset = {target.preset}")
        if needs and (last is None or last.output is None):
            been = (
                "no run has been seen yet" if last is None else "the last run had none"
            )
            yield (
                f"{', '.join(needs)}: the output is needed, and {been}; write "
                f"-m wrap {target.name} --output tail -- COMMAND"
            )
        if _has_spool(target) and (why := spool.why_not_usable(target.spool)):
            yield why

    def shown_target(self) -> str:
        """Return what is checked: the file, or the spool."""
        if self.target.file or _has_spool(self.target):
            return str(self.target.file or self.target.spool)
        return "the pings with its token"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return its age, how long its last run took, and how many run now."""
        outcome = next(_outcomes([self]))[1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @classmethod
    def check_many(
        cls,
        jobs: Sequence[Self],
        deadline: Callable[[Sequence[Self]], Sequence[Deadline]],
    ) -> Iterator[tuple[Any, Values | Exception] | None]:
        """Check all of them; each spool is read once."""
        deadline(jobs)
        yield from _outcomes(jobs)


_OF_OUTPUT = ("expect_text", "reject_text", "expect_regex", "reject_regex")


def _has_spool(target: Target) -> bool:
    """Return whether events of ``-m wrap`` count: not where there is only a token."""
    return not (target.file or target.token and not target.gives("spool"))


def uid_of(name: str) -> int | None:
    """Return the number of a user; None: there is none of that name."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _outcomes(
    jobs: Sequence[TargetJob],
) -> Iterator[tuple[Any, Values | Exception]]:
    """Yield each job with what it measured, or with what is wrong."""
    clock = clock_now()
    gone = {id(job): _gone(job) for job in jobs if job.memory.get("open")}
    spools: dict[str, _Spool] = {}
    for job in jobs:
        try:
            if job.target.file:
                memory = _of_file(job, clock)
            else:
                folders = list(_folders(job))
                for folder in folders:
                    if folder not in spools:
                        spools[folder] = _Spool(folder, clock.now, job)
                found = [spools[folder] for folder in folders]
                memory = _of_spools(job, found, clock, gone.get(id(job), ()))
            yield job, _judged(job, memory, clock)
        except (CheckFailed, CheckUnknown, CheckWarning) as error:
            yield job, error


def clock_now() -> Clock:
    """Return the time, and whether the machine was awake since."""
    now = time.time()
    return Clock(now, now - time.monotonic(), now - since_boot())


def _before(job: TargetJob, clock: Clock) -> Memory:
    memory = remembered(job.memory) if job.memory else heartbeats.begun(clock)
    return heartbeats.steadied(memory, clock)


def _of_file(job: TargetJob, clock: Clock) -> Memory:
    """Return what a file says that is touched."""
    memory = _before(job, clock)
    job.memory = plain(memory)
    path = job.target.file
    try:
        touched_at = os.stat(path).st_mtime
    except FileNotFoundError:
        return memory
    except OSError as error:
        raise CheckUnknown(f"{path}: {error.strerror}") from error
    if touched_at > clock.now + heartbeats.CLOCK_S:
        raise CheckUnknown(f"{path}: its time is in the future; touch it again")
    return replace(memory, seen_at=max(touched_at, 0.0))


def _folders(job: TargetJob) -> Iterator[str]:
    """Yield where events of a job may lie."""
    if _has_spool(job.target):
        yield job.target.spool
    # Nobody has pinged yet, if it is not there.
    if job.target.token and os.path.isdir(job._checker.pings):
        yield job._checker.pings


def _of_spools(
    job: TargetJob, found: Sequence[_Spool], clock: Clock, gone: Iterable[str]
) -> Memory:
    """Return the memory with what the spools have for a job."""
    memory = _before(job, clock)
    for one in found:
        if one.wrong:
            job.memory = plain(memory)
            raise CheckUnknown(one.wrong)
    events: dict[str, Event] = {}
    for one in found:
        # In that of the daemon the token says who it is.
        names = () if one.folder == job._checker.pings else job.target.user
        believed = {uid_of(name) for name in names} if names else {os.geteuid()}
        memory = _taken(job, one, believed, memory, events, clock.now)
    if events:
        memory = replace(memory, refused="")
    present = {name for one in found for name in one.present}
    memory = heartbeats.applied(memory, events, clock.now, set(gone), present)
    job.memory = plain(memory)
    return memory


def _taken(
    job: TargetJob,
    found: _Spool,
    believed: Collection[int | None],
    memory: Memory,
    events: dict[str, Event],
    now: float,
) -> Memory:
    """Add the events of a spool that are believed; return who was not, remembered."""
    for one in found.of(job.target.name):
        if one.uid in believed and one.event is not None:
            events[os.path.basename(one.path)] = _without_secrets(job, one.event)
            found.take(job, one.path)
        else:
            memory = replace(memory, refused=_user(one.uid))
            if now - one.written_at > UNCLAIMED_S:
                found.take(job, one.path)
    return memory


def _without_secrets(job: TargetJob, event: Event) -> Event:
    """Return an event whose output may be stored, and cut to be shown."""
    if not event.output:
        return event
    output = job._checker.scrubbed(event.output, was_cut=event.cut)
    return replace(event, output=output)


class _Spool:
    """What a spool holds, by the names of heartbeats."""

    def __init__(self, folder: str, now: float, job: TargetJob) -> None:
        self.folder = folder
        self.wrong = spool.why_not_usable(folder)
        self.present: set[str] = set()
        self._by_name: dict[str, list[spool.Found]] = {}
        if self.wrong:
            return
        try:
            waiting = spool.waiting(folder, now, heartbeats.decoded)
        except OSError as error:
            self.wrong = f"{folder}: {error.strerror}"
            return
        job._checker.consumed = tuple(waiting.leftovers)
        for one in waiting.found:
            self.present.add(os.path.basename(one.path))
            if one.event is None:
                print(f"{one.path} is removed: {one.wrong}")
                self.take(job, one.path)
                continue
            self._by_name.setdefault(one.event.name, []).append(one)
            name = one.event.name
            titles = (f"heartbeat {name}", f"heartbeat {name.rpartition('/')[0]}")
            is_claimed = any(title in job._ini for title in titles)
            age = now - one.written_at
            if age > (NOT_CHECKED_S if is_claimed else UNCLAIMED_S):
                print(f"{one.path} is removed: nothing checks heartbeat {name}")
                self.take(job, one.path)
        for uid, number in waiting.too_many.items():
            print(
                f"{folder} holds {number} events of the user {_user(uid)}; they are "
                f"read {spool.MAX_OF_A_USER} at a time"
            )

    def of(self, name: str) -> list[spool.Found]:
        """Return the events of a heartbeat."""
        return self._by_name.get(name, [])

    def take(self, job: TargetJob, path: str) -> None:
        """Have a file removed after the commit."""
        job._checker.consumed += (path,)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _gone(job: TargetJob) -> set[str]:
    """Return the runs under way whose process is there no longer."""
    return {start.run for start in remembered(job.memory).open if is_gone(start)}


def is_gone(start: Event) -> bool:
    """Return whether the process of a run has ended; not known of other machines."""
    if not (start.pid and start.run and start.host == os.uname().nodename):
        return False
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return False
    if boot != start.boot:
        return bool(start.boot)
    if namespace != start.namespace:
        return False
    try:
        os.kill(start.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        # It is somebody else's, and there.
        pass
    try:
        with open(f"/proc/{start.pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19]) != start.ticks
    except (OSError, ValueError, IndexError):
        return False


def rule_of(target: Target, zone: Any) -> Rule:
    """Return how a target's heartbeat is judged."""
    given, own_zone = (
        target.period if isinstance(target.period, tuple) else (target.period, None)
    )
    preset = PRESETS.get(target.preset, Preset())
    warn_codes = tuple((code, code) for code in preset.warn)
    longest, warn_longest = target.fail_duration, target.warn_duration
    return Rule(
        period=given,
        zone=own_zone or zone,
        grace=target.grace,
        exit_ok=(*target.exit_ok, *((code, code) for code in preset.ok)),
        exit_warn=(*target.exit_warn, *warn_codes),
        meanings={**preset.fail, **preset.warn},
        words=tuple(_words(target, preset)),
        expected=tuple(_expected(target)),
        longest=longest.high if longest else None,
        warn_longest=warn_longest.high if warn_longest else None,
    )


def _expected(target: Target) -> Iterator[re.Pattern[str]]:
    if target.expect_text:
        yield re.compile(re.escape(target.expect_text))
    if target.expect_regex:
        yield target.expect_regex


def _words(target: Target, preset: Preset) -> Iterator[Words]:
    if target.reject_text:
        yield Words(re.compile(re.escape(target.reject_text)), FAILING)
    if target.reject_regex:
        yield Words(target.reject_regex, FAILING)
    for status, pattern, meaning in preset.words:
        yield Words(re.compile(pattern, re.M), status, meaning)


def _judged(job: TargetJob, memory: Memory, clock: Clock) -> Values:
    """Return what was measured; raise what the heartbeat amounts to."""
    target = job.target
    judgement = heartbeats.judge(memory, rule_of(target, job._checker.zone), clock)
    if judgement.missed != memory.missed and not target.file:
        memory = replace(memory, missed=judgement.missed)
        job.memory = plain(memory)
    elif judgement.missed != remembered(job.memory).missed:
        job.memory = {**job.memory, "missed": judgement.missed}
    job.values = dict(_values(target, memory, clock))
    if judgement.status is FAILING:
        raise CheckFailed(_with_output(judgement, memory))
    if judgement.status is WARNING:
        raise CheckWarning(_with_output(judgement, memory))
    return {}


def _values(target: Target, memory: Memory, clock: Clock) -> Iterator[tuple[str, Any]]:
    if memory.seen_at is not None:
        yield "age", seconds(round(max(0.0, clock.now - memory.seen_at), 0))
    if target.file:
        return
    if memory.last is not None and memory.last.seconds is not None:
        warn, fail = target.warn_duration, target.fail_duration
        yield "duration", seconds(memory.last.seconds, warn=warn, fail=fail)
    yield "running", count(
        len(memory.open), warn=target.warn_running, fail=target.fail_running
    )


def _with_output(judgement: Judgement, memory: Memory) -> str:
    """Return the reason, with the last of the output where a run is its cause."""
    last = memory.last
    if last is None or not (last.output or "").strip() or judgement.missed:
        return judgement.reason
    where = f" on {last.host}" if last.host else ""
    return f"{judgement.reason}\n\nThe last of its output{where}:\n{last.output}"
