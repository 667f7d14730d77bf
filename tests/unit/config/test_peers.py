"""The lines of [peers]: good ones, wrong ones, and those that mean us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.config.ini import IniText
from lib.config.peers import find_keys, peer, peers_in, read_peers, without_ourselves
from lib.core.ini import IniFile
from lib.core.secret import Secret
from tests.support.instance import Instance
from tests.support.listeners import Listener, answer, says
from tests.support.servers import SmtpServer


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (
            "http://example.org:5000,admin@example.org",
            ("http://example.org:5000", "admin@example.org", ""),
        ),
        (
            "http://[::1]:5000/, admin@example.org, key = a=b",
            ("http://[::1]:5000/", "admin@example.org", "a=b"),
        ),
        (
            "https://u:p@example.org/x?y=1,a@example.org,key=p@s",
            ("https://u:p@example.org/x?y=1", "a@example.org", "p@s"),
        ),
    ],
)
def test_what_is_understood(value, found):
    url, contact, (option, key) = peer(value)
    assert (url, contact, key.reveal()) == found
    assert option == "key"


def keys(folder: Path, line: str) -> tuple[list[Secret], IniFile, dict[str, str]]:
    """Return the keys of [peers] with one line, what workers get, and the errors."""
    sections = IniText(f"[peers]\nevery = day\nfriend = {line}\n", "x").sections
    ini = IniFile(folder, ("x",), sections)
    values, wrong = find_keys(ini, read_peers(ini.given("peers"))[0])
    return [one.key for one in peers_in(values).peers], ini, wrong


@pytest.mark.parametrize(
    "source", ["key_file = key", "key_env = FRIEND", "key_command = echo 'se cret'"]
)
def test_a_key_may_be_elsewhere(source, tmp_path, monkeypatch):
    monkeypatch.setenv("FRIEND", "se cret")
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text("se cret\n")
    found, ini, wrong = keys(tmp_path, f"{U},{A},{source}")
    assert (found, wrong) == ([Secret("se cret")], {})
    assert peer(ini.get("peers", "friend"))[2] == ("key", Secret("se cret"))


@pytest.mark.parametrize(
    "source",
    [
        "key_file = none",
        "key_env = NONE",
        "key_command = false",
        "key_command = echo 'a",
        "key_command = echo 'a,b'",
        "key_file = a, key = b",
    ],
)
def test_a_key_that_cannot_be_had_leaves_out_its_peer(source, tmp_path, approved):
    try:
        found, _ini, wrong = keys(tmp_path, f"{U},{A},{source}")
        assert found == []
        approved(wrong["friend"].replace(str(tmp_path), "FOLDER"))
    except KeyError:
        with pytest.raises(ValueError) as caught:
            peer(f"{U},{A},{source}")
        approved(str(caught.value))


U, A = "https://example.org/", "a@example.org"


@pytest.mark.parametrize(
    "value",
    [
        U,
        f"{U},",
        f"{U},{A},",
        f"{U},,{A}",
        f"{U},{A},b@example.org",
        f"{U},key=abc",
        f"{U},{A},key=",
        f"{U},{A},key=a,b",
        f"{U},{A},other=1",
        f"{U},nobody",
        f"{A},{U}",
        f"example.org,{A}",
        f"http://::1:5000/,{A}",
        f"http://2001:db8::1/,{A}",
        f"http://[::1:5000/,{A}",
        f",{A}",
        "hour",
    ],
)
def test_each_wrong_line_says_what_is_wrong_with_it(value, approved):
    with pytest.raises(ValueError) as caught:
        peer(value)
    approved(str(caught.value))


LISTEN = {"listen": ("0.0.0.0", 7000)}
WRITE = {"write": "/var/www/checker.txt"}
NODE = os.uname().nodename


@pytest.mark.parametrize(
    ("url", "status", "is_us"),
    [
        ("http://web1:5000/", {}, True),
        ("http://WEB1:7000/x", LISTEN, True),
        pytest.param(f"http://{NODE}:7000/", LISTEN, True, id="our node"),
        ("http://localhost:7000/", LISTEN, True),
        ("http://[::1]:7000/", LISTEN, True),
        ("https://web1/checker.txt", WRITE, True),
        # Another instance on this machine, or a friend's file on our web server.
        ("http://localhost:5000/", {}, False),
        ("http://localhost:7001/", LISTEN, False),
        ("http://localhost/checker.txt", WRITE, False),
        ("https://web1/friend/checker.txt", WRITE, False),
        ("https://web1/", WRITE, False),
        ("https://example.org:5000/", {}, False),
    ],
)
def test_a_line_that_means_us_is_no_peer(url, status, is_us, approved):
    values = {"every": "hour", "a": (url, A, ""), "b": (U, A, "")}
    left, wrong = without_ourselves(values, "Web1", status)
    assert ("a" in wrong, "a" in left) == (is_us, not is_us)
    approved(wrong.get("a", ""), hide={NODE: "NODE"})
    assert {"every", "b"} < set(left) | {"a"}


def test_a_line_with_our_own_name_is_the_one_for_the_other_side(approved):
    left, wrong = without_ourselves({"web1": (U, A, "k")}, "Web1", {})
    assert left == {}
    approved(wrong["web1"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = https://a.example/", "x = https://a.example/: expected url,email: the"),
        ("x = https://a.example/,a@b.org,c@d.org", "one address"),
        ("x = a,b,", "expected http://host/..."),
        (
            "x = http://[::1]:7000/,a@b.org",
            "x: this address is our own [status] listen",
        ),
    ],
)
def test_a_wrong_line_is_an_error_and_the_other_peers_are_asked(tmp_path, line, said):
    with (
        SmtpServer(security="none") as server,
        Listener(says(answer(body=b"JobProblem"))) as there,
    ):
        good = f"friend = {there.url()},admin@example.org"
        peers = f"[peers]\nevery = minute\n{line}\n{good}\n"
        status = "[status]\nlisten = 127.0.0.1:7000\n"
        instance = Instance(tmp_path, server.email_section() + peers + status)
        assert instance.cron().code == 0
        assert len(server.wait_for(2)) == 2
        (wrong,) = [one for one in server.mails if "peer friend" not in one.subject]
        assert said in wrong.body and wrong.to == ("ops@example.com",)
        assert len(there.heard) == 1
        ran = instance.run("-m", "validate")
    assert ran.code == 1 and said in ran.out
