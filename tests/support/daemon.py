"""The endpoint as its admin starts it: a process of an instance, asked over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import subprocess
import time
from types import TracebackType

from tests.support.instance import Instance


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port that nobody listens on, and that nobody is given meanwhile.

    Linux gives connections, and whoever asks for any port, those from 32768 on.
    """
    while True:
        port = random.randrange(15_000, 32_768)
        with contextlib.suppress(OSError), socket.socket(type=kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            return port


class Daemon:
    """``-m daemon`` of an instance, from its first answer to its end."""

    def __init__(self, instance: Instance, port: int = 0, *flags: str) -> None:
        self.instance = instance
        self._flags = flags
        self.port = port or free_port()
        if "[status]" in instance.settings.read_text():
            text = instance.settings.read_text()
            instance.write(text.replace("[status]\n", f"[status]\n{self._listen}"))
        else:
            instance.add(f"[status]\n{self._listen}")

    @property
    def _listen(self) -> str:
        return f"listen = 127.0.0.1:{self.port}\n"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Daemon:
        self.process: subprocess.Popen[str] = self.instance.start(
            "-m", "daemon", *self._flags
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        assert "answers peers on" in self.said, self.process.communicate()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        out, self.err = self.process.communicate(timeout=10)
        if kind is None:
            assert (self.process.returncode, out) == (0, ""), self.err

    def ask(self, path: str = "/", method: str = "GET") -> tuple[int, bytes]:
        """Return the status and the body that a question gets."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            line.request(method, path)
            said = line.getresponse()
            return said.status, said.read()
        finally:
            line.close()

    def word(self) -> str:
        """Return the word alone."""
        return self.ask()[1].decode().partition("\n")[0]

    def seconds_to_answer(self) -> float:
        """Return how long an answer takes, from the connection on."""
        began = time.monotonic()
        assert self.ask()[0] == 200
        return time.monotonic() - began
