"""A write may take a part of what it is given: nothing is cut off or lost by that."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.storage.auditlog import read_entries
from tests.support.instance import GENERAL, Instance
from tests.support.shortwrites import one_byte_a_write

ROOT = Path(__file__).resolve().parents[3]

#: The modules that write, beside lib/system/files.py, and why.
WRITERS = {
    "files": "the one for all",
    "log": "a stream of Python's, which writes all of each line",
    "streams": "where not all is to be written: nobody may wait for a reader",
    "startup": "opens /dev/null where there is nothing",
    "owntemplates": "gives a child as much at a time as that takes, until a moment",
    "spool": "has a loop of its own: a command that is wrapped pays for each import",
}
WRITING_CALLS = set("write pwrite writev pwritev sendfile truncate".split())
WRITING_METHODS = set("write_text write_bytes touch".split())
WRITING_FLAGS = set("O_WRONLY O_RDWR O_CREAT O_APPEND O_TRUNC".split())

A_JOB = """\
from lib.jobbase import JobBase, JobFrequency

class Noisy(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        print("printed " * 40)
        return False
"""


def writes(source: str) -> Iterator[str]:
    """Yield what in a file opens another for writing, or writes without a loop."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in WRITING_FLAGS:
            yield node.attr
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        module, _dot, name = function.rpartition(".")
        if (module == "os" and name in WRITING_CALLS) or name in WRITING_METHODS:
            yield function
        is_open = name == "open" and module != "os" or function == "os.fdopen"
        if is_open and _mode(node) & set("wax+"):
            yield f"{function} for writing"


def _mode(call: ast.Call) -> set[str]:
    """Return the letters of any argument that may be a mode."""
    given = [*call.args[1:], *(one.value for one in call.keywords if one.arg == "mode")]
    words = [one.value for one in given if isinstance(one, ast.Constant)]
    return {letter for word in words if isinstance(word, str) for letter in word}


@pytest.mark.long
def test_one_module_writes_for_all():
    found = {
        path.name: list(writes(path.read_text("utf-8")))
        for path in (*ROOT.glob("lib/**/*.py"), ROOT / "checker.py")
        if path.stem not in WRITERS
    }
    assert {name: those for name, those in found.items() if those} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("os.write(1, b'')", ["os.write"]),
        ("os.open(path, os.O_RDONLY)", []),
        ("flags = os.O_WRONLY", ["O_WRONLY"]),
        ("open(path)", []),
        ("open(path, 'rb')", []),
        ("open(path, 'a')", ["open for writing"]),
        ("path.open(mode='w')", ["path.open for writing"]),
        ("os.fdopen(3, 'r+')", ["os.fdopen for writing"]),
        ("Path('x').write_text('')", ["Path('x').write_text"]),
        ("records.write(those)", []),
    ],
)
def test_writing_is_seen_however_it_is_written(source, found):
    assert list(writes(source)) == found


WRITE = """
import os, sys
from pathlib import Path
from lib.system.files import open_to_write, overwrite, replace_files, write_whole
folder = Path(sys.argv[1])
assert os.write(os.open(folder / "shim", os.O_WRONLY | os.O_CREAT), b"ab") == 1
replace_files([(folder / "replaced", b"new " * 9)])
descriptor = open_to_write(folder / "appended", append=True)
write_whole(descriptor, b"one\\n")
write_whole(descriptor, b"two\\n")
descriptor = open_to_write(folder / "over")
overwrite(descriptor, b"a longer one")
overwrite(descriptor, b"shorter")
"""


@pytest.mark.integration
def test_each_way_to_write_writes_all(tmp_path):
    around = {"PATH": os.environ["PATH"], **one_byte_a_write(tmp_path)}
    command = [sys.executable, "-c", WRITE, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=around, check=True, timeout=30)
    names = ("replaced", "appended", "over")
    found = [(tmp_path / name).read_bytes() for name in names]
    assert found == [b"new " * 9, b"one\ntwo\n", b"shorter"]


def test_what_cannot_be_written_whole_fails(tmp_path):
    # A full disk takes a part, and then nothing.
    program = (
        "import os, resource, signal, sys\n"
        "from lib.system.files import open_to_write, overwrite, write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))\n"
        "for write in (write_whole, overwrite):\n"
        "    try:\n"
        "        write(open_to_write(sys.argv[1]), b'more than five')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.splitlines() == ["File too large"] * 2, done.stderr


@pytest.mark.integration
def test_a_run_loses_nothing_to_short_writes(tmp_path):
    there = Instance(
        tmp_path,
        "[email]\nnomail = yes\nnomailisfine = yes\n"
        "[peers]\nfriend = http://127.0.0.1:9/,x@example.com,key=our shared key\n"
        f"[status]\nwrite = {tmp_path / 'answer'}\n",
        GENERAL,
    )
    there.job("Noisy", A_JOB)
    assert there.cron().silent
    whole = (there.folder / "answer").read_text().splitlines()
    there.environment = one_byte_a_write(tmp_path)
    for _ in range(2):
        ran = there.cron("minute", "-v")
        assert ran.silent, ran.err
    answer = (there.folder / "answer").read_text().splitlines()
    assert answer[0] == whole[0] == "True"
    assert len(answer) == len(whole) > 1
    lines = (there.state / "decisions.log").read_text().splitlines()
    assert sum("Noisy" in line for line in lines) >= 3
    assert len(read_entries(there.state, lambda _key, _name: True)) == len(lines)
    assert there.last_run()["ended_at"]
    assert "printed printed" in there.everything_written()
    said = there.run("-m", "why", "Noisy")
    assert (said.code, said.err) == (0, "")
