"""Each option of [tls NAME] alone turns the status of a real server's target."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import threading
import time
from base64 import b64encode

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from jobs.TLSCertExpiration import TLSCertExpiration
from lib.net import bulk
from lib.net.certificates import read_certificate
from lib.net.connect import Deadline
from lib.plugins.kind import KindTable
from tests.support.certificates import PEM, issued, write_chain
from tests.support.listeners import (
    HOLD,
    Listener,
    closed_port,
    found_by,
    hear,
    job_of,
    result_of,
    says,
)
from tests.support.waits import SOON_S

ROOT = issued("Test root", ca=True, ends=3000, begins=-3000)
MIDDLE = issued("Test intermediate", by=ROOT, ca=True, ends=900)
#: 30 of its 40 days are left: 75 per cent.
LEAF = issued("localhost", by=MIDDLE, begins=-10, ends=30.5)
SEEN = read_certificate(LEAF.der)
SHA256 = hashlib.sha256(SEEN.der).hexdigest()
KEY_SHA256 = hashlib.sha256(SEEN.public_key).digest()
OTHER = "ab" * 32

#: Options with which the target is OK, and such with which it is not.
CASES = {
    "host": ({"host": "localhost"}, {"host": "127.0.0.1"}),
    "port": ({}, {"port": "CLOSED"}),
    "fail_days": ({"fail_days": "30"}, {"fail_days": "31"}),
    "warn_days": ({"warn_days": "30"}, {"warn_days": "31"}),
    "fail_percent": ({"fail_percent": "75%"}, {"fail_percent": "76%"}),
    "warn_percent": ({"warn_percent": "75%"}, {"warn_percent": "76%"}),
    "server_name": (
        {"host": "127.0.0.1", "server_name": "localhost"},
        {"server_name": "shop.example"},
    ),
    "connect_to": (
        {"port": "CLOSED", "connect_to": "PLACE"},
        {"connect_to": "127.0.0.1:CLOSED"},
    ),
    "addresses": (
        {"host": "both.example", "server_name": "localhost", "addresses": "first"},
        {"host": "both.example", "server_name": "localhost", "addresses": "every"},
    ),
    "family": (
        {"host": "both.example", "server_name": "localhost", "family": "ipv4"},
        {"host": "both.example", "server_name": "localhost", "family": "ipv6"},
    ),
    "cafile": ({"cafile": "CA"}, {"cafile": "OTHERCA"}),
    "verify": (
        {"cafile": "OTHERCA", "verify": "no"},
        {"cafile": "OTHERCA", "verify": "yes"},
    ),
    "expect_fingerprint": (
        {"expect_fingerprint": f"{OTHER}, {SHA256}"},
        {"expect_fingerprint": OTHER},
    ),
    "expect_issuer": (
        {"expect_issuer": "Test intermediate"},
        {"expect_issuer": "Test root"},
    ),
}
#: These have a test of their own below.
OTHERS = {"file", "starttls", "certificate", "key", "need"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the servers and the options need."""
    folder = tmp_path_factory.mktemp("tls")
    write_chain(folder / "ca.pem", ROOT)
    write_chain(folder / "other.pem", issued("Other root", ca=True))
    return folder


@pytest.fixture(scope="module")
def context(folder):
    return LEAF.context(folder, MIDDLE)


def found(listener, folder, **options):
    return found_by(TLSCertExpiration, **given(listener, folder, options))


def given(listener, folder, options):
    """Return the options of a section, the trust in ROOT and few days among them."""
    words = {
        "CLOSED": str(closed_port()),
        "PLACE": f"127.0.0.1:{listener.port}",
        "CA": str(folder / "ca.pem"),
        "OTHERCA": str(folder / "other.pem"),
    }
    options = {
        "host": "localhost",
        "port": listener.port,
        "timeout": 8,
        "cafile": "CA",
        **options,
    }
    return {
        name: (
            re.sub(r"\b[A-Z]{2,}\b", lambda word: words[word[0]], str(value))
            if str(value) in words or "CLOSED" in str(value)
            else value
        )
        for name, value in options.items()
    }


def test_every_option_has_a_case():
    own = set(KindTable("tls", "day", TLSCertExpiration.options).own)
    assert own == {*CASES, *OTHERS}


@pytest.mark.parametrize("option", CASES)
def test_an_option_alone_turns_the_status(option, folder, context):
    good, bad = CASES[option]
    with Listener(hear, context=context) as it:
        assert found(it, folder, **good) == "fine"
        assert found(it, folder, **bad) != "fine"


@pytest.mark.parametrize("need", ["any", "all"])
def test_all_thresholds_may_be_needed(need, folder, context):
    options = {"fail_days": 31, "warn_days": 31, "fail_percent": "10%", "need": need}
    with Listener(hear, context=context) as it:
        result = result_of(job_of(TLSCertExpiration, **given(it, folder, options)))
    assert result.status == {"any": "failing", "all": "warning"}[need]


def served(folder, *chain, **options):
    """Return the result for a server that shows this chain."""
    path = folder / f"served-{time.monotonic_ns()}"
    path.mkdir()
    with Listener(hear, context=chain[0].context(path, *chain[1:])) as it:
        return result_of(job_of(TLSCertExpiration, **given(it, folder, options)))


def test_the_defaults_warn_below_21_days_and_fail_below_7(folder):
    for ends, status in ((21.1, "ok"), (20.9, "warning"), (6.9, "failing")):
        leaf = issued("localhost", by=MIDDLE, ends=ends)
        result = served(folder, leaf, MIDDLE)
        assert result.status == status, result.reason
    assert result.reason.startswith("days is 6.8, under fail_days = 7\n")


def test_a_certificate_of_six_days_is_judged_by_per_cent_alone(folder):
    leaf = issued("localhost", by=MIDDLE, begins=-2, ends=4)
    assert served(folder, leaf, MIDDLE).status == "failing"
    result = served(folder, leaf, MIDDLE, fail_percent="33%")
    assert result.status == "ok"
    assert set(result.values) == {"days", "lifetime"}
    assert served(folder, leaf, MIDDLE, fail_percent="67%").reason.startswith(
        "lifetime is 66.6%, under fail_percent = 67%"
    )
    # Days that are given count as well.
    result = served(folder, leaf, MIDDLE, fail_percent="33%", warn_days=5)
    assert result.status == "warning"


def test_an_intermediate_that_ends_first_is_named(folder):
    middle = issued("Old intermediate", by=ROOT, ca=True, ends=5)
    result = served(folder, issued("localhost", by=middle, ends=90), middle)
    assert result.status == "failing"
    assert re.fullmatch(
        r"days is 4\.9, under fail_days = 7\nthe intermediate certificate Old "
        r"intermediate expires on \S+, before that of localhost on \S+",
        result.reason,
    )


def test_an_expired_cross_signature_that_no_way_needs_is_no_trouble(folder):
    older = issued("Older root", ca=True, begins=-900, ends=-5)
    cross = issued("Test root", by=older, ca=True, begins=-900, ends=-5, key=ROOT.key)
    assert served(folder, LEAF, MIDDLE, cross).status == "ok"


def test_a_root_of_ones_own_that_ends_is_named(folder):
    root = issued("Own root", ca=True, ends=5)
    write_chain(folder / "own.pem", root)
    leaf = issued("localhost", by=root, ends=90)
    result = served(folder, leaf, cafile=folder / "own.pem")
    assert result.status == "failing"
    assert "the root certificate Own root expires on " in result.reason


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [
        (-40, -3.5, "the certificate of localhost expired 3 days ago, on "),
        (3.5, 90, "the certificate of localhost is not valid before "),
    ],
)
@pytest.mark.parametrize("verify", ["yes", "no"])
def test_dates_are_checked_with_trust_and_without(folder, begins, ends, words, verify):
    leaf = issued("localhost", by=MIDDLE, begins=begins, ends=ends)
    result = served(folder, leaf, MIDDLE, verify=verify, fail_days=0)
    assert result.status == "failing"
    assert result.reason.startswith(words)


def test_an_expired_intermediate_is_named_with_trust_and_without(folder):
    middle = issued("Old intermediate", by=ROOT, ca=True, begins=-90, ends=-3.5)
    leaf = issued("localhost", by=middle, ends=90)
    for verify in ("yes", "no"):
        reason = served(folder, leaf, middle, verify=verify).reason
        assert reason.startswith(
            "the certificate of localhost is not trusted: the intermediate Old "
            "intermediate expired 3 days ago, on "
        )


def test_why_there_is_no_trust_is_told_exactly(folder):
    until = rf"; valid until {SEEN.not_after:%Y-%m-%d}"
    public = issued("localhost", by=MIDDLE, ends=30.5, is_public=True)
    assert served(folder, public).reason == (
        "the certificate of localhost is from Test intermediate, whose certificate the "
        f"server does not send{until}"
    )
    its = "the certificate of localhost is"
    assert served(folder, LEAF).reason == (
        f"{its} from an unknown issuer, Test intermediate{until}"
    )
    assert served(folder, LEAF, MIDDLE, cafile="OTHERCA").reason == (
        f"{its} from an unknown issuer, Test root{until}"
    )
    assert served(folder, issued("localhost", ends=30.5)).reason == (
        f"{its} self-signed{until}"
    )
    for names, words in (
        ([], "the certificate of localhost names no host in a subjectAltName"),
        (["a.example", "b.example"], f"{its} for a.example, b.example, not for "),
    ):
        leaf = issued("localhost", by=MIDDLE, ends=30.5, alt_names=names)
        assert served(folder, leaf, MIDDLE).reason.startswith(words)


def test_an_issuer_in_latin_1_and_odd_extensions_are_no_reason_to_fail(folder):
    root = issued("Stra\xdfen-CA", ca=True, ends=900)
    leaf = issued("localhost", by=root, ends=30)
    write_chain(folder / "latin.pem", root)
    result = served(folder, leaf, cafile=folder / "latin.pem", expect_issuer="Straßen")
    assert result.status == "ok"


@pytest.mark.parametrize(
    "pin",
    [
        SHA256,
        ":".join(re.findall("..", SHA256.upper())),
        f"sha256:{SHA256}",
        KEY_SHA256.hex(),
        f"sha256//{b64encode(KEY_SHA256).decode()}",
        f"sha256/{b64encode(KEY_SHA256).decode()}",
    ],
    # They differ from run to run.
    ids=["hex", "openssl", "docker", "key in hex", "curl", "browser"],
)
def test_a_pin_is_written_as_openssl_browsers_and_curl_write_it(pin, folder, context):
    with Listener(hear, context=context) as it:
        assert found(it, folder, expect_fingerprint=pin) == "fine"


def test_another_certificate_is_told_with_its_fingerprints(folder, context):
    with Listener(hear, context=context) as it:
        said = found(it, folder, expect_fingerprint=OTHER)
        issuer = found(it, folder, expect_issuer="Let's Encrypt")
    mine, key = (
        ":".join(re.findall("..", digits.upper()))
        for digits in (SHA256, KEY_SHA256.hex())
    )
    assert said == (
        "the certificate of localhost is not that of expect_fingerprint\n"
        f"its SHA-256 is {mine}\nthat of its public key is {key}"
    )
    assert issuer == (
        "the certificate of localhost is issued by Test intermediate, "
        "not by Let's Encrypt"
    )


# A server that wants a certificate of ours.


@pytest.fixture(scope="module")
def clients(folder):
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ours = authority.issue_cert("client.example", key_type=trustme.KeyType.ECDSA)
    ours.private_key_pem.write_to_path(str(folder / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    ours.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    other = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("other.example")
    other.private_key_and_cert_chain_pem.write_to_path(str(folder / "stranger.pem"))
    return authority


def wanting(folder, clients, version, leaf=LEAF):
    path = folder / f"wanting-{time.monotonic_ns()}"
    path.mkdir()
    context = leaf.context(path, MIDDLE)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion[version]
    clients.configure_trust(context)
    return Listener(hear, context=context)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_who_wants_a_certificate_is_judged_by_what_was_shown(folder, clients, version):
    with wanting(folder, clients, version) as it:
        assert found(it, folder) == "fine"
        assert found(it, folder, fail_days=40).startswith("days is 30.4, under")
        assert "unknown issuer" in found(it, folder, cafile="OTHERCA")
    expired = issued("localhost", by=MIDDLE, begins=-9, ends=-1)
    with wanting(folder, clients, version, expired) as it:
        assert "expired" in found(it, folder)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_certificate_of_ours_must_be_accepted(folder, clients, version):
    both, cert, key = (folder / name for name in ("both.pem", "cert.pem", "key.pem"))
    with wanting(folder, clients, version) as it:
        assert found(it, folder, certificate=both) == "fine"
        assert found(it, folder, certificate=cert, key=key) == "fine"
        said = found(it, folder, certificate=folder / "stranger.pem")
        assert said.startswith(
            "localhost: the server does not accept our certificate: "
        ), said


def test_a_server_that_is_silent_on_our_certificate_has_accepted_it(
    folder, clients, context
):
    with Listener(says(HOLD, first=True), context=context) as it:
        began = time.monotonic()
        assert found(it, folder, certificate=folder / "both.pem", timeout=40) == "fine"
        assert time.monotonic() - began < SOON_S


def test_a_certificate_of_ours_that_cannot_be_used_is_unknown(folder, clients):
    (folder / "bad.pem").write_text("bad")
    key = LEAF.key.private_bytes(
        PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (folder / "locked.pem").write_bytes(key)
    os.mkfifo(folder / "fifo")
    cert, none = folder / "cert.pem", folder / "none"
    for options, words in (
        ({"certificate": none}, f"certificate {none}: No such file or directory"),
        ({"certificate": folder / "fifo"}, "this is not a file"),
        ({"certificate": cert, "key": none}, f"key {none}: No such file or directory"),
        ({"certificate": cert}, "it or its key cannot be read"),
        ({"certificate": folder / "bad.pem"}, "it or its key cannot be read"),
        (
            {"certificate": cert, "key": folder / "stranger.pem"},
            "the key is that of another certificate",
        ),
        (
            {"certificate": cert, "key": folder / "locked.pem"},
            "its key needs a password, which cannot be given",
        ),
    ):
        said = found_by(TLSCertExpiration, host="localhost", port=1, **options)
        assert said.startswith("unknown: ") and words in said, said


# A file.


def in_file(path, **options):
    return result_of(job_of(TLSCertExpiration, file=path, **options))


def test_a_file_is_judged_by_what_ends_first(tmp_path):
    path = tmp_path / "fullchain.pem"
    path.write_bytes(
        LEAF.key.private_bytes(
            PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    write_chain(path, LEAF, MIDDLE)
    assert in_file(path).status == "ok"
    result = in_file(path, fail_days=31)
    assert result.reason == (
        "days is 30.4, under fail_days = 31\nthe certificate of localhost in "
        f"{path} expires on {SEEN.not_after:%Y-%m-%d}"
    )
    assert job_of(TLSCertExpiration, file=path).shown_target() == str(path)
    assert "PRIVATE" not in str(result)
    write_chain(path, issued("b.example", ends=5))
    assert "the certificate of b.example in " in in_file(path).reason
    write_chain(path, issued("c.example", begins=-9, ends=-1.5))
    assert in_file(path).reason.startswith(
        f"the certificate of c.example in {path} expired 1 day ago, on "
    )


def test_a_file_has_pins_and_dates_too(tmp_path):
    path = tmp_path / "leaf.pem"
    write_chain(path, LEAF)
    assert in_file(path, expect_fingerprint=SHA256).status == "ok"
    assert in_file(path, expect_fingerprint=OTHER).status == "failing"
    assert in_file(path, expect_issuer="Other").reason == (
        f"the certificate of localhost in {path} is issued by Test intermediate, "
        "not by Other"
    )
    write_chain(path, issued("b.example", begins=2, ends=90))
    assert f"b.example in {path} is not valid before " in in_file(path).reason


def test_a_file_may_be_in_der(tmp_path):
    (tmp_path / "leaf.cer").write_bytes(LEAF.der)
    assert in_file(tmp_path / "leaf.cer").status == "ok"


def test_a_file_that_has_no_certificate_is_named(tmp_path):
    path = tmp_path / "it.pem"
    assert in_file(path).reason == f"{path} does not exist"
    assert in_file(path / "x").status == "failing"
    assert in_file(tmp_path).status == "unknown"
    for text, words in (
        (b"", "there is no certificate in it"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1 in it cannot be read",
        ),
        (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n", ""),
        (b"0garbage", "certificate 1 in it cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", "certificate 1 in it cannot be read"),
    ):
        path.write_bytes(text)
        result = in_file(path)
        assert result.status == "failing"
        assert result.reason.startswith(f"{path}: {words}"), result.reason
    path.unlink()
    write_chain(path, *[issued("localhost", ends=60)] * 2)
    assert in_file(path).status == "ok"
    path.write_bytes(path.read_bytes()[:-100])
    assert in_file(path).reason == f"{path}: certificate 2 in it cannot be read"
    os.mkfifo(tmp_path / "fifo")
    assert in_file(tmp_path / "fifo").reason == f"{tmp_path}/fifo: this is not a file"


# Many, and odd servers.


def smtp(folder, chain=(LEAF, MIDDLE)):
    """Return a talk of SMTP that ends in TLS."""
    path = folder / f"smtp-{time.monotonic_ns()}"
    path.mkdir()
    context = chain[0].context(path, *chain[1:])

    def talk(conn, listener):
        conn.sendall(b"220 ready\r\n")
        conn.recv(100)
        conn.sendall(b"250-mail\r\n250 STARTTLS\r\n")
        conn.recv(100)
        conn.sendall(b"220 go\r\n")
        with context.wrap_socket(conn, server_side=True) as secured:
            secured.recv(100)

    return talk


def test_starttls_is_spoken_if_the_section_says_so(folder):
    with Listener(smtp(folder)) as it:
        assert found(it, folder, starttls="smtp") == "fine"
        assert found(it, folder, starttls="smtp", fail_days=40) != "fine"
        assert found(it, folder).endswith("the server does not speak TLS")
        said = found(it, folder, starttls="imap", timeout=2)
    assert said.endswith("the greeting: expected * OK, got '220 ready'")


@pytest.mark.parametrize(
    ("starttls", "place"),
    [("", "a.example:443"), ("smtp", "a.example:25"), ("xmpp", "a.example:5222")],
)
def test_the_port_is_the_usual_one_of_the_protocol(starttls, place):
    options = {"starttls": starttls} if starttls else {}
    job = job_of(TLSCertExpiration, host="a.example", **options)
    assert job.shown_target() == place
    assert job_of(TLSCertExpiration, host="::1").shown_target() == "[::1]:443"


def test_a_silent_server_is_named_with_the_step(folder):
    with Listener(says(HOLD, first=True)) as it:
        for options, words in (
            ({}, "localhost: connected, but no TLS handshake within 0.5 s"),
            ({"starttls": "smtp"}, "the greeting: no answer within 0."),
        ):
            said = found(it, folder, host="localhost", timeout=0.5, **options)
            assert words in said


def test_every_address_is_asked_and_the_bad_one_is_named(folder, context):
    options = {"host": "both.example", "server_name": "localhost"}
    with Listener(hear, context=context) as it:
        said = found(it, folder, addresses="every", **options)
    assert said.startswith("1 of 2 addresses of both.example fail\n[::1]:")
    assert said.endswith(": connection refused")


def test_of_every_address_the_first_to_expire_counts(folder, tmp_path):
    soon = issued("localhost", by=MIDDLE, ends=9.5).context(tmp_path, MIDDLE)
    with Listener(hear, context=LEAF.context(folder, MIDDLE)) as four:
        six = Listener(hear, context=soon, host="::1", port=four.port)
        with six:
            options = {"host": "both.example", "server_name": "localhost"}
            job = job_of(
                TLSCertExpiration,
                **given(four, folder, {**options, "addresses": "every"}),
            )
            result = result_of(job)
    assert result.reason.startswith("days is 9.4, under warn_days = 21")
    assert job.answered_by.startswith("[::1]:")


def test_a_bad_certificate_is_a_result_and_no_other_address_is_asked(folder, tmp_path):
    expired = issued("localhost", by=MIDDLE, begins=-9, ends=-1.5)
    with Listener(hear, context=LEAF.context(folder, MIDDLE)) as four:
        six = Listener(
            hear, context=expired.context(tmp_path, MIDDLE), host="::1", port=four.port
        )
        with six:
            options = {"host": "both.example", "server_name": "localhost"}
            said = found(four, folder, **options)
    assert said.startswith("the certificate of localhost expired 1 day ago")


@pytest.mark.long
def test_many_wait_side_by_side(folder):
    everybody = threading.Barrier(40)

    def slow(conn, listener):
        everybody.wait(SOON_S)
        smtp(folder)(conn, listener)

    with Listener(slow) as it:
        options = given(it, folder, {"starttls": "smtp"})
        jobs = [job_of(TLSCertExpiration, **options) for _ in range(40)]
        answers = TLSCertExpiration.check_many(
            jobs, lambda group: [Deadline(30) for _ in group]
        )
        results = [answer for answer in answers if answer is not None]
    assert [set(values) for _job, values in results] == [{"days"}] * 40


def test_a_check_that_is_given_up_leaves_no_socket_open(folder, context):
    with Listener(says(HOLD, first=True)) as it:
        job = job_of(TLSCertExpiration, **given(it, folder, {"timeout": 9}))
        before = len(os.listdir("/proc/self/fd"))
        steps = job.steps(job.target, Deadline(9))
        loop = bulk.Loop()
        loop.start(None, steps)
        for _ in range(5):
            loop.turn(0.05)
        loop.close()
        # The server has one end of the connection as well.
        assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("port", "443"),
        ("starttls", "smtp"),
        ("server_name", "a.example"),
        ("connect_to", "a.example:1"),
        ("family", "ipv4"),
        ("addresses", "every"),
    ],
)
def test_what_is_of_a_host_is_none_of_a_file(option, value):
    job = job_of(TLSCertExpiration, file="/a", **{option: value})
    (said,) = TLSCertExpiration.wrong_together(job.target)
    assert said.text == f"{option} is of a host, not of a file; leave it out"
