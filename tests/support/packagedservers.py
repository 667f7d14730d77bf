"""Mail servers out of Debian's packages, started by tests/support/mail-servers.sh."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from tests.support.servers import OWN_NAMES

SCRIPT = Path(__file__).with_name("mail-servers.sh")
#: A password that all of them take.
SECRET = "pass%word-4711"


@functools.cache
def why_not() -> str:
    """Return why there is none of them here; empty where there can be."""
    asked = subprocess.run([SCRIPT, "--why-not"], stdout=subprocess.PIPE, text=True)
    return asked.stdout.strip()


def write_certificate(ca: trustme.CA, folder: Path) -> None:
    """Write a server's certificate and its key, for the names of this machine."""
    certificate = ca.issue_cert(*OWN_NAMES)
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "server.pem"), append=True)


def started(
    command: Sequence[Path | str], folder: Path, what: str
) -> subprocess.Popen[str]:
    """Return a script that has its servers ready, and ends with its input.

    Fail the test with what it has to say if it has not.
    """
    with (folder / "script.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        process.communicate(timeout=60)
        pytest.fail(f"no {what}: {(folder / 'script.log').read_text()}")
    return process


class PackagedServer:
    """A server, ``name`` for the script; ``port`` is its port, ``folder`` its own."""

    def __init__(self, name: str, ca: trustme.CA, options: str = "") -> None:
        self._name = name
        # Others than us come in.
        self.folder = Path(tempfile.mkdtemp(prefix=f"checker-{name}-"))
        write_certificate(ca, self.folder)
        (self.folder / "password").write_text(SECRET)
        (self.folder / "options").write_text(options)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> PackagedServer:
        if why_not():
            pytest.skip(why_not())
        command = [SCRIPT, self._name, self.folder]
        try:
            self._process = started(command, self.folder, self._name)
        except BaseException:
            self.__exit__()
            raise
        self.port = int((self.folder / "port").read_text())
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
