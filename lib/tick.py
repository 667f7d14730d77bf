"""A run in which nothing can be due: told by a note, without loading the program.

Most minutes are like the one before.  A whole run in which nothing was due, owed or
changed leaves a note of what it looked at (``lib/idle.py``).  While all of that is the
same, and up to the time in the note, another run would do nothing but write when it
took place; this does just that.  In any doubt it does nothing, and a whole run follows.

Nothing of ours is imported, nor more of Python than is loaded at its start.
"""

import fcntl
import os
import sys
import time

NAME = "idle"
TITLE = "checker idle 1"
#: Where moments stand in the text of the note; they have the form of any other.
BEGAN, ENDED = "1111-11-11T11:11:11.111111+00:00", "1212-12-12T12:12:12.121212+00:00"
SUM = "5" * 32
#: As long as a whole run may take, for those who find the lock taken.
RUN_S = 55
MOST_BYTES = 1024 * 1024
#: What changes without a meaning for a run, and what is compared by its content.
_PASSED_OVER = (NAME, "lock", "run.json")
_TWO, _ONE = ("-m", "-c", "-f", "--jobs", "--state"), ("cron", "minute")


def state_folder(arguments: list[str], here: str) -> str:
    """Return where state is, if these arguments order a run of the minute jobs.

    As far as the command line tells; else, or if it orders anything more, nothing.
    """
    if len(arguments) % 2 or arguments[:4] != ["-m", "cron", "-c", "minute"]:
        return ""
    pairs = list(zip(arguments[4::2], arguments[5::2], strict=True))
    if any(name not in ("-f", "--jobs", "--state") for name, _value in pairs):
        return ""
    given = [value for name, value in pairs if name == "--state"]
    return os.path.abspath(given[-1] if given else os.path.join(here, "state"))


def took_place(arguments: list[str], here: str) -> bool:
    """Return whether the run is done: nothing was to do, and that is on record."""
    folder = state_folder(arguments, here)
    if not folder:
        return False
    try:
        return _tick(folder, arguments)
    except (OSError, ValueError):
        # Whatever it is, a whole run knows what to do and what to say.
        return False


def _tick(folder: str, arguments: list[str]) -> bool:
    began = time.time()
    note = _read(os.path.join(folder, NAME))
    title, checksum, rest = note.split("\n", 2)
    if title != TITLE or checksum != digest(rest):
        return False
    since, until, facts, paths, canonical, pretty = rest.split("\n", 5)
    if not float(since) <= began < float(until):
        return False
    descriptor = os.open(
        os.path.join(folder, "lock"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    )
    # Closing it frees the lock.
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder = (
            f'{{"pid": {os.getpid()}, "began_at": "{moment(began)}", '
            f'"ends_by": "{moment(began + RUN_S)}"}}\n'
        ).encode()
        os.pwrite(descriptor, holder, 0)
        os.ftruncate(descriptor, len(holder))
        if facts != looked_at(folder, paths.split("\t"), arguments)[0]:
            return False
        path = os.path.join(folder, "run.json")
        if not _is_from(pretty, canonical, _read(path), began):
            return False
        _replace(path, _filled(pretty, canonical, began, time.time()))
        return True
    finally:
        os.close(descriptor)


def looked_at(folder: str, paths: list[str], arguments: list[str]) -> tuple[str, float]:
    """Return a digest of all that a run depends on, and when that last changed.

    ``paths`` are files, and folders of Python files.  The moment is theirs alone, not
    that of the state folder.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    inputs = [one for path in (*paths, here) for one in _facts(path)]
    state: list[tuple[object, ...]] = [
        (name, *_facts_of_state(os.path.join(folder, name)))
        for name in sorted(os.listdir(folder))
        if name not in _PASSED_OVER
    ]
    itself = os.stat(folder)
    state += [(itself.st_mode, itself.st_uid, itself.st_ino)]
    who = (arguments, os.getcwd(), os.getuid(), os.environ.get("HOME"), sys.version)
    newest = max(one[1] for one in inputs) / 1e9
    return digest(repr((who, inputs, state))), newest


def digest(text: str) -> str:
    """Return the SHA-256 of a text, as the files of state have it."""
    try:
        # hashlib takes longer to load than all the rest takes.
        from _sha256 import sha256  # type: ignore[import-not-found]  # no stub
    except ImportError:
        from hashlib import sha256
    found: str = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return found


def moment(seconds: float) -> str:
    """Return a time as our files have it."""
    whole, millionths = divmod(int(seconds * 1_000_000), 1_000_000)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    # Without a dot it would have another length.
    return f"{date}.{max(1, millionths):06}+00:00"


def _facts(path: str) -> list[tuple[str, int, int, int, int, int, int]]:
    found = os.stat(path)
    facts = [
        (
            path,
            found.st_ctime_ns,
            found.st_mtime_ns,
            found.st_size,
            found.st_ino,
            found.st_dev,
            found.st_mode,
        )
    ]
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(".py"))
        facts += [one for name in names for one in _facts(os.path.join(path, name))]
    return facts


def _facts_of_state(path: str) -> list[object]:
    """Return what matters of something in the state folder."""
    if path.endswith((".log", ".log.1")):
        return []
    found = os.stat(path)
    if not os.path.isdir(path):
        return [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]
    if os.path.basename(path) not in ("jobs", "digests"):
        return []
    names = sorted(os.listdir(path))
    return [(name, *_facts_of_state(os.path.join(path, name))) for name in names]


def _is_from(pretty: str, canonical: str, text: str, now: float) -> bool:
    """Return whether run.json is as the note has it, with moments before now."""
    at_began, at_ended = pretty.find(BEGAN), pretty.find(ENDED)
    if min(at_began, at_ended) < 0 or len(text) != len(pretty):
        return False
    began = text[at_began : at_began + len(BEGAN)]
    ended = text[at_ended : at_ended + len(ENDED)]
    if text != _with(pretty, canonical, began, ended):
        return False
    return began <= ended <= moment(now)


def _filled(pretty: str, canonical: str, began: float, ended: float) -> str:
    return _with(pretty, canonical, moment(began), moment(ended))


def _with(pretty: str, canonical: str, began: str, ended: str) -> str:
    """Return the text of run.json with these moments, and its sum."""
    said = canonical.replace(BEGAN, began).replace(ENDED, ended)
    text = pretty.replace(BEGAN, began).replace(ENDED, ended)
    return text.replace(SUM, digest(said))


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        content = os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)
    return content.decode("utf-8")


def _replace(path: str, text: str) -> None:
    """Replace a file in one step, durably, as ``lib/disk.py`` does."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
        try:
            content = text.encode()
            if os.write(descriptor, content) != len(content):
                raise OSError(0, "not all of it was written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    above = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(above)
    finally:
        os.close(above)
