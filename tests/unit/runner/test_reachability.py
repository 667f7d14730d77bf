"""What cannot be reached is not told: parents, anchors and the minutes after a boot."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from lib.core.dependencies import Dependencies
from lib.core.enums import Decision, MessageKind, Status
from lib.core.jobs import Dependency, Job, JobKey
from lib.core.messages import Message
from lib.core.records import RunRecord
from lib.core.results import CheckResult, JobReport
from lib.net.anchors import why_silent
from lib.runner import reachability, results
from lib.runner.context import Reach
from lib.system.clock import utc_now
from tests.support.instance import Instance
from tests.support.listeners import HOLD, Listener, closed_port, says
from tests.support.servers import SmtpServer

MINUTE = timedelta(minutes=1)
POLICY = "failures = 1\nrecoveries = 1\n"


class Places:
    """An instance whose targets are ports of this machine."""

    def __init__(self, folder, server, general=""):
        settings = server.email_section() + POLICY.join(("[defaults]\n", "\n"))
        self.instance = Instance(folder, settings)
        if general:
            text = self.instance.settings.read_text()
            self.instance.write(
                text.replace("[general]\n", f"[general]\n{general}\n", 1)
            )
        self.server = server

    def target(self, name, port, more=""):
        self.instance.add(f"[tcp {name}]\nhost = 127.0.0.1\nport = {port}\n{more}\n")

    def change(self, before, after):
        text = self.instance.settings.read_text()
        assert before in text
        self.instance.write(text.replace(before, after))

    def run(self):
        ran = self.instance.cron()
        assert ran.code == 0, ran
        self.instance.clock_ahead += MINUTE
        return ran

    def subjects(self):
        return [mail.subject.partition("] ")[2] for mail in self.server.mails]

    def row(self, name):
        (row,) = [row for row in self.instance.listed() if row["job"] == name]
        return row


@pytest.fixture
def server():
    with SmtpServer(security="none") as server:
        yield server


@pytest.fixture
def places(tmp_path, server):
    return Places(tmp_path, server)


def test_behind_a_parent_that_fails_nobody_is_notified(places, server):
    closed = closed_port()
    places.target("gw", closed)
    places.target("web", closed_port(), "depends = gw")
    places.target("shop", closed_port(), "depends = web")
    places.run()
    (mail,) = server.mails
    assert "tcp gw is failing" in mail.subject
    assert "Depending on it:       2 jobs" in mail.body
    held = places.row("tcp web")["held"]
    assert (held["code"], held["by"]) == ("unreachable", "tcp gw is failing")
    # As the list calls it.
    assert places.row("tcp web")["status"] == "unreachable"
    assert places.row("tcp shop")["held"]["by"] == "tcp web is unreachable"
    why = places.instance.run("-m", "why", "tcp web").out
    assert "no mail: unreachable: tcp gw is failing" in " ".join(why.split())


def test_a_child_of_a_group_calls_it_as_the_list_does(places, server):
    places.target("gw", closed_port())
    places.target("web", closed_port(), "depends = gw")
    places.instance.add("[group g]\nof = tcp web\n")
    places.target("shop", closed_port(), "depends = group g")
    for _ in range(2):
        places.run()
        assert places.row("group g")["status"] == "unreachable"
        assert places.row("tcp shop")["held"]["by"] == "group g is unreachable"
    why = places.instance.run("-m", "why", "tcp shop").out
    assert "unreachable: group g is unreachable" in " ".join(why.split())


def test_in_a_bundle_too_the_alert_of_a_parent_says_how_many_depend_on_it(
    places, server
):
    closed = closed_port()
    for number in range(8):
        places.target(f"other{number}", closed)
    places.target("gw", closed)
    places.target("web", closed, "depends = gw")
    places.run()
    body = " ".join(mail.body for mail in server.mails)
    (line,) = [line for line in body.splitlines() if "tcp gw is failing" in line]
    assert line.endswith(" (1 job depends on it)")
    assert body.count("on it)") == 1


def test_a_parent_whose_section_is_wrong_holds_nobody_back_and_says_no_such_thing(
    places, server
):
    places.target("gw", "none")
    places.target("web", closed_port(), "depends = gw")
    places.run()
    wrong, alert = sorted(server.mails, key=lambda mail: "tcp web" in mail.subject)
    assert "tcp gw is failing" in wrong.subject
    assert "Depending on it" not in wrong.body
    assert "tcp web is failing" in alert.subject


@pytest.mark.long
def test_when_the_parent_is_ok_what_still_fails_is_told(places, server):
    with Listener() as there:
        closed = closed_port()
        places.target("gw", closed)
        # It is due once a day: only its parent's end has it run.
        places.target("web", closed_port(), "depends = gw\nevery = day\nrecheck = no")
        places.target("shop", closed_port(), "depends = tcp gw")
        places.run()
        places.change(f"port = {closed}", f"port = {there.port}")
        places.run()
        places.run()
    subjects = places.subjects()
    assert [subject.partition(":")[0] for subject in subjects[:1]] == [
        "tcp gw is failing"
    ]
    told = "\n".join(mail.subject + mail.body for mail in server.mails[1:])
    assert "tcp gw is OK again" in told
    assert "tcp web is failing" in told
    assert "tcp shop is failing" in told
    assert "Held back until now:   unreachable" in told


@pytest.mark.long
def test_a_parent_that_is_not_due_counts_by_its_record(places, server):
    places.target("gw", closed_port(), "every = day\nrecheck = no")
    places.target("web", closed_port(), "depends = gw")
    for _ in range(3):
        places.run()
    assert len(server.mails) == 1
    assert places.row("tcp web")["held"]["by"].startswith("tcp gw is failing (")


@pytest.mark.parametrize("middle", ["every = day", "enabled = no"])
def test_behind_a_parent_that_this_run_does_not_check_its_own_parent_counts(
    places, server, middle
):
    with Listener() as there:
        places.target("gw", there.port)
        places.target("web", there.port, f"depends = gw\n{middle}")
        places.target("shop", there.port, "depends = web")
        places.run()
        closed = closed_port()
        places.change(f"port = {there.port}", f"port = {closed}")
        places.run()
        (mail,) = server.mails
        assert "tcp gw is failing" in mail.subject
        held = places.row("tcp shop")["held"]
        assert (held["code"], held["by"]) == ("unreachable", "tcp gw is failing")
        places.change(
            f"[tcp gw]\nhost = 127.0.0.1\nport = {closed}",
            f"[tcp gw]\nhost = 127.0.0.1\nport = {there.port}",
        )
        places.run()
    assert "tcp shop is failing" in "\n".join(places.subjects())


def test_behind_a_parent_that_was_ok_since_its_own_parent_failed_that_does_not_count(
    places, server
):
    with Listener() as there, Listener() as shop:
        places.target("gw", closed_port())
        places.target("web", there.port, "depends = gw\nevery = day")
        places.target("shop", shop.port, "depends = web")
        # The day's jobs are checked in the first run.
        places.run()
        places.change(f"port = {shop.port}", f"port = {closed_port()}")
        places.run()
    told = "\n".join(places.subjects())
    assert "tcp gw is failing" in told and "tcp shop is failing" in told


def test_what_a_parent_of_a_parent_holds_back_is_checked_when_it_is_due(places, server):
    with Listener() as there, Listener() as shop:
        places.target("gw", there.port)
        places.target("web", there.port, "depends = gw\nevery = day")
        places.target("shop", shop.port, "depends = web\nevery = day\nrecheck = no")
        places.run()
        gone = f"port = {closed_port()}"
        places.change(
            f"[tcp gw]\nhost = 127.0.0.1\nport = {there.port}",
            f"[tcp gw]\nhost = 127.0.0.1\n{gone}",
        )
        places.change(f"port = {shop.port}", gone)
        places.run()
        places.instance.run("-m", "check", "tcp shop")
        for _ in range(3):
            places.run()
            row = places.row("tcp shop")
            assert (row["held"]["code"], row["failures"]) == ("unreachable", 1)


def test_behind_a_parent_that_is_ok_in_this_run_its_own_parent_does_not_count(
    places, server
):
    with Listener() as there:
        places.target("gw", closed_port())
        places.target("web", there.port, "depends = gw")
        places.target("shop", closed_port(), "depends = web")
        places.run()
    told = "\n".join(places.subjects())
    assert "tcp gw is failing" in told and "tcp shop is failing" in told


@pytest.mark.long
def test_a_muted_parent_is_named_as_such(places, server):
    places.target("gw", closed_port())
    places.target("web", closed_port(), "depends = gw")
    places.run()
    assert places.instance.run("-m", "mute", "tcp gw", "--for", "2h").code == 0
    places.run()
    assert places.row("tcp web")["held"]["by"] == "tcp gw is failing, muted"
    assert len(server.mails) == 1


@pytest.mark.long
def test_a_parent_with_a_warning_counts_where_depends_says_so(places, server):
    with Listener() as there:
        # Each answer takes longer than nothing.
        places.target("gw", there.port, "warn_time = 0s\nnotify_warnings = no")
        places.target("web", closed_port(), "depends = gw (warning)")
        places.target("shop", closed_port(), "depends = gw")
        places.run()
        (mail,) = server.mails
        assert "tcp shop is failing" in mail.subject
        assert places.row("tcp gw")["status"] == "warning"
        held = places.row("tcp web")["held"]
        assert (held["code"], held["by"]) == ("unreachable", "tcp gw is warning")
        places.change("warn_time = 0s\n", "")
        places.run()
        places.run()
    told = "\n".join(mail.subject for mail in server.mails[1:])
    assert "tcp web is failing" in told and "tcp shop" not in told


@pytest.mark.long
@pytest.mark.parametrize("how", ["mute", "maintenance"])
def test_a_child_that_is_silent_as_its_parent_ends_is_told_when_it_speaks(
    places, server, how
):
    window = "[maintenance web]\njobs = tcp web\nstart = * * * * *\nlength = 1h\n"
    with Listener() as there:
        closed = closed_port()
        places.target("gw", closed)
        places.target("web", closed_port(), "depends = gw")
        places.run()
        assert places.row("tcp web")["held"]["code"] == "unreachable"
        if how == "mute":
            assert places.instance.run("-m", "mute", "tcp web", "--for", "2h").code == 0
        else:
            places.instance.add(window)
        places.run()
        places.change(f"port = {closed}", f"port = {there.port}")
        for _ in range(3):
            places.run()
        assert not any("tcp web" in subject for subject in places.subjects())
        assert places.row("tcp web")["held"]["code"] in ("muted", "maintenance")
        if how == "mute":
            assert places.instance.run("-m", "unmute", "tcp web").code == 0
        else:
            places.change(window, "")
        for _ in range(2):
            places.run()
    (told,) = [mail for mail in server.mails if "tcp web" in mail.subject]
    assert "tcp web is failing" in told.subject


@pytest.mark.long
def test_a_parent_that_was_renamed_still_holds_its_children_back(places, server):
    places.target("gw", closed_port(), "every = day\nrecheck = no")
    places.target("web", closed_port(), "depends = gw")
    places.run()
    places.change("[tcp gw]\n", "[tcp gateway]\nwas = gw\n")
    for name in ("gw", "gateway"):
        places.change("depends = gw", f"depends = {name}")
        for _ in range(3):
            places.run()
        assert len(server.mails) == 1
        held = places.row("tcp web")["held"]
        assert held["code"] == "unreachable"
        assert held["by"].startswith("tcp gateway is failing")


def test_one_host_depends_on_the_same_host_of_another_section(places, server):
    places.instance.add(
        "[tcp up]\nhosts = 127.0.0.1, localhost\nhost = {host}\n"
        f"port = {closed_port()}\n"
        "[tcp web]\nhosts = 127.0.0.1, localhost\nhost = {host}\n"
        f"port = {closed_port()}\ndepends = up/{{host}}\n"
    )
    places.run()
    held = places.row("tcp web/localhost")["held"]
    assert held["by"] == "tcp up/localhost is failing"


def test_a_parent_that_answers_late_is_waited_for(places, server):
    with Listener(says(HOLD)) as silent:
        places.target("gw", silent.port, "expect = x\ntimeout = 1")
        places.target("web", closed_port(), "depends = gw")
        places.run()
    (mail,) = server.mails
    assert "tcp gw is failing" in mail.subject
    assert places.row("tcp web")["held"]["by"] == "tcp gw is failing"
    run = places.instance.last_run()
    began, ended = (datetime.fromisoformat(run[k]) for k in ("began_at", "ended_at"))
    # Not at the end of the time for jobs, when all that waits is judged.
    assert ended - began < timedelta(seconds=45)


class Waiting:
    """What is asked of the context of a run in which a parent is under way."""

    def __init__(self, children):
        parent = Job(JobKey("Web", "gw"), "gw", "/Web.py", "minute")
        on_it = (Dependency("gw"),)
        self.children = [
            replace(parent, key=JobKey("Web", name), name=name, depends=on_it)
            for name in map(str, range(children))
        ]
        self.met = {job.key: job for job in (parent, *self.children)}
        self.asked = 0
        self.judged = {}
        self.reach = None
        self.settings = SimpleNamespace(anchors=())
        self.workers = SimpleNamespace(may_report=self.may_report)
        known = Dependencies(self.met)
        self.dependencies = lambda: known

    def may_report(self, key):
        self.asked += 1
        return True


def test_what_waits_is_not_looked_at_again_at_every_event():
    ctx = Waiting(children=100)
    for job in ctx.children:
        result = CheckResult(Status.FAILING, "x")
        reachability.take(ctx, JobReport(job, result, Decision.FIRST_ALERT))
        reachability.go_on(ctx)
    assert len(ctx.reach.unjudged) == 100
    # Not a hundred times for each of them.
    assert ctx.asked <= 3 * 100


def test_a_parent_whose_section_is_wrong_holds_nobody_back(places, server):
    places.target("gw", closed_port(), "prot = 1")
    places.target("web", closed_port(), "depends = gw")
    places.run()
    told = "\n".join(mail.subject + mail.body for mail in server.mails)
    assert "unknown option 'prot'" in told
    assert "tcp web is failing" in told


def test_a_host_of_a_section_that_is_wrong_is_no_unknown_name(places, server):
    with Listener() as there:
        places.target("gw", closed_port(), "hosts_file = none")
        places.target("web", there.port, "depends = gw/a")
        places.run()
        assert places.row("tcp web")["status"] == "ok"
        assert "there is no job" not in places.instance.run("-m", "validate").out


GATEWAY = """\
from lib.jobbase import *
class Gateway(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE
    def execute(self):
        return True
"""


@pytest.mark.long
def test_a_parent_whose_file_cannot_be_loaded_is_no_unknown_name(places, server):
    places.instance.job("Gateway", GATEWAY)
    with Listener() as there:
        places.target("web", there.port, "depends = Gateway")
        places.run()
        places.instance.job("Gateway", "no python\n")
        for _ in range(3):
            places.run()
        assert places.row("tcp web")["status"] == "ok"
        places.change(f"port = {there.port}", f"port = {closed_port()}")
        places.run()
    assert places.row("tcp web")["reason"].endswith("connection refused")
    first, second = sorted(places.subjects())
    assert first.startswith("Gateway.py is failing")
    assert second.startswith("tcp web is failing: 127.0.0.1")


def test_a_parent_that_is_switched_off_holds_nobody_back_any_more(places, server):
    port = closed_port()
    places.target("gw", port)
    places.target("web", port, "depends = gw")
    places.run()
    places.change("[tcp gw]", "[tcp gw]\nenabled = no")
    places.run()
    assert any(subject.startswith("tcp web") for subject in places.subjects())


def test_status_tells_what_is_unreachable_from_what_is_failing(places):
    places.target("web", closed_port(), "depends = gw")
    places.target("gw", closed_port())
    places.run()
    words = places.instance.run("-m", "status").out
    assert words.startswith("1 failing, 1 unreachable; 3 jobs.")
    lines = words.splitlines()[2:4]
    assert lines[0].startswith("tcp gw ")
    assert "unreachable: tcp gw is failing; 127.0.0.1" in lines[1]
    assert lines[1].split()[:3] == ["tcp", "web", "unreachable"]
    assert "1 failing, 0 unknown, 0 warnings, 0 pending" in words
    assert ", 1 unreachable or blind" in words
    listed = places.instance.run("-m", "list").out.splitlines()[1:3]
    assert listed[0].startswith("tcp gw") and " failing " in listed[0]
    assert listed[1].split()[:3] == ["tcp", "web", "unreachable"]
    data = places.instance.run("-m", "status", "--json").json()
    counts = data["jobs"]
    assert (counts["failing"], counts["unreachable"]) == (1, 1)
    for rows in (data["down"], data["listed"][:2]):
        assert [row["status"] for row in rows] == ["failing", "unreachable"]
    failing = places.instance.run("-m", "list", "--failing", "--json").json()
    assert [row["status"] for row in failing] == ["failing", "unreachable"]


def test_depends_that_cannot_be_used_is_a_failing_job_and_a_line(places, server):
    port = closed_port()
    places.target("gw", port)
    places.target("web", port, "depends = tcp gv")
    places.target("a", port, "depends = b")
    places.target("b", port, "depends = a")
    places.run()
    told = "\n".join(mail.subject + mail.body for mail in server.mails)
    line = "depends: there is no job 'tcp gv'; did you mean 'tcp gw'?"
    assert line in told
    rows = places.instance.run("-m", "validate", "--json").json()
    texts = {row["section"]: row["text"] for row in rows}
    assert texts["tcp web"] == line
    assert texts["tcp a"] == "depends: it depends on itself: tcp a -> tcp b -> tcp a"
    assert {row["file"] for row in rows} == {"settings.cfg"}
    assert all(row["line"] for row in rows)


def test_depends_that_cannot_be_used_is_known_before_the_target_fails(places, server):
    with Listener() as there:
        places.target("web", there.port, "depends = tcp wob")
        places.run()
        places.run()
        (mail,) = server.mails
        assert "depends: there is no job 'tcp wob'; see -m list" in mail.subject
        places.change("depends = tcp wob", "depends = tcp gw")
        places.target("gw", there.port)
        places.run()
    assert places.subjects()[1:] == ["tcp web is OK again after 2 minutes"]


def test_depends_that_cannot_be_used_does_not_hide_why_the_target_fails(places, server):
    places.target("web", closed_port(), "depends = tcp gw")
    places.run()
    (mail,) = server.mails
    assert "there is no job 'tcp gw'" in mail.subject
    assert "; the check said: 127.0.0.1:" in mail.body.partition("\n\n")[0]


def test_a_check_of_some_jobs_does_not_know_all_names(places):
    with Listener() as there:
        places.target("web", there.port, "depends = disk root")
        places.target("shop", there.port, "depends = disk rot")
        places.change("[tcp web]", "[disk root]\npath = /\n[tcp web]")
        checked = places.instance.run("-m", "check", "tcp *")
        assert (checked.code, "there is no job" in checked.out) == (0, False)
        places.run()
        checked = places.instance.run("-m", "check", "tcp *").out
    assert checked.count("there is no job") == 1
    assert "there is no job 'disk rot'" in checked


# Anchors.


@pytest.mark.long
def test_a_machine_that_no_anchor_answers_tells_nobody_of_what_is_elsewhere(
    tmp_path, server
):
    silent = closed_port()
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.target("web", silent)
    places.instance.add("[disk root]\npath = /nowhere\n")
    for _ in range(3):
        places.run()
    assert [s.partition(":")[0] for s in places.subjects()] == ["disk root is failing"]
    row = places.row("tcp web")
    assert row["status"] == "blind"
    assert row["held"]["code"] == "blind"
    assert "no anchor answers since" in row["held"]["by"]


@pytest.mark.long
def test_blind_for_five_minutes_is_an_alert_and_its_end_is_told(tmp_path, server):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.target("web", closed_port())
    for _ in range(6):
        places.run()
    (subject,) = places.subjects()
    assert subject.startswith("network is failing: this machine is blind: its anchor")
    status = places.instance.run("-m", "status", "--json").json()
    assert status["health"]["word"] == "JobProblem"
    with Listener() as there:
        places.change("255.255.255.255:9", f"127.0.0.1:{there.port}")
        places.run()
        places.run()
    told = "\n".join(places.subjects()[1:])
    assert "blind from" in told
    assert "tcp web is failing" in told


@pytest.mark.long
def test_a_minute_without_network_is_told_afterwards(tmp_path, server):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    with Listener() as there:
        closed = closed_port()
        places.target("web", closed)
        places.run()
        places.change(f"port = {closed}", f"port = {there.port}")
        places.change("255.255.255.255:9", f"127.0.0.1:{there.port}")
        places.run()
        places.run()
    (subject,) = places.subjects()
    assert subject.startswith("blind from ")
    assert " to " in subject


@pytest.mark.long
def test_anchors_that_are_taken_out_end_it(tmp_path, server):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.target("web", closed_port())
    places.run()
    places.change("anchors = 255.255.255.255:9", "")
    places.run()
    places.run()
    first, second = places.subjects()
    assert first.startswith("blind from ")
    assert second.startswith("tcp web is failing")


@pytest.mark.long
def test_what_could_not_be_mailed_while_blind_leaves_as_soon_as_it_is_over(
    tmp_path, server
):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.target("web", closed_port())
    server.go_away()
    for _ in range(10):
        places.run()
    decisions = places.instance.run("-m", "why", "network").out
    assert "one message is tried after" in decisions
    server.come_back()
    with Listener() as there:
        places.change("255.255.255.255:9", f"127.0.0.1:{there.port}")
        places.run()
    assert places.subjects()[0].startswith("network is OK again")


@pytest.mark.long
def test_a_clock_that_is_set_back_does_not_put_the_alert_off(tmp_path, server):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.target("web", closed_port())
    places.run()
    places.instance.clock_ahead -= timedelta(hours=3)
    for _ in range(6):
        places.run()
    (subject,) = places.subjects()
    assert subject.startswith("network is failing")
    status = places.instance.run("-m", "status", "--json").json()
    assert status["health"]["word"] == "JobProblem"


@pytest.mark.long
def test_while_blind_no_peers_admin_is_mailed_nor_that_peers_are_silent(
    tmp_path, server
):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.change("port = %d" % server.port, f"port = {closed_port()}")
    places.instance.add(
        f"[peers]\nweb2 = http://127.0.0.1:{closed_port()}/,admin@example.org\n"
    )
    for _ in range(4):
        places.run()
    row = places.row("peer web2")
    assert (row["status"], row["held"]["code"]) == ("blind", "blind")
    assert row["queued_messages"] == 0


@pytest.mark.long
def test_silences_of_a_peer_while_blind_do_not_count(tmp_path, server):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    gone = f"http://127.0.0.1:{closed_port()}/"
    places.instance.add(
        f"[peers]\nevery = minute\nafter = 2\nweb2 = {gone},admin@example.org\n"
    )
    places.run()
    row = places.row("peer web2")
    assert (row["status"], row["held"]["code"]) == ("blind", "blind")
    with Listener() as there:
        places.change("255.255.255.255:9", f"127.0.0.1:{there.port}")
        places.run()
        assert [s.partition(" from")[0] for s in places.subjects()] == ["blind"]
        places.run()
    (mail,) = [mail for mail in server.mails if mail.to == ("admin@example.org",)]
    assert "no answer" in mail.subject + mail.body


@pytest.mark.long
def test_emailchecker_is_blind_as_well(tmp_path, server):
    places = Places(tmp_path, server, "anchors = 255.255.255.255:9")
    places.change(
        "[email]\n",
        f"[email]\nimapserver = 127.0.0.1\nimapport = {closed_port()}\n"
        "imapsecurity = none\nimapgrace = 60\nuser = us@example.com\npass = x\n",
    )
    places.instance.cron("hour")
    for _ in range(4):
        places.instance.clock_ahead += MINUTE
        places.run()
    rows = places.instance.run("-m", "list", "--json").json()
    (row,) = [row for row in rows if row["job"] == "EmailChecker"]
    assert (row["status"], row["held"]["code"]) == ("blind", "blind")


class NeverAnswers:
    """The process that asks the anchors, at the end of a run that began too late."""

    def has_ended(self):
        return False

    def frames(self):
        return []

    def end(self):
        pass


def test_what_the_anchors_had_no_time_to_say_is_asked_in_the_next_run():
    ctx = Booted(1000)
    ctx.reach = Reach(child=NeverAnswers())
    reachability._read_answer(ctx, is_last=True)
    job = Job(JobKey("Web", "web"), "web", "/Web.py", "minute", is_across_network=True)
    result = CheckResult(Status.FAILING, "no answer within 50 s")
    judged = reachability._judged(ctx, JobReport(job, result, Decision.FIRST_ALERT))
    assert judged.decision is Decision.PENDING
    assert judged.result.reason == (
        "the run had to end before an anchor answered; the check said: no answer "
        "within 50 s"
    )


class AnswersNothing(NeverAnswers):
    """The process that asks the anchors, when none answers."""

    def frames(self):
        return [{"router:80": "no answer"}]


def test_just_after_a_boot_no_machine_becomes_blind_but_may_still_be(monkeypatch):
    ctx = Booted(40)
    ctx.run = RunRecord()
    ctx.reach = Reach(child=AnswersNothing())
    reachability._read_answer(ctx, is_last=False)
    assert ctx.run.blind_since is None
    job = Job(JobKey("Web", "web"), "web", "/Web.py", "minute", is_across_network=True)
    report = JobReport(job, CheckResult(Status.FAILING, "x"), Decision.FIRST_ALERT)
    judged = reachability._judged(ctx, report)
    assert judged.decision is Decision.PENDING
    assert judged.result.reason.startswith("this machine started 40 s ago")
    gone_blind = []
    monkeypatch.setattr(reachability, "_go_blind", lambda *_: gone_blind.append(1))
    ctx.run = RunRecord(blind_since=utc_now() - MINUTE)
    ctx.reach = Reach(child=AnswersNothing())
    reachability._read_answer(ctx, is_last=False)
    assert gone_blind and ctx.reach.silent


def test_a_refused_connection_is_an_answer():
    assert why_silent([("127.0.0.1", closed_port())]) == {}
    assert why_silent([("255.255.255.255", 9), ("127.0.0.1", closed_port())]) == {}
    silent = why_silent([("255.255.255.255", 9)])
    assert silent == {"255.255.255.255:9": "network is unreachable"}


def test_validate_asks_each_anchor(places):
    closed = closed_port()
    places.change(
        "[general]\n", f"[general]\nanchors = 127.0.0.1:{closed}, 255.255.255.255:9\n"
    )
    (row,) = places.instance.run("-m", "validate", "--json").json()
    assert row["severity"] == "warning"
    assert row["text"].startswith("anchors: 255.255.255.255:9 does not answer: ")


# After a boot.


class Booted:
    """What is asked of the context of a run on a machine that was started just now."""

    catalog: dict = {}
    met: dict = {}
    reach = None

    def __init__(self, up_s):
        self.settings = SimpleNamespace(anchors=())
        self.since_boot = lambda: up_s


@pytest.mark.parametrize(("up_s", "status"), [(40, "pending"), (121, "failing")])
def test_just_after_a_boot_a_failing_network_check_counts_as_not_made(up_s, status):
    key, ctx = JobKey("Web", "web"), Booted(up_s)
    job = Job(key, "web", "/Web.py", "minute", is_across_network=True)
    alert, note = (
        Message(str(kind), kind, "x", "x", ("a@example.com",), utc_now())
        for kind in (MessageKind.ALERT, MessageKind.NOTE)
    )
    result = CheckResult(Status.FAILING, "no route to host")
    report = JobReport(job, result, Decision.FIRST_ALERT, (alert, note), None, True)
    assert results.may_be_out_of_reach(report, ctx) is (status == "pending")
    judged = reachability._judged(ctx, report)
    assert judged.result.status == status
    if status == "pending":
        assert judged.messages == (note,)
        assert not judged.default_mail
        assert "this machine started 40 s ago; the check said: no route" in (
            judged.result.reason
        )
