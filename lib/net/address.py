"""Names of hosts, and URLs: as DNS has them, and as people may read them.

A name becomes A-labels here, before any library has it.
"""

from __future__ import annotations

# Job files may import lib.net, but not lib.core.
from lib.core.sanitize import printable as printable
from lib.core.sanitize import secrets_in_headers as secrets_in_headers  # noqa: F401
from lib.core.sanitize import secrets_in_json as secrets_in_json  # noqa: F401
from lib.core.sanitize import secrets_in_query as secrets_in_query  # noqa: F401


def is_address(text: str) -> bool:
    """Return whether it is an IP address, and no name."""
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def ascii_domain(domain: str) -> str:
    """Return a name as DNS and TLS have it; raise ValueError if it has no such form.

    An address stays as it is.  By UTS 46, non-transitional, as browsers do it:
    ``faß.example`` and ``fass.example`` are two names.  Python's own codec makes them
    one.
    """
    if domain.isascii():
        return domain
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{domain[:80]!r} is not a domain ({error})") from error


def is_same_host(one: str, other: str) -> bool:
    """Return whether two names are of one host, in whatever form they are written."""
    return _plain(one) == _plain(other)


def _plain(host: str) -> str:
    try:
        return ascii_domain(host).lower().rstrip(".")
    except ValueError:
        return host


def shown_url(url: str) -> str:
    """Return a URL without user, password and query."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    place = parts.netloc.rpartition("@")[2]
    scheme = f"{parts.scheme}:" if parts.scheme else ""
    slashes = "//" if place else ""
    more = "?..." if parts.query else ""
    return printable(f"{scheme}{slashes}{place}{parts.path}{more}", 200)


def without_credentials(text: str, url: str) -> str:
    """Return the text with the password of the URL replaced, however it was sent."""
    import base64
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if not parts.password:
        return text
    user, password = unquote(parts.username or ""), unquote(parts.password)
    sent = base64.b64encode(f"{user}:{password}".encode())
    for secret in (sent.decode(), parts.password, password):
        text = text.replace(secret, "***")
    return text


def place_of(url: str) -> str:
    """Return the host and port of a URL, as it names them."""
    from urllib.parse import urlsplit

    return printable(urlsplit(url).netloc.rpartition("@")[2], 200)
