"""How long a run takes on this machine: ``make bench``.  Printed, never asserted.

The program is started as cron starts it, with settings and a state folder of its own
in a temporary place; what it asks is in ``tests/support/benchserver.py``.  Each figure
that has a limit is printed with it, and whether it is over.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lib.core.enums import JobFrequency, MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.records import Record
from lib.runner.selection import SETTLED_AFTER_S
from lib.storage.session import StoreSession
from lib.storage.store import State
from tests import bench_history, bench_logs
from tests.support.benchserver import There, servers, system_store
from tests.support.measure import Cost, cost

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 20
#: So that the whole stays below two minutes where a run is slow.
ROUNDS_LIMIT_S = 15
TARGETS = 1_000
#: How many of TARGETS make trouble, and how long each of them may take.
TROUBLED = 50
TIMEOUT_S = 5.0
TLS_TARGETS = 200
#: Failing jobs of a storm, and targets of the run whose memory is measured.
MANY = 10_000
#: How many more fail in each of so many minutes after the storm, and how long it is
#: looked on after that.
A_FEW, MORE_MINUTES, LAST_MINUTES = 3, 10, 6
#: What is promised of a first alert, and the most mails an hour that keep it: those of
#: mailsperhour, and a bundle each five minutes.
PROMISED_S, MOST_MAILS = 300, 20 + 12

GENERAL = """\
[general]
servername = bench
alertcontact = nobody@example.com
"""
TARGET = """
[http target-{number}]
url = {scheme}://127.0.0.1:{port}/{number}
expect_text = well
timeout = {timeout_s:g}
"""
STORM = """\
from lib.jobbase import CheckFailed, JobBase, JobFrequency, JobSpawner

class Storm(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, number)

class One(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        raise CheckFailed("no route to host")
"""
LATER_STORM = STORM.replace(
    """        raise CheckFailed("no route to host")
""",
    """        with open({flag!r}) as file:
            failing = int(file.read())
        if self.number < failing:
            raise CheckFailed("no route to host")
        return True
""",
).replace(
    """    def executeEvery""",
    """    def __init__(self, config, number):
        super().__init__(config, number)
        self.number = number

    def executeEvery""",
)


@dataclass(frozen=True)
class Figure:
    """Something measured, and what it may be at most, or has to be."""

    what: str
    value: float
    limit: float
    unit: str = ""
    exact: bool = False

    @property
    def ok(self) -> bool:
        """Return whether the limit is kept."""
        if self.exact:
            return self.value == self.limit
        return self.value <= self.limit

    def __str__(self) -> str:
        digits = 0 if self.value == int(self.value) else 2
        word = "expected" if self.exact else "limit"
        said = f"{self.value:,.{digits}f}{self.unit}, {word} {self.limit:,g}{self.unit}"
        return f"{self.what} {said}: {'ok' if self.ok else 'OVER'}"


def main() -> None:
    """Print everything; takes some minutes."""
    print(f"commit   {commit()}")
    print(f"machine  {machine()}")
    with tempfile.TemporaryDirectory(prefix="checker-bench-") as name:
        folder = Path(name)
        print_quiet_runs(folder)
        with servers(folder) as there:
            usual = print_run(f"{TARGETS:,} HTTP targets", *answering(folder, there))
            for trouble, words in (
                ("mute", "never answer"),
                ("drip", f"drip a byte a second, timeout = {TIMEOUT_S:g}"),
            ):
                what = f"{TARGETS:,} HTTP targets of which {TROUBLED} {words}"
                print_run(what, *troubled(folder, there, trouble, usual.wall_s))
            what = f"{TARGETS:,} HTTP targets that answer after 100 ms"
            print_run(what, *slow(folder, there))
            store = system_store().count(b"BEGIN CERTIFICATE")
            what = f"{TLS_TARGETS} HTTPS targets, {store} certificates of the system"
            print_run(what, *secure(folder, there))
            print_run(f"{MANY:,} HTTP targets", *memory(folder, there))
        print_run(f"{MANY:,} jobs that fail at once", *storm(folder))
        print(f"{MANY:,} jobs that fail at once, and {A_FEW} more in each minute after")
        for figure in waits(folder):
            print(f"  {figure}")
        print(f"the commit of {MANY:,} jobs, beside their judgement")
        for figure in commits(folder):
            print(f"  {figure}")
        bench_history.main(jobs=TARGETS, days=1)
        bench_logs.main()


# The parts: each returns what a run cost, and the figures that have a limit.

Part = tuple[Cost, list[Figure]]


def print_quiet_runs(folder: Path) -> None:
    """Print what a run costs that has nothing to do, beside Python itself."""
    print_costs("python -c pass", many([sys.executable, "-c", "pass"]))
    command = order(folder, "nothing-due", GENERAL)
    # Job files that changed just now are loaded again in each run.
    time.sleep(SETTLED_AFTER_S + 0.1)
    print_costs("a run with nothing due", many(command))


def answering(folder: Path, there: There, count: int = TARGETS) -> Part:
    """Have targets that answer at once."""
    return run(folder, "well", targets(there, ["well"] * count)), []


def troubled(
    folder: Path,
    there: There,
    trouble: str,
    usual_s: float,
    count: int = TARGETS,
    bad: int = TROUBLED,
    timeout_s: float = TIMEOUT_S,
) -> Part:
    """Have some targets, spread among others, that answer too late or never."""
    every = count // bad
    kinds = ["well" if number % every else trouble for number in range(count)]
    ran = run(folder, trouble, targets(there, kinds, timeout_s))
    added = Figure("added to the wall time:", ran.wall_s - usual_s, timeout_s + 1, " s")
    found = failing(folder, trouble)
    return ran, [added, Figure("failing:", found, bad, exact=True)]


def slow(folder: Path, there: There, count: int = TARGETS) -> Part:
    """Have targets that take a while."""
    ran = run(folder, "slow", targets(there, ["slow"] * count))
    return ran, [Figure("wall time:", ran.wall_s, 3, " s")]


def secure(folder: Path, there: There, count: int = TLS_TARGETS) -> Part:
    """Have targets whose certificate is looked for among all that the system trusts."""
    text = targets(there, ["tls"] * count, more=f"cafile = {there.cafile}\n")
    ran = run(folder, "tls", text)
    found = failing(folder, "tls")
    share = Figure("CPU of the whole run, each:", 1000 * ran.cpu_s / count, 5, " ms")
    return ran, [share, Figure("failing:", found, 0, exact=True)]


def memory(folder: Path, there: There, count: int = MANY) -> Part:
    """Have very many targets, and look how much memory that takes."""
    ran = run(folder, "memory", targets(there, ["well"] * count))
    found = failing(folder, "memory")
    peak = Figure("peak PSS of all processes:", ran.peak_pss_mib, 80, " MiB")
    return ran, [
        peak,
        Figure("wall time:", ran.wall_s, 55, " s"),
        Figure("failing:", found, 0, exact=True),
    ]


def storm(folder: Path, count: int = MANY) -> Part:
    """Have jobs that all fail, and a server for their mails."""
    jobs = folder / "jobs"
    jobs.mkdir(mode=0o755)
    (jobs / "Storm.py").write_text(STORM.format(count=count))
    (jobs / "Storm.py").chmod(0o644)
    with servers(folder) as there:
        text = f"{GENERAL}jobs = {jobs}\n{there.email_section}"
        ran = cost(order(folder, "storm", text, mails=True), watch=True)
    notified = sum(map(stands_for, there.subjects))
    queued = sum(len(one.queued) for one in records(folder, "storm"))
    return ran, [
        Figure("wall time:", ran.wall_s, 55, " s"),
        Figure("mails:", len(there.subjects), 3),
        Figure(
            f"told {notified:,}, owed {queued:,}:", notified + queued, count, exact=True
        ),
    ]


def waits(folder: Path, count: int = MANY) -> list[Figure]:
    """Have jobs fail in one minute and a few more in each of the next; who waits?

    The minutes are simulated, the mails are real ones.
    """
    from tests.faults.soak_world import Minutes
    from tests.support.instance import Instance
    from tests.support.servers import SmtpServer

    place = folder / "waits"
    place.mkdir()
    flag = place / "failing"
    begin = datetime.now(UTC).replace(second=1, microsecond=0) + timedelta(days=1)
    most = count + A_FEW * MORE_MINUTES
    told: dict[int, int] = {}
    said = ""
    with SmtpServer(security="none") as server:
        instance = Instance(place, server.email_section(), GENERAL)
        instance.job("Storm", LATER_STORM.format(count=most, flag=str(flag)))
        env = {"PATH": "/usr/bin:/bin", "HOME": "/", "XDG_RUNTIME_DIR": str(place)}
        minutes = Minutes(instance, env)
        for number in range(MORE_MINUTES + LAST_MINUTES):
            flag.write_text(str(min(most, count + A_FEW * number)))
            at = begin + timedelta(minutes=number)
            said = said or minutes.run(JobFrequency.MINUTE, at).said
            for mail in server.mails:
                for job in re.findall(r"Storm (\d+)", f"{mail.subject}\n{mail.body}"):
                    told.setdefault(int(job), number)
        minutes.stop()
        mails = len(server.mails)
    if said:
        print(f"  it said: {said[:500]}")
    longest = max(number - _fails_in(job, count) for job, number in told.items())
    return [
        Figure("longest wait of a first alert:", 60 * longest, PROMISED_S, " s"),
        Figure("mails:", mails, MOST_MAILS),
        Figure("told:", len(told), most, exact=True),
    ]


def _fails_in(job: int, count: int) -> int:
    """Return in which minute a job of ``waits`` fails first."""
    return max(0, -((count - job - 1) // A_FEW))


def commits(folder: Path, count: int = MANY) -> list[Figure]:
    """Have jobs judged that are fine and stay so, and then all fail, and keep that."""
    state = folder / "commit-state"
    state.mkdir(mode=0o700)
    now = datetime.now(UTC)
    store = State(state)
    session = StoreSession(store, store.load(), (), now)
    took = []
    for failures in (0, 1):
        after = [_judged(number, failures, now) for number in range(count)]
        began = time.perf_counter()
        for record in after:
            session.keep(record)
        session.commit()
        took.append(time.perf_counter() - began)
    found = sum(bool(one.queued) for one in State(state).load().records.values())
    return [
        Figure("unchanged:", took[0], 0.1, " s"),
        Figure("changed, until durable:", took[1], 2, " s"),
        Figure("found there again:", found, count, exact=True),
    ]


def _judged(number: int, failures: int, now: datetime) -> Record:
    name = f"target-{number}"
    if not failures:
        return Record(JobKey("Storm", name), name)
    text = f"{name} is failing: no route to host"
    to = ("nobody@example.com",)
    alert = Message(f"{number:032}", MessageKind.ALERT, text, text * 10, to, now)
    return Record(
        JobKey("Storm", name),
        name,
        Status.FAILING,
        failures,
        failing_since=now,
        notified_at=now,
        notified=to,
        queued=(alert,),
    )


def stands_for(subject: str) -> int:
    """Return how many messages a mail stands for, as its subject counts them."""
    found = re.match(r"\[bench\] ([\d,]+) failing", subject)
    return int(found[1].replace(",", "")) if found else " is failing" in subject


def targets(
    there: There, kinds: Sequence[str], timeout_s: float = 30, more: str = ""
) -> str:
    """Return settings with a target of each kind in turn."""

    def sections() -> Iterator[str]:
        yield GENERAL
        for number, kind in enumerate(kinds):
            yield TARGET.format(
                number=number,
                scheme="https" if kind == "tls" else "http",
                port=there.ports[kind],
                timeout_s=timeout_s,
            )
            yield more

    return "".join(sections())


def run(folder: Path, name: str, settings: str) -> Cost:
    """Return what a minute run with these settings cost."""
    return cost(order(folder, name, settings), watch=True)


def order(folder: Path, name: str, settings: str, *, mails: bool = False) -> list[str]:
    """Return the command line of a minute run with these settings."""
    path = folder / f"{name}.cfg"
    path.touch(0o600)
    path.write_text(settings, "utf-8")
    state = folder / f"{name}-state"
    state.mkdir(mode=0o700)
    program = [sys.executable, str(ROOT / "checker.py"), "-m", "cron", "-c", "minute"]
    where = ["-f", str(path), "--state", str(state)]
    return [*program, *([] if mails else ["--nomail"]), *where]


def records(folder: Path, name: str) -> list[Record]:
    """Return what is kept of each job that is not simply fine."""
    return list(State(folder / f"{name}-state").load().records.values())


def failing(folder: Path, name: str) -> int:
    """Return how many jobs are failing by what is kept."""
    return sum(record.failures > 0 for record in records(folder, name))


def many(command: Sequence[str]) -> list[Cost]:
    """Return what each of ROUNDS starts took, after one that warms caches."""
    cost(command)
    ends_at = time.monotonic() + ROUNDS_LIMIT_S
    found: list[Cost] = []
    while len(found) < ROUNDS and time.monotonic() < ends_at:
        found.append(cost(command))
    return found


def print_run(what: str, ran: Cost, figures: Sequence[Figure]) -> Cost:
    """Print what one run cost, and the figures that have a limit; return the cost."""
    print(what)
    print(
        f"  wall {ran.wall_s:.2f} s, CPU {ran.cpu_s:.2f} s, peak PSS "
        f"{ran.peak_pss_mib:.0f} MiB over {ran.processes} processes at most"
    )
    for figure in figures:
        print(f"  {figure}")
    print_trouble(ran)
    return ran


def print_costs(what: str, costs: Sequence[Cost]) -> None:
    """Print best and median of several starts, and what one said, if any did."""
    print(f"{what}, {len(costs)} starts")
    for name in ("wall", "CPU"):
        found = [1000 * one for one in each(costs, name)]
        middle = statistics.median(found)
        print(f"  {name:4} best {min(found):6.1f} ms, median {middle:6.1f} ms")
    for one in costs:
        if print_trouble(one):
            return


def print_trouble(ran: Cost) -> bool:
    """Print what a run said, or how it ended, if it was not silent and well."""
    if ran.exit_code or ran.said:
        print(f"  exit code {ran.exit_code}; it said: {ran.said[:500]}")
    return bool(ran.exit_code or ran.said)


def each(costs: Sequence[Cost], which: str) -> list[float]:
    """Return the wall times, or the CPU times."""
    return [one.wall_s if which == "wall" else one.cpu_s for one in costs]


def commit() -> str:
    """Return the commit that is measured, and whether files differ from it."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip() or "none"


def machine() -> str:
    """Return what the figures depend on."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return (
        f"{os.cpu_count()} CPUs ({_cpu_name()}), {memory_mb} MB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
