"""Reading INI files, their includes, and the line of everything in them."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.ini import IniContent, IniError, IniText, read_ini
from tests.support.powers import as_anybody

GENERAL = "[general]\nservername = web1\n"


def written(folder: Path, text: str | bytes, name: str = "settings.cfg") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes) -> IniContent:
    return read_ini(written(folder, text))


def failure(path: Path) -> str:
    with pytest.raises(IniError) as caught:
        read_ini(path)
    return str(caught.value).replace(str(path.parent), "FOLDER")


def sentences(content: IniContent) -> list[str]:
    return [str(problem) for problem in content.problems]


def test_every_section_and_option_knows_its_line(tmp_path):
    content = read(
        tmp_path, "# mine\n[general]\n\nservername = web1\n  two\n[http a]\nB: c\n"
    )
    assert content.ini.where("general") == "settings.cfg:2"
    assert content.ini.where("general", "servername") == "settings.cfg:4"
    assert content.ini.where("http a") == "settings.cfg:6"
    assert content.ini.where("http a", "b") == "settings.cfg:7"
    assert content.ini.get("general", "servername") == "web1\ntwo"


def test_what_has_no_line_is_at_its_section_or_else_in_the_file(tmp_path):
    content = read(tmp_path, GENERAL)
    assert content.ini.where("general", "logfile") == "settings.cfg:1"
    assert content.ini.where("email", "user") == "settings.cfg"


def test_a_percent_sign_is_a_letter_like_any_other(tmp_path):
    content = read(tmp_path, "[email]\npass = 100%(user)s%\n")
    assert content.ini.get("email", "pass") == "100%(user)s%"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf[general]\nservername = web1\n",
        b"[general]\r\nservername = web1\r\n",
    ],
    ids=["byte order mark", "lines that end as on Windows"],
)
def test_what_editors_leave_in_a_file_does_no_harm(tmp_path, content):
    content = read(tmp_path, content)
    assert content.ini.get("general", "servername") == "web1"
    assert content.ini.where("general", "servername") == "settings.cfg:2"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\n",
        b"[general]\nservername = M\xfcnchen\n",
        "[general]\n".encode("utf-16"),
        b"[general]\nservername = web1\n" + bytes(512),
        b"#" * (16 * 2**20 + 1),
        b"[general]\n" + b"x" * 100_001 + b"\na" + b" " * 2000 + b"b\n",
    ],
    ids=["empty", "blank", "latin-1", "utf-16", "half written", "huge", "long lines"],
)
def test_a_file_that_is_no_settings_says_so(tmp_path, content, approved):
    approved(failure(written(tmp_path, content)))


def test_a_missing_file_names_the_example(tmp_path, approved):
    approved(failure(tmp_path / "settings.cfg"))


def test_a_folder_and_a_pipe_are_no_settings(tmp_path, approved):
    (tmp_path / "settings.cfg").mkdir()
    os.mkfifo(tmp_path / "pipe.cfg")
    approved(failure(tmp_path / "settings.cfg"), "1")
    approved(failure(tmp_path / "pipe.cfg"), "2")


def test_a_file_that_may_not_be_read_says_so(tmp_path, approved):
    path = written(tmp_path, GENERAL)
    path.chmod(0)
    program = (
        "import pathlib, sys\nfrom lib.config.ini import *\n"
        "try: read_ini(pathlib.Path(sys.argv[1]))\n"
        "except IniError as error: print(*error.problems)"
    )
    command = as_anybody([sys.executable, "-c", program, str(path)])
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    approved(ran.stdout)


def test_all_that_is_there_twice_is_reported_at_once(tmp_path, approved):
    content = read(
        tmp_path,
        "[http a]\nurl = 1\nurl = 2\nurl = 3\n[http b]\n[http a]\nurl = 4\n[general]\n",
    )
    approved(sentences(content))
    assert content.broken == {"http a"}


def test_what_is_wrong_with_a_target_is_not_fatal(tmp_path):
    content = read(tmp_path, GENERAL + "[http a]\nurl\n")
    assert [problem.fatal for problem in content.problems] == [False]


def test_what_is_wrong_in_general_or_email_is_fatal(tmp_path):
    content = read(tmp_path, GENERAL + "servername = web2\n[email]\nuser\n")
    assert [problem.fatal for problem in content.problems] == [True, True]


def test_default_options_do_not_leak_into_targets(tmp_path, approved):
    content = read(tmp_path, GENERAL + "[DEFAULT]\ntimeout = 5\n[http a]\nurl = x\n")
    assert content.ini.given("http a") == {"url": "x"}
    approved(sentences(content))


def test_includes_are_read_in_sorted_order_beside_the_file(tmp_path):
    written(tmp_path, "[http b]\nurl = b\n", "conf.d/2.cfg")
    written(tmp_path, "[http a]\nurl = a\n", "conf.d/1.cfg")
    written(tmp_path, "[http c]\nurl = c\n", "conf.d/1.cfg~")
    (tmp_path / "conf.d" / "3.cfg").mkdir()
    content = read(tmp_path, GENERAL + "include = conf.d/*.cfg\n[http z]\nurl = z\n")
    assert [*content.ini] == ["general", "http z", "http a", "http b"]
    assert content.ini.where("http b", "url") == "conf.d/2.cfg:2"
    assert content.problems == ()


def test_an_include_may_include_beside_itself(tmp_path):
    written(tmp_path, "[general]\ninclude = more/c.cfg\n", "conf.d/b.cfg")
    written(tmp_path, "[http c]\nurl = c\n", "conf.d/more/c.cfg")
    content = read(tmp_path, GENERAL + "include = conf.d/b.cfg, conf.d/*.cfg\n")
    assert content.ini.where("http c") == "conf.d/more/c.cfg:1"
    assert content.problems == ()


def test_files_that_include_each_other_are_read_once(tmp_path):
    written(tmp_path, "[general]\ninclude = *.cfg\n[http b]\nurl = b\n", "b.cfg")
    content = read(tmp_path, GENERAL + "include = *.cfg\n")
    assert content.ini.names == ("settings.cfg", "b.cfg")
    assert content.problems == ()


def test_includes_have_an_end(tmp_path, approved):
    for number in range(20):
        text = f"[general]\ninclude = {number + 1}.cfg\n"
        written(tmp_path, text, f"{number}.cfg")
    approved(failure(written(tmp_path, "[general]\ninclude = 0.cfg\n")))


def test_an_include_may_add_to_a_section_but_not_set_an_option_again(
    tmp_path, approved
):
    written(tmp_path, "[general]\nlogfile = a\nservername = b\n", "a.cfg")
    content = read(tmp_path, GENERAL + "include = a.cfg\n")
    assert content.ini.get("general", "logfile") == "a"
    assert content.ini.get("general", "servername") == "web1"
    approved(sentences(content))
    assert content.problems[0].fatal


def test_a_target_may_not_go_on_in_another_file(tmp_path, approved):
    written(tmp_path, "[http a]\ntimeout = 5\n", "a.cfg")
    content = read(tmp_path, GENERAL + "include = a.cfg\n[http a]\nurl = x\n")
    approved(sentences(content))
    assert content.broken == {"http a"}


def test_a_pattern_that_finds_nothing_in_its_folder_is_a_warning(tmp_path, approved):
    (tmp_path / "conf.d").mkdir()
    content = read(tmp_path, GENERAL + "include = conf.d/*.cfg\n")
    approved(sentences(content))
    assert [problem.warning for problem in content.problems] == [True]


def test_a_pattern_in_a_folder_that_cannot_be_read_is_fatal(tmp_path, approved):
    written(tmp_path, "", "conf.d")
    approved(failure(written(tmp_path, GENERAL + "include = conf.d/*.cfg\n")))


def test_a_pattern_in_a_folder_in_which_others_may_add_a_file_is_fatal(
    tmp_path, approved
):
    written(tmp_path, "[http b]\nurl = b\n", "conf.d/b.cfg")
    (tmp_path / "conf.d").chmod(0o707)
    text = GENERAL + "include = conf.d/*.cfg\n"
    approved(failure(written(tmp_path, text)))


def test_an_include_that_cannot_be_read_names_who_asked(tmp_path, approved):
    written(tmp_path, b"\xff", "b.cfg")
    written(tmp_path, "", "a.cfg")
    approved(failure(written(tmp_path, GENERAL + "include = a.cfg, b.cfg\n")))


def test_an_include_that_is_missing_is_a_failing_job_and_the_others_are_read(
    tmp_path, approved
):
    written(tmp_path, "[http b]\nurl = b\n", "b.cfg")
    content = read(tmp_path, GENERAL + "include = a.cfg, b.cfg\n")
    approved(sentences(content))
    (problem,) = content.problems
    assert (problem.fatal, problem.warning) == (False, False)
    assert "http b" in content.ini


WORDS = st.sampled_from(
    ["[a]", "[b c]", "[", "]", "k", "K2", "=", ":", " ", "  ", "\t", "\n", "\n", "\n"]
    + ["#", ";", "v", "%", "\r\n", "\r", "\x0b", "\x85", "é", "[DEFAULT]"]
)


@given(st.lists(WORDS, max_size=40).map("".join))
def test_a_text_without_fault_is_what_the_standard_parser_reads(words):
    text = "[first]\n" + words
    file = IniText(text, "x")
    if file.faults:
        return
    # None of our texts has a section of this name.
    standard = configparser.ConfigParser(interpolation=None, default_section="none")
    standard.read_string("\n".join(text.replace("\r\n", "\n").split("\r")))
    assert {
        title: {name: value.raw for name, value in section.options.items()}
        for title, section in file.sections.items()
    } == {title: dict(standard[title]) for title in standard.sections()}
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for title, section in file.sections.items():
        assert f"[{title}]" in lines[_line(section.where) - 1]
        for name, value in section.options.items():
            assert name in lines[_line(value.where) - 1].lower()


def _line(where: str) -> int:
    return int(where.removeprefix("x:"))
