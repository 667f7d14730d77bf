"""What jobs left behind is killed, and nothing waits for what does not end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waits import SOON_S

ROOT = Path(__file__).parents[3]

#: Adopts a process that cannot be waited for when it is killed, as one that waits for a
#: hung mount: another one that traces it has to hear of its end first, and is stopped.
HUNG = """
import ctypes, logging, os, signal, sys, time
from lib.system import orphans

logging.basicConfig(format="%(message)s")
PTRACE_SEIZE = 0x4206
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
assert orphans.adopt()
ours, theirs = os.pipe()
tracer = os.fork()
if tracer == 0:
    middle = os.fork()
    if middle == 0:
        hung = os.fork()
        if hung == 0:
            signal.pause()
        os.write(theirs, b"%d" % hung)
        os._exit(0)
    os.waitpid(middle, 0)
    hung = int(os.read(ours, 20))
    if libc.ptrace(PTRACE_SEIZE, hung, None, None):
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
status = os.waitpid(tracer, os.WUNTRACED)[1]
if not os.WIFSTOPPED(status):
    sys.exit(3)
began = time.monotonic()
orphans.end_all([tracer])
print(time.monotonic() - began)
os.kill(tracer, signal.SIGKILL)
os.waitpid(tracer, 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux only")
def test_nothing_waits_for_an_orphan_that_does_not_end():
    ran = subprocess.run(
        [sys.executable, "-c", HUNG],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * SOON_S,
    )
    if ran.returncode == 3:
        pytest.skip("no process may trace another one here")
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < SOON_S
    assert ran.stderr.count("behind; it is killed") == 1
