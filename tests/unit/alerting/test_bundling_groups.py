"""What many mails have in common: the reason, the host, the address, the kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.alerting.bundling import bundle_message, grouped, traits
from lib.core.enums import MessageKind
from lib.core.messages import Message

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def alert(name, reason, *more):
    lines = "\n".join(f"    {line}" for line in (reason, *more))
    subject = f"{name} is failing: {reason}"
    to = ("a@b.c",)
    return name, Message(
        name, MessageKind.ALERT, subject, lines, to, NOON, reason=reason
    )


def recovery(name):
    subject = f"{name} is OK again after 1 hour"
    return name, Message(name, MessageKind.RECOVERY, subject, "", ("a@b.c",), NOON)


@pytest.mark.parametrize(
    ("reason", "more"),
    [
        ("no route to host", ()),
        (
            "shop.example:443: connection refused",
            ("tried 192.0.2.7:443: connection refused",),
        ),
        ("[2001:db8::7]:25: no answer within 30 s", ()),
        ("cannot resolve shop.example: no such name", ()),
        ("mail.example: the certificate expired on 2026-11-01", ()),
        (
            "expected status 200, got 503 Service Unavailable",
            ("answered by 192.0.2.7:8080",),
        ),
        ("/srv is 93% full: limit 90%", ()),
        ("12:30: too late", ()),
    ],
)
def test_a_mail_is_about_a_reason_a_host_and_an_address(reason, more, approved):
    approved([str(one) for one in traits(alert("http shop", reason, *more)[1])])


def test_the_reason_is_the_jobs_whatever_words_the_subject_has():
    _name, usual = alert("http shop", "a.example:443: connection refused")
    for subject in (
        "the shop: closed",
        f"{usual.subject} (the 3rd time in 4 minutes)",
        "http: the shop is failing: a.example:443: connection refused",
    ):
        assert traits(replace(usual, subject=subject)) == traits(usual)


def test_the_end_of_a_failure_is_about_nothing():
    assert traits(recovery("http shop")[1]) == ()


def titles(*entries):
    return {group.title: len(group.messages) for group in grouped(entries)}


def test_many_hosts_out_of_reach_share_the_reason():
    down = [
        alert(f"http {number}", f"host{number}.example:443: no answer within 30 s")
        for number in range(20)
    ]
    assert titles(*down) == {"no answer within 30 s": 20}


def test_a_host_that_is_down_is_one_group_whatever_its_services_say():
    assert titles(
        alert("http shop", "shop.example:443: connection refused"),
        alert("tcp shop-mail", "shop.example:25: no answer within 30 s"),
        alert("tls shop", "shop.example: the handshake failed"),
        alert("http blog", "expected status 200, got 500"),
    ) == {"host shop.example": 3, "http, failing": 1}


def test_an_address_with_many_hosts_is_one_group():
    assert titles(
        alert("http a", "a.example:443: refused", "tried 192.0.2.7:443: refused"),
        alert("http b", "b.example:80: no answer", "tried 192.0.2.7:80: no answer"),
        alert("http c", "expected status 200, got 503", "answered by 192.0.2.7:80"),
    ) == {"address 192.0.2.7": 3}


def test_a_title_says_all_that_is_shared():
    assert titles(
        alert("http a", "a.example:443: connection refused"),
        alert("http b", "a.example:443: connection refused"),
    ) == {"connection refused, host a.example": 2}


def test_what_shares_nothing_else_is_grouped_by_kind():
    assert titles(
        alert("disk a", "/a is full"),
        alert("disk b", "/b is full"),
        recovery("http c"),
        recovery("http d"),
    ) == {"disk, failing": 2, "http, OK again": 2}


def test_the_subject_of_a_digest_names_the_largest_group():
    entries = [
        alert("http a", "a.example:443: refused"),
        alert("tcp a", "a.example:25: no answer"),
        alert("disk b", "/b is full"),
    ]
    message = bundle_message("d", entries, NOON + timedelta(hours=1), UTC)
    assert message.subject == "3 failing: 2 times host a.example"
