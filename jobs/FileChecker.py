"""[file NAME]: checks files, folders, archives, dumps and repositories of backups."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    CheckWarning,
    Clash,
    Deadline,
    JobFrequency,
    Options,
    Target,
    TargetJob,
    Threshold,
    Value,
    Values,
    absolute_path,
    bytes_,
    bytes_pattern,
    count,
    escaped,
    one_of,
    option,
    plain,
    seconds,
    secret,
    switch,
)

if TYPE_CHECKING:
    from lib.jobbase import aside, contents, files

REPOSITORIES = ("restic", "borg")
#: How programs call what they have not finished.
PARTIAL = "*.part, *.partial, *.tmp, *.temp, *.filepart, *.crdownload, *.incomplete"
PARTIAL += ", *.swp, *~, .*"
#: Which checksum has so many digits.
HASHES = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
#: The clocks of two machines differ; more than this ahead is no age.
MAX_AHEAD_S = 300.0
#: How growth is measured: over an hour, from samples so far apart at least.
GROWTH_S, SAMPLE_S = 3600.0, 240.0
#: Options that need the contents of a file.
_READING = (
    *("integrity", "complete", "checksum", "changed"),
    *("expect", "expect_regex", "forbid_regex"),
)
#: What is asked of a file that must be there.
_ASKED = (*_READING, "owner", "group", "mode")
_THRESHOLDS = tuple(
    f"{status}_{name}"
    for status in ("fail", "warn")
    for name in ("age", "size", "small", "growth", "count")
)


def modes(value: str) -> tuple[int, ...]:
    """Return modes as chmod has them, ``0640, 0600``."""
    words = [word.strip() for word in value.split(",")]
    if not all(re.fullmatch("[0-7]{3,4}", word) for word in words):
        raise ValueError("expected a mode such as 0640, or several with commas")
    return tuple(int(word, 8) for word in words)


def checksum(value: str) -> str:
    """Return a checksum in hexadecimal digits."""
    word = value.lower().rpartition(":")[2]
    if len(word) not in HASHES or not re.fullmatch("[0-9a-f]+", word):
        raise ValueError(
            "expected the digits of an MD5, SHA-1, SHA-256 or SHA-512: 32, 40, 64 or "
            "128"
        )
    return word


def paths(value: str) -> tuple[str, ...]:
    """Return absolute paths, with commas or one in a line."""
    found = [part.strip() for part in re.split("[,\n]", value) if part.strip()]
    return tuple(absolute_path(one) for one in found)


def patterns(value: str) -> tuple[str, ...]:
    """Return patterns of names; ``no`` is none."""
    if value.lower() == "no":
        return ()
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    if any("/" in one for one in found):
        raise ValueError("expected patterns of names without a slash, such as *.tmp")
    return found


def one_or_no(*choices: str) -> Callable[[str], str]:
    """Return a reader of one of the choices; ``no`` is read as an empty text."""
    read = one_of(("no", *choices))

    def read_or_no(value: str) -> str:
        word = read(value)
        return "" if word == "no" else word

    return read_or_no


def glob_pattern(value: str) -> str:
    """Return an absolute path in which ``*``, ``?`` or ``[`` stands."""
    if not re.search(r"[*?\[]", absolute_path(value)):
        raise ValueError(
            "expected a pattern such as /backup/*.gz; path is for one file"
        )
    return value


class FileChecker(TargetJob):
    """A file, the newest of a pattern, a folder, or a repository of backups."""

    kind = "file"
    every = JobFrequency.HOUR
    recheck = "5min"
    guide = r"""
        One of `path`, `glob` and `repository` says what is checked. Of a `glob` it is
        the file that was changed last, without those of `partial`. The size of a folder
        is that of all files below it, and its age that of the newest of them; links in
        it are not followed.

        `integrity` reads a file to its end: it is failing if it is empty, cut, changed,
        or if something else than zeros follows its data. A tar archive in it must end
        as archives end, and hold a file. zstd and lz4 need the programs of those names.
        A byte that was changed within a tar archive is not found: tar has no checksums
        of contents. The same holds for a copy of a database of SQLite, and for
        `pg_dump -Fc -Z0`.

        `complete` asks whether a backup is whole. The text of `pg_dump`, `pg_dumpall`,
        `mariadb-dump` and sqlite3's `.dump` must begin and end as it does when it is
        whole, and a short one must hold a table; compressed it is read to its end.
        `pg_restore` reads the other formats of `pg_dump`, and SQLite a copy of a
        database. Of restic and borg the newest snapshot must hold each path of `holds`,
        with a file in it, the program's own check must pass, and `fail_age` is the age
        of that snapshot. `restic check` reads no data of files, and takes no lock;
        `borg check --repository-only` reads all of it, and takes one. Where that takes
        longer than 50s, set `full_check = no`, and have cron run it, watched by a
        [heartbeat](#heartbeat-name) with `preset`.

        All that is done in a process of its own. What takes longer than `timeout` (50s
        at most) is unknown, and says how far it was. A file is read only if its
        contents are asked for.
        """
    options: Options = {
        "path": option(absolute_path, "", help="a file or a folder"),
        "glob": option(
            glob_pattern,
            "",
            help="the newest file of a pattern: /backup/*.gz, /a/**/*.gz",
        ),
        "repository": option(
            plain, "", help="a repository of restic or borg, as that program names it"
        ),
        "exists": option(switch, True, help="no: there must be no such file"),
        "partial": option(
            patterns,
            patterns(PARTIAL),
            help="names that glob and count leave out, as unfinished; or no",
        ),
        "settled": option(
            seconds,
            0.0,
            help="glob and count leave out what was changed since then: 2min",
        ),
        "fail_age": option(
            seconds, None, help="failing if it was changed longer ago than this"
        ),
        "warn_age": option(
            seconds, None, help="a warning if it was changed longer ago"
        ),
        "fail_size": option(bytes_, None, help="failing if it is larger"),
        "warn_size": option(bytes_, None, help="a warning if it is larger"),
        "fail_small": option(
            bytes_, None, below=True, help="failing if it is smaller: 1MB"
        ),
        "warn_small": option(
            bytes_, None, below=True, help="a warning if it is smaller"
        ),
        "fail_growth": option(
            bytes_, None, help="failing if it grows by more than this in an hour"
        ),
        "warn_growth": option(bytes_, None, help="a warning if it grows by more"),
        "fail_count": option(
            count, None, help="failing if glob finds, or a folder has, more: 1..10"
        ),
        "warn_count": option(count, None, help="a warning if there are more"),
        "owner": option(plain, "", help="the user who must own it"),
        "group": option(plain, "", help="the group that must own it"),
        "mode": option(modes, (), help="the mode that it must have: 0640, 0600"),
        "checksum": option(
            checksum, "", help="the MD5, SHA-1, SHA-256 or SHA-512 that it must have"
        ),
        "changed": option(
            one_of(("no", "tell", "fail")),
            "no",
            help="its contents are others than before: tell warns once, fail until "
            "they are as they were",
        ),
        "expect": option(escaped, b"", help="text that must be in it"),
        "expect_regex": option(
            bytes_pattern, None, help="a pattern that must match in it"
        ),
        "forbid_regex": option(
            bytes_pattern, None, help="a pattern that must not match in it"
        ),
        "integrity": option(
            one_or_no("auto", "gzip", "xz", "zstd", "bzip2", "lz4", "tar", "zip"),
            "",
            help="read it to its end, as gzip, xz, zstd, bzip2, lz4, tar or zip; auto: "
            "as the one it begins as",
        ),
        "complete": option(
            one_or_no("pg_dump", "mariadb-dump", "sqlite", *REPOSITORIES),
            "",
            help="it must be a whole dump of pg_dump, mariadb-dump or sqlite, or a "
            "whole repository of restic or borg",
        ),
        "holds": option(
            paths, (), help="paths that the newest snapshot must hold: /etc, /srv"
        ),
        "full_check": option(
            switch,
            True,
            help="no: leave out the check of restic or borg, as of a large repository",
        ),
        "password": option(secret, None, help="of the repository"),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterable[Clash]:
        """Yield what is meant twice, or asked of what does not have it."""
        given = [
            name for name in ("path", "glob", "repository") if getattr(target, name)
        ]
        if len(given) != 1:
            words = " and ".join(given) if given else "nothing"
            yield Clash(
                f"one of path, glob and repository is needed; given: {words}",
                tuple(given),
            )
            return
        is_repository = target.complete in REPOSITORIES
        if is_repository and not target.repository:
            yield Clash(
                f"complete = {target.complete} needs repository, not {given[0]}",
                ("complete", given[0]),
            )
        if target.repository and not is_repository:
            yield Clash(
                "repository needs complete = restic, or borg",
                ("repository", "complete"),
            )
        if not target.repository:
            for name in ("holds", "password", "full_check"):
                if target.gives(name) or target.gives(f"{name}_file"):
                    yield Clash(f"{name} is for a repository only", (name, *given))
        yield from _not_of_it(target)

    def shown_target(self) -> str:
        """Return the path, the pattern, or the repository without credentials."""
        target = self.target
        repository = re.sub(r"//[^/@]*@", "//***@", target.repository)
        return str(target.path or target.glob or repository)

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return age, size, growth and count, as far as it has them."""
        from lib.jobbase import aside

        _import_for([target])
        return self._judged(aside.do(self._work, self.shown_target(), deadline))

    @classmethod
    def check_many(
        cls,
        jobs: Sequence[Self],
        deadline: Callable[[Sequence[Self]], Sequence[Deadline]],
    ) -> Iterator[tuple[Self, Values | Exception] | None]:
        """Check many: those that are not read share a process."""
        from lib.jobbase import aside

        _import_for([job.target for job in jobs])
        pieces = [
            aside.Piece(
                job, job._work, job.shown_target(), is_short=not _reads(job.target)
            )
            for job in jobs
        ]
        for answer in aside.do_many(pieces, deadline):
            if answer is None or isinstance(answer[1], Exception):
                yield answer
                continue
            job, told = answer
            try:
                yield job, job._judged(told)
            except (CheckFailed, CheckWarning, CheckUnknown) as error:
                yield job, error

    def _work(self, progress: aside.Progress) -> dict[str, Any]:
        """Look at it, in a process of its own."""
        return look(self.target, progress, self._checker.scrubbed)

    def _judged(self, told: dict[str, Any]) -> Values:
        """Return the values; raise if something else is not as it should be."""
        target, now = self.target, time.time()
        seen = Seen(**told)
        self.note = seen.words or seen.path
        if why := why_wrong(target, seen, now):
            raise CheckFailed(f"{why}\n{seen.words}" if seen.words else why)
        values: dict[str, Value | float] = {}
        if seen.changed_at is not None and not _is_ahead(target, seen.changed_at, now):
            age = max(0.0, now - seen.changed_at)
            values["age"] = seconds(age, warn=target.warn_age, fail=target.fail_age)
        if seen.size is not None:
            values["size"] = bytes_(
                seen.size,
                warn=both(target.warn_small, target.warn_size),
                fail=both(target.fail_small, target.fail_size),
            )
            grown = self._grown(target, seen.size, now)
            if grown is not None:
                values["growth"] = bytes_(
                    grown, warn=target.warn_growth, fail=target.fail_growth
                )
        if seen.matches is not None:
            values["count"] = count(
                seen.matches, warn=target.warn_count, fail=target.fail_count
            )
        if target.changed != "no" and seen.digest:
            self._compare(target, seen)
        return values

    def _grown(self, target: Target, size: int, now: float) -> float | None:
        """Return by how much it grows in an hour; None if that is not known yet."""
        if target.fail_growth is None and target.warn_growth is None:
            return None
        samples = [tuple(one) for one in self.memory.get("sizes", ())]
        grown = growth(samples, size, now)
        self.memory["sizes"] = [list(one) for one in with_sample(samples, size, now)]
        return grown

    def _compare(self, target: Target, seen: Seen) -> None:
        """Raise if the contents are others than before."""
        before = self.memory.get("digest")
        if before is None or target.changed == "tell":
            self.memory["digest"] = seen.digest
        if before in (None, seen.digest):
            return
        words = (
            f"{seen.path} has changed: SHA-256 {seen.digest[:16]}..., before it was "
        )
        words += f"{before[:16]}..."
        if target.changed == "tell":
            raise CheckWarning(words)
        raise CheckFailed(f"{words}\nTo accept it, let it run once with changed = tell")


def _not_of_it(target: Target) -> Iterator[Clash]:
    """Yield what is asked of a target that does not have it."""
    if not target.exists:
        names = (*_ASKED, *_THRESHOLDS)
        asked = [name for name in names if target.gives(name)]
        if asked or target.repository:
            yield Clash(
                f"exists = no leaves nothing to ask: leave out {', '.join(asked)}",
                ("exists", *asked),
            )
    if target.glob:
        names = ("changed", "warn_growth", "fail_growth")
        for name in names:
            if target.gives(name):
                yield Clash(
                    f"{name} compares a file with itself: it needs path, not glob",
                    (name, "glob"),
                )
    if target.repository:
        names = (*_ASKED, *_THRESHOLDS)
        of_it = ("complete", "fail_age", "warn_age")
        for name in names:
            if name not in of_it and target.gives(name):
                yield Clash(
                    f"{name} is for files, not for a repository", (name, "repository")
                )


def _reads(target: Target) -> bool:
    """Return whether the contents are read."""
    return any(getattr(target, name) not in ("no", "", b"", None) for name in _READING)


def _import_for(targets: Sequence[Target]) -> None:
    """Import here once what each child would import."""
    from lib.jobbase import files  # noqa: F401

    if any(map(_reads, targets)):
        from lib.jobbase import contents  # noqa: F401
    if any(target.complete for target in targets):
        from lib.jobbase import backups  # noqa: F401


# Rules.


class Seen(NamedTuple):
    """What was found; None is what it does not have."""

    path: str
    changed_at: float | None = None
    size: int | None = None
    matches: int | None = None
    owner: tuple[str, str] = ("", "")
    group: tuple[str, str] = ("", "")
    mode: int = 0
    #: The digest that is compared with the settings, and the one with what was before.
    checksum: str = ""
    digest: str = ""
    #: For people, such as which of how many files it is.
    words: str = ""


def why_wrong(target: Target, seen: Seen, now: float) -> str:
    """Return what is not as the settings have it, but for thresholds."""
    if seen.changed_at is not None and _is_ahead(target, seen.changed_at, now):
        ahead_h = (seen.changed_at - now) / 3600
        return f"{seen.path} was changed {ahead_h:.1f} h from now, so it has no age"
    for what in ("owner", "group"):
        wanted, (name, number) = getattr(target, what), getattr(seen, what)
        if wanted and wanted not in (name, number):
            return f"{seen.path}: its {what} is {name or number}, expected {wanted}"
    if target.mode and seen.mode not in target.mode:
        wanted = ", ".join(f"{mode:04o}" for mode in target.mode)
        return f"{seen.path}: its mode is {seen.mode:04o}, expected {wanted}"
    if target.checksum and seen.checksum != target.checksum:
        name = HASHES[len(target.checksum)].upper()
        return f"{seen.path}: its {name} is {seen.checksum}, expected {target.checksum}"
    return ""


def _is_ahead(target: Target, changed_at: float, now: float) -> bool:
    asked = target.fail_age is not None or target.warn_age is not None
    return bool(asked and changed_at - now > MAX_AHEAD_S)


def both(small: Threshold | None, large: Threshold | None) -> Threshold | None:
    """Return one threshold of the smallest and the largest size."""
    if small is None or large is None:
        return small or large
    return Threshold(small.low, large.high)


def growth(
    samples: Sequence[tuple[float, float]], size: int, now: float
) -> float | None:
    """Return by how many bytes a size grows in an hour, from moments and sizes before.

    None if no sample is between four minutes and two hours old.
    """
    fitting = [one for one in samples if SAMPLE_S <= now - one[0] <= 2 * GROWTH_S]
    if not fitting:
        return None
    at, before = min(fitting)
    return (size - before) * GROWTH_S / (now - at)


def with_sample(
    samples: Sequence[tuple[float, float]], size: int, now: float
) -> list[tuple[float, float]]:
    """Return the samples to keep: of the last hour, and one that is older."""
    kept = [one for one in samples if one[0] <= now]
    recent = [one for one in kept if now - one[0] < GROWTH_S]
    older = [one for one in kept if GROWTH_S <= now - one[0] <= 2 * GROWTH_S]
    kept = [*older[-1:], *recent]
    if not kept or now - kept[-1][0] >= SAMPLE_S:
        kept.append((now, size))
    return kept


# In the process of its own.


def look(
    target: Target, progress: aside.Progress, scrub: Callable[[str], str] = str
) -> dict[str, Any]:
    """Return what there is, as the fields of Seen; ``scrub`` removes secrets."""
    if target.repository:
        return _look_at_repository(target, progress)
    try:
        seen = _found(target, progress, scrub)
    except FileNotFoundError as error:
        if not target.exists:
            return {"path": target.path or target.glob}
        raise CheckFailed(str(error)) from error
    except PermissionError as error:
        raise CheckUnknown(
            f"{error.filename} cannot be read by this user: {error.strerror}"
        ) from error
    except OSError as error:
        path = error.filename or target.path or target.glob
        raise CheckUnknown(f"{path} cannot be read: {error.strerror}") from error
    if not target.exists:
        raise CheckFailed(f"{seen['path']} exists, and should not")
    return seen


def _look_at_repository(target: Target, progress: aside.Progress) -> dict[str, Any]:
    from lib.jobbase import backups

    snapshot = backups.check_repository(
        target.complete,
        target.repository,
        target.password.reveal() if target.password else "",
        target.holds,
        lambda words: progress(lambda: words),
        full=target.full_check,
    )
    words = f"the newest snapshot is {snapshot.name[:60]}"
    return {"path": "", "changed_at": snapshot.at, "words": words}


def _found(
    target: Target, progress: aside.Progress, scrub: Callable[[str], str]
) -> dict[str, Any]:
    """Return what there is; raise FileNotFoundError, with a sentence, if nothing is."""
    from lib.jobbase import files

    path: str = target.path
    seen: dict[str, Any] = {}
    if target.glob:
        matches = list(files.matching(target.glob, _left_out(target)))
        if not matches and target.exists and not _judges_count(target):
            raise FileNotFoundError(f"no file matches {target.glob}")
        seen["matches"] = len(matches)
        if not matches:
            if target.exists:
                return {**seen, "path": target.glob}
            raise FileNotFoundError
        _at, path = max(matches)
        seen["words"] = f"the newest of {len(matches)}: {path}"
    facts = files.facts_of(path, or_link=not target.exists)
    seen |= {
        "path": path,
        "changed_at": facts.st_mtime,
        "size": facts.st_size,
        "mode": stat.S_IMODE(facts.st_mode),
    }
    if not target.exists:
        return seen
    if target.owner or target.group:
        seen |= {"owner": files.user_of(facts.st_uid)}
        seen |= {"group": files.group_of(facts.st_gid)}
    if stat.S_ISDIR(facts.st_mode):
        seen |= _look_into_folder(path, target, progress)
    elif not stat.S_ISREG(facts.st_mode):
        seen |= {"size": None}
    elif target.fail_count is not None and target.path:
        raise CheckFailed(f"{path} is a file; fail_count is for a folder or glob")
    if _reads(target):
        from lib.jobbase import contents

        seen |= contents.read(path, facts, _asked(target), progress, scrub)
    return seen


def _asked(target: Target) -> contents.Asked:
    """Return what is asked of the contents of a file."""
    from lib.jobbase import contents

    return contents.Asked(
        integrity=target.integrity,
        complete=target.complete,
        checksum=HASHES[len(target.checksum)] if target.checksum else "",
        digest=target.changed != "no",
        expect=target.expect,
        expect_regex=target.expect_regex,
        forbid_regex=target.forbid_regex,
    )


def _left_out(target: Target) -> files.LeftOut:
    from lib.jobbase import files

    return files.LeftOut(target.partial, target.settled)


def _judges_count(target: Target) -> bool:
    return target.fail_count is not None or target.warn_count is not None


def _look_into_folder(
    path: str, target: Target, progress: aside.Progress
) -> dict[str, Any]:
    """Return size, age and count of a folder, as far as they are asked for."""
    from lib.jobbase import files

    seen: dict[str, Any] = {"size": None}
    if not target.glob and _judges_count(target):
        seen["matches"] = files.count_in(path, _left_out(target))
    asks = [
        f"{one}_{what}"
        for one in ("fail", "warn")
        for what in ("age", "size", "small", "growth")
    ]
    if all(getattr(target, name) is None for name in asks):
        return seen
    below = files.folder_of(path, lambda words: progress(lambda: words))
    asks_age = target.fail_age is not None or target.warn_age is not None
    if not below.files and asks_age:
        raise CheckFailed(f"{path} holds no file")
    return {**seen, "size": below.size, "changed_at": below.newest or None}
