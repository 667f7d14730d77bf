"""The kinds of targets and their options.

A kind is one row in KINDS: the job file that watches it, and its options.  An option
is a reader of ``lib/config/fields.py`` and a default.  ``lib/config/load.py`` checks
the sections with these tables, the jobs get the same values through
``jobbase.targets``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.config.fields import (
    absolute_path,
    escaped,
    host,
    one_of,
    port,
    statuses,
    switch,
    text,
    url,
    whole,
)
from lib.config.options import POLICY_OPTIONS, REQUIRED, Option, read_options
from lib.core.enums import JobFrequency
from lib.core.jobs import CERTIFICATE_CHECKER, EMAIL_CHECKER, PEER_CHECKER, Target

_FAMILY = Option(
    one_of(("any", "ipv4", "ipv6")), "any", "ipv4 or ipv6: try only such addresses"
)
_CAFILE = Option(absolute_path, "", "trust this CA file instead of the system's store")


class Kind(msgspec.Struct, frozen=True):
    """One kind of target."""

    #: The job file in jobs/ that watches it.
    file: str
    options: Mapping[str, Option]
    #: How often to check, unless the section or [defaults] says.
    every: JobFrequency = JobFrequency.MINUTE

    @property
    def all_options(self) -> dict[str, Option]:
        """Return its own options and those of every kind."""
        return {**POLICY_OPTIONS, **self.options}

    @property
    def table(self) -> dict[str, Option]:
        """Return all options, each with the kind's default."""
        every = replace(POLICY_OPTIONS["every"], default=self.every)
        return {**self.options, **POLICY_OPTIONS, "every": every}


KINDS: dict[str, Kind] = {
    "http": Kind(
        "HTTPServerChecker",
        {
            "url": Option(url, help="what to fetch; http or https"),
            "method": Option(
                one_of(("get", "head")),
                "get",
                "get, or head if the text does not matter",
            ),
            "expect_status": Option(
                statuses, ((200, 200),), "which answers are OK: 200, 301-308 or 2xx"
            ),
            "expect_text": Option(text, "", "text that must be in the answer"),
            "redirects": Option(
                one_of(("same_host", "any", "none")),
                "same_host",
                "redirects to follow, at most 5: same_host, any or none",
            ),
            "cafile": _CAFILE,
            "verify": Option(
                switch, True, "no: do not verify this target's certificate"
            ),
        },
    ),
    "tcp": Kind(
        "TCPServerChecker",
        {
            "host": Option(host, help="a name or an address"),
            "port": Option(port, help="1 to 65535"),
            "send": Option(escaped, b"", r"text to send; \r \n \t \xNN work"),
            "expect": Option(escaped, b"", "text that must be in the answer"),
            "family": _FAMILY,
        },
    ),
    "tls": Kind(
        CERTIFICATE_CHECKER,
        {
            "host": Option(host, help="a name or an address"),
            "port": Option(port, 443, "1 to 65535"),
            "days": Option(
                whole(0, 3650, "days"),
                14,
                "fail if the certificate has fewer days left",
            ),
            "starttls": Option(
                one_of(("smtp", "imap")),
                "",
                "smtp or imap: the server starts without TLS",
            ),
            "cafile": _CAFILE,
            "family": _FAMILY,
        },
        every=JobFrequency.DAY,
    ),
    "disk": Kind(
        "DiskSpace",
        {
            "path": Option(absolute_path, help="any file or folder on the file system"),
            "limit": Option(
                whole(1, 100, "per cent"),
                90,
                "fail if more than this many per cent are used",
            ),
        },
        every=JobFrequency.HOUR,
    ),
}


#: The jobs that ship and have no targets: they check Checker itself.
SYSTEM_JOBS = (EMAIL_CHECKER, PEER_CHECKER)


def read_target(
    kind: str, name: str, given: Mapping[str, str], defaults: Mapping[str, Any]
) -> tuple[Target, dict[str, str]]:
    """Return the target of section ``[kind name]``, and the errors, by option.

    Missing options are taken from ``defaults`` (the values of [defaults]), then from
    the kind.  A target with errors must not be run.
    """
    values, wrong = read_options(given, KINDS[kind].all_options)
    return Target(kind, name, _Layers(values, defaults, _built_in(kind))), wrong


@cache
def _built_in(kind: str) -> dict[str, Any]:
    known = KINDS[kind]
    options = known.all_options.items()
    defaults = {
        name: option.default
        for name, option in options
        if option.default is not REQUIRED
    }
    return {**defaults, "every": known.every}


class _Layers(Mapping[str, Any]):
    """Layers of values: the first layer that has a name counts; targets share them."""

    __slots__ = ("_layers",)

    def __init__(self, *layers: Mapping[str, Any]) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> Any:
        for layer in self._layers:
            if name in layer:
                return layer[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(chain(*self._layers)))

    def __len__(self) -> int:
        return sum(1 for _name in self)
