"""What many tests need: an authority that nobody else trusts, and its certificate."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import trustme

from tests.faults.table import LONG
from tests.support.accounts import Account
from tests.support.imapserver import PymapAccount
from tests.support.instance import Instance
from tests.support.postfixdovecot import PostfixAccount, PostfixDovecot, why_not
from tests.support.servers import SmtpServer
from tests.support.starters import Starter

# Where make started us, its variables are not those of a make that a test starts.
for name in (
    *("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"),
    *("PYTHON", "VENV", "ARGS", "REV", "TESTERS"),
):
    os.environ.pop(name, None)
# As each Instance is: what people read names the zone, and a night may have 23 hours.
os.environ["TZ"] = "UTC"
time.tzset()

hypothesis.settings.register_profile("short", max_examples=20, deadline=None)
hypothesis.settings.register_profile("long", max_examples=500, deadline=None)
hypothesis.settings.load_profile("long" if LONG else "short")

#: Any test may be marked with a row of the list of faults, and have approved texts.
pytest_plugins = ("pytester", "tests.faults.marks", "tests.support.approved")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Find the tests, of which all stay: looking for garbage meanwhile is in vain."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """Return the authority that signs for the servers of the tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def cafile(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the authority's certificate, for ``cafile =``."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def smtp(ca: trustme.CA) -> Iterator[SmtpServer]:
    """Return a mail server that takes what it gets."""
    with SmtpServer(ca) as server:
        yield server


@pytest.fixture
def mailing(tmp_path: Path, smtp: SmtpServer, cafile: Path) -> Instance:
    """Return an instance that sends by that server."""
    return Instance(tmp_path, smtp.email_section(cafile))


@pytest.fixture
def starter() -> Iterator[Starter]:
    """Return what starts the program in odd ways, and ends it."""
    it = Starter()
    yield it
    it.close()


@pytest.fixture(scope="session")
def postfix_dovecot(ca: trustme.CA) -> Iterator[PostfixDovecot]:
    """Return Postfix and Dovecot at work, or skip what wants them."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with PostfixDovecot(ca) as servers:
        yield servers


@pytest.fixture(
    params=[
        PymapAccount.name,
        pytest.param(PostfixAccount.name, marks=pytest.mark.integration),
    ]
)
def account(request: pytest.FixtureRequest, ca: trustme.CA) -> Iterator[Account]:
    """Return a mail account, on each pair of servers there is."""
    if request.param == PymapAccount.name:
        with PymapAccount(ca) as it:
            yield it
    else:
        with PostfixAccount(ca, request.getfixturevalue("postfix_dovecot")) as it:
            yield it
