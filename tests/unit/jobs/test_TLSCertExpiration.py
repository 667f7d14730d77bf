from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import pytest

from jobs.TLSCertExpiration import TLSCertExpiration
from tests.support import listeners
from tests.support.approved import MOMENT
from tests.support.listeners import (
    HOLD,
    Listener,
    days_from_now,
    found_by,
    says,
    self_signed_context,
    tls_context,
    write_authority,
)


@pytest.fixture
def cafile(tmp_path):
    return write_authority(tmp_path)


def found(listener, host="localhost", **options):
    options = {"host": host, "port": listener.port, "timeout": 5, **options}
    return found_by(TLSCertExpiration, **options)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Load what the first check of a process loads: that counts as its own time."""
    with Listener(context=tls_context()) as it:
        found(it, timeout=50)


def test_a_certificate_with_days_left_is_ok(cafile):
    with Listener(context=tls_context()) as it:
        assert found(it, cafile=cafile) == "fine"


def test_a_certificate_that_ends_soon_is_named_with_its_date(cafile, approved):
    with Listener(context=tls_context(ends=6.5)) as it:
        approved(found(it, cafile=cafile), hide={MOMENT: "DATE"})
        assert found(it, cafile=cafile, days=6, warn_days=6) == "fine"


def test_an_end_is_remembered_while_it_is_near(cafile):
    with (
        Listener(context=tls_context(ends=31.5)) as soon,
        Listener(context=tls_context(ends=33)) as late,
    ):
        job = job_of(soon, cafile)
        assert job.execute()
        ends_at = datetime.fromisoformat(job.memory["expires"])
        assert abs(ends_at - days_from_now(31.5)) < timedelta(minutes=5)
        renewed = job_of(late, cafile)
        renewed.memory = dict(job.memory)
        assert renewed.execute()
        assert renewed.memory == {}


def job_of(listener, cafile, **options):
    options = {"host": "localhost", "port": listener.port, "timeout": 5, **options}
    return listeners.job_of(TLSCertExpiration, cafile=cafile, **options)


def test_the_days_left_are_judged_whichever_name_says_how_many(cafile):
    with Listener(context=tls_context(ends=20.5)) as it:
        warned = listeners.result_of(job_of(it, cafile, warn_days=30))
        failed = listeners.result_of(job_of(it, cafile, days=21))
    assert (warned.status, failed.status) == ("warning", "failing")
    assert failed.reason.startswith("days is 20.4, under fail_days = 21\n")
    assert warned.values["days"].fail.low == 7


def test_an_expired_certificate_is_reported_with_its_date(cafile, approved):
    with Listener(context=tls_context(ends=-3.5)) as it:
        approved(found(it, cafile=cafile), hide={MOMENT: "DATE"})


def test_a_certificate_of_the_future_is_reported_with_its_dates(cafile, approved):
    with Listener(context=tls_context(begins=3.5)) as it:
        approved(found(it, cafile=cafile), hide={MOMENT: "DATE"})


def test_a_self_signed_certificate_is_reported_with_its_date(tmp_path, approved):
    with Listener(context=self_signed_context(tmp_path)) as it:
        approved(found(it), hide={MOMENT: "DATE"})


def test_an_unknown_issuer_is_named(approved):
    with Listener(context=tls_context()) as it:
        text = found(it)
    # Its version is a part of its name.
    approved(text, hide={MOMENT: "DATE", r"trustme v[\d.]+": "trustme"})


def test_another_name_is_reported_with_the_names_it_is_for(cafile, approved):
    names = [f"n{number}.example" for number in range(5)]
    with Listener(context=tls_context(*names, ends=20)) as it:
        approved(found(it, cafile=cafile), hide={MOMENT: "DATE"})


def test_an_address_is_checked_against_the_addresses_of_the_certificate(
    cafile, approved
):
    with Listener(context=tls_context("127.0.0.1")) as it:
        assert found(it, host="127.0.0.1", cafile=cafile) == "fine"
    with Listener(context=tls_context("localhost")) as it:
        approved((found(it, host="127.0.0.1", cafile=cafile)), hide={MOMENT: "DATE"})
    with Listener(context=tls_context("::1"), host="::1") as it:
        assert found(it, host="::1", cafile=cafile) == "fine"


@pytest.mark.parametrize(
    ("host", "sent"), [("localhost", "localhost"), ("127.0.0.1", None)]
)
def test_the_name_is_sent_to_the_server_but_no_address(cafile, host, sent):
    context, names = tls_context(), []
    context.sni_callback = lambda sock, name, _context: names.append(name)
    with Listener(context=context) as it:
        assert found(it, host=host, cafile=cafile) == "fine"
    assert names == [sent]


def test_a_silent_server_is_named_within_the_deadline(approved):
    with Listener(says(HOLD)) as it:
        approved(found(it, host="127.0.0.1", timeout=0.5))


def test_a_server_that_hangs_up_is_named(approved):
    with Listener(says(first=True)) as it:
        approved(found(it, host="127.0.0.1"), hide={MOMENT: "DATE"})


def test_a_missing_cafile_is_unknown(tmp_path):
    with Listener(context=tls_context()) as it:
        assert found(it, cafile=tmp_path / "no.pem").startswith("unknown: cafile ")


def test_the_older_program_knew_the_host_by_this_name():
    job = listeners.job_of(TLSCertExpiration, host="a.example")
    kind = "<class 'jobs.TLSCertExpiration.TLSCertExpiration.CertChecker'>"
    assert fnmatchcase(f"{kind} for a.example|a.example|day", job.formerly())
    assert not fnmatchcase(f"{kind} for b.example|b.example|day", job.formerly())
