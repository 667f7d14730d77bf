import contextlib
import resource
import socket
from fnmatch import fnmatchcase

import pytest

from jobs.HTTPServerChecker import HTTPServerChecker, next_url, shown_ranges
from lib.jobbase import CheckFailed
from tests.support.approved import MOMENT
from tests.support.listeners import (
    HOLD,
    RESET,
    Listener,
    answer,
    dripping,
    found_by,
    gzip_bomb,
    hear,
    job_of,
    result_of,
    routes,
    says,
    self_signed_context,
    tls_context,
    write_authority,
)


def found(url, **options):
    return found_by(HTTPServerChecker, url=url, **options)


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """Load what the first check of a process loads: that counts as its own time.

    With one second for all, and other work beside it, the first test here had none
    left to connect in.
    """
    with Listener(says(answer())) as it, Listener(context=tls_context()) as secure:
        assert found(it.url(), timeout=50) == "fine"
        found(secure.url(scheme="https"), timeout=50)


def first_line(text):
    return text.split("\n")[0]


@pytest.fixture
def page():
    with Listener(says(answer(body=b"Welcome home"))) as listener:
        yield listener


def test_an_answer_with_status_200_is_ok(page):
    assert found(page.url()) == "fine"


@pytest.mark.parametrize(
    ("behave", "cause"),
    [
        (says(answer(status="503 Busy")), "expected status 200, got 503 Busy"),
        (says(RESET), "the connection was reset (0 bytes came)"),
    ],
    ids=["status", "reset"],
)
def test_a_failure_is_about_a_host_a_cause_and_addresses(behave, cause):
    with Listener(behave) as it:
        job = job_of(HTTPServerChecker, url=it.url())
        about = result_of(job)
    assert (about.host, about.addresses) == ("127.0.0.1", ("127.0.0.1",))
    assert first_line(about.cause or about.reason) == cause


def test_the_time_until_the_response_is_measured_and_judged(page):
    slow = result_of(job_of(HTTPServerChecker, url=page.url(), warn_time="0s"))
    assert slow.status == "warning"
    assert slow.reason.endswith("ms, over warn_time = 0s")
    assert 0 < slow.values["time"].number < 50


def test_a_target_without_expected_text_is_not_read_at_all():
    with Listener(says(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", HOLD)) as it:
        assert found(it.url(), timeout=5) == "fine"


def test_the_expected_words_make_it_ok(page):
    assert found(page.url(), expect_text="Welcome") == "fine"


def test_missing_words_are_named_with_the_beginning_of_what_came(page, approved):
    approved(found(page.url(), expect_text="Goodbye"), hide={MOMENT: "DATE"})


def test_an_unexpected_status_is_named_with_the_beginning_of_the_body(approved):
    with Listener(says(answer("503 Service Unavailable", b"down\x00\nfor now"))) as it:
        approved(found(it.url()), hide={MOMENT: "DATE"})


def test_an_unexpected_status_shows_200_characters_at_most(approved):
    with Listener(says(answer("500 Oops", b"a" * 5000))) as it:
        approved(found(it.url()), hide={MOMENT: "DATE"})


@pytest.mark.parametrize(
    ("expected", "verdict"),
    [("404", "fine"), ("4xx", "fine"), ("200-299, 404", "fine"), ("2xx", "200-299")],
)
def test_the_expected_status_may_be_a_list_of_ranges(expected, verdict):
    with Listener(says(answer("404 Not Found"))) as it:
        assert verdict in found(it.url(), expect_status=expected)


def test_ranges_are_shown_as_the_settings_write_them():
    assert shown_ranges(((200, 200), (301, 308))) == "200, 301-308"


def test_head_asks_for_no_body(page):
    assert found(page.url(), method="head") == "fine"
    assert page.heard[0].startswith(b"HEAD / HTTP/1.1")


def test_the_host_header_names_a_port_only_if_it_is_not_the_usual_one(page):
    found(page.url())
    assert f"Host: 127.0.0.1:{page.port}".encode() in page.heard[0]


# Text.


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("text/html; charset=iso-8859-1", "Grüße".encode("latin-1")),
        ('text/html; charset="UTF-16"', "Grüße".encode("utf-16")),
        ("text/html; charset=shift_jis", "Gr??e Grüße".encode()),
        ("text/html; charset=nonsense", "Grüße".encode()),
        ("text/html; charset=zlib", "Grüße".encode()),
        ("text/html", b"\xff\xfd " + "Grüße".encode()),
        ("text/html", "Grüße".encode("utf-16")),
        ("text/html", b"<html><meta charset=windows-1252>" + "Grüße".encode("cp1252")),
        ("text/html; charset=latin1", "Grüße €".encode("cp1252")),
    ],
)
def test_text_is_read_by_its_charset_or_as_utf_8(charset, body):
    expected = "Gr??e" if "jis" in charset else "Grüße"
    with Listener(says(answer("200 OK", body, f"Content-Type: {charset}"))) as it:
        assert found(it.url(), expect_text=expected) == "fine"


def test_words_that_come_in_two_pieces_are_found():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
    with Listener(says(head + b"Wel", 0.1, b"come")) as it:
        assert found(it.url(), expect_text="Welcome") == "fine"


def test_a_character_split_between_pieces_is_whole():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    with Listener(says(head + b"\xc3", 0.1, b"\xbc")) as it:
        assert found(it.url(), expect_text="ü") == "fine"


def test_reading_stops_when_the_words_were_found():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
    with Listener(says(head + b"Welcome", HOLD)) as it:
        assert found(it.url(), expect_text="Welcome", timeout=5) == "fine"


def test_a_body_over_the_cap_is_ok_if_the_words_are_in_its_first_part(approved):
    body = b"Welcome" + bytes(11_000_000)
    with Listener(says(answer(body=body))) as it:
        assert found(it.url(), expect_text="Welcome") == "fine"
        approved(
            first_line(found(it.url(), expect_text="Goodbye")), hide={MOMENT: "DATE"}
        )


def test_a_gzip_bomb_takes_little_memory():
    def talk(conn, listener):
        hear(conn, listener)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        for merged_message in gzip_bomb(50):
            conn.sendall(merged_message)

    with Listener(talk) as it:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = first_line(found(it.url(), expect_text="x"))
        assert "in the first 10 MB of the response" in said
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000


def test_a_damaged_gzip_body_is_named(approved):
    with Listener(says(answer("200 OK", b"nonsense", "Content-Encoding: gzip"))) as it:
        approved(found(it.url(), expect_text="x"), hide={MOMENT: "DATE"})


# Trouble on the way.


def test_a_name_that_does_not_exist_is_a_resolver_fault_in_words(approved):
    text = found("http://nowhere.invalid/", timeout=5)
    # What a resolver says differs.
    approved(text.rpartition(": ")[0])


def test_a_refused_connection_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert found(f"http://127.0.0.1:{port}/") == f"127.0.0.1:{port}: connection refused"


#: How many a drip comes to.
SOME_BYTES = {r"\d+ bytes": "N bytes"}


def test_a_silent_server_is_named_with_how_far_it_came(approved):
    with Listener(says(HOLD)) as it:
        approved(found(it.url(), timeout=1))


def test_headers_that_drip_end_at_the_deadline(approved):
    with Listener(dripping(b"HTTP/1.1 200 OK\r\nX: ")) as it:
        approved(found(it.url(), timeout=1), hide=SOME_BYTES)


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 3000, b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
)
def test_a_body_that_drips_ends_at_the_deadline(start, drop, approved):
    with Listener(dripping(start, drop)) as it:
        text = found(it.url(), timeout=1, expect_text="x")
        approved(text, hide=SOME_BYTES)


def test_headers_that_drip_over_tls_end_at_the_deadline(tmp_path, approved):
    talk = dripping(b"HTTP/1.1 200 OK\r\nX: ")
    with Listener(talk, context=tls_context()) as it:
        text = found(
            it.url(scheme="https"), timeout=1, cafile=write_authority(tmp_path)
        )
        approved(text, hide=SOME_BYTES)


@pytest.mark.parametrize(
    "merged_messages",
    [
        (),
        (RESET,),
        (b"SSH-2.0-OpenSSH\r\n",),
        (b"HTTP/1.1 200 OK\r\nX: 1\r\n",),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000,),
    ],
)
def test_what_is_no_answer_is_named(merged_messages, approved):
    with Listener(says(*merged_messages)) as it:
        approved(found(it.url(), timeout=5), hide={MOMENT: "DATE"})


@pytest.mark.parametrize("headers", [b"X: 1\r\n" * 200, b"X: %s\r\n" % (b"x" * 90_000)])
def test_many_headers_and_long_ones_are_taken_as_browsers_do(headers):
    with Listener(says(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")) as it:
        assert found(it.url()) == "fine"


def test_a_body_that_breaks_off_is_named(approved):
    with Listener(says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")) as it:
        approved(found(it.url(), expect_text="x"), hide={MOMENT: "DATE"})


def test_an_ipv6_literal_works():
    with Listener(says(answer()), host="::1") as it:
        assert found(it.url()) == "fine"
        assert f"Host: [::1]:{it.port}".encode() in it.heard[0]


def test_a_name_with_a_dead_family_works():
    # localhost is ::1 as well, where nothing listens.
    with Listener(says(answer())) as it:
        assert found(f"http://localhost:{it.port}/") == "fine"


def test_proxies_and_netrc_of_the_environment_are_ignored(page, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert found(page.url()) == "fine"
    assert b"authorization" not in page.heard[0].lower()


# Redirects.


def moved(to, status="302 Found"):
    return answer(status, b"", f"Location: {to}")


def test_a_redirect_on_the_same_host_is_followed():
    with Listener(routes(index=moved("/there?a=b"), **{"there?a=b": answer()})) as it:
        assert found(it.url()) == "fine"


def test_a_redirect_to_another_host_is_a_failure_that_names_it(approved):
    with Listener(routes(index=moved("http://user:pw@other.example/x?token=1"))) as it:
        approved(found(it.url()), hide={MOMENT: "DATE"})


def test_a_redirect_to_another_host_is_followed_where_any_is_allowed():
    with Listener(routes(there=answer()), host="::1") as there:
        with Listener(routes(index=moved(there.url("/there")))) as it:
            assert found(it.url(), redirects="any") == "fine"


def test_a_redirect_is_judged_by_its_status_where_none_is_followed(approved):
    with Listener(routes(index=moved("http://user:pw@other.example/"))) as it:
        approved(found(it.url(), redirects="none"), hide={MOMENT: "DATE"})
        assert found(it.url(), redirects="none", expect_status="3xx") == "fine"


def test_a_redirect_whose_status_is_expected_is_not_followed():
    with Listener(routes(index=moved("http://other.example/"))) as it:
        assert found(it.url(), expect_status="301-302") == "fine"
        assert len(it.heard) == 1


def test_a_redirect_loop_ends_after_five(approved):
    with Listener(routes(index=moved("/"))) as it:
        approved(found(it.url()), hide={MOMENT: "DATE"})
        assert len(it.heard) == 6


def test_five_redirects_are_not_too_many():
    hops = {f"hop{n}": moved(f"/hop{n + 1}") for n in range(1, 5)}
    with Listener(routes(index=moved("/hop1"), hop5=answer(), **hops)) as it:
        assert found(it.url()) == "fine"


@pytest.mark.parametrize("policy", ["same_host", "any"])
@pytest.mark.parametrize("to", ["file:///etc/passwd", "gopher://x/", "javascript:1"])
def test_another_scheme_is_never_followed(to, policy, approved):
    with Listener(routes(index=moved(to))) as it:
        approved(found(it.url(), redirects=policy), hide={MOMENT: "DATE"})


@pytest.mark.parametrize("to", ["http://[bad/", "http://x:99999/"])
def test_a_redirect_to_what_is_no_url_is_named(to, approved):
    with Listener(routes(index=moved(to))) as it:
        approved(found(it.url()), hide={MOMENT: "DATE"})


def test_from_https_to_http_only_where_any_is_allowed(approved):
    with pytest.raises(CheckFailed) as caught:
        next_url("https://a.example/", "http://a.example/", "same_host")
    approved(str(caught.value), hide={MOMENT: "DATE"})
    assert next_url("https://a.example/", "http://a.example/", "any") == (
        "http://a.example/"
    )


@pytest.mark.parametrize(
    ("url", "location", "leads_to"),
    [
        ("http://u:p@a.example/", "/x#part", "http://u:p@a.example/x"),
        ("http://u:p@a.example/", "https://A.example/x", "https://u:p@A.example/x"),
        ("http://u:p@a.example/", "http://a.example:81/", "http://a.example:81/"),
        ("http://u:p@a.example/", "http://b.example/", "http://b.example/"),
        ("https://u:p@a.example/", "http://a.example/", "http://a.example/"),
        ("http://a.example/", "http://x:y@a.example/", "http://a.example/"),
        ("http://a.example/", "//b.example/ü", "http://b.example/ü"),
        ("http://u:p@faß.example/", "http://xn--fa-hia.example./", None),
    ],
)
def test_credentials_stay_at_the_door_they_are_for(url, location, leads_to):
    leads_to = leads_to or "http://u:p@xn--fa-hia.example./"
    assert next_url(url, location, "any") == leads_to


# Secrets.


def test_credentials_in_the_url_are_sent_and_never_shown():
    def echo(conn, listener):
        said = hear(conn, listener)
        conn.sendall(answer("401 No s3cr@t", said))

    with Listener(echo) as it:
        text = found(it.url(user="bob:s3cr%40t@"))
        assert b"Authorization: Basic Ym9iOnMzY3JAdA==" in it.heard[0]
        assert "Authorization: Basic ***" in text
        assert "Ym9i" not in text and "s3cr" not in text


@pytest.mark.parametrize("user", ["bob:s3cret@", "s3cret@"])
def test_credentials_are_in_no_reason(user):
    assert "s3cret" not in found(f"http://{user}127.0.0.1:1/")
    assert "s3cret" not in found(f"http://{user}nowhere.invalid/")
    assert "s3cret" not in found(f"http://{user}*.example/")
    with Listener(routes(index=moved("http://other.example/"))) as it:
        assert "s3cret" not in found(it.url(user=user))


# TLS.


@pytest.fixture
def cafile(tmp_path):
    return write_authority(tmp_path)


def over_tls(context, host="localhost", **options):
    with Listener(says(answer()), context=context) as it:
        return found(f"https://{host}:{it.port}/", timeout=5, **options)


def test_a_certificate_of_the_own_authority_is_ok(cafile):
    assert over_tls(tls_context(), cafile=cafile) == "fine"
    assert over_tls(tls_context(), host="127.0.0.1", cafile=cafile) == "fine"


def test_a_name_with_a_dot_at_its_end_is_that_of_the_certificate(cafile):
    with Listener(says(answer()), context=tls_context()) as it:
        url = f"https://localhost.:{it.port}/"
        place = f"127.0.0.1:{it.port}"
        options = {"url": url, "cafile": cafile, "connect_to": place}
        assert found_by(HTTPServerChecker, **options) == "fine"


def test_a_body_that_ends_with_the_connection_is_whole(cafile, approved):
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with Listener(says(head + b"all of it"), context=tls_context()) as it:
        url = f"https://localhost:{it.port}/"
        assert found(url, cafile=cafile, expect_text="all of it") == "fine"
        text = found(url, cafile=cafile, expect_text="more")
        approved(text)


def test_a_server_that_wants_a_certificate_of_us_is_named(cafile, approved):
    import ssl

    context = tls_context()
    context.verify_mode = ssl.CERT_REQUIRED

    def talk(conn, listener):
        # As it is, and not closed at once: a reset would take the alert with it.
        with context.wrap_socket(
            conn, server_side=True, do_handshake_on_connect=False
        ) as wrapped:
            with contextlib.suppress(ssl.SSLError):
                wrapped.do_handshake()
            listener.over.wait(10)

    with Listener(talk) as it:
        text = found(f"https://localhost:{it.port}/", timeout=5, cafile=cafile)
    approved(text)


def test_an_expired_certificate_is_named_with_its_date(cafile, approved):
    text = over_tls(tls_context(ends=-2.5), cafile=cafile)
    approved(text, hide={MOMENT: "DATE"})


def test_a_certificate_of_the_future_is_named(cafile, approved):
    text = over_tls(tls_context(begins=2), cafile=cafile)
    approved(text, hide={MOMENT: "DATE"})


def test_a_certificate_for_another_name_is_named(cafile, approved):
    text = over_tls(tls_context("other.example"), cafile=cafile)
    approved(text, hide={MOMENT: "DATE"})


def test_a_self_signed_certificate_is_named(tmp_path, approved):
    text = over_tls(self_signed_context(tmp_path))
    approved(text, hide={MOMENT: "DATE"})


def test_an_unknown_issuer_is_named():
    text = over_tls(tls_context())
    assert "is from an unknown issuer, " in text and "; valid until 20" in text


def test_verification_is_off_for_the_target_that_says_so_and_for_no_other(tmp_path):
    context = self_signed_context(tmp_path)
    assert over_tls(context, verify="no") == "fine"
    assert "self-signed" in over_tls(context)


def test_https_to_a_server_without_tls_is_named(approved):
    with Listener(says(answer("400 Bad Request"), HOLD, first=True)) as it:
        text = found(it.url(scheme="https"), timeout=5)
    approved(text, hide={MOMENT: "DATE"})


def test_a_server_with_old_tls_is_named(cafile, approved):
    import ssl

    context = tls_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    text = over_tls(context, cafile=cafile)
    approved(text)


def test_a_server_silent_in_the_handshake_is_named(approved):
    with Listener(says(HOLD, first=True)) as it:
        approved(found(it.url(scheme="https"), timeout=0.5), hide={MOMENT: "DATE"})


def test_a_cafile_that_is_missing_or_no_certificate_is_unknown(tmp_path, approved):
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    approved(over_tls(tls_context(), cafile=missing), "1", hide={MOMENT: "DATE"})
    approved(over_tls(tls_context(), cafile=wrong), "2", hide={MOMENT: "DATE"})


def test_the_older_program_knew_the_url_by_this_name():
    job = job_of(HTTPServerChecker, url="http://a.example/?x=[1]")
    kind = "<class 'jobs.HTTPServerChecker.HTTPServerChecker.ServerChecker'>"
    url = "http://a.example/?x=[1]"
    for name in (f"{kind} for {url}|{url}", f"{kind} for {url}|{url}|a|b|c"):
        assert fnmatchcase(name, job.formerly())
    assert not fnmatchcase(f"{kind} for {url}2|{url}2", job.formerly())
