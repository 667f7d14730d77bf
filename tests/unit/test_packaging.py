from __future__ import annotations

import configparser
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]


def pins(name: str) -> dict[str, Version]:
    """Return the exact versions a lock file names."""
    found = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line and not line.startswith(("#", "-r ")):
            library, _equals, version = line.partition("==")
            found[canonicalize_name(library)] = Version(version)
    return found


def ranges(section: str, option: str) -> list[Requirement]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    return [Requirement(line) for line in setup[section][option].split("\n") if line]


RUNTIME = ranges("options", "install_requires")
TOOLS = ranges("options.extras_require", "dev")
INTEGRATION = ranges("options.extras_require", "integration")
LOCKED = pins("requirements.txt")
LOCKED_TOOLS = pins("requirements-dev.txt")
LOCKED_INTEGRATION = pins("requirements-integration.txt")


@pytest.mark.parametrize("wanted", RUNTIME, ids=str)
def test_a_library_is_locked_within_its_range(wanted):
    assert LOCKED[canonicalize_name(wanted.name)] in wanted.specifier


@pytest.mark.parametrize("wanted", TOOLS, ids=str)
def test_a_tool_is_locked_within_its_range(wanted):
    assert LOCKED_TOOLS[canonicalize_name(wanted.name)] in wanted.specifier


@pytest.mark.parametrize("wanted", INTEGRATION, ids=str)
def test_what_only_integration_needs_is_locked_within_its_range(wanted):
    assert LOCKED_INTEGRATION[canonicalize_name(wanted.name)] in wanted.specifier


@pytest.mark.parametrize("wanted", RUNTIME, ids=str)
def test_a_library_has_an_upper_bound(wanted):
    assert any(bound.operator in ("<", "<=", "==", "~=") for bound in wanted.specifier)


@pytest.mark.parametrize(
    ("direct", "locked"),
    [(RUNTIME, LOCKED), (TOOLS, {**LOCKED, **LOCKED_TOOLS})],
    ids=["libraries", "tools"],
)
def test_what_a_locked_library_needs_is_locked_too(direct, locked):
    to_see = [wanted.name for wanted in direct]
    seen: set[str] = set()
    while to_see:
        name = canonicalize_name(to_see.pop())
        assert name in locked
        if name in seen:
            continue
        seen.add(name)
        for line in importlib.metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert locked[canonicalize_name(need.name)] in need.specifier
                to_see.append(need.name)


def test_nothing_is_locked_twice():
    locks = [LOCKED, LOCKED_TOOLS, LOCKED_INTEGRATION]
    names = [name for lock in locks for name in lock]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "requirements-dev.txt", "requirements-integration.txt"],
)
def test_a_lock_file_holds_exact_versions_and_no_address(name):
    for line in (ROOT / name).read_text("utf-8").splitlines():
        assert re.fullmatch(
            r"#.*|-r requirements\.txt|[A-Za-z0-9._-]+==[0-9][0-9a-z.+!]*", line
        )
        assert "://" not in line


def test_every_target_of_the_makefile_is_in_its_help():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    shown = subprocess.run(
        ["make", "-C", str(ROOT)], capture_output=True, text=True, timeout=20
    ).stdout
    for target in set(phony.split()) - {
        "help",
        "venv",
        "venv-dev",
        "venv-integration",
    }:
        assert re.search(rf"^make {target} ", shown, re.MULTILINE)


@pytest.mark.long
def test_make_run_leaves_bytecode_and_makes_it_once(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in (tmp_path, tmp_path / ".venv"):
        shutil.copy(ROOT / "requirements.txt", folder)
    for name in ("lib", "jobs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "good.py").write_text("x = 1\n")
    (tmp_path / "jobs" / "Broken.py").write_text("(\n")

    def compiled():
        make = ["make", "-C", str(tmp_path), "--no-print-directory", "compile"]
        ran = subprocess.run(make, capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.pyc")}

    first = compiled()
    assert {path.parent.parent.name for path in first} == {"lib", "jobs"}
    assert compiled() == first
    assert "run: venv compile" in (ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("script", [".ci/run"])
def test_a_script_can_be_started(script):
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=20)


def pythons(folder: Path, **versions: str) -> list[str]:
    """Return the lines of ``.ci/run --pythons`` where PATH has these as well."""
    for name, says in versions.items():
        path = folder / name.replace("_", ".")
        path.write_text(f"#!/bin/sh\n{says}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)}
    ran = subprocess.run(
        [ROOT / ".ci/run", "--pythons"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.splitlines()


@pytest.mark.long
def test_the_tests_run_with_the_newest_python_that_starts(tmp_path):
    lines = pythons(
        tmp_path, python3_98="echo 3.98.1", python3_101="echo 3.101.0", python3_9="exit"
    )
    assert lines[-1] == f"3.101.0 {tmp_path}/python3.101"
    lines = pythons(tmp_path, python3_101="echo gone >&2; exit 127")
    assert lines[-1] == f"3.98.1 {tmp_path}/python3.98"


@pytest.mark.long
def test_a_python_that_is_there_twice_is_tested_once(tmp_path):
    lines = pythons(tmp_path, python3_97="echo 3.97.0", python3_98="echo 3.97.0")
    assert [line.split()[0] for line in lines].count("3.97.0") == 1


@pytest.mark.parametrize(
    ("words", "venv"),
    [
        ((), ".venv"),
        (("VENV=build/venv-x",), "build/venv-x"),
        (("PYTHON=/nowhere/python3",), "build/venv"),
    ],
)
def test_another_python_has_a_venv_of_its_own(tmp_path, words, venv):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    makefile = str(ROOT / "Makefile")
    said = subprocess.run(
        ["make", "-n", "-f", makefile, "-C", str(tmp_path), *words, "bench"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert f"{venv}/bin/python -m tests.bench" in said


def test_the_python_that_made_the_venv_goes_on_with_it(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"],
        timeout=60,
        check=True,
    )
    said = subprocess.run(
        ["make", "-n", "-f", ROOT / "Makefile", f"PYTHON={sys.executable}", "bench"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert ".venv/bin/python -m tests.bench" in said
    assert "build" not in said.partition("-m tests.bench")[0].rpartition("\n")[2]
