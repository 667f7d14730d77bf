"""A kind is a class with a table of options; its targets are typed by it."""

from __future__ import annotations

import tracemalloc
from importlib import import_module
from pathlib import Path

import pytest

from lib.cli.settings_page import shipped_kinds
from lib.config.options import REQUIRED, written
from lib.config.targets import target_sections
from lib.core.enums import JobFrequency, Status
from lib.core.jobs import KIND_FILES, RUN_PROGRAMS, SHIPPED
from lib.core.results import Threshold
from lib.jobbase import (
    absolute_path,
    option,
    percent,
    plain,
    port,
    seconds,
    secret,
    text,
    whole,
)
from lib.plugins.command import CommandJob
from lib.plugins.kind import KindTable
from tests.support.fakes import CONTACT, Folder, ini

ROOT = Path(__file__).resolve().parents[3]
OK, FAILING, WARNING = Status.OK, Status.FAILING, Status.WARNING
OPTIONS = {
    "path": option(plain, help="what to look at"),
    "port": option(port, 25, help="where"),
    "fail_percent": option(percent, 90, help="failing above this", also="limit"),
    "warn_days": option(whole(0, 99), None, below=True, help="a warning below this"),
    "fail_time": option(seconds, None, help="failing above this"),
    "pin": option(secret, help="what opens it"),
}


def typed(lines: str, more: str = "", options=OPTIONS):
    """Return the target of a section, and the lines of what is wrong in it."""
    content = ini(f"{more}[box a]\n{lines}")
    (section,) = target_sections(content, "box")
    table = KindTable("box", JobFrequency.HOUR, options)
    target, problems = table.target(section)
    return target, [str(problem) for problem in problems]


def test_the_options_of_a_target_are_its_attributes_each_typed():
    target, wrong = typed("path = /x\nfail_time = 500ms\ntags = a, b\n")
    assert (target.title, wrong) == ("box a", [])
    assert (target.path, target.port, target.tags) == ("/x", 25, ("a", "b"))
    assert (target.every, target.notify) == ("hour", "state_change")
    assert repr(target) == "<[box a]>"
    with pytest.raises(AttributeError, match="the kind box has no option 'colour'"):
        target.colour


def test_a_target_with_its_secrets_has_what_was_given_and_these(tmp_path):
    file = tmp_path / "password"
    file.write_text("hush-hush\n")
    file.chmod(0o600)
    table = KindTable("box", JobFrequency.HOUR, OPTIONS)
    text = f"[box a]\npath = /x\npin_file = {file}\n"
    (section,) = target_sections(ini(text), "box")
    before, _wrong = table.target(section)
    target, secrets = table.with_secrets(before, tmp_path)
    assert (target.title, target.path, target.port) == ("box a", "/x", before.port)
    assert target.pin.reveal() == "hush-hush"
    assert target.gives("pin") and target.gives("path")
    assert not (target.gives("port") or target.gives("title"))
    assert "hush-hush" in list(secrets)


def test_a_command_that_prints_a_secret_ends_before_the_check(tmp_path):
    table = KindTable("box", JobFrequency.HOUR, OPTIONS)
    text = "[box a]\npath = /x\npin_command = sleep 9\ntimeout = 200ms\n"
    (section,) = target_sections(ini(text), "box")
    target, _wrong = table.target(section)
    words = "pin_command: the command did not end within 0.18 s"
    with pytest.raises(ValueError, match=words):
        table.with_secrets(target, tmp_path)
    assert words in [problem.text for problem in table.advice(section, target, ROOT)]


def test_a_command_that_prints_a_secret_is_read_by_no_shell(tmp_path):
    table = KindTable("box", JobFrequency.HOUR, OPTIONS)
    text = "[box a]\npath = /x\npin_command = echo 1234 | cat\n"
    (section,) = target_sections(ini(text), "box")
    target, _wrong = table.target(section)
    (problem,) = table.advice(section, target, tmp_path)
    words = "pin_command: no shell reads this, so | is an argument; use sh -c '...'"
    assert (problem.text, problem.warning) == (words, True)
    assert problem.where == section.options["pin_command"].where


def test_of_thousands_of_targets_none_takes_a_dict():
    table = KindTable("box", JobFrequency.HOUR, OPTIONS)
    (section,) = target_sections(ini("[box a]\npath = /x\n"), "box")
    table.target(section)
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        targets = [table.target(section)[0] for _ in range(1000)]
        said = {(target.gives("path"), target.gives("port")) for target in targets}
        after, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert said == {(True, False)}
    assert (after - before) / len(targets) < 160


@pytest.mark.parametrize(
    ("line", "name", "threshold"),
    [
        ("", "fail_percent", Threshold(high=90, option="fail_percent")),
        ("limit = 80%", "fail_percent", Threshold(high=80, option="fail_percent")),
        ("fail_percent = 5..80", "fail_percent", Threshold(5, 80, "fail_percent")),
        ("", "warn_days", None),
        ("warn_days = 30", "warn_days", Threshold(low=30, option="warn_days")),
        ("fail_time = 2min", "fail_time", Threshold(high=120, option="fail_time")),
    ],
)
def test_a_threshold_knows_its_option_and_its_side(line, name, threshold):
    target, wrong = typed(f"path = x\n{line}\n")
    assert (getattr(target, name), wrong) == (threshold, [])


def test_what_a_section_does_not_say_comes_from_its_layers():
    more = "[defaults]\nfailures = 4\n[defaults box]\nevery = day\nlimit = 50\n"
    target, wrong = typed("path = x\n", more)
    assert (wrong, target.every, str(target.failures)) == ([], "day", "4")
    assert target.fail_percent.high == 50
    nearer, wrong = typed("path = x\nfail_percent = 60\n", more)
    assert (wrong, nearer.fail_percent.high) == ([], 60)


def test_each_mistake_is_one_line_with_its_place(approved):
    wrong = typed(
        "port = 70000\nlimt = 90\nfail_time = 2weeks\nwarn_days = 30 ; a\n"
        "pin = 12\\\x0734\nevery = weekly\nneed = most\nlimit = 8\nfail_percent = 9\n"
    )[1]
    approved("".join(f"{line}\n" for line in wrong))
    assert "34" not in "".join(wrong)


ADVICE = {
    **OPTIONS,
    "pin": option(secret, "", help="what opens it"),
    "warn_percent": option(percent, None, help="a warning above this"),
    "fail_days": option(whole(0, 99), 14, below=True, help="failing below this"),
    "text": option(text, "", help="what must be in it"),
    "folder": option(absolute_path, "", help="where it is"),
}


def advice(lines: str, more: str = "") -> list[str]:
    """Return what -m validate says of targets that can be run."""
    content = ini(f"{more}[box a]\npath = /x\n{lines}")
    table = KindTable("box", JobFrequency.HOUR, ADVICE)
    said = []
    for section in target_sections(content, "box"):
        target, problems = table.target(section)
        assert problems == []
        said += [str(one) for one in table.advice(section, target, Path("/"))]
    return said


@pytest.mark.parametrize(
    "lines",
    [
        "warn_percent = 90\n",
        "warn_days = 14\n",
        "warn_days = 10\nfail_days = 12..30\nwarn_percent = 95\nlimit = 91%\n",
        "port = 25\nfolder = /x/{host}\n",
        "pin_file = secret\n",
        "pin_env = CHECKER_TEST_NOT_SET\n",
        "pin_command = false\n",
    ],
)
def test_what_is_hardly_meant_so_is_one_line(lines, approved):
    approved(advice(lines))


@pytest.mark.parametrize(
    "lines",
    [
        "warn_percent = 89\n",
        "warn_percent = 5..95\nfail_percent = 4..96\n",
        "warn_days = 30\nwarn_percent = 5..95\n",
        "warn_days = 10..20\n",
        "text = Hello {host}\ndescription = of {host}\n",
        "hosts = a, b\nfolder = /{host}\n",
        "pin_command = echo 1234\n",
    ],
)
def test_of_what_is_right_nothing_is_said(lines):
    assert advice(lines) == []


def test_a_template_for_hosts_is_right_where_it_is_used_with_hosts():
    more = "[template web]\nfolder = /{host}\n[box b]\npath = /\nuse = web\nhosts = x\n"
    assert advice("", more) == []
    assert len(advice("use = web\n", more)) == 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Box", {}),
        ("", {}),
        (None, {}),
        ("box", {"path": plain}),
        ("box", {"Path": option(plain, help="x")}),
        ("box", {"every": option(plain, help="x")}),
        ("box", {"name": option(plain, help="x")}),
    ],
)
def test_a_table_that_cannot_be_used_says_why(kind, options, approved):
    with pytest.raises(TypeError) as caught:
        KindTable(kind, JobFrequency.HOUR, options)
    approved(str(caught.value), hide={r"<function plain at \w+>": "plain"})


def test_the_table_of_kinds_is_that_of_the_job_files():
    shipped = shipped_kinds(ROOT / "jobs")
    assert {kind.kind: Path(kind.file).stem for kind in shipped} == KIND_FILES
    for kind in shipped:
        assert kind.about and all(one.help for one in kind.options.values())


@pytest.mark.parametrize("name", KIND_FILES.values())
def test_a_default_is_shown_as_the_settings_may_have_it(name):
    kind = getattr(import_module(f"jobs.{name}"), name)
    for option_name, known in KindTable(
        kind.kind, kind.every, kind.options
    ).own.items():
        if known.default is REQUIRED:
            continue
        if words := written(known.default, known.unit):
            assert (option_name, known.read(words)) == (option_name, known.default)


def test_the_kinds_that_run_programs_are_known_before_they_are_loaded():
    kinds = {name: getattr(import_module(f"jobs.{name}"), name) for name in SHIPPED}
    run = {name for name, kind in kinds.items() if issubclass(kind, CommandJob)}
    assert run == RUN_PROGRAMS


# A kind of one's own, in a folder of one's own.

QUEUE = """\
\"\"\"[queue NAME]: counts what waits.\"\"\"
from lib.jobbase import *

class Queue(TargetJob):
    kind = "queue"
    options = {
        "length": option(whole(0, 99), help="how long it is"),
        "fail_length": option(count, 10, help="failing above this"),
        "warn_length": option(count, None, help="a warning above this"),
        "token": option(secret, "", help="what opens it"),
    }

    def check(self, target, deadline):
        if target.token:
            print("opened with", target.token.reveal())
            self.memory["token"] = target.token.reveal()
        if target.length == 77:
            raise CheckFailed(f"no entry with {target.token.reveal()}")
        if target.length == 88:
            return None
        return {
            "length": count(
                target.length, warn=target.warn_length, fail=target.fail_length
            ),
            f"of {target.token.reveal()}": 1,
        }
"""


@pytest.fixture
def queue(tmp_path):
    """Return a function that runs the kind with some sections."""

    def run(sections, removed=(), **order):
        folder = Folder(tmp_path)
        folder.add("Queue", QUEUE)
        content = ini(sections)
        for section in removed:
            content.remove(section)
        return folder.run(content, **order)

    return run


def test_a_kind_of_ones_own_works_as_those_that_ship_do(queue):
    notified = queue(
        "[queue a]\nlength = 3\n[queue b]\nlength = 12\n"
        "[queue c]\nlength = 12\nfail_length = 20\nwarn_length = 10\n"
        "contact = c@example.com\nfailures = 2\ntags = x\nrunbook = https://r/\n"
        "description = what waits\nevery = hour\ntimeout = 5s\n"
    )
    assert notified.conditions == {
        "queue a": OK,
        "queue b": FAILING,
        "queue c": WARNING,
    }
    reason = notified.outcomes["queue b"].reason
    assert reason == "length is 12, over fail_length = 10"
    job = notified.jobs["queue c"]
    assert (job.contact, str(job.policy.failures)) == (("c@example.com",), "2")
    assert (job.schedule, job.timeout_s) == ("hour", 5)
    assert (job.tags, job.runbook, job.description) == (
        ("x",),
        "https://r/",
        "what waits",
    )
    assert notified.jobs["queue a"].contact == CONTACT


ALIKE = """\
[queue a]\nlength = 3\n[queue b]\nlength = 4\n[queue c]\nlength = 3\ntimeout = 5\n
[queue d]\nlength = 3\ntimeout = 5\nevery = hour\n[queue  e]\nlength = 3\n
[queue f]\nlength = 3\nwas = old\n[queue g\u00e4]\nlength = 3\n
"""
OWN_HOOKS = """\

    def contact(self):
        return (f"{self.target.name}@example.com",)

    def timeout(self):
        return self.target.length
"""


def test_a_section_that_was_removed_keeps_its_name_and_history(queue):
    sections = "[queue a]\nlength = 3\nwas = old\n[queue old]\nlength = 3\n"
    assert queue(sections, ["queue old"]).jobs["queue a"].was == ""


def test_targets_that_say_the_same_differ_in_their_names_only(queue):
    jobs = queue(ALIKE).jobs
    found = {name: (job.timeout_s, job.schedule, job.was) for name, job in jobs.items()}
    of_queue = {name: of for name, of in found.items() if name.startswith("queue ")}
    assert of_queue == {
        "queue a": (30, "minute", ""),
        "queue b": (30, "minute", ""),
        "queue c": (5, "minute", ""),
        "queue d": (5, "hour", ""),
        "queue e": (30, "minute", ""),
        "queue f": (30, "minute", "queue old"),
        "queue g\u00e4": (30, "minute", ""),
    }
    assert {job.key.identity for job in jobs.values()} >= of_queue.keys()


def test_a_kind_with_hooks_of_its_own_is_asked_for_each_target(tmp_path):
    folder = Folder(tmp_path)
    folder.add("Queue", QUEUE + OWN_HOOKS)
    jobs = folder.run(ini(ALIKE)).jobs
    assert (jobs["queue a"].contact, jobs["queue a"].timeout_s) == (
        ("a@example.com",),
        3,
    )
    assert (jobs["queue b"].contact, jobs["queue b"].timeout_s) == (
        ("b@example.com",),
        4,
    )


def test_a_wrong_target_is_a_failing_job_of_its_name_and_the_others_run(
    queue, approved
):
    notified = queue(
        "[queue a]\nlength = 3\n[queue b]\nlength = many\nlenght = 4\n"
        "[queue c]\nuse = none\nlength = 3\n"
    )
    assert notified.conditions == {
        "queue a": OK,
        "queue b": FAILING,
        "queue c": FAILING,
    }
    approved(notified.outcomes["queue b"].reason, "b")
    approved(notified.outcomes["queue c"].reason, "c")


def test_a_wrong_default_of_a_kind_is_one_failing_job_and_the_targets_run(
    queue, approved
):
    targets = "[queue a]\nlength = 3\n[queue b]\nlength = 3\nfail_length = 2\n"
    wrong = "[defaults queue]\nlenth = 2\nfail_length = x\nhosts = y\nevery = hour\n"
    notified = queue(wrong + targets)
    assert notified.conditions == {
        "defaults queue": FAILING,
        "queue a": OK,
        "queue b": FAILING,
    }
    approved(notified.outcomes["defaults queue"].reason)
    assert notified.jobs["queue a"].schedule == "hour"
    # It says OK itself, which ends the alert.
    right = queue("[defaults queue]\nfail_length = 5\n" + targets)
    assert right.conditions["defaults queue"] is OK
    assert right.jobs["defaults queue"].is_own


def test_one_that_is_not_enabled_is_there_and_does_not_run(queue):
    notified = queue("[queue a]\nlength = 30\nenabled = no\n")
    assert notified.conditions == {}
    assert not notified.jobs["queue a"].enabled


@pytest.mark.parametrize(
    ("length", "status"), [(3, FAILING), (12, OK), (77, OK), (88, FAILING)]
)
def test_invert_turns_a_failed_check_into_ok_and_an_error_not(queue, length, status):
    notified = queue(f"[queue a]\ninvert = yes\nlength = {length}\n")
    assert notified.conditions == {"queue a": status}


def test_a_secret_may_be_given_in_another_way_than_the_defaults_do(queue):
    sections = (
        "[defaults queue]\ntoken_file = /none\n[queue a]\nlength = 3\ntoken = t\n"
    )
    assert queue(sections).conditions["queue a"] is OK


def test_a_secret_that_cannot_be_had_says_which_line_asks_for_it(queue):
    notified = queue(
        "[queue a]\nlength = 3\ntoken_file = /none\n"
        "[queue b]\nlength = 3\ntoken = t\ntoken_file = /none\n"
    )
    assert notified.outcomes["queue a"].reason.startswith(
        "settings.cfg:9: [queue a] token_file: there is no such file"
    )
    assert notified.outcomes["queue b"].reason == (
        "settings.cfg:13: [queue b] token and token_file are given; keep one"
    )


def test_no_secret_of_a_target_leaves_its_worker(queue, tmp_path):
    (tmp_path / "token").write_text("geheim1\n")
    (tmp_path / "token").chmod(0o600)
    notified = queue(
        f"[queue a]\nlength = 3\ntoken_file = {tmp_path}/token\n"
        f"[queue b]\nlength = 77\ntoken_file = {tmp_path}/token\n"
        "[queue c]\nlength = 3\ntoken_file = /none\n"
    )
    assert notified.conditions == {
        "queue a": OK,
        "queue b": FAILING,
        "queue c": Status.UNKNOWN,
    }
    assert "of ***" in notified.outcomes["queue a"].values
    assert notified.reports["queue a"].memory == {"token": "***"}
    result = notified.outcomes["queue b"]
    assert result.reason == "no entry with ***"
    assert "opened with ***" in result.output
    assert "token_file" in notified.outcomes["queue c"].reason
    assert "geheim1" not in repr(notified)


AT = '''\
"""[at NAME]: fails, and says what it looked at."""
from lib.jobbase import *

class At(TargetJob):
    kind = "at"
    options = {
        name: option(plain, "", help="a part of it")
        for name in ("url", "host", "port", "path", "file")
    }

    def check(self, target, deadline):
        self.answered_by = "192.0.2.7:80"
        raise CheckFailed("no")
'''


@pytest.mark.parametrize(
    ("lines", "target"),
    [
        ("url = https://me:pa%ss@a.example/x?token=1", "https://a.example/x?..."),
        ("host = a.example\nport = 25\npath = /x", "a.example:25"),
        ("host = ::1\nport = 25", "[::1]:25"),
        ("host = ::1", "::1"),
        ("path = /srv/a b", "/srv/a b"),
        ("file = x", ""),
    ],
)
def test_a_failing_target_says_what_was_checked_and_who_answered(
    tmp_path, lines, target
):
    folder = Folder(tmp_path)
    folder.add("At", AT)
    result = folder.run(ini(f"[at a]\n{lines}\n")).outcomes["at a"]
    assert (result.target, result.answered_by) == (target, "192.0.2.7:80")


def test_a_target_that_cannot_be_shown_is_still_reported(tmp_path):
    folder = Folder(tmp_path)
    folder.add("At", f"{AT}\n    def shown_target(self):\n        return 1 / 0\n")
    result = folder.run(ini("[at a]\n")).outcomes["at a"]
    assert result.reason == "no" and "ZeroDivisionError" in result.target


def test_the_word_of_a_kind_that_ships_is_taken(tmp_path, approved):
    text = QUEUE.replace('kind = "queue"', 'kind = "disk"')
    notified = Folder(tmp_path).run_one("Queue", text)
    approved(notified.outcomes["Queue.py"].reason, hide={str(tmp_path): "FOLDER"})
