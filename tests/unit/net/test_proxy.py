"""Requests through proxies: which one is asked, and whose trouble it is."""

from __future__ import annotations

import ssl
import threading
import time

import pytest
import trustme

from lib.net import bulk, connect, curl, proxy
from lib.net.connect import Deadline, NotTried, Unreachable
from tests.support.listeners import (
    HOLD,
    Listener,
    answer,
    closed_port,
    says,
    tls_context,
    write_authority,
)
from tests.support.proxies import socks5, tunnels
from tests.support.waits import SOON_S

NAME = "shop.invalid"
LOGIN = "Basic Ym9iOmh1c2g="


def fetched(url, by="", limit_s=5.0, **more):
    request = curl.Request(url=url, deadline=Deadline(limit_s), proxy=by, **more)
    return bulk.run_one(curl.fetch(request))


def why(url, by, limit_s=5.0, **more):
    with pytest.raises((Unreachable, NotTried)) as caught:
        fetched(url, by, limit_s, **more)
    return str(caught.value)


def place(listener):
    return f"127.0.0.1:{listener.port}"


@pytest.fixture
def names(monkeypatch):
    """Have the resolver know what is put in here, and note what it is asked."""
    asked = []

    def look_up(host, port, _family):
        asked.append(host)
        if host == "silent.invalid":
            threading.Event().wait(30)
        if host not in ("proxy.invalid", "known.invalid"):
            raise connect._unresolved(host, "no such name")
        return [(2, ("127.0.0.9", port)), (2, ("127.0.0.1", port))]

    monkeypatch.setattr(connect, "look_up", look_up)
    return asked


# The choice.


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy:1080"),
        ("https://proxy/", "https://proxy:443"),
        ("http://bob:h%40sh@Proxy:1", "http://bob:h%40sh@proxy:1"),
        ("socks://[::1]:2", "socks4://[::1]:2"),
        ("http://faß.example:1", "http://xn--fa-hia.example:1"),
    ],
)
def test_the_url_of_a_proxy_is_read_as_libcurl_reads_it(text, url):
    assert proxy.parsed(text).url == url


@pytest.mark.parametrize("text", ["ftp://proxy", "http://", "http://proxy:99999"])
def test_what_is_no_proxy_is_refused(text):
    with pytest.raises(ValueError):
        proxy.parsed(text)


#: The environment, the URL, and whether the proxy in it is asked.
ENVIRONMENTS = [
    ({}, "http://a.test", False),
    ({"http_proxy": "P"}, "http://a.test", True),
    ({"http_proxy": "P"}, "https://a.test", False),
    ({"HTTP_PROXY": "P"}, "http://a.test", False),
    ({"https_proxy": "P"}, "https://a.test", True),
    ({"HTTPS_PROXY": "P"}, "https://a.test", True),
    ({"all_proxy": "P"}, "http://a.test", True),
    ({"ALL_PROXY": "P"}, "https://a.test", True),
    ({"http_proxy": "", "all_proxy": "P"}, "http://a.test", True),
    ({"http_proxy": "P", "no_proxy": "*"}, "http://a.test", False),
    ({"http_proxy": "P", "NO_PROXY": "a.test"}, "http://a.test", False),
    ({"http_proxy": "P", "no_proxy": "b.test, .A.test"}, "http://a.test", False),
    ({"http_proxy": "P", "no_proxy": "test."}, "http://a.test", False),
    ({"http_proxy": "P", "no_proxy": "a.test"}, "http://aa.test", True),
    ({"http_proxy": "P", "no_proxy": "a.test,*"}, "http://b.test", True),
    ({"http_proxy": "P", "no_proxy": "127.0.0.0/8"}, "http://127.0.0.9", False),
    ({"http_proxy": "P", "no_proxy": "127.0.0.1"}, "http://127.0.0.9", True),
    ({"http_proxy": "P", "no_proxy": "0.0.9"}, "http://127.0.0.9", True),
    ({"http_proxy": "P", "no_proxy": "::1"}, "http://[::1]", False),
]


@pytest.mark.parametrize(("environment", "url", "is_asked"), ENVIRONMENTS)
def test_the_environment_says_which_proxy_as_libcurl_reads_it(
    environment, url, is_asked, monkeypatch
):
    with Listener(says(answer("403 No"))) as it:
        given = {
            name: text.replace("P", place(it)) for name, text in environment.items()
        }
        host = url.partition("://")[2].strip("[]")
        found = proxy.chosen("environment", url.partition(":")[0], host, given)
        assert (found.place if found else "") == (place(it) if is_asked else "")
        for name in ("http", "https", "all", "no"):
            monkeypatch.delenv(f"{name}_proxy", raising=False)
            monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
        for name, text in given.items():
            monkeypatch.setenv(name, text)
        pycurl = curl.load()
        handle = pycurl.Curl()
        handle.setopt(pycurl.URL, f"{url}:{closed_port()}/")
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, 300)
        handle.setopt(pycurl.WRITEFUNCTION, lambda _data: None)
        try:
            handle.perform()
        except pycurl.error:
            pass
        handle.close()
    assert bool(it.heard) is is_asked


def test_a_variable_that_cannot_be_used_is_named():
    with pytest.raises(NotTried, match="the variable http_proxy: expected a URL"):
        proxy.chosen("environment", "http", NAME, {"http_proxy": "ftp://u:pw@x"})


def test_an_environment_without_a_proxy_is_none(monkeypatch, names):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("all_proxy", raising=False)
    with Listener(says(answer())) as it:
        answered = fetched(f"http://known.invalid:{it.port}/", "environment")
    assert (answered.status, answered.route) == (200, "")
    assert names == ["known.invalid"]


def test_a_proxy_of_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    said = why(f"http://{NAME}/", "environment")
    assert said == "the proxy 127.0.0.1:1: connection refused"


def test_what_the_environment_excepts_counts_for_no_proxy_of_the_settings(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Listener(says(answer())) as web, Listener(tunnels()) as it:
        assert (
            fetched(f"http://{NAME}:{web.port}/", f"http://{place(it)}").status == 200
        )


# The way through.


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_a_page_comes_through_a_proxy(kind, scheme, tmp_path):
    talk = socks5 if kind == "socks5h" else tunnels()
    trusted = {"cafile": write_authority(tmp_path), "wants_dates": True}
    own = tls_context() if kind == "https" else None
    there = tls_context(NAME) if scheme == "https" else None
    with Listener(says(answer()), context=there) as web:
        with Listener(talk, context=own) as it:
            found = fetched(
                f"{scheme}://{NAME}:{web.port}/", f"{kind}://{place(it)}", **trusted
            )
    assert found.status == 200
    assert found.peer == f"the proxy {place(it)}"
    assert found.route == f"through the proxy {place(it)}"
    assert bool(found.chain) is (scheme == "https")


def test_a_proxy_that_resolves_nothing_is_told_an_address(names):
    with Listener(says(answer())) as web, Listener(socks5) as it:
        url = f"http://known.invalid:{web.port}/"
        assert fetched(url, f"socks5://{place(it)}").status == 200
    assert it.heard == [f"127.0.0.9:{web.port}".encode()]


def test_each_address_of_a_proxy_is_tried(names):
    with Listener(says(answer())) as web, Listener(tunnels()) as it:
        url = f"http://{NAME}:{web.port}/"
        assert fetched(url, f"http://proxy.invalid:{it.port}").status == 200
    assert names == ["proxy.invalid"]


def test_a_proxy_is_asked_for_where_connect_to_says():
    with Listener(says(answer())) as web, Listener(tunnels()) as it:
        found = fetched(
            f"http://{NAME}/", f"http://{place(it)}", connect_to=("b.invalid", web.port)
        )
    assert found.status == 200
    assert it.heard[0].startswith(f"CONNECT b.invalid:{web.port} ".encode())


def test_a_proxy_gets_the_login_of_its_url():
    with Listener(says(answer())) as web, Listener(tunnels(LOGIN)) as it:
        url = f"http://{NAME}:{web.port}/"
        assert fetched(url, f"http://bob:hush@{place(it)}").status == 200
        assert fetched(url, f"http://{place(it)}").status == 407


# Whose trouble it is.


def test_why_a_certificate_is_not_trusted_is_told_as_without_a_proxy(tmp_path):
    cafile = write_authority(tmp_path)
    for context, options, words in (
        (
            tls_context(NAME, ends=-3),
            {},
            f"the certificate of {NAME} expired 3 days ago",
        ),
        (tls_context("b.invalid"), {}, f"is for b.invalid, not for {NAME}"),
        (
            tls_context(NAME, by=trustme.CA(key_type=trustme.KeyType.ECDSA)),
            {},
            f"the certificate of {NAME} is from an unknown issuer",
        ),
    ):
        for kind, talk in (("http", tunnels()), ("socks5h", socks5)):
            with Listener(says(answer()), context=context) as web, Listener(talk) as it:
                url = f"https://{NAME}:{web.port}/"
                said = why(url, f"{kind}://{place(it)}", cafile=cafile, **options)
                assert words in said
                assert f"\nthrough the proxy {place(it)}" in said
                # None goes past the proxy, nor could: the name is known to it alone.
                assert len(it.heard) == 2


@pytest.mark.parametrize("verify", [True, False])
def test_a_server_without_tls_behind_a_proxy_is_no_success(verify):
    for talk, words in (
        (says(b"220 hello\r\n", HOLD, first=True), "the server does not speak TLS"),
        (lambda conn, _listener: conn.recv(9999), "the connection was closed during"),
    ):
        with Listener(talk) as web, Listener(tunnels()) as it:
            url = f"https://{NAME}:{web.port}/"
            said = why(url, f"http://{place(it)}", verify=verify)
            assert said.startswith(f"{NAME}: {words}"), said
            assert f"through the proxy {place(it)}" in said


@pytest.mark.parametrize(
    ("status", "words", "more"),
    [
        ("403 Forbidden", "403 Forbidden", "its rules do not allow that"),
        (
            "407 Who?",
            "407 Proxy Authentication Required",
            "it wants user and password: ",
        ),
        ("502 No", "502 Bad Gateway", "it cannot reach the server, or has trouble"),
        ("399 Odd", "399", "its rules do not allow that"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_a_proxy_that_refuses_is_said_to(status, words, more, verify):
    with Listener(says(answer(status))) as it:
        said = why(f"https://{NAME}/", f"http://{place(it)}", verify=verify)
    start = f"the proxy {place(it)}: it refuses CONNECT {NAME}:443: {words}\n{more}"
    assert said.startswith(start)


def test_a_login_that_a_proxy_does_not_take_is_said():
    with Listener(tunnels(LOGIN)) as it:
        said = why(f"https://{NAME}/", f"http://bob:wrong@{place(it)}")
    assert said.endswith("\nit does not take the user and password")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks5h"])
def test_a_proxy_that_is_down_is_named_with_its_reason(kind, scheme, names):
    port = closed_port()
    url = f"{scheme}://known.invalid/"
    said = why(url, f"{kind}://127.0.0.1:{port}")
    assert said == f"the proxy 127.0.0.1:{port}: connection refused"
    said = why(url, f"{kind}://proxy.invalid:{port}")
    assert said == (
        f"the proxy proxy.invalid:{port}: connection refused\n"
        f"tried 127.0.0.9:{port}, 127.0.0.1:{port}"
    )
    said = why(url, f"{kind}://nope.invalid:1")
    assert said == "the proxy nope.invalid:1: cannot resolve: no such name"


@pytest.mark.long
def test_a_server_that_says_nothing_behind_a_proxy_is_not_taken_for_it():
    with Listener(says(HOLD)) as web, Listener(tunnels()) as it:
        url, by = f"https://{NAME}:{web.port}/", f"http://{place(it)}"
        said = why(url, by, 0.5, verify=False)
    way = f"through the proxy {place(it)}"
    assert said == f"{NAME}: no TLS handshake within 0.5 s\n{way}"


@pytest.mark.long
def test_a_proxy_that_says_nothing_is_named():
    with Listener(says(HOLD)) as it:
        at = f"the proxy {place(it)}"
        by = f"http://{place(it)}"
        said = why(f"https://{NAME}/", by, 0.5)
        assert said == f"{at}: no answer to CONNECT {NAME}:443 within 0.5 s"
        said = why(f"http://{NAME}/", by, 0.5)
        assert said.startswith(f"{NAME}: no answer within 0.5 s (connected to {at}, ")
        said = why(f"http://{NAME}/", f"socks5h://{place(it)}", 0.5)
        assert said.startswith(f"{NAME}: no answer within 0.5 s (connected to {at}, 0")
        said = why(f"https://{NAME}/", f"socks5h://{place(it)}", 0.5)
        assert said.endswith(f"within 0.5 s\nthrough {at}")
        said = why(f"http://{NAME}/", f"https://{place(it)}", 0.5)
        assert at in said


def test_a_proxy_that_hangs_up_or_talks_otherwise_is_named():
    for talk in (says(), says(b"garbage\r\n\r\n")):
        with Listener(talk) as it:
            said = why(f"https://{NAME}/", f"http://{place(it)}")
            assert said.startswith(f"the proxy {place(it)}: ")


def test_what_socks_refuses_is_told_of_the_proxy():
    with Listener(socks5) as it:
        said = why(f"http://{NAME}:{closed_port()}/", f"socks5h://{place(it)}")
    assert said.startswith(f"the proxy {place(it)}: ")
    assert "PROXY" in said


def test_a_proxy_whose_certificate_is_not_trusted_is_named(tmp_path):
    other = tls_context(by=trustme.CA(key_type=trustme.KeyType.ECDSA))
    for scheme in ("http", "https"):
        with Listener(tunnels(), context=other) as it:
            said = why(
                f"{scheme}://{NAME}/",
                f"https://{place(it)}",
                cafile=write_authority(tmp_path),
            )
        assert said.startswith(f"the proxy {place(it)}: ")


@pytest.mark.parametrize("by", ["http://silent.invalid:1", "socks5://127.0.0.1:1"])
def test_a_silent_resolver_blocks_nothing(by, names):
    began = time.monotonic()
    said = why("http://silent.invalid/", by, 0.5)
    assert time.monotonic() - began < SOON_S
    assert "the resolver gave no answer within 0.5 s" in said


def test_a_certificate_of_ours_that_cannot_be_used_is_unknown(tmp_path):
    (tmp_path / "empty.pem").write_text("")
    good = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ours = good.issue_cert("client.example", key_type=trustme.KeyType.ECDSA)
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with Listener(says(answer()), context=tls_context()) as it:
        for files, words in (
            ({"certificate": "none.pem"}, "certificate {}/none.pem: No such file"),
            ({"certificate": "."}, "certificate {}/.: this is not a file"),
            ({"certificate": "empty.pem"}, "certificate {}/empty.pem: it or its key"),
            ({"certificate": "cert.pem"}, "certificate {}/cert.pem: it or its key"),
            (
                {"certificate": "cert.pem", "key": "none.pem"},
                "key {}/none.pem: No such",
            ),
        ):
            paths = {name: f"{tmp_path}/{file}" for name, file in files.items()}
            with pytest.raises(NotTried) as caught:
                fetched(it.url("/", "https"), cafile=write_authority(tmp_path), **paths)
            assert str(caught.value).startswith(words.format(tmp_path))


def test_a_key_with_a_password_asks_no_terminal(tmp_path):
    from cryptography.hazmat.primitives import serialization

    ours = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert(
        "client.example", key_type=trustme.KeyType.ECDSA
    )
    key = serialization.load_pem_private_key(ours.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"pw"),
    )
    path = tmp_path / "locked.pem"
    path.write_bytes(locked + ours.cert_chain_pems[0].bytes())
    context = tls_context()
    context.verify_mode = ssl.CERT_OPTIONAL
    with Listener(says(answer()), context=context) as it:
        with pytest.raises(NotTried, match="its key needs a password"):
            fetched(it.url("/", "https"), verify=False, certificate=str(path))
