"""[command NAME]: runs a program and checks its exit code and what it prints."""

from __future__ import annotations

from collections.abc import Iterable

from lib.jobbase import (
    COMMAND_OPTIONS,
    CheckFailed,
    CheckUnknown,
    CheckWarning,
    CommandJob,
    Ended,
    Options,
    Target,
    Values,
    exit_codes,
    first_of,
    option,
    seconds,
    text_options,
)

#: With these a shell says that it could not run what it was to run.
NOT_RUN = (126, 127)
#: So many lines of the output are shown, those of its end.
LINES = 20


class CommandChecker(CommandJob):
    """One program."""

    kind = "command"
    guide = """
        It is failing if it ends with another exit code, is killed by a signal, has not
        ended at `timeout`, or does not print what it should; the end of its output is
        shown. It is unknown if it cannot be run, also inside the shell (126, 127).

        The words of `command` are separated by blanks and may stand in quotes. A name
        is looked for in PATH and the folders of administrators (`/usr/local/sbin`,
        `/usr/local/bin`, `/usr/sbin`, `/sbin`), a relative path from the folder of
        settings.cfg. A program that others may write to, or that is in a folder of
        theirs, is not run. With `shell = yes`, `/bin/sh` reads the text, which may have
        several lines.

        It runs as the user of Checker, with cron's environment, `LC_ALL=C` unless
        `environment` says otherwise, and no input. What it writes to standard output
        and standard error is read to the end; of the first, 256 kB are searched, of the
        second 16 kB. A program that writes more than 1 GB is ended. When it has ended,
        or at `timeout`, all that it has started is ended too: SIGTERM, then SIGKILL.
        What goes on as another user (sudo) only root may end: it is named. To keep a
        daemon, have the system start it.

        Passwords do not belong among the arguments, where every user of the machine
        sees them. `password`, `password_file`, `password_env` or `password_command`
        hand one to the program as the variable `CHECKER_PASSWORD`.
        """
    options: Options = {
        **COMMAND_OPTIONS,
        "exit_ok": option(
            exit_codes, ((0, 0),), help="which exit codes are OK: 0, 3-5"
        ),
        "exit_warn": option(exit_codes, (), help="which exit codes are a warning"),
        **text_options("the output"),
        "fail_time": option(seconds, None, help="failing if it takes longer than this"),
        "warn_time": option(
            seconds, None, help="a warning if it takes longer than this"
        ),
    }

    def judge(self, target: Target, ended: Ended) -> Values:
        """Return how long the program took; raise if it is not as it should be."""
        time = seconds(ended.seconds, warn=target.warn_time, fail=target.fail_time)
        self.values = {"time": time}
        shown = self.without_secrets(ended)
        if why := why_not_ended(target, ended):
            raise CheckFailed(with_output(why, shown))
        code = ended.code
        if _has(target.exit_warn, code):
            raise CheckWarning(with_output(f"ended with exit code {code}", shown))
        if not _has(target.exit_ok, code):
            said = first_of(shown.errors) or first_of(shown.out)
            words = f"ended with exit code {code}"
            words = f"{words}: {said}" if said else words
            is_unknown = target.shell and code in NOT_RUN
            kind = CheckUnknown if is_unknown else CheckFailed
            raise kind(with_output(words, shown))
        if why := why_not_output(target, ended):
            raise CheckFailed(with_output(why, shown))
        return {"time": time}


def why_not_ended(target: Target, ended: Ended) -> str:
    """Return why a program has no exit code of its own, or ""."""
    if why := ended.why_killed(target.timeout):
        return why
    if ended.signal:
        hint = " (out of memory?)" if ended.signal == "SIGKILL" else ""
        return f"killed by {ended.signal}{hint}"
    return ""


def why_not_output(target: Target, ended: Ended) -> str:
    """Return what is not as it should be in the output of a program, or ""."""
    output = f"{ended.out}\n{ended.errors}"
    where = "in the first part of the output" if ended.is_cut else "in the output"
    for wanted in (target.expect_text, target.reject_text):
        is_rejected = wanted is target.reject_text
        if wanted and (wanted in output) == is_rejected:
            return f"{wanted!r} is {'' if is_rejected else 'not '}{where}"
    for sought in (target.expect_regex, target.reject_regex):
        is_rejected = sought is target.reject_regex
        if sought and bool(sought.search(output)) == is_rejected:
            verb = "matches" if is_rejected else "does not match"
            return f"the pattern {sought.pattern!r} {verb} {where}"
    return ""


def with_output(words: str, ended: Ended) -> str:
    """Return a reason, with the end of what the program printed below it."""
    lines = [line.rstrip() for line in f"{ended.out}\n{ended.errors}".splitlines()]
    lines = [line for line in lines if line]
    if not lines or (len(lines) == 1 and words.endswith(lines[0].strip())):
        return words
    return "\n".join([words, *lines[-LINES:]])


def _has(codes: Iterable[tuple[int, int]], code: int) -> bool:
    return any(low <= code <= high for low, high in codes)
