"""What people ask for on the page: to mute, unmute, acknowledge or check a job.

A form becomes a request in state/inbox/, which the next minute run serves; the audit
log has who asked.  It counts if it comes from our own page: ``Origin`` is the ``Host``
that was asked, and the form has the code that we gave with it, of the user, the action,
the job and the hour; that of the last hour still counts.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lib.core.jobs import JobKey
from lib.core.sanitize import fit, printable
from lib.core.secret import Secret
from lib.core.settings import Settings
from lib.core.silences import Acknowledge, AnyRequest, CheckNow, Mute, Scope, Unmute

#: What may be asked, and what the page says then.
ACTIONS: Mapping[str, str] = {
    "mute": "Muted, from the next run on.",
    "unmute": "Alerts leave again, from the next run on.",
    "ack": "Acknowledged, from the next run on.",
    "check": "It is checked in the next run.",
}
#: For how long a job may be muted here.
LENGTHS: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
}
#: The most of a name, of a reason, and of a form.
MAX_WHO, MAX_WHY, MAX_FORM = 60, 300, 10_000
#: The most of a wrong value that is shown.
MAX_SHOWN = 40
#: Who asks without a name.
NOBODY = "the page"
FORM = "application/x-www-form-urlencoded"


class Unasked(Exception):
    """A form that counts for nothing; the text says why."""


def codes(token: Secret, user: str, key: JobKey, now: datetime) -> dict[str, str]:
    """Return the code of each action for a job's form."""
    return {action: _code(token, user, action, key, _hour(now)) for action in ACTIONS}


def _code(token: Secret, user: str, action: str, key: JobKey, hour: int) -> str:
    parts = ("form", user, action, str(key), str(hour))
    # Each part has its length before it, so that none runs into the next.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    content = text.encode("utf-8", "surrogatepass")
    return hmac.new(token.reveal().encode(), content, hashlib.sha256).hexdigest()


def _hour(now: datetime) -> int:
    return int(now.timestamp() // 3600)


def check_origin(environ: Mapping[str, Any]) -> None:
    """Raise Unasked unless the browser says that a form is from our own page."""
    host = str(environ.get("HTTP_HOST", "")).strip().lower()
    origin = urlsplit(str(environ.get("HTTP_ORIGIN", "")).strip().lower())
    is_ours = origin.scheme in ("http", "https") and origin.netloc == host
    if not host or not is_ours:
        raise Unasked("the form is not from this page: Origin is another than Host")
    site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
    if site != "same-origin":
        raise Unasked("the form is not from this page")


def fields_in(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a form; raise Unasked if it is none."""
    kind = str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
    if kind != FORM:
        raise Unasked(f"the form is of another type than {FORM}")
    content = environ["wsgi.input"].read(MAX_FORM + 1)
    if len(content) > MAX_FORM:
        raise Unasked(f"the form is longer than {MAX_FORM} bytes")
    try:
        read = parse_qs(content.decode("utf-8"), max_num_fields=10)
    except ValueError as error:
        raise Unasked("the form cannot be read") from error
    return {name: values[0] for name, values in read.items()}


def request_of(
    fields: Mapping[str, str], settings: Settings, user: str, key: JobKey, now: datetime
) -> AnyRequest:
    """Return what a form asks of the next run; raise Unasked if it may not."""
    action, given = fields.get("action", ""), fields.get("code", "")
    if action not in ACTIONS:
        raise Unasked(f"action {_shown(action)}: expected {_one_of(ACTIONS)}")
    token, hour = settings.page.token, _hour(now)
    good = [_code(token, user, action, key, one) for one in (hour, hour - 1)]
    if not any([_is_same(one, given) for one in good]):
        what = "the form is too old" if given else "code is missing"
        raise Unasked(f"{what}: load the page again")
    who = fit(user, settings.secrets, MAX_WHO) or NOBODY
    why = " ".join(fields.get("why", "").split())
    if len(why) > MAX_WHY:
        raise Unasked(f"why is longer than {MAX_WHY} characters")
    why = fit(why, settings.secrets, MAX_WHY)
    scope = Scope((str(key),))
    said = (os.urandom(8).hex(), now, scope, who, why)
    if action == "mute":
        given = fields.get("for", "")
        length = LENGTHS.get(given)
        if length is None:
            raise Unasked(f"for {_shown(given)}: expected {_one_of(LENGTHS)}")
        return Mute(*said, until=now + length)
    if action == "unmute":
        return Unmute(*said)
    return Acknowledge(*said) if action == "ack" else CheckNow(*said)


def _shown(given: str) -> str:
    return f"= {printable(given, MAX_SHOWN)!r}" if given else "is missing"


def _one_of(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def _is_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
