"""What many mails have in common: the reason, the host, the address, the kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting.bundling import bundle_message, grouped, traits
from lib.core.enums import MessageKind
from lib.core.messages import Message

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def alert(name, reason, host="", *addresses):
    where = f"{host}: " if host else ""
    subject = f"{name} is failing: {where}{reason}"
    about = {"reason": reason, "host": host, "addresses": addresses}
    return name, Message(
        name, MessageKind.ALERT, subject, "", ("a@b.c",), NOON, **about
    )


def recovery(name):
    subject = f"{name} is OK again after 1 hour"
    return name, Message(name, MessageKind.RECOVERY, subject, "", ("a@b.c",), NOON)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (("no route to host",), ["no route to host"]),
        (
            ("connection refused", "shop.example", "192.0.2.7"),
            ["connection refused", "host shop.example", "address 192.0.2.7"],
        ),
        (("refused", "2001:db8::7"), ["refused", "address 2001:db8::7"]),
        (
            ("refused", "192.0.2.7", "192.0.2.7"),
            ["refused", "address 192.0.2.7"],
        ),
        (("", "shop.example"), ["host shop.example"]),
    ],
)
def test_a_mail_is_about_a_reason_a_host_and_addresses(about, said):
    assert [str(one) for one in traits(alert("http shop", *about)[1])] == said


def test_a_mail_is_about_what_the_job_said_whatever_words_its_subject_has():
    _name, usual = alert("http shop", "connection refused", "a.example")
    for subject in ("the shop: closed", "tried 192.0.2.7:80: b.example: refused"):
        assert traits(replace(usual, subject=subject)) == traits(usual)


def test_the_end_of_a_failure_is_about_nothing():
    assert traits(recovery("http shop")[1]) == ()


def titles(*entries):
    return {group.title: len(group.numbers) for group in grouped(entries)}


def test_many_hosts_out_of_reach_share_the_reason():
    down = [
        alert(f"http {number}", "no answer within 30 s", f"host{number}.example")
        for number in range(20)
    ]
    assert titles(*down) == {"no answer within 30 s": 20}


def test_a_host_that_is_down_is_one_group_whatever_its_services_say():
    assert titles(
        alert("http shop", "connection refused", "shop.example"),
        alert("tcp shop-mail", "no answer within 30 s", "shop.example"),
        alert("tls shop", "the handshake failed", "shop.example"),
        alert("disk root", "/ is 93% full"),
    ) == {"host shop.example": 3, "disk, failing": 1}


def test_an_address_with_many_hosts_is_one_group():
    assert titles(
        alert("http a", "refused", "a.example", "192.0.2.7"),
        alert("http b", "no answer", "b.example", "192.0.2.7"),
        alert("http c", "expected status 200, got 503", "", "192.0.2.7"),
    ) == {"address 192.0.2.7": 3}


def test_a_title_says_all_that_is_shared():
    assert titles(
        alert("http a", "connection refused", "a.example"),
        alert("http b", "connection refused", "a.example"),
    ) == {"connection refused, host a.example": 2}


def test_what_shares_nothing_else_is_grouped_by_kind():
    assert titles(
        alert("disk a", "/a is full"),
        alert("disk b", "/b is full"),
        recovery("http c"),
        recovery("http d"),
    ) == {"disk, failing": 2, "http, OK again": 2}


def test_the_subject_of_a_bundle_names_the_largest_group():
    entries = [
        alert("http a", "refused", "a.example"),
        alert("tcp a", "no answer", "a.example"),
        alert("disk b", "/b is full"),
    ]
    message = bundle_message("d", entries, NOON + timedelta(hours=1), UTC)
    assert message.subject == "3 failing: 2 times host a.example"
