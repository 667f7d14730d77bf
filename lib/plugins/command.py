"""CommandJob, the base class of kinds that run a program of somebody else's.

A program is started without a shell, in a session of its own.  Its output is read to
the end and the beginning is kept.  At its deadline, and when it has ended, everything
that it has started is killed: its process group, what left that, and what still holds
its output open.  It dies with this process, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from lib.config import fields, hints
from lib.core.results import Value
from lib.core.text import cut, first_line
from lib.net import bulk
from lib.net.connect import Deadline, NotTried
from lib.plugins.base import CheckUnknown
from lib.plugins.kind import Options, Target, option
from lib.plugins.target import TargetJob
from lib.system import orphans
from lib.system.errors import shortage
from lib.system.permissions import why_not_run

if TYPE_CHECKING:
    import subprocess

#: The most that is kept of standard output and of standard error; the rest is read and
#: dropped.
MAX_OUTPUT, MAX_ERRORS = 256 * 1024, 16 * 1024
#: A program that writes more is ended: to read it takes our time, too.
MAX_READ = 1024 * 1024 * 1024
#: How many programs run at once, at first and at most.  More are started while those
#: take their time, as programs that wait do; more that compute would all take longer.
AT_ONCE, MOST_AT_ONCE, GROW_AFTER_S = 4 * (os.cpu_count() or 1), 200, 0.1
#: How long what a program has started may go on to write after its end.
REST_S = 0.5
#: How long a program may take to end after SIGTERM, and after SIGKILL.
TERM_S = KILL_S = 0.09
#: Programs that were killed, and are to be waited for when they have ended.
_left: list[subprocess.Popen[bytes]] = []
#: The programs that run, and what was said to be left behind by one.
_running: set[int] = set()
_told: set[int] = set()
#: Where there is no pidfd: how often to look whether a program has ended.
LOOK_S = 0.05
#: Where programs of administrators are; cron's own PATH has none of these.
FOLDERS = "/usr/local/sbin /usr/local/bin /usr/sbin /sbin".split()
#: How the secret of a section is handed to its program.
PASSWORD = "CHECKER_PASSWORD"
#: The variable by which a process is known to belong to a program.
MARK = "CHECKER_COMMAND_ID"
#: These swallow or change the exit code, and why that is no good.
WRAPPERS = {
    "cronic": "always ends with 0, whatever failed",
    "chronic": "ends with 1 for what was killed by a signal",
    "systemd-cat": "ends with 1, and runs nothing, without journald",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What is wrong with a script that cannot be started.
_INTERPRETER = (
    "the program that its first line (#!) names is missing; that may be a carriage "
    "return at the end of the line"
)

_numbers = count(1)
_NOTHING: Mapping[str, str] = {}


class CommandLine(NamedTuple):
    """A command as it is written, and its words."""

    text: str
    words: tuple[str, ...]


def command_line(value: str) -> CommandLine:
    """Return a command; its quotes must be closed."""
    if "\0" in value:
        raise ValueError("expected a command without a NUL in it")
    return CommandLine(value, fields.command(value))


def variables(value: str) -> tuple[tuple[str, str], ...]:
    """Return the names and values of ``NAME=value``, one in a line."""
    found = []
    for line in filter(None, map(str.strip, value.split("\n"))):
        name, equals, content = line.partition("=")
        name = name.strip()
        # Not the line, which may hold a password.
        if not equals or not _NAME.fullmatch(name):
            raise ValueError("expected lines of NAME=value")
        if name.startswith("CHECKER_") or "\0" in content:
            raise ValueError("expected other names than CHECKER_..., and no NUL")
        found.append((name, content.strip()))
    return tuple(found)


#: The options of every kind that runs a program.
COMMAND_OPTIONS: Options = {
    "command": option(
        command_line, help="a program and its arguments; no shell reads them"
    ),
    "shell": option(
        fields.switch, False, help="yes: /bin/sh reads the command: pipes, variables"
    ),
    "environment": option(
        variables, (), help="variables for it, one in a line: NAME=value"
    ),
    "password": option(
        fields.secret, None, help=f"a secret for it, as the variable {PASSWORD}"
    ),
    "cwd": option(
        fields.absolute_path,
        "",
        help="the folder it runs in; else that of settings.cfg",
    ),
}


class Ended(NamedTuple):
    """How a program ended, and what it wrote."""

    #: The exit code; below 0 the number of the signal that killed it.
    code: int
    out: str
    errors: str
    #: Not all of its output was kept.
    is_cut: bool
    #: It was killed: it had not ended at its deadline, or it wrote too much.
    is_late: bool
    is_endless: bool
    seconds: float
    #: What goes on, since only its own user may end it.
    others: Sequence[orphans.Other] = ()

    def why_killed(self, timeout_s: float) -> str:
        """Return why Checker has killed it; empty if it did not."""
        if self.is_endless:
            why = f"wrote more than {MAX_READ // 1024**2} MB, and was ended"
        elif self.is_late:
            why = f"timed out after {timeout_s:g} s"
        else:
            return ""
        if not self.others:
            return why
        return (
            f"{why}; {self._others()} goes on, which this user cannot end: "
            f"have it end by itself, as with sudo timeout {timeout_s:g} COMMAND"
        )

    def what_is_left(self) -> str:
        """Return what goes on though the program has ended; empty if nothing does."""
        if not self.others:
            return ""
        return f"{self._others()} is left behind, which this user cannot end"

    def _others(self) -> str:
        words = ", ".join(other.words for other in self.others)
        if all(other.is_certain for other in self.others):
            return words
        return f"{words} (of this command or of one that ran beside it)"

    @property
    def signal(self) -> str:
        """Return the name of the signal that killed it; empty if none did."""
        if self.code >= 0:
            return ""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"


class CommandJob(bulk.InBulk, TargetJob):
    """A kind that runs a program.

    A subclass gives ``options`` with COMMAND_OPTIONS among them, and ``judge``.
    """

    #: The folders of plugins, where a program is looked for before PATH.
    folders: ClassVar[Sequence[str]] = ()
    #: What a program finds in its environment, whatever the settings say.
    always: ClassVar[Mapping[str, str]] = {}

    def judge(self, target: Target, ended: Ended) -> Mapping[str, Value | float]:
        """Return what a program measured, or raise as ``check`` does."""
        raise NotImplementedError(f"{type(self).__name__} does not define judge")

    def without_secrets(self, ended: Ended) -> Ended:
        """Return how a program ended, with an output that may be cut to be shown."""
        out, errors = map(self._checker.scrubbed, (ended.out, ended.errors))
        return ended._replace(out=out, errors=errors)

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Any]:
        """Run the program; return what ``judge`` makes of it."""
        folder = str(self._ini.folder)
        words = [*target.command.words]
        why, path = self.program(target, self._ini.folder)
        if why:
            raise NotTried(why)
        words = ["/bin/sh", "-c", target.command.text] if target.shell else words
        words[0] = str(path)
        environment = self.environment(target)
        program = Program(words, environment, target.cwd or folder)
        ended = yield from program.run(deadline)
        self.note = self.remark = ended.what_is_left()
        return self.judge(target, ended)

    @classmethod
    def program(cls, target: Target, folder: Path) -> tuple[str, Path | None]:
        """Return why the program of a target is not run, and its path."""
        word = "/bin/sh" if target.shell else target.command.words[0]
        path = find_program(word, folder, cls.folders)
        where = " or in the folders of plugins" if cls.folders else ""
        return why_not_program(word, path, where), path

    def environment(self, target: Target) -> dict[str, str]:
        """Return the environment of a program."""
        known = {"LC_ALL": "C", **dict(target.environment), **self.always}
        path = known.get("PATH") or os.environ.get("PATH", "")
        known["PATH"] = with_folders(path, (*FOLDERS, *self.folders))
        if target.password:
            known[PASSWORD] = target.password.reveal()
        return {**os.environ, **known}

    def shown_target(self) -> str:
        """Return the program: there may be passwords among its arguments."""
        command = self.target.command
        return (
            f"sh -c {command.words[0]} ..." if self.target.shell else command.words[0]
        )

    @classmethod
    def check_many(
        cls,
        jobs: Sequence[Self],
        deadline: Callable[[Sequence[Self]], Sequence[Deadline]],
    ) -> Iterator[tuple[Self, Any] | None]:
        """Run the programs of many jobs side by side."""
        return bulk.run(
            jobs,
            lambda job, own: job.all_steps(own),
            deadline,
            first=AT_ONCE,
            most=max(1, min(MOST_AT_ONCE, bulk.room() // 5)),
            grow_after_s=GROW_AFTER_S,
            # Each begins when others end: it is never a shortage of descriptors.
            patience_s=float("inf"),
        )

    @classmethod
    def advice(cls, target: Target, folder: Path) -> Iterable[tuple[str, str, bool]]:
        """Yield what ``-m validate`` says of the program and its folder."""
        why, _path = cls.program(target, folder)
        if why:
            yield "command", why, False
        if target.cwd and not os.path.isdir(target.cwd):
            yield "cwd", f"there is no folder {target.cwd}", False
        words = target.command.words
        if not target.shell and (sign := fields.shell_sign(words)):
            text = f"no shell reads this, so {sign} is an argument; say shell = yes"
            yield "command", text, True
        wrapper = os.path.basename(words[0])
        if wrapper in WRAPPERS:
            text = f"{wrapper} {WRAPPERS[wrapper]}; run the inner command"
            yield "command", text, True


def find_program(word: str, folder: Path, folders: Iterable[str] = ()) -> Path | None:
    """Return the path of a program; None if there is none of that name.

    A name is looked for in ``folders``, in PATH and where administrators have theirs; a
    relative path starts at ``folder``.
    """
    if "/" in word or word.startswith("~"):
        return folder / os.path.expanduser(word)
    path = with_folders(os.environ.get("PATH", ""), FOLDERS)
    # shutil.which would import half a dozen modules for this.
    for one in (*folders, *path.split(os.pathsep)):
        found = os.path.join(os.path.abspath(one), word)
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return Path(found)
    return None


def with_folders(path: str, folders: Iterable[str]) -> str:
    """Return a PATH that has these folders, too, behind what it has."""
    known = path.split(os.pathsep) if path else []
    return os.pathsep.join([*known, *(one for one in folders if one not in known)])


def why_not_program(word: str, path: Path | None, where: str = "") -> str:
    """Return why a program is not run, and what to do, or "" if it is."""
    if path is None:
        return (
            f"there is no program {hints.shown('', word)} in PATH{where}; give its "
            "whole path"
        )
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return f"{path} is not a file"
        if not os.access(path, os.X_OK):
            return f"{path} may not be run by this user: chmod a+x {path}"
        for one in dict.fromkeys((path, path.resolve())):
            if refused := why_not_run(one) or _why_not_folder(one.parent):
                return f"{path} is not run: {refused}"
    except FileNotFoundError:
        return f"there is no program {path}"
    except OSError as error:
        return f"{path} cannot be run: {error.strerror}"
    return ""


def _why_not_folder(folder: Path) -> str:
    """Return why a program in a folder might be another one tomorrow, or ""."""
    facts = os.stat(folder)
    # In a folder such as /tmp nobody replaces the file of somebody else.
    if facts.st_mode & stat.S_ISVTX and facts.st_uid in (0, os.geteuid()):
        return ""
    refused = why_not_run(folder)
    return f"its folder {folder}: {refused}" if refused else ""


class _Pipe:
    """What a program writes to one of its two streams."""

    def __init__(self, descriptor: int, most: int) -> None:
        self.fd = descriptor
        self.kept = bytearray()
        self.is_cut = False
        self.count = 0
        self._most = most
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Read what is there, at most a pipe full; return whether there may be more."""
        try:
            part = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        except OSError:
            part = b""
        left = self._most - len(self.kept)
        self.kept += part[:left]
        self.count += len(part)
        self.is_cut = self.is_cut or len(part) > left
        return bool(part)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def text(self) -> str:
        return self.kept.decode("utf-8", "replace")


class Program:
    """A program that runs, and all that it has started."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], folder: str
    ) -> None:
        """Start it; raise NotTried, which says why, if that cannot be done."""
        import subprocess

        _be_their_parent()
        mark = f"{os.getpid()}.{next(_numbers)}"
        self._mark = f"{MARK}={mark}\0".encode()
        self._began = time.monotonic()
        self._took_s = 0.0
        leash = ours = -1
        try:
            leash, ours = os.pipe()
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**environment, MARK: mark},
                cwd=folder,
                pass_fds=(leash,),
                start_new_session=True,
            )
            _fasten(leash, self._process.pid)
        except (OSError, ValueError) as error:
            if ours >= 0:
                os.close(ours)
            raise NotTried(_why_not_started(error, words[0], folder)) from error
        finally:
            if leash >= 0:
                os.close(leash)
        self._ours = ours
        pid = self.pid = self._process.pid
        _running.add(pid)
        assert self._process.stdout and self._process.stderr
        self.out = _Pipe(os.dup(self._process.stdout.fileno()), MAX_OUTPUT)
        self.errors = _Pipe(os.dup(self._process.stderr.fileno()), MAX_ERRORS)
        self._process.stdout.close()
        self._process.stderr.close()
        #: Readable when it has ended; -1 if the system has no pidfd.
        self.ended_fd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1

    @property
    def pipes(self) -> list[_Pipe]:
        """Return the pipes that are open."""
        return [pipe for pipe in (self.out, self.errors) if pipe.fd >= 0]

    def has_ended(self) -> bool:
        """Return whether it has ended; its number is not free until ``end``."""
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            if os.waitid(os.P_PID, self.pid, look) is None:
                return False
        except ChildProcessError:
            # It was waited for.
            return True
        self._took_s = self._took_s or time.monotonic() - self._began
        return True

    def run(self, deadline: Deadline) -> bulk.Steps[Ended]:
        """Return how it ended, or that it had to be killed at the deadline."""
        try:
            yield _Over(self, deadline)
            is_endless = any(pipe.count > MAX_READ for pipe in self.pipes)
            is_late = not self.has_ended()
            if is_late:
                self._kill(signal.SIGTERM)
                yield _Over(self, Deadline(TERM_S))
            self._kill(signal.SIGKILL)
            if not self.has_ended():
                yield _Over(self, Deadline(KILL_S))
        finally:
            self.end()
        code = self._process.returncode
        return Ended(
            0 if code is None else code,
            self.out.text,
            self.errors.text,
            self.out.is_cut,
            is_late and not is_endless,
            is_endless,
            self._took_s or time.monotonic() - self._began,
            self._others(),
        )

    def _others(self) -> list[orphans.Other]:
        """Return what goes on of it, each once."""
        others = orphans.others_of(self.pid, _running)
        others = [other for other in others if other.pid not in _told]
        _told.update(other.pid for other in others)
        return others

    def end(self) -> None:
        """Kill what is left of it; keep what it wrote until then."""
        self._kill(signal.SIGKILL)
        # One that the kernel does not end at once must hold up no other.
        _left.append(self._process)
        _left[:] = [process for process in _left if process.poll() is None]
        _running.discard(self.pid)
        orphans.end_of(self.pid, self._mark)
        for pipe in self.pipes:
            pipe.read()
            pipe.close()
        os.close(self._ours)
        if self.ended_fd >= 0:
            os.close(self.ended_fd)

    def _kill(self, number: int) -> None:
        # Not after poll() has freed the number, which another group could get.
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                # All have ended, or they are another user's.
                return


def output_of(
    words: Sequence[str],
    deadline: Deadline,
    environment: Mapping[str, str] = _NOTHING,
    *,
    may_be_silent: bool = False,
) -> bulk.Steps[str]:
    """Return what a program of this machine prints, in plain English.

    Raise CheckUnknown if it is not installed, does not end by itself with 0, prints
    nothing, or more than MAX_OUTPUT.
    """
    name = os.path.basename(words[0])
    path = find_program(words[0], Path("/"))
    if path is None or not os.access(path, os.X_OK):
        raise CheckUnknown(f"{name} is not installed")
    known = {**os.environ, "LC_ALL": "C", **environment}
    try:
        program = Program([str(path), *words[1:]], known, "/")
    except NotTried as error:
        raise CheckUnknown(str(error)) from error
    ended = yield from program.run(deadline)
    if ended.is_late:
        raise CheckUnknown(f"{name} did not answer within {deadline}")
    said = (ended.errors.strip() or ended.out.strip()).splitlines()
    if ended.code != 0:
        raise CheckUnknown(f"{name}: {said[0] if said else f'exit {ended.code}'}")
    if not (ended.out.strip() or may_be_silent):
        raise CheckUnknown(f"{name}: {said[0] if said else 'it printed nothing'}")
    if ended.is_cut:
        raise CheckUnknown(f"{name} printed more than {MAX_OUTPUT // 1024} kB")
    return ended.out


class _Over(bulk.Wait):
    """Until a program has ended and its output is read, or the deadline."""

    def __init__(self, program: Program, deadline: Deadline) -> None:
        self._program = program
        self._deadline = deadline

    def begin(self, loop: bulk.Loop, task: bulk.Task) -> None:
        """Watch its pipes and its end."""
        program = self._program
        for pipe in program.pipes:
            self._watch(loop, task, pipe)
        if program.ended_fd >= 0:
            loop.watch(
                program.ended_fd, bulk.READ, lambda _fd, _events: self._ends(loop, task)
            )
        else:
            self._look(loop, task, task.turn)
        loop.expire_at(task, self._deadline)

    def _watch(self, loop: bulk.Loop, task: bulk.Task, pipe: _Pipe) -> None:
        def read(fd: int, _events: int) -> None:
            if pipe.read():
                if pipe.count > MAX_READ:
                    self._finish(loop, task)
                return
            loop.unwatch(fd)
            pipe.close()
            if not self._program.pipes and self._program.has_ended():
                self._finish(loop, task)

        loop.watch(pipe.fd, bulk.READ, read)

    def _ends(self, loop: bulk.Loop, task: bulk.Task) -> None:
        """Go on, but give what it has started a while to write the rest."""
        loop.unwatch(self._program.ended_fd)
        if self._program.has_ended() and not self._program.pipes:
            self._finish(loop, task)
            return
        at = min(time.monotonic() + REST_S, self._deadline.ends_at)
        loop.call_at(at, self._expire, loop, task, task.turn)

    def _look(self, loop: bulk.Loop, task: bulk.Task, turn: int) -> None:
        if task.turn != turn:
            return
        if self._program.has_ended():
            self._ends(loop, task)
        else:
            loop.call_at(time.monotonic() + LOOK_S, self._look, loop, task, turn)

    def _expire(self, loop: bulk.Loop, task: bulk.Task, turn: int) -> None:
        if task.turn == turn:
            self._finish(loop, task)

    def expire(self, loop: bulk.Loop, task: bulk.Task) -> None:
        """Wait no longer."""
        self._finish(loop, task)

    def _finish(self, loop: bulk.Loop, task: bulk.Task) -> None:
        for pipe in self._program.pipes:
            loop.unwatch(pipe.fd)
        loop.unwatch(self._program.ended_fd)
        loop.resume(task, None)


#: True once orphans become children of this process.
_is_parent: list[bool] = []


def _be_their_parent() -> None:
    if not _is_parent:
        _is_parent.append(orphans.adopt())


def _fasten(leash: int, group: int) -> None:
    """Have the kernel kill a process group when this process is gone.

    The group holds one end of a pipe, this process the only other one.
    """
    if not hasattr(fcntl, "F_SETSIG"):
        return
    try:
        fcntl.fcntl(leash, fcntl.F_SETOWN, -group)
        fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(leash, fcntl.F_GETFL)
        fcntl.fcntl(leash, fcntl.F_SETFL, flags | os.O_ASYNC)
    except OSError:
        # All of it has ended.
        return


def _why_not_started(error: Exception, program: str, folder: str) -> str:
    """Return why a program that is there, and may be run, could not be started."""
    if words := shortage(error, of_process=True):
        return f"not checked: {words}"
    if not isinstance(error, OSError):
        return f"{program} cannot be started: {error}"
    name = os.fsdecode(error.filename or "")
    if name == folder and not isinstance(error, BlockingIOError):
        return f"it cannot run in the folder {folder}: {error.strerror}"
    if isinstance(error, FileNotFoundError):
        return f"{program} cannot be started: {_INTERPRETER}"
    if error.errno == errno.ENOEXEC:
        return (
            f"{program} cannot be started: it is neither a program of this machine nor "
            "a script whose first line says what reads it, such as #!/bin/sh"
        )
    return f"{program} cannot be started: {error.strerror}"


def first_of(text: str, most: int = 300) -> str:
    """Return the first line that is not empty, cut; empty if there is none."""
    return cut(first_line(text), most)
