"""``-m wrap NAME -- COMMAND``: run a command of somebody's, and keep how it went.

The command gets what it would get without: descriptors, environment, signals.  This
reads no settings and imports next to nothing, since each cron job pays for it.  What is
kept is an event for ``[heartbeat NAME]``; ``lib/core/heartbeats.py`` has its fields.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

from lib.storage.spool import DEFAULT_SPOOL, write, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

USE = "-m wrap NAME [--output tail] [--spool DIR] -- COMMAND [ARGUMENT]..."
#: The bytes of the output that are kept.
TAIL = 4096
#: What a pipe holds at most: so much may be left in it when the command has ended.
PIPE = 1024 * 1024
#: As the shell's: it was found and cannot be run, and it was not found.
CANNOT_RUN, NOT_FOUND, WRONG_USE = 126, 127, 2
#: Programs that change or hide the exit code of what they start.
HIDING = ("cronic", "chronic", "systemd-cat", "systemd-run", "script")
#: Programs that start another and pass its exit code on.
PASSING = (
    "nice ionice chrt env timeout nohup setsid stdbuf sudo doas runuser flock time"
    " sh bash dash"
).split()
#: They are not forwarded: a handler would have them come at the wrong time.
_OF_THE_PROCESS = (
    "SIGKILL SIGSTOP SIGCHLD SIGSEGV SIGBUS SIGFPE SIGILL SIGTRAP SIGABRT SIGSYS"
    " SIGPIPE SIGXFSZ SIGXCPU SIGTTIN SIGTTOU SIGPROF SIGVTALRM SIGURG SIGWINCH"
).split()


class _WrongUse(Exception):
    """The command line cannot be carried out."""


class _Order:
    """What is to be wrapped, and where to."""

    def __init__(self, arguments: list[str]) -> None:
        """Read the arguments behind ``-m wrap``; raise _WrongUse."""
        if "--" not in arguments:
            raise _WrongUse("the command stands behind --")
        at = arguments.index("--")
        words, self.command = arguments[:at], arguments[at + 1 :]
        names = []
        self.spool = os.environ.get("CHECKER_SPOOL") or DEFAULT_SPOOL
        self.keeps_output = False
        left = iter(words)
        for word in left:
            option, equals, value = word.partition("=")
            if option in ("--output", "--spool") and not equals:
                value = next(left, "")
            if option == "--spool" and value:
                self.spool = value
            elif option == "--output":
                if value != "tail":
                    raise _WrongUse(f"--output {value}: expected tail")
                self.keeps_output = True
            elif word.startswith("-"):
                raise _WrongUse(f"{word} is not known here")
            else:
                names.append(word)
        if len(names) != 1 or not names[0].strip() or len(names[0]) > 200:
            raise _WrongUse("expected one NAME of at most 200 characters")
        if not self.command:
            raise _WrongUse("there is no command behind --")
        self.name = " ".join(names[0].split())


def main(arguments: list[str]) -> int:
    """Run a command, and keep how it went; return its exit code, or die as it did."""
    try:
        order = _Order(arguments)
    except _WrongUse as error:
        _say(f"-m wrap: {error}\nuse: checker.py {USE}")
        return WRONG_USE
    number, code = _Run(order).carry_out()
    if number:
        _die_of(number)
    return code


def elsewhere(_args: object) -> int:
    """Say that ``-m wrap`` comes first; the entry point carries that out itself."""
    _say(f"-m wrap is to be the first argument: checker.py {USE}")
    return WRONG_USE


class _Run:
    """One run of a command."""

    def __init__(self, order: _Order) -> None:
        self._order = order
        self._id = os.urandom(8).hex()
        self._said = False
        self._started_at = time.time()
        self._facts: dict[str, Any] = {
            "name": _text(order.name),
            "run": self._id,
            "host": _text(os.uname().nodename),
            "program": _text(os.path.basename(order.command[0])),
        }
        if through := list(hiding(order.command)):
            self._facts["through"] = through

    def carry_out(self) -> tuple[int, int]:
        """Return the signal that ended the command, or 0, and the exit code."""
        self._keep({"what": "start", "at": self._started_at, **_process()}, sync=False)
        began = time.monotonic()
        output = _Output() if self._order.keeps_output else None
        number, code, trouble = self._run(output)
        seconds = max(0.0, time.monotonic() - began)
        end: dict[str, Any] = {
            "what": "end",
            "at": time.time(),
            "started_at": self._started_at,
            "seconds": round(seconds, 3),
        }
        if output is not None:
            tail, problem = output.finish()
            if tail is not None:
                end["output"] = tail[-TAIL:].decode("utf-8", "replace")
                # It may begin within a password, which the reader knows and we do not.
                end["cut"] = len(tail) > TAIL
            if problem and not trouble:
                trouble = f"its output cannot be written: {problem}"
                _say(f"{self._order.name}: {trouble}")
                code = code or 1
        if trouble:
            end["trouble"] = _text(trouble)
        end["signal" if number else "code"] = _name_of(number) if number else code
        self._keep(end)
        return number, code

    def _run(self, output: _Output | None) -> tuple[int, int, str]:
        """Return signal, exit code, and why the command could not be started."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        forwarded = set(_forwarded())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
        try:
            # Here, so that a signal to the group does not end it before its time.
            descriptors = output.start() if output is not None else {}
            try:
                child = _start(self._order.command, descriptors, before)
            except OSError as error:
                trouble = f"{self._order.command[0]}: {error.strerror or error}"
                _say(trouble)
                is_absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
                return 0, NOT_FOUND if is_absent else CANNOT_RUN, trouble
            finally:
                if output is not None:
                    output.started()
            status = _wait(child, forwarded)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if os.WIFSIGNALED(status):
            return os.WTERMSIG(status), 0, ""
        return 0, os.WEXITSTATUS(status), ""

    def _keep(self, event: dict[str, Any], *, sync: bool = True) -> None:
        """Write an event; if that fails, say so once and go on."""
        import json

        content = json.dumps({**self._facts, **event}, separators=(",", ":"))
        try:
            write(self._order.spool, content.encode("ascii"), sync=sync)
        except OSError as error:
            if not self._said:
                self._said = True
                _say(
                    f"heartbeat {self._order.name} is not kept: {self._order.spool}: "
                    f"{error.strerror}; the command runs all the same"
                )


# The command.


def _start(command: list[str], descriptors: dict[int, int], mask: Any) -> int:
    """Start the command; return its process.  Raise OSError."""
    actions = [(os.POSIX_SPAWN_DUP2, new, old) for old, new in descriptors.items()]
    how: dict[str, Any] = {
        "file_actions": actions,
        "setsigmask": mask,
        # Python ignores these itself.
        "setsigdef": (signal.SIGPIPE, signal.SIGXFSZ),
    }
    try:
        return os.posix_spawnp(command[0], command, os.environ, **how)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without a first line, which is the shell's.
    path = next(_found(command[0]), command[0])
    words = ["/bin/sh", path, *command[1:]]
    return os.posix_spawn(words[0], words, os.environ, **how)


def _found(program: str) -> Iterator[str]:
    if "/" in program:
        yield program
        return
    for folder in os.get_exec_path():
        path = os.path.join(folder, program)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            yield path


def _forwarded() -> Iterator[int]:
    """Yield the signals to forward: not those that are ignored, as by nohup."""
    left_out = {getattr(signal, name, 0) for name in _OF_THE_PROCESS}
    for number in sorted(signal.valid_signals()):
        if number not in left_out and signal.getsignal(number) is not signal.SIG_IGN:
            yield number


def _wait(child: int, forwarded: set[int]) -> int:
    """Return the status with which the command ended; forward signals until then."""
    awaited = {*forwarded, signal.SIGCHLD}
    while True:
        found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if found and not os.WIFSTOPPED(status):
            return status
        if found:
            # As the command does.  Who has us go on means both.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(child, signal.SIGCONT)
            continue
        number, is_for_both = _next_signal(awaited, child)
        if number in forwarded and not is_for_both:
            os.kill(child, number)


def _next_signal(awaited: set[int], child: int) -> tuple[int, bool]:
    """Return the next signal, and whether the command is not to get it from us.

    A key of the terminal reaches all processes in its foreground.
    """
    if not hasattr(signal, "sigwaitinfo"):
        return signal.sigwait(awaited), False
    info = signal.sigwaitinfo(awaited)
    return info.si_signo, info.si_code > 0 or info.si_pid == child


def _die_of(number: int) -> None:
    """Die of a signal, without a core dump: that would be ours."""
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    # Process 1 of a container does not die of it.
    os._exit(128 + number)


# Its output.


class _Output:
    """Copies what the command writes, in a process of its own, and keeps the last.

    So nothing ends when the command does: what it left behind may still write, and
    whoever reads our output waits for that as it would without us.
    """

    def __init__(self) -> None:
        self._over = self._result = -1
        self._ends: list[int] = []

    def start(self) -> dict[int, int]:
        """Start copying; return the descriptors of the command, by their numbers."""
        try:
            for number in (0, 1, 2):
                # A pipe would take the place of one that is closed.
                os.fstat(number)
            groups = [[1, 2]] if _is_same(1, 2) else [[1], [2]]
            pipes = [os.pipe() for _group in groups]
            over, result = os.pipe(), os.pipe()
            copier = os.fork()
        except OSError:
            return {}
        if not copier:
            try:
                os.close(over[1])
                for _read, end in pipes:
                    os.close(end)
                copies = [
                    (pipe[0], group[0])
                    for pipe, group in zip(pipes, groups, strict=True)
                ]
                _copy(copies, over[0], result[1])
            finally:
                os._exit(0)
        for descriptor in (over[0], result[1], *(pipe[0] for pipe in pipes)):
            os.close(descriptor)
        self._over, self._result = over[1], result[0]
        self._ends = [pipe[1] for pipe in pipes]
        return {
            number: end
            for end, group in zip(self._ends, groups, strict=True)
            for number in group
        }

    def started(self) -> None:
        """Close what is the command's."""
        for end in self._ends:
            os.close(end)
        self._ends = []

    def finish(self) -> tuple[bytes | None, str]:
        """Return the last bytes, and why some could not be written; None: not kept.

        They are more than TAIL if there was more.
        """
        if self._result < 0:
            return None, ""
        os.close(self._over)
        answer = b""
        while part := os.read(self._result, 65536):
            answer += part
        os.close(self._result)
        problem, _newline, tail = answer.partition(b"\n")
        return tail, problem.decode()


def _is_same(one: int, other: int) -> bool:
    """Return whether both descriptors are of one file, so that their order counts."""
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _copy(copies: list[tuple[int, int]], over: int, result: int) -> None:
    """Copy until all ends are closed; once ``over`` is closed, send what is known."""
    import select

    tail, problem = b"", ""
    targets = dict(copies)
    #: What each has begun a line with; a line of one is not cut by one of the other.
    begun = dict.fromkeys(targets, b"")
    left: int | None = None
    poll = select.poll()
    for descriptor in (over, *targets):
        poll.register(descriptor, select.POLLIN)
    while targets or result >= 0:
        ready = {descriptor for descriptor, _event in poll.poll(0 if left else None)}
        is_known = not ready & set(targets) or (left is not None and left <= 0)
        if result >= 0 and (over in ready or left is not None):
            if over in ready:
                poll.unregister(over)
                # What is in the pipes by now is the command's.
                left = PIPE
            elif is_known:
                rest = b"\n".join(filter(None, begun.values()))
                kept = (tail + rest)[-TAIL - 1 :]
                _send(result, problem.encode() + b"\n" + kept)
                result, left = -1, None
        for source in ready & set(targets):
            data = os.read(source, 65536)
            lines, newline, rest = (begun[source] + data).rpartition(b"\n")
            tail = (tail + lines + newline)[-TAIL - 1 :]
            begun[source] = rest[-TAIL - 1 :]
            left = None if left is None else left - len(data)
            why = _written(targets[source], data)
            if why or not data:
                # The command is to see that nobody reads any more.
                poll.unregister(source)
                os.close(source)
                del targets[source]
                problem = problem or why.strip()


def _written(descriptor: int, data: bytes) -> str:
    """Write all of the data; return why not, a blank if nobody reads any more."""
    try:
        write_whole(descriptor, data)
    except BrokenPipeError:
        return " "
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _send(descriptor: int, content: bytes) -> None:
    _written(descriptor, content)
    os.close(descriptor)


# What is known of it.


def hiding(command: list[str]) -> Iterator[str]:
    """Yield the programs at the beginning of a command that hide its exit code."""
    for number, word in enumerate(command[:20]):
        program = os.path.basename(word)
        if program in HIDING:
            yield program
        elif word.startswith("-") or "=" in word or word[:1].isdigit():
            continue
        elif " " in word and number:
            yield from hiding(word.split())
            return
        elif program not in PASSING:
            return


def _process() -> dict[str, Any]:
    """Return what tells this process from any that gets its number later."""
    facts: dict[str, Any] = {"pid": os.getpid()}
    try:
        with open("/proc/self/stat") as file:
            facts["ticks"] = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/sys/kernel/random/boot_id") as file:
            facts["boot"] = file.read().strip()
        facts["namespace"] = os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError, IndexError):
        # Not on every system.
        return {}
    return facts


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(text: str) -> str:
    """Return a text that is Unicode, of 200 characters at most."""
    return text.encode("utf-8", "replace").decode()[:200]


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"checker: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # It is closed; the command matters more.
        return
