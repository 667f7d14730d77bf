"""[log NAME] unit = ...: real journals, of a booted systemd and of recorded entries."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress

import pytest

from tests.support.followed import Followed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("journalctl"), reason="needs journalctl"),
]

REMOTE = "/usr/lib/systemd/systemd-journal-remote"
#: An entry in journalctl's format for export.
ENTRY = """\
__REALTIME_TIMESTAMP={us}
__MONOTONIC_TIMESTAMP={us}
_BOOT_ID=0123456789abcdef0123456789abcdef
_MACHINE_ID=0123456789abcdef0123456789abcdee
_SYSTEMD_UNIT=app.service
MESSAGE={message}

"""
UNITS = {
    "app.service": "[Service]\nType=oneshot\nExecStart=/bin/cat /out/lines\n",
    "other.service": "[Service]\nType=oneshot\nExecStart=/bin/echo ERROR of another\n",
    "look.service": "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'journalctl --flush;"
    " systemctl start other app; journalctl --sync; touch /out/done; systemctl exit'\n",
}


class Recorded:
    """A journal whose entries are given to systemd-journal-remote."""

    def __init__(self, folder):
        if not os.path.exists(REMOTE):
            pytest.skip("needs systemd-journal-remote")
        self.journal = folder

    def write(self, *lines):
        now_us = int(time.time() * 1e6)
        entries = "".join(
            ENTRY.format(us=now_us + number, message=line)
            for number, line in enumerate(lines)
        )
        path = self.journal / "app.journal"
        subprocess.run(
            [REMOTE, "-o", str(path), "-"],
            input=entries,
            text=True,
            check=True,
            capture_output=True,
        )


class Booted:
    """The journal of a container, which is booted to write some lines."""

    def __init__(self, folder):
        if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
            pytest.skip("needs root and systemd-nspawn (systemd-container)")
        self.journal, self._root, self._out = folder, folder / "root", folder / "out"
        units = self._root / "etc/systemd/system"
        units.mkdir(parents=True)
        self._out.mkdir()
        self.journal = folder / "journal"
        self.journal.mkdir()
        for name in (
            "usr",
            "var/log/journal",
            "run",
            "tmp",
            "proc",
            "sys",
            "dev",
            "out",
        ):
            (self._root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self._root / name).symlink_to(f"usr/{name}")
        (self._root / "etc/os-release").write_text("ID=test\n")
        (self._root / "etc/machine-id").write_text("0123456789abcdef" * 2)
        (self._root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        for name, content in UNITS.items():
            (units / name).write_text(content)

    def write(self, *lines):
        (self._out / "lines").write_text("\n".join((*lines, "")))
        (self._out / "done").unlink(missing_ok=True)
        command = ["systemd-nspawn", "-q", "-D", str(self._root), "--private-network"]
        command += ["--register=no", "--keep-unit", "--bind-ro=/usr"]
        command += [f"--bind={self._out}:/out", "--link-journal=no"]
        command += [f"--bind={self.journal}:/var/log/journal"]
        command += ["-b", "systemd.unit=look.service"]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=40
            )
        if not (self._out / "done").exists():
            pytest.skip("systemd cannot be booted in a container here")


@pytest.fixture(params=[Recorded, Booted])
def journal(request, tmp_path):
    return request.param(tmp_path)


def test_new_entries_of_a_unit_are_told_once_and_lost_ones_are_named(journal):
    journal.write("old ERROR", "fine")
    followed = Followed("", unit="app.service", journal=journal.journal)
    assert followed.says() == "ok"
    assert followed.says() == "ok"
    journal.write("ERROR 1", "fine", "ERROR 2")
    assert followed.says() == "failing: 2 lines match: ERROR 1\nERROR 1\nERROR 2"
    assert followed.says() == "ok"
    for path in journal.journal.rglob("*.journal"):
        path.unlink()
    journal.write("ERROR 3")
    said = followed.says()
    assert said.startswith("failing: 1 line matches: ERROR 3\n")
    assert "entries may have been removed before they were searched" in said
    assert followed.says() == "ok"


def test_a_unit_without_entries_is_missing_until_it_has_some(journal):
    journal.write("fine")
    followed = Followed("", unit="none.service", journal=journal.journal)
    assert followed.says() == (
        "failing: the journal has no entry of the unit none.service"
    )


def test_a_folder_without_a_journal_has_no_entry(tmp_path):
    # journalctl says nothing of it, and ends with 0.
    followed = Followed("", unit="app.service", journal=tmp_path)
    assert (
        followed.says() == "failing: the journal has no entry of the unit app.service"
    )
