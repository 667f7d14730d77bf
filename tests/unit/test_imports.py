"""Who may import whom.  A new room needs a row here; read the table once."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: The room, and the rooms of lib that it may import from; ``*`` is any.
DOORS = {
    "__init__": "",
    # what the system gives
    "streams": "",
    "inherited": "streams",
    "shortage": "",
    # values, and words for them
    "model": "",
    "plain": "model",
    "wording": "model",
    "decisions": "model wording",
    "letters": "model wording",
    "log": "model streams",
    # judgement
    "decide": "model",
    "timetable": "model wording",
    "summaries": "model wording",
    "fold": "model summaries",
    "budget": "model",
    "proof": "model wording",
    "proofwords": "wording",
    "shared": "model wording",
    "digests": "decide model shared summaries wording",
    "lots": "decide digests model",
    "queued": "decide model",
    "waits": "budget digests model wording",
    "parcels": "budget decide digests fold lots model owed summaries",
    # settings.cfg -> Settings: knows no job code, no state, no sockets
    "trust": "",
    "readers": "model",
    "kinds": "model readers",
    "options": "kinds model readers",
    "peerlines": "kinds model options readers",
    "config": "",
    "places": "",
    "initext": "config places",
    "inifile": "config initext model places readers trust",
    "jobfiles": "model trust",
    "hidden": "inifile model places trust",
    "password": "readers shortage trust",
    "sections": "inifile kinds model options readers",
    "mailsettings": "inifile model options password readers sections",
    "settings": (
        "hidden inifile jobfiles kinds mailsettings model options password peerlines"
        " sections trust"
    ),
    # what job authors get
    "tlserrors": "",
    "reach": "tlserrors",
    "tls": "reach tlserrors",
    "transport": "reach tls",
    "fetch": "model reach tls transport",
    "jobsettings": "kinds model options peerlines readers",
    "jobclass": "jobsettings model",
    "jobbase": "fetch jobclass jobsettings model reach tls",
    "oldjobs": "jobbase",
    # in a process of its own: job code; never state, channels, outbox
    "child": "disk inherited plain shortage",
    "limits": "model",
    "strays": "",
    "process": "child plain shortage",
    "wire": "model plain",
    "reasons": "limits model wording",
    "printed": "disk process",
    "fitting": "model printed process reasons",
    "facts": "jobclass jobsettings model reasons wording",
    "discover": "facts jobclass model reasons",
    "execute": "discover jobclass letters model plain reasons",
    "task": "discover execute fitting model printed reasons",
    "tasks": (
        "child decide discover execute fitting limits model oldjobs printed task wire"
    ),
    "worker": (
        "limits child decide discover model oldjobs printed process reasons task tasks"
        " wire"
    ),
    # state/: never jobs, channels
    "remedy": "",
    "disk": "remedy",
    "sealed": "disk plain remedy",
    "lock": "disk plain remedy",
    "batches": "disk model plain remedy sealed",
    "records": "disk model remedy sealed",
    "catalogue": "disk model plain sealed",
    "aside": "batches decide disk model remedy sealed",
    "state": "aside batches catalogue disk lock model records remedy sealed trust",
    "slowest": "disk model sealed",
    "journal": "decisions disk model plain wording",
    "elsewhere": "disk",
    "oldstate": "disk model",
    "notes": "decide model oldstate plain timetable",
    # mail: never jobs, worker
    "refusal": "",
    "compose": "model",
    "dial": "compose model reach refusal tls",
    "smtpline": "dial model reach refusal",
    "smtp": "compose model refusal smtpline",
    "channels": "compose model refusal smtp",
    "fates": "model refusal summaries",
    "notices": "budget fates model summaries",
    "ways": "budget model proof",
    "delivery": "channels child fates model owed ways wording",
    "outbox": "child delivery fates model owed process ways wording",
    "mailbag": "budget digests disk model remedy sealed",
    # what has arrived: never jobs, state
    "folders": "",
    "hops": "",
    "imapsession": "dial reach",
    "imapline": "compose imapsession model reach refusal tls tlserrors",
    "probes": "",
    "mailbox": "folders hops imapline model probes reach",
    # the supervisor: never loads job code, so never discover, jobbase, channels
    "standins": "kinds model",
    "rota": "model",
    "roster": "model rota",
    "shift": "model process reasons wire worker",
    "inquest": "model reasons shift",
    "crew": "inquest model process shift wire wording worker",
    "ledger": "batches decide letters model notes state timetable worker",
    "bookkeeper": (
        "budget decisions digests fates journal ledger mailbag model notes notices"
        " outbox owed waits"
    ),
    "bulletins": (
        "bulletin decisions journal ledger model notes overview slowest timetable"
    ),
    "postman": (
        "bookkeeper decisions digests fates journal kinds ledger lots model notes"
        " outbox owed parcels process ways"
    ),
    "drill": "imapline letters mailbox model reach",
    "statusmode": "health model proof timetable wording",
    "overview": "decisions model proof statusmode wording",
    "bulletin": "health model overview timetable wording",
    "peering": "answer fetch model reach",
    "peerwords": "answer wording",
    "ownline": "answer fetch jobsettings model peering reach readers",
    "peermodes": "model peering wording",
    "health": "model proof wording",
    "ownanswer": "answer health model",
    "statusfile": "disk model ownanswer remedy",
    "cautious": "lock model process remedy state",
    "emergency": "elsewhere model outbox wording",
    "look": "crew model process standins state worker",
    "findings": (
        "bulletins crew decide decisions journal ledger letters model roster wording"
    ),
    "heartbeat": "cautious decide findings health model state",
    "casebook": (
        "bulletins cautious decisions findings heartbeat journal ledger model"
        " notes oldstate roster state"
    ),
    "supervisor": (
        "casebook cautious crew emergency model postman process remedy standins"
        " statusfile strays worker"
    ),
    "run": "cautious lock model remedy supervisor worker",
    # what Checker says about itself: cannot run a check, cannot send mail
    "tables": "wording",
    "report": "answer decide model state tables wording",
    "why": "budget decisions digests disk journal model plain sealed waits wording",
    # the command line: what checker.py is the door to
    "crontab": "model",
    "commandline": "model",
    "asowner": "initext places remedy trust",
    "given": "asowner log model settings",
    "manpage": "commandline modes",
    "completion": "commandline model",
    "workmodes": "fresh gate given listening model run serve",
    "workmodes": "fresh gate given listening model run serve streams",
    "showmodes": (
        "completion crontab given look model notes peerlines peermodes readers"
        " report state statusmode why worker"
    ),
    "trymodes": (
        "drill given letters look model outbox readers report settings worker"
    ),
    "modes": (
        "asowner commandline given remedy settings shortage showmodes streams trymodes"
        " workmodes"
    ),
    "answer": "model wording",
    "serve": "answer model ownanswer remedy state",
    "listening": "",
    "gate": "listening",
    "fresh": "model settings",
}

#: Rows for rooms that are not built yet.
PLANNED: set[str] = set()

#: The jobs that may import more than jobbase.
SYSTEM_JOBS = {
    "EmailChecker": "jobbase mailbox proof proofwords",
    "PeerChecker": "jobbase answer ownline peering peerwords",
}

#: The rules of sending.
PURE = (
    "budget digests fates fold lots notices owed parcels peerwords probes proof"
    " proofwords shared summaries waits ways"
).split()

#: The rules and the text of bulletins.
BULLETINS = "bulletin overview statusmode timetable".split()

#: Those that judge have no clock, no files, no sockets, and do not log.
HANDS = set(
    "asyncio fcntl glob http io logging multiprocessing os random requests select"
    " shutil signal smtplib socket ssl subprocess tempfile threading time"
    " urllib".split()
)
HANDED_CALLS = set(
    "open input print now utcnow today exists is_file is_dir stat iterdir"
    " read_text read_bytes write_text write_bytes unlink mkdir".split()
)

#: The supervisor runs each minute, mostly to find nothing due.
HEAVY_OR_FORBIDDEN = (
    "lib.plugins.discover lib.jobbase lib.alerting.channels requests smtplib email ssl rich cryptography"
).split()


def rooms() -> list[Path]:
    return sorted(ROOT.glob("lib/**/*.py"))


def jobs() -> list[Path]:
    return sorted(ROOT.glob("jobs/**/*.py"))


def imports(source: str) -> Iterator[str]:
    """Yield the dotted name of everything imported, wherever in the file it is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ("lib." if node.level else "") + (node.module or "")
            module = module.rstrip(".")
            if module in ("lib", "jobs"):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module
        elif isinstance(node, ast.Call) and _name(node.func) in (
            "import_module",
            "__import__",
        ):
            yield from (
                part.value
                for part in node.args
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )


def ours(source: str) -> set[str]:
    """Return the rooms a file imports from; ``(jobs)`` for a job, ``(lib)`` for all."""
    found = set()
    for name in imports(source):
        top, _dot, rest = name.partition(".")
        if top in ("jobs", "tests", "checker"):
            found.add(f"({top})")
        elif top == "lib":
            found.add(rest.split(".")[0] or "(lib)")
    return found


def _allowed(room: str) -> set[str]:
    return set(DOORS) if DOORS[room] == "*" else set(DOORS[room].split())


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize("path", rooms(), ids=lambda path: path.stem)
def test_a_room_imports_through_its_doors_only(path):
    room = path.relative_to(ROOT / "lib").with_suffix("").parts[0]
    assert room in DOORS, f"{path.name} has no row in DOORS"
    found = ours(path.read_text("utf-8"))
    assert found <= _allowed(room), "see DOORS, or let another room do it"


@pytest.mark.parametrize("path", jobs(), ids=lambda path: path.stem)
def test_a_job_imports_the_contract_only(path):
    allowed = SYSTEM_JOBS.get(path.stem, "jobbase").split()
    assert ours(path.read_text("utf-8")) <= set(allowed)


def test_the_door_of_the_program_is_there():
    assert "(jobs)" not in ours((ROOT / "checker.py").read_text("utf-8"))


def test_every_row_is_a_room_or_is_marked_as_planned():
    built = {path.stem for path in ROOT.glob("lib/*.py")}
    assert set(DOORS) - built == PLANNED


def test_every_door_leads_to_a_room():
    rows = (*DOORS.values(), *SYSTEM_JOBS.values())
    assert {door for row in rows for door in row.split()} <= {"*", *DOORS}


def test_no_way_through_the_doors_leads_in_a_circle():
    closed: set[str] = set()
    while open_rooms := set(DOORS) - closed:
        free = {room for room in open_rooms if _allowed(room) - {room} <= closed}
        assert free, f"a circle among {sorted(open_rooms)}"
        closed |= free


@pytest.mark.parametrize(
    "room", ["model", "decide", "wording", "letters", *PURE, *BULLETINS]
)
def test_judgement_has_no_hands(room):
    tree = ast.parse((ROOT / "lib" / f"{room}.py").read_text("utf-8"))
    calls = {_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    tops = {name.split(".")[0] for name in imports(ast.unparse(tree))}
    assert not tops & HANDS
    assert not calls & HANDED_CALLS


def test_a_minute_run_loads_no_job_code_and_nothing_heavy():
    program = "import json, sys, lib.runner.run; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert [name for name in HEAVY_OR_FORBIDDEN if name in loaded] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from lib.storage.store import Record", {"state"}),
        ("from lib import state, model", {"state", "model"}),
        ("import lib.storage.store as s", {"state"}),
        ("import lib", {"(lib)"}),
        ("from . import state", {"state"}),
        ("from .state import Record", {"state"}),
        ("def f():\n    import lib.runner.run", {"run"}),
        ("if TYPE_CHECKING:\n    from lib.runner.run import run", {"run"}),
        ("importlib.import_module('lib.runner.run')", {"run"}),
        ("from jobs.X import X", {"(jobs)"}),
        ("from library import state", set()),
        ("'from lib.runner.run import run'", set()),
    ],
)
def test_an_import_is_seen_however_it_is_written(source, found):
    assert ours(source) == found
