"""Kinds of targets: the table of a kind's options, and its targets typed by it.

A kind is a subclass of TargetJob in a job file.  Its table says of each option how its
text is read, its default, and what it is for.  An option ``warn_X`` or ``fail_X`` is a
threshold: a number on whose far side the trouble is, or a range such as ``1..15``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from lib.config import fields
from lib.config.options import (
    LAYOUT_OPTIONS,
    POLICY_OPTIONS,
    REQUIRED,
    RETRY_OPTIONS,
    SECRET_SUFFIXES,
    Option,
    policy_options,
    read_options,
    secret_options,
    written,
)
from lib.config.secrets import COMMAND_TIMEOUT_S, MIN_LENGTH, read_secret
from lib.config.targets import HOST, TargetSection, problem_of, typed
from lib.core import schedule
from lib.core.encoding import same
from lib.core.jobs import KindInfo, OptionInfo
from lib.core.results import Threshold, Unit, Value
from lib.core.secret import Secret, Secrets
from lib.core.settings import Problem

Options = Mapping[str, Option]
#: What a threshold may be given as: a number is the highest that is allowed.
Limit = Threshold | fields.Range | float | None

_KIND = r"[a-z][a-z0-9_-]{0,29}"
_NAME = r"[a-z][a-z0-9_]{0,39}"
_THRESHOLD = r"(warn|fail)_.+"
#: What reads a text in which ``{host}`` may be meant as it is.
_ANY_TEXT = (fields.text, fields.escaped, fields.plain)
#: Attributes of a target, which cannot be options.
_RESERVED = ("given_options", "gives", "kind", "name", "places", "title")
#: Texts that are read once for all sections that have them: those of templates, and so
#: many of the short ones.
SHORT, MANY = 12, 1000
#: How much of the time for a check a command may take that prints a secret.
SHARE_OF_COMMAND = 0.9
_NEED = Option(
    fields.one_of(("any", "all")),
    "any",
    "all: it takes every threshold at once, not the worst one",
)


class Quantity:
    """A unit: as a reader of an option, and as a maker of values.

    ``option(percent, 90)`` is an option that is a percentage, and ``percent(93,
    fail=90)`` the value of 93%, which is failing above 90%.
    """

    def __init__(self, unit: Unit, read: Callable[[str], float]) -> None:
        self.unit = unit
        self.read = read

    def __call__(
        self, number: float, *, warn: Limit = None, fail: Limit = None
    ) -> Value:
        """Return a value; a threshold that is a number is the highest allowed."""
        return Value(number, self.unit, _threshold(warn), _threshold(fail))


def _threshold(limit: Limit) -> Threshold | None:
    if limit is None or isinstance(limit, Threshold):
        return limit
    if isinstance(limit, fields.Range):
        return Threshold(limit.low, limit.high)
    return Threshold(high=limit)


percent = Quantity(Unit.PERCENT, fields.percent(0, 100))
seconds = Quantity(Unit.SECONDS, fields.duration(0, 3650 * 86_400))
bytes_ = Quantity(Unit.BYTES, fields.size(0, 1e18))
count = Quantity(Unit.COUNT, fields.number(0, 999_999_999_999))
per_second = Quantity(Unit.PER_SECOND, fields.number(0, 999_999_999_999))


def with_free(
    name: str, free: float, total: float, *, warn: Limit = None, fail: Limit = None
) -> dict[str, Value]:
    """Return what is free in bytes, and in per cent where a threshold is a share.

    The thresholds are those of options that ``share_or_size`` reads.
    """
    shares: dict[str, Any] = {}
    sizes: dict[str, Any] = {}
    for word, limit in (("warn", warn), ("fail", fail)):
        threshold = _threshold(limit)
        if threshold is None:
            continue
        # A Share cannot be written to a file.
        low, high = (
            None if end is None else float(end)
            for end in (threshold.low, threshold.high)
        )
        group = shares if _is_share(threshold) else sizes
        group[word] = Threshold(low, high, threshold.option)
    values = {name: bytes_(free, **sizes)}
    if shares and total:
        values[f"{name}_percent"] = percent(round(100 * free / total, 1), **shares)
    return values


def option(
    read: Quantity | Callable[[str], Any],
    default: Any = REQUIRED,
    *,
    help: str,
    also: str = "",
    below: bool = False,
) -> Option:
    """Return an option of a kind.

    ``read`` gets the text and returns the value, or raises ValueError that says what it
    expected.  Without a default the option must be given.  ``also`` is another name of
    it.  With ``below``, a threshold is the lowest number that is allowed.
    """
    if isinstance(read, Quantity):
        return Option(read.read, default, help, also, read.unit, below)
    return Option(read, default, help, also, below=below)


#: Which addresses of a name are asked: of each kind that connects to one.
ADDRESS_OPTIONS: Options = {
    "addresses": option(
        fields.one_of(("first", "every")),
        "first",
        help="every: ask each address of the name, and name the dead one",
    ),
    "family": option(
        fields.one_of(("any", "ipv4", "ipv6")),
        "any",
        help="ipv4 or ipv6: try only such addresses",
    ),
}

#: What is said in rounds: of each kind that sends and expects.
DIALOG_OPTIONS: Options = {
    "expect_regex": option(
        fields.bytes_pattern, None, help="a pattern that must match in the answer"
    ),
    "dialog": option(
        fields.dialog("send", "expect", "expect_regex"),
        (),
        help="more rounds, one in a line: send TEXT, expect TEXT, expect_regex PATTERN",
    ),
}

#: What is trusted: of each kind that speaks TLS.
TRUST_OPTIONS: Options = {
    "cafile": option(
        fields.absolute_path,
        "",
        help="trust this CA file instead of the system's store",
    ),
    "verify": option(
        fields.switch, True, help="no: do not verify this target's certificate"
    ),
}

#: Of each kind that speaks TLS with a host, not with a URL.
SERVER_NAME = option(
    fields.host, "", help="the name in the certificate, if it is not the host's"
)


def text_options(where: str) -> Options:
    """Return the options about a text: what must be in it, and what must not."""
    return {
        "expect_text": option(fields.text, "", help=f"text that must be in {where}"),
        "reject_text": option(fields.text, "", help="text that must not be in it"),
        "expect_regex": option(
            fields.regex, None, help="a pattern that must match in it"
        ),
        "reject_regex": option(
            fields.regex, None, help="a pattern that must not match"
        ),
    }


class Clash(NamedTuple):
    """What is wrong in options that are right one by one."""

    text: str
    #: The options that it is about; people read the line of the first that is given.
    options: tuple[str, ...]


def talk_with_nobody(target: Target, expected: str, *talk: str) -> Iterator[Clash]:
    """Yield that the options ``talk`` make no sense where nobody is to answer."""
    if given := [name for name in talk if getattr(target, name)]:
        words = ", ".join(given)
        yield Clash(
            f"expect = {expected} means that nobody answers; leave out {words}",
            ("expect", *given),
        )


def anything_or_text(value: str) -> re.Pattern[bytes] | bytes:
    """Return what must be received: these bytes, or ``anything``."""
    if value.lower() == "anything":
        from lib.net.dialog import ANYTHING

        return ANYTHING
    return fields.escaped(value)


_NOWHERE: Mapping[str, str] = {}


class Target:
    """A target of the settings; its options are its attributes, each typed.

    Those that its section does not give are attributes of its class, which is that of
    its kind: a check looks up dozens of them.
    """

    #: The option of kinds that have several thresholds.
    need = "any"

    def __init__(
        self,
        title: str,
        values: dict[str, Any],
        places: Mapping[str, str] = _NOWHERE,
    ) -> None:
        """Keep the values; ``places`` are those of the options that give secrets.

        ``title`` is the section's, which is the job's name too.
        """
        self.title = title
        self.places = places
        #: The names of the options that the settings say.
        self.given_options = same(tuple(values))
        # One by one, and without __slots__, so that Python makes no dict of them: for
        # each of thousands it would take much memory.
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def kind(self) -> str:
        """Return the first word of the title."""
        return self.title.partition(" ")[0]

    @property
    def name(self) -> str:
        """Return the rest of the title."""
        return self.title.partition(" ")[2]

    def gives(self, name: str) -> bool:
        """Return whether the settings say what an option is: it is no default."""
        return name in self.given_options

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the kind {self.kind} has no option {name!r}")

    def __repr__(self) -> str:
        # An option may be a secret.
        return f"<[{self.title}]>"


def _class_of_targets(kind: str, defaults: Mapping[str, Any]) -> type[Target]:
    """Return the class of a kind's targets, which has the defaults as attributes."""
    attributes = {
        # A function would become a method.
        name: staticmethod(value) if hasattr(value, "__get__") else value
        for name, value in defaults.items()
    }
    return type(f"Target of {kind}", (Target,), attributes)


class KindTable:
    """The options of a kind, its own and those of every kind, ready to type targets."""

    def __init__(
        self,
        kind: str,
        every: str,
        options: Options,
        about: str = "",
        *,
        recheck: str = "no",
        retries: bool = True,
        means_need: bool = True,
    ) -> None:
        """Keep the table of a class; raise TypeError if it is not right."""
        if not isinstance(kind, str) or not re.fullmatch(_KIND, kind):
            raise TypeError(
                f"kind = {kind!r}: expected a short word of lower-case letters"
            )
        self.kind = kind
        self.every = schedule.read(every)
        self.recheck = schedule.read_recheck(recheck)
        self.about = about
        self.retries = retries
        #: The options that are secrets.
        self.secrets: list[str] = []
        self.own = dict(self._own(options))
        self.options = {
            **self.own,
            **policy_options(self.every, self.recheck, retries=retries),
        }
        self._by_word = {
            **{known.also: name for name, known in self.options.items() if known.also},
            **{name: name for name in self.options},
        }
        #: The secret that each option gives: ``token_file`` gives ``token``.
        self._secret_of = {
            name + suffix: name for name in self.secrets for suffix in SECRET_SUFFIXES
        }
        defaults = {
            name: known.default
            for name, known in self.options.items()
            if known.default is not REQUIRED
        }
        not_given = dict.fromkeys(self.secrets, Secret())
        self._target = _class_of_targets(kind, {"retries": 0, **defaults, **not_given})
        self._required = self.options.keys() - defaults.keys()
        #: Each ``warn_X`` that has a default, with its ``fail_X``.
        self._default_warnings = [
            (name, fail_name, known.default)
            for name, known in self.own.items()
            if name.startswith("warn_") and isinstance(known.default, Threshold)
            if (fail_name := f"fail_{name.removeprefix('warn_')}") in self.own
        ]
        #: With ``need = all``, defaults that make room for what is given instead.
        self._in_need = {
            word: [name for name in self.own if name.startswith(f"{word}_")]
            for word in ("warn", "fail")
            if means_need and "need" in self.own
        }
        #: The values that many targets have in common.
        self._shared: dict[tuple[str, str], Any] = {}
        #: What Checker keeps with each of its jobs, until the job begins.
        self.contexts: dict[object, Any] = {}

    def _own(self, options: Options) -> Iterator[tuple[str, Option]]:
        #: What the thresholds are about, such as ``percent``.
        subjects = set()
        for name, known in dict(options).items():
            if not isinstance(known, Option):
                raise TypeError(f"options[{name!r}]: expected option(...)")
            if not isinstance(name, str) or not re.fullmatch(_NAME, name):
                raise TypeError(f"options[{name!r}]: expected a lower-case name")
            if name in _RESERVED:
                raise TypeError(
                    f"options[{name!r}]: a target has something else of that name; "
                    "give it another"
                )
            is_taken = name in RETRY_OPTIONS and self.retries
            if is_taken or name in (*POLICY_OPTIONS, *LAYOUT_OPTIONS):
                raise TypeError(f"options[{name!r}]: every kind has that option")
            if known.read is fields.secret:
                self.secrets.append(name)
                yield from secret_options(name, known.help).items()
            elif re.fullmatch(_THRESHOLD, name):
                subjects.add(name.partition("_")[2])
                yield name, _as_threshold(name, known)
            else:
                yield name, known
        if len(subjects) > 1:
            yield "need", _NEED

    def info(self, file: str) -> KindInfo:
        """Return what people read of the kind; ``file`` is its job file."""
        options = {
            name: OptionInfo(
                known.help,
                "" if known.default is REQUIRED else written(known.default, known.unit),
                required=known.default is REQUIRED,
                also=known.also,
                is_secret=known.read is fields.secret,
            )
            for name, known in self.own.items()
        }
        return KindInfo(
            self.kind,
            file,
            self.every,
            self.about,
            options,
            self.recheck,
            retries=self.retries,
        )

    def target(self, section: TargetSection) -> tuple[Target, list[Problem]]:
        """Return a target, and all that is wrong in its section, each with its line.

        A target with problems must not be run.
        """
        if section.problem:
            return self._target(section.title, {}), [section.problem]
        has_secret = not self._secret_of.keys().isdisjoint(section.options)
        if has_secret:
            section = _without_farther(section, self._secret_of)
        values = self._values(section)
        problems: list[Problem] = []
        if values is None:
            values, problems = typed(
                _without_farther(section, self._by_word), self.options
            )
        self._give_way(values)
        places = _NOWHERE
        if has_secret:
            problems += self._given_twice(section)
            places = {
                self._secret_of[word]: value.where
                for word, value in section.options.items()
                if word in self._secret_of
            }
        return self._target(section.title, values, places), problems

    def nearest(self, section: TargetSection) -> TargetSection:
        """Return a section with what counts where layers say a thing in several ways.

        Those are the names of one option, and the ways to give one secret.
        """
        section = _without_farther(section, self._secret_of)
        return _without_farther(section, self._by_word)

    def _give_way(self, values: dict[str, Any]) -> None:
        """Drop the default of each ``warn_X`` behind a ``fail_X`` that is given.

        With ``need = all`` only what is given must be exceeded, where anything is.
        """
        if values.get("need") == "all":
            for names in self._in_need.values():
                if any(values.get(name) for name in names):
                    values |= {name: None for name in names if name not in values}
        for name, fail_name, default in self._default_warnings:
            fail = values.get(fail_name)
            if not fail or name in values or _is_share(fail) != _is_share(default):
                continue
            if _is_within(fail, default):
                values[name] = None

    def wrong_defaults(self, section: TargetSection) -> dict[str, Problem]:
        """Return what is wrong in ``[defaults KIND]``, by the option."""
        given = {name: value.raw for name, value in section.options.items()}
        optional = {
            name: replace(known, default=None) for name, known in self.options.items()
        }
        return {
            name: problem_of(section, name, text)
            for name, text in read_options(given, optional)[1].items()
        }

    def advice(
        self, section: TargetSection, target: Target, folder: Path
    ) -> Iterator[Problem]:
        """Yield what ``-m validate`` says of a target that can be run.

        That is a threshold, a ``{host}`` or a command that is hardly meant so, and a
        secret that is not to be had.  A relative path of ``X_file`` starts at
        ``folder``.
        """
        yield from self._idle_thresholds(section, target)
        yield from self._idle_retries(section, target)
        if not section.host:
            yield from self._hosts_not_given(section)
        for name in self.secrets:
            words = getattr(target, f"{name}_command", None) or ()
            if sign := fields.shell_sign(words):
                text = (
                    f"{name}_command: no shell reads this, so {sign} is an argument; "
                    "use sh -c '...'"
                )
                where = target.places.get(name) or section.where
                yield Problem(text, where, target.title, warning=True)
            try:
                _secret(name, target, folder)
            except ValueError as error:
                where = target.places.get(name) or section.where
                yield Problem(str(error), where, target.title)

    def _idle_thresholds(
        self, section: TargetSection, target: Target
    ) -> Iterator[Problem]:
        """Yield a warning for each ``warn_X`` behind its ``fail_X``."""
        for name in self.own:
            fail_name = f"fail_{name.removeprefix('warn_')}"
            if not name.startswith("warn_") or fail_name not in self.own:
                continue
            warn, fail = getattr(target, name), getattr(target, fail_name)
            if not (warn and fail and _is_within(fail, warn)):
                continue
            if _is_share(warn) != _is_share(fail):
                continue
            shown = written(fail, self.own[fail_name].unit)
            text = f"{name}: it never warns, as {fail_name} = {shown} is reached first"
            given = section.options.get(name) or section.options.get(fail_name)
            where = given.where if given else section.where
            yield Problem(text, where, target.title, warning=True)

    def _idle_retries(
        self, section: TargetSection, target: Target
    ) -> Iterator[Problem]:
        """Yield a warning for retries whose pauses alone take the whole timeout."""
        if not target.retries or target.retries * target.retry_pause < target.timeout:
            return
        text = (
            f"retries: {target.retries} pauses of {target.retry_pause:g} s do not fit "
            f"into timeout = {target.timeout:g}s, so it is tried less often"
        )
        where = section.options["retries"].where
        yield Problem(text, where, target.title, warning=True)

    def _hosts_not_given(self, section: TargetSection) -> Iterator[Problem]:
        """Yield a warning for each ``{host}`` that stays as it is."""
        for word, value in section.options.items():
            known = self.options[self._by_word[word]]
            if HOST in value.raw and known.read not in _ANY_TEXT:
                text = f"{word}: {HOST} stands for no host, because there is no hosts ="
                yield Problem(text, value.where, section.title, warning=True)

    def with_secrets(self, target: Target, folder: Path) -> tuple[Target, Secrets]:
        """Return a target with its secrets had, and these; raise ValueError if not.

        A relative path of ``X_file`` starts at ``folder``.
        """
        given = {}
        for name in self.secrets:
            try:
                given[name] = _secret(name, target, folder)
            except ValueError as error:
                where = target.places.get(name, "")
                raise ValueError(
                    str(Problem(str(error), where, target.title))
                ) from error
        values = {**_given(target), **given}
        texts = {secret.reveal() for secret in given.values()}
        return (
            self._target(target.title, values),
            Secrets(text for text in texts if len(text) >= MIN_LENGTH),
        )

    def _given_twice(self, section: TargetSection) -> Iterator[Problem]:
        """Yield a problem for each secret that one section gives in two ways."""
        for name in self.secrets:
            words = [
                word for word in section.options if self._secret_of.get(word) == name
            ]
            if len(words) > 1:
                text = f"{' and '.join(words)} are given; keep one"
                yield Problem(text, section.options[words[-1]].where, section.title)

    def _values(self, section: TargetSection) -> dict[str, Any] | None:
        """Return the values of a section; None if it needs a second look."""
        values: dict[str, Any] = {}
        for word, value in section.options.items():
            name = self._by_word.get(word)
            if name is None or name in values:
                return None
            is_of_many = value.section != section.title
            is_shared = is_of_many or len(value.raw) <= SHORT
            shared = (name, value.raw)
            if is_shared and shared in self._shared:
                values[name] = self._shared[shared]
                continue
            try:
                values[name] = self.options[name].read(value.raw.strip())
            except ValueError:
                return None
            if is_of_many or (is_shared and len(self._shared) < MANY):
                self._shared[shared] = values[name]
        return values if values.keys() >= self._required else None


def _secret(name: str, target: Target, folder: Path) -> Secret:
    """Return a secret of a target, as ``read_secret`` does."""
    # A command that is slow is no trouble of the target, which would time out.
    limit_s = min(COMMAND_TIMEOUT_S, SHARE_OF_COMMAND * target.timeout)
    return read_secret(name, _given(target), folder, limit_s)


def _given(target: Target) -> dict[str, Any]:
    """Return the options that the settings give to a target."""
    return {name: getattr(target, name) for name in target.given_options}


def _is_share(threshold: Threshold) -> bool:
    """Return whether a threshold is per cent where others are bytes."""
    ends = (threshold.low, threshold.high)
    return any(isinstance(end, fields.Share) for end in ends)


def _is_within(fail: Threshold, warn: Threshold) -> bool:
    """Return whether all that ``fail`` allows is allowed by ``warn``, too."""
    low = warn.low is None or (fail.low is not None and warn.low <= fail.low)
    high = warn.high is None or (fail.high is not None and warn.high >= fail.high)
    return low and high


def _as_threshold(name: str, known: Option) -> Option:
    """Return an option that is read as a Threshold, which knows its option."""

    def of(limit: float | fields.Range | None) -> Threshold | None:
        if limit is None:
            return None
        if isinstance(limit, fields.Range):
            return Threshold(limit.low, limit.high, name)
        if known.below:
            return Threshold(low=limit, option=name)
        return Threshold(high=limit, option=name)

    read = fields.or_range(known.read)
    default = known.default
    return replace(
        known,
        read=lambda text: of(read(text)),
        default=default if default is REQUIRED else of(default),
    )


def _without_farther(
    section: TargetSection, by_word: Mapping[str, str]
) -> TargetSection:
    """Return a section with one name of each option: that of the nearest layer.

    Both names in one section are a mistake, and stay.
    """
    nearest: dict[str, str] = {}
    dropped: set[str] = set()
    for word, value in section.options.items():
        name = by_word.get(word, word)
        other = nearest.setdefault(name, word)
        if other == word or section.options[other].section == value.section:
            continue
        if section.options[other].section == section.title:
            dropped.add(word)
        else:
            dropped.add(other)
            nearest[name] = word
    if not dropped:
        return section
    options = section.options.items()
    return replace(
        section, options={word: value for word, value in options if word not in dropped}
    )
