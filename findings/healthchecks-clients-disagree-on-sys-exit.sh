#!/bin/sh
# healthchecks-wrapper 0.1.6, healthchecks-decorator 0.5.0: two clients of Healthchecks
# about a job that ends with sys.exit().
# Seen: sys.exit(0) -> the wrapper pings /fail, the decorator nothing; sys.exit(1) -> the
# wrapper /fail, the decorator nothing; a job that returns or raises is told by both.
# Surprise: `sys.exit(main())` is how a Python script ends; under the one its good runs
# are failures, under the other no run ends, and a failure shows only when the time of
# the check is over.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check healthchecks-wrapper==0.1.6 \
    healthchecks-decorator==0.5.0 2>/dev/null
cat > "$tmp/pings.py" <<'PY'
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from healthchecks_decorator import healthcheck
from healthchecks_wrapper import HealthCheck

pings = []


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pings.append(self.path.removeprefix("/id") or "success")
        self.send_response(200)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/id"


def wrapped(job):
    with HealthCheck(url):
        job()


def decorated(job):
    healthcheck(url=url, send_start=True)(job)()


ends = {
    "return": lambda: None,
    "sys.exit(0)": lambda: sys.exit(0),
    "sys.exit(1)": lambda: sys.exit(1),
    "raise": lambda: [][0],
}
for name, job in ends.items():
    for client in (wrapped, decorated):
        try:
            client(job)
        except (SystemExit, IndexError):
            pass
        print(f"{name}, {client.__name__}:", *pings)
        pings.clear()
PY
"$tmp/venv/bin/python" "$tmp/pings.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
return, wrapped: /start success
return, decorated: /start success
sys.exit(0), wrapped: /start /fail
sys.exit(0), decorated: /start
sys.exit(1), wrapped: /start /fail
sys.exit(1), decorated: /start
raise, wrapped: /start /fail
raise, decorated: /start /fail
TXT
cmp "$tmp/expected" "$tmp/out"
