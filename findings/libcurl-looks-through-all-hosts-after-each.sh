#!/bin/sh
# pycurl 7.49.0 with the libcurl 8.23.0 of its wheel: ten thousand transfers by one multi
# handle, 64 at a time, each to an address of its own (127.1.x.y, where nobody listens).
# Seen: they take five times the CPU of as many to one address, and less than half of
# that with DNS_CACHE_TIMEOUT = -1: "different addresses 5.9, never aged 1.9".
# Surprise: the addresses are literal, and no name is looked up; yet each goes into the
# cache of names, and the end of each transfer looks through the whole cache for what is
# too old.  So the cost grows with the square of the hosts.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install -q --disable-pip-version-check pycurl==7.49.0 2>/dev/null
cat > "$tmp/try.py" <<'PY'
import socket
import time

import pycurl

COUNT = 10_000


def cpu_s(different, *, ages):
    multi = pycurl.CurlMulti()
    spare = []
    for _ in range(64):
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)
        if not ages:
            handle.setopt(pycurl.DNS_CACHE_TIMEOUT, -1)
        spare.append(handle)
    begun = done = 0
    began = time.process_time()
    while done < COUNT:
        while spare and begun < COUNT:
            handle = spare.pop()
            high, low = divmod(begun, 256) if different else (0, 1)
            handle.setopt(pycurl.URL, f"http://127.1.{high}.{low}:{port}/")
            multi.add_handle(handle)
            begun += 1
        multi.perform()
        more = 1
        while more:
            more, ok, failed = multi.info_read()
            for handle in [*ok, *(one[0] for one in failed)]:
                multi.remove_handle(handle)
                spare.append(handle)
                done += 1
    return time.process_time() - began


with socket.socket() as nobody:
    # Bound, and nobody listens: connections are refused at once.
    nobody.bind(("0.0.0.0", 0))
    port = nobody.getsockname()[1]
    runs = [
        (cpu_s(False, ages=True), cpu_s(True, ages=True), cpu_s(True, ages=False))
        for _ in range(3)
    ]
one, many, unaged = (min(column) for column in zip(*runs))
print(f"different addresses {many / one:.1f}, never aged {unaged / one:.1f}")
raise SystemExit(not many > 2 * unaged > unaged > one)
PY
"$tmp/venv/bin/python" "$tmp/try.py"
