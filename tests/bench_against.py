"""What a run costs here, beside other commits: ``make bench-against REV=...``.

Each row of ROWS is a scenario: settings, job files and a state folder as a user has
them, and the run of the program that is measured.  The checkouts take turns, each time
from the same state; the table has the median of each, and the ratio.  A checkout is
used through its command line alone, so that any commit can be measured.

    python -m tests.bench_against CHECKOUT... [--rows NAME,NAME] [--times N]

CPU is that of the whole process tree; servers are not part of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import GENERAL, ROOT, commit, machine
from tests.support.benchserver import servers
from tests.support.measure import Cost, cost
from tests.support.servers import SmtpServer

#: What ``make bench-against`` runs this checkout with.
BARE_VENV = ROOT / "build" / "venv-bench"
#: Sections, records, jobs and targets of the rows that have many.
MANY = 10_000
SOME = 1_000
HTTP_TARGETS = 20
TLS_TARGETS = 200
#: So many of SOME never answer.
SILENT = 50
HTTP_TARGET = "[http t-{n}]\nurl = http://127.0.0.1:{well}/{n}\n"
ALERTS = 5
#: So many minutes a storm of alerts may take until everybody is notified.
STORM_RUNS = 12
NO_MAIL = "[email]\nnomail = True\n"
SENDER = "sender = bench@example.com\n"

JOBS = """\
import os
from lib.jobbase import CheckFailed, JobBase, JobFrequency, JobSpawner

class Many(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, number)

class One(JobBase):
    def executeEvery(self):
        return JobFrequency.{every}

    def numberFailuresBeforeNotification(self):
        return {failures}

    def execute(self):
        if os.path.exists({flag!r}):
            raise CheckFailed("no route to host")
        return True
"""


class Trouble(Exception):
    """A run did not do what its row is about."""


@dataclass(frozen=True)
class Checkout:
    """A commit that is measured."""

    name: str
    program: Path
    python: str


def checkout(folder: Path) -> Checkout:
    """Return the checkout in a folder, with its bytecode made."""
    if folder.resolve() == ROOT:
        # As users have it: libraries would load what only developers need, too.
        bare = BARE_VENV / "bin" / "python"
        name, python = "here", str(bare) if bare.exists() else sys.executable
    else:
        name = folder.name.removeprefix("against-")
        # Not resolved: a link that venv makes is what names the libraries.
        python = str(folder.absolute() / ".venv" / "bin" / "python")
    compiling = [python, "-m", "compileall", "-qq", "lib", "jobs"]
    subprocess.run(compiling, cwd=folder, check=True)
    return Checkout(name, folder.resolve() / "checker.py", python)


class Place:
    """The settings, job files and state of one row in one checkout."""

    def __init__(self, folder: Path, checkout: Checkout, settings: str) -> None:
        self.checkout = checkout
        #: The jobs of ``JOBS`` fail while it is there.
        self.flag = folder / "flag"
        self.settings = folder / "settings.cfg"
        self.jobs = folder / "jobs"
        self.state = folder / "state"
        self._snapshot = folder / "snapshot"
        folder.mkdir()
        self.jobs.mkdir(mode=0o755)
        self.state.mkdir(mode=0o700)
        self.settings.touch(0o600)
        self.settings.write_text(GENERAL + settings, "utf-8")

    def add_jobs(self, count: int, every: str, failures: int = 10) -> None:
        text = JOBS.format(
            count=count, every=every, failures=failures, flag=str(self.flag)
        )
        path = self.jobs / "Many.py"
        path.write_text(text, "utf-8")
        path.chmod(0o644)

    def run(self, every: str = "minute", *python: str, watch: bool = False) -> Cost:
        """Return what one run cost.  Raise Trouble if it said or found anything odd."""
        # With this note 0bca2c4 leaves out a run in which nothing is due.
        (self.state / "idle").unlink(missing_ok=True)
        where = ("-f", self.settings, "--jobs", self.jobs, "--state", self.state)
        command = [self.checkout.python, *python, str(self.checkout.program)]
        command += ["-m", "cron", "-c", every, *map(str, where)]
        ran = cost(command, watch=watch)
        if ran.exit_code or (ran.said and not python):
            raise Trouble(f"-c {every}: exit code {ran.exit_code}: {ran.said[:500]}")
        return ran

    def prepare(self, *runs: str) -> None:
        """Carry out runs, and have each that is measured begin where they end."""
        for every in runs:
            self.run(every)
        _copy(self.state, self._snapshot)

    def begin_again(self) -> None:
        """Have the state that ``prepare`` left, and job files that are new."""
        shutil.rmtree(self.state)
        _copy(self._snapshot, self.state)
        for path in self.jobs.iterdir():
            # One that did not change is not loaded in a minute that has no use for it.
            path.touch()


def _copy(folder: Path, to: Path) -> None:
    # Of many thousand files shutil would make more work than what is measured.
    subprocess.run(["cp", "-pR", str(folder), str(to)], check=True)


Measure = Callable[[], float]


# The rows: each prepares a place in a checkout and yields what measures it once.


@contextmanager
def idle(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have one job file loaded, and nothing due."""
    place = _place_with_jobs(folder, checkout, 1, "HOUR", "day", "minute")
    yield lambda: _again(place).cpu_s


@contextmanager
def imports(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have that run, and add up what its imports take, in milliseconds."""
    place = _place_with_jobs(folder, checkout, 1, "HOUR", "day", "minute")
    bare = _imports(cost([checkout.python, "-X", "importtime", "-c", "pass"]).said)

    def measure() -> float:
        took = _imports(_again(place, "-X", "importtime").said)
        # What Python loads itself is not the program's.
        return sum(us for module, us in took.items() if module not in bare) / 1000

    yield measure


def _imports(said: str) -> dict[str, int]:
    """Return the microseconds that each module took by itself."""
    lines = re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", said)
    return {module: int(us) for us, module in lines}


@contextmanager
def http(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have HTTP targets that answer at once."""
    with _place_with_targets(folder, checkout, HTTP_TARGETS) as place:
        yield lambda: _again(place).cpu_s


@contextmanager
def http_some(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have a thousand HTTP targets that answer at once."""
    with _place_with_targets(folder, checkout, SOME) as place:
        yield lambda: _again(place).cpu_s


@contextmanager
def http_many(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many HTTP targets that answer at once."""
    with _place_with_targets(folder, checkout, MANY) as place:
        yield lambda: _again(place).cpu_s


@contextmanager
def tcp_many(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many TCP targets."""
    each = "[tcp t-{n}]\nhost = 127.0.0.1\nport = {well}\n"
    with _place_with_targets(folder, checkout, MANY, each) as place:
        yield lambda: _again(place).cpu_s


def _looped(number: int) -> str:
    """Return an address of this machine."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


@contextmanager
def pings(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have a thousand hosts pinged once, and look what that is above an empty run."""
    folder.mkdir()
    each = "[ping p-{}]\nhost = {}\ncount = 1\n"
    text = "".join(each.format(number, _looped(number)) for number in range(SOME))
    empty = Place(folder / "empty", checkout, NO_MAIL)
    place = Place(folder / "place", checkout, NO_MAIL + text)
    for one in (empty, place):
        one.prepare("minute")
    listed = [checkout.python, str(checkout.program), "-m", "list", "--json", "-f"]
    listed += [str(place.settings), "--state", str(place.state)]
    if cost(listed).said.count('"ok"') < SOME:
        raise Trouble("not all of them answer, or there is no such kind")
    yield lambda: _again(place).cpu_s - _again(empty).cpu_s


#: One target of each kind that looks at this machine, checked each minute.
KINDS = """\
[command c]
command = /bin/true
[plugin p]
command = /bin/echo OK
[heartbeat h]
period = 1d
file = {seen}
[disk d]
path = /
[load l]
[cpu c]
[memory m]
[swap s]
[pressure p]
[process p]
program = {program}
[systemd s]
unit = cron.service
[clock c]
[file f]
path = {seen}
[log l]
path = {log}
match = ERROR
[group g]
of = command c, plugin p
"""


@contextmanager
def kinds(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have one target of each kind on the machine, and look what an empty run is less.

    What the children take that they start is part of it: programs, searches, disks.
    """
    folder.mkdir()
    seen, log = folder / "seen", folder / "log"
    for path in (seen, log):
        path.write_text("well\n" * 1000)
    program = Path(sys.executable).name
    text = KINDS.format(seen=seen, log=log, program=program)
    every_minute = "[defaults]\nevery = minute\nfailures = 10\n"
    empty = Place(folder / "empty", checkout, NO_MAIL)
    place = Place(folder / "place", checkout, NO_MAIL + every_minute + text)
    empty.prepare("minute", "minute")
    place.prepare("minute", "minute")
    yield lambda: _again(place).cpu_s - _again(empty).cpu_s


@contextmanager
def fping(folder: Path, _checkout: Checkout) -> Iterator[Measure]:
    """Have fping do the same, whatever the checkout."""
    folder.mkdir()
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{_looped(number)}\n" for number in range(SOME)))
    if shutil.which("fping") is None:
        raise Trouble("fping is not installed")

    def measure() -> float:
        ran = cost(["fping", "-q", "-c1", "-i1", "-f", str(hosts)])
        if ran.exit_code:
            raise Trouble(f"fping: exit code {ran.exit_code}: {ran.said[:500]}")
        return ran.cpu_s

    yield measure


@contextmanager
def https(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have HTTPS targets, each of which is verified."""
    each = "[http t-{n}]\nurl = https://127.0.0.1:{tls}/{n}\ncafile = {cafile}\n"
    with _place_with_targets(folder, checkout, TLS_TARGETS, each) as place:
        yield lambda: _again(place).cpu_s


@contextmanager
def silent(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have some of a thousand targets never answer, and look how long a run takes."""
    url = "[http t-{n}]\nurl = http://127.0.0.1:{port}/{n}\ntimeout = 5\n"

    def each(number: int, ports: Mapping[str, int]) -> str:
        name = "mute" if number < SILENT else "well"
        return url.format(n=number, port=ports[name])

    with _place_with_targets(folder, checkout, SOME, each) as place:
        yield lambda: _again(place).wall_s


@contextmanager
def memory(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many HTTP targets, and look how much memory all processes take."""
    with _place_with_targets(folder, checkout, MANY) as place:
        yield lambda: _again(place, watch=True).peak_pss_mib


@contextmanager
def sections(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many sections loaded, and nothing due."""
    each = "[tcp t-{n}]\nhost = 127.0.0.1\nport = {well}\nevery = day\n"
    with _place_with_targets(folder, checkout, MANY, each) as place:
        # What the day's run has no time for is checked in the minutes after it.
        place.prepare("day", "minute", "minute")
        yield lambda: _again(place).cpu_s


@contextmanager
def records(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have the records of very many failing jobs loaded, and nothing due."""
    place = _place_with_jobs(folder, checkout, MANY, "HOUR")
    place.flag.touch()
    place.prepare("day", "minute")
    yield lambda: _again(place).cpu_s


@contextmanager
def unchanged(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many jobs judged that stay as they are."""
    place = _place_with_jobs(folder, checkout, MANY, "MINUTE", "minute")
    yield lambda: _again(place).cpu_s


@contextmanager
def changed(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have them fail all at once: very many records committed, nobody notified yet."""
    place = _place_with_jobs(folder, checkout, MANY, "MINUTE", "minute")
    place.flag.touch()
    yield lambda: _again(place).cpu_s


#: Commits and loads records by the state folder's own classes, whatever they are
#: called in a checkout, and prints the CPU seconds; job code is no part of it.
STORE = """\
import sys, time
folder, root, count = sys.argv[1:]
sys.path.insert(0, root)
from datetime import datetime, timezone
from pathlib import Path
from tests.bench import _judged
try:
    from lib.storage.session import StoreSession
    from lib.storage.store import State
except ImportError:
    from lib.ledger import Ledger as StoreSession
    from lib.state import State
now = datetime.now(timezone.utc)
records = [_judged(number, 1, now) for number in range(int(count))]
began = time.process_time()
state = State(Path(folder))
session = StoreSession(state, state.load(), (), now)
for record in records:
    session.keep(record)
session.commit()
state.settle(time.monotonic() + 600)
assert len(State(Path(folder)).load().records) == len(records)
print(time.process_time() - began)
"""


@contextmanager
def store(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many changed records committed, put into files, and loaded."""
    folder.mkdir()

    def measure() -> float:
        state = Path(tempfile.mkdtemp(dir=folder))
        root = str(checkout.program.parent)
        ran = cost([checkout.python, "-c", STORE, str(state), root, str(MANY)])
        if ran.exit_code:
            raise Trouble(ran.said[-500:])
        return float(ran.said)

    yield measure


#: Makes a state folder with a history by a checkout's own code, and measures that.
HISTORY = Path(__file__).parent / "support" / "benchhistory.py"


def _of_history(
    made: str, what: str, jobs: int = SOME
) -> Callable[[Path, Checkout], AbstractContextManager[Measure]]:
    """Return what prepares a history, and has one thing of it measured."""

    @contextmanager
    def prepared(folder: Path, checkout: Checkout) -> Iterator[Measure]:
        root = str(checkout.program.parent)

        def carry_out(asked: str) -> str:
            words = [asked, root, str(folder), str(jobs)]
            ran = cost([checkout.python, str(HISTORY), *words])
            if ran.exit_code:
                # A commit from before there was such a thing has no figure.
                raise Trouble(ran.said.strip().splitlines()[-1])
            return ran.said

        carry_out(made)
        yield lambda: float(carry_out(what))

    return prepared


@contextmanager
def mails(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have some jobs fail, each of which is mailed about."""
    with _failing_jobs(folder, checkout, ALERTS) as run_until_notified:
        yield lambda: run_until_notified(1)


@contextmanager
def storm(folder: Path, checkout: Checkout) -> Iterator[Measure]:
    """Have very many jobs fail, and runs follow until all of them are mailed about."""
    with _failing_jobs(folder, checkout, MANY) as run_until_notified:
        yield lambda: run_until_notified(STORM_RUNS)


@contextmanager
def _failing_jobs(
    folder: Path, checkout: Checkout, count: int
) -> Iterator[Callable[[int], float]]:
    with SmtpServer(security="none") as server:
        place = Place(folder, checkout, server.email_section() + SENDER)
        place.add_jobs(count, "MINUTE", failures=1)
        place.prepare("minute")
        place.flag.touch()

        def run_until_notified(runs: int) -> float:
            place.begin_again()
            server.mails.clear()
            spent_s, notified = 0.0, 0
            for _ in range(runs):
                spent_s += place.run().cpu_s
                notified = sum(stands_for(mail.subject) for mail in server.mails)
                if notified >= count:
                    return spent_s
            raise Trouble(f"{notified:,} of {count:,} mailed about in {runs} runs")

        yield run_until_notified


def stands_for(subject: str) -> int:
    """Return how many jobs a mail is about, as its subject counts them."""
    counted = re.search(r"([\d,]+) (jobs )?failing", subject)
    return int(counted[1].replace(",", "")) if counted else "is failing" in subject


def _place_with_jobs(
    folder: Path, checkout: Checkout, count: int, every: str, *runs: str
) -> Place:
    place = Place(folder, checkout, NO_MAIL)
    place.add_jobs(count, every)
    if runs:
        place.prepare(*runs)
    return place


@contextmanager
def _place_with_targets(
    folder: Path,
    checkout: Checkout,
    count: int,
    each: str | Callable[[int, Mapping[str, int]], str] = HTTP_TARGET,
) -> Iterator[Place]:
    folder.mkdir()
    with servers(folder) as there:
        targets = (
            (
                each.format(n=n, cafile=there.cafile, **there.ports)
                if isinstance(each, str)
                else each(n, there.ports)
            )
            for n in range(count)
        )
        place = Place(folder / "place", checkout, NO_MAIL + "".join(targets))
        place.prepare("minute")
        yield place


def _again(place: Place, *python: str, watch: bool = False) -> Cost:
    place.begin_again()
    return place.run("minute", *python, watch=watch)


@dataclass(frozen=True)
class Row:
    """What a row is called, and how often it is measured if nothing else is said."""

    what: str
    prepared: Callable[[Path, Checkout], AbstractContextManager[Measure]]
    times: int
    unit: str = "CPU s"


ROWS = {
    "idle": Row("a minute run, one job file loaded, nothing due", idle, 11),
    "imports": Row("imports of that run", imports, 11, "ms"),
    "http": Row(f"a minute run with {HTTP_TARGETS} HTTP targets", http, 9),
    "http-some": Row(f"{SOME:,} HTTP targets", http_some, 5),
    "http-many": Row(f"{MANY:,} HTTP targets", http_many, 3),
    "tcp-many": Row(f"{MANY:,} TCP targets", tcp_many, 3),
    "kinds": Row(
        "one target of each kind on the machine, above an empty run", kinds, 15
    ),
    "pings": Row(f"{SOME:,} pings, above an empty run", pings, 5),
    "fping": Row(f"{SOME:,} pings by fping", fping, 5),
    "https": Row(f"{TLS_TARGETS} HTTPS targets, verified", https, 5),
    "silent": Row(
        f"{SILENT} of {SOME:,} HTTP targets never answer (5 s)", silent, 3, "wall s"
    ),
    "sections": Row(f"{MANY:,} sections loaded, nothing due", sections, 7),
    "records": Row(f"{MANY:,} records loaded, nothing due", records, 5),
    "unchanged": Row(f"{MANY:,} jobs judged, nothing changed", unchanged, 5),
    "store": Row(f"{MANY:,} changed records committed, and loaded", store, 5),
    "changed": Row(f"{MANY:,} jobs judged, all records changed", changed, 5),
    "memory": Row(f"peak memory with {MANY:,} HTTP targets", memory, 3, "MiB"),
    "page": Row(
        f"front page of {SOME:,} jobs, read and made", _of_history("days", "page"), 9
    ),
    "page-size": Row("size of that page", _of_history("days", "page-size"), 1, "kB"),
    "bars": Row(f"90 days' bars of {SOME:,} jobs read", _of_history("days", "bars"), 9),
    "history": Row(
        f"24 hours of one job among {SOME:,} read",
        _of_history("day", "history"),
        9,
        "CPU ms",
    ),
    "status": Row(
        f"24 hours of {SOME:,} jobs in -m status", _of_history("day", "status"), 5
    ),
    "mails": Row(f"a run with {ALERTS} alerts by mail", mails, 7),
    "storm": Row(f"{MANY:,} failing at once, all notified", storm, 3),
}


def measured(
    row: Row, checkouts: Sequence[Checkout], folder: Path, times: int
) -> list[float | str]:
    """Return the median for each checkout, measured in turns, or what went wrong."""
    values: list[list[float]] = [[] for _ in checkouts]
    trouble: dict[int, str] = {}
    with ExitStack() as stack:
        measures: dict[int, Measure] = {}
        for number, checkout in enumerate(checkouts):
            try:
                prepared = row.prepared(folder / str(number), checkout)
                measures[number] = stack.enter_context(prepared)
            except Trouble as error:
                trouble[number] = str(error)
        for _turn in range(times):
            for number, measure in measures.items():
                if number in trouble:
                    continue
                try:
                    values[number].append(measure())
                except Trouble as error:
                    trouble[number] = str(error)
    return [
        trouble.get(number) or statistics.median(found)
        for number, found in enumerate(values)
    ]


def line(row: Row, medians: Sequence[float | str]) -> str:
    """Return the line of the table: each figure, and what ours is of each other one."""
    *others, ours = medians
    cells = [
        *(f"{one:.3g}" if isinstance(one, float) else "-" for one in medians),
        *(
            (
                f"{ours / one:.2f}"
                if isinstance(one, float) and isinstance(ours, float)
                else "-"
            )
            for one in others
        ),
    ]
    return f"| {row.what} | {row.unit} | {' | '.join(cells)} |"


def main(words: Sequence[str]) -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="make bench-against REV=... ARGS=...")
    parser.add_argument("checkouts", nargs="+", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--rows", default=",".join(ROWS), help=f"some of {','.join(ROWS)}"
    )
    parser.add_argument("--times", type=int, help="how often each row is measured")
    asked = parser.parse_args(words)
    rows = asked.rows.split(",")
    if unknown := [name for name in rows if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]}: they are {', '.join(ROWS)}")
    checkouts = [checkout(folder) for folder in (*asked.checkouts, ROOT)]
    names = [one.name for one in checkouts]
    print(f"{commit()} is here; {machine()}\n")
    titles = ["work", "unit", *names, *(f"here / {name}" for name in names[:-1])]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)
    for name in rows:
        row = ROWS[name]
        with tempfile.TemporaryDirectory(prefix="checker-bench-") as folder:
            medians = measured(row, checkouts, Path(folder), asked.times or row.times)
        print(line(row, medians), flush=True)
        for checkout_name, median in zip(names, medians, strict=True):
            if isinstance(median, str):
                print(f"{name}, {checkout_name}: {median}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
