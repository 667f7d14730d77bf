"""Tests of lib/net/certificates.py: how long a chain is valid, and by which of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization

from lib.net.certificates import (
    MAX_CHAIN,
    Certificate,
    certificates_in,
    days_left,
    expiry_words,
    fingerprints,
    first_of_bundle,
    first_to_end,
    percent_left,
    read_certificate,
    read_chain,
    system_store,
    trusted,
)
from tests.support.certificates import Issued, issued, write_chain

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def chain(*certificates: Issued) -> tuple[Certificate, ...]:
    return read_chain([one.der for one in certificates])


def never() -> tuple[Certificate, ...]:
    raise AssertionError("nobody needs the roots")


# What of a chain ends first.

ROOT = issued("Root", ca=True, ends=3000)
MIDDLE = issued("Middle", by=ROOT, ca=True, ends=900)


def test_the_servers_own_certificate_ends_first_as_a_rule():
    shown = chain(issued("a.example", by=MIDDLE, ends=90), MIDDLE)
    assert first_to_end(shown, never) == shown[0]
    words = expiry_words("a.example", shown, shown[0])
    day = f"{shown[0].not_after:%Y-%m-%d}"
    assert words == f"the certificate of a.example expires on {day}"


def test_an_intermediate_that_ends_first_is_named():
    middle = issued("Middle", by=ROOT, ca=True, ends=10)
    shown = chain(issued("a.example", by=middle, ends=90), middle)
    first = first_to_end(shown, lambda: chain(ROOT))
    assert first == shown[1]
    assert expiry_words("a.example", shown, first) == (
        f"the intermediate certificate Middle expires on {first.not_after:%Y-%m-%d}, "
        f"before that of a.example on {shown[0].not_after:%Y-%m-%d}"
    )


def test_an_expired_cross_signature_is_nothing_beside_a_root_that_is_trusted():
    older = issued("Older root", ca=True, ends=-5)
    cross = issued("Root", by=older, ca=True, ends=-5, key=ROOT.key)
    shown = chain(issued("a.example", by=MIDDLE, ends=90), MIDDLE, cross)
    assert first_to_end(shown, lambda: chain(ROOT)) == shown[0]
    # Nobody here trusts another root: that is the way.
    assert first_to_end(shown) == shown[2]
    # The older root is trusted here as well.
    assert first_to_end(shown, lambda: chain(older, ROOT)) == shown[0]


def test_of_two_ways_the_one_that_is_valid_for_longer_counts():
    other = issued("Other root", ca=True, ends=2000)
    key = MIDDLE.key
    short = issued("Middle", by=ROOT, ca=True, ends=20, key=key)
    long = issued("Middle", by=other, ca=True, ends=70, key=key)
    leaf = issued("a.example", by=MIDDLE, ends=90)
    for shown in (chain(leaf, short, long), chain(leaf, long, short)):
        first = first_to_end(shown, lambda: chain(ROOT, other))
        assert first.not_after == long.certificate.not_valid_after_utc


def test_what_a_server_shows_besides_is_nothing():
    stranger = issued("Stranger", ca=True, ends=-100)
    shown = chain(issued("a.example", by=MIDDLE, ends=90), MIDDLE, stranger)
    assert first_to_end(shown, lambda: chain(ROOT)) == shown[0]


def test_a_name_is_no_issuer_if_its_key_is_another():
    middle = issued("Middle", by=ROOT, ca=True, ends=20)
    namesake = issued("Middle", by=ROOT, ca=True, ends=900)
    shown = chain(issued("a.example", by=middle, ends=90), namesake, middle)
    assert first_to_end(shown, lambda: chain(ROOT)) == shown[2]


def test_an_intermediate_in_the_store_is_a_root():
    expired = issued("Root", ca=True, ends=-1, key=ROOT.key)
    shown = chain(issued("a.example", by=MIDDLE, ends=90), MIDDLE, expired)
    assert first_to_end(shown, lambda: chain(MIDDLE)) == shown[0]


def test_a_root_of_our_own_counts_and_one_of_the_systems_store_does_not():
    root = issued("Own root", ca=True, ends=5)
    shown = chain(issued("a.example", by=root, ends=90))
    roots = chain(root)
    assert first_to_end(shown, lambda: roots) == shown[0]
    first = first_to_end(shown, lambda: roots, counts_root=True)
    assert first == roots[0]
    for sent in (shown, (*shown, *roots)):
        assert expiry_words("a.example", sent, first).startswith(
            "the root certificate Own root expires on "
        )


def test_a_circle_of_issuers_ends():
    one = issued("One", ca=True, ends=50)
    two = issued("Two", by=one, ca=True, ends=40)
    back = issued("One", by=two, ca=True, ends=30, key=one.key)
    shown = chain(issued("a.example", by=two, ends=90), two, back)
    assert first_to_end(shown).not_after == shown[2].not_after


def test_hundreds_of_certificates_are_cut():
    shown = chain(issued("a.example", by=MIDDLE, ends=90), *[MIDDLE] * 200)
    assert len(shown) == MAX_CHAIN
    assert first_to_end(shown) == shown[0]


def test_one_in_the_chain_that_cannot_be_read_is_left_out():
    leaf = issued("a.example", by=MIDDLE, ends=90)
    shown = read_chain([leaf.der, b"0", b"\x30\x84\xff\xff\xff\xff", MIDDLE.der])
    assert [one.name for one in shown] == ["a.example", "Middle"]


# A file.


def test_of_a_bundle_each_certificate_counts():
    first, second = issued("One", ca=True, ends=20), issued("Two", ca=True, ends=10)
    assert first_of_bundle(chain(first, second), never).name == "Two"


def test_of_a_chain_in_a_file_the_cross_signature_does_not_count():
    older = issued("Older root", ca=True, ends=-5)
    cross = issued("Root", by=older, ca=True, ends=-5, key=ROOT.key)
    leaf = issued("a.example", by=MIDDLE, ends=90)
    bundle = chain(leaf, MIDDLE, cross)
    assert first_of_bundle(bundle, lambda: chain(ROOT)).name == "a.example"
    assert first_of_bundle(bundle).name == "Root"
    other = issued("b.example", ends=20)
    bundle = chain(leaf, MIDDLE, cross, other)
    assert first_of_bundle(bundle, lambda: chain(ROOT)).name == "b.example"


def test_a_file_may_hold_a_key_and_words_besides(tmp_path):
    leaf = issued("a.example", by=MIDDLE)
    path = tmp_path / "all.pem"
    path.write_bytes(
        b"subject=a.example\n"
        + leaf.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    write_chain(path, leaf, MIDDLE)
    assert certificates_in(str(path)) == [leaf.der, MIDDLE.der]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert certificates_in(str(path)) == [leaf.der, MIDDLE.der]


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/null"):
        with pytest.raises(ValueError, match="this is not a file"):
            certificates_in(str(path))
    with pytest.raises(IsADirectoryError):
        certificates_in(str(tmp_path))


def test_the_systems_store_is_read_whole():
    roots = trusted(system_store())
    with open(system_store(), "rb") as file:
        assert len(roots) == file.read().count(b"BEGIN CERTIFICATE") > 50
    assert trusted("/nowhere") == ()


# The days.


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (timedelta(days=14), 14.0),
        (timedelta(days=14, seconds=-1), 13.9),
        (timedelta(days=1, hours=1), 1.0),
        (timedelta(hours=3), 0.1),
        (timedelta(hours=1), 0.0),
        (timedelta(hours=-1), -0.1),
    ],
)
def test_days_are_rounded_down(left, days):
    assert days_left(valid_to(NOON + left), NOON) == days


@pytest.mark.parametrize(
    ("passed", "percent"), [(-5, 100.0), (0, 100.0), (60, 33.3), (90, 0.0), (99, 0.0)]
)
def test_the_lifetime_left_is_rounded_down(passed, percent):
    certificate = valid_to(NOON + timedelta(days=90), NOON)
    assert percent_left(certificate, NOON + timedelta(days=passed)) == percent


def test_a_lifetime_that_ends_before_it_begins_is_none():
    assert percent_left(valid_to(NOON, NOON + timedelta(days=1)), NOON) == 0


def valid_to(ends_at, begins_at=NOON):
    return Certificate(("a.example",), "Some CA", begins_at, ends_at)


# Reading.


def test_what_is_read_is_what_cryptography_reads():
    it = issued("a.example", by=MIDDLE, is_public=True)
    seen, known = read_certificate(it.der), it.certificate
    assert (seen.not_before, seen.not_after) == (
        known.not_valid_before_utc,
        known.not_valid_after_utc,
    )
    assert seen.subject == known.subject.public_bytes()
    assert seen.issued_by == known.issuer.public_bytes()
    assert (seen.name, seen.issuer) == ("a.example", "Middle")
    assert seen.has_alt_name and seen.is_public
    encoding = serialization.Encoding.DER
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    key = known.public_key().public_bytes(encoding, form)
    assert seen.public_key == key
    assert fingerprints(seen)[0] == known.fingerprint(hashes.SHA256()).hex()


ODD = issued("XNAMEX", by=issued("XISSUERX", ca=True), alt_names=["a.example"]).der


@pytest.mark.parametrize(
    ("tag", "name", "shown"),
    [
        # What OpenSSL takes and cryptography does not.
        (0x0C, b"M\xfcller-\xc4", "Müller-Ä"),
        (0x14, b"M\xfcller-\xc4", "Müller-Ä"),
        (0x13, b"M\xfcller*@", "Müller*@"),
        (0x16, b"M\xfcller-\xc4", "Müller-Ä"),
        (0x1E, "Müll".encode("utf-16-be"), "Müll"),
        (0x1E, b"\0M\0\xfc\0l\xd8\0", "Mül\ufffd"),
        (0x1C, b"\xff\xff\xff\xff\0\0\0A", "\ufffdA"),
        (0x0C, b"M\xc3\xbcller!", "Müller!"),
        (0x0C, b"a\r\n\x1b[1mb", "a [1mb"),
        (0x0C, b" " * 8, "(no name)"),
    ],
)
def test_an_issuer_in_any_encoding_is_read(tag, name, shown):
    assert len(name) == 8
    odd = ODD.replace(b"\x0c\x08XISSUERX", bytes([tag, 8]) + name)
    seen = read_certificate(odd)
    assert (seen.name, seen.issuer) == ("XNAMEX", shown)
    assert seen.not_after > datetime.now(UTC)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # A domain in Latin-1, an address of 9 bytes, a name of an unknown kind.
        (b"\x82\x09a.example", b"\x82\x09\xe4.example"),
        (b"\x82\x09a.example", b"\x87\x09a.example"),
        (b"\x82\x09a.example", b"\x8f\x09a.example"),
        # The identifier of the issuer's key is there twice; that of its own is none.
        (bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23")),
        (b"\x1d\x0e\x04\x16\x04\x14", b"\x1d\x0e\x04\x16\x03\x14"),
    ],
)
def test_odd_extensions_are_no_reason_not_to_read_the_dates(old, new):
    assert old in ODD
    seen = read_certificate(ODD.replace(old, new))
    assert seen.not_after > datetime.now(UTC)
    assert seen.has_alt_name


@pytest.mark.parametrize("first_byte", [0x00, 0x85])
def test_a_serial_number_that_is_not_positive_is_read_without_a_warning(first_byte):
    number = ODD.index(bytes.fromhex("a003020102")) + 5
    length = ODD[number + 1]
    serial = bytes([first_byte]) + bytes(length - 1)
    odd = ODD[: number + 2] + serial + ODD[number + 2 + length :]
    assert read_certificate(odd).name == "XNAMEX"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"\x17\x0d491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (b"\x17\x0d500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (b"\x18\x0f99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_dates_are_those_of_rfc_5280(written, read):
    assert read_certificate(with_end(written)).not_after == read


@pytest.mark.parametrize(
    "written", [b"\x17\x0d271301000000Z", b"\x17\x0b2701010000Z", b"\x18\x01Z"]
)
def test_one_without_valid_dates_is_none(written):
    with pytest.raises(ValueError):
        read_certificate(with_end(written))


def with_end(date: bytes) -> bytes:
    """Return a certificate with nothing in it but what is needed, and this end."""

    def element(tag: int, *parts: bytes) -> bytes:
        content = b"".join(parts)
        assert len(content) < 128
        return bytes([tag, len(content)]) + content

    nothing = element(0x30)
    validity = element(0x30, b"\x17\x0d250101000000Z", date)
    serial = element(2, b"\x01")
    signed = element(0x30, serial, nothing, nothing, validity, nothing, nothing)
    return element(0x30, signed, nothing, element(3, b"\0"))


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 10, 50, 100, 200])
def test_what_is_cut_off_is_no_certificate(cut):
    with pytest.raises(ValueError):
        read_certificate(ODD[:cut])


def test_any_byte_may_be_another():
    for at in range(0, len(ODD), 2):
        odd = ODD[:at] + bytes([ODD[at] ^ 0x81]) + ODD[at + 1 :]
        try:
            read_certificate(odd)
        except ValueError:
            continue


def test_a_certificate_without_a_name_for_hosts_says_so():
    seen = read_certificate(issued("a.example", alt_names=[]).der)
    assert (seen.names, seen.has_alt_name) == (("a.example",), False)
    assert not seen.is_public
