"""What the tests of rows share: a mail server, an instance that uses it, a clock."""

from __future__ import annotations

import pytest

from tests.faults import rows
from tests.faults.world import World
from tests.support.instance import Instance
from tests.support.servers import SmtpServer


@pytest.fixture
def instance(tmp_path, smtp, cafile):
    return Instance(tmp_path, smtp.email_section(cafile))


@pytest.fixture
def world(tmp_path):
    with SmtpServer(security="none") as server:
        world = World(tmp_path / "world", server)
        yield world
        world.close()


@pytest.fixture(scope="session")
def faked_clock(tmp_path_factory):
    """Return the environment in which libfaketime shifts the clock of a process."""
    return rows.faked_clock(tmp_path_factory.mktemp("clock"))
