"""Each option of [http NAME] alone turns the status of a real server's target."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
from urllib.parse import unquote_plus

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from jobs.HTTPServerChecker import (
    Hop,
    HTTPServerChecker,
    metric_value,
    request_of,
    steps,
)
from lib.config import fields
from lib.core.enums import Status
from lib.jobbase import CheckFailed
from lib.net import bulk, connect
from lib.net.connect import Deadline
from lib.net.response import MAX_BYTES, Reader, room
from lib.plugins.kind import KindTable
from tests.support.certificates import issued, write_chain
from tests.support.listeners import (
    HOLD,
    Listener,
    answer,
    closed_port,
    found_by,
    hear,
    job_of,
    result_of,
    routes,
    run_of,
    says,
    tls_context,
    write_authority,
)
from tests.support.proxies import tunnels

JSON = b'{"status": "up", "nodes": [{"load": 3}, {"load": 5}]}'
PAGE = b"""\
# HELP jobs_total Jobs.
# TYPE jobs_total counter
jobs_total{queue="a",host="x\\"y"} 10
jobs_total{queue="b"} 32 1700000000
up 1
odd NaN text
"""


def wants(pattern):
    """Return a talk that answers 200 if a request matches, and else 400."""

    def talk(conn, listener):
        said = b""
        while b"\r\n\r\n" not in said:
            said += conn.recv(4096)
        length = re.search(rb"(?i)content-length: (\d+)", said)
        while length and len(said.partition(b"\r\n\r\n")[2]) < int(length[1]):
            said += conn.recv(4096)
        listener.heard.append(said)
        is_so = re.search(pattern, said, re.S)
        conn.sendall(answer("200 OK" if is_so else "400 Not so"))

    return talk


def moved(to, *headers):
    return answer("302 Found", b"", f"Location: {to}", *headers)


def digest(conn, listener):
    asks = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
    while True:
        said = b""
        while b"\r\n\r\n" not in said:
            more = conn.recv(4096)
            if not more:
                return
            said += more
        if b"Authorization: Digest" in said and b'username="bob"' in said:
            conn.sendall(answer("200 OK", b"Welcome home", "Logged: in"))
            return
        conn.sendall(answer("401 No", b"Who are you?", asks))


OK_PAGE = says(
    answer(
        body=b"Welcome home",
    )
)

#: What the server does; options with which it is OK, and such with which it is not.
CASES = {
    "url": (routes(there=answer()), {"path": "/there"}, {"path": "/gone"}),
    "method": (wants(b"^PUT /"), {"method": "put"}, {"method": "post"}),
    "headers": (
        wants(b"X-Key: a\r\nX-Other: b\r\n"),
        {"headers": "X-Key: a\n  X-Other: b"},
        {"headers": "X-Key: a"},
    ),
    "body": (wants(b"^POST .*\r\n\r\nping$"), {"body": "ping"}, {"body": "pong"}),
    "body_file": (wants(b"\r\n\r\nping$"), {"body_file": "PING"}, {"body_file": "CA"}),
    "json": (
        wants(b'application/json\r\n.*\r\n\r\n{"a": 1}$'),
        {"json": '{"a": 1}'},
        {"json": '{"a": 2}'},
    ),
    "form": (wants(b"form-urlencoded\r\n.*\r\n\r\na=1$"), {"form": "a=1"}, {}),
    "auth": (
        digest,
        {"user": "bob", "password": "hush", "auth": "digest"},
        {"user": "bob", "password": "hush", "auth": "basic"},
    ),
    "user": (
        wants(b"Basic Ym9iOmj8c2g=|Basic Ym9iOmjDvHNo"),
        {"user": "bob", "password": "hüsh"},
        {"user": "eve", "password": "hüsh"},
    ),
    "password": (
        wants(b"Basic Ym9iOmjDvHNo"),
        {"user": "bob", "password": "hüsh"},
        {"user": "bob", "password": "hush"},
    ),
    "token": (wants(b"Bearer t0k3n\r\n"), {"token": "t0k3n"}, {"token": "other"}),
    "expect_status": (says(answer("418 No")), {"expect_status": "any"}, {}),
    "expect_text": (OK_PAGE, {"expect_text": "Welcome"}, {"expect_text": "Bye"}),
    "reject_text": (OK_PAGE, {"reject_text": "Bye"}, {"reject_text": "Welcome"}),
    "expect_regex": (
        OK_PAGE,
        {"expect_regex": r"^Wel\w+ h"},
        {"expect_regex": "^home"},
    ),
    "reject_regex": (OK_PAGE, {"reject_regex": "^home"}, {"reject_regex": "home$"}),
    "expect_header": (
        says(answer("200 OK", b"", "Server: nginx/1.22")),
        {"expect_header": "server: ^nginx"},
        {"expect_header": "Server: ^apache"},
    ),
    "expect_json": (
        says(answer(body=JSON)),
        {"expect_json": "status == 'up' && max(nodes[].load) < `6`"},
        {"expect_json": "status == 'down'"},
    ),
    "metric": (
        says(answer(body=PAGE)),
        {"metric": 'jobs_total{queue="a"}', "fail_value": "20"},
        {"metric": "jobs_total", "fail_value": "20"},
    ),
    "per": (
        says(answer(body=PAGE)),
        {"metric": "up", "fail_value": "0", "per": "s"},
        {"metric": "up", "fail_value": "0"},
    ),
    "fail_value": (
        says(answer(body=PAGE)),
        {"metric": "up", "fail_value": "1..2"},
        {"metric": "up", "fail_value": "2..3"},
    ),
    "warn_value": (
        says(answer(body=PAGE)),
        {"metric": "up", "warn_value": "1"},
        {"metric": "up", "warn_value": "0"},
    ),
    "redirects": (
        routes(index=moved("/there"), there=answer()),
        {"redirects": "same_host"},
        {"redirects": "none"},
    ),
    "max_redirects": (
        routes(index=moved("/there"), there=answer()),
        {"max_redirects": "1"},
        {"max_redirects": "0"},
    ),
    "expect_location": (
        routes(index=moved("/there"), there=answer()),
        {"expect_location": "URL/there"},
        {"expect_location": "URL/other"},
    ),
    "addresses": (
        OK_PAGE,
        {"host": "both.example", "addresses": "first"},
        {"host": "both.example", "addresses": "every"},
    ),
    "family": (
        OK_PAGE,
        {"host": "both.example", "family": "ipv4"},
        {"host": "both.example", "family": "ipv6"},
    ),
    "connect_to": (
        wants(b"Host: nowhere.invalid:"),
        {"host": "nowhere.invalid", "connect_to": "PLACE"},
        {"host": "nowhere.invalid", "connect_to": "CLOSED"},
    ),
    "proxy": (
        wants(b"^GET http://nowhere.invalid:"),
        {"host": "nowhere.invalid", "proxy": "http://PLACE"},
        {"host": "nowhere.invalid", "proxy": "http://CLOSED"},
    ),
    "http_version": (wants(b"HTTP/1.0\r\n"), {"http_version": "1.0"}, {}),
    "fail_size": (OK_PAGE, {"fail_size": "12B"}, {"fail_size": "11B"}),
    "warn_size": (OK_PAGE, {"warn_size": "12B"}, {"warn_size": "11B"}),
    **{
        f"{word}_time{part}": (
            OK_PAGE,
            {f"{word}_time{part}": "40s"},
            {f"{word}_time{part}": "0s"},
        )
        for word in ("fail", "warn")
        for part in ("", "_dns", "_connect", "_first_byte")
    },
}
#: The same with a server that speaks TLS.
TLS_CASES = {
    "cafile": ({"cafile": "CA"}, {}),
    "verify": ({"verify": "no"}, {"verify": "yes"}),
    "fail_days": (
        {"cafile": "CA", "fail_days": "80"},
        {"cafile": "CA", "fail_days": "100"},
    ),
    "warn_days": (
        {"cafile": "CA", "warn_days": "80"},
        {"cafile": "CA", "warn_days": "100"},
    ),
    "fail_time_tls": (
        {"cafile": "CA", "fail_time_tls": "40s"},
        {"cafile": "CA", "fail_time_tls": "0s"},
    ),
    "warn_time_tls": (
        {"cafile": "CA", "warn_time_tls": "40s"},
        {"cafile": "CA", "warn_time_tls": "0s"},
    ),
}
#: These have a test of their own below.
OTHERS = {"certificate", "key", "need"}


def found(listener, options, folder, scheme="http"):
    options = dict(options)
    host, path = options.pop("host", "127.0.0.1"), options.pop("path", "/")
    (folder / "ping").write_text("ping")
    words = {
        "URL": f"http://127.0.0.1:{listener.port}",
        "PLACE": f"127.0.0.1:{listener.port}",
        "CLOSED": f"127.0.0.1:{closed_port()}",
        "PING": str(folder / "ping"),
        "CA": write_authority(folder),
    }
    for name, value in options.items():
        for word, text in words.items():
            value = re.sub(rf"\b{word}\b", text, value)
        options[name] = value
    url = f"{scheme}://{host}:{listener.port}{path}"
    return found_by(HTTPServerChecker, url=url, timeout=8, **options)


def test_every_option_has_a_case():
    own = set(KindTable("http", "minute", HTTPServerChecker.options).own)
    secrets = {
        name + suffix
        for name in ("password", "token")
        for suffix in ("_file", "_env", "_command")
    }
    assert own - secrets == {*CASES, *TLS_CASES, *OTHERS}


@pytest.mark.parametrize("option", CASES)
def test_an_option_alone_turns_the_status(option, tmp_path):
    talk, good, bad = CASES[option]
    with Listener(talk) as it:
        assert found(it, good, tmp_path) == "fine"
        assert found(it, bad, tmp_path) != "fine"


def test_a_request_without_options_is_one_with_all_defaults():
    url, deadline, reader = "http://a.example/", Deadline(5), Reader()
    defaults = {"verify": "yes", "family": "any", "http_version": "1.1"}
    short, long = (
        request_of(job_of(HTTPServerChecker, **options).target, hop, deadline, reader)
        for hop in [Hop(url, "get", None)]
        for options in ({"url": url}, {"url": url, **defaults})
    )
    assert short == long


@pytest.mark.parametrize("option", TLS_CASES)
def test_an_option_of_tls_alone_turns_the_status(option, tmp_path):
    good, bad = TLS_CASES[option]
    with Listener(OK_PAGE, context=tls_context()) as it:
        assert found(it, good, tmp_path, "https") == "fine"
        assert found(it, bad, tmp_path, "https") != "fine"


def test_a_certificate_of_ours_is_shown_with_its_key(tmp_path):
    clients = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ours = clients.issue_cert("client.example", key_type=trustme.KeyType.ECDSA)
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    context = tls_context()
    context.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(context)
    names = ("both.pem", "cert.pem", "key.pem", "pkcs8.pem")
    both, cert, key, pkcs8 = (tmp_path / name for name in names)
    # As openssl writes it; trustme has the older form.
    pkcs8.write_bytes(
        serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with Listener(OK_PAGE, context=context) as it:
        for options, is_good in (
            ({"certificate": both}, True),
            ({}, False),
            ({"certificate": cert, "key": key}, True),
            ({"certificate": cert, "key": pkcs8}, True),
            ({"certificate": cert}, False),
        ):
            given = {name: str(path) for name, path in options.items()}
            said = found(it, {"cafile": "CA", **given}, tmp_path, "https")
            assert (said == "fine") is is_good, said


def test_a_server_without_http_2_is_asked_by_1_1(tmp_path):
    with Listener(OK_PAGE, context=tls_context()) as it:
        options = {"http_version": "2", "cafile": "CA"}
        assert found(it, options, tmp_path, "https") == "fine"
    assert b" HTTP/1.1\r\n" in it.heard[0]


def test_a_digest_login_is_made_whatever_status_is_expected():
    login = {"user": "bob", "password": "hush", "auth": "digest"}
    with Listener(digest) as it:
        options = {"expect_status": "any", "expect_header": "Logged: in", **login}
        job = job_of(HTTPServerChecker, url=it.url(), **options)
        assert result_of(job).reason == ""


def test_the_body_behind_a_digest_login_is_judged(tmp_path):
    login = {"user": "bob", "password": "hush", "auth": "digest"}
    with Listener(digest) as it:
        assert found(it, {**login, "expect_regex": "^Wel"}, tmp_path) == "fine"
        said = found(it, {**login, "reject_text": "Welcome"}, tmp_path)
    assert said.startswith("'Welcome' is in the response")


@pytest.mark.parametrize("need", ["any", "all"])
def test_all_thresholds_may_be_needed(need, tmp_path):
    options = {"fail_time": "0s", "fail_size": "1MB", "need": need}
    with Listener(OK_PAGE) as it:
        assert (found(it, options, tmp_path) == "fine") is (need == "all")


def test_every_address_is_asked_and_the_dead_one_is_named(tmp_path):
    with Listener(OK_PAGE) as it:
        options = {"host": "both.example", "addresses": "every"}
        said = found(it, options, tmp_path)
    assert said.startswith("1 of 2 addresses of both.example fail\n[::1]:")
    assert said.endswith(": connection refused")


def test_the_growth_of_a_counter_is_judged():
    page = answer(body=b"n_total 10\n")
    with Listener(says(page), says(answer(body=b"n_total 1010\n"))) as it:
        job = job_of(
            HTTPServerChecker, url=it.url(), metric="n_total", per="s", fail_value=5
        )
        target = job.target
        first = bulk.run_one(steps(job, target, Deadline(8)))
        assert "value" not in first
        job.memory["metric"][1] -= 10
        second = bulk.run_one(steps(job, target, Deadline(8)))
        assert 50 < second["value"].number <= 100
        # Begun again at 0.
        job.memory["metric"] = [5000, job.memory["metric"][1] - 10]
        third = bulk.run_one(steps(job, target, Deadline(8)))
        assert 50 < third["value"].number <= 102


@pytest.fixture
def pair(tmp_path):
    """Return what starts a server at each address of pair.example.

    It returns what a target finds that asks each of them.
    """
    with contextlib.ExitStack() as stack:

        def ask(talks, contexts=(None, None), **options):
            one, other = contexts
            first = stack.enter_context(Listener(talks[0], context=one))
            place = {"host": "127.0.0.2", "port": first.port}
            stack.enter_context(Listener(talks[1], context=other, **place))
            scheme = "https" if one else "http"
            job = job_of(
                HTTPServerChecker,
                url=f"{scheme}://pair.example:{first.port}/",
                addresses="every",
                cafile=write_authority(tmp_path),
                **options,
            )
            job.port = first.port
            return job

        yield ask


@pytest.mark.parametrize("turned", [1, -1], ids=["first", "last"])
@pytest.mark.parametrize(
    ("talk", "options", "said"),
    [
        pytest.param(
            says(2.2, answer()), {"fail_time": "2s"}, "time is ", marks=pytest.mark.long
        ),
        (
            says(answer(body=b"m 1\n" * 9)),
            {"metric": "m", "fail_value": "5"},
            "value is 9, over fail_value = 5",
        ),
        (says(answer(body=b"m 1\n" * 9)), {"fail_size": "20B"}, "size is 36B, over"),
        (
            says(answer(body=b"m 1\n" * 9)),
            {"metric": "m", "fail_value": "1..5", "warn_size": "1MB"},
            "value is 9, outside",
        ),
    ],
    ids=["time", "value", "size", "range"],
)
def test_each_value_is_that_of_the_worst_address(pair, talk, options, said, turned):
    talks = [talk, says(answer(body=b"m 1\n"))][::turned]
    job = pair(talks, **options)
    result = result_of(job)
    place = f"127.0.0.{1 if turned == 1 else 2}:{job.port}"
    first, *_, named = result.reason.split("\n")
    assert first.startswith(said)
    assert named.endswith(f" is that of {place}, the worst of 2")
    assert job.answered_by == place


@pytest.mark.parametrize("turned", [1, -1], ids=["first", "last"])
def test_the_certificate_of_each_address_is_judged(pair, turned):
    contexts = [tls_context("pair.example", ends=ends) for ends in (3.5, 300)][::turned]
    job = pair([OK_PAGE, OK_PAGE], contexts, fail_days=7)
    result = result_of(job)
    place = f"127.0.0.{1 if turned == 1 else 2}:{job.port}"
    first, date, named = result.reason.split("\n")
    assert first == "days is 3.4, under fail_days = 7"
    assert "certificate of pair.example expires on" in date
    assert named == f"days is that of {place}, the worst of 2"


def test_the_time_to_find_every_address_is_judged(pair, monkeypatch):
    look_up = connect.look_up

    def slowly(*asked):
        time.sleep(0.1)
        return look_up(*asked)

    monkeypatch.setattr(connect, "look_up", slowly)
    said = result_of(pair([OK_PAGE, OK_PAGE], fail_time_dns="50ms"))
    assert "over fail_time_dns = 50ms" in said.reason
    assert result_of(pair([OK_PAGE] * 2, fail_time_dns="5s")).status is Status.OK


def test_addresses_that_are_well_need_no_note(pair):
    result = result_of(pair([OK_PAGE, OK_PAGE], fail_time="40s", fail_size="1MB"))
    assert (result.status, result.reason) == (Status.OK, "")


@pytest.mark.long
def test_with_need_all_one_address_must_exceed_all(pair):
    slow, large = says(2.2, answer()), says(answer(body=b"x" * 99))
    options = {"fail_time": "2s", "fail_size": "20B", "need": "all"}
    assert result_of(pair([slow, large], **options)).status is Status.OK
    both = says(2.2, answer(body=b"x" * 99))
    assert result_of(pair([both, OK_PAGE], **options)).status is Status.FAILING


@pytest.mark.parametrize("turned", [1, -1], ids=["first", "last"])
def test_a_redirect_on_the_host_stays_at_the_address(pair, turned):
    index = moved("/app")
    good = routes(index=index, app=answer(body=b"Welcome"))
    bad = routes(index=index, app=answer("500 No"))
    job = pair([good, bad][::turned], expect_text="Welcome")
    first, named = result_of(job).reason.split("\n")
    assert first == "1 of 2 addresses of pair.example fail"
    place = f"127.0.0.{2 if turned == 1 else 1}:{job.port}"
    assert named == f"{place}: expected status 200, got 500 No"


def test_a_redirect_to_another_host_leaves_the_address(pair):
    with Listener(OK_PAGE) as there:
        index = moved(there.url())
        job = pair([routes(index=index)] * 2, redirects="any")
        assert result_of(job).status is Status.OK
        assert len(there.heard) == 2


def test_each_address_has_a_counter_of_its_own(pair):
    pages = [says(answer(body=b"n_total %d\n" % number)) for number in (1000, 5000)]
    job = pair(pages, metric="n_total", per="s", fail_value=5)
    _said, memory = run_of(job, {"metrics": {"127.0.0.9:1": [1, 1]}})
    assert _said == "ok: "
    one, other = (f"127.0.0.{number}:{job.port}" for number in (1, 2))
    assert {place: number for place, (number, _at) in memory["metrics"].items()} == {
        one: 1000,
        other: 5000,
    }
    memory["metrics"][other] = [4000, memory["metrics"][other][1] - 10]
    said, _memory = run_of(job, memory)
    assert said.startswith("failing: value is 9")
    assert f"value is that of {other}" in said


def test_an_address_that_is_unknown_is_named_and_hides_no_dead_one(pair):
    large, small = says(answer(body=LONG)), says(answer(body=b"m 1\n"))
    job = pair([large, small], metric="m")
    said = result_of(job)
    assert said.status is Status.UNKNOWN
    assert said.reason.startswith(
        "1 of 2 addresses of pair.example are unknown\n"
        f"127.0.0.1:{job.port}: only the first 10 MB"
    )
    said = result_of(pair([large, says(answer("500 No"))], metric="m"))
    assert said.status is Status.FAILING


def test_an_address_that_is_unknown_hides_no_value_of_another(pair):
    large, small = says(answer(body=LONG)), says(answer(body=b"m 7\n"))
    job = pair([large, small], metric="m", warn_value=6)
    assert result_of(job).status is Status.UNKNOWN
    job = pair([large, small], metric="m", warn_value=5, fail_value=6)
    said = result_of(job)
    assert said.status is Status.FAILING
    assert said.reason.startswith(
        "value is 7, over fail_value = 6\nvalue is m\n"
        "1 of 2 addresses of pair.example are unknown\n"
        f"127.0.0.1:{job.port}: only the first 10 MB"
    )


@pytest.mark.parametrize(
    ("name", "labels", "number"),
    [
        ("jobs_total", {}, 42.0),
        ("jobs_total", {"host": 'x"y'}, 10.0),
        ("jobs_total", {"queue": "c"}, None),
        ("up", {}, 1.0),
        ("jobs", {}, None),
    ],
)
def test_a_metric_is_the_sum_of_its_samples(name, labels, number):
    assert metric_value(PAGE.decode(), name, labels) == number


def test_an_exemplar_behind_a_sample_is_no_label_of_it():
    page = (
        'took_bucket{le="1"} 5 # {trace_id="a}b"} 0.67 1520879607.7\n'
        'took_bucket{le="2",of="}\\"{"} 7 # {trace_id="c"} 1.5\n'
    )
    assert metric_value(page, "took_bucket", {"le": "1"}) == 5
    assert metric_value(page, "took_bucket", {"of": '}"{'}) == 7
    assert metric_value(page, "took_bucket", {}) == 12


@pytest.mark.parametrize("per", [{}, {"per": "s"}], ids=["as is", "growth"])
@pytest.mark.parametrize("number, word", [("NaN", "nan"), ("+Inf", "inf")])
def test_a_metric_that_is_no_finite_number_fails(number, word, per):
    page = answer(body=f"age_seconds {number}\n".encode())
    with Listener(says(page)) as it:
        job = job_of(
            HTTPServerChecker,
            url=it.url(),
            metric="age_seconds",
            fail_value=9,
            **per,
        )
        with pytest.raises(CheckFailed, match=f"age_seconds is {word} in the response"):
            bulk.run_one(steps(job, job.target, Deadline(8)))
    assert "metric" not in job.memory


def test_cookies_are_kept_along_redirects_of_one_host(tmp_path):
    def talk(conn, listener):
        said = b""
        while b"\r\n\r\n" not in said:
            said += conn.recv(4096)
        if b"GET / " in said:
            conn.sendall(moved("/in", "Set-Cookie: id=7; Path=/"))
        else:
            conn.sendall(answer("200 OK" if b"Cookie: id=7" in said else "403 No"))

    with Listener(talk) as it:
        assert found(it, {}, tmp_path) == "fine"


def test_a_cookie_that_a_redirect_deletes_is_sent_no_more(tmp_path):
    def talk(conn, listener):
        said = hear(conn, listener)
        if b"GET / " in said:
            conn.sendall(moved("/out", "Set-Cookie: id=7; Path=/"))
        elif b"GET /out " in said:
            conn.sendall(moved("/on", "Set-Cookie: id=; Path=/; Max-Age=0"))
        elif b"GET /on " in said:
            conn.sendall(moved("/end"))
        else:
            conn.sendall(answer("403 No" if b"Cookie:" in said else "200 OK"))

    with Listener(talk) as it:
        assert found(it, {}, tmp_path) == "fine"
    assert [b"Cookie: id=7" in said for said in it.heard] == [False, True, False, False]


def test_any_of_several_equal_headers_may_match(tmp_path):
    with Listener(
        says(answer("200 OK", b"", "Set-Cookie: a=1", "set-cookie: session=2"))
    ) as it:
        for pattern in ("Set-Cookie: ^a=", "Set-Cookie: ^session="):
            assert found(it, {"expect_header": pattern}, tmp_path) == "fine"
        assert found(it, {"expect_header": "Set-Cookie: ^b="}, tmp_path) == (
            "header Set-Cookie does not match '^b=': it is 'a=1' and 'session=2'"
        )
        assert found(it, {"expect_header": "X-None: .*"}, tmp_path) == (
            "header X-None does not match '.*': there is none"
        )


def test_connect_to_is_for_the_host_and_port_of_the_url_only(tmp_path):
    with Listener(routes(index=moved("https://127.99.99.99/"))) as it:
        place = f"127.0.0.1:{it.port}"
        said = found_by(
            HTTPServerChecker, url="http://127.99.99.99/", timeout=8, connect_to=place
        )
        assert said == "127.99.99.99:443: connection refused"
        said = found_by(
            HTTPServerChecker,
            url="http://127.99.99.99/",
            connect_to=place,
            addresses="every",
        )
        assert said.endswith("127.99.99.99:443: connection refused")
    assert len(it.heard) == 2
    with Listener(routes(index=moved("/there"), there=answer("404 No"))) as it:
        place = f"127.0.0.1:{it.port}"
        said = found_by(
            HTTPServerChecker, url="http://127.99.99.99/", timeout=8, connect_to=place
        )
    assert said == (
        "expected status 200, got 404 No\n"
        f"connected to 127.0.0.1:{it.port}, as connect_to says"
    )


def test_connect_to_a_name_goes_on_to_the_address_that_answers(tmp_path):
    with Listener(OK_PAGE) as it:
        place = f"both.example:{it.port}"
        options = {"url": "http://shop.example/", "connect_to": place, "timeout": 8}
        assert found_by(HTTPServerChecker, **options) == "fine"
        assert b"Host: shop.example\r\n" in it.heard[0]
        said = found_by(HTTPServerChecker, addresses="every", **options)
        assert said.startswith("1 of 2 addresses of both.example fail\n[::1]:")
    with Listener(OK_PAGE, context=tls_context()) as it:
        options = {"url": "https://localhost/", "timeout": 8}
        options["connect_to"] = f"both.example:{it.port}"
        options["cafile"] = write_authority(tmp_path)
        assert found_by(HTTPServerChecker, **options) == "fine"


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (says(b"220 hello\r\n", first=True), "the server does not speak TLS"),
        (
            says(answer()),
            "the certificate of shop.example is for localhost, 127.0.0.1, ::1",
        ),
    ],
)
def test_what_is_wrong_where_connect_to_leads_says_so(talk, words, tmp_path):
    context = None if words.endswith("TLS") else tls_context()
    with Listener(talk, context=context) as it:
        options = {"host": "shop.example", "connect_to": "PLACE", "cafile": "CA"}
        said = found(it, options, tmp_path, "https")
    assert words in said
    assert said.endswith(f"\nconnected to 127.0.0.1:{it.port}, as connect_to says")


def test_a_certificate_that_a_redirect_does_not_get_is_said(tmp_path):
    ours = issued("client.example")
    ours.context(tmp_path)
    options = {"cafile": "CA", "certificate": str(tmp_path / "served.pem")}
    # As nginx says that no certificate was shown.
    with Listener(says(answer("400 Bad Request")), context=tls_context()) as there:
        index = moved(there.url(scheme="https"))
        with Listener(says(index), context=tls_context()) as it:
            said = found(it, options, tmp_path, "https")
    assert "nothing to log in with is sent: it is another host or port" in said


@pytest.mark.parametrize("login", [{"token": "t0k3n"}, {"headers": "X-Key: geheim"}])
def test_a_login_that_a_redirect_does_not_get_is_said(login, tmp_path):
    with Listener(says(answer("401 No"))) as there:
        with Listener(routes(index=moved(there.url("/in")))) as it:
            options = {"redirects": "any", **login}
            said = found(it, options, tmp_path)
            without = found(it, {"redirects": "any"}, tmp_path)
    assert said == (
        "expected status 200, got 401 No\n"
        f"after the redirect to {there.url('/in')} nothing to log in with is sent: "
        "it is another host or port\nif it may have that, put this URL in the section"
    )
    assert without == "expected status 200, got 401 No"


def test_https_through_a_proxy_is_judged_as_without_one(tmp_path):
    context = tls_context("shop.invalid", ends=5.5)
    with Listener(OK_PAGE, context=context) as web, Listener(tunnels()) as it:
        options = {
            "host": "shop.invalid",
            "proxy": f"http://127.0.0.1:{it.port}",
            "cafile": "CA",
        }
        for more, words in (
            ({}, "fine"),
            ({"expect_text": "Welcome", "fail_days": "5"}, "fine"),
            ({"fail_days": "7"}, "days is 5.4, under fail_days = 7"),
            ({"expect_status": "204"}, "expected status 204, got 200 OK\nthrough the "),
        ):
            assert found(web, {**options, **more}, tmp_path, "https").startswith(words)


def test_a_proxy_is_named_where_it_answers(tmp_path):
    with Listener(OK_PAGE) as web, Listener(tunnels()) as it:
        job = job_of(
            HTTPServerChecker, url=web.url(), proxy=f"http://127.0.0.1:{it.port}"
        )
        assert result_of(job).status is Status.OK
        assert job.answered_by == f"the proxy 127.0.0.1:{it.port}"


def echo(conn, listener):
    said = b""
    while b"\r\n\r\n" not in said:
        said += conn.recv(4096)
    line, _end, said = said.partition(b"\r\n")
    if b"form-urlencoded" in said or b"json" in said:
        form = said.partition(b"\r\n\r\n")[2] or conn.recv(4096)
        said = form + said
    if b"?" in line:
        query = line.split(b" ")[1].partition(b"?")[2]
        said = b"%s %s " % (query, unquote_plus(query.decode()).encode()) + said
    # Where the shown part ends within a secret as well.
    conn.sendall(answer("500 No", b" " + b"x" * 60 + said))


@pytest.mark.parametrize(
    "options",
    [
        {"headers": "Authorization: Bearer geheim-t0k3n"},
        {"headers": "Authorization: Basic dXNlcjpnZWhlaW0x"},
        {"headers": "Cookie: sid=geheim-c00kie; b=geheim7"},
        {"headers": "X-Api-Key: geheim-k3y"},
        {"headers": f"X-Api-Key: {'geheim' * 40}"},
        {"user": "user", "password": "geheim1"},
        {"token": "geheim-" + "t0k3n" * 40},
        {"path": "/x?a=1&api_key=geheim7&b=2"},
        {"path": "/x?token=geheim%2B7+geheim"},
        {"path": "/x", "form": "user=bob&password=geheim7"},
        {"path": "/x", "body": "user=bob&password=geheim7"},
        {"path": "/x", "body": '{"user": "bob", "password": "geheim7"}'},
        {"path": "/x", "json": '{"user": "bob", "api_key" : "geheim\\"7"}'},
    ],
)
def test_what_logs_in_is_not_shown_where_a_server_repeats_it(tmp_path, options):
    with Listener(echo) as it:
        said = found(it, options, tmp_path)
    assert "***" in said
    assert "gehei" not in said and "dXNlc" not in said


def test_a_login_does_not_follow_to_another_host(tmp_path):
    with Listener(OK_PAGE, host="::1") as there:
        with Listener(routes(index=moved(there.url("/")))) as it:
            options = {
                "redirects": "any",
                "token": "t0k3n",
                "headers": "X-Key: a",
            }
            assert found(it, options, tmp_path) == "fine"
        assert b"Bearer t0k3n" in it.heard[0] and b"X-Key: a" in it.heard[0]
        assert b"t0k3n" not in there.heard[0] and b"X-Key" not in there.heard[0]


def test_a_post_becomes_a_get_along_302_and_stays_along_307(tmp_path):
    for status, method in (("302 Found", b"GET"), ("307 Temporary", b"POST")):
        index = answer(status, b"", "Location: /there")
        with Listener(routes(index=index, there=answer())) as it:
            assert found(it, {"body": "ping"}, tmp_path) == "fine"
            assert it.heard[1].startswith(method + b" /there")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("headers", "no colon", "one header in a line"),
        ("expect_regex", "(", "a regular expression"),
        ("expect_json", "a ==", "a JMESPath expression"),
        ("json", "{", "JSON"),
        ("metric", "a{b}", "a metric"),
        ("proxy", "proxy:3128", "environment, or a URL"),
        ("proxy", "socks4h://proxy:3128", "environment, or a URL"),
        ("proxy", "http://proxy:99999", "environment, or a URL"),
        ("expect_header", "x", "a header and a pattern"),
        ("max_redirects", "99", "from 0 to 30"),
        ("fail_size", "2GB", "expected at most 1GB, as no more of a body is counted"),
    ],
)
def test_what_cannot_be_used_says_what_was_expected(option, value, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        HTTPServerChecker.options[option].read(value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1/",
        "http://0177.0.0.1/",
        "http:/x",
        "example.com",
        "http://2130706433/",
    ],
)
def test_a_url_that_others_read_otherwise_is_refused(url):
    with pytest.raises(ValueError, match="expected"):
        fields.url(url)


def test_json_that_is_none_is_named(tmp_path):
    with Listener(OK_PAGE) as it:
        said = found(it, {"expect_json": "a"}, tmp_path)
    assert said.startswith("the response is not JSON: ")


def test_a_text_that_is_compared_as_a_number_is_named(tmp_path):
    with Listener(says(answer(body=b'{"load": "5"}'))) as it:
        said = found(it, {"expect_json": "load < `9`"}, tmp_path)
        assert said.startswith("expect_json cannot be applied: '<' not supported")
        assert "; to_number() reads a number\n" in said
        more = {"expect_json": "to_number(load) < `9`"}
        assert found(it, more, tmp_path) == "fine"


def test_a_body_that_never_comes_whole_is_named_where_all_of_it_is_needed(tmp_path):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc"
    with Listener(says(head, HOLD)) as it:
        said = found_by(HTTPServerChecker, url=it.url(), timeout=1, reject_text="x")
    assert said == "timed out after 1 s with 3 bytes of the body"


def test_a_certificate_on_the_way_to_the_last_host_counts_too(tmp_path):
    old = tls_context("localhost", ends=5.5)
    options = {"host": "localhost", "cafile": "CA", "redirects": "any"}
    with Listener(OK_PAGE, context=tls_context()) as there:
        to = there.url(scheme="https")
        with Listener(says(moved(to)), context=old) as it:
            assert found(it, {**options, "fail_days": "5"}, tmp_path, "https") == "fine"
            said = found(it, {**options, "fail_days": "7"}, tmp_path, "https")
    assert said.startswith("days is 5.4, under fail_days = 7\n")
    assert "the certificate of localhost expires on" in said


def test_a_certificate_behind_a_redirect_is_named_by_its_own_host(tmp_path):
    old = tls_context(ends=5.5)
    options = {"host": "localhost", "cafile": "CA", "redirects": "any"}
    with Listener(OK_PAGE, context=old) as there:
        to = there.url(scheme="https")
        with Listener(says(moved(to)), context=tls_context()) as it:
            said = found(it, {**options, "fail_days": "7"}, tmp_path, "https")
    assert "the certificate of 127.0.0.1 expires on" in said


def test_an_intermediate_certificate_that_ends_first_is_named(tmp_path):
    root = issued("Root", ca=True, ends=3000)
    middle = issued("Middle", by=root, ca=True, ends=5.5)
    own = issued("localhost", by=middle, ends=60)
    write_chain(tmp_path / "root.pem", root)
    options = {"cafile": str(tmp_path / "root.pem"), "host": "localhost"}
    with Listener(OK_PAGE, context=own.context(tmp_path, middle)) as it:
        assert found(it, {**options, "fail_days": "5"}, tmp_path, "https") == "fine"
        said = found(it, {**options, "fail_days": "7"}, tmp_path, "https")
    assert said.startswith("days is 5.4, under fail_days = 7\n")
    assert "the intermediate certificate Middle expires on" in said
    assert "before that of localhost" in said


#: More than is looked at; what is told is behind that.
LONG = b"up 1\n" + b"#" * MAX_BYTES + b'\nlast 7\n"status"'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"expect_text": "up 1"}, "fine"),
        ({"expect_text": '"status"'}, "'\"status\"' is not in the first 10 MB"),
        ({"reject_text": "up 1"}, "'up 1' is in the response"),
        ({"reject_text": '"status"'}, "unknown: only the first 10 MB"),
        ({"expect_regex": "up 1"}, "unknown: only the first 10 MB"),
        ({"reject_regex": "last"}, "unknown: only the first 10 MB"),
        ({"expect_json": "a"}, "unknown: only the first 10 MB"),
        ({"metric": "last"}, "unknown: only the first 10 MB"),
        ({"metric": "up"}, "unknown: only the first 10 MB"),
        ({"fail_size": str(len(LONG)) + "B"}, "fine"),
        ({"fail_size": str(len(LONG) - 1) + "B"}, "size is 10MB, over fail_size"),
        ({"fail_size": "9MB", "metric": "up"}, "unknown: only the first 10 MB"),
    ],
)
def test_what_a_part_of_a_body_leaves_open_is_no_verdict(options, said, tmp_path):
    with Listener(says(answer(body=LONG))) as it:
        assert found(it, options, tmp_path).startswith(said)


def test_a_verdict_on_a_part_says_what_was_not_judged_and_what_to_do(tmp_path):
    with Listener(says(answer(body=LONG))) as it:
        options = {"metric": "last", "reject_text": "absent"}
        assert found(it, options, tmp_path) == (
            "unknown: only the first 10 MB of the response were read, the most that is "
            "looked at, so reject_text and metric cannot be judged\n"
            "have the server send less: a filter or a page of its own for what is "
            "checked"
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"expect_json": "status == 'up'"}, "fine"),
        ({"reject_text": '"status": "up"'}, '\'"status": "up"\' is in the response'),
        ({"fail_size": "3MB"}, "size is 4MB, over fail_size = 3MB"),
    ],
)
def test_a_body_of_megabytes_is_judged_whole(options, said, tmp_path):
    page = b'{"list": "' + b"x" * 4_000_000 + b'", "status": "up"}'
    with Listener(says(answer(body=page))) as it:
        assert found(it, options, tmp_path).partition("\n")[0] == said


def test_a_metric_of_a_large_page_is_the_sum_of_all_samples():
    page = "".join(f'm{{n="{number}"}} 1\nn 2\n' for number in range(60_000))
    with Listener(says(answer(body=page.encode()))) as it:
        job = job_of(HTTPServerChecker, url=it.url(), metric="m")
        values = bulk.run_one(steps(job, job.target, Deadline(8)))
    assert values["value"].number == 60_000


SITE = "https://www.example.com/"
OF_BOB = "https://bob:hush@www.example.com/"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"body": "a", "json": "{}"}, "body and json are given; keep one"),
        ({"body_file": "/a", "form": "a=1"}, "body_file and form are given; keep one"),
        (
            {"method": "get", "body": "a"},
            "method = get sends no body; set method = post, or leave out one of both",
        ),
        (
            {"method": "head", "json": "{}"},
            "method = head sends no json; set method = post, or leave out one of both",
        ),
        *(
            (
                {"method": "head", name: value},
                f"method = head has no body in its response, and {name} needs one; "
                "set method = get",
            )
            for name, value in (
                ("expect_text", "a"),
                ("reject_text", "a"),
                ("expect_regex", "a"),
                ("reject_regex", "a"),
                ("expect_json", "a"),
                ("metric", "a"),
                ("fail_size", "1kB"),
                ("warn_size", "1kB"),
            )
        ),
        *(
            (
                {name: value},
                f"{name} is about a metric; give metric, or leave it out",
            )
            for name, value in (
                ("fail_value", "1"),
                ("warn_value", "0"),
                ("per", "s"),
            )
        ),
        ({"key": "/a"}, "key is given without certificate"),
        (
            {"redirects": "none", "max_redirects": "3"},
            "max_redirects is about redirects, and redirects = none; keep one",
        ),
        (
            {"redirects": "none", "expect_location": SITE},
            "expect_location is about redirects, and redirects = none; keep one",
        ),
        *(
            (
                {"url": "http://a.example/", "redirects": "none", name: value},
                f"{name} is about TLS, and url is http with redirects = none; "
                "leave it out",
            )
            for name, value in (
                ("fail_days", "7"),
                ("warn_days", "0"),
                ("fail_time_tls", "1s"),
                ("warn_time_tls", "1s"),
            )
        ),
        (
            {"token": "t0k3n", "user": "bob"},
            "token and user are given; keep one, as only the token is sent",
        ),
        (
            {"token_env": "TOKEN", "password_file": "/a"},
            "token and password are given; keep one, as only the token is sent",
        ),
        (
            {"url": OF_BOB, "token": "t0k3n"},
            "token and the user in url are given; keep one, as only the token is sent",
        ),
        (
            {"url": OF_BOB, "user": "eve"},
            "user is given, and there is one in url; keep one",
        ),
        (
            {"url": OF_BOB, "password": "hush1"},
            "password is given, and there is one in url; keep one",
        ),
        (
            {"auth": "digest"},
            "auth = digest says how user and password are sent; give these",
        ),
        (
            {"headers": "authorization: Bearer a", "token": "t0k3n"},
            "headers has Authorization, and token is given; keep one",
        ),
        (
            {"headers": "Authorization: Basic a", "user": "bob"},
            "headers has Authorization, and user is given; keep one",
        ),
        ({}, ""),
        ({"body": "a", "method": "put", "user": "bob", "password": "hush1"}, ""),
        ({"url": OF_BOB, "auth": "digest", "redirects": "none"}, ""),
        ({"url": "https://bob@www.example.com/", "password": "hush1"}, ""),
        ({"method": "head", "warn_time": "1s", "headers": "Authorization: a"}, ""),
        ({"metric": "up", "per": "s", "fail_value": "1", "form": "a=1"}, ""),
        ({"certificate": "/a", "key": "/a"}, ""),
        # A server may lead from http to https.
        ({"url": "http://a.example/", "fail_days": "7"}, ""),
        ({"url": "https://a.example/", "redirects": "none", "fail_days": "7"}, ""),
    ],
)
def test_options_that_contradict_each_other_are_named(options, said):
    job = job_of(HTTPServerChecker, **{"url": SITE, **options})
    assert (
        "; ".join(one.text for one in HTTPServerChecker.wrong_together(job.target))
        == said
    )


def test_a_password_may_be_that_of_the_user_in_the_url():
    talk = wants(b"Basic Ym9iOmh1c2gx")
    with Listener(talk) as it:
        said = found_by(HTTPServerChecker, url=it.url(user="bob@"), password="hush1")
    assert said == "fine"


def test_the_user_in_the_url_may_be_sent_by_digest():
    with Listener(digest) as it:
        options = {"url": it.url(user="bob:hush@"), "auth": "digest"}
        assert found_by(HTTPServerChecker, **options) == "fine"


def test_a_content_type_of_ones_own_goes_before_that_of_json(tmp_path):
    with Listener(says(answer())) as it:
        given = {"json": "{}", "headers": "content-type: application/ld+json"}
        assert found(it, given, tmp_path) == "fine"
        heads = re.findall(rb"(?i)content-type: (\S+)", it.heard[0])
        assert heads == [b"application/ld+json"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"metric": "jobs_total"}, "value is jobs_total"),
        (
            {"metric": """jobs_total{ host = "x\\"y" , queue="a" }"""},
            """value is jobs_total{host="x\\"y",queue="a"}""",
        ),
    ],
)
def test_a_threshold_says_which_metric_it_is_about(options, named, tmp_path):
    with Listener(says(answer(body=PAGE))) as it:
        said = found(it, {**options, "fail_value": "5"}, tmp_path)
    first, second = said.split("\n")
    assert first.endswith(", over fail_value = 5")
    assert second == named


def test_a_metric_that_is_missing_is_named_with_its_labels(tmp_path):
    with Listener(says(answer(body=PAGE))) as it:
        said = found(it, {"metric": 'jobs_total{queue="c"}'}, tmp_path)
    assert said == 'there is no number of jobs_total{queue="c"} in the response'


def test_at_each_address_its_own_certificate_is_told(pair):
    contexts = [tls_context("pair.example", ends=ends) for ends in (300, -1.5)]
    job = pair([OK_PAGE, OK_PAGE], contexts)
    first, named = result_of(job).reason.split("\n")
    assert first == "1 of 2 addresses of pair.example fail"
    assert named.startswith(f"127.0.0.2:{job.port}: ") and "expired" in named


@pytest.mark.long
def test_a_body_waits_until_others_leave_memory_for_it(tmp_path):
    page = b'{"list": "' + b"x" * 4_000_000 + b'", "status": "up"}'
    memory, expected = room(), {"expect_json": "status == 'up'"}
    left = memory.left
    taken = left - 3_000_000
    assert memory.take(taken)
    try:
        with Listener(says(answer(body=page))) as it:
            said = found_by(HTTPServerChecker, url=it.url(), timeout=1, **expected)
            assert said.startswith("unknown: not checked: the bodies of other targets")
            posts = {**expected, "method": "post", "body": "x"}
            said = found_by(HTTPServerChecker, url=it.url(), **posts)
            assert "all of the memory there is, and a post is sent once" in said
            free = threading.Timer(3.2, memory.give_back, [taken])
            free.start()
            options = {**expected, "fail_time": "3s"}
            assert found(it, options, tmp_path) == "fine"
            taken = 0
            free.join()
    finally:
        memory.give_back(taken)
    assert memory.left == left


@pytest.mark.parametrize(
    "options", [{"reject_text": "up"}, {"reject_text": "x"}, {"metric": "none"}]
)
def test_what_a_body_took_is_given_back_whatever_is_found(options, tmp_path):
    left = room().left
    with Listener(says(answer(body=PAGE))) as it:
        found(it, options, tmp_path)
    assert room().left == left
