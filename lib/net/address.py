"""Message -> the bytes of a mail.

The same message under the same settings is the same bytes, so that a mail sent twice
is one mail to whoever sorts them by Message-ID.  The bytes are ASCII whatever the
message holds: any server can take them.
"""

from __future__ import annotations

import re

#: At least two labels, the last of which is no number: ``v1.2`` is no domain.
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
