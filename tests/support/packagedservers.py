"""Mail servers out of Debian's packages, started by tests/support/mail-servers.sh."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
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


class PackagedServer:
    """A server, ``name`` for the script; ``port`` is its port, ``folder`` its own."""

    def __init__(self, name: str, ca: trustme.CA, options: str = "") -> None:
        self._name = name
        # Others than us come in.
        self.folder = Path(tempfile.mkdtemp(prefix=f"checker-{name}-"))
        certificate = ca.issue_cert(*OWN_NAMES)
        certificate.private_key_pem.write_to_path(str(self.folder / "server.key"))
        for part in certificate.cert_chain_pems:
            part.write_to_path(str(self.folder / "server.pem"), append=True)
        (self.folder / "password").write_text(SECRET)
        (self.folder / "options").write_text(options)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> PackagedServer:
        if why_not():
            pytest.skip(why_not())
        with (self.folder / "script.log").open("w") as log:
            self._process = subprocess.Popen(
                [SCRIPT, self._name, self.folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            words = (self.folder / "script.log").read_text()
            self.__exit__()
            pytest.fail(f"no {self._name}: {words}")
        self.port = int((self.folder / "port").read_text())
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
