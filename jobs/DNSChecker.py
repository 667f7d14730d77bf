"""[dns NAME]: checks that name servers give the records they should."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from lib.jobbase import (
    CheckFailed,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Value,
    Values,
    one_of,
    option,
    port,
    seconds,
    switch,
    text,
)
from lib.net import bulk, connect
from lib.net.address import is_address
from lib.net.connect import NotTried, Unreachable

if TYPE_CHECKING:
    from lib.net.dns import Question, Response

STATUSES = ("NOERROR", "NODATA", "NXDOMAIN", "SERVFAIL", "REFUSED")
#: The most servers of one target.
MAX_SERVERS = 20


#: A record of each type that is expected now and then.
_EXAMPLES = {
    "A": "192.0.2.1",
    "AAAA": "2001:db8::1",
    "CAA": '0 issue "ca.example"',
    "CNAME": "www.example.com",
    "MX": "10 mx.example.com",
    "NS": "ns1.example.com",
    "PTR": "www.example.com",
    "SRV": "0 5 5060 sip.example.com",
}


#: The types whose records have commas; of others what is in quotes may have them.
_WITH_COMMAS = ("TXT", "HTTPS", "SVCB")
_UP_TO_COMMA = r'(?:"(?:\\.|[^"\\])*"|[^,])+'


def asked_name(value: str) -> str:
    """Return a name of DNS, or an address, whose PTR record is meant."""
    if not value or re.search(r"[\s/]", value):
        raise ValueError("expected a name such as www.example.com, or an address")
    from lib.net.dns import name_of

    name_of(value)
    return value


def record_type(value: str) -> str:
    """Return the type of a record, such as ``MX``."""
    import dns.rdatatype

    word = value.upper()
    try:
        rdtype = dns.rdatatype.from_text(word)
        is_one = not dns.rdatatype.is_metatype(rdtype)
    except (dns.rdatatype.UnknownRdatatype, ValueError):
        is_one = False
    if not is_one:
        raise ValueError("expected a type such as A, AAAA, MX, TXT, NS, SOA or CAA")
    return word


def servers(value: str) -> tuple[tuple[str, int], ...]:
    """Return hosts and ports of ``host, host:port, [address]:port``; 0: no port."""
    from lib.jobbase import host

    found = []
    for word in value.replace("\n", ",").split(","):
        place = word.strip()
        if not place:
            continue
        match = re.fullmatch(r"\[(.+)\](?::(\d+))?|([^:]+):(\d+)|(.+)", place)
        assert match is not None
        name = match[1] or match[3] or match[5]
        number = match[2] or match[4]
        found.append((host(name), port(number) if number else 0))
    if not 0 < len(found) <= MAX_SERVERS:
        raise ValueError(f"expected 1 to {MAX_SERVERS} servers")
    return tuple(dict.fromkeys(found))


def status(value: str) -> str:
    """Return a code of DNS, or NODATA."""
    word = value.upper()
    if word not in STATUSES:
        raise ValueError(f"expected {', '.join(STATUSES[:-1])} or {STATUSES[-1]}")
    return word


def records(value: str, rdtype: str) -> list[str]:
    """Return records, one in a line, or with commas between if none has its own."""
    is_lines = "\n" in value or rdtype in _WITH_COMMAS
    parts = value.split("\n") if is_lines else re.findall(_UP_TO_COMMA, value)
    return [part.strip() for part in parts if part.strip()]


class DNSChecker(bulk.InBulk, TargetJob):
    """One question to one or several name servers."""

    kind = "dns"
    yields = ("fail_ttl", "warn_ttl")
    recheck = "5min"
    is_across_network = True
    options: Options = {
        "host": option(
            asked_name, help="the name that is asked for; an address for PTR"
        ),
        "type": option(record_type, "A", help="of the record: A, AAAA, MX, TXT, ..."),
        "servers": option(
            servers,
            (),
            help="name servers, host or host:port, with commas; else this machine's",
        ),
        "ask": option(
            one_of(("first", "every")),
            "first",
            help="every: each server must be right; first: one that answers",
        ),
        "port": option(port, 53, help="of servers without one"),
        "expect": option(
            text,
            "",
            help="the records that must come, in any order: one in a line, or with "
            "commas unless they are TXT or HTTPS",
        ),
        "match": option(
            one_of(("exact", "contains")),
            "exact",
            help="contains: further records may come",
        ),
        "expect_status": option(
            status,
            "NOERROR",
            help="NXDOMAIN: there must be no such name; NODATA: no record of the type",
        ),
        "same_serial": option(
            switch, False, help="yes: all name servers of the zone have the same SOA"
        ),
        "authentic": option(
            switch, False, help="yes: the server must have validated it (AD flag)"
        ),
        "authoritative": option(
            switch, False, help="yes: the server must be one of the zone (AA flag)"
        ),
        "recursive": option(
            switch, True, help="no: ask for what the server knows itself"
        ),
        "transport": option(
            one_of(("udp", "tcp")), "udp", help="udp, with tcp for long answers; or tcp"
        ),
        "family": option(
            one_of(("any", "ipv4", "ipv6")),
            "any",
            help="ipv4 or ipv6: ask servers at such addresses only",
        ),
        "fail_time": option(seconds, None, help="failing if the answer takes longer"),
        "warn_time": option(seconds, None, help="a warning if it takes longer"),
        "fail_ttl": option(
            seconds, None, below=True, help="failing if it may be kept for less time"
        ),
        "warn_ttl": option(seconds, None, below=True, help="a warning if for less"),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield what an address has not, a record of another type, and what an answer
        without records lacks."""
        if target.type in ("A", "AAAA") and is_address(target.host):
            words = f"host is an address, which has no {target.type} record"
            yield Clash(f"{words}; set type = PTR", ("host", "type"))
        elif target.expect:
            yield from _wrong_records(target)
        if target.expect_status != "NOERROR":
            for name in ("expect", "fail_ttl", "warn_ttl"):
                if getattr(target, name):
                    of = f"expect_status = {target.expect_status}"
                    words = f"{name} is about records, and {of} has none; keep one"
                    yield Clash(words, (name, "expect_status"))

    def shown_target(self) -> str:
        """Return the name and the type."""
        return f"{self.target.host} {self.target.type}"

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long the answer took, and how long it may be kept."""
        question = _question(target)
        wanted = _wanted(target, question)
        judge = partial(_trouble, target, question, wanted)
        right = yield from _ask(self, target, question, judge, deadline)
        # A name server that is silent takes time, so it comes last.
        if target.same_serial:
            yield from _same_serial(self, target, deadline)
        odd = dict.fromkeys(right, self.note)
        return self.worst_of(
            {place: _values(target, response) for place, response in right.items()},
            odd,
            least=("ttl",),
        )


def _values(target: Target, response: Response) -> dict[str, Value]:
    """Return how long an answer took, and how long it may be kept."""
    values = {
        "time": seconds(response.seconds, warn=target.warn_time, fail=target.fail_time)
    }
    if response.ttl is not None:
        values["ttl"] = seconds(
            response.ttl, warn=target.warn_ttl, fail=target.fail_ttl
        )
    return values


def _question(target: Target, type_: str = "", *, recursive: bool = True) -> Question:
    import dns.rdatatype

    from lib.net.dns import Question, name_of

    rdtype = dns.rdatatype.from_text(type_ or target.type)
    return Question(name_of(target.host), rdtype, recursive and target.recursive)


def _wanted(target: Target, question: Question) -> frozenset[str]:
    """Return the records that must come; raise ValueError if one cannot."""
    from lib.net.dns import plain

    words = records(target.expect, question.type)
    return frozenset(plain(question.rdtype, word) for word in words)


def _wrong_records(target: Target) -> Iterator[Clash]:
    try:
        _wanted(target, _question(target))
    except ValueError as error:
        example = _EXAMPLES.get(target.type)
        such_as = f", such as {example}" if example else ""
        yield Clash(
            f"expect: {error}; expected records of type {target.type}{such_as}, or set "
            "type",
            ("expect", "type"),
        )


def _trouble(
    target: Target, question: Question, wanted: frozenset[str], response: Response
) -> str:
    """Return what is wrong with an answer; nothing if it is as expected."""
    if response.status != target.expect_status:
        if target.expect_status == "NOERROR":
            return response.words(question)
        came = response.words(question)
        if response.status == "NOERROR":
            came = f"it has {', '.join(response.records)}"
        return f"{came}; expected {target.expect_status}"
    came_records = frozenset(response.records)
    missing, more = wanted - came_records, came_records - wanted
    if wanted and (missing or (more and target.match == "exact")):
        parts = [f"{', '.join(sorted(missing))} is missing"] if missing else []
        if more and target.match == "exact":
            parts.append(f"{', '.join(sorted(more))} is not expected")
        return "; ".join(parts)
    if target.authoritative and not response.is_authoritative:
        return "the server is none of the zone (no AA flag)"
    if target.authentic and not response.is_authentic:
        return "the server has not validated the answer (no AD flag)"
    return ""


def _servers(job: TargetJob, target: Target) -> Sequence[tuple[str, int]]:
    if target.servers:
        return [(name, number or target.port) for name, number in target.servers]
    from lib.net.dns import system_servers

    names, odd = system_servers()
    job.note = "\n".join(odd)
    return [(name, target.port) for name in names]


def _ask(
    job: TargetJob,
    target: Target,
    question: Question,
    judge: Callable[[Response], str],
    deadline: Deadline,
) -> bulk.Steps[dict[str, Response]]:
    """Return the answer of the first server that is right, or that of each, by server.

    Raise CheckFailed, with each server that is not, if that is not to be had.
    """
    places = _servers(job, target)
    right: dict[str, Response] = {}
    wrong: list[tuple[str, str]] = []
    not_tried: list[NotTried] = []
    for number, (name, number_of_port) in enumerate(places):
        own = deadline.share(len(places) - number) if len(places) > 1 else deadline
        place = connect.shown_address((name, number_of_port))
        try:
            response = yield from _one(target, question, name, number_of_port, own)
        except Unreachable as error:
            wrong.append((place, error.cause))
            continue
        except NotTried as error:
            wrong.append((place, str(error)))
            not_tried.append(error)
            continue
        why = judge(response)
        if why:
            wrong.append((place, why))
        else:
            right[place] = response
        if target.ask == "first" and (not why or not _may_differ(response)):
            break
    if wrong and (target.ask == "every" or not right):
        if len(not_tried) == len(wrong):
            raise not_tried[0]
        raise _failure(target, question, wrong, len(places))
    return right


def _may_differ(response: Response) -> bool:
    """Return whether another server may know better, as resolvers have it."""
    return response.status not in ("NOERROR", "NODATA", "NXDOMAIN")


def _one(
    target: Target, question: Question, name: str, number: int, deadline: Deadline
) -> bulk.Steps[Response]:
    """Return the answer of a server; raise Unreachable, NotTried without a route."""
    from lib.net.dns import asked

    addresses = yield from bulk.resolved(name, number, target.family, deadline)
    by_tcp = target.transport == "tcp"
    for address, own in deadline.shared(addresses):
        try:
            return (yield from asked(question, address, own, by_tcp=by_tcp))
        except Unreachable:
            if address != addresses[-1]:
                continue
            no_route = connect.without_route(name, [each for _kind, each in addresses])
            if no_route:
                raise no_route from None
            raise
    raise Unreachable("it has no address")


def _failure(
    target: Target, question: Question, wrong: Sequence[tuple[str, str]], of: int
) -> CheckFailed:
    causes = list(dict.fromkeys(why for _place, why in wrong))
    what = f"{target.host} {question.type}"
    if of == 1 or (len(causes) == 1 and len(wrong) == of):
        first = f"{what}: {causes[0]}"
    elif target.ask == "every":
        first = f"{what}: {len(wrong)} of {of} servers are wrong: {causes[0]}"
    else:
        first = f"{what}: {'; '.join(causes)}"
    lines = [f"asked {place}: {why}" for place, why in wrong]
    return CheckFailed(
        "\n".join([first, *lines]),
        host=target.host,
        cause=causes[0],
        addresses=[place for place, _why in wrong],
    )


# The serial numbers of a zone.


def _same_serial(
    job: TargetJob, target: Target, deadline: Deadline
) -> bulk.Steps[None]:
    """Raise CheckFailed unless all name servers of the zone have the same serial."""
    question = _question(target, "NS")

    def has_records(response: Response) -> str:
        return "" if response.records else response.words(question)

    names, *_ = (yield from _ask(job, target, question, has_records, deadline)).values()
    serials: dict[str, str] = {}
    silent: dict[str, str] = {}
    not_tried: list[NotTried] = []
    for name, own in deadline.shared(names.records):
        try:
            serials[name] = yield from _serial(job, target, name, own)
        except (Unreachable, CheckFailed) as error:
            silent[name] = str(getattr(error, "cause", "") or error)
        except NotTried as error:
            not_tried.append(error)
    if silent or len(set(serials.values())) > 1:
        parts = [f"{name.rstrip('.')} has {serial}" for name, serial in serials.items()]
        parts += [f"{name.rstrip('.')}: {why}" for name, why in silent.items()]
        what = "a name server fails" if silent else "the serial numbers differ"
        raise CheckFailed(
            f"{target.host}: {what}: {'; '.join(parts)}", host=target.host, cause=what
        )
    if not_tried:
        raise not_tried[0]


def _serial(
    job: TargetJob, target: Target, name: str, deadline: Deadline
) -> bulk.Steps[str]:
    """Return the serial that a name server has; its address is that of our servers.

    Raise Unreachable if it does not tell, NotTried if this machine has no route to it.
    """
    import dns.rdatatype

    from lib.net.dns import Question, name_of

    soa = _question(target, "SOA", recursive=False)
    whys: list[str] = []
    not_tried: NotTried | None = None
    for rdtype, part in deadline.shared((dns.rdatatype.A, dns.rdatatype.AAAA)):
        question = Question(name_of(name), rdtype)
        found, *_ = (
            yield from _ask(job, target, question, lambda _any: "", part)
        ).values()
        for address, own in part.shared(found.records):
            try:
                response = yield from _one(target, soa, address, target.port, own)
            except Unreachable as error:
                whys.append(error.cause)
                continue
            except NotTried as error:
                not_tried = error
                continue
            if response.records:
                return response.records[0].split()[2]
            whys.append(response.words(soa))
    if not_tried and not whys:
        raise not_tried
    raise Unreachable(", ".join(dict.fromkeys(whys)) or "it has no address")
