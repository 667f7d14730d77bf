"""Who may import whom: the contracts in setup.cfg, and what they cannot say."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.core.jobs import KIND_FILES

ROOT = Path(__file__).resolve().parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

#: The rules of sending and the text of mails and tables outside lib/core: like
#: lib/core, they have no clock, no files, no sockets, and do not log.
PURE = (
    "alerting/bundling alerting/merge alerting/notices"
    " alerting/planning alerting/queue alerting/results alerting/templates mail/proof"
    " peers/templates report/status report/summary"
).split()

#: Modules by which the world is reached, and what is called to reach it.
SIDE_EFFECTS = set(
    "asyncio fcntl glob http io logging multiprocessing os random requests select"
    " shutil signal smtplib socket ssl subprocess tempfile threading time"
    " urllib".split()
)
CALLS_WITH_SIDE_EFFECTS = set(
    "open input print now utcnow today exists is_file is_dir stat iterdir"
    " read_text read_bytes write_text write_bytes unlink mkdir".split()
)

#: The supervisor runs each minute, mostly to find nothing due.
HEAVY_OR_FORBIDDEN = (
    "lib.plugins.discover lib.jobbase lib.alerting.channels requests smtplib email ssl"
    " rich cryptography configparser json glob shlex lib.core.decisions"
    " pycurl lib.net.curl lib.net.bulk"
).split()

#: Where a module is imported by a name that import-linter cannot read.
BY_NAME = {"lib/cli/main.py": "the module of the mode that was asked for"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for name in folders for path in ROOT.glob(f"{name}/**/*.py"))


def pure() -> list[Path]:
    return [*sources("lib/core"), *(ROOT / "lib" / f"{name}.py" for name in PURE)]


def having(*names: str) -> dict[Path, str]:
    """Return the sources of the program that have one of the names somewhere."""
    texts = {path: path.read_text("utf-8") for path in sources("lib", "jobs")}
    either = re.compile(rf"\b({'|'.join(names)})\b")
    return {path: text for path, text in texts.items() if either.search(text)}


def imports(source: str) -> Iterator[str]:
    """Yield the dotted name of everything imported, wherever in the file it is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def calls(source: str) -> set[str]:
    """Return the last part of the name of everything called."""
    tree = ast.parse(source)
    return {_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def lint_imports(folder: Path) -> tuple[int, str]:
    """Return the exit code of import-linter, and what it says about what is broken."""
    done = subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout.partition("Broken contracts")[2] + done.stderr


def test_each_package_imports_what_its_contract_allows():
    code, broken = lint_imports(ROOT)
    assert code == 0, broken


@pytest.mark.parametrize(
    ("file", "wrong", "said"),
    [
        (
            "lib/core/policy.py",
            "if TYPE_CHECKING:\n    from lib.runner.run import run",
            "lib.core is not allowed to import lib.runner",
        ),
        ("lib/core/policy.py", "def f():\n    import os", "lib.core.policy -> os"),
        pytest.param(
            "lib/report/rows.py",
            "from lib.config import load",
            "lib.report.rows -> lib.config.load",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "lib/core/enums.py",
            "from lib.core import policy",
            "No cycles are allowed in lib.core",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "lib/system/log.py",
            "import jobs.DiskSpace",
            "lib.system.log -> jobs",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "jobs/DiskSpace.py",
            "import lib.mail.smtp",
            "DiskSpace -> lib.mail.smtp",
            marks=pytest.mark.long,
        ),
        pytest.param("lib/another.py", "", "another", marks=pytest.mark.long),
    ],
)
def test_what_no_contract_allows_is_found(tmp_path, file, wrong, said):
    for name in ("lib", "jobs"):
        # Bytecode comes and goes while other tests run.
        no_bytecode = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=no_bytecode)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    path = tmp_path / file
    before = path.read_text("utf-8") if path.exists() else ""
    path.write_text(f"{before}\n{wrong}\n", "utf-8")
    code, broken = lint_imports(tmp_path)
    assert code == 1 and said in broken, broken


def test_the_entry_point_imports_the_command_line_only():
    found = set(imports((ROOT / "checker.py").read_text("utf-8")))
    ours = {name for name in found if name.split(".")[0] in ("lib", "jobs", "tests")}
    assert ours == {"lib.cli.main", "lib.cli.wrap", "lib.system.startup"}


def test_nothing_of_the_program_imports_tests_or_the_entry_point():
    tops = {
        name.split(".")[0]
        for source in having("tests", "checker").values()
        for name in imports(source)
    }
    assert not tops & {"tests", "checker"}


def test_a_package_itself_is_a_docstring_only():
    for path in ROOT.glob("lib/**/__init__.py"):
        first, *rest = ast.parse(path.read_text("utf-8")).body
        assert isinstance(first, ast.Expr) and rest == [], path


def test_no_import_is_hidden_from_the_contracts():
    names = ("import_module", "__import__")
    hidden = {
        str(path.relative_to(ROOT))
        for path, source in having(*names).items()
        if calls(source) & {*names}
    }
    assert hidden == set(BY_NAME)


@pytest.mark.parametrize("path", pure(), ids=lambda path: path.stem)
def test_rules_have_no_side_effects(path):
    source = path.read_text("utf-8")
    tops = {name.split(".")[0] for name in imports(source)}
    assert not tops & SIDE_EFFECTS
    assert not calls(source) & CALLS_WITH_SIDE_EFFECTS


def printed_by(program, *words):
    """Return the lines that a program prints, in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_minute_run_loads_no_job_code_and_nothing_heavy():
    # What a Python's own pathlib loads, as 3.13's does glob, costs us nothing more.
    program = (
        "import pathlib, sys; own = set(sys.modules); "
        "import lib.config.load, lib.runner.run; print(*set(sys.modules) - own)"
    )
    loaded = printed_by(program)[0].split()
    assert [name for name in HEAVY_OR_FORBIDDEN if name in loaded] == []


#: What is loaded only where a kind that needs it is due.
OF_SOME_KINDS = "pycurl requests ssl cryptography idna webencodings asyncio".split()
OF_SOME_KINDS += "lib.net.dialog lib.net.icmp lib.net.ping subprocess".split()
OF_SOME_KINDS += ["dns", "lib.net.dns"]


#: Loads each job file in a process of its own, forked from one that has what all share.
LOADER = """
import importlib, json, os, sys
import lib.workers.pool
for file in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(f"jobs.{file}")
        print(json.dumps([file, *sys.modules]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, file
"""


def test_a_kind_loads_nothing_that_only_others_need():
    files = sorted({*KIND_FILES.values()})
    loaded = {
        file: [name for name in OF_SOME_KINDS if name in modules]
        for file, *modules in map(json.loads, printed_by(LOADER, *files))
    }
    assert sorted(loaded) == files
    assert {file: names for file, names in loaded.items() if names} == {}


@pytest.mark.parametrize(
    ("file", "options", "needed"),
    [
        ("TCPServerChecker", "host='127.0.0.1', port=1", ""),
        ("TCPServerChecker", "host='127.0.0.1', port=1, expect='a'", "lib.net.dialog"),
        ("UDPServerChecker", "host='127.0.0.1', port=1", "lib.net.dialog lib.net.icmp"),
        ("UnixSocketChecker", "path='/nowhere'", "lib.net.dialog"),
        (
            # dnspython loads idna itself.
            "DNSChecker",
            "host='a.example', servers=[('127.0.0.1', 1)]",
            "dns lib.net.dns idna",
        ),
        ("PingChecker", "host='127.0.0.1', count=1", "lib.net.icmp lib.net.ping"),
    ],
)
def test_a_check_loads_only_what_it_needs(file, options, needed):
    program = (
        "import sys, types; from lib.net import bulk;"
        "from lib.net.connect import Deadline;"
        f"from jobs.{file} import {file} as kind;"
        "defaults = {name: known.default for name, known in kind.options.items()};"
        f"own = dict({options});"
        "target = types.SimpleNamespace(given_options=tuple(own), **defaults | own);"
        "steps = lambda _one, own: kind.__new__(kind).steps(target, own);"
        "[*bulk.run([1], steps, lambda group: [Deadline(5)])]; print(*sys.modules)"
    )
    loaded = printed_by(program)[0].split()
    assert {name for name in OF_SOME_KINDS if name in loaded} == {*needed.split()}
