#!/usr/bin/env python3
"""Checker: a monitor that cron starts.

The door: a command line comes in, an exit code goes out.  Each mode is a row in
MODES; what it does lives in lib/.
"""

from __future__ import annotations

import os
import resource
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(HERE, ".venv")
LIBRARIES = ("requests", "cryptography", "rich")
#: Set for the second start, so that there is no third.
STARTED_AGAIN = "CHECKER_STARTED_AGAIN"


def start_again_with_libraries() -> None:
    """Go on with .venv's Python if this one lacks what we need, or say what to do."""
    is_second = os.environ.pop(STARTED_AGAIN, "")
    if sys.prefix == VENV or (sys.version_info >= (3, 11) and not _missing()):
        return
    python = os.path.join(VENV, "bin", "python")
    if os.path.exists(python) and not is_second:
        os.environ[STARTED_AGAIN] = "1"
        try:
            os.execv(python, [python, os.path.realpath(__file__), *sys.argv[1:]])
        except OSError as error:
            sys.exit("checker: %s: %s; make it anew with: make run" % (python, error))
    if sys.version_info < (3, 11):
        what = "Python 3.11 or newer is needed, this is %d.%d" % sys.version_info[:2]
    else:
        what = "this Python lacks " + ", ".join(_missing())
    sys.exit("checker: %s; in %s type: make run" % (what, HERE))


def _missing() -> list[str]:
    from importlib.machinery import PathFinder

    return [name for name in LIBRARIES if PathFinder.find_spec(name) is None]


if __name__ == "__main__":
    if HERE not in sys.path:
        # PYTHONSAFEPATH is set.
        sys.path.insert(0, HERE)
    if sys.argv[1:3] == ["-m", "wrap"]:
        # Before anything is put in order: the command gets all of it as it is.
        from lib.cli.wrap import main as wrap

        sys.exit(wrap(sys.argv[3:]))
    if os.geteuid() == 0 and os.stat(HERE).st_uid != 0:
        # The owner could not replace what root compiles.
        sys.dont_write_bytecode = True
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        # Python 3.11 would keep half a file of bytecode, and stumble over it for ever.
        sys.dont_write_bytecode = True
    from lib.system.startup import put_in_order

    put_in_order()
    start_again_with_libraries()
    from lib.cli.main import main

    code = main(sys.argv[1:], HERE)
    sys.stderr.flush()
    # Python would take apart all that it holds, which the system frees at once.
    os._exit(code)
