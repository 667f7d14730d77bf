"""[dns NAME]: each option alone turns the status; each way in which an answer fails."""

from __future__ import annotations

import contextlib
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from jobs.DNSChecker import _EXAMPLES, DNSChecker
from lib.core.enums import Status
from lib.core.schedule import JobFrequency
from lib.net import connect
from lib.net import dns as net_dns
from lib.plugins.kind import KindTable
from tests.support.dnsserver import NameServer, cut, silent
from tests.support.listeners import closed_port, found_by, job_of, result_of
from tests.support.waits import SOON_S

ZONE = (
    "www.example.com. 300 A 192.0.2.1; 192.0.2.2",
    "mail.example.com. 60 MX 10 mx1.example.com.; 20 MX2.example.com.",
    'spf.example.com. 60 TXT "v=spf1 mx, -all"',
    r'key._domainkey.example.com. 60 TXT "v=DKIM1;k=rsa;p=AA" "BB"',
    r'quotes.example.com. 60 TXT "say \"caf\195\169\""',
    f'long._domainkey.example.com. 60 TXT "p={"A" * 250}" "{"B" * 50}"',
    "alias.example.com. 5 CNAME www.example.com.",
    "gone.example.com. 60 CNAME nowhere.example.net.",
    "empty.example.com. 60 CNAME spf.example.com.",
    "9.0.0.127.in-addr.arpa. 60 PTR web.example.com.",
    "_sip._tcp.example.com. 60 SRV 1 2 5060 sip.example.com.",
    "xn--strae-oqa.example.com. 60 A 192.0.2.7",
    "loop.example.com. 60 CNAME loop.example.com.",
    "nomail.example.com. 60 MX 0 .",
    'https.example.com. 60 HTTPS 1 . alpn="h2,h3" ipv4hint="192.0.2.1,192.0.2.2"',
    'caa.example.com. 60 CAA 0 issue "a, b"; 0 iodef "mailto:c@example.com"',
)


def at(*servers):
    return ", ".join(f"127.0.0.1:{server.port}" for server in servers)


def found(server, **options):
    options = {"host": "www.example.com", "timeout": 10, **options}
    return found_by(DNSChecker, **{"servers": at(server), **options})


@pytest.fixture
def zone():
    with NameServer(*ZONE) as server:
        yield server


@pytest.fixture
def other():
    with NameServer("www.example.com. 10 A 192.0.2.9", flags=0) as server:
        yield server


#: Options that alone make it fail, and alone do not: of an answer of ``zone``.
CASES = {
    "host": ({"host": "no.example.com"}, {"host": "alias.example.com"}),
    "type": ({"type": "AAAA"}, {"type": "a"}),
    "expect": (
        {"expect": "192.0.2.1"},
        {"expect": "192.0.2.2, 192.0.2.1"},
    ),
    "expect_status": (
        {"expect_status": "NXDOMAIN"},
        {"expect_status": "NXDOMAIN", "host": "no.example.com"},
    ),
    "authentic": ({"authentic": "yes"}, {"authentic": "no"}),
    "fail_time": ({"fail_time": "1ms"}, {"fail_time": "1s"}),
    "warn_time": ({"warn_time": "1ms"}, {"warn_time": "1s"}),
    "fail_ttl": ({"fail_ttl": "301s"}, {"fail_ttl": "300s"}),
    "warn_ttl": ({"warn_ttl": "1h"}, {"warn_ttl": "1..400"}),
    "family": ({"family": "ipv6"}, {"family": "ipv4"}),
}


def slow(query, by_tcp):
    time.sleep(0.02)
    return NameServer.by_lines(_SLOW, query, by_tcp)


_SLOW = NameServer(*ZONE)


@pytest.mark.parametrize("option", CASES)
def test_an_option_alone_turns_the_status(option):
    with NameServer(*ZONE, answer=slow) as server:
        bad, good = CASES[option]
        results = [
            result_of(
                job_of(
                    DNSChecker,
                    **{"host": "www.example.com", "servers": at(server), **options},
                )
            )
            for options in (bad, good)
        ]
    expected = Status.WARNING if option.startswith("warn") else Status.FAILING
    assert [result.status for result in results] == [expected, Status.OK]


def test_every_option_has_a_case():
    table = KindTable("dns", JobFrequency.MINUTE, DNSChecker.options)
    rest = {"servers", "ask", "port", "match", "same_serial", "authoritative"}
    rest |= {"recursive", "transport", "need"}
    assert {*CASES, *rest} == {*table.own}


def test_further_records_count_unless_it_is_enough_that_some_are_there(zone):
    assert found(zone, expect="192.0.2.1") == (
        f"www.example.com A: 192.0.2.2 is not expected\n"
        f"asked 127.0.0.1:{zone.port}: 192.0.2.2 is not expected"
    )
    assert found(zone, expect="192.0.2.1", match="contains") == "fine"
    why = found(zone, expect="192.0.2.3", match="contains")
    assert why.startswith("www.example.com A: 192.0.2.3 is missing\n")


def test_the_first_server_that_answers_counts_or_every_one(zone, other):
    dead = closed_port()
    servers = f"127.0.0.1:{dead}, {at(zone)}"
    ask = {"host": "www.example.com", "servers": servers, "timeout": 10}
    assert found_by(DNSChecker, **ask) == "fine"
    assert found_by(DNSChecker, **ask, ask="every") == (
        "www.example.com A: 1 of 2 servers are wrong: nobody listens there "
        f"(connection refused)\nasked 127.0.0.1:{dead}: nobody listens there "
        "(connection refused)"
    )
    both = {"host": "www.example.com", "servers": at(zone, other), "timeout": 10}
    expect = {"expect": "192.0.2.1, 192.0.2.2"}
    assert found_by(DNSChecker, **both, **expect) == "fine"
    why = found_by(DNSChecker, **both, **expect, ask="every")
    assert f"asked 127.0.0.1:{other.port}: 192.0.2.1, 192.0.2.2 is missing" in why


def test_a_port_of_its_own_goes_before_the_port_of_all(zone):
    ask = {"host": "www.example.com", "timeout": 10}
    assert found_by(DNSChecker, **ask, servers="127.0.0.1", port=zone.port) == "fine"
    why = found_by(DNSChecker, **ask, servers="127.0.0.1", port=closed_port())
    assert "nobody listens there (connection refused)" in why
    assert found_by(DNSChecker, **ask, servers=at(zone), port=closed_port()) == "fine"


def test_a_server_may_have_to_be_one_of_the_zone(zone, other):
    assert found(zone, authoritative="yes") == "fine"
    why = found(other, authoritative="yes")
    assert "the server is none of the zone (no AA flag)" in why


def test_a_validated_answer_has_its_flag():
    with NameServer(*ZONE, flags=dns.flags.AD) as server:
        assert found(server, authentic="yes") == "fine"


def test_recursion_is_asked_for_unless_it_is_not_wanted(zone):
    wishes = []

    def answer(query, by_tcp):
        wishes.append(bool(query.flags & dns.flags.RD))
        return zone.by_lines(query, by_tcp)

    with NameServer(answer=answer) as server:
        assert found(server) == found(server, recursive="no") == "fine"
    assert wishes == [True, False]


def test_tcp_is_asked_where_it_is_wanted_or_the_answer_was_cut(zone):
    assert found(zone, transport="tcp") == "fine"
    assert zone.asked == ["tcp"]
    with NameServer(answer=cut(zone)) as server:
        assert found(server) == "fine"
        assert server.asked == ["udp", "tcp"]
    with NameServer(answer=cut(zone)) as server:
        server.refuse_tcp()
        assert found(server).splitlines()[0] == (
            "www.example.com A: the answer is too long for UDP, and over TCP: nobody "
            "listens there (connection refused)"
        )


# What is asked for.


@pytest.mark.parametrize(
    "options",
    [
        {"host": "127.0.0.9", "type": "PTR", "expect": "web.example.com"},
        {"host": "_sip._tcp.example.com", "type": "SRV"},
        {"host": "straße.example.com", "expect": "192.0.2.7"},
        {"host": "mail.example.com", "type": "MX", "expect": "20 mx2.Example.com, "
         "10 mx1.example.com."},
        {"host": "spf.example.com", "type": "TXT", "expect": "v=spf1 mx, -all"},
        {"host": "spf.example.com", "type": "txt", "expect": '"v=spf1 mx, -all"'},
        {"host": "key._domainkey.example.com", "type": "TXT",
         "expect": '"v=DKIM1;k=rsa;p=AA" "BB"'},
        {"host": "key._domainkey.example.com.", "type": "TXT",
         "expect": "v=DKIM1;k=rsa;p=AABB"},
        {"host": "long._domainkey.example.com", "type": "TXT",
         "expect": f'"p={"A" * 250}{"B" * 50}"'},
        {"host": "quotes.example.com", "type": "TXT",
         "expect": r'"say \"caf\195\169\""'},
        {"host": "quotes.example.com.", "type": "TXT", "expect": 'say "café"'},
        {"host": "WWW.EXAMPLE.COM."},
        {"host": "nomail.example.com", "type": "MX", "expect": "0 ."},
        {"host": "https.example.com", "type": "HTTPS",
         "expect": '1 . alpn="h2,h3" ipv4hint=192.0.2.1,192.0.2.2'},
        {"host": "caa.example.com", "type": "CAA",
         "expect": '0 issue "a, b", 0 iodef "mailto:c@example.com"'},
    ],
    ids=lambda options: options["host"],
)  # fmt: skip
def test_names_and_records_are_read_as_people_write_them(zone, options):
    assert found(zone, **options) == "fine"


# Five words for five ways to have no record.


@pytest.mark.parametrize(
    ("host", "rcode", "said"),
    [
        ("no.example.com", "", "there is no such name (NXDOMAIN)"),
        ("mail.example.com", "", "it has no A record (the answer is empty)"),
        (
            "gone.example.com",
            "",
            "it is an alias of nowhere.example.net, which does not exist (NXDOMAIN)",
        ),
        (
            "empty.example.com",
            "",
            "it is an alias of spf.example.com, which has no A record (the answer is "
            "empty)",
        ),
        ("www.example.com", "SERVFAIL", "the server failed (SERVFAIL)"),
        ("www.example.com", "REFUSED", "the server refuses to answer (REFUSED)"),
        ("www.example.com", "YXDOMAIN", "the server answers with a code (YXDOMAIN)"),
    ],
)
def test_each_way_to_have_no_record_has_its_own_words(host, rcode, said):
    with NameServer(*ZONE, rcode=rcode) as server:
        why = found(server, host=host)
    assert why.partition("\n")[0] == f"{host} A: {said}"


def test_a_server_that_knows_nothing_of_a_name_refers_to_others():
    def answer(query, _by_tcp):
        response = dns.message.make_response(query)
        text = dns.rrset.from_text("com.", 60, "IN", "NS", "a.gtld.example.")
        response.authority.append(text)
        return response.to_wire()

    with NameServer(answer=answer) as server:
        why = found(server)
    assert "the server knows nothing of it, and refers to a.gtld.example" in why


def test_what_is_expected_to_be_missing_says_what_came(zone):
    why = found(zone, expect_status="NODATA")
    assert "it has 192.0.2.1, 192.0.2.2; expected NODATA" in why
    assert found(zone, host="mail.example.com", expect_status="NODATA") == "fine"


# Servers that do not answer as they should.


@pytest.mark.long
def test_the_time_is_shared_among_servers_so_that_a_later_one_is_asked(zone):
    with contextlib.ExitStack() as stack:
        quiet = [stack.enter_context(NameServer(answer=silent)) for _ in range(3)]
        began = time.monotonic()
        ask = {"host": "www.example.com", "timeout": 2}
        assert found_by(DNSChecker, **ask, servers=at(*quiet, zone)) == "fine"
        why = found_by(DNSChecker, **ask, servers=at(*quiet))
        assert time.monotonic() - began < SOON_S
    assert why.startswith("www.example.com A: no answer within ")


def test_a_lost_answer_is_asked_for_again(zone, monkeypatch):
    monkeypatch.setattr(net_dns, "AGAIN_AFTER_S", 0.05)
    count = []

    def answer(query, by_tcp):
        count.append(1)
        return zone.by_lines(query, by_tcp) if len(count) > 2 else None

    with NameServer(answer=answer) as server:
        assert found(server) == "fine"
    assert len(count) == 3


def test_an_answer_to_another_question_does_not_count(zone):
    def answer(query, by_tcp):
        query.id ^= 1
        return zone.by_lines(query, by_tcp)

    with NameServer(answer=answer) as server:
        assert "no answer within" in found(server, timeout=1)


def test_what_is_no_message_of_dns_is_said_so():
    with NameServer(answer=lambda _query, _by_tcp: b"no") as server:
        assert "what came is no DNS message (ShortHeader)" in found(server)


def test_a_server_that_knows_no_edns_is_asked_without(zone):
    def answer(query, by_tcp):
        if query.edns < 0:
            return zone.by_lines(query, by_tcp)
        response = dns.message.make_response(query)
        response.use_edns(-1)
        response.set_rcode(dns.rcode.FORMERR)
        return response.to_wire()

    with NameServer(answer=answer) as server:
        assert found(server) == "fine"

    with NameServer(answer=answer) as server:
        assert found(server, transport="tcp") == "fine"


def of_aliases(*links):
    """Return what answers with these aliases alone, as the server of their zone."""

    def answer(query, _by_tcp):
        response = dns.message.make_response(query)
        response.answer = [
            dns.rrset.from_text(name, 60, "IN", "CNAME", to) for name, to in links
        ]
        return response.to_wire()

    return answer


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ([("a.example.", "a.example.")], "a.example -> a.example"),
        (
            [("a.example.", "b.example."), ("b.example.", "a.example.")],
            "a.example -> b.example -> a.example",
        ),
        (
            [("a.example.", "b.example."), ("b.example.", "b.example.")],
            "a.example -> b.example -> b.example",
        ),
    ],
)
def test_aliases_in_a_circle_are_no_empty_answer(links, said):
    with NameServer(answer=of_aliases(*links)) as server:
        why = found(server, host="a.example")
        assert why.startswith(f"a.example A: its aliases are a circle: {said}\n")
        why = found(server, host="a.example", expect_status="NODATA")
        assert "are a circle" in why
        assert found(server, host="a.example", type="CNAME") == "fine"


def test_an_alias_that_leads_out_of_the_zone_is_not_called_empty():
    with NameServer(answer=of_aliases(("a.example.", "cdn.example.net."))) as server:
        why = found(server, host="a.example")
    assert why.startswith(
        "a.example A: it is an alias of cdn.example.net, of which this server says "
        "nothing; ask a resolver, or set type = CNAME\n"
    )


# The name servers of a zone.


def test_all_name_servers_of_a_zone_have_one_serial():
    soa = "example.com. 60 SOA ns1.example.com. a.example.com. {} 2 3 4 5"
    zone = (
        "example.com. 60 NS ns1.example.com.; ns2.example.com.",
        "ns1.example.com. 60 A 127.0.0.1",
        "ns2.example.com. 60 A 127.0.0.2",
    )
    with NameServer(*zone, soa.format(7)) as first:
        how = {"host": "example.com", "type": "SOA", "same_serial": "yes"}
        how |= {"port": first.port}
        with NameServer(
            *zone, soa.format(7), address="127.0.0.2", port=first.port
        ) as second:
            assert found(first, **how) == "fine"
            second.lines = (*zone, soa.format(6))
            assert found(first, **how) == (
                "example.com: the serial numbers differ: ns1.example.com has 7; "
                "ns2.example.com has 6"
            )
        why = found(first, **how)
    assert why.startswith(
        "example.com: a name server fails: ns1.example.com has 7; ns2"
    )


@pytest.mark.long
def test_an_address_of_a_name_server_that_is_silent_leaves_time_for_the_next():
    zone = (
        "example.com. 60 NS ns1.example.com.",
        "ns1.example.com. 60 A 127.0.0.1; 127.0.0.2",
        "example.com. 60 SOA ns1.example.com. a.example.com. 7 2 3 4 5",
    )
    how = {"host": "example.com", "type": "SOA", "same_serial": "yes", "timeout": "1s"}
    with NameServer(answer=silent) as dead:
        place = {"address": "127.0.0.2", "port": dead.port}
        with NameServer(*zone, **place):
            how["servers"] = f"127.0.0.2:{dead.port}"
            assert found(dead, port=dead.port, **how) == "fine"


@pytest.mark.long
def test_why_a_name_server_fails_is_not_that_it_has_an_address_out_of_reach(
    monkeypatch,
):
    zone = (
        "example.com. 60 NS ns1.example.com.; ns2.example.com.",
        "ns1.example.com. 60 A 127.0.0.1",
        "ns2.example.com. 60 A 127.0.0.2",
        "ns2.example.com. 60 AAAA 2001:db8::1",
        "example.com. 60 SOA ns1.example.com. a.example.com. 7 2 3 4 5",
    )
    monkeypatch.setattr(connect, "_has_no_route", lambda address: ":" in address[0])
    with NameServer(*zone) as server:
        how = {"host": "example.com", "type": "SOA", "same_serial": "yes"}
        how |= {"timeout": "1s", "port": server.port}
        why = found(server, **how)
        assert why.startswith(
            "example.com: a name server fails: ns1.example.com has 7; "
            "ns2.example.com: nobody listens there (connection refused)"
        )
        server.lines = tuple(line for line in zone if "127.0.0.2" not in line)
        assert found(server, **how).startswith(
            "unknown: not checked: this machine has no route to 2001:db8::1"
        )


@pytest.mark.long
def test_every_server_cannot_be_judged_where_one_is_out_of_reach(zone, monkeypatch):
    monkeypatch.setattr(connect, "_has_no_route", lambda address: ":" in address[0])
    how = {"servers": f"127.0.0.1:{zone.port}, 2001:db8::1", "timeout": "1s"}
    assert found(zone, ask="every", **how).startswith(
        "unknown: not checked: this machine has no route to 2001:db8::1"
    )
    assert found(zone, ask="first", **how) == "fine"


# The servers of this machine.


def test_one_bad_line_of_resolv_conf_stops_nobody(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "nameserver bad\nnameserver\t127.0.0.1\noptions a\nnameserver ::1\n"
    )
    servers, odd = net_dns.system_servers(path)
    assert servers == ["127.0.0.1", "::1"]
    assert odd == [f"{path}:1: 'nameserver bad' names no address"]
    assert net_dns.system_servers(tmp_path / "none") == (["127.0.0.1"], [])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("host", "a b", "expected a name such as www.example.com"),
        ("host", f"{'a' * 64}.example.com", "is not a name"),
        ("type", "ANY", "expected a type such as A"),
        ("type", "WWW", "expected a type such as A"),
        ("servers", ",", "expected 1 to 20 servers"),
        ("servers", "127.0.0.1:0", "1 to 65535"),
        ("expect_status", "OK", "expected NOERROR, NODATA, NXDOMAIN, SERVFAIL or REF"),
    ],
)
def test_what_cannot_be_used_says_what_was_expected(option, value, said):
    with pytest.raises(ValueError, match=said):
        DNSChecker.options[option].read(value)


@pytest.mark.parametrize("turned", [1, -1], ids=["first", "last"])
def test_of_every_server_time_and_ttl_are_the_worst(zone, turned):
    def slow(*asked):
        time.sleep(0.2)
        return zone.by_lines(*asked)

    with (
        NameServer("www.example.com. 10 A 192.0.2.1; 192.0.2.2") as short,
        NameServer(answer=slow) as long,
    ):
        options = {"host": "www.example.com", "ask": "every", "timeout": 10}
        servers = at(*[long, short][::turned])
        job = job_of(DNSChecker, **options, servers=servers, fail_ttl="60s")
        result = result_of(job)
    assert result.reason == (
        f"ttl is 10s, under fail_ttl = 1min\nttl is that of {at(short)}, the worst of 2"
    )
    assert result.values["time"].number > 0.15


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"type": "MX", "expect": "mx.example.com"},
            "; expected records of type MX, such as 10 mx.example.com, or set type",
        ),
        (
            {"type": "HINFO", "expect": "x"},
            "; expected records of type HINFO, or set type",
        ),
        (
            {"expect": "192.0.2.1, 192.0.2"},
            "; expected records of type A, such as 192.0.2.1, or set type",
        ),
        (
            {"host": "192.0.2.1", "expect": "192.0.2.1"},
            "host is an address, which has no A record; set type = PTR",
        ),
        (
            {"host": "2001:db8::1", "type": "aaaa"},
            "host is an address, which has no AAAA record; set type = PTR",
        ),
        (
            {"type": "TXT", "expect": '"one" "'},
            "; expected records of type TXT, or set type",
        ),
        (
            {"expect_status": "NXDOMAIN", "expect": "192.0.2.1"},
            "expect is about records, and expect_status = NXDOMAIN has none; keep one",
        ),
        (
            {"expect_status": "NODATA", "warn_ttl": "1h"},
            "warn_ttl is about records, and expect_status = NODATA has none; keep one",
        ),
    ],
)
def test_what_no_answer_can_be_is_said_beforehand(options, said):
    job = job_of(DNSChecker, **{"host": "www.example.com", **options})
    (words,) = DNSChecker.wrong_together(job.target)
    assert words.text.endswith(said)


@pytest.mark.parametrize("rdtype", _EXAMPLES)
def test_each_example_is_a_record_of_its_type(rdtype):
    options = {"type": rdtype, "expect": _EXAMPLES[rdtype]}
    job = job_of(DNSChecker, host="www.example.com", **options)
    assert not list(DNSChecker.wrong_together(job.target))
