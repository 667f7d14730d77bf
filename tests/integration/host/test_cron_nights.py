"""Debian's cron in both odd nights: what it starts, wrapped, is never called late."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from lib.core import heartbeats
from lib.core.enums import Status
from lib.core.heartbeats import Clock, Rule, What, decoded

ROOT = Path(__file__).resolve().parents[3]
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
BERLIN = ZoneInfo("Europe/Berlin")
#: A minute of cron's takes a third of a second.
FASTER = 180
#: cron in a namespace of mounts, where nothing else is to be started.
CRON = """\
mount -t tmpfs none /var/spool/cron && mkdir /var/spool/cron/crontabs &&
mount -t tmpfs none /run && mount -t tmpfs none /etc/cron.d &&
mount --bind /dev/null /etc/crontab &&
install -m 600 "$1" /var/spool/cron/crontabs/root &&
export TZ=Europe/Berlin NO_FAKE_STAT=1 FAKETIME="$2" &&
exec env LD_PRELOAD="$3" timeout "$4" cron -f
"""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="it mounts, as root"),
    pytest.mark.skipif(
        not (FAKETIME and shutil.which("cron", path="/usr/sbin")),
        reason="as root: apt-get install cron libfaketime",
    ),
]


#: The jobs, and how often cron starts each of them in either night.
TABLE = {"half": ("30 2 * * *", 1), "quarters": ("15,45 2 * * *", 2)}


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 0.5), ("2026-10-25", 2.5)])
def test_no_start_of_cron_is_late_in_an_odd_night(tmp_path, day, hours):
    spool, table = tmp_path / "spool", tmp_path / "table"
    spool.mkdir()
    wrap = f"{sys.executable} {ROOT}/checker.py -m wrap"
    lines = [
        f"{period} {wrap} {name} --spool {spool} -- true\n"
        for name, (period, _starts) in TABLE.items()
    ]
    table.write_text("".join(lines))
    begin = datetime.fromisoformat(f"{day} 01:57:30").replace(tzinfo=BERLIN)
    length_s = hours * 3600 / FASTER
    words = ["unshare", "-m", "sh", "-c", CRON, "sh", str(table)]
    words += [f"@{begin:%Y-%m-%d %H:%M:%S} x{FASTER}", str(FAKETIME[0])]
    began = time.time()
    ran = subprocess.run([*words, str(length_s)], stdout=-1, stderr=-1, timeout=90)
    assert ran.returncode == 124, ran.stderr

    def by_cron(at):
        return begin.timestamp() + (at - began) * FASTER

    def at_cron(event):
        started_at = event.started_at and by_cron(event.started_at)
        return {"at": by_cron(event.at), "started_at": started_at, "seconds": None}

    found = [decoded(path.read_bytes()) for path in spool.glob("*.json")]
    found = [replace(event, **at_cron(event)) for event in found]
    for name, (period, starts) in TABLE.items():
        events = [event for event in found if event.name == name]
        assert sum(event.what is What.START for event in events) == starts
        follow(events, Rule(period, BERLIN, grace=600.0), begin)


def follow(found, rule, begin):
    """Judge a night and the day behind it in each minute; each must be OK."""
    now = begin.astimezone(UTC)
    memory = heartbeats.Memory(begin.timestamp() - 60, offset=0.0)
    for _minute in range(22 * 60):
        at = now.timestamp()
        due = {f"{one.run}{one.what}": one for one in found if one.at <= at}
        memory = heartbeats.applied(memory, due, at, (), due)
        judgement = heartbeats.judge(memory, rule, Clock(at))
        assert judgement.status is Status.OK, (now, judgement.reason)
        now += timedelta(minutes=1)
