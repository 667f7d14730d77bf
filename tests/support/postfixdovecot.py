"""Mail accounts on Postfix and Dovecot, started by tests/support/postfix-dovecot.sh."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import trustme

from tests.support.accounts import Account
from tests.support.packagedservers import started, write_certificate
from tests.support.servers import PASSWORD, SmtpMail

#: Log lines of those who look into their mailbox, as tests do again and again.
_OF_THE_OWNER = re.compile(r"imap-login: Info: Login|Disconnected: Logged out")
SCRIPT = Path(__file__).with_name("postfix-dovecot.sh")


def why_not() -> str:
    """Return why there is no such pair here; empty where there can be one."""
    asked = subprocess.run([SCRIPT, "--why-not"], stdout=subprocess.PIPE, text=True)
    return asked.stdout.strip()


class PostfixDovecot:
    """The pair, for as many accounts as there are tests; it ends with its input."""

    def __init__(self, ca: trustme.CA) -> None:
        # Others than us come in, and a socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="checker-mail-"))
        write_certificate(ca, self.folder)
        self.numbers = itertools.count(1)
        self.policy = Policy(self.folder / "policy")
        self._process: subprocess.Popen[str] | None = None
        self._logged: dict[Path, int] = {}

    def __enter__(self) -> PostfixDovecot:
        self.policy.__enter__()
        command = [SCRIPT, self.folder]
        try:
            self._process = started(command, self.folder, "Postfix and Dovecot")
        except BaseException:
            self.__exit__()
            raise
        lines = (self.folder / "ports").read_text().splitlines()
        self.ports = {name: int(port) for name, port in map(str.split, lines)}
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)
        self.policy.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def know(self, address: str, password: str = PASSWORD, service: str = "") -> None:
        """Let a login be one; ``service``: for smtp or for imap only."""
        for each in [service] if service else ["smtp", "imap"]:
            path = self.folder / "users" / each / address
            path.write_text(f"{address}:{password}::::::\n")

    def home(self, address: str) -> Path:
        """Return where an account's mails and its filter are, made if need be."""
        home = self.folder / "mail" / address
        if not home.exists():
            home.mkdir()
            shutil.chown(home, "mail", "mail")
        return home

    def new_in_logs(self) -> str:
        """Return the last of what the servers have logged since this was called."""
        found = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            new = lines[self._logged.get(path, 0) :]
            found += [one for one in new if not _OF_THE_OWNER.search(one)][-40:]
            self._logged[path] = len(lines)
        return "\n".join(found)

    def release(self) -> None:
        """Let go the mails that are held."""
        conf = str(self.folder / "postfix")
        for command in (
            ["/usr/sbin/postsuper", "-c", conf, "-H", "ALL"],
            ["/usr/sbin/postqueue", "-c", conf, "-f"],
        ):
            subprocess.run(command, check=True, capture_output=True)


class Policy(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """What Postfix asks about each recipient (its policy delegation protocol)."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _PolicyTalk)
        path.chmod(0o666)
        #: By address.
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[], str | None]] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def __enter__(self) -> Policy:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()
        self._thread.join(10)
        self.server_close()


class _PolicyTalk(socketserver.StreamRequestHandler):
    """A connection, and the questions on it: lines NAME=VALUE, then an empty one."""

    server: Policy

    def handle(self) -> None:
        question: dict[str, str] = {}
        for line in self.rfile:
            name, _is, value = line.decode().strip().partition("=")
            question[name] = value
            if name:
                continue
            recipient = question["recipient"]
            self.server.asked.append(recipient)
            answer = self.server.answers.get(recipient, lambda: None)()
            self.wfile.write(f"action={answer or 'DUNNO'}\n\n".encode())
            question.clear()


class PostfixAccount(Account):
    """An account of its own for each test, on the servers of the session."""

    name = "Postfix and Dovecot"

    def __init__(self, ca: trustme.CA, servers: PostfixDovecot) -> None:
        super().__init__(ca)
        self.servers = servers
        number = next(servers.numbers)
        self.user, self.contact = (
            f"{name}{number}@example.com" for name in ("checker", "ops")
        )
        self.smtpport = servers.ports["submission"]
        self.imapport = servers.ports["imaps"]
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> PostfixAccount:
        for address in (self.user, self.contact):
            self.servers.know(address)
        self.goes_to("INBOX")
        self.servers.policy.answers[self.user] = self._action
        self.servers.new_in_logs()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for timer in self._timers:
            timer.cancel()
            timer.join(10)
        # pytest shows it where the test has failed.
        print(self.servers.new_in_logs())

    def goes_to(self, folder: str | None, after_s: float = 0.0) -> None:
        self.filter(sieve(folder))
        self._after_s = after_s

    def filter(self, script: str) -> None:
        """Say what becomes of mail for ``user``, in Sieve's words (RFC 5228)."""
        home = self.servers.home(self.user)
        (home / "sieve.new").write_text(script)
        (home / "sieve.new").replace(home / "sieve")
        # Within a second Pigeonhole would take the old one's for this one's.
        (home / "sieve.svbin").unlink(missing_ok=True)

    def let_smtp_know(self, password: str) -> None:
        self.servers.know(self.user, password, "smtp")
        # Once a second Dovecot looks whether the file is a new one.
        time.sleep(1.1)

    def asked_for(self) -> list[str]:
        ours = (self.user, self.contact)
        return [one for one in self.servers.policy.asked if one in ours]

    def notified(self, count: int = 1) -> list[SmtpMail]:
        ends_at = time.monotonic() + 20
        while True:
            with self.opened(self.contact) as session:
                session.select(readonly=True)
                found = session.search(None, "ALL")[1][0].decode().split()
                if len(found) >= count:
                    texts = [session.fetch(one, "BODY.PEEK[]")[1][0] for one in found]
                    return [SmtpMail("", (self.contact,), one[1], "") for one in texts]
            assert time.monotonic() < ends_at, f"{len(found)} mails came, not {count}"
            time.sleep(0.05)

    def fill(self, count: int) -> None:
        """Let so many mails, read long ago, lie in the INBOX."""
        box = self.servers.home(self.user) / "Maildir"
        for name in ("", "cur", "new", "tmp"):
            (box / name).mkdir(exist_ok=True)
            shutil.chown(box / name, "mail", "mail")
        for number in range(count):
            # A file has no more than some 65,000 names.
            if number % 1000 == 0:
                mail = box / "tmp" / str(number)
                mail.write_text(f"Subject: lunch {number}\n\nat noon\n")
                shutil.chown(mail, "mail", "mail")
            os.link(mail, box / "cur" / f"1700000000.M{number}P1.mail.test:2,S")

    def listen_in(self) -> None:
        """Have what is said to the mailbox written down from now on."""
        talks = self.servers.home(self.user) / "rawlog"
        talks.mkdir()
        shutil.chown(talks, "mail", "mail")

    def heard(self) -> list[str]:
        """Return the commands that were given to the mailbox since then."""
        talks = sorted((self.servers.home(self.user) / "rawlog").glob("*.in"))
        lines = "".join(one.read_text() for one in talks).splitlines()
        # The time and the tag are before it.
        return [line.split(" ", 2)[2] for line in lines]

    def _action(self) -> str | None:
        if self.answer or not self._after_s:
            return self.answer
        timer = threading.Timer(self._after_s, self.servers.release)
        self._timers.append(timer)
        timer.start()
        return "HOLD"


def sieve(folder: str | None) -> str:
    """Return the filter that lets mail go there."""
    if folder is None:
        return "discard;\n"
    name = folder.replace("\\", r"\\").replace('"', r"\"")
    return f'require ["fileinto", "mailbox"];\nfileinto :create "{name}";\n'
