"""Groups in whole runs: judged when all results are in, by this run or the record."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.instance import Instance
from tests.support.listeners import Listener, closed_port

MINUTE = timedelta(minutes=1)


class Site:
    """An instance with targets at ports of this machine, and groups of them."""

    def __init__(self, folder, up, text):
        self.instance = Instance(folder, "[defaults]\nfailures = 1\nrecoveries = 1\n")
        self.down = closed_port()
        self.instance.add(text.replace("UP", str(up)).replace("DOWN", str(self.down)))

    def run(self):
        ran = self.instance.cron()
        assert ran.code == 0, ran
        self.instance.clock_ahead += MINUTE

    def row(self, name):
        (row,) = [row for row in self.instance.listed() if row["job"] == name]
        return row


@pytest.fixture
def up():
    with Listener() as there:
        yield there.port


TARGETS = """
[template local]
host = 127.0.0.1
[tcp a]
use = local
port = UP
[tcp b]
use = local
port = DOWN
"""


def test_a_group_is_judged_by_what_this_run_finds(tmp_path, up):
    text = "[group any]\nof = tcp *\nneed = any\n[group all]\nof = tcp a, b\n"
    site = Site(tmp_path, up, TARGETS + text + "[group both]\nof = any, group all\n")
    site.run()
    assert site.row("group any")["status"] == "ok"
    assert site.row("group all")["status"] == "failing"
    assert site.row("group all")["reason"].startswith(
        "1 of 2 is OK, need = all: tcp b is failing\ntcp b: "
    )
    assert "group all is failing" in site.row("group both")["reason"]


@pytest.mark.long
def test_a_member_that_was_not_due_counts_by_its_record_with_its_age(tmp_path, up):
    text = TARGETS.replace("port = DOWN", "port = DOWN\nevery = day\nrecheck = no")
    site = Site(tmp_path, up, text + "[group all]\nof = tcp *\n")
    for _ in range(3):
        site.run()
    tried = site.instance.run("-m", "run", "group all").out
    assert "tcp b is failing (" in tried
    assert "1 of 2 is OK" in tried
    assert site.row("group all")["status"] == "failing"


def test_behind_a_gateway_that_fails_a_group_is_unreachable_too(tmp_path, up):
    text = TARGETS.replace("[tcp b]", "[tcp b]\ndepends = gw")
    text += "[tcp gw]\nuse = local\nport = DOWN\n[group b]\nof = tcp b\n"
    site = Site(tmp_path, up, text)
    site.run()
    row = site.row("group b")
    assert row["held"]["code"] == "unreachable"
    assert "tcp b is unreachable" in row["held"]["by"]


def test_a_job_may_depend_on_a_group(tmp_path, up):
    text = "[group db]\nof = tcp b\n[tcp c]\nuse = local\nport = DOWN\n"
    site = Site(tmp_path, up, f"{TARGETS}{text}depends = group db\n")
    site.run()
    assert site.row("tcp c")["held"]["by"] == "group db is failing"


@pytest.mark.long
def test_a_loop_and_an_empty_group_are_one_line_each_and_the_run_ends(tmp_path, up):
    text = TARGETS.replace("[tcp b]", "[tcp b]\ndepends = group x")
    text += "[group x]\nof = tcp b\n[group none]\nof = dns *\n"
    site = Site(tmp_path, up, text)
    site.run()
    assert "depends: it depends on itself: tcp b ->" in site.row("tcp b")["reason"]
    assert "of: it depends on itself: group x ->" in site.row("group x")["reason"]
    assert "of: no job matches 'dns *'" in site.row("group none")["reason"]
    said = site.instance.run("-m", "validate").out
    assert said.count("it depends on itself") == 2
    assert "no job matches 'dns *'" in said


def test_a_disabled_member_is_left_out(tmp_path, up):
    text = TARGETS.replace("[tcp b]", "[tcp b]\nenabled = no")
    site = Site(tmp_path, up, text + "[group all]\nof = tcp *\n")
    site.run()
    assert site.row("group all")["status"] == "ok"


@pytest.mark.long
def test_a_member_that_is_held_back_counts_as_it_is_and_says_why(tmp_path, up):
    window = "[maintenance m]\njobs = tcp d\nstart = * * * * *\nlength = 1h\n"
    more = "".join(f"[tcp {name}]\nuse = local\nport = DOWN\n" for name in "cd")
    groups = "[group all]\nof = tcp *\n[group any]\nof = tcp *\nneed = any\n"
    site = Site(tmp_path, up, TARGETS + more + window + groups)
    site.run()
    assert site.instance.run("-m", "mute", "tcp b", "--for", "1h").code == 0
    assert site.instance.run("-m", "ack", "tcp c").code == 0
    site.run()
    words = (
        "1 of 4 is OK, need = all: tcp b is failing, muted, tcp c is failing, "
        "acknowledged, tcp d is failing, in maintenance\n"
    )
    assert site.row("group all")["reason"].startswith(words)
    assert site.row("group any")["status"] == "ok"
    # What is asked for now: the group by what is on record, and a member by itself,
    # which the group follows in the next run.
    asked = site.instance.run("-m", "check", "group all")
    assert asked.code == 1
    assert "tcp b is failing (1 minute ago), muted" in asked.out
    asked = site.instance.run("-m", "check", "tcp b")
    assert (asked.code, " muted " in asked.out) == (1, True)
    assert site.row("group all")["failures"] == 3
    site.run()
    assert site.row("group all")["failures"] == 4


@pytest.mark.long
def test_a_member_that_recovers_when_it_is_asked_for_ends_the_group_later(tmp_path, up):
    group = "[group all]\nof = tcp *\nrecoveries = 2\n"
    site = Site(tmp_path, up, TARGETS + group)
    site.run()
    assert site.row("group all")["status"] == "failing"
    settings = site.instance.settings
    settings.write_text(settings.read_text().replace(str(site.down), str(up)))
    assert site.instance.run("-m", "check", "tcp b").code == 0
    assert site.row("tcp b")["status"] == "ok"
    assert site.row("group all")["status"] == "failing"
    # It is OK now; a second OK result ends the failure.
    assert site.instance.run("-m", "check", "group all").code == 0
    row = site.row("group all")
    assert (row["status"], row["recovering"]) == ("failing", 1)
    site.run()
    assert site.row("group all")["status"] == "ok"


@pytest.mark.long
def test_an_hourly_group_is_unreachable_until_the_way_is_back(tmp_path, up):
    text = TARGETS.replace("[tcp b]", "[tcp b]\ndepends = gw")
    text += "[tcp gw]\nuse = local\nport = DOWN\n"
    text += "[group b]\nof = tcp b\nevery = hour\n"
    site = Site(tmp_path, up, text)
    # What no run has met before runs in the first one.
    site.run()
    held = site.row("group b")["held"]
    assert (held["code"], "tcp b is unreachable" in held["by"]) == ("unreachable", True)
    site.run()
    assert site.row("group b")["failing_since"] is not None
    settings = site.instance.settings
    settings.write_text(settings.read_text().replace(str(site.down), str(up)))
    # It is judged again as soon as nothing holds it back, not in the next hour.
    site.run()
    assert site.row("tcp gw")["status"] == "ok"
    site.run()
    row = site.row("group b")
    assert (row["status"], row["held"]) == ("ok", None)
