"""Where the password comes from, and what is said when it does not."""

from __future__ import annotations

import os
import time

import pytest

from lib.config.options import read_options, secret_options
from lib.config.secrets import find_secret, read_secret
from lib.core.sanitize import secrets_in_headers, secrets_in_query
from lib.core.secret import Secret
from tests.support.waits import SOON_S


def find(option, value, folder, **more) -> str:
    return find_secret(option, value, folder, **more).reveal()


def failure(option, value, folder, **more) -> str:
    with pytest.raises(ValueError) as caught:
        find(option, value, folder, **more)
    return str(caught.value).replace(str(folder), "FOLDER")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "password"
    path.touch(0o600)
    return path


def test_a_password_in_the_settings_is_taken_as_it_is(tmp_path):
    assert find("pass", "100% #1", tmp_path) == "100% #1"


@pytest.mark.parametrize(
    "content", ["hunter 2\nsecond line\n", "hunter 2\r\n", "\ufeffhunter 2"]
)
def test_the_first_line_of_a_file_is_the_password(file, tmp_path, content):
    file.write_bytes(content.encode())
    assert find("pass_file", "password", tmp_path) == "hunter 2"
    assert find("pass_file", str(file), tmp_path / "other") == "hunter 2"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\nhunter2\n",
        b"hunter\x002\n",
        b"h\xfcnter2\n",
    ],
)
def test_a_file_without_a_password_says_so(file, tmp_path, content, approved):
    file.write_bytes(content)
    approved(failure("pass_file", "password", tmp_path))


def test_a_file_that_others_can_read_is_refused(file, tmp_path, approved):
    file.write_text("hunter2\n")
    file.chmod(0o644)
    approved(failure("pass_file", "password", tmp_path))


def test_a_file_that_is_none_says_so(tmp_path, approved):
    (tmp_path / "folder").mkdir(mode=0o755)
    os.mkfifo(tmp_path / "pipe", 0o600)
    approved(failure("pass_file", "folder", tmp_path), "1")
    approved(failure("pass_file", "pipe", tmp_path), "2")
    approved(failure("pass_file", "missing", tmp_path), "3")


def test_an_environment_variable_may_hold_it(tmp_path, approved):
    environ = {"SECRET": "hunter2\n", "EMPTY": "", "lines": "\nx", "BAD": "a\x01"}
    assert find("pass_env", "SECRET", tmp_path, environ=environ) == "hunter2"
    for name in ("EMPTY", "MISSING", "lines", "BAD", "hunter2"):
        approved(failure("pass_env", name, tmp_path, environ=environ), name)


def command(tmp_path, *words, **more) -> str:
    return find("pass_command", words, tmp_path, **more)


def test_a_command_may_print_it(tmp_path):
    assert command(tmp_path, "printf", "hunter2\nmore\n") == "hunter2"


def test_no_shell_reads_the_command(tmp_path):
    assert command(tmp_path, "echo", "$HOME;", "|") == "$HOME; |"


def test_a_command_starts_in_the_settings_folder(file, tmp_path):
    file.write_text("hunter2\n")
    assert command(tmp_path, "cat", "password") == "hunter2"


def test_a_command_that_fails_tells_its_code_and_first_complaint(tmp_path, approved):
    script = "echo hunter2; echo locked >&2; echo more >&2; exit 3"
    approved(failure("pass_command", ("sh", "-c", script), tmp_path), "1")
    approved(failure("pass_command", ("false",), tmp_path), "2")
    approved(failure("pass_command", ("sh", "-c", "kill -9 $$"), tmp_path), "3")


def test_a_command_that_is_missing_is_not_named(tmp_path, approved):
    approved(failure("pass_command", ("./hunter2",), tmp_path))


@pytest.mark.parametrize(
    "script",
    ["sleep 60", "trap '' TERM INT; sleep 60", "yes", "sleep 60 & echo hunter2"],
    ids=["sleeps", "ignores signals", "prints for ever", "leaves a child"],
)
def test_a_command_that_does_not_end_is_ended(tmp_path, script, approved):
    began = time.monotonic()
    sentence = failure("pass_command", ("sh", "-c", script), tmp_path, timeout_s=0.3)
    approved(sentence)
    assert time.monotonic() - began < SOON_S


def values(**given) -> dict:
    found, wrong = read_options(given, secret_options("token", "what it wants"))
    assert wrong == {}
    return found


def test_every_secret_may_be_given_in_four_ways(file, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    file.write_text("hunter2\n")
    for given in (
        {"token": "hunter2"},
        {"token_file": "password"},
        {"token_env": "TOKEN"},
        {"token_command": "echo hunter2"},
    ):
        assert read_secret("token", values(**given), tmp_path) == Secret("hunter2")
    assert not read_secret("token", {}, tmp_path)


def test_a_secret_given_twice_or_not_to_be_had_is_one_line(tmp_path, approved):
    for number, given in enumerate(
        [{"token": "a", "token_env": "B"}, {"token_file": "none"}], start=1
    ):
        with pytest.raises(ValueError) as caught:
            read_secret("token", values(**given), tmp_path)
        approved(str(caught.value).replace(str(tmp_path), "FOLDER"), str(number))


def test_what_is_secret_in_a_query_is_told_by_its_name_and_its_look():
    raw = "page=2&api_key=a%2B7b+c&Token=hush-77;x_pwd=2much4you&user[pass]=p4ssword"
    assert list(secrets_in_query(raw)) == [
        "a%2B7b+c", "hush-77", "2much4you", "p4ssword"
    ]  # fmt: skip
    raw = "clientSecret=wordswordswords1&X-Amz-Signature=wordswordswords&sig=words"
    assert list(secrets_in_query(raw)) == ["wordswordswords1"]
    words = "keyword=hush-77&author=hush-77&monkey=hush-77&compass=hush-77&pass=&key=up"
    assert list(secrets_in_query(words)) == []


def test_what_logs_in_among_headers_is_a_secret():
    raw = (
        "Accept: text/html\nAuthorization: Bearer abc.def\n"
        "authorization: Basic dXNlcjpoYTpoYQ==\nProxy-Authorization: odd\n"
        "Cookie: a=1111; b=2222\nX-Api-Key: k k"
    )
    assert list(secrets_in_headers(raw)) == [
        "abc.def",
        "dXNlcjpoYTpoYQ==",
        "ha:ha",
        "odd",
        "1111",
        "2222",
        "k k",
    ]
