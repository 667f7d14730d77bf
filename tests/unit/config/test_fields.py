import pytest

from lib.config import fields
from lib.core.enums import JobFrequency
from lib.core.jobs import FailureRule


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
        (fields.timeout, "100ms", 0.1),
        (fields.timeout, "30 s", 30.0),
        (fields.duration(0, 1e9), "1.5h", 5400.0),
        (fields.duration(0, 1e9, bare="d"), "14", 14 * 86400.0),
        (fields.duration(0, 1e9, bare="d"), "2min", 120.0),
        (fields.size(0, 1e15), "1.5 GB", 1.5e9),
        (fields.size(0, 1e15), "3kB", 3000.0),
        (fields.percent(), "90%", 90.0),
        (fields.percent(), "90", 90.0),
        (fields.or_range(fields.whole(0, 100)), "1..15", (1, 15)),
        (fields.or_range(fields.whole(0, 100)), "7", 7),
        (fields.or_range(fields.duration(0, 99)), "1ms .. 0.5s", (0.001, 0.5)),
        (fields.tags, "web, dmz", ("web", "dmz")),
        (fields.tags, "", ()),
        (fields.failure_count, "FIVE", 5),
        (fields.failure_count, "3", 3),
        (fields.failures, "five", FailureRule(5)),
        (fields.failures, "3", FailureRule(3)),
        (fields.failures, "3/4", FailureRule(3, 4)),
        (fields.failures, "4 / 4", FailureRule(4)),
        (fields.failures, "15min", FailureRule(seconds=900)),
        (fields.failures, "2 h", FailureRule(seconds=7200)),
        (fields.addresses, "a@b.example", ("a@b.example",)),
        (fields.addresses, "a@b, c@[::1],", ("a@b", "c@[::1]")),
        (fields.url, "http://a.example", "http://a.example"),
        (fields.url, "https://u:p%40@[::1]:8443/x?y#z", None),
        (fields.host_names, "a.example, [::1]:80", ("a.example", "[::1]:80")),
        (fields.link, "https://a.example/x", "https://a.example/x"),
        (fields.link, "HTTP://a.example/x", "HTTP://a.example/x"),
        (fields.link, "mailto:a@b.example", "mailto:a@b.example"),
        (fields.link, "MAILTO:a@b,c@d?subject=x%20y", None),
        (fields.absolute_path, "/var/my disk", "/var/my disk"),
        (fields.host, "a.example", "a.example"),
        (fields.host, "_a.b-1_.Example.", "_a.b-1_.Example."),
        (fields.host, "straße.example", "straße.example"),
        (fields.host, "[::1]", "::1"),
        (fields.host, "fe80::1%eth0", "fe80::1%eth0"),
        (fields.exit_codes, "0", ((0, 0),)),
        (
            fields.exit_codes,
            "0, 24 100 - 127,255",
            ((0, 0), (24, 24), (100, 127), (255, 255)),
        ),
        (fields.statuses, "200", ((200, 200),)),
        (fields.statuses, "2xx, 301 - 308", ((200, 299), (301, 308))),
        (fields.escaped, r"PING\r\n", b"PING\r\n"),
        (fields.escaped, r"\x00\\\t\0ü", b"\x00\\\t\x00\xc3\xbc"),
    ],
)
def test_a_word_is_read_as_it_is_meant(read, value, found):
    assert read(value) == (value if found is None else found)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (fields.text, ""),
        *((fields.number(0, 10), it) for it in ("", "-1", "11", "nan", "1_0")),
        *((fields.number(0, 10), it) for it in ("1e1", "inf", "٣", "5 s", ".5")),
        (fields.whole(1, 10), "2.0"),
        (fields.whole(1, 10), "0"),
        (fields.whole(1, 10), "9" * 5000),
        (fields.switch, "maybe"),
        (fields.one_of(("get", "head")), "post"),
        (fields.port, "0"),
        (fields.port, "65536"),
        (fields.port, "http"),
        (fields.timeout, "51"),
        (fields.timeout, "1min"),
        (fields.timeout, "5 sec"),
        (fields.timeout, "s"),
        (fields.duration(0, 1e9, bare=""), "5"),
        (fields.duration(60, 1e7), "0.5s"),
        (fields.size(0, 1e15), "5"),
        (fields.size(0, 1e15), "5KB"),
        (fields.size(1000, 2.5e9), "3GB"),
        (fields.percent(), "101%"),
        (fields.percent(), "5s"),
        (fields.or_range(fields.whole(0, 100)), "15..1"),
        (fields.or_range(fields.whole(0, 100)), "1.."),
        (fields.or_range(fields.duration(0, 99)), "1..5x"),
        (fields.tags, "a b"),
        (fields.timeout, "0"),
        (fields.failures, "0"),
        (fields.failures, "4/3"),
        (fields.failures, "3/101"),
        (fields.failures, "0/3"),
        (fields.failures, "3/4/5"),
        (fields.failures, "30s"),
        (fields.failures, "60d"),
        (fields.failures, "2w"),
        (fields.failures, "often"),
        (fields.failure_count, "3/4"),
        (fields.addresses, ""),
        (fields.addresses, "a@b; c@d"),
        (fields.url, ""),
        (fields.url, "a.example"),
        (fields.url, "ftp://a.example/"),
        (fields.url, "http:///x"),
        (fields.url, "http://a b/"),
        (fields.url, "http://a\r\nb/"),
        (fields.url, "http://a:0/"),
        (fields.host_names, "http://status.example.com/"),
        (fields.host_names, "a.example, b.example/page"),
        (fields.host_names, "me@a.example"),
        (fields.host_names, "a.example, *"),
        (fields.host_names, "fd00::1"),
        (fields.base_url, "https://geheim@a.example/"),
        (fields.base_url, "https://a.example/x?geheim"),
        (fields.link, ""),
        (fields.link, "wiki/page"),
        (fields.link, "a@b.example"),
        (fields.link, "mailto"),
        (fields.link, "mailto:"),
        (fields.link, "mailto:ops"),
        (fields.link, "mailto:a:geheim@b.example"),
        (fields.link, "mailto:a@b?subject=x y"),
        (fields.link, "javascript:alert(1)"),
        (fields.link, "ftp://a.example/"),
        (fields.link, "http:a.example"),
        (fields.absolute_path, "var"),
        (fields.absolute_path, ""),
        (fields.absolute_path, "/a\0b"),
        (fields.host, ""),
        (fields.host, "http://a"),
        (fields.host, "a b"),
        (fields.host, "u@a"),
        *(
            (fields.host, name)
            for name in ('"a"', "*.a", "-a", "{host}", "a,b", "a;b", "$A", "a" * 254)
        ),
        (fields.host, "fe80::1"),
        (fields.host, "a:80"),
        (fields.host, "[::1]:80"),
        *(
            (fields.exit_codes, text)
            for text in ("", ",", "256", "5-3", "-1", "1-", "x")
        ),
        (fields.statuses, ""),
        (fields.statuses, "99"),
        (fields.statuses, "600"),
        (fields.statuses, "200-"),
        (fields.statuses, "308-301"),
        (fields.escaped, ""),
        (fields.escaped, r"\q"),
        (fields.escaped, r"\x1"),
        (fields.escaped, "a\\"),
    ],
)
def test_a_mistake_is_answered_with_what_was_expected(read, value, approved):
    approved(failure(read, value))


@pytest.mark.parametrize(
    "value", ["http://a:65536/", "http://a:http/", "http://u:geh/eim@a/", "http://[::1"]
)
def test_a_url_that_cannot_be_taken_apart_is_refused_without_its_words(value, approved):
    approved(failure(fields.url, value))


HOSTS = ["a", "a.example", "1.2.3.4", "1a.b2", "x_y.example", "a.example.", "127.1"]
HOSTS += ["0177.0.0.1", "1.2.3.0x7f", "1.2.3.256", "01.2.3.4", "1.2.3.4.", "a..b", "-"]
REST = ["", "/", "/x?y=1#z", "?x", ":80", ":8080/a@b:c", ":0/", ":65535", ":70000/"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("rest", [*REST, ":080", "/a b", "/a\n", "\n", "@b/", ":1@b/"])
def test_what_is_taken_for_a_plain_url_would_not_be_refused(host, rest):
    for scheme in ("http", "https", "ftp", "HTTP"):
        value = f"{scheme}://{host}{rest}"
        if fields.plain_url().fullmatch(value):
            assert fields.any_url(value) == value


@pytest.mark.parametrize(
    "address", ["a", "@b", "a@", "a@b\nBcc: c@d", "<a@b>", "a b@c"]
)
def test_what_is_no_mail_address_is_refused(address, approved):
    approved(failure(fields.addresses, address))
