"""The lines of [peers].

Any option but those of PEERS is a peer: ``name = url,email[,key=...]``, where the key
may also come from a file, an environment variable or a command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lib.config.fields import MAX_NAME, addresses, command, is_this_machine, url
from lib.config.options import (
    PEERS,
    Option,
    read_options,
    secret_options,
    without_equals,
)
from lib.config.secrets import find_secret
from lib.core.ini import IniFile
from lib.core.secret import Secret
from lib.core.settings import Peer, Peers

_PORTS = {"http": 80, "https": 443}


#: The ways to give the key that we share with a peer.
_KEYS = tuple(secret_options("key", ""))
_NO_KEY = ("key", Secret())


def peer(value: str) -> tuple[str, str, tuple[str, Secret]]:
    """Return a peer's URL, its admin's address, and how the key is given."""
    if not value:
        raise ValueError("there is no value; give url,email, or delete the line")
    if "," not in value and "://" not in value:
        raise ValueError(
            f"expected url,email; any line but {', '.join(PEERS)} is a peer"
        )
    where, *rest = [part.strip() for part in value.split(",")]
    if re.match(r"\w+://[^/\[]*:[^/]*:", where):
        raise ValueError("expected an IPv6 address in brackets: http://[::1]:5000/")
    address = url(where)
    if not any(rest):
        raise ValueError("expected url,email: the address of its admin is missing")
    if not all(rest):
        raise ValueError("expected url,email: there is nothing after a comma")
    email, *more = rest
    if "=" in email:
        raise ValueError("expected url,email,key=...: its admin's address comes second")
    contact = addresses(email)[0]
    if not more:
        return address, contact, _NO_KEY
    options = [part.partition("=")[0].strip() for part in more]
    if len(more) > 1 and set(options) <= set(_KEYS):
        raise ValueError(f"{' and '.join(options)} are given; keep one")
    option, key = options[0], more[0].partition("=")[2].strip()
    if "@" in more[0] and option not in _KEYS:
        raise ValueError(
            "expected url,email: only one address; "
            "copy = yes notifies alertcontact, too"
        )
    if option not in _KEYS or not key or len(more) > 1:
        raise ValueError("expected url,email,key=... and a key without commas in it")
    return address, contact, (option, Secret(key))


def find_keys(
    ini: IniFile, values: Mapping[str, Any], *, looks_up: bool = True
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of [peers] with each key found, and the errors, by option.

    Unless it ``looks_up``, a peer whose key is elsewhere is left out.  Workers get the
    keys that were found in ``ini``; it is not written anywhere.
    """
    wrong: dict[str, str] = {}
    found = dict(values)
    for name, value in values.items():
        if name in PEERS or value[2][0] == "key":
            continue
        address, contact, (option, source) = value
        if not looks_up:
            del found[name]
            continue
        try:
            key = _key(option, source.reveal(), ini.folder)
        except ValueError as error:
            wrong[name] = f"{option}: {error}"
            del found[name]
            continue
        found[name] = (address, contact, ("key", key))
        line = ini.options("peers")[name]
        text = f"{address},{contact},key={key.reveal()}"
        ini.options("peers")[name] = line.with_raw(text)
    return found, wrong


def _key(option: str, source: str, folder: Path) -> Secret:
    value = command(source) if option == "key_command" else source
    key = find_secret(option, value, folder)
    if "," in key.reveal():
        raise ValueError("expected a key without commas in it")
    return key


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
    # Of "berlin https://..." the name lacks its "=".
    lines = [
        name for name in given if name not in PEERS and not without_equals(name, ())
    ]
    return {**PEERS, **dict.fromkeys(lines, Option(peer, ""))}


def read_peers(given: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of [peers], and the errors, by option."""
    return read_options(given, peer_options(given))


def peers_in(values: Mapping[str, Any]) -> Peers:
    """Return the peers that the values of [peers] name, and how to ask them."""
    rules = {name: value for name, value in values.items() if name in PEERS}
    lines = [(name, value) for name, value in values.items() if name not in PEERS]
    return Peers(tuple(_peer(name, *value) for name, value in lines), **rules)


def _peer(name: str, address: str, contact: str, key: tuple[str, Secret]) -> Peer:
    scheme, _slashes, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    login, _at, host = host.rpartition("@")
    url = f"{scheme}://{host}{slash}{path}"
    return Peer(name, url, contact, key[1], Secret(login))


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
