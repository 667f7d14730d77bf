"""HTTP requests by libcurl, many at once, as steps of ``lib/net/bulk.py``.

Names are resolved before libcurl has them, responses are read by
``lib/net/response.py``, and an error is told in our words.  pycurl is loaded when the
first request is made.
"""

from __future__ import annotations

import errno
import functools
import importlib.machinery
import importlib.util
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from lib.core.sanitize import printable
from lib.core.secret import Secret
from lib.net import bulk, connect
from lib.net.address import ascii_domain, place_of, shown_url
from lib.net.bulk import InThread, Loop, Steps, Task, Wait, resolved
from lib.net.connect import Address, Deadline, NotTried, Unreachable, shown_address
from lib.net.response import Reader, Reading, Response

if TYPE_CHECKING:
    from lib.net.proxy import Proxy

USER_AGENT = "Checker"
NO_PASSWORD = Secret("")
PORTS = {"http": 80, "https": 443}
#: By the values of ``Request.version``.
_VERSIONS = {
    "1.0": "CURL_HTTP_VERSION_1_0",
    "1.1": "CURL_HTTP_VERSION_1_1",
    "2": "CURL_HTTP_VERSION_2TLS",
}
#: Headers of every request: no compression, no connection that is kept, no waiting for
#: leave to send a body.
_HEADERS = (b"Accept-Encoding:", b"Connection: close", b"Expect:")
#: The object identifier of a subjectAltName, in DER.
_ALT_NAME = bytes.fromhex("0603551d11")
#: Errors that pycurl has no name for.
_OF_PROXY, _TOO_LARGE = 97, 100
_NEWER_ERRORS = {96: "QUIC_CONNECT_ERROR", _OF_PROXY: "PROXY", _TOO_LARGE: "TOO_LARGE"}
#: An option that pycurl has no name for: the headers of a proxy's answer to CONNECT are
#: none of the server's.
_SUPPRESS_CONNECT_HEADERS = 265
#: How long a server has to say what it dislikes of a TLS connection.
_EXPLAIN_S = 5.0
#: How long an address that libcurl has passed over has to answer.
_ANSWERS_WITHIN_S = 1.0


@functools.cache
def load() -> Any:
    """Return pycurl; raise NotTried, with the remedy, if it cannot be loaded."""
    try:
        if extension := _extension():
            return extension
        # Debian's is an extension itself.
        import pycurl  # type: ignore[import-untyped]  # it comes without types

        return pycurl
    except ImportError as error:
        raise NotTried(
            f"pycurl cannot be loaded: {sys.executable} -m pip install pycurl\n"
            f"It makes the HTTP requests. {error}"
        ) from None


def _extension() -> Any:
    """Return pycurl's extension without what its package imports beside it.

    That is for asyncio, and takes longer than all that is used here.
    """
    spec = importlib.util.find_spec("pycurl")
    if spec is None or spec.submodule_search_locations is None:
        return None
    name = "pycurl._pycurl"
    found = importlib.machinery.PathFinder.find_spec(
        name, spec.submodule_search_locations
    )
    if found is None or found.loader is None:
        return None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class Request(msgspec.Struct, kw_only=True):
    """A request; ``url`` is as people write it, without user and password."""

    url: str
    deadline: Deadline
    method: str = "get"
    user: str = ""
    password: Secret = NO_PASSWORD
    #: basic, digest, or bearer, whose token is the password.
    auth: str = "basic"
    #: More headers, each as ``Name: value``.
    headers: Sequence[str] = ()
    body: bytes | None = None
    cafile: str = ""
    verify: bool = True
    #: The files of a certificate of ours and its key.
    certificate: str = ""
    key: str = ""
    #: Whether the dates of the server's certificate are wanted.
    wants_dates: bool = False
    #: Whether it is wanted how long each part took.
    wants_times: bool = False
    family: str = "any"
    #: Where to connect to in place of the URL's own host and port.
    connect_to: tuple[str, int] | None = None
    #: The only address to ask, if it is not any that the name has.
    address: tuple[int, Address] | None = None
    #: 1.0, 1.1 or 2.
    version: str = "1.1"
    #: The URL of a proxy; ``environment`` for what the environment says.
    proxy: str = ""
    #: Lines of libcurl's cookies, from a response before.
    cookies: Sequence[str] = ()
    reader: Reader = msgspec.field(default_factory=Reader)


def fetch(request: Request) -> Steps[Response]:
    """Return the response to a request, redirects not followed.

    Raise Unreachable if there is none by the deadline, NotTried if ``cafile``, the
    certificate to show or pycurl cannot be used.
    """
    load()
    url = wire_url(request.url)
    host, port = request.connect_to or (url.host, url.port)
    began = time.monotonic()
    proxy: Proxy | None = None
    if request.proxy:
        proxy = yield from _proxy_of(request, url)
    addresses: Sequence[tuple[int, Address]] = []
    if request.address is not None:
        addresses = [request.address]
    elif proxy is None:
        addresses = yield from resolved(host, port, request.family, request.deadline)
    elif proxy.wants_address:
        family = "ipv4" if proxy.scheme == "socks4" else request.family
        addresses = yield from resolved(host, port, family, request.deadline)
        addresses = addresses[:1]
    transfer = _Transfer(request, url, addresses, time.monotonic() - began, proxy)
    code, text = yield transfer
    try:
        if transfer.reading.is_stopped or (not code and transfer.reading.is_complete):
            response = transfer.response()
            if addresses[1:]:
                yield from _note_passed_over(request, host, addresses, response)
            return response
        if proxy is not None:
            transfer.check_proxy(code, text)
        elif code == load().E_COULDNT_CONNECT and len(addresses) > 1:
            no_route = connect.without_route(host, [one for _kind, one in addresses])
            if no_route:
                raise no_route
            yield InThread(
                lambda: connect.connect_first(
                    host, port, addresses, request.deadline
                ).close(),
                request.deadline,
            )
        if transfer.is_tls_trouble(code):
            yield from _explain_tls(transfer)
        return transfer.failed(code, text)
    except Unreachable as error:
        raise transfer.with_route(error) from error.__cause__
    finally:
        transfer.end()


def _proxy_of(request: Request, url: WireUrl) -> Steps[Proxy | None]:
    """Return the proxy to ask, with its addresses; None: there is none for this URL."""
    from lib.net import proxy

    scheme = "https" if url.is_tls else "http"
    found = proxy.chosen(request.proxy, scheme, url.name)
    if found is None:
        return None
    try:
        addresses = yield from resolved(found.host, found.port, "any", request.deadline)
    except Unreachable as error:
        raise found.failed(error.cause) from error
    return found._replace(addresses=addresses)


def _note_passed_over(
    request: Request,
    host: str,
    addresses: Sequence[tuple[int, Address]],
    response: Response,
) -> Steps[None]:
    """Log why libcurl, which does not say so, went on to another address.

    A slow one is passed over too, and answers now.
    """
    names = [address[0] for _kind, address in addresses]
    if response.address not in names[1:] or request.deadline.passed:
        return
    number = names.index(response.address)
    _kind, answers = addresses[number]
    own = Deadline(min(_ANSWERS_WITHIN_S, request.deadline.left()))
    yield from bulk.note_silent(host, addresses[:number], answers, own)


def _explain_tls(transfer: _Transfer) -> Steps[None]:
    """Raise Unreachable with the reason why there is no TLS, if one is found.

    libcurl's words depend on the library it was built with.
    """
    from lib.net import tls

    request, deadline = transfer.request, transfer.request.deadline

    def look() -> None:
        ours = (request.certificate, request.key) if request.certificate else ()
        context = tls.trust(request.cafile, request.verify, *ours)
        if transfer.proxy is not None and transfer.proxy.is_tls:
            return
        bare = transfer.connection()
        with tls.handshake(bare, transfer.host, deadline, context) as sock:
            # A server that wants a certificate of us says so after the handshake.
            sock.settimeout(min(_EXPLAIN_S, deadline.left()))
            try:
                sock.recv(1)
            except TimeoutError:
                return
            except OSError as error:
                words = connect.reason(error, deadline)
                where = shown_address(sock.getpeername())
                raise Unreachable(
                    f"{place_of(request.url)}: {words} (connected to {where}, "
                    "0 bytes came)",
                    host=transfer.host,
                    cause=words,
                ) from error

    try:
        yield InThread(look, deadline)
    except TimeoutError:
        return


class _Transfer(Wait):
    """A request on its way; gives libcurl's error number and text."""

    def __init__(
        self,
        request: Request,
        url: WireUrl,
        addresses: Sequence[tuple[int, Address]],
        dns_s: float = 0.0,
        proxy: Proxy | None = None,
    ) -> None:
        self.request = request
        self._dns_s = dns_s
        self.host = url.host
        self.port = url.port
        self.url = url
        self.addresses = addresses
        self.proxy = proxy
        self.reading = Reading(request.reader)
        self.handle: Any = None
        #: Where its handle goes after it; None: it is closed.
        self._spare: list[Any] | None = None
        #: Whether the URL itself has the only address to connect to.
        self._url_has_address = not request.connect_to and (
            [address[0] for _kind, address in addresses] == [url.host]
        )
        if url.is_tls and request.verify and request.cafile:
            check_cafile(request.cafile)

    def begin(self, loop: Loop, task: Task) -> None:
        """Hand it to libcurl, which ends it at the deadline."""
        driver = loop.driver(_Transfers)
        if self._is_plain:
            self._spare = driver.spare[self._url_has_address]
        if self._spare:
            self.handle = self._spare.pop()
            self.handle.setopt(load().COOKIELIST, "ALL")
        else:
            self.handle = self._new_handle()
        self._prepare(load(), self.handle.setopt)
        driver.add(self.handle, task)

    def end(self) -> None:
        """Close the handle, or leave it to another transfer."""
        if self.handle is None:
            return
        if self._spare is None:
            self.handle.close()
        else:
            self._spare.append(self.handle)

    @property
    def _is_plain(self) -> bool:
        """Return whether its handle has no options that others do not set anew."""
        request = self.request
        return len(self.addresses) == 1 and not (
            self.url.is_tls
            or request.method != "get"
            or request.body is not None
            or request.user
            or request.password
            or request.headers
            or request.cookies
            or request.proxy
            or request.version != "1.1"
        )

    def _prepare(self, curl: Any, setopt: Callable[[int, Any], None]) -> None:
        """Set what is another for each transfer."""
        setopt(curl.URL, self.url.text)
        setopt(curl.HEADERFUNCTION, self.reading.on_header)
        setopt(curl.WRITEFUNCTION, self.reading.on_body)
        if self.addresses and not self._url_has_address:
            self._direct(curl, setopt)
        # libcurl's own 300 s to connect are more than any check has.
        setopt(curl.TIMEOUT_MS, int(self.request.deadline.left() * 1000) + 1)

    def _new_handle(self) -> Any:
        curl, request = load(), self.request
        handle = curl.Curl()
        setopt = handle.setopt
        setopt(curl.NOSIGNAL, 1)
        setopt(curl.PROTOCOLS, curl.PROTO_HTTP | curl.PROTO_HTTPS)
        # Empty: libcurl is not to look into the environment.
        setopt(curl.PROXY, "")
        if self.proxy is not None:
            self._ask_proxy(self.proxy, curl, setopt)
        setopt(curl.HTTP_VERSION, getattr(curl, _VERSIONS[request.version]))
        headers = (
            [*_HEADERS, *map(_sent, request.headers)] if request.headers else _HEADERS
        )
        setopt(curl.HTTPHEADER, headers)
        setopt(curl.USERAGENT, USER_AGENT)
        # The time of a check is that of a connection of its own.
        setopt(curl.FRESH_CONNECT, 1)
        setopt(curl.FORBID_REUSE, 1)
        # Otherwise each transfer looks through the addresses of all before it.
        setopt(curl.DNS_CACHE_TIMEOUT, -1)
        # Decoded if a server compresses it; asking for it costs more than it saves.
        setopt(curl.ACCEPT_ENCODING, "")
        if request.method != "get" or request.body is not None:
            self._ask_by(request.method, request.body, curl, setopt)
        if request.user or request.password.reveal():
            self._log_in(curl, setopt)
        if request.cookies:
            for line in request.cookies:
                setopt(curl.COOKIELIST, line.encode())
        else:
            setopt(curl.COOKIEFILE, "")
        if self.url.is_tls:
            self._verify(curl, setopt)
        return handle

    def _ask_by(
        self,
        method: str,
        body: bytes | None,
        curl: Any,
        setopt: Callable[[int, Any], None],
    ) -> None:
        if body is not None:
            setopt(curl.POSTFIELDSIZE_LARGE, len(body))
            setopt(curl.COPYPOSTFIELDS, body)
        if method == "head":
            setopt(curl.NOBODY, 1)
        else:
            setopt(curl.CUSTOMREQUEST, method.upper())

    def _log_in(self, curl: Any, setopt: Callable[[int, Any], None]) -> None:
        request, password = self.request, self.request.password.reveal().encode()
        if request.auth == "bearer":
            head = b"Authorization: Bearer " + password
            sent = [*_HEADERS, *(_sent(one) for one in request.headers), head]
            setopt(curl.HTTPHEADER, sent)
            return
        is_digest = request.auth == "digest"
        setopt(
            curl.HTTPAUTH, curl.HTTPAUTH_DIGEST if is_digest else curl.HTTPAUTH_BASIC
        )
        setopt(curl.USERNAME, request.user.encode())
        setopt(curl.PASSWORD, password)

    def _direct(self, curl: Any, setopt: Callable[[int, Any], None]) -> None:
        """Have libcurl connect to the addresses that were found, with no resolver."""
        bare = _in_brackets(self.addresses)
        port = self.addresses[0][1][1]
        if len(bare) == 1:
            setopt(curl.CONNECT_TO, [f"::{bare[0]}:{port}"])
            return
        name = self.url.name
        if self.request.connect_to:
            name = ascii_domain(self.request.connect_to[0])
            setopt(curl.CONNECT_TO, [f"::{name}:{port}"])
        setopt(curl.RESOLVE, [f"{name}:{port}:{','.join(bare)}"])

    def _ask_proxy(
        self, proxy: Proxy, curl: Any, setopt: Callable[[int, Any], None]
    ) -> None:
        """Have libcurl ask a proxy, at the addresses that were found."""
        setopt(curl.PROXY, proxy.url)
        # Empty: what the environment excepts does not count here.
        setopt(curl.NOPROXY, "")
        setopt(_SUPPRESS_CONNECT_HEADERS, 1)
        if self.request.connect_to and not self.addresses:
            setopt(curl.CONNECT_TO, [f"::{shown_address(self.endpoint)}"])
        found = [address[0] for _kind, address in proxy.addresses]
        if found != [proxy.host]:
            bare = ",".join(_in_brackets(proxy.addresses))
            setopt(curl.RESOLVE, [f"{proxy.place}:{bare}"])
        if proxy.is_tls:
            setopt(curl.PROXY_SSL_VERIFYPEER, self.request.verify)
            setopt(curl.PROXY_SSL_VERIFYHOST, 2 if self.request.verify else 0)
            if store := self._store():
                setopt(curl.PROXY_CAINFO, store)

    def _store(self) -> str:
        """Return the file of the certificates that are trusted; empty if unknown."""
        from lib.net.certificates import system_store

        return self.request.cafile or system_store()

    def _verify(self, curl: Any, setopt: Callable[[int, Any], None]) -> None:
        setopt(curl.SSLVERSION, curl.SSLVERSION_TLSv1_2)
        # Nothing is shown of a certificate where a session is resumed.
        setopt(curl.SSL_SESSIONID_CACHE, 0)
        if self.request.certificate:
            setopt(curl.SSLCERT, self.request.certificate)
            setopt(curl.SSLKEY, self.request.key or self.request.certificate)
            # Without one OpenSSL would ask the terminal for it.  GnuTLS asks nobody;
            # with one it takes any key in PKCS #8 for encrypted.
            if "GnuTLS" not in curl.version:
                setopt(curl.KEYPASSWD, "")
        if self.request.wants_dates:
            setopt(curl.OPT_CERTINFO, 1)
        if not self.request.verify:
            setopt(curl.SSL_VERIFYPEER, 0)
            setopt(curl.SSL_VERIFYHOST, 0)
            return
        setopt(curl.OPT_CERTINFO, 1)
        if store := self._store():
            setopt(curl.CAINFO, store)

    # What came of it.

    def response(self) -> Response:
        """Return what was read; raise Unreachable for a certificate without names."""
        curl, handle, reading = load(), self.handle, self.reading
        chain: list[bytes] = []
        if self.url.is_tls and (self.request.verify or self.request.wants_dates):
            chain = self._chain(handle.getinfo(curl.INFO_CERTINFO))
        reading.end()
        answer = reading.answer()
        answer.chain = chain
        if self.request.wants_times:
            answer.times = self._times(curl, handle)
        if answer.header("set-cookie"):
            answer.cookies = handle.getinfo(curl.INFO_COOKIELIST)
        answer.address = handle.getinfo(curl.PRIMARY_IP) or ""
        answer.port = handle.getinfo(curl.PRIMARY_PORT) or 0
        if self.proxy is not None or self.request.connect_to:
            answer.route = self.route
            answer.is_of_proxy = self.proxy is not None
        return answer

    def _times(self, curl: Any, handle: Any) -> dict[str, float]:
        connected = handle.getinfo(curl.CONNECT_TIME)
        secured = handle.getinfo(curl.APPCONNECT_TIME) or connected
        first = handle.getinfo(curl.STARTTRANSFER_TIME)
        return {
            "dns": self._dns_s,
            "connect": connected,
            "tls": secured - connected,
            "first_byte": max(0.0, first - secured),
        }

    def _chain(self, shown: Sequence[Sequence[tuple[str, str]]]) -> list[bytes]:
        """Return the server's certificates, its own one first.

        Raise Unreachable if that one names no host.
        """
        chain = [der for fields in shown if (der := _der_of(fields))]
        if not chain:
            raise NotTried(f"{self.host}: the certificate could not be read")
        if self.request.verify and _ALT_NAME not in chain[0]:
            raise self._about(
                f"the certificate of {self.host} names no host in a subjectAltName",
                "browsers refuse it too; have it issued anew, with the name there",
            )
        return chain

    def is_tls_trouble(self, code: int) -> bool:
        """Return whether Python's ssl may know better what is wrong."""
        curl = load()
        if not self.url.is_tls or self.reading.received:
            return False
        return code in (*_tls_codes(), curl.E_RECV_ERROR, curl.E_SEND_ERROR)

    def failed(self, code: int, text: str) -> Response:
        """Return a response whose body is not complete, or raise what is wrong."""
        curl, reading = load(), self.reading
        if code == curl.E_SSL_CACERT_BADFILE:
            raise NotTried(
                f"cafile {self.request.cafile}: this is not a certificate file"
            )
        ours = (curl.E_SSL_CERTPROBLEM, curl.E_BAD_FUNCTION_ARGUMENT)
        if self.request.certificate and code in ours:
            raise NotTried(
                f"certificate {self.request.certificate}: "
                f"{self._libcurl_words(code, text)}"
            )
        if code == curl.E_RECV_ERROR and reading.ends_with_connection:
            return self.response()
        if reading.is_complete:
            response = self.response()
            words = self._body_words(code, text)
            response.trouble = Unreachable(words, addresses=[response.address])
            return response
        if not self._was_connected():
            raise self._unconnected(code, text)
        peer = self.response_peer()
        if code == curl.E_OPERATION_TIMEDOUT and self._is_in_handshake():
            words = f"no TLS handshake within {self.request.deadline}"
            if self.proxy is None:
                words = f"connected, but {words}"
            raise Unreachable(f"{self.host}: {words}", host=self.host, cause=words)
        raise self._about_place(self._no_answer_words(code, text, peer))

    def _was_connected(self) -> bool:
        curl, handle = load(), self.handle
        # In the older libcurl the time to connect includes the handshake.
        has_handshake = self.url.is_tls or self.proxy is not None
        is_in_handshake = has_handshake and handle.getinfo(curl.PRIMARY_IP)
        return bool(handle.getinfo(curl.CONNECT_TIME) or is_in_handshake)

    def _is_in_handshake(self) -> bool:
        is_tls = self.url.is_tls
        return is_tls and not self.handle.getinfo(load().APPCONNECT_TIME)

    def response_peer(self) -> str:
        """Return who was connected to, as ``address:port``."""
        curl, handle = load(), self.handle
        if self.proxy is not None:
            return f"the proxy {self.proxy.place}"
        address = handle.getinfo(curl.PRIMARY_IP) or self.host
        return shown_address((address, self.endpoint[1]))

    @property
    def endpoint(self) -> tuple[str, int]:
        """Return the host and port to connect to, as DNS and libcurl have them."""
        if self.addresses:
            address = self.addresses[0][1]
            return address[0], address[1]
        host, port = self.request.connect_to or (self.url.name, self.port)
        return ascii_domain(host), port

    @property
    def _is_elsewhere(self) -> bool:
        """Return whether it is to connect elsewhere than its URL says."""
        is_other = self.endpoint != (self.url.name, self.port)
        return is_other or self.request.connect_to is not None

    @property
    def route(self) -> str:
        """Return by what way the server was asked; empty if as its URL says."""
        way = f"through the proxy {self.proxy.place}" if self.proxy else ""
        if not self.request.connect_to:
            return way
        there = shown_address(self.request.connect_to)
        return f"{way or 'connected'} to {there}, as connect_to says"

    def with_route(self, error: Unreachable) -> Unreachable:
        """Return an error that says by what way the server was asked."""
        if not self.route:
            return error
        if self.proxy is not None:
            from lib.net.proxy import ProxyFailed

            if isinstance(error, ProxyFailed):
                return error
        return Unreachable(
            f"{error}\n{self.route}",
            host=error.host,
            cause=error.cause,
            addresses=error.addresses,
            step=error.step,
        )

    def connection(self) -> socket.socket:
        """Return another connection to the server, by the same way."""
        if self.proxy is not None:
            return self._tunnel(self.proxy)
        return connect.connect_first(
            self.host, self.port, self.addresses, self.request.deadline
        )

    def _tunnel(self, proxy: Proxy) -> socket.socket:
        curl, deadline = load(), self.request.deadline
        handle = curl.Curl()
        try:
            handle.setopt(curl.NOSIGNAL, 1)
            handle.setopt(curl.URL, f"http://{shown_address(self.endpoint)}/")
            self._ask_proxy(proxy, curl, handle.setopt)
            handle.setopt(curl.HTTPPROXYTUNNEL, 1)
            handle.setopt(curl.CONNECT_ONLY, 1)
            handle.setopt(curl.TIMEOUT_MS, int(deadline.left() * 1000) + 1)
            handle.perform()
            number = os.dup(handle.getinfo(curl.LASTSOCKET))
            return socket.socket(fileno=number)
        except curl.error as error:
            raise TimeoutError("there is no other tunnel") from error
        finally:
            handle.close()

    def check_proxy(self, code: int, text: str) -> None:
        """Raise ProxyFailed if it is the proxy that did not do what it should."""
        curl, proxy, deadline = load(), self.proxy, self.request.deadline
        assert proxy is not None
        if not code:
            return
        if not self._was_connected():
            raise self._no_proxy(proxy, code, text)
        target = shown_address(self.endpoint)
        status = self.handle.getinfo(curl.HTTP_CONNECTCODE)
        if status and status // 100 != 2:
            raise proxy.refused(status, target)
        if code == _OF_PROXY:
            raise proxy.failed(self._libcurl_words(code, text))
        if status or not proxy.speaks_http or self.reading.received:
            return
        if not (self.url.is_tls or self._is_elsewhere):
            # It is asked for the page itself, and with TLS it may have trouble there.
            if proxy.is_tls and code in _tls_codes():
                raise proxy.failed(self._libcurl_words(code, text))
            return
        if code == curl.E_OPERATION_TIMEDOUT:
            raise proxy.failed(f"no answer to CONNECT {target} within {deadline}")
        if code in (curl.E_GOT_NOTHING, curl.E_RECV_ERROR, curl.E_SEND_ERROR):
            raise proxy.failed(f"it ended the connection after CONNECT {target}")
        raise proxy.failed(self._libcurl_words(code, text))

    def _no_proxy(self, proxy: Proxy, code: int, text: str) -> Exception:
        """Return what to raise if there was no connection to the proxy."""
        why = self._why_unconnected(proxy.addresses, code, text)
        if not why:
            return proxy.failed(self._libcurl_words(code, text))
        addresses = [address for _kind, address in proxy.addresses]
        if no_route := connect.without_route(f"the proxy {proxy.place}", addresses):
            return no_route
        tried = [shown_address(address) for address in addresses]
        more = [] if tried == [proxy.place] else [f"tried {', '.join(tried)}"]
        return proxy.failed(why, *more)

    def _unconnected(self, code: int, text: str) -> Exception:
        """Return what to raise if there was no connection."""
        why = self._why_unconnected(self.addresses, code, text)
        if not why:
            return self._about_place(self._libcurl_words(code, text))
        reasons = [(address, why) for _kind, address in self.addresses]
        return connect.why_unanswered(self.host, self.port, reasons)

    def _why_unconnected(
        self, addresses: Sequence[tuple[int, Address]], code: int, text: str
    ) -> str:
        """Return why none of the addresses answered; empty if only libcurl knows.

        Raise what the trouble is if there could be no socket.
        """
        curl = load()
        if code == curl.E_OPERATION_TIMEDOUT:
            return connect.reason(TimeoutError(), self.request.deadline)
        if code != curl.E_COULDNT_CONNECT:
            return ""
        number = self.handle.getinfo(curl.OS_ERRNO)
        if not number:
            raise _why_no_socket(addresses[0][0], self._libcurl_words(code, text))
        error = OSError(number, os.strerror(number))
        return connect.reason(error, self.request.deadline)

    def _no_answer_words(self, code: int, text: str, peer: str) -> str:
        curl, reading = load(), self.reading
        if not code:
            return "the connection was closed in the middle of the headers"
        came = f"{reading.received} bytes came"
        if code == curl.E_OPERATION_TIMEDOUT:
            where = f"connected to {peer}, sent the request, {came}"
            if self.proxy is not None and not self.proxy.speaks_http:
                where = f"connected to {peer}, {came}"
            return f"no answer within {self.request.deadline} ({where})"
        if code == curl.E_GOT_NOTHING:
            return "the connection was closed without a response"
        if code in (curl.E_RECV_ERROR, curl.E_SEND_ERROR):
            number = self.handle.getinfo(curl.OS_ERRNO)
            if number in (errno.ECONNRESET, errno.EPIPE, 0):
                return f"the connection was reset ({came})"
        if code == curl.E_UNSUPPORTED_PROTOCOL:
            return "the server does not speak HTTP"
        if code == _TOO_LARGE or (code == curl.E_OUT_OF_MEMORY and not text):
            # The older libcurl says the latter, which is not so.
            return "a line of the headers is longer than 100 kB"
        if code == curl.E_FTP_WEIRD_SERVER_REPLY:
            return f"the headers are malformed: {self._libcurl_words(code, text)}"
        return f"{self._libcurl_words(code, text)} (connected to {peer}, {came})"

    def _body_words(self, code: int, text: str) -> str:
        curl, size = load(), shown_size(self.reading.size)
        if code == curl.E_OPERATION_TIMEDOUT:
            return f"timed out after {self.request.deadline} with {size} of the body"
        if code in (curl.E_BAD_CONTENT_ENCODING, curl.E_WRITE_ERROR):
            return f"the body is damaged: it cannot be unpacked after {size}"
        return f"the connection broke after {size} of the body"

    def _libcurl_words(self, code: int, text: str) -> str:
        """Return libcurl's words with the error's name: some builds have no words."""
        meaning = getattr(load(), "easy_strerror", None)
        text = printable(text or (meaning(code) if meaning else ""), 120)
        name = f"libcurl: {error_name(code)}"
        return f"{text} ({name})" if text else name

    def _about_place(self, words: str) -> Unreachable:
        connected = self.handle.getinfo(load().PRIMARY_IP)
        return Unreachable(
            f"{place_of(self.request.url)}: {words}",
            host=self.host,
            cause=words,
            addresses=(
                [connected] if connected else [one[0] for _k, one in self.addresses]
            ),
        )

    def _about(self, words: str, more: str) -> Unreachable:
        return Unreachable(f"{words}\n{more}", host=self.host, cause=words)


def _in_brackets(addresses: Sequence[tuple[int, Address]]) -> list[str]:
    """Return addresses as libcurl takes them, without their ports."""
    found = [address[0] for _kind, address in addresses]
    return [f"[{one}]" if ":" in one else one for one in found]


def _tls_codes() -> tuple[int, ...]:
    """Return libcurl's errors of TLS."""
    curl = load()
    return (
        curl.E_SSL_CONNECT_ERROR,
        # Both are about a certificate of ours, by the version of libcurl.
        curl.E_SSL_CERTPROBLEM,
        curl.E_BAD_FUNCTION_ARGUMENT,
        curl.E_PEER_FAILED_VERIFICATION,
        curl.E_SSL_CIPHER,
    )


def _why_no_socket(kind: int, words: str) -> Exception:
    """Return why libcurl, which does not say so, could open no socket."""
    try:
        socket.socket(kind, socket.SOCK_STREAM).close()
    except OSError as error:
        return bulk.no_socket(error)
    return NotTried(f"not checked: {words}")


class _Transfers:
    """The transfers of one loop: libcurl's multi handle, which the loop drives."""

    def __init__(self, loop: Loop) -> None:
        self._curl = curl = load()
        self._loop = loop
        self._tasks: dict[Any, Task] = {}
        #: When libcurl wants to be called, by the monotonic clock, and when the loop
        #: is to call next; each of thousands of transfers may change the former.
        self._due_at: float | None = None
        self._alarm_at: float | None = None
        self._is_to_collect = False
        self._masks = {
            curl.POLL_IN: bulk.READ,
            curl.POLL_OUT: bulk.WRITE,
            curl.POLL_INOUT: bulk.READ | bulk.WRITE,
        }
        #: What to tell libcurl has happened; what is neither of both is an error, or
        #: the end.
        self._actions = {
            0: curl.CSELECT_ERR,
            bulk.READ: curl.CSELECT_IN,
            bulk.WRITE: curl.CSELECT_OUT,
            bulk.READ | bulk.WRITE: curl.CSELECT_IN | curl.CSELECT_OUT,
        }
        #: Handles of transfers that are over, for others like them: what has led one
        #: to another address than that of its URL stays with it.
        self.spare: dict[bool, list[Any]] = {True: [], False: []}
        self._multi = curl.CurlMulti()
        self._multi.setopt(curl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(curl.M_TIMERFUNCTION, self._on_timer)

    def add(self, handle: Any, task: Task) -> None:
        """Begin a transfer; the task is resumed with its error number and text."""
        self._tasks[handle] = task
        self._multi.add_handle(handle)

    def close(self) -> None:
        """End all transfers."""
        for handle in self._tasks:
            self._multi.remove_handle(handle)
            handle.close()
        for handle in (*self.spare[True], *self.spare[False]):
            handle.close()
        self._tasks.clear()
        self._multi.close()

    def _on_socket(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        mask = self._masks.get(what)
        if mask is None:
            self._loop.unwatch(fd)
        else:
            self._loop.watch(fd, mask, self._on_event)

    def _on_timer(self, after_ms: int) -> None:
        if after_ms < 0:
            self._due_at = None
            return
        at = self._due_at = time.monotonic() + after_ms / 1000
        # One that is set already comes in time, and is set anew then.
        if self._alarm_at is None or at < self._alarm_at:
            self._alarm_at = at
            if after_ms:
                self._loop.call_at(at, self._on_time, at)
            else:
                self._loop.call_soon(functools.partial(self._on_time, at))

    def _on_time(self, alarm_at: float) -> None:
        if alarm_at != self._alarm_at:
            return
        self._alarm_at = None
        due_at = self._due_at
        if due_at is None:
            return
        if due_at > time.monotonic():
            self._alarm_at = due_at
            self._loop.call_at(due_at, self._on_time, due_at)
            return
        self._due_at = None
        self._act(self._curl.SOCKET_TIMEOUT, 0)

    def _on_event(self, fd: int, events: int) -> None:
        self._act(fd, self._actions[events & (bulk.READ | bulk.WRITE)])

    def _act(self, fd: int, mask: int) -> None:
        self._multi.socket_action(fd, mask)
        if not self._is_to_collect:
            self._is_to_collect = True
            self._loop.call_soon(self._collect)

    def _collect(self) -> None:
        self._is_to_collect = False
        more = 1
        while more:
            more, well, badly = self._multi.info_read()
            for handle in well:
                self._end(handle, 0, "")
            for handle, code, text in badly:
                self._end(handle, code, text)

    def _end(self, handle: Any, code: int, text: str) -> None:
        self._multi.remove_handle(handle)
        self._loop.resume(self._tasks.pop(handle), (code, text))


def _der_of(fields: Sequence[tuple[str, str]]) -> bytes:
    """Return a certificate as libcurl shows it; empty if it does not."""
    from binascii import a2b_base64

    pem = next((text for name, text in fields if name == "Cert"), "")
    return a2b_base64(pem.partition("-----\n")[2].partition("-----")[0])


def _sent(header: str) -> bytes:
    """Return a header for libcurl, which drops one without a value."""
    name, _colon, value = header.partition(":")
    return (header if value.strip() else f"{name};").encode()


def check_cafile(path: str) -> None:
    """Raise NotTried if a file of certificates cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise NotTried(f"cafile {path}: this is not a file")
        with open(path, "rb") as file:
            if b"-----BEGIN" not in file.read():
                raise NotTried(f"cafile {path}: this is not a certificate file")
    except OSError as error:
        raise NotTried(f"cafile {path}: {error.strerror}") from error


@functools.cache
def error_name(code: int) -> str:
    """Return libcurl's name of an error, such as 28 OPERATION_TIMEDOUT."""
    curl = load()
    for name in dir(curl):
        if name.startswith("E_") and not name.startswith("E_MULTI"):
            if getattr(curl, name) == code:
                return f"{code} {name[2:]}"
    return f"{code} {_NEWER_ERRORS.get(code, 'unknown')}"


class WireUrl(msgspec.Struct, frozen=True):
    """A URL as it is requested."""

    #: In ASCII, without user, password and fragment.
    text: str
    #: Its host as it was written, and as DNS has it.
    host: str
    name: str
    port: int
    is_tls: bool


#: What may stand in a path and a query as it is.
_KEPT = "!#$%&'()*+,/:;=?@[]~"
#: A URL that goes out as it is, at most with a slash at its end.
_PLAIN_URL = re.compile(
    r"(https?)://((?:[a-z0-9-]{1,60}\.)*[a-z0-9-]{1,60})(?::([0-9]{1,5}))?"
    r"(/[\w./%=&+~:;,@!$'()*-]*)?",
    re.A,
)
_PLAIN_PATH = re.compile(r"[\w./%=&+~:;,@!$'()*-]*", re.A)


def wire_url(url: str) -> WireUrl:
    """Return a URL as it is requested; raise Unreachable if it cannot be."""
    if match := _PLAIN_URL.fullmatch(url):
        scheme, host, port, path = match.groups()
        text = url if path else f"{url}/"
        return WireUrl(text, host, host, int(port or PORTS[scheme]), scheme == "https")
    return any_wire_url(url)


def any_wire_url(url: str) -> WireUrl:
    """Return the same of any form, which takes longer."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    try:
        name = ascii_domain(host)
    except ValueError as error:
        raise Unreachable(f"{shown_url(url)}: this URL cannot be requested") from error
    is_tls = parts.scheme == "https"
    if is_tls:
        # No certificate is for a name with a dot at its end; GnuTLS compares it so.
        name = name.rstrip(".")
    place = f"[{name}]" if ":" in name else name
    if port:
        place += f":{port}"
    path = _quoted(parts.path) or "/"
    query = f"?{_quoted(parts.query)}" if parts.query else ""
    text = f"{parts.scheme}://{place}{path}{query}"
    return WireUrl(text, host, name, port or PORTS[parts.scheme], is_tls)


def _quoted(text: str) -> str:
    return text if _PLAIN_PATH.fullmatch(text) else quote(text, safe=_KEPT)


def credentials_of(url: str) -> tuple[str, Secret]:
    """Return user and password of a URL; each empty if it has none."""
    if "@" not in url:
        return "", NO_PASSWORD
    parts = urlsplit(url)
    return unquote(parts.username or ""), Secret(unquote(parts.password or ""))


def shown_size(size: int) -> str:
    """Return a number of bytes in bytes, kB or MB."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size // 1000} kB" if size < 1_000_000 else f"{size // 1_000_000} MB"
