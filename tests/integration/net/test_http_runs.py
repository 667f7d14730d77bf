"""[http NAME] in whole runs: hundreds of servers that drip or lie; without pycurl."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shlex
import subprocess
import sysconfig
import threading
import time
import venv
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.instance import Instance
from tests.support.servers import SmtpServer

pytestmark = pytest.mark.integration

#: How long a target may take, how many of each sort there are.
TIMEOUT_S = 20
EACH = 60
#: A run ends within 1.1 times the longest timeout, and what it takes in any case.
LIMIT_S = 1.1 * TIMEOUT_S
DRIP_EVERY_S = 0.7

Writing = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


async def _drip(writer: asyncio.StreamWriter, first: bytes, drop: bytes) -> None:
    """Say something, and then a little more again and again."""
    writer.write(first)
    while True:
        await writer.drain()
        await asyncio.sleep(DRIP_EVERY_S)
        writer.write(drop)


async def silent(writer: asyncio.StreamWriter) -> None:
    """Take the connection and say nothing."""
    await asyncio.sleep(3600)


async def drips_headers(writer: asyncio.StreamWriter) -> None:
    """Begin a header line that has no end."""
    await _drip(writer, OK + b"X-Long: ", b"x")


async def drips_interim(writer: asyncio.StreamWriter) -> None:
    """Say again and again that the answer is about to come."""
    await _drip(writer, b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def drips_body(writer: asyncio.StreamWriter) -> None:
    """Promise a page and send it byte by byte."""
    await _drip(writer, OK + b"Content-Length: 99999\r\n\r\n", b"x")


async def promises_more(writer: asyncio.StreamWriter) -> None:
    """Send less than was promised, and keep the connection."""
    writer.write(OK + b"Content-Length: 99999\r\n\r\nAll is")
    await writer.drain()
    await asyncio.sleep(3600)


async def breaks_off(writer: asyncio.StreamWriter) -> None:
    """Send less than was promised, and close."""
    writer.write(OK + b"Content-Length: 99999\r\n\r\nAll is")
    await writer.drain()


async def well(writer: asyncio.StreamWriter) -> None:
    """Answer as it should."""
    writer.write(OK + b"Content-Length: 12\r\n\r\nAll is well\n")
    await writer.drain()


#: What is found of each sort: the beginning of the reason, after the place.
SORTS: dict[Writing, str] = {
    silent: "no answer within 20 s",
    drips_headers: "no answer within 20 s",
    drips_interim: "no answer within 20 s",
    drips_body: "timed out after 20 s with ",
    promises_more: "timed out after 20 s with 6 bytes of the body",
    breaks_off: "the connection broke after 6 bytes of the body",
    well: "",
}


class Servers:
    """A server of each sort, in a thread; ``ports`` are theirs."""

    def __init__(self) -> None:
        self.ports: dict[Writing, int] = {}
        self._are_ready, self._talks = threading.Event(), set[asyncio.Task[None]]()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> dict[Writing, int]:
        self._thread.start()
        assert self._are_ready.wait(20)
        return self.ports

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        servers = []
        for sort in SORTS:
            talk = functools.partial(self._talk, sort)
            server = await asyncio.start_server(talk, "127.0.0.1", backlog=4096)
            self.ports[sort] = server.sockets[0].getsockname()[1]
            servers.append(server)
        self._are_ready.set()
        await self._over.wait()
        for server in servers:
            server.close()
        # What was accepted last is a talk a moment later.
        await asyncio.sleep(0.1)
        talks = list(self._talks)
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks)

    async def _talk(
        self,
        sort: Writing,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        with contextlib.suppress(ConnectionError, EOFError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await sort(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._talks.discard(task)


def targets(sort: Writing, port: int) -> str:
    """Return the sections of all targets of a sort."""
    return "".join(
        f"[http {sort.__name__}-{number}]\nurl = http://127.0.0.1:{port}/\n"
        f"expect_text = well\ntimeout = {TIMEOUT_S}\n"
        for number in range(EACH)
    )


def timed(instance: Instance) -> float:
    """Return how many seconds a minute run takes, which has nothing to say."""
    began = time.monotonic()
    process = instance.start("-m", "cron", "-c", "minute")
    out, err = process.communicate(timeout=55)
    assert (process.returncode, out, err) == (0, "", "")
    return time.monotonic() - began


def test_hundreds_that_drip_or_lie_end_with_the_timeout(tmp_path):
    """All are asked at once, each ends in time, and the good ones stay good."""
    for name in ("all", "good"):
        (tmp_path / name).mkdir()
    instance = Instance(tmp_path / "all")
    with Servers() as ports:
        for sort, port in ports.items():
            instance.add(targets(sort, port))
        took_s = timed(instance)
        good = Instance(tmp_path / "good")
        good.add(targets(well, ports[well]))
        start_s = timed(good)
    assert took_s <= LIMIT_S + start_s, f"{took_s:.1f} s, {start_s:.1f} s without them"
    rows = {row["job"]: row for row in instance.listed()}
    assert len(rows) == EACH * len(SORTS)
    for sort, reason in SORTS.items():
        for number in range(EACH):
            row = rows[f"http {sort.__name__}-{number}"]
            if not reason:
                assert row["status"] == "ok", row
                continue
            assert row["status"] == "failing", row
            assert reason in row["reason"], row


@pytest.fixture
def without_pycurl(tmp_path: Path) -> Path:
    """A Python with all libraries of this one but pycurl."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "curl" not in entry.name and entry.suffix != ".pth":
            (Path(paths["purelib"]) / entry.name).symlink_to(entry)
    python = folder / "bin" / "python"
    asking = [python, "-c", "import requests, msgspec; import pycurl"]
    asked = subprocess.run(asking, capture_output=True, text=True)
    assert "No module named 'pycurl'" in asked.stderr
    return python


def test_without_pycurl_http_is_unknown_with_one_line_and_all_else_runs(
    tmp_path, without_pycurl
):
    with SmtpServer(security="none") as server, Servers() as ports:
        instance = Instance(tmp_path, server.email_section())
        for number in range(20):
            instance.add(
                f"[http web{number}]\nurl = http://127.0.0.1:{ports[well]}/\n"
                "failures = 1\n"
            )
        instance.add(f"[tcp port]\nhost = 127.0.0.1\nport = {ports[well]}\n")
        command = instance.command("-m", "cron", "-c", "minute")
        command[0] = str(without_pycurl)
        ran = subprocess.run(
            command,
            env={"PATH": os.defpath, "HOME": "/"},
            capture_output=True,
            text=True,
            timeout=50,
        )
        mails = list(server.mails)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), shlex.join(command)
    rows = {row["job"]: row for row in instance.listed()}
    assert rows["tcp port"]["status"] == "ok"
    line = f"pycurl cannot be loaded: {without_pycurl} -m pip install pycurl"
    for number in range(20):
        row = rows[f"http web{number}"]
        assert row["status"] == "unknown"
        assert row["reason"].splitlines() == [
            line,
            "It makes the HTTP requests. No module named 'pycurl'",
        ]
    # One mail about all of them, with the remedy.
    assert len(mails) == 1, [mail.subject for mail in mails]
    mail = mails[0]
    assert mail.subject == f"[web1] 20 unknown: {line}"
    assert line in mail.body
    assert "Traceback" not in mail.body
