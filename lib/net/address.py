"""Domain names as DNS has them."""

from __future__ import annotations

import re

#: At least two labels, the last of which is not a number: ``v1.2`` is not a domain.
DOMAIN = re.compile(r"([a-z0-9][a-z0-9-]{0,62}\.)+[a-z][a-z0-9-]{1,62}", re.I | re.A)


def ascii_domain(domain: str) -> str:
    """Return the domain as DNS has it; raise ValueError if there is no such form."""
    if domain.isascii():
        return domain
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{domain[:80]!r} is not a domain ({error})") from error
