"""Debian's servers that begin TLS in their own protocol, each in a folder of its own.

    with TlsServer("postgres", chain) as it: ...        it.port speaks it on 127.0.0.1

``why_not`` says why there is none here.  The system's own instances and /etc are left
alone.  To add one, write a function that prepares its folder and returns its command,
and give it a row in SERVERS.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization

from tests.support.certificates import PEM, Issued, write_chain
from tests.support.debian import await_stillness, group_of

#: How long a server may take until it listens.
READY_WITHIN_S = 60


class Server(NamedTuple):
    """A server of Debian: the file that shows it is there, its package, its user."""

    program: str
    package: str
    user: str
    command: Callable[[Path, int], Sequence[str]]


def why_not(name: str) -> str:
    """Return why a server cannot be started here; empty if it can."""
    server = SERVERS[name]
    if not _found(server.program):
        return (
            f"{server.package} is not here; as root: apt-get install {server.package}"
        )
    if os.geteuid() != 0:
        return f"{server.package} becomes a user of its own, which takes root"
    return ""


class TlsServer:
    """A server that shows a chain of certificates; it ends with the block."""

    def __init__(self, name: str, *chain: Issued) -> None:
        self.server = SERVERS[name]
        # Others than us come in, and a socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="checker-tls-"))
        self.port = _free_port()
        key = chain[0].key.private_bytes(
            PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / "key.pem").write_bytes(key)
        write_chain(self.folder / "cert.pem", *chain)
        (self.folder / "key.pem").chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TlsServer:
        self.folder.chmod(0o755)
        _give(self.folder, self.server.user)
        command = self.server.command(self.folder, self.port)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **_as_user(self.server.user),
            )
        ends_at = time.monotonic() + READY_WITHIN_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                words = (self.folder / "log").read_text(errors="replace")
                self.__exit__()
                raise RuntimeError(f"{command[0]} does not listen: {words[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._process is not None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                pass
            self.send(signal.SIGKILL)
            self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server and all of its processes."""
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Have the server and all of its processes stand still."""
        assert self._process is not None
        self.send(signal.SIGSTOP)
        try:
            await_stillness(*group_of(self._process.pid))
            yield
        finally:
            self.send(signal.SIGCONT)

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


def _found(program: str) -> str:
    if "/" in program:
        matches = sorted(Path("/").glob(program.lstrip("/")))
        return str(matches[-1]) if matches else ""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path) or ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _as_user(user: str) -> dict[str, object]:
    if user == "root":
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _give(folder: Path, user: str) -> None:
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, user, pwd.getpwnam(user).pw_gid)


def _prepare(user: str, *command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, **_as_user(user))


def _slapd(folder: Path, port: int) -> Sequence[str]:
    (folder / "slapd.conf").write_text(
        f"pidfile {folder}/pid\n"
        f"TLSCertificateFile {folder}/cert.pem\n"
        f"TLSCACertificateFile {folder}/cert.pem\n"
        f"TLSCertificateKeyFile {folder}/key.pem\n"
    )
    url = f"ldap://127.0.0.1:{port}"
    return [_found("slapd"), "-d", "0", "-h", url, "-f", str(folder / "slapd.conf")]


def _postgres(folder: Path, port: int) -> Sequence[str]:
    program = _found(SERVERS["postgres"].program)
    initdb = str(Path(program).with_name("initdb"))
    _prepare("postgres", initdb, "-N", "-D", f"{folder}/data")
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "ssl": "on",
        "ssl_cert_file": f"{folder}/cert.pem",
        "ssl_key_file": f"{folder}/key.pem",
    }
    given = [part for name in options for part in ("-c", f"{name}={options[name]}")]
    return [program, "-D", f"{folder}/data", "-p", str(port), *given]


def _mariadb(folder: Path, port: int) -> Sequence[str]:
    install = _found("mariadb-install-db")
    data = f"--datadir={folder}/data"
    _prepare("mysql", install, "--no-defaults", data, "--skip-test-db")
    return [
        _found("mariadbd"),
        "--no-defaults",
        data,
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={folder}/socket",
        f"--pid-file={folder}/pid",
        f"--ssl-cert={folder}/cert.pem",
        f"--ssl-key={folder}/key.pem",
    ]


def _vsftpd(folder: Path, port: int) -> Sequence[str]:
    (folder / "empty").mkdir()
    (folder / "vsftpd.conf").write_text(
        "listen=YES\nlisten_address=127.0.0.1\nbackground=NO\nseccomp_sandbox=NO\n"
        f"listen_port={port}\nsecure_chroot_dir={folder}/empty\n"
        "ftpd_banner=Welcome\nanonymous_enable=YES\nssl_enable=YES\n"
        f"rsa_cert_file={folder}/cert.pem\nrsa_private_key_file={folder}/key.pem\n"
    )
    return [_found("vsftpd"), str(folder / "vsftpd.conf")]


def _prosody(folder: Path, port: int) -> Sequence[str]:
    (folder / "prosody.cfg.lua").write_text(
        f'pidfile = "{folder}/pid"\ndata_path = "{folder}"\n'
        f'interfaces = {{ "127.0.0.1" }}\nc2s_ports = {{ {port} }}\n'
        "s2s_ports = {}\nc2s_direct_tls_ports = {}\n"
        'modules_enabled = { "tls", "saslauth" }\nmodules_disabled = { "s2s" }\n'
        'log = { info = "*console" }\nc2s_require_encryption = true\n'
        'VirtualHost "localhost"\n'
        f'ssl = {{ certificate = "{folder}/cert.pem"; key = "{folder}/key.pem" }}\n'
    )
    return [_found("prosody"), "-F", "--config", str(folder / "prosody.cfg.lua")]


def _dovecot(folder: Path, port: int) -> Sequence[str]:
    (folder / "dovecot.conf").write_text(
        f"base_dir = {folder}/run\nstate_dir = {folder}/run\nlog_path = /dev/stderr\n"
        "protocols = pop3\nlisten = 127.0.0.1\nssl = required\n"
        f"ssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem\n"
        "passdb {\n  driver = static\n  args = password=x\n}\n"
        "userdb {\n  driver = static\n  args = uid=mail gid=mail home=/nonexistent\n}\n"
        "service pop3-login {\n"
        f"  inet_listener pop3 {{\n    port = {port}\n  }}\n"
        "  inet_listener pop3s {\n    port = 0\n  }\n}\n"
    )
    return [_found("dovecot"), "-F", "-c", str(folder / "dovecot.conf")]


#: By the values of ``starttls``.
SERVERS = {
    "pop3": Server("/usr/lib/dovecot/pop3", "dovecot-pop3d", "root", _dovecot),
    "ftp": Server("vsftpd", "vsftpd", "root", _vsftpd),
    "ldap": Server("slapd", "slapd", "root", _slapd),
    "postgres": Server(
        "/usr/lib/postgresql/*/bin/postgres", "postgresql", "postgres", _postgres
    ),
    "mysql": Server("mariadbd", "mariadb-server", "mysql", _mariadb),
    "xmpp": Server("prosody", "prosody", "prosody", _prosody),
}
