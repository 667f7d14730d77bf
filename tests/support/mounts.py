"""File systems of the test's own: small ones, and such as stop answering.

All need root, those that stop bindfs and /dev/fuse as well; ``why_not`` says what is
missing.  They are gone at the end of their block, whatever hangs on them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.debian import await_stillness
from tests.support.waits import until


def why_not_small() -> str:
    """Return why no tmpfs can be mounted here; empty if one can."""
    if os.geteuid() != 0:
        return "to mount a tmpfs takes root"
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(words, capture_output=True).returncode:
        return "no tmpfs can be mounted here"
    return ""


@contextlib.contextmanager
def small(folder: Path, size: str = "64k") -> Iterator[Path]:
    """Mount an empty file system of that size on a new folder."""
    folder.mkdir()
    options = f"size={size},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free in a file system; return the file that does."""
    path = folder / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            continue
    return path


def why_not_bound() -> str:
    """Return why no FUSE file system can be mounted here; empty if one can."""
    for program, package in (("bindfs", "bindfs"), ("fusermount3", "fuse3")):
        if shutil.which(program) is None:
            return f"as root: apt-get install {package}"
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        return "a FUSE file system needs root and /dev/fuse"
    return ""


class Bound:
    """A folder that a FUSE program shows at another place, and that can hang.

    The kernel keeps nothing of it, so that each question reaches the program.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self._source = source

    def __enter__(self) -> Bound:
        self.folder.mkdir()
        options = "attr_timeout=0,entry_timeout=0,negative_timeout=0,direct_io"
        words = ["bindfs", "-f", "-o", options, str(self._source), str(self.folder)]
        self._process = subprocess.Popen(words)
        until(lambda: os.path.ismount(self.folder))
        return self

    def hang(self) -> None:
        """Have it answer nothing any more."""
        self._process.send_signal(signal.SIGSTOP)
        await_stillness(self._process.pid)

    def go_on(self) -> None:
        """Have it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def __exit__(self, *_exc_info: object) -> None:
        self.go_on()
        # Whoever still waits for it gets an error.
        subprocess.run(["fusermount3", "-u", "-z", str(self.folder)], check=True)
        self._process.terminate()
        self._process.wait(20)


def descendants(pid: int, name: str) -> list[int]:
    """Return the processes of a name that are below a process, zombies left out."""
    import psutil

    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == name and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child.pid)
    return found


def are_gone(name: str, within_s: float = 5.0) -> bool:
    """Return whether no process of a name is below this one, soon."""
    ends_at = time.monotonic() + within_s
    while descendants(os.getpid(), name):
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.05)
    return True


#: What the kernel asks of a FUSE program first, and the head of each question.
_INIT, _QUESTION = 26, struct.Struct("<IIQQIIII")


class Mute:
    """A FUSE file system that takes each question and answers none of them.

    The kernel does not let go of who asks, be he killed, until it is unmounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: How many questions it has taken.
        self.asked = 0
        self._device = -1

    def __enter__(self) -> Mute:
        self.folder.mkdir()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0"
        mounted = ctypes.CDLL(None, use_errno=True).mount(
            b"mute", os.fsencode(self.folder), b"fuse", 0, options.encode()
        )
        if mounted:
            os.close(self._device)
            raise OSError(ctypes.get_errno(), "mount")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def _listen(self) -> None:
        waiting = select.poll()
        waiting.register(self._device, select.POLLIN)
        while not self._is_over.is_set():
            if not waiting.poll(50):
                continue
            question = os.read(self._device, 2**17)
            _length, opcode, unique, *_more = _QUESTION.unpack_from(question)
            if opcode == _INIT:
                answer = struct.pack("<IIIIHHII", 7, 31, 0, 0, 12, 9, 4096, 1)
                answer = answer.ljust(64, b"\0")
                head = struct.pack("<IiQ", 16 + len(answer), 0, unique)
                os.write(self._device, head + answer)
            else:
                self.asked += 1

    def __exit__(self, *_exc_info: object) -> None:
        self._is_over.set()
        self._thread.join(20)
        # With its program gone, the kernel answers in its place, by an error.
        os.close(self._device)
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@contextlib.contextmanager
def image(folder: Path, make: str, size: str, options: str = "") -> Iterator[Path]:
    """Mount a file system of its own in a file: ``make`` is what makes it."""
    file = folder.with_name(f"{folder.name}.image")
    folder.mkdir()
    subprocess.run(["truncate", "-s", size, file], check=True)
    subprocess.run([*make.split(), file], check=True, capture_output=True)
    chosen = ["-o", f"loop{options}"]
    subprocess.run(["mount", *chosen, file, folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
