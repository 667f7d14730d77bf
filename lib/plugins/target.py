"""What job code reads of the settings: targets, defaults, addresses."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from typing import Any

from lib.config import kinds, options, peers
from lib.core.jobs import Target
from lib.core.settings import Peers


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
    values, _wrong = peers.read_peers(_given(config, "peers"))
    status, _wrong = kinds.read_options(_given(config, "status"), options.STATUS)
    servername = config.get("general", "servername", fallback="")
    left, _ourselves = peers.without_ourselves(values, servername.strip(), status)
    return peers.peers_in(left)


def email_option(config: configparser.ConfigParser, option: str) -> Any:
    """Return what [email] says of ``option``, typed, or its default."""
    known = options.EMAIL[option]
    raw = config.get("email", option, fallback="").strip()
    values, _wrong = kinds.read_options({option: raw} if raw else {}, {option: known})
    return values.get(option, known.default)


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
