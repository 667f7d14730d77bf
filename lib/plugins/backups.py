"""Whether the dump of a database, or the repository of backups, is whole.

An exit code does not say so: a dump onto a full disk, or of a locked database, ends
with 0.  What a dump says of itself at its end is judged by functions of its first and
last bytes; repositories, and dumps that only their own program reads, are asked by it.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from lib.core.text import first_line
from lib.plugins import archives
from lib.plugins.archives import Damaged, Source
from lib.plugins.base import CheckFailed, CheckUnknown

#: How much of the begin and of the end of a dump is judged.
HEAD, TAIL = 64 * 1024, 64 * 1024
#: The marker at the end stands in one of so many last lines.
LAST_LINES = 10
#: How the compressed files in a folder of pg_dump -Fd end.
_PACKED = (".gz", ".lz4", ".zst")
REPOSITORIES = ("restic", "borg")
#: What makes a dump more than its frame.
_SOMETHING = re.compile(rb"^(?:CREATE (?!DATABASE)|COPY |INSERT |REPLACE )", re.M)
#: So much of a line is said.
MAX_SAID = 300
#: The package of Debian that has a program.
_PACKAGES = {
    "pg_restore": "postgresql-client",
    "restic": "restic",
    "borg": "borgbackup",
}

#: What is said of a check that takes long.
_MAY_BE_LEFT_OUT = " (full_check = no leaves that out)"

#: Says how far it is.
Tell = Callable[[str], None]


class Ends(NamedTuple):
    """The first and the last bytes of a dump, and how long it is."""

    head: bytes
    tail: bytes
    size: int

    @property
    def last_lines(self) -> list[bytes]:
        """Return the last lines that are not empty."""
        lines = [line.rstrip() for line in self.tail.splitlines()]
        return [line for line in lines if line][-LAST_LINES:]

    @property
    def holds_nothing(self) -> bool:
        """Return whether all of it is known, and there is no table in it."""
        is_known = self.size <= len(self.head)
        return is_known and not _SOMETHING.search(self.head)


# Rules: each returns why a dump is not whole; empty if it is.


def why_not_pg_dump(ends: Ends) -> str:
    """Judge a dump of pg_dump or pg_dumpall as text.

    Its marker is not the last line: since 15.14 that is a random ``\\unrestrict``.
    """
    start = ends.head[:4096]
    of = b"cluster " if b"-- PostgreSQL database cluster dump" in start else b""
    if not of and b"-- PostgreSQL database dump" not in start:
        return "it does not begin as a dump of pg_dump does"
    marker = b"-- PostgreSQL database %sdump complete" % of
    if marker not in ends.last_lines:
        return f"it is cut: {marker.decode()[3:]!r} is missing at its end"
    word = None if of else re.search(rb"^\\restrict (\S+)", start, re.M)
    if word and b"\\unrestrict " + word[1] not in ends.last_lines:
        return "it is cut: its last line, \\unrestrict, is missing"
    return _if_empty(ends)


def why_not_mariadb_dump(ends: Ends) -> str:
    """Judge a dump of mariadb-dump or mysqldump."""
    if not re.search(rb"^-- (MariaDB|MySQL) dump|^/\*M?!", ends.head[:4096], re.M):
        return "it does not begin as a dump of mariadb-dump does"
    if not any(line.startswith(b"-- Dump completed") for line in ends.last_lines):
        return (
            "it is cut: 'Dump completed' is missing at its end (a dump with --compact "
            "or --skip-comments never has it)"
        )
    return _if_empty(ends)


def why_not_sqlite_dump(ends: Ends) -> str:
    """Judge what sqlite3's .dump has written: its last line must be COMMIT."""
    error = re.search(rb"/\*+ (ERROR: .{1,200}?) \*+/", ends.head + ends.tail)
    if error:
        return f"sqlite3 wrote into it: {error[1].decode('utf-8', 'replace')}"
    if not re.match(rb"PRAGMA foreign_keys=|BEGIN TRANSACTION;", ends.head):
        return "it does not begin as a dump of sqlite3 does"
    last = ends.last_lines[-1]
    if last.startswith(b"ROLLBACK"):
        return f"sqlite3 gave up: it ends with {last.decode('utf-8', 'replace')!r}"
    if last != b"COMMIT;":
        return "it is cut: its last line is not COMMIT;"
    return _if_empty(ends)


def _if_empty(ends: Ends) -> str:
    return "it ends as it should, but no table is in it" if ends.holds_nothing else ""


_RULES = {
    "pg_dump": why_not_pg_dump,
    "mariadb-dump": why_not_mariadb_dump,
    "sqlite": why_not_sqlite_dump,
}


class Snapshot(NamedTuple):
    """A backup in a repository: its name, and when it was made."""

    name: str
    at: float


def newest_snapshot(snapshots: Iterable[Mapping[str, Any]], program: str) -> Snapshot:
    """Return the newest of what restic or borg lists; raise CheckFailed without one.

    Both list in order of time; of equal times, as borg's of whole seconds may be, the
    last is taken.
    """
    name, at = ("id", "time") if program == "restic" else ("name", "time")
    found = [Snapshot(str(one[name]), _moment(str(one[at]))) for one in snapshots]
    if not found:
        raise CheckFailed("the repository holds no snapshot")
    return max(reversed(found), key=lambda one: one.at)


def _moment(text: str) -> float:
    """Return a moment of ISO 8601; one without a zone is local time.

    Of restic's nine digits of a second six are read.
    """
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


def missing_paths(wanted: Sequence[str], listed: Iterable[str]) -> list[str]:
    """Return which of the wanted paths are not listed, or are folders without a file.

    ``listed`` are paths of a snapshot, a folder's with a slash at its end.  It is read
    no farther than needed.
    """
    left = {path.strip("/"): path for path in wanted}
    for path in listed:
        found = path.lstrip("/")
        if found.endswith("/"):
            # An empty mount point may have folders in it.
            continue
        for want in list(left):
            if found == want or found.startswith(f"{want}/") or not want:
                del left[want]
        if not left:
            break
    return list(left.values())


# Dumps.


def check_dump(source: Source, kind: str, tell: Tell) -> str:
    """Return what a dump is that is whole, such as ``pg_dump in gzip``.

    Raise Damaged if it is not whole, and CheckUnknown if that cannot be told.
    """
    if not source.size:
        raise Damaged("it is empty (0 bytes)")
    name = archives.format_of(source.head(archives.BLOCK))
    if name == "zip":
        raise CheckUnknown("a dump in a zip archive cannot be checked")
    packing = "" if name in ("", "tar") else name
    head = _start(source, packing)
    if kind == "pg_dump" and head.startswith(b"PGDMP"):
        _restore(["-"] if packing else [], source, packing, tell)
    elif kind == "pg_dump" and archives.is_tar(head[: archives.BLOCK]):
        _check_tar_of_postgres(source, packing)
    elif kind == "sqlite" and head.startswith(b"SQLite format 3\0"):
        if packing:
            raise CheckUnknown(
                "a database of SQLite that is compressed cannot be checked; "
                "integrity = auto tells whether the compressed file is whole"
            )
        _check_database(source, head)
    else:
        ends = _ends(source, packing)
        why = _RULES[kind](ends) if ends.size else "it holds nothing (0 bytes)"
        if why:
            raise Damaged(why)
    return f"{kind} in {packing}" if packing else kind


def _start(source: Source, packing: str) -> bytes:
    """Return the first bytes of what is in a file."""
    if not packing:
        return source.head(HEAD)
    head = b""
    for chunk in archives.contents(source, packing):
        head += chunk
        if len(head) >= HEAD:
            break
    return head[:HEAD]


def _ends(source: Source, packing: str) -> Ends:
    """Return both ends of what is in a file: one that is not packed is not read."""
    if not packing:
        return Ends(source.head(HEAD), source.tail(TAIL), source.size)
    head, tail, size = b"", b"", 0
    for chunk in archives.contents(source, packing):
        if len(head) < HEAD:
            head = (head + chunk)[:HEAD]
        tail = (tail + chunk)[-TAIL:]
        size += len(chunk)
    return Ends(head, tail, size)


def _check_tar_of_postgres(source: Source, packing: str) -> None:
    """Check pg_dump's tar format; pg_restore says 0 of one that is cut."""
    tar = archives.Tar()
    for chunk in archives.contents(source, packing):
        tar.feed(chunk)
    tar.end()
    if "toc.dat" not in tar.names:
        raise Damaged("it is a tar archive, but none of pg_dump: toc.dat is missing")


def check_folder_of_postgres(path: str, tell: Tell) -> str:
    """Check a folder of pg_dump -Fd: pg_restore reads its files, and we do.

    pg_restore takes one that is empty for a table without rows.
    """
    if not os.path.isfile(os.path.join(path, "toc.dat")):
        raise Damaged("it is no folder of pg_dump -Fd: toc.dat is missing")
    _restore(["-Fd", path], None, "", tell)
    for name in sorted(os.listdir(path)):
        if name.endswith(_PACKED):
            _check_packed(os.path.join(path, name), tell)
    return "pg_dump -Fd"


def _check_packed(path: str, tell: Tell) -> None:
    """Raise Damaged, with the name of the file, unless it can be read to its end."""
    name = os.path.basename(path)
    with open(path, "rb", buffering=0) as file:
        source = Source(file, lambda it: tell(f"{name} is read"))
        try:
            archives.check(source, "auto")
        except Damaged as error:
            raise Damaged(f"{name}: {error}") from error


def _restore(
    arguments: list[str], source: Source | None, packing: str, tell: Tell
) -> None:
    """Have pg_restore read all of a dump, into nothing; never by its list (-l)."""
    chunks = archives.contents(source, packing) if source else None
    words = ["pg_restore", "-f", "/dev/null", *(one for one in arguments if one != "-")]
    code, _out, errors = run(words, {}, tell, "pg_restore reads it", chunks)
    if code == 0:
        return
    said = first_line(errors)[:MAX_SAID]
    if "unsupported version" in errors:
        raise CheckUnknown(f"{said}; install a newer {_PACKAGES['pg_restore']}")
    raise Damaged(f"it is damaged or cut: {said}")


def _check_database(source: Source, head: bytes) -> None:
    """Check a database of SQLite as a backup leaves it: nothing beside it is made."""
    import sqlite3
    from urllib.parse import quote

    size = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    if pages and source.size < pages * (65536 if size == 1 else size):
        raise Damaged("it is cut: it has fewer pages than its header says")
    path = os.path.abspath(source.file.name)
    has_log = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal")
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    try:
        database = sqlite3.connect(f"file:{quote(path)}?{mode}", uri=True, timeout=5)
        try:
            (word,) = database.execute("pragma integrity_check(1)").fetchone()
            (tables,) = database.execute(
                "select count(*) from sqlite_master"
            ).fetchone()
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        raise CheckUnknown(f"SQLite cannot read it: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"SQLite says: {error}") from error
    if word != "ok":
        raise Damaged(f"SQLite says: {first_line(word)[:MAX_SAID]}")
    if not tables:
        raise Damaged("it is whole, but no table is in it")


# Repositories.


def check_repository(
    program: str,
    repository: str,
    password: str,
    wanted: Sequence[str],
    tell: Tell,
    *,
    full: bool = True,
) -> Snapshot:
    """Return the newest snapshot of a repository that is whole.

    Unless ``full``, the program's own check is left out.  Raise CheckFailed if it is
    not whole, or does not hold a path that is wanted, and CheckUnknown if that cannot
    be told.
    """
    check = _check_restic if program == "restic" else _check_borg
    return check(repository, password, wanted, tell, full=full)


def _check_restic(
    repository: str, password: str, wanted: Sequence[str], tell: Tell, *, full: bool
) -> Snapshot:
    """Ask restic; without a lock, so that no backup waits for us, and no cache."""
    words = ["restic", "-r", repository, "--no-lock", "--no-cache"]
    secret = {"RESTIC_PASSWORD": password} if password else {}

    def ask(*more: str, doing: str) -> str:
        code, out, errors = run([*words, *more], secret, tell, doing, until=_GONE)
        if code:
            raise _refused("restic", errors or out)
        return out

    # --latest would give one of each host and set of paths.
    listed = ask("snapshots", "--json", doing="restic lists its snapshots")
    snapshot = newest_snapshot(json.loads(listed) or (), "restic")
    missing = []
    if wanted:
        doing = "restic lists its paths"
        out = ask("ls", "--json", snapshot.name, *wanted, doing=doing)
        missing = missing_paths(wanted, _paths_of_restic(out))
    for path in missing:
        # That was what is in it, but not what is in folders below.
        below = [*words, "ls", "--json", "--recursive", snapshot.name, path]
        if not holds_a_file(below, secret, tell, doing, _FILE_OF_RESTIC):
            raise _missing(path, snapshot)
    if not full:
        return snapshot
    # stats and backup do not notice that data are gone.
    doing = f"restic checks it{_MAY_BE_LEFT_OUT}"
    code, out, errors = run([*words, "check"], secret, tell, doing, until=_GONE)
    if code:
        if ask("list", "locks", doing="restic lists its locks").strip():
            raise CheckUnknown("the repository is in use: it is locked; check it later")
        raise CheckFailed(f"restic check: {_worst_line(errors or out)}")
    return snapshot


#: restic tries for a quarter of an hour to read what is not there.
_GONE = re.compile(rb"retrying after .*(no such file|does not exist|not found|EOF)")


#: A line of a list that is of no folder.
_FILE_OF_RESTIC = re.compile(rb'^{.*"type":"(?!dir")[^"]*".*"struct_type":"node"', re.M)
_FILE_OF_BORG = re.compile(rb"^[^d] .", re.M)


def _paths_of_restic(out: str) -> Iterator[str]:
    for line in out.splitlines():
        try:
            node = json.loads(line)
        except ValueError:
            # The last one of a list of which not all was kept.
            continue
        if node.get("struct_type") == "node":
            yield str(node["path"]) + ("/" if node.get("type") == "dir" else "")


def _check_borg(
    repository: str, password: str, wanted: Sequence[str], tell: Tell, *, full: bool
) -> Snapshot:
    """Ask borg; it never waits for an answer of somebody."""
    secret = {
        "BORG_PASSPHRASE": password,
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "no",
        "BORG_EXIT_CODES": "legacy",
    }

    def ask(*more: str, doing: str) -> str:
        code, out, errors = run(["borg", *more], secret, tell, doing)
        if code > 1:
            raise _refused("borg", errors)
        return out

    listed = ask("list", "--json", "--bypass-lock", repository, doing="borg lists it")
    snapshot = newest_snapshot(json.loads(listed)["archives"], "borg")
    name = f"{repository}::{snapshot.name}"
    for path in wanted:
        below = ["borg", "list", "--bypass-lock", "--format", "{type} {path}{NL}"]
        below += [name, path.lstrip("/")]
        doing = "borg lists its paths"
        if not holds_a_file(below, secret, tell, doing, _FILE_OF_BORG):
            raise _missing(path, snapshot)
    if not full:
        return snapshot
    # Only that reads what lies in the repository.
    doing = f"borg checks it{_MAY_BE_LEFT_OUT}"
    code, _out, errors = run(
        ["borg", "check", "--repository-only", "--lock-wait", "1", repository],
        secret,
        tell,
        doing,
    )
    if code:
        if "lock" in errors.lower():
            raise CheckUnknown("the repository is in use: it is locked; check it later")
        raise CheckFailed(f"borg check: {_worst_line(errors)}")
    return snapshot


def _missing(path: str, snapshot: Snapshot) -> CheckFailed:
    return CheckFailed(
        f"the newest snapshot {snapshot.name[:40]} does not hold {path}, or no file "
        "in it"
    )


#: What restic and borg say where not the repository is at fault.
_OURS = re.compile(
    r"wrong password|no key found|passphrase|password|permission denied|"
    r"lock|unable to open config file: .*denied|previously located|unknown command",
    re.I,
)


def _refused(program: str, said: str) -> Exception:
    """Return what to raise if a program fails."""
    line = _worst_line(said)
    if _OURS.search(line):
        return CheckUnknown(f"{program}: {line}")
    return CheckFailed(f"{program}: {line}")


def _worst_line(said: str) -> str:
    """Return the line that says most: the first with an error, else the first."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [
        line
        for line in lines
        if re.search(r"error|fatal|missing|not found", line, re.I)
    ]
    return first_line((errors or lines or ["it failed, and says nothing"])[0])[
        :MAX_SAID
    ]


def holds_a_file(
    words: Sequence[str],
    secrets: Mapping[str, str],
    tell: Tell,
    doing: str,
    line: re.Pattern[bytes],
) -> bool:
    """Return whether a program lists what matches; it is ended then.

    So of a million files one is listed.  Raise as ``run``, and if it fails.
    """
    code, out, errors = run(words, secrets, tell, doing, until=_GONE, enough=line)
    if line.search(out.encode()):
        return True
    if code > (words[0] == "borg"):
        raise _refused(words[0], errors or out)
    return False


def run(
    words: Sequence[str],
    secrets: Mapping[str, str],
    tell: Tell,
    doing: str,
    chunks: Iterator[bytes] | None = None,
    until: re.Pattern[bytes] | None = None,
    enough: re.Pattern[bytes] | None = None,
) -> tuple[int, str, str]:
    """Return the exit code of a program and what it wrote.

    ``chunks`` are its input; it is killed when its errors match ``until``, or its
    output ``enough``.  It is no
    process group of its own, so that it is killed with this process at the deadline.
    Raise CheckUnknown if it cannot be run.
    """
    path = shutil.which(words[0])
    if path is None:
        package = _PACKAGES.get(words[0], words[0])
        raise CheckUnknown(
            f"there is no program {words[0]}; install the package {package}"
        )
    process = subprocess.Popen(
        [path, *words[1:]],
        stdin=subprocess.PIPE if chunks is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C", **secrets},
    )
    problems: list[Exception] = []
    feeder = None
    if chunks is not None:
        feeder = threading.Thread(
            target=_feed, args=(chunks, process.stdin, problems), daemon=True
        )
        feeder.start()
    out, errors = _heard(process, tell, doing, until, enough)
    code = process.wait()
    if feeder is not None:
        feeder.join()
    if problems:
        raise problems[0]
    return code, out, errors


def _feed(chunks: Iterator[bytes], pipe: Any, problems: list[Exception]) -> None:
    try:
        archives.feed(chunks, pipe)
    except (Damaged, CheckUnknown) as error:
        problems.append(error)


#: The most that is kept of each stream: a list of a million snapshots or files.
MAX_HEARD = 64 * 1024 * 1024
#: How much is read at once.
PIPE = 64 * 1024


def _heard(
    process: subprocess.Popen[bytes],
    tell: Tell,
    doing: str,
    until: re.Pattern[bytes] | None,
    enough: re.Pattern[bytes] | None,
) -> tuple[str, str]:
    """Return what a program writes to both streams; say all the while what it does."""
    assert process.stdout and process.stderr
    heard = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, errors = heard.values()
    poll = select.poll()
    for descriptor in heard:
        poll.register(descriptor, select.POLLIN)
    began, left = time.monotonic(), len(heard)
    while left:
        for descriptor, _events in poll.poll(200):
            part = os.read(descriptor, PIPE)
            if not part:
                poll.unregister(descriptor)
                left -= 1
            elif len(heard[descriptor]) < MAX_HEARD:
                heard[descriptor] += part
        # The last that was read, and the line that it may have ended.
        if enough and enough.search(out, out.rfind(b"\n", 0, -PIPE) + 1):
            process.kill()
        if until and until.search(errors):
            process.kill()
        tell(f"{doing}, for {time.monotonic() - began:.0f} s")
    return out.decode("utf-8", "replace"), errors.decode("utf-8", "replace")
