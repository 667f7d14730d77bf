"""What libcurl does that nobody may have to know."""

from __future__ import annotations

import socket
import ssl
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lib.net import bulk, connect, curl, response
from lib.net.connect import Deadline, NotTried, Unreachable
from tests.support.listeners import (
    HOLD,
    Listener,
    answer,
    closed_port,
    days_from_now,
    says,
    tls_context,
    write_authority,
)
from tests.support.waits import SOON_S


def fetched(url, limit_s=5.0, **more):
    return bulk.run_one(
        curl.fetch(curl.Request(url=url, deadline=Deadline(limit_s), **more))
    )


def test_without_pycurl_it_is_unknown_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycurl", None)
    with pytest.raises(NotTried, match="pip install pycurl"):
        curl.load.__wrapped__()


def test_only_the_extension_is_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "pycurl", raising=False)
    assert curl.load.__wrapped__().version.startswith("PycURL/")
    assert "pycurl.async_multi" not in sys.modules


def test_time_in_a_queue_is_no_time_of_the_check():
    """libcurl's own limit of connections counts it: healthy targets time out."""
    with Listener(says(0.2, answer())) as it:
        requests = [it.url() for _ in range(100)]
        found = bulk.run(
            requests,
            lambda url, own: curl.fetch(curl.Request(url=url, deadline=own)),
            lambda group: [Deadline(8.0) for _ in group],
        )
        answers = [one[1] for one in found if one is not None]
    assert [one.status for one in answers] == [200] * 100


@pytest.mark.long
def test_hundreds_of_silent_servers_end_at_their_deadline():
    with Listener(says(HOLD)) as it, Listener(says(answer())) as well:
        requests = [*([it.url()] * 200), well.url()]
        began, ended = time.monotonic(), {}
        for one in bulk.run(
            requests,
            lambda url, own: curl.fetch(curl.Request(url=url, deadline=own)),
            lambda group: [Deadline(2.0) for _ in group],
        ):
            if one is not None:
                ended[one[0]] = time.monotonic() - began
    assert next(iter(ended)) == well.url()
    assert ended[it.url()] < SOON_S


@pytest.mark.long
def test_thousands_of_hosts_cost_little_more_than_one():
    """libcurl looks through its cache of names at the end of each transfer."""

    def cpu_s(urls):
        began = time.process_time()
        found = bulk.run(
            urls,
            lambda url, own: curl.fetch(curl.Request(url=url, deadline=own)),
            lambda group: [Deadline(8.0) for _ in group],
        )
        assert sum(one is not None for one in found) == len(urls)
        return time.process_time() - began

    port = closed_port()
    one = [f"http://127.0.0.1:{port}/{n}" for n in range(10_000)]
    many = [f"http://127.1.{n >> 8}.{n & 255}:{port}/" for n in range(10_000)]
    # In turns and the least of each, as other work on the machine only adds to it.
    took = [(cpu_s(one), cpu_s(many)) for _ in range(3)]
    of_one, of_many = map(min, zip(*took, strict=True))
    assert of_many < 1.7 * of_one


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/"])
def test_nothing_but_http_is_spoken(url):
    with pytest.raises((Unreachable, KeyError, ValueError)):
        fetched(url)
    handle = curl.load().Curl()
    with pytest.raises(curl.load().error):
        handle.setopt(curl.load().PROTOCOLS, curl.load().PROTO_HTTP)
        handle.setopt(curl.load().URL, url)
        handle.perform()


@pytest.fixture
def two_addresses(monkeypatch):
    """Have a name that the resolver does not know here: both.example."""

    def look_up(_host, port, _family):
        six = (socket.AF_INET6, ("::1", port, 0, 0))
        return [six, (socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(connect, "look_up", look_up)


def test_each_address_is_tried_and_named(two_addresses, caplog):
    caplog.set_level("INFO")
    with Listener(says(answer())) as it:
        assert fetched(f"http://both.example:{it.port}/").address == "127.0.0.1"
        assert f"Host: both.example:{it.port}".encode() in it.heard[0]
    port = it.port
    assert caplog.messages == [
        f"both.example: 127.0.0.1:{port} answers, but not [::1]:{port}: "
        "connection refused"
    ]
    port = closed_port()
    with pytest.raises(Unreachable) as caught:
        fetched(f"http://both.example:{port}/")
    assert f"tried 127.0.0.1:{port}: connection refused" in str(caught.value)
    assert f"tried [::1]:{port}: connection refused" in str(caught.value)


def test_a_name_beyond_ascii_goes_out_as_browsers_send_it():
    assert curl.wire_url("http://faß.example/ü?ö").text == (
        "http://xn--fa-hia.example/%C3%BC?%C3%B6"
    )
    with pytest.raises(Unreachable, match="cannot be requested"):
        curl.wire_url("http://a\u2024\u2024b.example/")


def context_of(tmp_path, *extensions):
    """Return a server's context whose certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(days_from_now(-1))
        .not_valid_after(days_from_now(30))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    cert = builder.sign(key, hashes.SHA256())
    pem = cert.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "ca.pem").write_bytes(pem)
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "both.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, form, serialization.NoEncryption()
        )
        + pem
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context, str(tmp_path / "ca.pem")


def test_a_certificate_without_a_name_for_hosts_is_refused(tmp_path):
    """libcurl takes its common name instead; browsers and Python do not."""
    context, cafile = context_of(tmp_path)
    with Listener(says(answer()), context=context) as it:
        url = f"https://localhost:{it.port}/"
        with pytest.raises(Unreachable, match="no host in a subjectAltName"):
            fetched(url, cafile=cafile)
        assert fetched(url, verify=False).status == 200


def test_the_same_certificate_with_such_a_name_is_trusted(tmp_path):
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    context, cafile = context_of(tmp_path, names)
    with Listener(says(answer()), context=context) as it:
        url = f"https://localhost:{it.port}/"
        assert fetched(url, cafile=cafile).status == 200


def test_many_over_tls_each_verify(tmp_path):
    cafile = write_authority(tmp_path)
    with Listener(says(answer()), context=tls_context()) as it:
        url = f"https://localhost:{it.port}/"
        found = bulk.run(
            [cafile, ""] * 5,
            lambda store, own: curl.fetch(
                curl.Request(url=url, deadline=own, cafile=store)
            ),
            lambda group: [Deadline(20.0) for _ in group],
        )
        answers = [one for one in found if one is not None]
    assert {store: type(one).__name__ for store, one in answers} == {
        cafile: "Response",
        "": "TlsFailed",
    }


def test_an_error_has_a_name_beside_libcurls_words():
    assert curl.error_name(28).startswith("28 OPERATION_TIME")
    assert curl.error_name(100) == "100 TOO_LARGE"
    assert curl.error_name(12345) == "12345 unknown"


def test_what_a_reader_raises_is_what_the_check_raises():
    class Broken(response.Reader):
        def wants(self, response):
            raise ZeroDivisionError

    with Listener(says(answer())) as it, pytest.raises(ZeroDivisionError):
        fetched(it.url(), reader=Broken())


def test_an_interim_answer_is_not_the_answer():
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with Listener(says(interim, answer("204 No Content"))) as it:
        response = fetched(it.url())
    assert (response.status, response.phrase) == (204, "No Content")


def test_a_blank_before_the_colon_is_taken_as_curl_takes_it():
    with Listener(says(answer("200 OK", b"", "X-Name : a"))) as it:
        assert fetched(it.url()).header("x-name") == "a"


def test_a_handle_that_is_used_again_keeps_nothing_of_the_transfer_before():
    cookie = "Set-Cookie: id=7; Path=/"
    with Listener(says(answer("200 OK", b"", cookie))) as it, Listener(
        says(answer())
    ) as other:
        other_name = f"http://localhost:{other.port}/2"

        def one_after_another(_item, own):
            seen = []
            for url in (it.url("/1"), other_name, it.url("/3"), other_name):
                request = curl.Request(url=url, deadline=own, family="ipv4")
                seen.append((yield from curl.fetch(request)))
            return seen

        ((_item, responses),) = [
            one
            for one in bulk.run([1], one_after_another, lambda _all: [Deadline(5.0)])
            if one is not None
        ]
        assert [one.status for one in responses] == [200] * 4
        assert [one.port for one in responses] == [it.port, other.port] * 2
        assert [said.split(b" ", 2)[1] for said in it.heard] == [b"/1", b"/3"]
        assert [said.split(b" ", 2)[1] for said in other.heard] == [b"/2", b"/2"]
        assert not any(b"Cookie" in said for said in (*it.heard, *other.heard))


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "http://a.example:8080/x?y",
        "https://1.2.3.4/x%20y",
        "http://a.example/ä",
        "http://u:p@a.example/",
        "http://[::1]:80/",
        "http://a.example?x",
        "http://A.example/x#y",
    ],
)
def test_a_plain_url_goes_out_as_any_other_does(url):
    usual, longer = curl.wire_url(url), curl.any_wire_url(url)
    assert usual == longer
