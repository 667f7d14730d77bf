"""[plugin NAME]: runs a plugin of Nagios, Icinga and their like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from lib.jobbase import (
    COMMAND_OPTIONS,
    CheckFailed,
    CheckUnknown,
    CheckWarning,
    CommandJob,
    Ended,
    Options,
    Target,
    Threshold,
    Unit,
    Value,
    Values,
    first_of,
    one_of,
    option,
)

#: Where packages put plugins: Debian and Alpine, Fedora, Arch and openSUSE, FreeBSD,
#: macOS, and those who compile them.
FOLDERS = (
    "/usr/lib/nagios/plugins",
    "/usr/lib64/nagios/plugins",
    "/usr/local/lib/nagios/plugins",
    "/usr/local/libexec/nagios",
    "/usr/lib/monitoring-plugins",
    "/usr/libexec/monitoring-plugins",
    "/opt/homebrew/sbin",
    "/usr/local/nagios/libexec",
)
#: What the exit codes of a plugin mean.
OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = {
    OK: "OK",
    WARNING: "a warning",
    CRITICAL: "critical",
    UNKNOWN: "unknown",
    126: "it may not be run",
    127: "it, or something that it needs, is not there",
    255: "it gave up",
}
#: The beginning of a usage text; further down, the line must look like one.
_USAGE = re.compile(r"\s*usage\b", re.I)
_USAGE_LINE = re.compile(r"^\s*usage:?[ \t]*(?P<rest>.*)$", re.I | re.M)
#: It stands in the first lines of such a text, below name and licence.
_USAGE_WITHIN = 2000
#: The last line of what Python says of an error.
_PYTHON_ERROR = re.compile(r"[A-Za-z_.]+(Error|Exception): ")

#: What the units of performance data stand for.  The plugins count in 1024, whatever
#: they write, as do Nagios' own graphs.
UNITS: Mapping[str, tuple[Unit, float]] = {
    "": (Unit.COUNT, 1.0),
    "c": (Unit.COUNT, 1.0),
    "%": (Unit.PERCENT, 1.0),
    "s": (Unit.SECONDS, 1.0),
    "ms": (Unit.SECONDS, 1e-3),
    "us": (Unit.SECONDS, 1e-6),
    "µs": (Unit.SECONDS, 1e-6),
    "μs": (Unit.SECONDS, 1e-6),
    "ns": (Unit.SECONDS, 1e-9),
    "min": (Unit.SECONDS, 60.0),
    "h": (Unit.SECONDS, 3600.0),
    "d": (Unit.SECONDS, 86_400.0),
    "/s": (Unit.PER_SECOND, 1.0),
    **{
        f"{prefix}{middle}B": (Unit.BYTES, 1024.0**power)
        for power, prefixes in enumerate(("", "kK", "M", "G", "T", "P", "E"))
        for prefix in prefixes or ("",)
        for middle in (("", "i") if prefix else ("",))
    },
}
#: The most values of a plugin, how long the name of one may be, and how large a number.
MAX_VALUES, MAX_NAME, MAX_NUMBER = 50, 60, 1e18

_NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_LABEL = r"(?:'(?P<quoted>(?:[^']|'')*)'|(?P<bare>[^\s='|]+))"
#: A unit has no digit (Nagios' plugin guidelines): 0x10, 1.2.3 and 12:30 are no items.
_UNIT = r"[^\s\d;,'|=-][^\s\d;,'|=]{0,15}"
_ITEM = re.compile(
    rf"{_LABEL}=(?:(?P<number>{_NUMBER})(?P<unit>{_UNIT})?|U(?:{_UNIT})?)"
    r"(?P<more>(?:;[^\s;]*)*)(?=[\s,]|$)"
)
_RANGE = re.compile(rf"(?P<low>~|{_NUMBER})?(?P<colon>:)?(?P<high>{_NUMBER})?")


class PluginChecker(CommandJob):
    """One plugin with its arguments."""

    kind = "plugin"
    folders = FOLDERS
    #: Under another locale numbers are read and written with commas, and "0.5" is 0.
    always = {"LC_ALL": "C"}
    guide = """
        The exit code alone decides: 0 is OK, 1 a warning, 2 failing, 3 and any other
        unknown. These are unknown too, with the first line of standard error: a plugin
        that is killed by a signal or cannot be run, and one that ends with 1 or 2 and
        prints nothing, since it did not run. Where the code is 0 and the text begins
        with "Usage", the command line is wrong, and it is unknown. A plugin that has
        not ended at `timeout` is failing; give it a shorter timeout of its own (`-t`).

        What it prints is the reason. If it is OK and writes to standard error, that is
        a note in `-m list`, `-m why` and the log; `stderr = warn` makes it a warning.

        Performance data become values. Times are kept in seconds and sizes in bytes,
        with 1 kB = 1024 B, as the plugins count; an unknown unit stays in the name. An
        item such as `h=0x10` is left out, since a unit has no digit. The
        thresholds in them are shown where they make sense, and never judged.

        `command` is looked for in the plugin folders of Debian, Fedora, Arch, openSUSE,
        FreeBSD and of Nagios itself (`/usr/local/nagios/libexec`) before PATH. All
        else is as in [command](#command-name), but `LC_ALL` is always C. `invert = yes`
        does what `negate` does.
        """
    options: Options = {
        **COMMAND_OPTIONS,
        "stderr": option(
            one_of(("note", "warn")),
            "note",
            help="warn: a plugin that is OK and writes to standard error is a warning",
        ),
    }

    def judge(self, target: Target, ended: Ended) -> Values:
        """Return the performance data; raise what the exit code says."""
        ended = self.without_secrets(ended)
        if words := ended.why_killed(target.timeout):
            said = first_of(ended.out) or first_of(ended.errors)
            raise CheckFailed(f"{words}: {said}" if said else words)
        if why := why_not_judged(ended, target.command.words[0]):
            raise CheckUnknown(why)
        printed = read_output(ended.out)
        self.values = {**values_of(printed.items, ended.code)}
        reason = printed.reason(_WORDS[ended.code])
        said = ended.errors.strip()
        if said and ended.code != OK:
            reason = f"{reason}\non standard error: {said}"
        if ended.code == CRITICAL:
            raise CheckFailed(reason)
        if ended.code == WARNING:
            raise CheckWarning(reason)
        if ended.code == UNKNOWN:
            raise CheckUnknown(reason)
        if said:
            said = f"on standard error: {first_of(said)}"
            self.remark = "\n".join(filter(None, (said, self.remark)))
            if target.stderr == "warn":
                raise CheckWarning(f"{reason}\n{said}")
        return {}


def why_not_judged(ended: Ended, program: str) -> str:
    """Return why the exit code of a plugin says nothing, or ""."""
    said = first_of(ended.errors) or first_of(ended.out)
    if ended.signal:
        return _about(f"the plugin was killed by {ended.signal}", said)
    if ended.code not in (OK, WARNING, CRITICAL, UNKNOWN):
        why = f": {_WORDS[ended.code]}" if ended.code in _WORDS else ""
        return _about(f"the plugin ended with exit code {ended.code}{why}", said)
    if ended.code in (WARNING, CRITICAL) and not ended.out.strip():
        last = ended.errors.rstrip().rpartition("\n")[2]
        if _PYTHON_ERROR.match(last):
            said = first_of(last)
        words = (
            f"the plugin did not run: it ended with {ended.code} and printed nothing"
        )
        return _about(words, said)
    if ended.code == OK and is_usage(ended.out, program):
        return "the plugin did not run, it printed its usage: look at its arguments"
    return ""


def is_usage(output: str, program: str) -> bool:
    """Return whether a program printed how it is to be called, and nothing else."""
    if _USAGE.match(output):
        return True
    name = program.rpartition("/")[2]
    return any(
        not line["rest"] or name in line["rest"]
        for line in _USAGE_LINE.finditer(output[:_USAGE_WITHIN])
    )


def _about(words: str, said: str) -> str:
    return f"{words}: {said}" if said else words


class Item(NamedTuple):
    """One item of performance data; ``number`` is None for U, which is no number."""

    label: str
    number: float | None
    unit: str
    warn: str
    fail: str
    low: float | None
    high: float | None


class Printed(NamedTuple):
    """What a plugin printed: its text, and its performance data."""

    first: str
    more: tuple[str, ...]
    items: tuple[Item, ...]

    def reason(self, otherwise: str) -> str:
        """Return the text; where there is none, what the exit code means."""
        first = self.first or f"{otherwise}, and the plugin printed no text"
        return "\n".join([first, *self.more])


def read_output(output: str) -> Printed:
    """Return the text and the performance data of a plugin's output."""
    texts: list[str] = []
    items: list[Item] = []
    is_data = False
    for number, line in enumerate(output.replace("\r", "").splitlines()):
        text, found, rest = split_line(line)
        if not found and is_data and number and not text.count("|"):
            whole, left = read_items(text)
            if whole and not left:
                text, found = "", whole
        is_data = is_data or (bool(found) and number > 0)
        items += found
        texts.append(text.rstrip())
    while texts and not texts[0].strip():
        del texts[0]
    while texts and not texts[-1]:
        del texts[-1]
    first = texts[0].strip() if texts else ""
    return Printed(first, tuple(texts[1:]), tuple(items))


def split_line(line: str) -> tuple[str, list[Item], str]:
    """Return the text of a line, the items behind it, and what in these is none.

    They begin at the last ``|`` behind which everything is an item, or else at the last
    one behind which anything is; a text may have such a sign.
    """
    best: tuple[str, list[Item], str] | None = None
    end = len(line)
    # Not in a line of thousands of such signs.
    for _ in range(20):
        end = line.rfind("|", 0, end)
        if end < 0:
            break
        items, left = read_items(line[end + 1 :])
        if items and not left:
            return line[:end], items, ""
        if items and best is None:
            best = line[:end], items, left
    return best or (line, [], "")


def read_items(text: str) -> tuple[list[Item], str]:
    """Return the items of performance data in a text, and what in it is none."""
    items: list[Item] = []
    left: list[str] = []
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] in ",;":
            at += 1
            continue
        match = _ITEM.match(text, at)
        if match:
            items.append(_item(match))
            at = match.end()
            continue
        word = re.compile(r"\S+").match(text, at)
        assert word is not None
        left.append(word[0])
        at = word.end()
    return items, " ".join(left)


def _item(match: re.Match[str]) -> Item:
    quoted = match["quoted"]
    label = match["bare"] if quoted is None else quoted.replace("''", "'")
    warn, fail, low, high = [*match["more"].split(";")[1:5], "", "", "", ""][:4]
    number = None if match["number"] is None else _number(match["number"])
    return Item(
        label.strip(),
        number,
        match["unit"] or "",
        warn,
        fail,
        _number_or_none(low),
        _number_or_none(high),
    )


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _number_or_none(text: str) -> float | None:
    return _number(text) if re.fullmatch(_NUMBER, text) else None


def values_of(items: tuple[Item, ...], code: int) -> dict[str, Value]:
    """Return the values of performance data, with the thresholds that make sense."""
    values: dict[str, Value] = {}
    for item in items:
        if item.number is None or _is_no_measurement(item, items):
            continue
        unit, factor = UNITS.get(item.unit, (Unit.COUNT, 1.0))
        number = item.number * factor
        if not abs(number) <= MAX_NUMBER or len(values) == MAX_VALUES:
            continue
        name = _free_name(item, item.unit not in UNITS, values)
        values[name] = Value(
            number,
            unit,
            warn=_shown(item, item.warn, factor, is_kept=code == OK),
            fail=_shown(item, item.fail, factor, is_kept=code in (OK, WARNING)),
        )
    return values


def _is_no_measurement(item: Item, items: tuple[Item, ...]) -> bool:
    """Return whether it is the 0 ms that check_icmp and others give for no answer."""
    is_time = re.search(r"rt(a|min|max|avg)$", item.label)
    return bool(is_time) and not item.number and _is_all_lost(items)


def _is_all_lost(items: tuple[Item, ...]) -> bool:
    return any(
        one.label.endswith("pl") and one.unit == "%" and one.number == 100
        for one in items
    )


def _free_name(item: Item, has_unit: bool, taken: Mapping[str, Value]) -> str:
    """Return a name for a value, which no other has; an unknown unit is part of it."""
    label = f"{item.label} [{item.unit}]" if has_unit else item.label
    shown = "".join(char if char.isprintable() else " " for char in label) or "value"
    name = shown[:MAX_NAME]
    number = 1
    while name in taken:
        number += 1
        end = f" ({number})"
        name = shown[: MAX_NAME - len(end)] + end
    return name


def _shown(item: Item, text: str, factor: float, *, is_kept: bool) -> Threshold | None:
    """Return a threshold of performance data to be shown, None if it makes no sense.

    That is an inverse range (``@``), one outside of what there can be, and one that the
    value has left although the plugin does not say so (``is_kept``): check_ping drops
    the ``@``, and check_disk prints 2**64 for what is less than nothing.
    """
    match = _RANGE.fullmatch(text)
    if not match or not text:
        return None
    low, high = match["low"], match["high"]
    if not match["colon"]:
        # A single number is the upper end of a range that begins at 0.
        low, high = "~", low if low != "~" else None
    lower = None if low in ("~", None) else _number(low)
    upper = None if high is None else _number(high)
    ends = [end for end in (lower, upper) if end is not None]
    if not ends or ends != sorted(ends):
        return None
    if not all(_can_be(item, end) for end in ends):
        return None
    limit = Threshold(
        None if lower is None else lower * factor,
        None if upper is None else upper * factor,
        judges=False,
    )
    assert item.number is not None
    if is_kept and not limit.allows(item.number * factor):
        return None
    return limit


def _can_be(item: Item, end: float) -> bool:
    if abs(end) > MAX_NUMBER:
        return False
    if item.low is not None and end < item.low:
        return False
    # 0 to 0 is said of what has no limits.
    return item.high is None or item.high <= (item.low or 0) or end <= item.high
