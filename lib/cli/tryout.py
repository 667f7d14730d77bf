"""The modes that try something for real: run, check, drill, validate, test."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lib.cli.arguments import (
    OK,
    STOPPED,
    TROUBLE,
    UNKNOWN,
    WRONG_USE,
    read_settings,
    say_more,
    settings_of,
)
from lib.core.enums import Status
from lib.core.messages import Message
from lib.core.settings import Mail, Problem, Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence

    from lib.config.load import SettingsError
    from lib.core.jobs import Job
    from lib.core.results import JobReport


def run_jobs(args: argparse.Namespace) -> int:
    from lib.report import table
    from lib.report.rows import RESULT_COLUMNS, detail_lines, result_rows
    from lib.runner import adhoc

    settings = settings_of(args)
    trial, unmatched = adhoc.try_jobs(settings, args.words)
    _say_unmatched(unmatched, [job.name for job in trial.jobs])
    if trial.reports:
        rows = result_rows(trial.reports)
        table.show(RESULT_COLUMNS, rows, as_json=args.json, out=sys.stdout)
        if not args.json:
            for line in detail_lines(trial.reports):
                print(line)
    return _code_of(trial.reports, unmatched)


def check(args: argparse.Namespace) -> int:
    """Run jobs now as a run of cron's does: with state, and with notification."""
    from lib.report import table
    from lib.report.rows import CHECKED_COLUMNS, checked_rows, detail_lines
    from lib.runner import adhoc, run

    settings = settings_of(args, with_password=True)
    loaded = adhoc.meet(settings)
    matching, unmatched = adhoc.matching_jobs(loaded.jobs, args.words)
    _say_unmatched(unmatched, [job.name for job in loaded.jobs])
    if not matching:
        return TROUBLE if unmatched else OK
    ctx = run.check(settings, frozenset(job.key for job in matching), on_wait=_say)
    ctx.reports.sort(key=lambda report: report.job.name)
    rows = checked_rows(ctx.reports, ctx.session.records)
    table.show(CHECKED_COLUMNS, rows, as_json=args.json, out=sys.stdout)
    if not args.json:
        for line in detail_lines(ctx.reports):
            print(line)
    if ctx.stop.asked:
        return STOPPED
    return TROUBLE if ctx.is_frozen else _code_of(ctx.reports, unmatched)


def _say(words: str) -> None:
    print(f"checker: {words}", file=sys.stderr)


def _code_of(reports: Iterable[JobReport], unmatched: Sequence[str]) -> int:
    """Return the exit code of jobs that were run: the worst status."""
    statuses = {report.result.status for report in reports}
    if unmatched or Status.FAILING in statuses:
        return TROUBLE
    return UNKNOWN if Status.UNKNOWN in statuses else OK


def drill(args: argparse.Namespace) -> int:
    from lib.runner import adhoc

    settings = settings_of(args, with_password=True)
    loaded = adhoc.meet(settings)
    matching, unmatched = adhoc.matching_jobs(loaded.jobs, args.words)
    _say_unmatched(unmatched, [job.name for job in loaded.jobs])
    were_sent = []
    for number, job in enumerate(matching):
        if number > 0:
            print()
        were_sent.append(_was_drilled(settings, job))
    return OK if all(were_sent) and not unmatched else TROUBLE


def _was_drilled(settings: Settings, job: Job) -> bool:
    """Send the drill of a job and show what became of it; return if it was sent."""
    from lib.alerting import drill as drill_mail
    from lib.alerting.delivery import send_now
    from lib.core.hours import windows_of
    from lib.report import table
    from lib.system.clock import utc_now

    table.say(job.name, sys.stdout)
    rows = drill_mail.policy_rows(job, windows_of(settings))
    table.show(("item", "value"), rows, as_json=False, out=sys.stdout)
    message = drill_mail.message(settings, job, utc_now())
    why = send_now(settings, message, on_step=_shown(settings.mail))
    if why:
        all_of_them = _all_of_them(message)
        print(f"checker: the drill was not sent{all_of_them}: {why}", file=sys.stderr)
        return False
    by_mail = all("@" in to for to in message.to)
    if settings.mail.holds or (settings.mail.nomail and by_mail):
        print(_only_logged(settings.mail, "the drill"))
        return True
    print(f"A drill was sent to {', '.join(message.to)}: {message.subject}")
    seen = drill_mail.arrival(settings, message)
    print(seen or "Did it arrive, and not as spam?  We cannot see that mailbox.")
    return True


def _say_unmatched(patterns: Iterable[str], names: Sequence[str]) -> None:
    """Say of each pattern that no job has such a name, and which one is near."""
    from lib.config.hints import nearest_job

    for pattern in patterns:
        hint = nearest_job(pattern, names) or "; see -m list"
        print(f"checker: no job is called {pattern!r}{hint}", file=sys.stderr)


def validate(args: argparse.Namespace) -> int:
    from lib.config.advice import advice
    from lib.config.ini import in_order, read_ini
    from lib.config.load import SettingsError
    from lib.core.text import counted
    from lib.runner import adhoc

    try:
        settings = settings_of(args, with_password=True)
    except SettingsError as error:
        problems = error.problems
        if error.settings is not None:
            # Nothing runs, but the targets can be looked at.
            loaded = adhoc.meet(error.settings)
            more = [problem for problem in loaded.problems if not problem.note]
            problems = in_order((*problems, *more), error.settings.ini.names)
        _show_problems(args, problems)
        if not args.json:
            print(_in_use(args, error))
        return TROUBLE
    loaded = adhoc.meet(settings, advises=True)
    # Read again, because the sections that are wrong were taken out.
    content = read_ini(settings.path).ini
    sections = (
        *settings.problems,
        *loaded.problems,
        *advice(content, [kind.kind for kind in loaded.kinds]),
        *_unusable_services(settings),
        *_unusable_tokens(settings),
        *_unusable_templates(settings),
        *_pages_not_written(settings),
    )
    in_files = in_order(sections, settings.ini.names)
    problems = (
        *in_files,
        *adhoc.problems_of(settings, loaded),
        *_history_troubles(settings),
    )
    problems = tuple(problem for problem in problems if not problem.note)
    if problems or args.json:
        _show_problems(args, problems)
    else:
        jobs = counted(len(loaded.jobs), "job")
        print(f"{settings.path}: nothing is wrong; {jobs}")
    say_more(args, settings, ())
    return TROUBLE if problems else OK


def _unusable_services(settings: Settings) -> Iterable[Problem]:
    if not any(channel.services for channel in settings.channels.values()):
        return ()
    from lib.alerting.senders import unusable_services

    return unusable_services(settings)


def _unusable_templates(settings: Settings) -> Iterable[Problem]:
    """Yield what is wrong with the templates of [page]."""
    if not settings.page.templates:
        return
    from lib.system.clock import utc_now

    try:
        from lib.runner.page import trouble_with_templates
    except ModuleNotFoundError:
        return
    where = settings.ini.where("page", "templates")
    for line in trouble_with_templates(settings, utc_now()):
        yield Problem(f"templates: {line}", where, "page")


def _pages_not_written(settings: Settings) -> Iterable[Problem]:
    """Yield which files of somebody else are where pages are to be written."""
    if not (settings.page.write or settings.page.public_write):
        return
    try:
        from lib.runner.page import in_the_way
    except ModuleNotFoundError:
        return
    for option, why in in_the_way(settings).items():
        where = settings.ini.where("page", option)
        yield Problem(f"{option}: {why}", where, "page")


def _history_troubles(settings: Settings) -> Iterable[Problem]:
    """Yield what is missing of the history, and why.

    What is lost is no fault of the settings; that runs cannot write on is to be mended.
    """
    from lib.storage.history import History
    from lib.system.clock import utc_now

    history, now = History(settings.state, settings.zone), utc_now()
    is_written = not history.not_written(now)
    history.look_through()
    for why in history.troubles(now):
        yield Problem(f"history: {why}", warning=is_written)


def _unusable_tokens(settings: Settings) -> Iterable[Problem]:
    """Return what is wrong with the tokens of heartbeats, or that nobody takes them."""
    from lib.config.pings import tokens_of

    tokens, problems = tokens_of(settings.ini, settings.path.parent)
    yield from problems
    if tokens and not settings.page.ping:
        name = next(iter(tokens.values()))
        text = "token: nobody takes its pings; set ping = yes in [page]"
        title = f"heartbeat {name}"
        where = settings.ini.where(title, "token") or settings.ini.where(title)
        yield Problem(text, where, title, warning=True)


def _in_use(args: argparse.Namespace, error: SettingsError) -> str:
    """Return which settings runs go on with, while those of now cannot be used."""
    from functools import partial

    from lib.cli.lastusable import last_usable
    from lib.config.load import SettingsError
    from lib.core.text import mail_time

    try:
        settings = last_usable(args, error, partial(read_settings, args))
    except SettingsError as none:
        words = none.problems[-1].text
    else:
        assert settings.last_usable is not None
        in_use = settings.last_usable
        when = mail_time(in_use.at, settings.zone)
        # Cron's runs may have a variable that is not set here.
        words = (
            f"a run that cannot use them goes on with those of {when}: {in_use.path}"
        )
    return f"\n{words[0].upper()}{words[1:]}"


def _show_problems(args: argparse.Namespace, problems: Iterable[Problem]) -> None:
    from lib.report import table
    from lib.report.rows import PROBLEM_COLUMNS, each_once, problem_rows

    rows = problem_rows(problems if args.json else each_once(problems))
    table.show(PROBLEM_COLUMNS, rows, as_json=args.json, out=sys.stdout)


def test(args: argparse.Namespace) -> int:
    """Send one message by a channel, to an address, or by every way there is."""
    from lib.config.hints import nearest

    words = args.words
    if words and "@" in words[0]:
        return testmail(args)
    settings = settings_of(args, with_password=True)
    names = list(words or settings.channels)
    # A way such as oncall/ntfy is one service of a channel.
    ways = [way for channel in settings.channels.values() for way in channel.ways]
    for name in names:
        if name not in settings.channels and name not in ways:
            hint = nearest(name, [*settings.channels, *ways])
            known = ", ".join(settings.channels)
            hint = hint or (f"; the channels are {known}" if known else "")
            print(f"checker: no channel is called {name!r}{hint}", file=sys.stderr)
            return WRONG_USE
    code = OK
    has_address = any("@" in to for to in settings.alertcontact)
    if not words and (has_address or not names):
        code = testmail(args)
    for name in names:
        code = max(code, _test_channel(settings, name))
    return code


def _test_channel(settings: Settings, name: str) -> int:
    from lib.alerting import templates
    from lib.alerting.delivery import send_now
    from lib.system.clock import utc_now

    if settings.mail.holds:
        print(f"Nothing was sent to {name}: --nomail was given.")
        return OK
    message = templates.test_message(
        os.urandom(16).hex(), settings.servername, (name,), utc_now()
    )
    if note := _outside_window(settings, message):
        print(f"{name}: {note}; this message does not wait")
    why = send_now(settings, message, on_step=print)
    if why:
        print(
            f"checker: the message to {name} was not accepted: {why}", file=sys.stderr
        )
        return TROUBLE
    print(f"The message to {name} was accepted.  Did it arrive?")
    return OK


def _outside_window(settings: Settings, message: Message) -> str:
    """Return that a message would wait for its window now; empty: it would not."""
    from lib.core.hours import windows_of
    from lib.core.text import table_time

    until = windows_of(settings).opens_at(message, message.born_at)
    if until is None:
        return ""
    at = table_time(until, settings.zone, message.born_at)
    return f"outside its window, in which alerts wait until {at}"


def testmail(args: argparse.Namespace) -> int:
    from lib.alerting import templates
    from lib.alerting.delivery import send_now
    from lib.config import fields
    from lib.system.clock import utc_now

    settings = settings_of(args, with_password=True)
    to = tuple(to for to in settings.alertcontact if "@" in to)
    if args.words:
        try:
            to = fields.addresses(args.words[0])
        except ValueError as error:
            print(f"checker: -m testmail: {error}", file=sys.stderr)
            return WRONG_USE
    mail = settings.mail
    if not to:
        print(
            "checker: alertcontact has no mail address; name one: -m testmail ADDRESS",
            file=sys.stderr,
        )
        return TROUBLE
    if not (mail.is_set_up or mail.nomail):
        print(
            f"checker: {settings.path}: mail is not set up: give smtpserver, user and "
            "pass in [email]",
            file=sys.stderr,
        )
        return TROUBLE
    code = OK
    for account in (mail, mail.backup) if mail.backup and not mail.nomail else (mail,):
        message = templates.test_message(
            os.urandom(16).hex(), settings.servername, to, utc_now()
        )
        if account is mail.backup:
            print("\nThe backup account, [email backup]:")
        alone = replace(settings, mail=replace(account, backup=None))
        why = send_now(alone, message, on_step=_shown(mail))
        whom = ", ".join(to)
        if why:
            all_of_them = _all_of_them(message)
            print(
                f"checker: the mail was not sent{all_of_them}: {why}", file=sys.stderr
            )
            code = TROUBLE
        elif mail.nomail:
            print(_only_logged(mail, f"the mail to {whom}"))
        else:
            print(f"The mail to {whom} was accepted. Did it arrive, and not as spam?")
    return code


def _shown(mail: Mail) -> Callable[[str], None]:
    """Return what shows the steps of a session; with nomail there is none."""
    return _ignore if mail.nomail else print


def _only_logged(mail: Mail, what: str) -> str:
    why = "--nomail was given" if mail.holds else "nomail is set"
    return f"Nothing was sent: {why}, so {what} is in the log."


def _all_of_them(message: Message) -> str:
    return " to everybody" if len(message.to) > 1 else ""


def _ignore(_step: str) -> None:
    """Show nothing."""
