"""Debian's python3-pycurl, an older libcurl with GnuTLS: the same words and status."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
SYSTEM = "/usr/bin/python3"
#: Prints the version of Python, where its pycurl is, and what that is made of.
ASK = (
    "import sys, pycurl; "
    "print(sys.version_info[:2], pycurl.__file__, pycurl.version, sep='|')"
)
TESTS = (
    "tests/unit/net/test_curl.py",
    "tests/unit/net/test_proxy.py",
    "tests/unit/jobs/test_HTTPServerChecker.py",
    "tests/unit/jobs/test_http_options.py",
)


def test_the_tests_of_http_pass_with_the_systems_pycurl(tmp_path):
    asked = subprocess.run(
        [SYSTEM, "-c", ASK], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        pytest.skip("python3-pycurl is not installed")
    version, extension, made_of = asked.stdout.strip().split("|")
    if version != str(sys.version_info[:2]):
        pytest.skip(f"the system's Python is {version}, whose libraries are not here")
    # Before the wheel's; everything else is that of this Python.
    (tmp_path / Path(extension).name).symlink_to(extension)
    path = os.pathsep.join([str(tmp_path), sysconfig.get_paths()["purelib"]])
    ran = subprocess.run(
        [SYSTEM, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{made_of}\n{ran.stdout[-5000:]}"
