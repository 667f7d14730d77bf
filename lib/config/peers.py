"""The lines of [peers].

Any option but those of PEERS is a peer: ``name = url,email[,key=...]``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from lib.config.fields import addresses, is_this_machine, url
from lib.config.options import MAX_NAME, PEERS, Option, read_options
from lib.core.settings import Peer, Peers

_PORTS = {"http": 80, "https": 443}


def peer(value: str) -> tuple[str, str, str]:
    """Return a peer's URL, its admin's address, and the key that we share or ""."""
    if not value:
        raise ValueError("there is no value; give url,email, or delete the line")
    if "," not in value and "://" not in value:
        raise ValueError(
            f"expected url,email; any line but {', '.join(PEERS)} is a peer"
        )
    where, *rest = [part.strip() for part in value.split(",")]
    if re.match(r"\w+://[^/\[]*:[^/]*:", where):
        raise ValueError("expected an IPv6 address in brackets: http://[::1]:5000/")
    found = url(where)
    if not any(rest):
        raise ValueError("expected url,email: the address of its admin is missing")
    if not all(rest):
        raise ValueError("expected url,email: there is nothing after a comma")
    email, *more = rest
    if "=" in email:
        raise ValueError("expected url,email,key=...: its admin's address comes second")
    contact = addresses(email)[0]
    if not more:
        return found, contact, ""
    word, _equals, key = more[0].partition("=")
    if "@" in more[0] and word.strip() != "key":
        raise ValueError(
            "expected url,email: only one address; "
            "copy = yes notifies alertcontact, too"
        )
    if word.strip() != "key" or not key.strip() or len(more) > 1:
        raise ValueError("expected url,email,key=... and a key without commas in it")
    return found, contact, key.strip()


def peer_name(word: str, servername: str) -> str:
    """Return a peer's name; raise ValueError if a line may not be called that."""
    if not re.fullmatch(r"\w[\w.-]*", word) or len(word) > MAX_NAME:
        raise ValueError("expected a name of letters, digits, dots and dashes")
    if word.lower() in PEERS:
        raise ValueError(f"{word} is an option of [peers]; expected the name of a peer")
    if word.lower() == servername.lower():
        raise ValueError(f"{word} is our own name; expected that of the other side")
    return word


def peer_options(given: Iterable[str]) -> dict[str, Option]:
    """Return the options of a [peers] with these lines."""
    lines = [name for name in given if name not in PEERS]
    return {**PEERS, **dict.fromkeys(lines, Option(peer, ""))}


def read_peers(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of [peers], and the errors, by option."""
    return read_options(given, peer_options(given))


def peers_in(values: Mapping[str, Any]) -> Peers:
    """Return the peers that the values of [peers] name, and how to ask them."""
    rules = {name: value for name, value in values.items() if name in PEERS}
    lines = [(name, value) for name, value in values.items() if name not in PEERS]
    return Peers(tuple(Peer(name, *value) for name, value in lines), **rules)


def without_ourselves(
    values: Mapping[str, Any], servername: str, status: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of [peers] without lines that are ourselves, and why they are.

    ``status`` are the values given in [status].
    """
    wrong = {
        name: why
        for name, value in values.items()
        if name not in PEERS
        and (why := _why_ourselves(name, value[0], servername.lower(), status))
    }
    left = {name: value for name, value in values.items() if name not in wrong}
    return left, wrong


def _why_ourselves(
    name: str, where: str, servername: str, status: Mapping[str, Any]
) -> str:
    if name == servername:
        return (
            "this is our own [general] servername; the line belongs into [peers] of "
            "the other instance"
        )
    parts = urlsplit(where)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    is_ours = host in (servername, os.uname().nodename.lower())
    # Two instances on one machine differ by their ports.
    if (is_ours or (is_this_machine(host) and "listen" in status)) and port == (
        status.get("listen", ("", 5000))[1]
    ):
        return f"this address is our own [status] listen, port {port}"
    file = str(status.get("write", ""))
    if is_ours and len(parts.path) > 1 and file.endswith(parts.path):
        return f"this address is our own [status] write, {file}"
    return ""
