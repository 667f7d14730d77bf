from pathlib import Path

import pytest

from lib.config import fields, kinds
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency

ROOT = Path(__file__).resolve().parents[3]


def failure(read, value):
    """Return the words with which a reader refuses a value."""
    with pytest.raises(ValueError) as caught:
        read(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("read", "value", "found"),
    [
        (fields.text, "Welcome", "Welcome"),
        (fields.number(0, 10), "0", 0.0),
        (fields.number(0, 10), "2.5", 2.5),
        (fields.whole(1, 10), "10", 10),
        (fields.switch, "Yes", True),
        (fields.switch, "0", False),
        (fields.one_of(("get", "head")), "GET", "get"),
        (fields.one_of(JobFrequency), "hour", JobFrequency.HOUR),
        (fields.port, "65535", 65535),
        (fields.timeout, "0.1", 0.1),
        (fields.timeout, "50", 50.0),
        (fields.failures, "FIVE", 5),
        (fields.failures, "3", 3),
        (fields.addresses, "a@b.example", ("a@b.example",)),
        (fields.addresses, "a@b, c@[::1],", ("a@b", "c@[::1]")),
        (fields.url, "http://a.example", "http://a.example"),
        (fields.url, "https://u:p%40@[::1]:8443/x?y#z", None),
        (fields.absolute_path, "/var/my disk", "/var/my disk"),
        (fields.host, "a.example", "a.example"),
        (fields.host, "[::1]", "::1"),
        (fields.host, "fe80::1%eth0", "fe80::1%eth0"),
        (fields.statuses, "200", ((200, 200),)),
        (fields.statuses, "2xx, 301 - 308", ((200, 299), (301, 308))),
        (fields.escaped, r"PING\r\n", b"PING\r\n"),
        (fields.escaped, r"\x00\\\t\0ü", b"\x00\\\t\x00\xc3\xbc"),
    ],
)
def test_a_word_is_read_as_it_is_meant(read, value, found):
    assert read(value) == (value if found is None else found)


NUMBER = "expected a number from 0 to 10"
URL = "expected http://host/... or https://host/..."
HOST = "expected a host name or an IP address"
STATUS = "expected HTTP status codes such as 200, 301-308 or 2xx"
ESCAPED = r"expected text in which a backslash starts \r \n \t \xNN"
PATH = "expected an absolute path, such as /var"
PORT_APART = f"{HOST}, the port as an option of its own"


@pytest.mark.parametrize(
    ("read", "value", "words"),
    [
        (fields.text, "", "expected some text"),
        *((fields.number(0, 10), it, NUMBER) for it in ("", "-1", "11", "nan", "1_0")),
        *(
            (fields.number(0, 10), it, NUMBER)
            for it in ("1e1", "inf", "٣", "5 s", ".5")
        ),
        (fields.whole(1, 10), "2.0", "expected a whole number from 1 to 10"),
        (fields.whole(1, 10), "0", "expected a whole number from 1 to 10"),
        (fields.whole(1, 10), "9" * 5000, "expected a whole number from 1 to 10"),
        (fields.switch, "maybe", "expected yes or no"),
        (fields.one_of(("get", "head")), "post", "expected one of get, head"),
        (fields.port, "0", "expected a port from 1 to 65535"),
        (fields.port, "65536", "expected a port from 1 to 65535"),
        (fields.port, "http", "expected a port from 1 to 65535"),
        (fields.timeout, "51", "expected seconds from 0.1 to 50"),
        (fields.timeout, "0", "expected seconds from 0.1 to 50"),
        (
            fields.failures,
            "0",
            "expected how many failures in a row, from 1 to 1000000",
        ),
        (fields.addresses, "", "expected at least one mail address"),
        (
            fields.addresses,
            "a@b; c@d",
            "expected mail addresses with commas between, not a@b; c@d",
        ),
        (fields.url, "", URL),
        (fields.url, "a.example", URL),
        (fields.url, "ftp://a.example/", URL),
        (fields.url, "http:///x", URL),
        (fields.url, "http://a b/", f"{URL}, without spaces"),
        (fields.url, "http://a\r\nb/", f"{URL}, without spaces"),
        (fields.url, "http://a:0/", f"{URL} with a port from 1 to 65535"),
        (fields.absolute_path, "var", PATH),
        (fields.absolute_path, "", PATH),
        (fields.absolute_path, "/a\0b", PATH),
        (fields.host, "", HOST),
        (fields.host, "http://a", HOST),
        (fields.host, "a b", HOST),
        (fields.host, "u@a", HOST),
        (fields.host, "a:80", PORT_APART),
        (fields.host, "[::1]:80", HOST),
        (fields.statuses, "", STATUS),
        (fields.statuses, "99", STATUS),
        (fields.statuses, "600", STATUS),
        (fields.statuses, "200-", STATUS),
        (fields.statuses, "308-301", "expected the lower status first, not 308-301"),
        (fields.escaped, "", "expected some text"),
        (fields.escaped, r"\q", ESCAPED),
        (fields.escaped, r"\x1", ESCAPED),
        (fields.escaped, "a\\", ESCAPED),
    ],
)
def test_a_mistake_is_answered_with_what_was_expected(read, value, words):
    assert failure(read, value) == words


@pytest.mark.parametrize(
    "value", ["http://a:65536/", "http://a:http/", "http://u:geh/eim@a/", "http://[::1"]
)
def test_a_url_that_cannot_be_taken_apart_is_refused_without_its_words(value):
    assert failure(fields.url, value) == f"{URL}, with a number for a port if any"


@pytest.mark.parametrize(
    "address", ["a", "@b", "a@", "a@b\nBcc: c@d", "<a@b>", "a b@c"]
)
def test_what_is_no_mail_address_is_refused(address):
    assert "expected mail addresses" in failure(fields.addresses, address)


# Sections.


def test_what_a_section_does_not_say_comes_from_the_defaults_then_from_the_kind():
    given = {"path": "/", "timeout": "5"}
    defaults = {"timeout": 9.0, "failures": 2}
    target, wrong = kinds.read_target("disk", "root", given, defaults)
    assert (target.section, wrong) == ("disk root", {})
    assert target.values["timeout"] == 5.0
    assert target.values["failures"] == 2
    assert target.values["limit"] == 90
    assert target.values["every"] == JobFrequency.HOUR
    assert target.values["notify"] == JobFailureNotificationFrequency.ONSTATECHANGE
    assert len(target.values) == len(dict(target.values)) == len([*target.values])
    assert "colour" not in target.values


def test_every_of_the_defaults_goes_before_the_kinds_own():
    defaults = {"every": JobFrequency.DAY}
    target, _wrong = kinds.read_target("disk", "root", {"path": "/"}, defaults)
    assert target.values["every"] == JobFrequency.DAY


def test_an_unknown_option_is_answered_with_the_nearest_known():
    given = {"path": "/", "limt": "5", "zzz": "1"}
    _target, wrong = kinds.read_target("disk", "root", given, {})
    assert wrong == {
        "limt": "unknown option 'limt'; did you mean 'limit'?",
        "zzz": "unknown option 'zzz'",
    }


def test_a_wrong_value_is_shown_with_what_was_expected():
    given = {"path": "/", "limit": "101"}
    _target, wrong = kinds.read_target("disk", "root", given, {})
    assert wrong == {"limit": "limit = 101: expected per cent from 1 to 100"}


def test_an_option_that_must_be_given_is_named_with_what_it_is_for():
    _target, wrong = kinds.read_target("tcp", "a", {"host": "a"}, {})
    assert wrong == {"port": "port is missing: 1 to 65535"}


def test_all_that_is_wrong_in_a_section_is_said_at_once():
    given = {"url": "x", "method": "post", "colour": "red"}
    _target, wrong = kinds.read_target("http", "a", given, {})
    assert set(wrong) == {"url", "method", "colour"}


@pytest.mark.parametrize("option", ["cafile", "path"])
def test_a_path_of_a_target_must_be_absolute(option):
    kind = "disk" if option == "path" else "tls"
    _target, wrong = kinds.read_target(kind, "a", {"host": "a", option: "x"}, {})
    assert wrong[option] == f"{option} = x: {PATH}"


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_has_its_job_file_and_a_reason_for_each_option(kind):
    known = kinds.KINDS[kind]
    assert (ROOT / "jobs" / f"{known.file}.py").is_file()
    assert all(option.why for option in known.all_options.values())


@pytest.mark.parametrize(
    ("name", "value", "seen"),
    [
        ("pass", "geheim", "***"),
        ("pass_command", "geheim", "***"),
        ("key", "geheim", "***"),
        ("url", "htp://u:geheim@a/", "***@a/"),
        ("host", "a\x1b[31m", r"'a\x1b[31m'"),
        ("host", "a" * 100, "a" * 57 + "..."),
        ("host", None, ""),
    ],
)
def test_a_wrong_value_is_shown_short_and_without_secrets(name, value, seen):
    assert fields.shown(name, value) == seen
