"""[ping NAME]: checks that a host answers pings, how soon, and how many are lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lib.jobbase import (
    ADDRESS_OPTIONS,
    CheckFailed,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Value,
    Values,
    host,
    option,
    percent,
    seconds,
    whole,
)
from lib.net import bulk, connect
from lib.net.connect import Address

if TYPE_CHECKING:
    from lib.net.ping import Answers

#: The least that a ping of ours carries, which tells it from others; and the most.
SIZES = (8, 65_507)

Tried = Sequence[tuple[str, "Answers"]]


class PingChecker(bulk.InBulk, TargetJob):
    """One host."""

    kind = "ping"
    recheck = "5min"
    is_across_network = True
    guide = """
        A host is failing if none of its pings is answered; there is no time then. What
        an ICMP message said of a lost one is shown, with the address that says so.

        Pings leave by the first way that the user may take: an ICMP socket for
        everybody (`sysctl net.ipv4.ping_group_range`), a raw socket, the ping command.
        In each run 127.0.0.1 is pinged too, and ::1 if a target has IPv6. Where no way
        is allowed, or this machine does not answer itself, those that do not answer
        are unknown.
        """
    options: Options = {
        "host": option(host, help="a name or an address"),
        "count": option(whole(1, 100), 3, help="how many pings are sent"),
        "interval": option(seconds, 0.2, help="the time between two of them"),
        "wait": option(seconds, 2.0, help="how long the answer to one may take"),
        "size": option(
            whole(*SIZES, "bytes"), 56, help="how many bytes each ping carries"
        ),
        **ADDRESS_OPTIONS,
        "fail_time": option(
            seconds, None, help="failing if the answers take longer, on average"
        ),
        "warn_time": option(
            seconds, None, help="a warning if they take longer, on average"
        ),
        "fail_loss": option(
            percent, None, help="failing if more are lost; all of them always are"
        ),
        "warn_loss": option(percent, None, help="a warning if more are lost"),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield that the pings take longer than there is time."""
        takes_s = (target.count - 1) * target.interval
        if takes_s >= target.timeout:
            yield Clash(
                f"count = {target.count} and interval take {takes_s:g} s, but timeout "
                f"is {target.timeout:g} s; set timeout higher",
                ("count", "interval", "timeout"),
            )

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long the answers took on average, and how many were lost."""
        return steps(self, target, deadline)


def steps(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long the answers took on average, and how many were lost."""
    addresses = yield from bulk.resolved(target.host, 0, target.family, deadline)
    is_every = target.addresses == "every"
    tried: list[tuple[str, Answers]] = []
    for address, own in deadline.shared(addresses):
        answers = yield _pings(target, address, own)
        tried.append((address[1][0], answers))
        if answers.received and not is_every:
            tried = tried[-1:]
            break
    dead = [one for one in tried if not one[1].received]
    if dead:
        job.values = {
            "loss": percent(100, warn=target.warn_loss, fail=target.fail_loss)
        }
        silent = {host for host, _answers in dead}
        places = [one for _kind, one in addresses if one[0] in silent]
        no_route = connect.without_route(target.host, places, len(addresses))
        raise no_route or _failure(target.host, tried, dead)
    return job.worst_of(
        {address: _values(target, answers) for address, answers in tried},
        {address: str(answers.refusal or "") for address, answers in tried},
    )


def _values(target: Target, answers: Answers) -> dict[str, Value]:
    lost, time = _loss_and_time(answers)
    return {
        "time": seconds(time, warn=target.warn_time, fail=target.fail_time),
        "loss": percent(lost, warn=target.warn_loss, fail=target.fail_loss),
    }


def _pings(
    target: Target, address: tuple[int, Address], deadline: Deadline
) -> bulk.Wait:
    from lib.net.ping import Pings

    return Pings(
        address,
        deadline,
        count=target.count,
        interval_s=target.interval,
        wait_s=target.wait,
        size=target.size,
    )


def _loss_and_time(answers: Answers) -> tuple[float, float]:
    """Return the percentage of lost pings, and the mean time of the others."""
    received = answers.received
    sent = len(answers.times)
    return 100 * (sent - len(received)) / sent, sum(received) / len(received)


def _failure(host: str, tried: Tried, dead: Tried) -> CheckFailed:
    """Return what to raise for addresses that do not answer."""
    causes = list(dict.fromkeys(_cause(answers) for _address, answers in dead))
    first = f"{host}: {', '.join(causes)}"
    if len(dead) < len(tried):
        first = f"{len(dead)} of {len(tried)} addresses of {host} fail"
    lines = [] if dead[0][0] == host else _lines(dead)
    return CheckFailed(
        "\n".join([first, *lines]),
        host=host,
        cause=", ".join(causes),
        addresses=[address for address, _answers in dead],
    )


def _lines(dead: Tried) -> Iterator[str]:
    for address, answers in dead:
        yield f"tried {address}: {_cause(answers)}"


def _cause(answers: Answers) -> str:
    count = len(answers.times)
    pings = f"{count} pings" if count > 1 else "a ping"
    refusal = f": {answers.refusal}" if answers.refusal else ""
    return f"no answer to {pings}{refusal}"
