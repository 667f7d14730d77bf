"""[plugin NAME]: what the exit code and the output of a plugin come to."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.PluginChecker import PluginChecker, read_output, values_of
from lib.core.enums import Status
from lib.core.results import CheckResult, amount_words, value_lines
from tests.support.listeners import job_of, result_of

DID_NOT_RUN = "the plugin did not run: it ended with {} and printed nothing"
USAGE = "the plugin did not run, it printed its usage: look at its arguments"


def plugin(code: int = 0, out: str = "", errors: str = "", **options) -> CheckResult:
    """Return the result of a plugin that prints this and ends so."""
    text = f'printf %b "$1"; printf %b "$2" >&2; exit {code}'
    said = [one.replace("\n", "\\n") for one in (out, errors)]
    words = ["sh", "-c", text, "plugin", *said]
    return result_of(job_of(PluginChecker, command=shlex.join(words), **options))


def values(line: str, code: int = 0) -> dict[str, str]:
    """Return the values of a first line, as people write them."""
    found = values_of(read_output(line).items, code)
    return {name: amount_words(one.number, one.unit) for name, one in found.items()}


def shown(line: str, code: int = 0) -> list[str]:
    return list(value_lines(values_of(read_output(line).items, code)))


@pytest.mark.parametrize(
    ("code", "out", "errors", "status", "reason"),
    [
        (0, "LOAD OK", "", Status.OK, ""),
        (0, "", "", Status.OK, ""),
        (1, "LOAD WARNING | l=1", "", Status.WARNING, "LOAD WARNING"),
        (
            2,
            "LOAD CRITICAL\nmore\nand more | l=1",
            "",
            Status.FAILING,
            "LOAD CRITICAL\nmore\nand more",
        ),
        (3, "no data", "", Status.UNKNOWN, "no data"),
        (3, "", "", Status.UNKNOWN, "unknown, and the plugin printed no text"),
        (2, "bad", "why\nso", Status.FAILING, "bad\non standard error: why\nso"),
        # The text does not count: the exit code alone does.
        (0, "CRITICAL: all is lost", "", Status.OK, ""),
        (2, "OK - fine", "", Status.FAILING, "OK - fine"),
        # It did not run.
        (
            2,
            "",
            "Can't locate Net/SNMP.pm in @INC",
            Status.UNKNOWN,
            f"{DID_NOT_RUN.format(2)}: Can't locate Net/SNMP.pm in @INC",
        ),
        (
            1,
            "",
            "Traceback (most recent call last):\n  x\nImportError: y",
            Status.UNKNOWN,
            f"{DID_NOT_RUN.format(1)}: ImportError: y",
        ),
        (
            126,
            "",
            "sh: not allowed",
            Status.UNKNOWN,
            "the plugin ended with exit code 126: it may not be run: sh: not allowed",
        ),
        (
            127,
            "",
            "libx.so: gone",
            Status.UNKNOWN,
            "the plugin ended with exit code 127: it, or something that it needs, is "
            "not there: libx.so: gone",
        ),
        (
            255,
            "",
            "died",
            Status.UNKNOWN,
            "the plugin ended with exit code 255: it gave up: died",
        ),
        (4, "odd", "", Status.UNKNOWN, "the plugin ended with exit code 4: odd"),
        (0, "Usage: check_x -H HOST", "", Status.UNKNOWN, USAGE),
        (0, "\n\nusage: check_x [-4|-6]", "", Status.UNKNOWN, USAGE),
        (0, "sh v30\nCopyright\n\n  Usage:\n  sh [-x]", "", Status.UNKNOWN, USAGE),
        (0, "sh v30\nCopyright\nUsage: ./sh [-x]", "", Status.UNKNOWN, USAGE),
        (0, "DISK OK - usage: 3%", "", Status.OK, ""),
        (0, "DISK OK\nusage: 3%", "", Status.OK, ""),
        (
            0,
            "fine",
            "cannot write state",
            Status.OK,
            "on standard error: cannot write state",
        ),
    ],
)
def test_the_exit_code_decides(code, out, errors, status, reason):
    result = plugin(code, out, errors)
    assert (result.status, result.reason) == (status, reason)


def test_a_plugin_that_is_killed_is_unknown():
    result = result_of(job_of(PluginChecker, command="sh -c 'kill -ABRT $$'"))
    assert result.status is Status.UNKNOWN
    assert result.reason == "the plugin was killed by SIGABRT"


def test_a_plugin_that_takes_too_long_is_failing():
    job = job_of(PluginChecker, command="sh -c 'echo so far; sleep 9'", timeout="400ms")
    result = result_of(job)
    assert (result.status, result.reason) == (
        Status.FAILING,
        "timed out after 0.4 s: so far",
    )


def test_what_ok_says_on_standard_error_may_be_a_warning():
    result = plugin(0, "fine", "cannot write state", stderr="warn")
    assert result.status is Status.WARNING
    assert result.reason == "fine\non standard error: cannot write state"


def test_its_locale_is_c_whatever_the_settings_say():
    job = job_of(
        PluginChecker,
        command="sh -c 'echo $LC_ALL; exit 2'",
        environment="LC_ALL=de_DE.UTF-8",
    )
    assert result_of(job).reason == "C"


def test_it_is_looked_for_in_the_folders_of_plugins(tmp_path, monkeypatch):
    path = tmp_path / "check_own"
    path.write_text("#!/bin/sh\necho OWN OK\n")
    path.chmod(0o755)
    monkeypatch.setattr(PluginChecker, "folders", ("/no/such", str(tmp_path)))
    assert result_of(job_of(PluginChecker, command="check_own -x")).status is Status.OK
    job = job_of(PluginChecker, command="check_own && false", shell="yes")
    # It was found in the folder, and false came after it.
    assert result_of(job).reason == "OWN OK"
    assert result_of(job_of(PluginChecker, command="check_other")).reason == (
        "there is no program check_other in PATH or in the folders of plugins; give "
        "its whole path"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("OK | time=0.010s;;;0.000000;10.0", {"time": "10ms"}),
        ("OK | rta=1.5ms;3000;5000;0 pl=0%;80;100;;", {"rta": "1.5ms", "pl": "0%"}),
        ("OK|a=1 b=2;3;4", {"a": "1", "b": "2"}),
        ("OK | 'with blank'=3 'it''s'=4", {"with blank": "3", "it's": "4"}),
        ("OK | 'a|b'=1", {"a|b": "1"}),
        ("OK | u=5us n=7ns d=2d", {"u": "0.005ms", "n": "7e-06ms", "d": "2d"}),
        # The plugins' sizes are in powers of 1024, whatever they call them.
        (
            "OK | a=1KB b=1MB c=1GiB d=1kB",
            {"a": "1.024kB", "b": "1.049MB", "c": "1.074GB", "d": "1.024kB"},
        ),
        ("OK | rps=3/s jobs=12c", {"rps": "3/s", "jobs": "12"}),
        # A unit that is not known.
        ("OK | t=21.5C v=12V", {"t [C]": "21.5", "v [V]": "12"}),
        # No number.
        ("OK | rta=U;1;2 x=1", {"x": "1"}),
        ("OK | x=nan y=inf z= w=abc v=1", {"v": "1"}),
        # No answer is not 0 ms.
        ("CRIT | rta=0.000ms;200;500 pl=100%;40;80 rtmax=0.000ms", {"pl": "100%"}),
        ("OK | rta=0.000ms;200;500 pl=0%;40;80", {"rta": "0s", "pl": "0%"}),
        # Commas.
        ("OK | time=0,013s;1,5;2", {"time": "13ms"}),
        ("OK | a=1, b=2,c=3", {"a": "1", "b": "2", "c": "3"}),
        # Bad ones among good ones.
        ("OK | good=1 bad bad= =3 fine=2 'open=4", {"good": "1", "fine": "2"}),
        # What has digits behind it is no number with a unit.
        ("OK | h=0x10 a=1 v=1.2.3 t=12:30 d=1e5 u=Ux1", {"a": "1", "d": "100000"}),
        ("OK | entropy=256 bytes;1;2", {"entropy": "256"}),
        ("OK | a=1 a=2 a=3", {"a": "1", "a (2)": "2", "a (3)": "3"}),
        ("OK | x=99999999999999999999 y=1", {"y": "1"}),
        ("OK | -=1", {"-": "1"}),
        # A | in the text.
        ("SSH OK - Open|SSH (2.0) | time=0.5s", {"time": "500ms"}),
        ("Usage: check [-4|-6] -H x", {}),
        ("MULTIPATH |Host: vm|", {}),
        ("a=1 | no data here", {}),
        ("OK |", {}),
        ("OK", {}),
    ],
)
def test_performance_data(line, expected):
    assert values(line) == expected


def test_the_text_is_what_stands_before_the_data():
    printed = read_output(
        "SSH OK - Open|SSH | time=1s\nlong | a=1\nb=2\n c=3 d=4\nmore"
    )
    assert (printed.first, printed.more) == (
        "SSH OK - Open|SSH",
        ("long", "", "", "more"),
    )
    assert [item.label for item in printed.items] == ["time", "a", "b", "c", "d"]


def test_data_may_begin_in_a_later_line():
    printed = read_output("connect: refused\r\nHTTP CRITICAL |time=0.1s\r\n")
    assert (printed.first, printed.more) == ("connect: refused", ("HTTP CRITICAL",))
    assert [item.label for item in printed.items] == ["time"]


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ("OK | a=5;10;20;0;100", 0, "a: 5 (warning above 10, failing above 20)"),
        ("OK | a=50;20:;10:", 0, "a: 50 (warning below 20, failing below 10)"),
        ("OK | a=5;2:8;1:9", 0, "a: 5 (warning outside 2..8, failing outside 1..9)"),
        ("OK | t=5ms;10;20", 0, "t: 5ms (warning above 10ms, failing above 20ms)"),
        ("BAD | a=25;10;20", 2, "a: 25 (warning above 10, failing above 20)"),
        # It says OK of 7: the @ was lost, or the minimum.
        ("OK | a=7;5.0;@0:3", 0, "a: 7"),
        ("OK | a=1.9;0.000000;", 0, "a: 1.9"),
        ("WARN | a=7;5;6", 1, "a: 7 (warning above 5)"),
        # Above the largest that there can be.
        (
            "OK | /=5GB;18445777975577149440;9;0;10",
            0,
            "/: 5.369GB (failing above 9.664GB)",
        ),
        ("OK | /=0B;;;0;0", 0, "/: 0B"),
        ("OK | a=1;x;~", 0, "a: 1"),
        ("OK | a=1;9:3;", 0, "a: 1"),
    ],
)
def test_thresholds_are_shown_where_they_make_sense(line, code, expected):
    assert shown(line, code) == [expected]


def test_thresholds_of_a_plugin_never_judge():
    result = plugin(1, "WARNING | a=99;10;20")
    assert result.status is Status.WARNING
    result = plugin(0, "OK | a=99;10;20")
    assert (result.status, result.reason) == (Status.OK, "")
    assert result.values["a"].number == 99


def test_so_many_values_are_kept():
    result = plugin(0, "OK | " + " ".join(f"{'v' * 70}{n}={n}" for n in range(80)))
    assert result.status is Status.OK
    assert len(result.values) == 50


@given(
    st.text(alphabet="ab'|=;:,.0159-+eU%@~ \n\r\tms", max_size=60), st.integers(0, 3)
)
def test_no_output_breaks_it(text, code):
    printed = read_output(text)
    found = values_of(printed.items, code)
    assert all(isinstance(one.number, float) for one in found.values())
    assert list(value_lines(found)) is not None


def test_a_line_of_signs_takes_no_time():
    read_output("|" * 200_000)
    read_output("x | " + "a=1;" * 50_000)
    read_output("x | " + "'" * 50_000)
    read_output("x | a=" + "1" * 50_000)
