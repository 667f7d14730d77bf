"""A library that lets each write to a file or a pipe take one byte, as a system may."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SHIM = """\
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static int is_file_or_pipe(int descriptor) {
    struct stat found;
    return fstat(descriptor, &found) == 0
        && (S_ISREG(found.st_mode) || S_ISFIFO(found.st_mode));
}
ssize_t write(int descriptor, const void *from, size_t count) {
    size_t most = count > 1 && is_file_or_pipe(descriptor) ? 1 : count;
    return syscall(SYS_write, descriptor, from, most);
}
ssize_t pwrite(int descriptor, const void *from, size_t count, off_t at) {
    return syscall(SYS_pwrite64, descriptor, from, count > 1 ? 1 : count, at);
}
ssize_t pwrite64(int descriptor, const void *from, size_t count, off64_t at) {
    return syscall(SYS_pwrite64, descriptor, from, count > 1 ? 1 : count, at);
}
"""


def one_byte_a_write(folder: Path) -> dict[str, str]:
    """Return the environment in which each write takes one byte, or skip the test."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("short writes are made by a library that a C compiler makes")
    source, shim = folder / "short.c", folder / "short.so"
    source.write_text(SHIM)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(shim), str(source)], check=True
    )
    return {"LD_PRELOAD": str(shim)}
