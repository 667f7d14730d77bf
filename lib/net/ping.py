"""Pings: the echo requests of many checks, sent and awaited by one loop.

A ping goes out by the first way that this user may take: an ICMP socket for everybody
(``net.ipv4.ping_group_range``), a raw socket, or the system's ping command.  127.0.0.1
is asked along, and ::1 beside what has IPv6: while this machine does not answer itself,
nothing is known of others that do not.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from lib.net import bulk, icmp
from lib.net.address import printable
from lib.net.bulk import Loop, Task
from lib.net.connect import Address, Deadline, NotTried

#: What identifies a ping of ours: the first bytes of what it carries.
TOKEN_SIZE = 8
#: So many are sent at once, and the next ones a little later: a burst overflows queues,
#: ours of answers first.
AT_ONCE, AGAIN_AFTER_S = 40, 0.004
#: How long this machine may take to answer itself, and how often it is asked.
OWN_WAIT_S, OWN_COUNT, OWN_INTERVAL_S = 2.0, 3, 0.5
LOOPBACK: Mapping[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
#: What has this machine answer no ping.
IGNORES: Mapping[int, str] = {
    socket.AF_INET: "net.ipv4.icmp_echo_ignore_all",
    socket.AF_INET6: "net.ipv6.icmp.echo_ignore_all",
}
#: The most that is read of an answer: headers and token.
_MAX_READ = 128
_HEADER = struct.Struct("!BBHHH")
_REQUEST: Mapping[int, int] = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY: Mapping[int, int] = {socket.AF_INET: 0, socket.AF_INET6: 129}
_PROTOCOL: Mapping[int, int] = {
    socket.AF_INET: socket.IPPROTO_ICMP,
    socket.AF_INET6: socket.IPPROTO_ICMPV6,
}
#: Linux's numbers: the time of arrival as a note of the kernel, filters of raw sockets.
_SO_TIMESTAMPNS, _SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 35, 255, 1, 1
_TIMESPEC = struct.Struct("@ll")
_POLL_ERROR = 8
#: The ping command, where cron's PATH has none.
_FOLDERS = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"
_ANSWER = re.compile(
    r"bytes from (\S+?)(?:%\S+?)?: (icmp_)?seq=(\d+) .*time[=<]([\d.]+) ?ms"
)
_FROM = re.compile(r"^From (\S+?):? icmp_seq=\d+ (.+)$", re.M)
REMEDY = (
    "as root: sysctl -w net.ipv4.ping_group_range='0 2147483647', and keep it in "
    "/etc/sysctl.d; or install the ping command (iputils-ping)"
)


class Answers(NamedTuple):
    """What came of some pings: the seconds that each answer took, None without one."""

    times: tuple[float | None, ...]
    #: What was said of one that did not arrive; empty if nothing was.
    refusal: str = ""

    @property
    def received(self) -> list[float]:
        """Return the seconds of those that were answered."""
        return [took for took in self.times if took is not None]


class Pings(bulk.Wait):
    """Until ``count`` pings are answered or lost: Answers.

    They leave every ``interval_s`` seconds, and the answer to each may take ``wait_s``.
    Raises NotTried in the check if this machine can send none.
    """

    __slots__ = (
        *("family", "address", "host", "count", "interval_s", "wait_s", "size"),
        *("deadline", "times", "tokens", "open", "refusal", "is_over", "is_own"),
        "tell",
    )

    def __init__(
        self,
        address: tuple[int, Address],
        deadline: Deadline,
        *,
        count: int = 3,
        interval_s: float = 0.2,
        wait_s: float = 2.0,
        size: int = 56,
    ) -> None:
        self.family, self.address = address
        self.host: str = self.address[0].partition("%")[0]
        self.count = count
        self.interval_s = interval_s
        self.wait_s = wait_s
        self.size = size
        self.deadline = deadline
        self.times: list[float | None] = []
        #: What those that were sent carry, and how many may still be answered.
        self.tokens: list[bytes] = []
        self.open = 0
        self.refusal = ""
        self.is_over = False
        #: True: these are pings of this machine itself.
        self.is_own = False
        self.tell: Callable[[Any], None] = lambda _result: None

    def begin(self, loop: Loop, task: Task) -> None:
        """Have them sent."""
        turn = task.turn

        def tell(result: Any) -> None:
            if task.turn == turn:
                loop.resume(task, result)

        self.tell = tell
        loop.driver(Pinger).start(self)

    def answers(self) -> Answers:
        """Return what came of them so far."""
        return Answers(tuple(self.times), self.refusal)


class Link(NamedTuple):
    """A socket that pings leave by."""

    sock: socket.socket
    family: int
    is_raw: bool
    #: What tells our pings from those of others, on a raw socket.
    number: int


#: Stands for the ping command in place of a socket.
COMMAND = "command"


class Pinger:
    """The pings of one loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        #: By family: a link, COMMAND, or why there is no way.
        self._links: dict[int, Link | str | NotTried] = {}
        self._waiting: deque[Pings] = deque()
        self._is_sending = False
        #: By token: whose it is, which of them, when it was sent by two clocks.
        self._flying: dict[bytes, tuple[Pings, int, int, float]] = {}
        self._run = os.urandom(4)
        self._count = 0
        #: Whether this machine answers itself, by family; an exception: why not.
        self._own: dict[int, bool | NotTried | None] = {}
        self._until_own: list[Pings] = []

    def start(self, pings: Pings) -> None:
        """Begin with some pings; ``pings.tell`` is called with what comes of them."""
        for family in (socket.AF_INET, pings.family):
            if family not in self._own:
                self._ask_ourselves(family)
        self._begin(pings)

    def _begin(self, pings: Pings) -> None:
        link = self._link(pings.family)
        if isinstance(link, Link):
            self._queue(pings)
        elif isinstance(link, str):
            self._by_command(pings)
        else:
            self._end(pings, link)

    def close(self) -> None:
        """Close the sockets."""
        for link in self._links.values():
            if isinstance(link, Link):
                self._loop.unwatch(link.sock.fileno())
                link.sock.close()

    # Whether this machine answers itself.

    def _ask_ourselves(self, family: int) -> None:
        self._own[family] = None
        is_command = self._link(family) is COMMAND
        own = Pings(
            (family, (LOOPBACK[family], 0)),
            Deadline(OWN_COUNT * OWN_INTERVAL_S + 2 * OWN_WAIT_S),
            count=1 if is_command else OWN_COUNT,
            interval_s=OWN_INTERVAL_S,
            wait_s=OWN_WAIT_S,
        )
        own.is_own = True
        own.tell = lambda result: self._know_ourselves(own, result)
        self._begin(own)

    def _know_ourselves(self, own: Pings, result: Answers | NotTried) -> None:
        if isinstance(result, Answers):
            place = own.address[0]
            self._own[own.family] = (
                True if result.received else _silent(place, result.refusal, own.family)
            )
        else:
            self._own[own.family] = result
        waiting, self._until_own = self._until_own, []
        for pings in waiting:
            self._deliver(pings)

    # What came of pings.

    def _end(self, pings: Pings, trouble: NotTried | None = None) -> None:
        """Say what came of some pings, once it is known whether it counts."""
        if pings.is_over:
            return
        pings.is_over = True
        if trouble:
            pings.tell(trouble)
        elif pings.is_own:
            pings.tell(pings.answers())
        else:
            self._deliver(pings)

    def _deliver(self, pings: Pings) -> None:
        states = (self._own[socket.AF_INET], self._own[pings.family])
        trouble = next((one for one in states if isinstance(one, NotTried)), None)
        answers = pings.answers()
        if answers.received:
            # What has come proves itself, whoever else is silent.
            pings.tell(answers)
        elif trouble is None and None in states:
            self._until_own.append(pings)
            self._loop.call_at(pings.deadline.ends_at, self._give_up, pings)
        else:
            pings.tell(trouble or answers)

    def _give_up(self, pings: Pings) -> None:
        """Say at the deadline of a check that it is not known whether it counts."""
        if pings in self._until_own:
            self._until_own.remove(pings)
            pings.tell(_silent(LOOPBACK[pings.family], "", pings.family))

    # Sending.

    def _queue(self, pings: Pings) -> None:
        self._waiting.append(pings)
        if not self._is_sending:
            self._is_sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send some of what waits, and the rest a little later."""
        used = set()
        for _ in range(min(AT_ONCE, len(self._waiting))):
            pings = self._waiting.popleft()
            link = self._links[pings.family]
            assert isinstance(link, Link)
            if not pings.is_over:
                self._send_one(link, pings)
            used.add(link)
        # On this machine the answers are there already.
        for link in used:
            self._receive(link)
        self._is_sending = bool(self._waiting)
        if self._waiting:
            self._loop.call_at(time.monotonic() + AGAIN_AFTER_S, self._send)

    def _send_one(self, link: Link, pings: Pings) -> None:
        self._count += 1
        token = self._token(self._count)
        packet = _packet(link, self._count & 0xFFFF, token, pings.size)
        number = len(pings.times)
        pings.times.append(None)
        pings.tokens.append(token)
        pings.open += 1
        now = time.monotonic()
        self._flying[token] = (pings, number, time.time_ns(), now)
        trouble = self._put(link, packet, pings.address)
        if isinstance(trouble, NotTried):
            self._end(pings, trouble)
        elif number + 1 < pings.count:
            self._loop.call_at(now + pings.interval_s, self._send_next, pings)
        else:
            until = min(pings.deadline.ends_at, now + pings.wait_s)
            self._loop.call_at(until, self._expire, pings)
        if isinstance(trouble, str):
            self._is_lost(token, trouble)

    def _send_next(self, pings: Pings) -> None:
        if pings.is_over:
            return
        if pings.deadline.passed:
            self._expire(pings)
        else:
            self._queue(pings)

    def _put(
        self, link: Link, packet: bytes, address: Address
    ) -> str | NotTried | None:
        """Send a packet; return why it cannot be sent, None if it was."""
        trouble: str | NotTried | None = None
        # What is said of an earlier packet is raised by the next call, whatever it is.
        for _ in range(3):
            try:
                link.sock.sendto(packet, address)
                return None
            except OSError as error:
                trouble = _not_sent(error)
            self._take_refusals(link)
        return trouble

    def _expire(self, pings: Pings) -> None:
        """Count what was not answered as lost."""
        if not pings.is_over:
            for token in pings.tokens:
                self._flying.pop(token, None)
            self._end(pings)

    # Receiving.

    def _on_event(self, link: Link, events: int) -> None:
        self._receive(link)
        if events & _POLL_ERROR:
            self._take_refusals(link)

    def _receive(self, link: Link) -> None:
        """Take all answers that are there."""
        receive = link.sock.recvmsg
        while True:
            try:
                data, notes, _flags, peer = receive(_MAX_READ, 64)
            except BlockingIOError:
                return
            except OSError:
                self._take_refusals(link)
                continue
            if link.is_raw and link.family == socket.AF_INET:
                data = data[4 * (data[0] & 15) :]
            token = data[8 : 8 + TOKEN_SIZE]
            flying = self._flying.get(token)
            # Late or a second time, or by another host than the one that was asked.
            if flying is None or peer[0].partition("%")[0] != flying[0].host:
                continue
            if data[0] == _REPLY[link.family]:
                del self._flying[token]
                self._is_answered(flying, notes)

    def _is_answered(
        self, flying: tuple[Pings, int, int, float], notes: list[Any]
    ) -> None:
        pings, number, sent_ns, sent_at = flying
        pings.times[number] = _took(sent_ns, sent_at, notes)
        pings.open -= 1
        if pings.is_own or (pings.open == 0 and len(pings.times) == pings.count):
            self._end(pings)

    def _is_lost(self, token: bytes, refusal: str) -> None:
        pings = self._flying.pop(token)[0]
        pings.refusal = refusal
        pings.open -= 1
        if pings.open == 0 and len(pings.times) == pings.count:
            self._end(pings)

    def _take_refusals(self, link: Link) -> None:
        """Take all that is said of packets that did not arrive."""
        link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        for said in icmp.refusals(link.sock):
            to = said.to.partition("%")[0]
            for token in self._tokens(link, said.packet):
                flying = self._flying.get(token)
                if flying is not None and to == flying[0].host:
                    self._is_lost(token, str(said))
                    break

    def _tokens(self, link: Link, packet: bytes) -> Iterator[bytes]:
        """Yield the tokens that a packet of ours may have had, of which this is left.

        A router need send back no more than the header.
        """
        if len(packet) >= 8 + TOKEN_SIZE:
            yield packet[8 : 8 + TOKEN_SIZE]
        elif len(packet) >= _HEADER.size:
            *_kind, number, sequence = _HEADER.unpack_from(packet)
            if not link.is_raw or number == link.number:
                for turn in range(self._count >> 16, -1, -1):
                    yield self._token(turn << 16 | sequence)

    def _token(self, count: int) -> bytes:
        return self._run + (count & 0xFFFFFFFF).to_bytes(4, "big")

    # Ways.

    def _link(self, family: int) -> Link | str | NotTried:
        """Return the way by which pings of a family leave, or why there is none."""
        if family not in self._links:
            self._links[family] = link = _open(family)
            if isinstance(link, Link):
                self._loop.watch(
                    link.sock.fileno(),
                    bulk.READ,
                    lambda _fd, events: self._on_event(link, events),
                )
        return self._links[family]

    def _by_command(self, pings: Pings) -> None:
        def is_done(result: Any) -> None:
            if isinstance(result, Answers):
                pings.times, pings.refusal = list(result.times), result.refusal
                self._end(pings)
            else:
                words = f"not checked: {result}"
                no = result if isinstance(result, NotTried) else NotTried(words)
                self._end(pings, no)

        def is_late() -> None:
            if not work.has_begun:
                words = f"{bulk.MAX_THREADS} ping commands are before it"
                self._end(pings, NotTried(f"not checked: {words}; {REMEDY}"))

        work = self._loop.in_thread(lambda: by_command(pings), is_done)
        self._loop.call_at(pings.deadline.ends_at, is_late)


def _silent(place: str, refusal: str, family: int) -> NotTried:
    """Return what to raise where this machine does not answer itself."""
    why = f" ({refusal})" if refusal else ""
    setting = IGNORES[family]
    remedy = "is ICMP blocked here by a firewall, or lo down?"
    if _is_set(setting):
        remedy = f"{setting} is set here; as root: sysctl -w {setting}=0"
    return NotTried(
        f"not checked: pings of this machine itself, {place}, have no answer{why}\n"
        f"{remedy}"
    )


def _is_set(setting: str) -> bool:
    """Return whether a setting of the kernel is not 0; one that is not there is 0."""
    try:
        with open(f"/proc/sys/{setting.replace('.', '/')}") as file:
            return file.read().strip() != "0"
    except OSError:
        return False


def _open(family: int) -> Link | str | NotTried:
    """Return the first way by which this user may send pings."""
    protocol = _PROTOCOL[family]
    for form, is_raw in ((socket.SOCK_DGRAM, False), (socket.SOCK_RAW, True)):
        try:
            sock = bulk.open_socket(family, form, protocol)
        except NotTried as error:
            return error
        except OSError:
            continue
        return _prepared(sock, family, is_raw)
    return COMMAND if command() else _not_allowed()


def _not_allowed() -> NotTried:
    return NotTried(f"not checked: this user may not send pings\n{REMEDY}")


def _prepared(sock: socket.socket, family: int, is_raw: bool) -> Link:
    """Return a link of a new socket, which hears answers and what is said of errors."""
    icmp.ask_for_refusals(sock)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if is_raw and family == socket.AF_INET:
            wanted = ~(1 << _REPLY[family]) & 0xFFFFFFFF
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", wanted))
        elif is_raw:
            word, bit = divmod(_REPLY[family], 32)
            blocked = [0xFFFFFFFF] * 8
            blocked[word] &= ~(1 << bit)
            protocol = socket.IPPROTO_ICMPV6
            sock.setsockopt(protocol, _ICMP6_FILTER, struct.pack("=8I", *blocked))
    except OSError:
        pass  # all of it is an improvement; answers are told apart by their token
    number = int.from_bytes(os.urandom(2), "big")
    return Link(sock, family, is_raw, number)


def _packet(link: Link, sequence: int, token: bytes, size: int) -> bytes:
    """Return an echo request; where the kernel does it, without id and checksum."""
    content = token.ljust(size, b"\0")
    kind = _REQUEST[link.family]
    packet = _HEADER.pack(kind, 0, 0, link.number, sequence) + content
    if link.is_raw and link.family == socket.AF_INET:
        return _HEADER.pack(kind, 0, _sum(packet), link.number, sequence) + content
    return packet


def _sum(packet: bytes) -> int:
    """Return the checksum of a packet, see RFC 1071."""
    padded = packet + b"\0" if len(packet) % 2 else packet
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _took(sent_ns: int, sent_at: float, notes: list[Any]) -> float:
    """Return the seconds until an answer arrived, by the kernel's note of it.

    We may have been busy with others since; where the clock was set, we count.
    """
    most = time.monotonic() - sent_at
    for _level, kind, note in notes:
        if kind == _SO_TIMESTAMPNS and len(note) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(note)
            took = (seconds * 1_000_000_000 + nanoseconds - sent_ns) / 1e9
            if 0.0 <= took <= most:
                return float(took)
    return most


def _not_sent(error: OSError) -> str | NotTried:
    """Return why this machine does not send a packet; NotTried if it sends no other."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotTried(
            "not checked: this machine lets no ping out to there: a firewall forbids "
            "it, or it is a broadcast address"
        )
    words = os.strerror(error.errno or 0)
    words = words[:1].lower() + words[1:]
    if error.errno in (errno.EAGAIN, errno.ENOBUFS):
        return NotTried(f"not checked: {words}: too many packets wait here")
    return words


# The ping command.


def command() -> str:
    """Return the path of the system's ping command; empty if there is none."""
    import shutil

    path = f"{os.environ.get('PATH', '')}:{_FOLDERS}"
    return shutil.which("ping", path=path) or ""


def by_command(pings: Pings) -> Answers:
    """Return what the ping command says; raise NotTried if it cannot ping."""
    import subprocess

    words = [command(), "-n", "-c", str(pings.count), "-s", str(pings.size)]
    # Less is for root only, or for newer ones.
    interval_s, wait_s = max(0.2, pings.interval_s), max(1.0, pings.wait_s)
    words += ["-i", f"{interval_s:g}", "-W", f"{wait_s:g}"]
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*words, str(pings.address[0])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=pings.deadline.left(),
            check=False,
        )
    except TimeoutError:
        return Answers((None,) * pings.count)
    except subprocess.TimeoutExpired as late:
        # What was answered until then it has said, here in bytes.  The last one that
        # was sent, and those that were not, are not lost.
        said = (late.stdout or b"").decode("utf-8", "replace")
        sent = max(1, int((time.monotonic() - began) / interval_s))
        return read_command(said, min(sent, pings.count), pings.host)
    except OSError as error:
        raise NotTried(f"not checked: ping: {error.strerror}; {REMEDY}") from error
    # 1: no answer; 2: it could not be asked, which is nothing about the host.
    if done.returncode not in (0, 1):
        lines = (done.stderr.strip() or done.stdout.strip() or "nothing").split("\n")
        said = "; ".join(re.sub(r"^(\S*/)?ping6?: ", "", line) for line in lines)
        raise NotTried(f"not checked: ping says: {printable(said, 200)}\n{REMEDY}")
    return read_command(done.stdout, pings.count, pings.host)


def read_command(output: str, count: int, host: str) -> Answers:
    """Return what an output of ping says of ``count`` pings of an address."""
    times: list[float | None] = [None] * count
    for match in _ANSWER.finditer(output):
        # Some count from 0, and call it seq.
        number = int(match[3]) - 1 if match[2] else int(match[3])
        # One that comes twice counts once, and one of another host is none.
        if match[1] == host and 0 <= number < count and times[number] is None:
            times[number] = float(match[4]) / 1000
    refused = _FROM.search(output)
    words = f"{refused[2].lower()}, says {refused[1]}" if refused else ""
    return Answers(tuple(times), words)
