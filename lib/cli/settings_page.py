"""The pages docs/settings.md and docs/kinds.md, made of the tables of options.

``make docs`` writes them: ``python -m lib.cli.settings_page``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from lib.config import older
from lib.config.options import (
    DEFAULTS,
    LAYOUT_OPTIONS,
    NAMED_SECTIONS,
    POLICY_OPTIONS,
    REQUIRED,
    RETRY_OPTIONS,
    SECTIONS,
    Option,
    written,
)
from lib.core.jobs import KIND_FILES, JobFile, KindInfo, OptionInfo
from lib.system.files import replace_softly

NOTHING = "—"
WIDTH = 88

_HEAD = """\
# Settings

<!-- Made by: make docs -->

Every section and option of `settings.cfg`.
[settings.cfg.example](../settings.cfg.example) has them as a file to copy.

- The format is INI. A comment is a line of its own; `%` and `#` in a value are ordinary
  characters.
- A path begins with `/` or is relative to the folder of settings.cfg. In targets it
  must begin with `/`.
- A switch is `yes` or `no`; `true`, `on`, `1` and `false`, `off`, `0` work too.
- A time may have a unit: `ms`, `s`, `min`, `h` or `d`. Without one it counts seconds.
- A password or key `X` may come from elsewhere, by `X_file`, `X_env` or `X_command` in
  its place; a command runs without a shell and has 10 seconds, or less if the `timeout`
  of its target is shorter.
- A dash below means that there is no default.
- A file that contains a password must not be readable by others:
  `chmod 600 settings.cfg`.

For example, these lines have three mistakes:

```ini
[general]
servername = web1
alertcontact = ops@example.com

[http homepage]
url = https://example.com/
verfy = no
timeout = 90

[disc data]
path = /data
```

`./checker.py -m validate` names each with its line:

```
where            section        problem  text
settings.cfg:7   http homepage  error    unknown option 'verfy'; did you mean 'verify'?
settings.cfg:8   http homepage  error    timeout = 90: expected a time from 100ms to 50s
settings.cfg:10  disc data      error    unknown kind 'disc'; did you mean 'disk'?
```

A wrong target is a failing job of its name, and everything else runs. A wrong value in
`[general]` or `[email]`, or a settings file that cannot be read or that others may
write, stops every run; each problem is then one line on standard error, and the exit
code is 1.

`-m validate` also warns of what is hardly meant so: a `warn_` threshold behind
its `fail_` one, `{host}` without `hosts`, hosts that no option has by `{host}`, a
template that no section uses. It tries the secrets of targets, and shows the problems
of targets even if something stops every run.
"""

#: What is said of a section above its table.
_ABOUT: Mapping[str, str] = {
    "general": (
        "About this instance. `include` may name files in folders (`conf.d/*.cfg`); "
        "what is wrong in one is reported with its name and line. `statefile` is for "
        "an upgrade from the older program, see [jobs.md](jobs.md#from-the-older-"
        "program)."
    ),
    "email": (
        "How mail leaves, and where it arrives. Give the password in one of four ways: "
        "`pass`, `pass_file`, `pass_env` or `pass_command`. Who is notified when is in "
        "[alerting.md](alerting.md)."
    ),
    "email backup": (
        "The backup account. Mail leaves by it while the primary account refuses us, "
        "is rate-limiting us or cannot be reached, puts a mail off for 3 minutes, and "
        "while the proof that the primary account's mail arrives has failed. Each such "
        "mail says so in its last lines."
    ),
    "defaults": (
        "For every job that does not say otherwise: targets, and your own job classes. "
        "A target may have these options in its own section."
    ),
    "peers": (
        "Instances that watch us as we watch them. Any other option is a peer: "
        "`name = url,email of its admin,key=...`. See [peers.md](peers.md)."
    ),
    "metrics": "Metrics for Prometheus, see [operations.md](operations.md#prometheus).",
    "history": (
        "How long results are kept, see [operations.md](operations.md#the-log). How "
        "long a job was what by day, and each change of its status, are kept for ever."
    ),
    "page": (
        "The page, see [page.md](page.md), and pings of other people's jobs: what "
        "`-m daemon` serves apart from our answer to peers."
    ),
    "status": "Our answer to peers, see [peers.md](peers.md#our-answer).",
    "summary": (
        "A numbered summary at a time of day in `[general] timezone`, see "
        "[mail.md](mail.md#the-daily-summary)."
    ),
    "channel": (
        "A way beside mail: `contact` and `alertcontact` take its name. Exactly one of "
        "`url`, `webhook` and `command` is given, see "
        "[channels.md](channels.md). `url` needs Apprise: "
        "`pip install 'apprise>=2.3,<3'`."
    ),
    "maintenance": (
        "A maintenance window: these jobs are checked, and no alert about them leaves. "
        "A job that is still failing when it ends gives a first alert, see "
        "[alerting.md](alerting.md#silence). Times are in `[general] timezone`. In the "
        "nights in which clocks are changed a window begins once, and its length is "
        "that of a clock that is not changed. A group is a job of its own: name it, "
        "too, if its members are named."
    ),
}
_LAYOUT = """\
## Templates and hosts

An option counts in this order: the section itself, the templates that it uses (the
first that is named wins), `[defaults KIND]`, `[defaults]`, and the kind's own default.
`[template NAME]` and `[defaults KIND]` may have every option of the kind. A template
may `use` others. A wrong option of `[defaults KIND]` is one failing job of that name,
and no target takes it.

```ini
[defaults http]
timeout = 10

[template shop]
contact = shop@example.com
expect_text = Welcome

[http shop]
use = shop
hosts = www1.example.com, www2.example.com
url = https://{host}/

[http shop/www2.example.com]
timeout = 20
```

This makes two jobs, `http shop/www1.example.com` and `http shop/www2.example.com`; the
last section says what differs for one host. `checker.py -m show 'http shop/*'` prints
each as it counts, and where each value comes from. In a section with hosts, `was = OLD`
stands for `OLD/host`.

A line of `hosts_file` that is no host is a failing job of its own, such as
`http shop/www1 www2`; the other hosts are checked. A host that is there twice is
checked once, with a warning. An IPv6 address gets its brackets in a URL and before a
port.
"""
_JOB = """\
## [job NAME]

The policy of a job class of your own. NAME is that of its job file, for all jobs of the
file, or that of one job as `-m list` has it, which goes first. What such a section says
goes before what the class says; `[defaults]` counts where the class says nothing. The
options are those of `[defaults]`, and `description`, `enabled`, `invert` and `use`.

```ini
[job Backup]
notify = day
contact = backup@example.com
runbook = https://wiki.example.com/backup
```

A wrong option is a failing job of the section's name; the other options count, and the
job runs. `-m validate` names a section that is about no job.
"""
_KINDS = """\
# Kinds of targets

Each target is one section, `[KIND NAME]`. The name is what mails say, and the
target's history belongs to it; everything else may change. `./checker.py -m kinds`
lists the kinds, those of your own job files too; `-m kinds KIND` the options of one.

- Thresholds are options `warn_...` and `fail_...`. A number may have a unit, such as
  `500ms`, `2s`, `5GB` or `90%`. A range, such as `1..15`, asks for a number within it.
- With several thresholds the worst one decides. With `need = all` it takes all of them
  at once: of `fail_...` and of `warn_...` those that you give, else the defaults.
- A wrong option is a failing job of the target's name, and everything else runs.
"""
_COMMON = """\
## Every kind

These options work in each of these sections, and so do those of
[\\[defaults\\]](settings.md#defaults): `every`, `notify`, `failures`, `contact`,
`timeout` and the others there. Until its first run a target is `not run yet` in
`-m list`.
"""
_RETRIES = """\
With `retries` a target that is failing or unknown is tried again within the run, and
only the last try counts: one refused connection is no failure, and counts nowhere. A
warning is not tried again. `timeout` is for all tries together. Each try gets an equal
part of what is left, less the pauses, so give a check that takes long a longer
`timeout`. What is measured since the last run begins where it began for the first try.
A target that is OK after a failed try says so in `-m list`. The kinds {} have neither
option: what they look at is news only once, or does not change within a run.

`recoveries` is how many consecutive OK results end a failure, in each kind.
"""
#: What stands for None, by the option.
WHERE_NOT_GIVEN = {
    "every": "by kind, or by class",
    "contact": "`alertcontact`",
    "failures": "by kind: 3, 2 or 1",
    "recoveries": "by kind: 2 or 1",
    "recheck": "by kind",
    "timezone": "that of the machine",
}


def settings_page() -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    for section, options in SECTIONS.items():
        yield from _section(section, _about(section), options)
    for word, options in NAMED_SECTIONS.items():
        yield from _section(f"{word} NAME", _ABOUT[word], options)
    yield _JOB
    yield "## Targets"
    yield ""
    yield "The kinds of targets and their options are in [kinds.md](kinds.md)."
    yield ""
    yield _LAYOUT
    yield from _table(LAYOUT_OPTIONS)


def kinds_page(kinds: Sequence[KindInfo]) -> str:
    """Return the page of the kinds as Markdown."""
    return "\n".join(_lines_of_kinds(kinds)) + "\n"


def _lines_of_kinds(kinds: Sequence[KindInfo]) -> Iterator[str]:
    yield _KINDS
    yield "| kind | checked every | what it does |"
    yield "|---|---|---|"
    for kind in kinds:
        yield f"| [`{kind.kind}`](#{kind.kind}-name) | {kind.every} | {kind.about} |"
    yield ""
    for kind in kinds:
        yield f"## [{kind.kind} NAME]"
        yield ""
        again = f"; while it is failing, every {kind.recheck} (`recheck`)"
        again = again if kind.recheck != "no" else ""
        yield f"Checked every {kind.every} unless `every` says otherwise{again}."
        yield ""
        yield "| option | default | what it is for |"
        yield "|---|---|---|"
        for name, info in kind.options.items():
            yield f"| `{name}` | {_default_of(info)} | {_purpose(info)} |"
        yield ""
        if kind.guide:
            yield textwrap.dedent(kind.guide).strip()
            yield ""
    yield _COMMON
    yield from _table(
        {
            name: option
            for name, option in {**POLICY_OPTIONS, **RETRY_OPTIONS}.items()
            if name not in DEFAULTS
        }
    )
    yield ""
    yield _RETRIES.format(", ".join(one.kind for one in kinds if not one.retries))


def _default_of(info: OptionInfo) -> str:
    if info.required:
        return "must be given"
    return f"`{info.default}`" if info.default else NOTHING


def _purpose(info: OptionInfo) -> str:
    purpose = info.help.replace("|", r"\|")
    return f"{purpose}; `{info.also}` is another name" if info.also else purpose


def shipped_kinds(folder: Path) -> list[KindInfo]:
    """Return the kinds of the job files that ship, which are in a folder."""
    from lib.plugins.discover import kind_of

    return [
        replace(kind_of(JobFile(folder / f"{name}.py", name)), file=f"jobs/{name}.py")
        for name in KIND_FILES.values()
    ]


def _section(title: str, about: str, options: Mapping[str, Option]) -> Iterator[str]:
    yield f"## [{title}]"
    yield ""
    yield textwrap.fill(about, WIDTH, break_long_words=False, break_on_hyphens=False)
    yield ""
    yield from _table(options)
    yield ""


def _about(section: str) -> str:
    old = [name for name, now in older.SECTIONS.items() if now == section]
    also = "".join(f" `[{name}]` is its old name and still works." for name in old)
    return f"{_ABOUT[section]}{also}"


def _table(options: Mapping[str, Option]) -> Iterator[str]:
    yield "| option | default | what it is for |"
    yield "|---|---|---|"
    for name, option in options.items():
        purpose = option.help.replace("|", r"\|")
        yield f"| `{name}` | {_default(name, option)} | {purpose} |"


def _default(name: str, option: Option) -> str:
    if option.default is REQUIRED:
        return "must be given"
    if option.default is None:
        return WHERE_NOT_GIVEN.get(name, NOTHING)
    words = written(option.default, option.unit)
    return f"`{words}`" if words else NOTHING


if __name__ == "__main__":
    docs = Path(__file__).parents[2] / "docs"
    kinds = kinds_page(shipped_kinds(docs.parent / "jobs"))
    replace_softly(docs / "settings.md", settings_page().encode(), mode=0o644)
    replace_softly(docs / "kinds.md", kinds.encode(), mode=0o644)
