"""What job code reads of the settings: targets, defaults, addresses."""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from lib import kinds, options, peerlines, readers
from lib.model import Peers, Target


def targets(config: configparser.ConfigParser, kind: str) -> Iterator[Target]:
    """Yield the targets of the sections ``[kind name]`` in which nothing is wrong.

    The others are reported as failing jobs already, by whoever read the settings.
    """
    defaults = _defaults(config)
    for section in config.sections():
        word, _space, name = section.partition(" ")
        if word == kind and name.strip():
            given = dict(config.items(section))
            target, wrong = kinds.read_target(kind, name.strip(), given, defaults)
            if not wrong:
                yield target


def peers_of(config: configparser.ConfigParser) -> Peers:
    """Return the peers whose lines have nothing wrong in them, and how to ask them."""
    values, _wrong = peerlines.read_peers(_given(config, "peers"))
    status, _wrong = kinds.read_options(_given(config, "status"), options.STATUS)
    servername = config.get("general", "servername", fallback="")
    left, _ourselves = peerlines.without_ourselves(values, servername.strip(), status)
    return peerlines.peers_in(left)


def email_option(config: configparser.ConfigParser, option: str) -> Any:
    """Return what [email] says of ``option``, typed, or its default."""
    known = options.EMAIL[option]
    raw = config.get("email", option, fallback="").strip()
    values, _wrong = kinds.read_options({option: raw} if raw else {}, {option: known})
    return values.get(option, known.default)


def default_of(config: configparser.ConfigParser, option: str) -> Any:
    """Return what [defaults] says of ``option``, typed; None if nothing usable."""
    if not config.has_option("defaults", option):
        return None
    given = {option: config.get("defaults", option)}
    values, _wrong = kinds.read_options(given, kinds.POLICY_OPTIONS)
    return values.get(option)


def read_addresses(to: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the addresses in what an author gave; raise ValueError for a wrong one."""
    if not to:
        return ()
    return _addresses(to if isinstance(to, str) else ",".join(to))


@lru_cache
def _addresses(text: str) -> tuple[str, ...]:
    # Thousands of jobs have the same contact.
    return readers.addresses(text)


def _given(config: configparser.ConfigParser, section: str) -> dict[str, str]:
    """Return the options of a section that have a value."""
    if not config.has_section(section):
        return {}
    return {name: raw for name, raw in config.items(section) if raw.strip()}


def _defaults(config: configparser.ConfigParser) -> dict[str, Any]:
    if not config.has_section("defaults"):
        return {}
    given = dict(config.items("defaults"))
    return kinds.read_options(given, kinds.POLICY_OPTIONS)[0]
