"""Loads settings.cfg as Settings, or reports every problem at once.

The options are in the tables of ``lib/config/options.py``; those of a kind are in its
job file, and are read by the worker that runs it.
Only what makes a run impossible is fatal: an unreadable file, a wrong value in
[general] or [email], a password that others can read.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lib.config import older
from lib.config.fields import is_this_machine, many, url
from lib.config.ini import IniContent, IniError, in_order, read_copy, read_ini
from lib.config.jobfiles import find_job_files
from lib.config.mail import read_mail
from lib.config.options import (
    CHANNEL_WORD,
    MAINTENANCE_WORD,
    PEERS,
    SECTIONS,
    secret_options,
)
from lib.config.peers import find_keys, peer_options, peers_in, without_ourselves
from lib.config.secrets import file_problems, read_secret, secrets_in
from lib.config.sections import Kinds, check_titles, read_section, title_of
from lib.config.targets import JOB
from lib.core.ini import IniFile
from lib.core.jobs import SHIPPED, JobFile
from lib.core.sanitize import harmless, scrubbed
from lib.core.secret import Secret, Secrets
from lib.core.settings import (
    AnswerEndpoint,
    Channel,
    HistoryAges,
    Limits,
    Mail,
    Metrics,
    Page,
    Problem,
    Settings,
    SummaryTimes,
)
from lib.system.permissions import can_anybody_replace, why_not_run

if TYPE_CHECKING:
    from lib.core.silences import Window

#: The options that say what is asked at the end of each run.
_PING = frozenset(secret_options("ping", ""))
#: The options that give the password of the page, and what it may be.
_PAGE_TOKEN = frozenset(secret_options("token", ""))
#: What runs write for others to read.
_FOR_OTHERS = (
    ("page", "write"),
    ("page", "public_write"),
    ("metrics", "write"),
    ("status", "write"),
)
_OF_SERVED_PAGE = frozenset({"listen", "hosts"})
_GOOD_TOKEN = r"[!-~]{16,200}"
#: Where the older program answered its peers.
OLDER_LISTEN = ("0.0.0.0", 5000)


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` lists every problem."""

    def __init__(
        self, problems: tuple[Problem, ...], settings: Settings | None = None
    ) -> None:
        super().__init__(problems, settings)
        self.problems = problems
        #: What is known of the settings nevertheless, to look at the targets; None if
        #: that is nothing.  No run may use them.
        self.settings = settings

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def load_settings(
    path: Path,
    *,
    base: Path,
    jobs: Sequence[Path] = (),
    state: Path | None = None,
    nomail: bool = False,
    with_password: bool = True,
    copy: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings in the file at ``path``, with its problems.

    Raise SettingsError naming every problem at once if one of them is fatal.

    ``base`` is the checkout, whose jobs/ ships and whose state/ is the default.
    ``jobs`` and ``state`` override [general], ``nomail`` overrides [email].
    ``with_password`` False: do what only sending needs (``pass_command``) not at all.
    ``copy``: the texts to read in place of the files, as they were when they could be
    used.  What is wrong with [email] by now is then no reason to do without all.
    """
    base, state = base.absolute(), state.absolute() if state else None
    content = _read_content(path, base, copy)
    path = path.absolute()
    ini, folder = content.ini, path.parent
    unsafe = list(file_problems(ini)) if copy is None else []
    problems = [*content.problems, *unsafe]
    # No command is started that somebody else may have written there.
    with_password = with_password and not unsafe
    tables = _read_tables(ini, problems, with_keys=not unsafe)
    general = tables["general"]
    job_files, wrong = _find_jobs(folder, general, jobs, base)
    jobs_line = "--jobs" if jobs else ini.where("general", "jobs")
    problems += [
        replace(problem, where=problem.where or jobs_line) for problem in wrong
    ]
    mail, wrong_mail = read_mail(ini, folder, nomail, with_password)
    if copy is not None:
        mail, wrong_mail = _with_trouble(mail, wrong_mail)
    accounts = (mail, mail.backup) if mail.backup else (mail,)
    peers = peers_in(tables["peers"])
    keys = [peer.key for peer in peers.peers]
    ping, wrong_ping = _read_ping(ini, general, folder, reads=with_password)
    problems += wrong_ping
    channels: dict[str, Channel] = {}
    has_channels = _has_channels(ini)
    if has_channels:
        from lib.config.channels import check_contacts, read_channels

        channels, wrong_channels = read_channels(
            ini, folder, with_password and not nomail
        )
        problems += wrong_channels
        # Also where mails go to the log in any case.
        mail = replace(mail, holds=nomail)
    # Also those of sections that are taken out because something in them is wrong.
    secrets = secrets_in(
        ini,
        [
            *(account.password for account in accounts),
            *keys,
            ping,
            tables["page"].get("token", Secret()),
            *(secret for channel in channels.values() for secret in channel.secrets),
        ],
    )
    own = [file for file in job_files if not file.ships]
    kinds = Kinds(file for file in own if not file.refused)
    problems += check_titles(ini, content.broken, kinds, {file.name for file in own})
    problems += wrong_mail
    if has_channels:
        problems += check_contacts(ini)
    words = ini.words()
    if JOB in words:
        from lib.config.jobsections import JobSections

        problems += JobSections(ini).problems()
    if not (mail.is_set_up or mail.nomail):
        # The file that is missing may be the one that says how mail leaves.
        problems = [
            replace(problem, fatal=problem.fatal or problem in content.missing)
            for problem in problems
        ]
    state = state or _beside(folder, general.get("state") or str(base / "state"))
    problems += _check_apart_from_state(ini, tables, state)
    maintenance, wrong_windows = _read_maintenance(ini, general, words)
    problems += wrong_windows
    ordered = _for_people(in_order(problems, ini.names), secrets)
    logfile = _beside(folder, general.get("logfile") or str(state / "checker.log"))
    statefile = general.get("statefile")
    if unsafe:
        job_files = tuple(file for file in job_files if file.ships)
    settings = Settings(
        path=path,
        servername=general.get("servername", ""),
        alertcontact=general.get("alertcontact", ()),
        logfile=logfile,
        state=state,
        mail=mail,
        zone=general.get("timezone"),
        anchors=general.get("anchors", ()),
        old_statefile=_beside(folder, statefile) if statefile else None,
        job_files=job_files,
        files=tuple(folder / name for name in ini.names),
        limits=Limits(
            general.get("workermemory", Limits().memory_mb),
            general.get("workerfiles", Limits().files),
            general.get("workerprocesses", Limits().processes),
        ),
        peers=peers,
        ping=ping,
        status=AnswerEndpoint(**tables["status"]),
        page=_page_of(tables["page"]),
        metrics=Metrics(**tables["metrics"]),
        history=HistoryAges(**tables["history"]),
        summary=SummaryTimes(**tables["summary"]),
        maintenance=maintenance,
        channels=channels,
        problems=ordered,
        ini=ini,
        secrets=secrets,
        digest=content.digest,
    )
    if any(problem.fatal for problem in ordered):
        raise SettingsError(ordered, settings)
    return settings


def _with_trouble(mail: Mail, problems: list[Problem]) -> tuple[Mail, list[Problem]]:
    """Return the mail settings of a copy and their problems, none of them fatal.

    A password file may be gone, and the jobs still be checked.  What is wrong is said
    with the settings of now.
    """
    fatal = next((problem for problem in problems if problem.fatal), None)
    if fatal is None:
        return mail, problems
    mail = replace(mail, trouble=f"mail cannot be sent: {fatal}")
    return mail, [replace(problem, fatal=False, warning=True) for problem in problems]


def _read_content(path: Path, base: Path, copy: Mapping[str, str] | None) -> IniContent:
    """Return what is in the files; raise SettingsError, its path as it was typed."""
    absolute = path.absolute()
    try:
        return read_ini(absolute) if copy is None else read_copy(absolute, copy)
    except IniError as error:
        where = path.name if absolute == base / path.name else str(path)
        raise SettingsError(
            tuple(
                replace(problem, where=where) if problem.where == path.name else problem
                for problem in _for_people(error.problems, Secrets())
            )
        ) from error


def _read_maintenance(
    ini: IniFile, general: Mapping[str, Any], words: set[str]
) -> tuple[tuple[Window, ...], Iterable[Problem]]:
    """Return the windows of [maintenance NAME], and what is wrong with them."""
    if MAINTENANCE_WORD not in words:
        return (), ()
    from lib.config.maintenance import read_maintenance

    return read_maintenance(ini, general.get("timezone"))


def _read_ping(
    ini: IniFile, general: Mapping[str, Any], folder: Path, *, reads: bool
) -> tuple[Secret, list[Problem]]:
    """Return the URL of [general] ping, or what is wrong with it; empty if there is
    none, or without ``reads``."""
    name = next((name for name in general if name in _PING), None)
    if name is None or not reads:
        return Secret(), []
    try:
        ping = read_secret("ping", general, folder)
        try:
            url(ping.reveal())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    except ValueError as error:
        return Secret(), [Problem(str(error), ini.where("general", name), "general")]
    return ping, []


def _has_channels(ini: IniFile) -> bool:
    """Return whether a section is a channel, or a contact names one."""
    if CHANNEL_WORD in ini.words():
        return True
    for section in ini.sections.values():
        contact = section.options.get("alertcontact") or section.options.get("contact")
        if contact and not all("@" in part for part in many(contact.raw)):
            return True
    return False


#: The sections about Checker itself that are tables, in the order of their problems.
_TABLES = (
    "general",
    "defaults",
    "peers",
    "status",
    "page",
    "metrics",
    "history",
    "summary",
)


def _read_tables(
    ini: IniFile, problems: list[Problem], *, with_keys: bool
) -> dict[str, dict[str, Any]]:
    """Return the values of the sections about Checker itself, except [email].

    Without ``with_keys`` no peer is there whose key has to be found.
    """
    values = {section: dict[str, Any]() for section in _TABLES}
    problems += _read_sections(ini, values)
    problems += _read_peers(ini, values, looks_up=with_keys)
    problems += _check_metrics(ini, values["metrics"])
    problems += _check_history(ini, values["history"])
    problems += _read_page_token(ini, values["page"], reads=with_keys)
    page, status = _page_of(values["page"]), AnswerEndpoint(**values["status"])
    problems += _check_page_address(ini, values["page"], page, status)
    problems += _check_page_folders(ini, values["page"], page)
    problems += _check_status(ini, values["status"])
    return values


def _read_sections(
    ini: IniFile, values: dict[str, dict[str, Any]]
) -> Iterator[Problem]:
    """Put the values of each section into its table; yield what is wrong."""
    tables = {**SECTIONS, "peers": peer_options(ini.options("peers"))}
    old_names = {new: old for old, new in older.SECTIONS.items() if old in ini}
    for section in values:
        title = section if section in ini else old_names.get(section, section)
        values[section], wrong = read_section(ini, title, tables[section])
        yield from wrong
    for new, old in old_names.items():
        if new in ini:
            text = (
                f"this is the old name of [{new}], which is there too,"
                f" at {ini.where(new)}; keep one"
            )
            yield Problem(text, ini.where(old), old)


def _read_peers(
    ini: IniFile, values: dict[str, dict[str, Any]], *, looks_up: bool
) -> Iterator[Problem]:
    """Take peers that cannot be asked out of their table; yield why."""
    servername = values["general"].get("servername", "")
    others, own = without_ourselves(values["peers"], servername, values["status"])
    values["peers"], without_key = find_keys(ini, others, looks_up=looks_up)
    for name, why in {**own, **without_key}.items():
        yield Problem(f"{name}: {why}", ini.where("peers", name), "peers")
    if ini.options("peers").keys() - PEERS.keys() and "status" not in ini:
        values["status"]["listen"] = OLDER_LISTEN
        text = (
            "there are [peers] and no [status], so -m daemon listens on every address, "
            "as in the older program: 0.0.0.0:5000; add [status] with listen = "
            "0.0.0.0:5000 if it is to stay so, or 127.0.0.1:5000"
        )
        yield Problem(text, ini.where("peers"), "status", warning=True)


def _check_metrics(ini: IniFile, values: Mapping[str, Any]) -> Iterator[Problem]:
    if why := _why_not_written(values.get("write", "")):
        text = f"write: {why}; node_exporter reads nothing of us"
        yield Problem(text, ini.where("metrics", "write"), "metrics")


def _check_history(ini: IniFile, values: Mapping[str, Any]) -> Iterator[Problem]:
    ages = HistoryAges(**values)
    for shorter, longer in itertools.pairwise(("results", "five_minutes", "hours")):
        if getattr(ages, longer) < getattr(ages, shorter):
            text = f"{longer}: it must be at least as long as {shorter}"
            yield Problem(text, ini.where("history", longer), "history")


def _check_status(ini: IniFile, values: Mapping[str, Any]) -> Iterator[Problem]:
    path = values.get("write", "")
    if why := _why_not_written(path):
        text = f"write: {why}; peers that read it get no answer"
        yield Problem(text, ini.where("status", "write"), "status")
    elif path:
        yield from _replaceable(path, ini)


def _check_page_address(
    ini: IniFile, values: dict[str, Any], page: Page, status: AnswerEndpoint
) -> Iterator[Problem]:
    """Yield why nobody may be shown the page where it listens; it is not shown then."""
    if page.open and not is_this_machine(page.listen[0]):
        text = (
            "open: listen is no address of this machine alone, so anybody could read "
            "it; set a token in place of open"
        )
        yield Problem(text, ini.where("page", "open"), "page")
        values["open"] = False
    is_served = page.ping or page.is_shown or page.public
    given = ini.options("page")
    # What is wrong with a token is said of it.
    if not (is_served or given.keys() & _PAGE_TOKEN):
        for option in sorted(given.keys() & _OF_SERVED_PAGE):
            text = (
                f"{option}: nothing is served there: -m daemon shows the page with a "
                "token (make one with: openssl rand -hex 16) or open = yes, some of "
                "its jobs with public, and takes pings with ping = yes"
            )
            yield Problem(text, ini.where("page", option), "page", warning=True)
    if is_served and page.listen[1] == status.listen[1]:
        text = (
            "listen: [status] listens on this port, too; what is opened to peers must "
            "not open the page: give another one"
        )
        place = ini.where("page", "listen") or ini.where("page")
        yield Problem(text, place, "page")
        values.update(ping=False, open=False, token=Secret(), public=())


def _check_page_folders(
    ini: IniFile, values: dict[str, Any], page: Page
) -> Iterator[Problem]:
    """Yield why folders of the page cannot be used; some are left out then."""
    for option in ("write", "public_write"):
        path = getattr(page, option)
        if path and (why := _why_not_in(path)):
            text = f"{option}: {why}; there is no page"
            yield Problem(text, ini.where("page", option), "page")
    if page.templates and (why := _why_no_templates(page.templates)):
        text = f"templates: {why}; our own templates are used"
        yield Problem(text, ini.where("page", "templates"), "page")
        values["templates"] = ""
    if page.write and page.public_write and _is_within(page.write, page.public_write):
        text = (
            "public_write: write is within this folder, and that is not for the public"
        )
        yield Problem(text, ini.where("page", "public_write"), "page")
        values["public_write"] = ""
    if page.public_write and not page.public:
        text = "public_write: public says of no tag that anybody may see its jobs"
        yield Problem(text, ini.where("page", "public_write"), "page")
        values["public_write"] = ""


def _is_within(path: str, folder: str) -> bool:
    """Return whether a path is a folder or lies in it, however both are spelled."""
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath((path, folder)) == folder


def _check_apart_from_state(
    ini: IniFile, tables: Mapping[str, dict[str, Any]], state: Path
) -> Iterator[Problem]:
    """Yield what is not written, because it is for others and state/ is for nobody."""
    for section, option in _FOR_OTHERS:
        path = tables[section].get(option, "")
        if not path:
            continue
        has_state = section == "page" and _is_within(str(state), path)
        if has_state or _is_within(path, str(state)):
            text = (
                f"{option}: {path} is, is in or contains the state folder {state}, "
                "which is for Checker alone; nothing is written there: name another one"
            )
            yield Problem(text, ini.where(section, option), section)
            tables[section][option] = ""


def _read_page_token(
    ini: IniFile, values: dict[str, Any], *, reads: bool
) -> Iterator[Problem]:
    """Put the token of [page] in place of the options that say where it is.

    Yield what is wrong with it; it is empty then.  Without ``reads`` it is not read.
    """
    given = {name: values.pop(name) for name in _PAGE_TOKEN if name in values}
    option = next((name for name in given if given[name]), "")
    if not option or not reads:
        return
    try:
        token = read_secret("token", given, ini.folder)
        if not re.fullmatch(_GOOD_TOKEN, token.reveal()):
            raise ValueError(
                f"{option}: expected 16 to 200 letters, digits and signs of ASCII, "
                "without blanks; make one with: openssl rand -hex 16"
            )
        values["token"] = token
    except ValueError as error:
        yield Problem(
            f"{error}; the page is not served", ini.where("page", option), "page"
        )


def _page_of(values: Mapping[str, Any]) -> Page:
    """Return [page]; its ``every`` is in seconds."""
    return Page(
        **{"every_s" if name == "every" else name: one for name, one in values.items()}
    )


def _replaceable(path: str, ini: IniFile) -> Iterator[Problem]:
    """Yield a warning if every user may replace our answer."""
    folder = os.path.dirname(path)
    if can_anybody_replace(folder):
        import shlex

        text = f"write: anybody can replace it: chmod o-w {shlex.quote(folder)}"
        where = ini.where("status", "write")
        yield Problem(text, where, "status", warning=True)


def _why_not_written(path: str) -> str:
    """Return why this user cannot replace a file, or ""."""
    if path and os.path.isdir(path):
        return f"{path} is a folder; expected a file in it"
    return _why_not_in(os.path.dirname(path)) if path else ""


def _why_no_templates(folder: str) -> str:
    """Return why no templates are read of a folder, or "": as it is of job files."""
    try:
        os.listdir(folder)
        why = why_not_run(Path(folder))
    except OSError as error:
        return f"the folder {folder} cannot be read: {error.strerror}"
    return f"none of the folder {folder} is used: {why}" if why else ""


def _why_not_in(folder: str) -> str:
    """Return why this user cannot write into a folder, or ""."""
    if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
        return ""
    if os.path.isdir(folder):
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return f"the file system of {folder} is mounted read-only"
        return f"this user may not write into {folder}; use chown or chgrp"
    if os.path.lexists(folder):
        return f"{folder} is no folder"
    return f"there is no folder {folder}; make it, and let this user write there"


def _find_jobs(
    folder: Path, general: dict[str, Any], jobs: Sequence[Path], base: Path
) -> tuple[tuple[JobFile, ...], tuple[Problem, ...]]:
    own = jobs or [_beside(folder, path) for path in general.get("jobs", ())]
    return find_job_files(base / "jobs", [path.absolute() for path in own], SHIPPED)


def _beside(folder: Path, path: str) -> Path:
    """Return the path; a relative one starts at the settings' folder."""
    return folder / os.path.expanduser(path)


def _for_people(problems: Iterable[Problem], secrets: Secrets) -> tuple[Problem, ...]:
    return tuple(
        replace(
            problem,
            text=harmless(scrubbed(problem.text, secrets)),
            where=harmless(problem.where),
            section=title_of(problem.section),
        )
        for problem in problems
    )
