"""What others take for as many requests: ``python -m tests.bench_curl [COUNT]``.

A bare loop over pycurl's multi handle, each request on a connection of its own, and
``curl --parallel``: the least that a program on libcurl can cost here, and a known one.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from lib.net import curl
from tests.support.benchserver import servers
from tests.support.measure import cost

AT_ONCE = 64


def bare_loop(url: str, count: int) -> float:
    """Return the CPU seconds of ``count`` requests."""
    pycurl = curl.load()
    began = time.process_time()
    multi, waiting, live = pycurl.CurlMulti(), list(range(count)), 0
    while waiting or live:
        while waiting and live < AT_ONCE:
            handle = pycurl.Curl()
            handle.setopt(pycurl.URL, f"{url}{waiting.pop()}")
            handle.setopt(pycurl.NOSIGNAL, 1)
            handle.setopt(pycurl.FORBID_REUSE, 1)
            handle.setopt(pycurl.WRITEFUNCTION, len)
            multi.add_handle(handle)
            live += 1
        multi.perform()
        more = 1
        while more:
            more, well, badly = multi.info_read()
            assert not badly, badly
            for handle in well:
                assert handle.getinfo(pycurl.RESPONSE_CODE) == 200
                multi.remove_handle(handle)
                handle.close()
                live -= 1
        multi.select(1.0)
    return time.process_time() - began


def curl_parallel(url: str, count: int, folder: Path) -> float:
    """Return the CPU seconds of ``curl --parallel``."""
    urls = folder / "urls"
    each = 'url = "{url}{n}"\noutput = "/dev/null"\n'
    urls.write_text("".join(each.format(url=url, n=n) for n in range(count)))
    close = ("-H", "Connection: close")
    return cost(
        ["curl", "-s", "-Z", *close, "--parallel-max", "64", "-K", str(urls)]
    ).cpu_s


def main(count: int) -> None:
    """Print both, in turns."""
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as there:
        url = f"http://127.0.0.1:{there.ports['well']}/"
        for _ in range(3):
            words = f"{count:,} requests: bare pycurl loop {bare_loop(url, count):.2f}"
            if shutil.which("curl"):
                words += (
                    f", curl --parallel {curl_parallel(url, count, Path(name)):.2f}"
                )
            print(f"{words} CPU s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"the bare loop's peak memory: {peak} MiB")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1000"])[0]))
