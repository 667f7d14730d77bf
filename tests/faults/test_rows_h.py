"""Rows H: targets that are slow, broken, lying, or not there.

One run looks at most of them, side by side, as it would.
"""

from __future__ import annotations

import contextlib
import errno
import random
import shlex
import socket
import ssl
import threading
import time
import warnings

import pytest

from tests.faults.rows import in_own_mounts, subjects
from tests.faults.table import measured
from tests.support.instance import Instance
from tests.support.listeners import (
    Listener,
    answer,
    dripping,
    gzip_bomb,
    hear,
    routes,
    says,
    self_signed_context,
    tls_context,
    write_authority,
)

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
#: Looked for in vain, so that all that comes is read.
IN_VAIN = "timeout = 2\nexpect_text = what nobody says\n"


def endless(connection, listener):
    """Say one chunk after the other, as fast as they are read."""
    hear(connection, listener)
    connection.sendall(CHUNKED)
    while not listener.over.is_set():
        connection.sendall(b"1000\r\n" + b"a" * 4096 + b"\r\n")


def bomb(connection, listener):
    """Say 1 MB that is 1 GB once it is unpacked."""
    hear(connection, listener)
    connection.sendall(HEAD + b"Content-Encoding: gzip\r\n\r\n")
    for merged_message in gzip_bomb(1000):
        connection.sendall(merged_message)


def leads(to):
    return says(answer("302 Found", b"", f"Location: {to}"))


def old_protocol():
    """Return the context of a server that knows only TLS 1.0 and 1.1."""
    context = tls_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what a run found of each target: a reason, or nothing where it is fine."""
    folder = tmp_path_factory.mktemp("street")
    cafile = write_authority(folder)
    with contextlib.ExitStack() as stack:

        def url(talk, scheme="http", **how):
            return stack.enter_context(Listener(talk, **how)).url(scheme=scheme)

        page = says(answer(body=b"hello"))
        targets = {
            "drip": (url(dripping(HEAD + b"\r\n" + b"a" * 3000)), IN_VAIN),
            "chunk by chunk": (url(dripping(CHUNKED, b"1\r\na\r\n")), IN_VAIN),
            "head": (url(dripping(HEAD + b"X: ")), IN_VAIN),
            "endless": (url(endless), IN_VAIN),
            "bomb": (url(bomb), IN_VAIN),
            "loop": (url(routes(index=answer("302 Found", b"", "Location: /"))), ""),
            "here": (url(leads("http://localhost:1/")), ""),
            "metadata": (url(leads("http://169.254.169.254/latest/meta-data/")), ""),
            "scheme": (url(leads("file:///etc/passwd")), "redirects = any\n"),
            "allowed": (
                url(leads(url(page).replace("127.0.0.1", "localhost"))),
                "redirects = any\n",
            ),
            "ipv6": (url(page, host="::1"), ""),
            "by proxy": (url(page), ""),
        }
        servers = {
            "expired": tls_context(ends=-0.5),
            "too early": tls_context(begins=5),
            "wrong name": tls_context("other.example"),
            "self-signed": self_signed_context(folder),
            "old": old_protocol(),
            "right": tls_context(),
        }
        sections = []
        for name, context in servers.items():
            it = stack.enter_context(Listener(page, context=context))
            targets[f"tls {name}"] = (it.url(scheme="https"), f"cafile = {cafile}\n")
            sections.append(
                f"[tls {name}]\nhost = 127.0.0.1\nport = {it.port}\n"
                f"cafile = {cafile}\nevery = minute\n"
            )
        sections += [
            f"[http {name}]\nurl = {there}\n{more}"
            for name, (there, more) in targets.items()
        ]
        instance = Instance(folder)
        general = "workermemory = 200\n[email]"
        instance.write(instance.settings.read_text().replace("[email]", general))
        instance.add("".join(sections))
        proxy = "http://127.0.0.1:1"
        instance.environment = {"http_proxy": proxy, "HTTPS_PROXY": proxy}
        began = time.monotonic()
        assert instance.cron().silent
        seconds = time.monotonic() - began
        reasons = {row["job"]: row["reason"] for row in instance.listed()}
        yield {**reasons, "seconds": seconds}


@pytest.mark.long
@pytest.mark.fault("H2", "a drip, endless chunks")
def test_h2_a_drip_is_bounded_and_fails_with_how_much_came(found):
    for name in ("drip", "chunk by chunk"):
        assert found[f"http {name}"].startswith("timed out after 2 s with ")
        assert found[f"http {name}"].endswith("of the body")
    assert "no answer within 2 s" in found["http head"]
    assert "bytes came" in found["http head"]
    assert "in the first 10 MB" in found["http endless"]
    assert found["seconds"] < 15
    measured(f"{found['seconds']:.1f} s")


@pytest.mark.long
@pytest.mark.fault("H3", "a gzip bomb, 1 MB that is 1 GB")
def test_h3_a_gzip_bomb_is_read_to_the_cap_within_200_mb(found):
    # The worker may take 200 MB; more would be out of memory.
    assert "in the first 10 MB" in found["http bomb"]


@pytest.mark.fault("H4", "a redirect loop, to loopback, to metadata, another scheme")
def test_h4_redirects_end_after_five_and_leave_the_host_only_where_allowed(found):
    assert found["http loop"].startswith("more than 5 redirects\n")
    for name in ("here", "metadata"):
        assert found[f"http {name}"].startswith("redirected to another host: ")
    assert found["http scheme"].endswith("which is not http or https")
    assert found["http allowed"] == ""


@pytest.mark.fault(
    "H6", "expired, not yet valid, wrong name, self-signed, old protocol"
)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("expired", "expired less than a day ago"),
        ("too early", "is not valid before"),
        ("wrong name", "is for other.example, not for 127.0.0.1"),
        ("self-signed", "is self-signed"),
        ("old", "TLS version"),
        ("right", ""),
    ],
)
def test_h6_a_server_whose_tls_is_not_right_fails_and_why(found, name, words):
    for kind in ("http tls", "tls"):
        reason = found[f"{kind} {name}"]
        assert words in reason if words else reason == ""


@pytest.mark.fault("H8", "IPv6 only")
def test_h8_a_target_with_ipv6_only_is_ok(found):
    assert found["http ipv6"] == ""


@pytest.mark.integration
@pytest.mark.fault("H8", "one family is dead")
def test_h8_where_one_family_is_dead_the_other_will_do_and_it_is_noted(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 both\n127.0.0.1 both\n")
    instance = Instance(tmp_path)
    with Listener(says(answer())) as there:
        instance.add(f"[http both]\nurl = http://both:{there.port}/\n")
        trying = shlex.join(instance.command("-m", "run", "http both"))
        ran = in_own_mounts(
            instance, f"mount --bind {hosts} /etc/hosts && eval $CRON && {trying}"
        )
    assert ran.code == 0 and " ok " in ran.out
    port = there.port
    assert f"127.0.0.1:{port} answers, but not [::1]:{port}: connection refused" in (
        " ".join(ran.out.split())
    )
    assert instance.records() == {}


@pytest.mark.fault("H11", "proxy variables are set")
def test_h11_proxies_of_the_environment_are_ignored(found):
    assert found["http by proxy"] == ""
    assert found["http tls right"] == ""


#: So many addresses of this machine are tried for a free port 53.
MAX_ADDRESSES = 50


class Resolver:
    """A name server at an address of this machine; without a code it is silent.

    The C library asks at port 53 only, so it is the address that is any free one.
    """

    def __init__(self, code):
        self._code = code

    def __enter__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.address = bound_to_port_53(self._socket)
        except BaseException:
            self._socket.close()
            raise
        self._server = threading.Thread(target=self._serve)
        if self._code is not None:
            self._server.start()
        return self

    def __exit__(self, *_):
        if self._server.ident is not None:
            # Closing it alone would end no recvfrom(), which would keep it bound.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)
            self._server.join()
        self._socket.close()

    def _serve(self):
        while True:
            asked, whose = self._socket.recvfrom(4096)
            if not asked:
                return
            end = asked.index(b"\0", 12) + 5
            flags = 0x8180 | self._code
            head = asked[:2] + flags.to_bytes(2) + asked[4:6] + bytes(6)
            self._socket.sendto(head + asked[12:end], whose)


def bound_to_port_53(resolver):
    """Bind a socket to port 53 of an address that is free; return the address."""
    for _try in range(MAX_ADDRESSES):
        address = f"127.53.{random.randrange(256)}.{random.randrange(1, 255)}"
        try:
            resolver.bind((address, 53))
        except PermissionError:
            pytest.skip("port 53 is for root")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return address
    pytest.skip("another name server has port 53 of every address")


def test_two_name_servers_stand_side_by_side_and_leave_nothing_behind():
    threads = threading.active_count()
    with Resolver(3) as one, Resolver(3) as other:
        assert one.address != other.address
    assert threading.active_count() == threads
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind((one.address, 53))


@pytest.mark.integration
@pytest.mark.fault("H1", "DNS is silent, SERVFAIL, NXDOMAIN")
def test_h1_a_resolver_fault_is_bounded_named_and_in_one_mail_when_many(instance, smtp):
    names = [f"a{number}" for number in range(8)]
    for name in names:
        instance.add(f"[http {name}]\nurl = http://{name}.example/\ntimeout = 2\n")
    instance.add("[disk root]\npath = /\nlimit = 100\nevery = minute\n")
    words = {
        None: "the resolver gave no answer within 2 s",
        2: "the resolver has no answer now; is DNS working here?",
        3: "no such name",
    }
    took = []
    for code, reason in words.items():
        resolve = instance.folder / "resolv.conf"
        script = f"mount --bind {resolve} /etc/resolv.conf && eval $CRON"
        with Resolver(code) as resolver:
            resolve.write_text(f"nameserver {resolver.address}\n")
            began = time.monotonic()
            assert in_own_mounts(instance, script).code == 0
            took.append(time.monotonic() - began)
        found = {row["job"]: row["reason"] for row in instance.listed()}
        assert found.pop("disk root") == ""
        assert set(found.values()) == {
            f"cannot resolve {name}.example: {reason}" for name in names
        }
    assert max(took) < 20
    (notified,) = subjects(smtp)
    assert notified.startswith("8 failing")
    measured(f"{max(took):.1f} s at most, 1 mail")


@pytest.mark.long
@pytest.mark.fault("H12", "100 slow targets")
def test_h12_targets_that_do_not_answer_cost_a_slot_not_the_run(tmp_path):
    instance = Instance(tmp_path)
    silent = socket.create_server(("127.0.0.1", 0), backlog=1000)
    port = silent.getsockname()[1]
    for number in range(100):
        instance.add(
            f"[http hangs{number}]\nurl = http://127.0.0.1:{port}/\ntimeout = 5\n"
            f"[disk fine{number}]\npath = /\nlimit = 100\nevery = minute\n"
        )
    started = time.monotonic()
    with silent:
        assert instance.cron().silent
    seconds = time.monotonic() - started
    assert seconds < 15
    run = instance.last_run()
    assert (run["ran"], run["failing"]) == (200, 100)
    assert len(instance.records()) == 100
    measured(f"all judged in {seconds:.1f} s")
