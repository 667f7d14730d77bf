"""The proxy of a request: which one it is, and how its trouble is told.

What the environment says counts as libcurl reads it; libcurl itself reads nothing of
it, since names are resolved before it has them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from lib.net.address import ascii_domain
from lib.net.connect import Address, NotTried, Unreachable, shown_address

#: The value of the option that stands for what the environment says.
ENVIRONMENT = "environment"
_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
#: libcurl's, of a proxy without a port.
_PORT, _TLS_PORT = 1080, 443


class ProxyFailed(Unreachable):
    """The proxy did not do what it should; the text names it."""


class Proxy(NamedTuple):
    """A proxy, by its URL."""

    scheme: str
    #: User and password as the URL has them, with an @; empty without.
    login: str
    #: Its name in ASCII, or its address.
    host: str
    port: int
    #: What its name stands for, once that is known.
    addresses: Sequence[tuple[int, Address]] = ()

    @property
    def place(self) -> str:
        """Return it as ``host:port``."""
        return shown_address((self.host, self.port))

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"{self.scheme}://{self.login}{self.place}"

    @property
    def is_tls(self) -> bool:
        """Return whether TLS is spoken with the proxy itself."""
        return self.scheme == "https"

    @property
    def speaks_http(self) -> bool:
        """Return whether it is asked by CONNECT for a tunnel."""
        return self.scheme in ("http", "https")

    @property
    def wants_address(self) -> bool:
        """Return whether it is told an address, since it resolves no name."""
        return self.scheme in ("socks4", "socks5")

    def failed(self, words: str, *more: str) -> ProxyFailed:
        """Return what to raise if the trouble is the proxy's."""
        cause = f"the proxy {self.place}: {words}"
        return ProxyFailed(
            "\n".join([cause, *more]),
            host=self.host,
            cause=cause,
            addresses=[address[0] for _kind, address in self.addresses],
        )

    def refused(self, status: int, target: str) -> ProxyFailed:
        """Return what to raise for its answer to CONNECT; ``target`` is host:port."""
        try:
            phrase = f" {HTTPStatus(status).phrase}"
        except ValueError:
            phrase = ""
        words = f"it refuses CONNECT {target}: {status}{phrase}"
        if status == 407:
            if self.login:
                return self.failed(words, "it does not take the user and password")
            return self.failed(
                words,
                "it wants user and password: "
                f"proxy = {self.scheme}://USER:PASSWORD@{self.place}",
            )
        if status >= 500:
            return self.failed(words, "it cannot reach the server, or has trouble")
        return self.failed(words, "its rules do not allow that")


def parsed(text: str) -> Proxy:
    """Return the proxy of a URL, which may lack the scheme; raise ValueError."""
    if "://" not in text:
        text = f"http://{text}"
    parts = urlsplit(text)
    scheme = {"socks": "socks4"}.get(parts.scheme, parts.scheme)
    if scheme not in _SCHEMES or not parts.hostname:
        raise ValueError("expected a URL such as http://proxy:3128")
    login, at, _place = parts.netloc.rpartition("@")
    port = parts.port or (_TLS_PORT if scheme == "https" else _PORT)
    return Proxy(scheme, login + at, ascii_domain(parts.hostname), port)


def chosen(
    setting: str,
    scheme: str,
    host: str,
    environment: Mapping[str, str] = os.environ,
) -> Proxy | None:
    """Return the proxy for a URL of this scheme and host; None: there is none.

    ``setting`` is its URL or ``environment``.  Raise NotTried if what the environment
    says cannot be used.
    """
    if setting != ENVIRONMENT:
        return parsed(setting)
    # An upper-case HTTP_PROXY may be a header that a CGI script was sent.
    names = [f"{scheme}_proxy", *(["HTTPS_PROXY"] if scheme == "https" else [])]
    for name in (*names, "all_proxy", "ALL_PROXY"):
        if value := environment.get(name):
            break
    else:
        return None
    excepted = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if is_excepted(host, excepted):
        return None
    try:
        return parsed(value)
    except ValueError:
        raise NotTried(
            f"the variable {name}: expected a URL such as http://proxy:3128\n"
            "proxy = environment uses it"
        ) from None


def is_excepted(host: str, excepted: str) -> bool:
    """Return whether a host is in a list as ``no_proxy`` has it.

    A name stands for all below it, with or without a dot before it; an address may be
    a network; ``*`` is every host.
    """
    if excepted == "*":
        return True
    entries = [entry for entry in re.split(r"[\s,]+", excepted) if entry]
    if ":" in host or re.fullmatch(r"[\d.]+", host):
        return any(_is_in(host, entry) for entry in entries)
    name = host.lower().removesuffix(".")
    for entry in entries:
        domain = entry.lower().removesuffix(".").removeprefix(".")
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
    return False


def _is_in(address: str, network: str) -> bool:
    import ipaddress

    try:
        inside = ipaddress.ip_network(network.strip("[]"), strict=False)
        return ipaddress.ip_address(address.partition("%")[0]) in inside
    except ValueError:
        return False
