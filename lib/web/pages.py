"""Serves the page, badges, the feed, metrics and the API: ``[page] listen``.

Who asks needs ``[page] token``, also on this machine, where a proxy makes every
stranger look local; unless ``open = yes`` says that all users of this machine may look.
The token comes as the password of Basic or as Bearer, never in a URL.  ``Host`` must be
one of ours, so that no page of somebody else's reads us by a name of its own; headers
of proxies count for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import ipaddress
import json
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from lib.core.enums import VERSION
from lib.core.jobs import JobKey
from lib.core.settings import Settings
from lib.report import api, feed
from lib.report.graphs import slices_for
from lib.report.metrics import Facts, exposition, read_sent
from lib.report.page import (
    INDEX,
    Forms,
    Look,
    content_policy,
    error_page,
    job_page,
    keys_of,
    link_of,
    overview,
    public,
)
from lib.report.reader import Graph, Reader
from lib.report.snapshot import Snapshot
from lib.report.table import plain
from lib.storage import inbox
from lib.system.clock import utc_now
from lib.system.errors import StateError
from lib.web import forms
from lib.web.forms import Unasked
from lib.web.pings import Bucket
from lib.web.routes import Application, StartResponse

if TYPE_CHECKING:
    from lib.report.owntemplates import OwnTemplates

logger = logging.getLogger(__name__)

#: How old what is shown may be, and how often a browser asks again.
FRESH_S, RELOAD_S = 5.0, 60.0
#: How long a page of somebody's own templates is waited for.
TEMPLATE_S = 6.0
#: How long graphs of a list may be read at a time, and how old they become.
GRAPHS_S, GRAPH_AGE_S = 0.5, 900.0
#: Wrong tokens of one address: so many at once, then so many a second.
BURST, PER_SECOND = 20, 0.5
#: What anybody may see, if there are tags for it.
PUBLIC = "/public"
#: The addresses of which that is counted, and the names; the oldest goes first.
MAX_NETWORKS, MAX_NAMES = 1000, 20
#: The bytes of an answer from which on it is not copied for each that asks.
COPIED = 8192
#: A host as a request names it, perhaps with a port; two such headers come as one.
_HOST = re.compile(r"(\[[^\]\s,]+\]|[^][\s,:@/]+?)\.?(?::[0-9]*)?")
MAX_QUERY, MAX_PATH, MAX_LOGIN = 2000, 1000, 1000

HTML, TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
JSON, SVG = "application/json", "image/svg+xml; charset=utf-8"
ATOM, METRICS = (
    "application/atom+xml; charset=utf-8",
    "text/plain; version=0.0.4; charset=utf-8",
)
HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Answer(NamedTuple):
    """What a request gets."""

    status: str
    type: str
    content: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """A request that gets nothing; the text is for people."""

    def __init__(self, status: str, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(status, text, *headers)
        self.status, self.text, self.headers = status, text, headers


def _not_found(what: str) -> Refused:
    return Refused("404 Not Found", what)


class Guard:
    """Says who may ask.

    Wrong passwords are counted by address, and nothing is compared for an address that
    has sent too many: else guessing would go on, and the right one would stand out.
    Behind a proxy all have one address.  So a name that came with the right password
    from there is counted for itself, and who guesses with other names does not keep it
    out; at most ``MAX_NAMES`` more are tried in that way.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        #: By network, and by name if it is a known one, else None.
        self._limits: OrderedDict[tuple[str, str | None], Bucket] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def admit(self, environ: Mapping[str, Any], settings: Settings) -> str:
        """Return the name that somebody gave with the token; raise Refused."""
        page = settings.page
        is_public = bool(page.public) and environ.get("PATH_INFO") == PUBLIC
        if not (page.is_shown or is_public):
            raise _not_found("not found")
        self._check_host(environ, settings)
        if page.open or is_public:
            return ""
        network = network_of(str(environ.get("REMOTE_ADDR", "")))
        login = str(environ.get("HTTP_AUTHORIZATION", ""))
        user, token = _login_of(login)
        wants_login = ("WWW-Authenticate", 'Basic realm="Checker", charset="UTF-8"')
        if not token:
            text = "the password is [page] token of settings.cfg"
            raise Refused("401 Unauthorized", text, wants_login)
        who = self._counted_as(network, user)
        if not self._may_try(who):
            text = "too many wrong passwords came from there; wait a minute"
            raise Refused("429 Too Many Requests", text, ("Retry-After", "60"))
        if not hmac.compare_digest(_digest(token), _digest(page.token.reveal())):
            self._count_wrong(who)
            raise Refused("401 Unauthorized", "that is not the password", wants_login)
        self._remember(network, user)
        return user

    @staticmethod
    def _check_host(environ: Mapping[str, Any], settings: Settings) -> None:
        given = str(environ.get("HTTP_HOST", ""))
        if not given:
            raise Refused("400 Bad Request", "no Host is named")
        named = {_host_of(given), *_host_of_target(environ)}
        if not named <= hosts_of(settings):
            text = "this name is none of ours: add it to [page] hosts"
            raise Refused("421 Misdirected Request", text)

    def _counted_as(self, network: str, user: str) -> tuple[str, str | None]:
        with self._lock:
            return network, user if (network, user) in self._known else None

    def _may_try(self, who: tuple[str, str | None]) -> bool:
        with self._lock:
            limit = self._limits.get(who)
            return limit is None or limit.has_some(self._monotonic())

    def _count_wrong(self, who: tuple[str, str | None]) -> None:
        with self._lock:
            limit = self._limits.setdefault(who, Bucket(BURST, PER_SECOND))
            limit.take(self._monotonic())
            self._limits.move_to_end(who)
            while len(self._limits) > MAX_NETWORKS:
                self._limits.popitem(last=False)

    def _remember(self, network: str, user: str) -> None:
        with self._lock:
            self._known[network, user] = None
            self._known.move_to_end((network, user))
            while len(self._known) > MAX_NAMES:
                self._known.popitem(last=False)


def network_of(address: str) -> str:
    """Return what an address is counted by: of IPv6 one customer has a whole /64."""
    try:
        one = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(one, ipaddress.IPv4Address):
        return str(one)
    mapped = one.ipv4_mapped
    return str(mapped or ipaddress.IPv6Address(int(one) >> 64 << 64))


def hosts_of(settings: Settings) -> frozenset[str]:
    """Return the names by which we may be asked, as ``_host_of`` has them."""
    page = settings.page
    host = page.listen[0]
    names = ["localhost", "127.0.0.1", "[::1]", *page.hosts]
    if host not in ("0.0.0.0", "::"):
        names.append(f"[{host}]" if ":" in host else host)
    if page.url:
        names.append(urlsplit(page.url).hostname or "")
    return frozenset(map(_host_of, names)) - {""}


def _host_of(text: str) -> str:
    """Return a host without its port, in small letters; "" if it is not just one."""
    found = _HOST.fullmatch(text.strip().lower())
    return found[1] if found else ""


def _host_of_target(environ: Mapping[str, Any]) -> Iterable[str]:
    """Yield the host of a request for a whole URL, which counts before ``Host``."""
    scheme, colon, rest = str(environ.get("REQUEST_URI", "")).partition("://")
    if colon and "/" not in scheme:
        yield _host_of(re.split("[/?#]", rest)[0])


def _digest(token: str) -> bytes:
    # Of one length, so that how long the comparison takes says nothing.
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _login_of(header: str) -> tuple[str, str]:
    """Return the user and the token of an Authorization header; "" if it has none."""
    scheme, _space, rest = header[:MAX_LOGIN].partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return "", rest
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(rest, validate=True).decode("utf-8")
        except ValueError:
            return "", ""
        user, _colon, password = text.partition(":")
        return user, password
    return "", ""


class Site:
    """What is served; what state/ says is read at most each few seconds."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._now, self._monotonic = settings, now, monotonic
        self._lock, self._own_lock = threading.Lock(), threading.Lock()
        self._read: tuple[Settings, float, Reader, Snapshot] | None = None
        self._graphs: dict[str, Graph] = {}
        self._kept: tuple[Snapshot, int, dict[str, Answer]] | None = None
        self._own: OwnTemplates | None = None

    def answer(
        self, path: str, query: Mapping[str, list[str]], user: str = ""
    ) -> Answer:
        """Return the answer to a question of who may ask; raise Refused."""
        for route, function in self._ROUTES:
            if path == route or (route.endswith("/") and path.startswith(route)):
                return function(self, path[len(route) :], query)
        if path.startswith("/job-") and path.endswith(".html"):
            return self._job(path[1:], _one(query, "asked"), user)
        raise _not_found("not found")

    def templates(self) -> OwnTemplates | None:
        """Return somebody's own templates as they are now; None: there are none."""
        folder = self._settings().page.templates
        with self._own_lock:
            if self._own is not None and str(self._own.folder) != folder:
                self._own.close()
                self._own = None
            if not folder:
                return None
            if self._own is None:
                from lib.report.owntemplates import OwnTemplates

                self._own = OwnTemplates(Path(folder), wait_s=TEMPLATE_S)
            self._own.refresh()
            return self._own

    def _look(self, query: str = "") -> Look:
        return Look(
            is_file=False, every_s=RELOAD_S, query=query, templates=self.templates()
        )

    def _facts(self) -> tuple[Reader, Snapshot]:
        settings = self._settings()
        with self._lock:
            if self._read is not None:
                known, at, reader, snapshot = self._read
                if known is settings and self._monotonic() - at < FRESH_S:
                    return reader, snapshot
            reader = Reader(settings, self._now())
            self._renew_graphs(reader)
            snapshot = reader.snapshot(self._graphs)
            self._read = settings, self._monotonic(), reader, snapshot
            return reader, snapshot

    def _renew_graphs(self, reader: Reader) -> None:
        """Read graphs that are missing or old, as many as there is time for."""
        now, until = reader.now.timestamp(), time.monotonic() + GRAPHS_S
        keys = {link_of(key): key for key in keys_of(reader.bare)}
        self._graphs = {link: one for link, one in self._graphs.items() if link in keys}
        ages = {
            link: (
                abs(now - graph.at)
                if (graph := self._graphs.get(link)) and reader.is_of_now(key, graph)
                else inf
            )
            for link, key in keys.items()
        }
        slices = slices_for(len(keys))
        old = [link for link in ages if ages[link] >= GRAPH_AGE_S]
        old.sort(key=lambda link: -ages[link])
        for key, rows in reader.rows_of(keys[link] for link in old):
            if time.monotonic() >= until:
                break
            self._graphs[link_of(key)] = reader.graph(key, rows, slices)

    def _once(
        self, snapshot: Snapshot, look: Look, path: str, make: Callable[[], Answer]
    ) -> Answer:
        """Return an answer that is made once of a snapshot, however often it is asked.

        Strangers may ask for what is public as often as they like.
        """
        version = look.templates.version if look.templates is not None else 0
        with self._lock:
            kept = self._kept
            if kept is None or kept[0] is not snapshot or kept[1] != version:
                self._kept = kept = snapshot, version, {}
            answers = kept[2]
            if path not in answers:
                answers[path] = make()
            return answers[path]

    def _front(self, _rest: str, query: Mapping[str, list[str]]) -> Answer:
        _reader, snapshot = self._facts()
        words = _one(query, "q")[:200]
        look = self._look(words)

        def made() -> Answer:
            return _ok(HTML, overview(snapshot, look))

        return made() if words else self._once(snapshot, look, f"/{INDEX}", made)

    def take(self, environ: Mapping[str, Any], user: str) -> Answer:
        """Leave a request for the next run, as a form asks; raise Refused, Unasked."""
        settings = self._settings()
        forms.check_origin(environ)
        fields = forms.fields_in(environ)
        if not fields.get("job"):
            raise forms.Unasked("job is missing: expected the key of a job")
        _reader, snapshot = self._facts()
        key = _only(api.find(snapshot, fields["job"]))
        if _is_disabled(snapshot, key):
            raise forms.Unasked("the job is disabled, so nothing can be asked of it")
        request = forms.request_of(fields, settings, user, key, self._now())
        inbox.submit(settings.state, request)
        # Seen by its address, so that loading the page again asks for nothing.
        to = f"{link_of(key)}?asked={fields['action']}"
        return Answer("303 See Other", TEXT, b"", (("Location", to),))

    def _job(self, link: str, asked: str, user: str) -> Answer:
        reader, snapshot = self._facts()
        key = next((key for key in keys_of(snapshot) if link_of(key) == link), None)
        if key is None:
            raise _not_found("there is no such job")
        with self._lock:
            story = reader.story(key, reader.rows(key))
        look, page, shown = self._look(), self._settings().page, Forms()
        if not _is_disabled(snapshot, key):
            shown = replace(shown, said=forms.ACTIONS.get(asked, ""))
            if not page.open:
                codes = forms.codes(page.token, user, key, self._now())
                shown = replace(shown, codes=codes, lengths=tuple(forms.LENGTHS))
        return _ok(HTML, job_page(snapshot, key, story, look, shown))

    def _badge_of_job(self, rest: str, _query: Mapping[str, list[str]]) -> Answer:
        _reader, snapshot = self._facts()
        key = _only(api.find(snapshot, rest.removesuffix(".svg")))
        return _ok(SVG, feed.badge_of_job(snapshot, key))

    def _badge_of_tag(self, rest: str, _query: Mapping[str, list[str]]) -> Answer:
        _reader, snapshot = self._facts()
        text = feed.badge_of_tag(snapshot, rest.removesuffix(".svg"))
        if not text:
            raise _not_found("no job has this tag")
        return _ok(SVG, text)

    def _feed(self, _rest: str, _query: Mapping[str, list[str]]) -> Answer:
        _reader, snapshot = self._facts()
        return _ok(ATOM, feed.feed(snapshot, self._base()))

    def _base(self) -> str:
        page = self._settings().page
        host, port = page.listen
        host = f"[{host}]" if ":" in host else host
        return f"{(page.url or f'http://{host}:{port}').rstrip('/')}/"

    def _public(self, _rest: str, _query: Mapping[str, list[str]]) -> Answer:
        _reader, snapshot = self._facts()
        if not snapshot.settings.page.public:
            raise _not_found("no tag is public")
        look = self._look()
        return self._once(
            snapshot, look, PUBLIC, lambda: _ok(HTML, public(snapshot, look))
        )

    def _metrics(self, _rest: str, _query: Mapping[str, list[str]]) -> Answer:
        _reader, one = self._facts()
        sent = read_sent(one.settings)
        facts = Facts(
            one.settings,
            VERSION,
            one.run,
            one.catalog,
            one.records,
            one.values,
            sent,
            one.now,
            one.latest,
        )
        return _ok(METRICS, exposition(facts))

    def _status(self, _rest: str, _query: Mapping[str, list[str]]) -> Answer:
        reader, snapshot = self._facts()
        with self._lock:
            listed, size = reader.listed, reader.state_bytes
        return _json(api.status_data(snapshot, listed, size))

    def _api_job(self, rest: str, _query: Mapping[str, list[str]]) -> Answer:
        reader, snapshot = self._facts()
        key = _only(api.find(snapshot, rest), api.called_now(snapshot, rest))
        with self._lock:
            story = reader.story(key, [])
        return _json(api.job_data(snapshot, key, story.incidents))

    def _history(self, _rest: str, query: Mapping[str, list[str]]) -> Answer:
        reader, snapshot = self._facts()
        name = _one(query, "job")
        if not name:
            raise Refused("400 Bad Request", "job: name a job, by its name or key")
        until = _moment(query, "until", snapshot.now + timedelta(seconds=1))
        since = _moment(query, "since", _day_before(until))
        found = api.find_on_record(snapshot, name)
        key = _only(found, api.called_now(snapshot, name))
        rows = reader.history.rows(key, since.timestamp(), until.timestamp())
        return _json(api.history_data(snapshot, key, rows, since, until))

    def _openapi(self, _rest: str, _query: Mapping[str, list[str]]) -> Answer:
        return Answer("200 OK", JSON, api.openapi())

    _ROUTES: tuple[
        tuple[str, Callable[[Site, str, Mapping[str, list[str]]], Answer]], ...
    ] = (
        (f"/{INDEX}", _front),
        (PUBLIC, _public),
        ("/badge/job/", _badge_of_job),
        ("/badge/tag/", _badge_of_tag),
        ("/feed.atom", _feed),
        ("/metrics", _metrics),
        ("/api/v1/status", _status),
        ("/api/v1/jobs/", _api_job),
        ("/api/v1/history", _history),
        ("/api/v1/openapi.json", _openapi),
    )


def _ok(kind: str, text: str) -> Answer:
    return Answer("200 OK", kind, text.encode("utf-8", "replace"))


def _json(value: Any, status: str = "200 OK") -> Answer:
    return Answer(status, JSON, json.dumps(plain(value)).encode())


def _one(query: Mapping[str, list[str]], name: str) -> str:
    return query.get(name, [""])[0]


def _moment(query: Mapping[str, list[str]], name: str, default: datetime) -> datetime:
    """Return a moment of a query; raise Refused if it is none."""
    given = _one(query, name)
    if not given:
        return default
    try:
        # In a query + is a blank.
        moment = datetime.fromisoformat(given.replace(" ", "+"))
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        text = f"{name}: expected a time such as 2026-11-29T12:00:00Z"
        raise Refused("400 Bad Request", text) from error


def _day_before(moment: datetime) -> datetime:
    try:
        return moment - timedelta(days=1)
    except OverflowError:
        return moment


def _is_disabled(snapshot: Snapshot, key: JobKey) -> bool:
    known = snapshot.catalog.get(key)
    return known is not None and not known.enabled


def _only(found: list[JobKey], called_now: str = "") -> JobKey:
    """Return the job that was found; raise Refused if there is not just one.

    ``called_now`` is what the one of this name is called now.
    """
    if len(found) == 1:
        return found[0]
    if not found and called_now:
        raise _not_found(f"there is no such job; it is called {called_now!r} now")
    if not found:
        raise _not_found("there is no such job")
    keys = ", ".join(map(str, found))
    raise Refused("409 Conflict", f"several jobs have this name; give a key: {keys}")


def pages(
    settings: Callable[[], Settings], now: Callable[[], datetime] = utc_now
) -> Application:
    """Return the WSGI application (PEP 3333) of the page and what belongs to it."""
    site, guard = Site(settings, now), Guard()

    def app(
        environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        # WSGI has the bytes of a path as latin-1.
        raw = str(environ.get("PATH_INFO", ""))[:MAX_PATH]
        path = raw.encode("latin-1", "replace").decode("utf-8", "replace")
        method = environ.get("REQUEST_METHOD")
        try:
            user = guard.admit(environ, settings())
            # Without a password nobody may ask for anything.
            takes = path == "/ask" and not settings().page.open
            if method == "POST" and takes:
                answer = site.take(environ, user)
            elif method in ("GET", "HEAD") and not takes:
                path = "/index.html" if path == "/" else path
                answer = site.answer(path, _query(environ), user)
            else:
                allow = "POST" if takes else "GET, HEAD"
                text = f"ask with {allow}"
                raise Refused("405 Method Not Allowed", text, ("Allow", allow))
        except Unasked as unasked:
            answer = _refusal(Refused("403 Forbidden", str(unasked)), path, environ)
        except Refused as refused:
            answer = _refusal(refused, path, environ)
        except StateError as error:
            logger.error("[page]: %s", error)
            text = "state cannot be read or written; the log of Checker says why"
            answer = _refusal(Refused("503 Service Unavailable", text), path, environ)
        own = site.templates() if answer.type == HTML else None
        headers = [
            ("Content-Type", answer.type),
            ("Content-Length", str(len(answer.content))),
            (
                "Content-Security-Policy",
                f"{content_policy(own)}; frame-ancestors 'none'",
            ),
            *HEADERS,
            *answer.headers,
        ]
        start_response(answer.status, headers)
        if method == "HEAD":
            return ()
        wrapped = environ.get("wsgi.file_wrapper")
        if wrapped is not None and len(answer.content) > COPIED:
            # Whoever reads slowly reads the bytes that are kept, and no copy of them.
            return cast("Iterable[bytes]", wrapped(io.BytesIO(answer.content)))
        return (answer.content,)

    return app


def _query(environ: Mapping[str, Any]) -> Mapping[str, list[str]]:
    text = str(environ.get("QUERY_STRING", ""))[:MAX_QUERY]
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}


def _refusal(refused: Refused, path: str, environ: Mapping[str, Any]) -> Answer:
    if path.startswith("/api/"):
        answer = _json({"error": refused.text}, refused.status)
    elif "text/html" in str(environ.get("HTTP_ACCEPT", "")):
        # Not "/": a proxy may have put us below a path of its own.
        home = "../" * (path.count("/") - 1) or "./"
        text = error_page(refused.status, refused.text, home)
        answer = Answer(refused.status, HTML, text.encode("utf-8", "replace"))
    else:
        answer = Answer(refused.status, TEXT, f"{refused.text}\n".encode())
    return answer._replace(headers=tuple(refused.headers))


def beside_pings(taking: Application | None, shown: Application) -> Application:
    """Return the application of ``[page] listen``: pings, and all the rest."""

    def app(
        environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        is_ping = str(environ.get("PATH_INFO", "")).startswith("/ping/")
        if is_ping and taking is not None:
            return taking(environ, start_response)
        return shown(environ, start_response)

    return app
