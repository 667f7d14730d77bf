"""Servers on loopback that answer as a test says, well or badly; and certificates.

A Listener gives each connection to a ``talk``: a function of the connection and the
listener.  ``says(...)`` makes one that hears a request and then says its pieces.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lib.config.targets import target_sections
from lib.core.enums import JobFrequency, Status
from lib.core.jobs import Job, JobKey
from lib.core.records import Record
from lib.core.results import CheckResult
from lib.jobbase import TargetJob
from lib.plugins.discover import LoadedJob
from lib.plugins.kind import KindTable
from lib.workers.execute import execute
from tests.support import fakes

Talk = Callable[[socket.socket, "Listener"], None]

#: A piece that means: say nothing more, and do not close either.
HOLD = "hold"
#: A piece that means: end with a reset instead of a close.
RESET = "reset"


#: Sockets that have a port and do not listen.
_HELD = contextlib.ExitStack()
atexit.register(_HELD.close)


def closed_port() -> int:
    """Return a port at which nobody listens, nor anybody else will meanwhile."""
    held = _HELD.enter_context(socket.socket())
    held.bind(("127.0.0.1", 0))
    return int(held.getsockname()[1])


class Listener:
    """A server; the nth connection gets the nth talk, and later ones the last."""

    def __init__(
        self,
        *talks: Talk,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family)
        self.host = host
        self.port: int = self.socket.getsockname()[1]
        #: What each connection said.
        self.heard: list[bytes] = []
        self.over = threading.Event()
        self._talks = talks or (lambda conn, listener: None,)
        self._context = context
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Listener:
        self._start(self._serve)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        # A blocked accept does not notice a close; a connection wakes it.
        with socket.socket(self.socket.family) as last:
            last.connect(self.socket.getsockname())
        for thread in self._threads:
            thread.join(10)
        self.socket.close()

    def url(self, path: str = "/", scheme: str = "http", user: str = "") -> str:
        """Return a URL on this server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}{path}"

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        count = 0
        while True:
            conn, _peer = self.socket.accept()
            if self.over.is_set():
                conn.close()
                return
            self._start(self._talk, conn, min(count, len(self._talks) - 1))
            count += 1

    def _talk(self, conn: socket.socket, number: int) -> None:
        conn.settimeout(10)
        try:
            if self._context:
                conn = self._context.wrap_socket(conn, server_side=True)
            self._talks[number](conn, self)
        except OSError:
            pass  # the client went away, which is its right
        finally:
            conn.close()


class Datagrams:
    """A server of datagrams; ``answer`` gets one, returns the answers to it."""

    def __init__(
        self,
        answer: Callable[[bytes], Sequence[bytes]] = lambda _said: (),
        host: str = "127.0.0.1",
        path: str = "",
    ) -> None:
        if path:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(path)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
            self.socket.bind((host, 0))
            self.port: int = self.socket.getsockname()[1]
        self.host = host
        #: What came, one by one, and from where.
        self.heard: list[bytes] = []
        self.peers: list[Any] = []
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Datagrams:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(self.socket.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"over", self.socket.getsockname())
        self._thread.join(10)
        self.socket.close()

    def _serve(self) -> None:
        while True:
            said, peer = self.socket.recvfrom(65_536)
            if said == b"over":
                return
            self.heard.append(said)
            self.peers.append(peer)
            for answer in self._answer(said):
                with contextlib.suppress(ConnectionRefusedError):  # it waits no longer
                    self.socket.sendto(answer, peer)


def hear(conn: socket.socket, listener: Listener) -> bytes:
    """Return what the client said up to a blank line, and note it."""
    said = b""
    while b"\r\n\r\n" not in said:
        more = conn.recv(4096)
        if not more:
            break
        said += more
    listener.heard.append(said)
    return said


def says(*merged_messages: bytes | float | str, first: bool = False) -> Talk:
    """Return a talk: hear a request (unless ``first``), then say the pieces.

    A number is a pause in seconds.
    """

    def talk(conn: socket.socket, listener: Listener) -> None:
        if not first:
            hear(conn, listener)
        for merged_message in merged_messages:
            if merged_message == HOLD:
                listener.over.wait(30)
            elif merged_message == RESET:
                # Closing with a linger of 0 s is a reset.
                linger = struct.pack("ii", 1, 0)
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif isinstance(merged_message, (int, float)):
                if listener.over.wait(merged_message):
                    return
            elif isinstance(merged_message, bytes):
                conn.sendall(merged_message)

    return talk


def dripping(start: bytes, drop: bytes = b"x", every_s: float = 0.02) -> Talk:
    """Return a talk that says ``start``, and then for ever ``drop``."""

    def talk(conn: socket.socket, listener: Listener) -> None:
        hear(conn, listener)
        conn.sendall(start)
        while not listener.over.wait(every_s):
            conn.sendall(drop)

    return talk


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def routes(**answers: bytes) -> Talk:
    """Return a talk that answers by path, without its slash; ``index`` is the root."""

    def talk(conn: socket.socket, listener: Listener) -> None:
        path = hear(conn, listener).split(b" ")[1].decode().strip("/")
        conn.sendall(answers.get(path or "index", answer("404 Not Found")))

    return talk


def gzip_bomb(megabytes: int) -> Iterator[bytes]:
    """Yield a gzip stream of so many megabytes of zeros, piece by piece."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for _megabyte in range(megabytes):
        yield packer.compress(bytes(1_000_000))
    yield packer.flush()


@functools.cache
def authority() -> trustme.CA:
    """Return a certificate authority that only tests trust."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


def write_authority(folder: Path) -> str:
    """Return the path of a file with the authority's certificate."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return str(path)


def days_from_now(days: float) -> datetime.datetime:
    """Return a moment in the future, or in the past."""
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


def tls_context(
    *names: str,
    begins: float = -10,
    ends: float = 90,
    by: trustme.CA | None = None,
) -> ssl.SSLContext:
    """Return a server's context with a certificate, its dates in days from now."""
    cert = (by or authority()).issue_cert(
        *(names or ("127.0.0.1", "::1", "localhost")),
        not_before=days_from_now(begins),
        not_after=days_from_now(ends),
        key_type=trustme.KeyType.ECDSA,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


def self_signed_context(folder: Path) -> ssl.SSLContext:
    """Return a server's context with a certificate that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(days_from_now(-1))
        .not_valid_after(days_from_now(30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + cert.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def found_by(kind: type[TargetJob], **options: object) -> str:
    """Return what the job of one section finds: ``fine``, or why not."""
    result = result_of(job_of(kind, **options))
    if result.status is Status.OK:
        return "fine"
    if result.status is Status.UNKNOWN:
        return f"unknown: {result.reason}"
    return result.reason


def result_of(job: TargetJob) -> CheckResult:
    """Return the result of one execution, its values judged."""
    facts = Job(JobKey("X", "it"), "it", "X.py", JobFrequency.MINUTE)
    return execute(LoadedJob(facts, job), Record(facts.key))


def run_of(job: TargetJob, memory: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return status and reason of a run, and what is remembered of it."""
    facts = Job(JobKey("X", "it"), "it", "X.py", JobFrequency.MINUTE)
    result = execute(LoadedJob(facts, job), Record(facts.key, memory=memory))
    return f"{result.status.value}: {result.reason}", dict(job.memory)


def job_of(kind: type[TargetJob], **options: object) -> TargetJob:
    """Return the job of one section."""
    lines = "".join(f"{name} = {said}\n" for name, said in options.items())
    ini = fakes.ini(f"[{kind.kind} it]\n{lines}")
    table = KindTable(
        kind.kind,
        kind.every,
        kind.options,
        retries=kind.can_retry,
        means_need=not kind.judges_need,
    )
    (section,) = target_sections(ini, kind.kind)
    target, problems = table.target(section)
    assert not problems
    return kind(ini, table, target)
