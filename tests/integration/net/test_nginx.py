"""[http NAME] against Debian's nginx, over HTTP/1.1 and HTTP/2: what is found.

It is started in a folder of its own, as one process of the test.  Its log says which
version of HTTP was spoken; the exact words are those that people read.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from jobs.HTTPServerChecker import HTTPServerChecker
from tests.support.daemon import free_port
from tests.support.debian import hanging, nginx_running
from tests.support.listeners import closed_port, found_by

pytestmark = pytest.mark.integration

PASSWORD = "pass%word-4711"
HTTP = """\
    log_format version "$server_protocol $request_uri $status";
    access_log {folder}/log version;
    default_type text/plain;
    gzip on;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{plain};
        include {folder}/locations;
    }}
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.pem;
        include {folder}/locations;
    }}
"""
LOCATIONS = """\
location = /well {{ return 200 "All is well\\n"; }}
location = /lying {{ return 200 "Error establishing a database connection\\n"; }}
location = /gone {{ return 410 "not here\\n"; }}
location = /moved {{ return 301 /well; }}
location = /round {{ return 302 /round; }}
location = /json {{ return 200 '{{"queue": 7}}'; }}
location = /behind {{ proxy_pass http://127.0.0.1:{closed}; }}
location = /secret {{
    auth_basic "members";
    auth_basic_user_file {folder}/users;
    root {folder};
}}
"""


@dataclass
class Nginx:
    """A running nginx."""

    folder: Path
    plain: int
    tls: int
    cafile: Path
    process: subprocess.Popen[bytes]

    def found(self, how: str, path: str, **options: object) -> str:
        """Return what is found of a path, asked over HTTP/1.1, TLS, or HTTP/2."""
        if how == "http":
            url = f"http://127.0.0.1:{self.plain}{path}"
        else:
            url = f"https://127.0.0.1:{self.tls}{path}"
            options["cafile"] = self.cafile
        version = {"http_version": "2"} if how == "h2" else {}
        return found_by(HTTPServerChecker, url=url, **version, **options)

    def asked(self) -> list[str]:
        """Return what it was asked: version, path and status of each request."""
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture(scope="module")
def nginx(
    tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA, cafile: Path
) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    plain, tls = free_port(), free_port()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "server.pem")
    )
    (folder / "users").write_text(f"ops:{{PLAIN}}{PASSWORD}\n")
    (folder / "secret").write_text("Only for members\n" * 1000)
    text = LOCATIONS.format(folder=folder, closed=closed_port())
    (folder / "locations").write_text(text)
    http = HTTP.format(folder=folder, plain=plain, tls=tls)
    with nginx_running(folder, http, plain, tls) as process:
        yield Nginx(folder, plain, tls, cafile, process)


@pytest.fixture(params=["http", "https", "h2"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_page_that_is_there_is_fine_in_the_version_that_is_asked_for(nginx, how):
    assert nginx.found(how, "/well", expect_text="All is well") == "fine"
    version = "HTTP/2.0" if how == "h2" else "HTTP/1.1"
    assert nginx.asked()[-1] == f"{version} /well 200"


def test_an_answer_that_is_not_expected_is_told_with_what_it_says(nginx, how):
    # HTTP/2 has no words beside the number.
    words = "410" if how == "h2" else "410 Gone"
    assert nginx.found(how, "/gone").splitlines() == [
        f"expected status 200, got {words}",
        "the response begins: not here",
    ]
    assert nginx.found(how, "/gone", expect_status="410") == "fine"


def test_a_page_that_lies_is_caught_by_its_text(nginx, how):
    assert nginx.found(how, "/lying") == "fine"
    found = nginx.found(how, "/lying", expect_text="All is well").splitlines()
    assert found == [
        "'All is well' is not in the response",
        "status 200, 41 bytes read",
        "the response begins: Error establishing a database connection",
    ]
    found = nginx.found(how, "/lying", reject_text="database connection")
    assert found.splitlines()[0] == "'database connection' is in the response"


def test_what_is_behind_it_and_gone_is_told_as_it_tells_it(nginx, how):
    words = "502" if how == "h2" else "502 Bad Gateway"
    found = nginx.found(how, "/behind").splitlines()
    assert found[0] == f"expected status 200, got {words}"


def test_redirects_are_followed_and_a_circle_ends(nginx, how):
    assert nginx.found(how, "/moved", expect_text="All is well") == "fine"
    found = nginx.found(how, "/round", max_redirects=3).splitlines()
    assert found[0] == "more than 3 redirects"


def test_json_is_compared(nginx, how):
    assert nginx.found(how, "/json", expect_json="queue < `8`") == "fine"
    found = nginx.found(how, "/json", expect_json="queue < `7`").splitlines()
    assert found[0] == "expect_json queue < `7` is false, not true"


def test_a_login_is_taken_and_a_wrong_one_told_without_it(nginx, how):
    words = "401" if how == "h2" else "401 Unauthorized"
    login = {"user": "ops", "password": PASSWORD}
    assert nginx.found(how, "/secret", expect_text="members", **login) == "fine"
    found = nginx.found(how, "/secret", user="ops", password="wrong-4711")
    assert found.splitlines()[0] == f"expected status 200, got {words}"
    assert "wrong-4711" not in found


def test_one_that_stands_still_is_told_after_the_timeout(nginx, how):
    with hanging(nginx.process):
        found = nginx.found(how, "/well", timeout=1)
    if how == "http":
        where = f"connected to 127.0.0.1:{nginx.plain}, sent the request"
        assert found == f"127.0.0.1:{nginx.plain}: no answer within 1 s " + (
            f"({where}, 0 bytes came)"
        )
    else:
        assert found == "127.0.0.1: connected, but no TLS handshake within 1 s"


def test_an_authority_that_is_not_trusted_is_told(nginx):
    url = f"https://127.0.0.1:{nginx.tls}/well"
    for version in ("1.1", "2"):
        found = found_by(HTTPServerChecker, url=url, http_version=version)
        first = "the certificate of 127.0.0.1 is from an unknown issuer, trustme v"
        assert found.startswith(first), found
    assert found_by(HTTPServerChecker, url=url, verify="no") == "fine"
