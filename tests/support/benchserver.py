"""What bench.py measures against: servers on loopback, in a process of their own.

with servers(folder) as there:
    ... http://127.0.0.1:{there.ports["well"]}/ ...
there.served, there.subjects            # known when the block is over
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"
    b"All well\n"
)
SLOW_S = 0.1
DRIP_EVERY_S = 1.0
#: Where a system keeps what it trusts, all in one file.
SYSTEM_BUNDLES = (
    ssl.get_default_verify_paths().openssl_cafile,
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class There:
    """Where the servers are, and what they saw."""

    #: ``well``, ``slow``, ``mute``, ``drip``, ``tls`` and ``smtp``.
    ports: dict[str, int]
    #: The system's store and, beside it, who signed for ``tls``.
    cafile: Path
    email_section: str
    served: dict[str, int] = field(default_factory=dict)
    subjects: list[str] = field(default_factory=list)


@contextmanager
def servers(folder: Path) -> Iterator[There]:
    """Run the servers while the block runs."""
    cafile = folder / "store-and-ours.pem"
    command = [sys.executable, "-m", "tests.support.benchserver", str(cafile)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            first = json.loads(process.stdout.readline())
            there = There(first["ports"], cafile, first["email_section"])
            yield there
            process.terminate()
            last = json.loads(process.stdout.readline())
            there.served, there.subjects = last["served"], last["subjects"]
        finally:
            process.terminate()


async def well(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer at once."""
    writer.write(ANSWER)
    await writer.drain()


async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer after a while."""
    await asyncio.sleep(SLOW_S)
    await well(reader, writer)


async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Never answer; end when the other side hangs up."""
    await reader.read()


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a byte at a time."""
    for byte in ANSWER:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(DRIP_EVERY_S)


HTTP: dict[str, Answering] = {"well": well, "slow": slow, "mute": mute, "drip": drip}


async def serve(cafile: Path) -> None:
    """Serve on loopback until SIGTERM; print where, and at the end what was seen."""
    import trustme

    from tests.support.servers import SmtpServer, server_context

    ca = trustme.CA()
    cafile.write_bytes(system_store() + ca.cert_pem.bytes())
    served: Counter[str] = Counter()
    ports = {}
    kept = []
    for name in (*HTTP, "tls"):
        context = server_context(ca) if name == "tls" else None
        listening = await asyncio.start_server(
            _talk(name, HTTP.get(name, well), served),
            "127.0.0.1",
            0,
            backlog=1024,
            ssl=context,
        )
        kept.append(listening)
        ports[name] = listening.sockets[0].getsockname()[1]
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with SmtpServer(security="none") as smtp:
        section = smtp.email_section() + "sender = bench@example.com\n"
        where = {"ports": ports | {"smtp": smtp.port}, "email_section": section}
        print(json.dumps(where), flush=True)
        await stopped.wait()
        subjects = [" ".join(mail.subject.split()) for mail in smtp.mails]
        print(json.dumps({"served": served, "subjects": subjects}), flush=True)


def system_store() -> bytes:
    """Return the certificates that this system trusts, if they are found."""
    for name in SYSTEM_BUNDLES:
        with suppress(OSError):
            return Path(name).read_bytes() + b"\n"
    return b""


def _talk(
    name: str, answer: Answering, served: Counter[str]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                served[name] += 1
                await answer(reader, writer)
        writer.close()

    return talk


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
