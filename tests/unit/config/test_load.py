"""settings.cfg -> Settings, or everything that is wrong with it at once."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.config import jobsections
from lib.config.ini import in_order
from lib.config.load import SettingsError, load_settings
from lib.config.options import (
    DEFAULTS,
    NAMED_SECTIONS,
    POLICY_OPTIONS,
    REQUIRED,
    RETRY_OPTIONS,
    SECRET_SUFFIXES,
    SECTIONS,
    Option,
)
from lib.config.targets import JOB
from lib.core.enums import JobFrequency
from lib.core.ini import IniFile
from lib.core.jobs import KIND_FILES, SHIPPED, JobFile
from lib.core.sanitize import scrubbed
from lib.core.secret import Secret
from lib.core.settings import Problem, Settings
from lib.plugins.discover import Discovered, discover
from lib.plugins.kind import Target

BASE = Path(__file__).resolve().parents[3]
WRONG = sorted((Path(__file__).resolve().parents[2] / "settings").glob("*.cfg"))
OF_EVERY_KIND = {**POLICY_OPTIONS, **RETRY_OPTIONS}
GENERAL = "[general]\nservername = web1\nalertcontact = ops@example.com\n"
NO_MAIL = "[email]\nnomail = yes\n"
MAIL = "[email]\nsmtpserver = mail.example.com\nuser = me@example.com\n"
OLD = """\
[general]
servername=uniqueservername
alertcontact=me@example.com
logfile=/var/log/checker.log
statefile=checker.state

[email]
nomail=False
user=an.account@example.com
pass=yourpassword
smtpserver=smtp.example.com
smtpport=587
imapserver=imap.example.com
#A filter deletes my sent messages.
ideletesentmessagesautomatically=True
bustgmailthreading=True

[peers]
peer1=http://example.com:5000,admin@example.com
peer2=http://example.org:5000,admin@example.org
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a text, as settings.cfg in ``tmp_path``."""

    def loaded(text: str, **more) -> Settings:
        path = tmp_path / "settings.cfg"
        path.write_text(text)
        path.chmod(0o600)
        return load_settings(path, **{"base": BASE, **more})

    return loaded


@pytest.fixture
def failure(load, tmp_path):
    """Return a function that returns what is said of a text that is refused."""

    def refused(text: str, **more) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(text, **more)
        return [
            str(problem).replace(str(tmp_path), "FOLDER")
            for problem in caught.value.problems
        ]

    return refused


def kinds_in(settings: Settings) -> list[Discovered]:
    """Return what the workers find of the kinds that the title of a section has."""
    titles = " ".join(settings.ini.sections)
    return [
        found_of(file, settings) for kind, file in KIND_FILES.items() if kind in titles
    ]


def found_of(file: str, settings: Settings) -> Discovered:
    """Return what the worker of a kind that ships finds."""
    files = {file.name: file for file in settings.job_files if file.ships}
    return discover(files[file], settings.ini, settings.alertcontact, settings.secrets)


def targets_of(settings: Settings) -> list[Target]:
    """Return what jobs find to check."""
    return [
        loaded.instance.target
        for kind in kinds_in(settings)
        for loaded in kind.jobs
        if loaded.instance
    ]


def problems_of(settings: Settings) -> tuple[Problem, ...]:
    """Return what -m validate says: the problems of settings, and those of targets."""
    wrong = [problem for kind in kinds_in(settings) for problem in kind.problems]
    return in_order([*settings.problems, *wrong], settings.ini.names)


def said(settings: Settings) -> list[str]:
    return [str(problem) for problem in settings.problems]


# What is wrong


@pytest.mark.parametrize("path", WRONG, ids=[path.stem for path in WRONG])
def test_each_mistake_has_its_sentence(path, tmp_path, approved):
    copy = tmp_path / "settings.cfg"
    shutil.copy(path, copy)
    copy.chmod(0o600)
    try:
        problems = problems_of(load_settings(copy, base=BASE))
    except SettingsError as error:
        problems = error.problems
    lines = [
        f"{'fatal' if one.fatal else 'warning' if one.warning else 'error'}: {one}\n"
        for one in problems
    ]
    notified = "".join(lines)
    approved(notified, file=path.with_suffix(".txt"))
    assert "hunter" not in notified and "verysecret" not in notified


def test_everything_wrong_is_reported_at_once_in_the_order_of_the_lines(
    failure, tmp_path
):
    (tmp_path / "more.cfg").write_text("[dsk root]\nlimit = 90\n")
    text = (
        "[general]\nalertcontact = nobody\ninclude = more.cfg\n"
        "[http a]\nurl = x\n[email]\nnomail = no\nnomail = maybe\n[htp b]\n"
    )
    places = [line.split(": ")[0] for line in failure(text)]
    lines = [1, 2, 6, 8, 8, 9]
    assert places == [*(f"settings.cfg:{line}" for line in lines), "more.cfg:1"]


def test_the_error_reads_as_its_problems(load):
    with pytest.raises(SettingsError) as caught:
        load("[general]\n" + NO_MAIL)
    assert str(caught.value).count("\n") == 1
    assert "servername is missing" in str(caught.value)


# What is right


@pytest.mark.long
def test_the_least_that_is_needed(load, tmp_path):
    settings = load(GENERAL + NO_MAIL)
    assert settings.servername == "web1"
    assert settings.alertcontact == ("ops@example.com",)
    assert settings.state == BASE / "state"
    assert settings.logfile == BASE / "state" / "checker.log"
    assert settings.old_statefile is None
    assert targets_of(settings) == []
    assert settings.problems == ()
    assert settings.path == tmp_path / "settings.cfg"


def test_without_sections_of_its_own_no_kind_says_anything(load):
    settings = load(GENERAL + NO_MAIL)
    found = [found_of(file, settings) for file in KIND_FILES.values()]
    assert [(kind.jobs, kind.problems) for kind in found] == [((), ())] * len(found)


def test_several_people_may_be_notified(load):
    text = "[general]\nservername = a\nalertcontact = a@example.com,\n  b@example.com\n"
    assert load(text + NO_MAIL).alertcontact == ("a@example.com", "b@example.com")


def wrong_in(settings):
    """Return the problems but the notes, which nobody has to mend."""
    return [problem for problem in problems_of(settings) if not problem.note]


def test_settings_of_the_older_program_load_unchanged(load, tmp_path):
    settings = load(OLD)
    (warning,) = wrong_in(settings)
    assert warning.warning and warning.section == "status"
    assert settings.status.listen == ("0.0.0.0", 5000)
    assert settings.logfile == Path("/var/log/checker.log")
    assert settings.old_statefile == tmp_path / "checker.state"
    assert settings.mail.user == "an.account@example.com"
    assert settings.mail.password == Secret("yourpassword")
    assert settings.mail.bustgmailthreading
    assert (
        settings.ini.parser()
        .get("peers", "peer1")
        .startswith("http://example.com:5000")
    )


@pytest.mark.parametrize(
    "line", ["user=an.account@example.com\npass=yourpassword", "imapserver=.*"]
)
def test_what_the_older_settings_left_out_or_empty_is_not_given(load, line):
    empty = re.sub(f"(?m)^({line})$", lambda found: _emptied(found[0]), OLD)
    without = re.sub(f"(?m)^({line})$\n", "", OLD)
    assert empty != without != OLD
    status = "[status]\n"
    assert wrong_in(load(empty + status)) == wrong_in(load(without + status)) == []


def _emptied(lines: str) -> str:
    return re.sub("(?m)=.*$", "=", lines)


def test_the_sender_may_be_another_than_the_account(load):
    mail = load(GENERAL + MAIL + "pass = hunter2\nsender = alerts@example.com\n").mail
    assert mail.sender == "alerts@example.com"


def test_future_options_are_known_already(load, tmp_path):
    text = (
        GENERAL + MAIL + "pass = hunter2\nimapserver = imap.example.com\n"
        "imapport = 143\nimapsecurity = starttls\nimapfolder = INBOX\n"
        "imapgrace = 600\nmailsperhour = 20\nmailsperday = 100\nnomailisfine = no\n"
        "[peers]\nfriend = https://example.org/,a@example.org,key=abcdef\n"
        "every = hour\nafter = 2\ncopy = yes\n"
        f"[status]\nlisten = 0.0.0.0:5000\nwrite = {tmp_path}/checker.txt\n"
        "[summary]\ndaily = 08:00\nweekly = mon 08:00\n"
    )
    settings = load(text)
    assert wrong_in(settings) == []
    assert [note for note in settings.problems if note.note] == []


def test_the_page_is_apart_from_the_state_folder_wherever_a_link_leads(load, tmp_path):
    (tmp_path / "state/www").mkdir(parents=True)
    (tmp_path / "beside").mkdir()
    (tmp_path / "link").symlink_to("state/www")
    state = f"state = {tmp_path}/state\n[page]\nwrite = "
    for name in ("link", "state", "state/www", "state/..", "."):
        settings = load(f"{GENERAL}{state}{tmp_path}/{name}\n")
        (problem,) = wrong_in(settings)
        assert "is for Checker alone" in problem.text and not problem.fatal, name
        assert settings.page.write == ""
    public = f"{tmp_path}/beside\npublic = web\npublic_write = "
    settings = load(f"{GENERAL}{state}{public}{tmp_path}/link\n")
    assert settings.page.public_write == "" and settings.page.write
    settings = load(f"{GENERAL}{state}{tmp_path}/beside\n")
    assert wrong_in(settings) == []
    assert settings.page.write == f"{tmp_path}/beside"


@pytest.mark.parametrize(
    ("sections", "daily"),
    [
        ("[summary]\ndaily = 08:00\n", "08:00"),
        ("[digest]\ndaily = 07:00\n", "07:00"),
        ("[digest]\ndaily = 07:00\n[summary]\ndaily = 08:00\n", "08:00"),
        ("[digest]\ndaily = 07:00\n[summary]\n", ""),
    ],
)
def test_the_summary_is_read_by_its_old_name_where_there_is_no_other(
    load, sections, daily
):
    settings = load(GENERAL + NO_MAIL + sections)
    assert settings.summary.daily == daily
    both = sections.count("[") == 2
    assert len(wrong_in(settings)) == both


@pytest.mark.parametrize(
    ("more", "listen"),
    [
        ("", "127.0.0.1"),
        ("[peers]\n[status]\n", "127.0.0.1"),
        ("[peers]\na = http://a.example/,a@example.org\n[status]\n", "127.0.0.1"),
        ("[peers]\nevery = hour\n", "127.0.0.1"),
        ("[peers]\na = http://a.example/,a@example.org\n", "0.0.0.0"),
    ],
)
def test_the_daemon_is_on_loopback_unless_settings_are_the_older_programs(
    load, more, listen
):
    assert load(GENERAL + NO_MAIL + more).status.listen == (listen, 5000)


@pytest.mark.parametrize(
    "typed", ["no/such.cfg", "../x.cfg", "settings.cfg", "conf", "/no/such.cfg"]
)
def test_a_wrong_path_is_shown_as_it_was_typed(tmp_path, monkeypatch, typed, approved):
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        load_settings(Path(typed), base=BASE)
    (problem,) = caught.value.problems
    assert problem.where == typed
    approved(str(problem))


def test_folders_start_at_the_settings_file(load, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Mine.py").write_text("")
    more = "jobs = own\nstate = kept\nlogfile = here.log\nstatefile = ~/old\n"
    settings = load(GENERAL + more + NO_MAIL)
    assert settings.job_files[-1].path == tmp_path / "own" / "Mine.py"
    assert settings.state == tmp_path / "kept"
    assert settings.logfile == tmp_path / "here.log"
    assert settings.old_statefile == Path.home() / "old"


def test_the_log_lies_in_the_state_folder(load, tmp_path):
    settings = load(GENERAL + "state = kept\n" + NO_MAIL)
    assert settings.logfile == tmp_path / "kept" / "checker.log"


def test_the_command_line_stands_in_for_the_settings(load, tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    text = GENERAL + "jobs = missing\nstate = kept\n" + MAIL + "pass = hunter2\n"
    settings = load(text, jobs=[Path("own")], state=Path("other"), nomail=True)
    assert settings.problems == ()
    assert settings.state == tmp_path / "other"
    assert settings.mail.nomail


def test_the_jobs_that_ship_are_always_there(load):
    ships = {file.name for file in load(GENERAL + NO_MAIL).job_files if file.ships}
    assert ships == SHIPPED


# Mail


@pytest.mark.parametrize(
    ("given", "port", "security"),
    [
        ("", 587, "starttls"),
        ("smtpport = 25\n", 25, "starttls"),
        ("smtpport = 465\n", 465, "tls"),
        ("smtpsecurity = tls\n", 465, "tls"),
        ("smtpsecurity = STARTTLS\nsmtpport = 465\n", 465, "starttls"),
    ],
)
def test_port_and_security_go_together(load, given, port, security):
    mail = load(GENERAL + "[email]\nsmtpserver = mail.example.com\n" + given).mail
    assert (mail.smtpport, mail.smtpsecurity) == (port, security)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
)
def test_no_security_is_for_this_machine(load, host):
    text = f"[email]\nsmtpserver = {host}\nsmtpport = 25\nsmtpsecurity = none\n"
    assert load(GENERAL + text).mail.smtpsecurity == "none"


def test_a_percent_sign_in_a_password_just_works(load):
    settings = load(GENERAL + MAIL + "pass = 100%(x)s#;%\n")
    assert settings.mail.password == Secret("100%(x)s#;%")
    assert settings.problems == ()


def test_the_password_may_lie_in_a_file(load, tmp_path):
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("hunter2\n")
    settings = load(GENERAL + MAIL + "pass_file = password\n")
    assert settings.mail.password == Secret("hunter2")
    assert "hunter2" in settings.secrets


def test_the_password_is_looked_up_only_when_mail_is_to_be_sent(load, tmp_path):
    text = GENERAL + MAIL + "pass_command = touch called\n"
    assert load(text, with_password=False).mail.password == Secret("")
    assert load(text, nomail=True).mail.password == Secret("")
    assert load(text + "nomail = yes\n").mail.password == Secret("")
    assert not (tmp_path / "called").exists()
    with pytest.raises(SettingsError):
        load(text)
    assert (tmp_path / "called").exists()


def test_a_private_authority_is_a_file_beside_the_settings(load, tmp_path):
    (tmp_path / "ca.pem").write_text("")
    settings = load(GENERAL + MAIL + "pass = hunter2\ncafile = ca.pem\n")
    assert settings.mail.cafile == str(tmp_path / "ca.pem")


def test_mail_that_is_not_set_up_is_a_warning(load):
    settings = load(GENERAL)
    assert not settings.mail.is_set_up
    assert [problem.warning for problem in settings.problems] == [True]


# Targets


def test_a_target_has_its_own_options_those_of_all_and_those_of_its_kind(load):
    settings = load(
        GENERAL + NO_MAIL + "[defaults]\nfailures = two\ntimeout = 5\ncontact =\n"
        "[http home page]\nurl = https://example.com/\ntimeout = 7.5\n"
        "[tls home page]\nhost = example.com\n"
    )
    page, certificate = targets_of(settings)
    assert (page.kind, page.name, page.title) == (
        "http",
        "home page",
        "http home page",
    )
    assert (str(page.failures), page.timeout) == ("2", 7.5)
    assert page.every == JobFrequency.MINUTE
    assert certificate.every == JobFrequency.DAY
    assert certificate.contact is None
    assert settings.problems == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "[http a]\nurl = nothing\n",
        "[http a]\nurl = https://example.com/\nurl = https://example.com/\n",
        "[http a]\nurl = https://example.com/\ntimeout 5\n",
        "[http a]\nurl = https://example.com/\n[http  a]\nurl = https://example.com/\n",
        "[http a]\nurl = https://example.com/\n[http a]\n",
        f"[http {'a' * 201}]\nurl = https://example.com/\n",
        "[http a:b@c]\nurl = https://example.com/\n",
    ],
)
def test_a_wrong_target_runs_nowhere_and_stops_nothing(load, wrong):
    settings = load(GENERAL + NO_MAIL + wrong + "[disk root]\npath = /\n")
    assert [target.title for target in targets_of(settings)] == ["disk root"]
    errors = [one for one in problems_of(settings) if not one.warning]
    assert errors and {one.section.split()[0] for one in errors} == {"http"}


def test_names_may_be_in_any_script_and_have_spaces_and_slashes(load):
    settings = load(GENERAL + NO_MAIL + "[disk Füße / 🙂 [1]]\npath = /\n")
    assert [target.name for target in targets_of(settings)] == ["Füße / 🙂 [1]"]


def test_a_section_named_after_a_job_file_is_that_jobs_business(load, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "MySpawner.py").write_text("")
    own = "[MySpawner]\na = b\n[MySpawner one]\nurl = c\n"
    settings = load(GENERAL + "jobs = own\n" + NO_MAIL + own)
    assert settings.problems == ()
    assert settings.ini.parser().get("MySpawner one", "url") == "c"


# Secrets


def test_secrets_are_known_and_longest_first(load):
    settings = load(
        GENERAL + MAIL + "pass = hunter2\n"
        "[http a]\nurl = https://me:hunter2%2Fmore@example.com/\n"
        "[http b]\nurl = https://0123456789abcdef@example.com/\n"
        "[http c]\nurl = https://me:abc@example.com/\n"
        "[peers]\na = https://example.org/,a@example.org,key=peersecret\n"
        "[disk root]\npath = /\n"
    )
    assert [*settings.secrets] == [
        "0123456789abcdef",
        "hunter2%2Fmore",
        "hunter2/more",
        "peersecret",
        "hunter2",
    ]
    assert "hunter2" not in repr(settings.mail)


@pytest.mark.parametrize(
    "text",
    [
        MAIL + "pass = hunter2\n",
        NO_MAIL + "[http a]\nurl = https://me:hunter2@example.com/\n",
        NO_MAIL
        + "[status]\n[peers]\na = https://example.org/,a@example.org,key=hunter2\n",
    ],
    ids=["pass", "in a URL", "key of a peer"],
)
def test_a_password_that_others_can_read_is_refused(tmp_path, text):
    path = tmp_path / "settings.cfg"
    path.write_text(GENERAL + text)
    path.chmod(0o644)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, base=BASE)
    assert str(caught.value) == (
        "settings.cfg: a password is in the file, and anybody can read it: "
        f"chmod 600 {path}"
    )
    path.chmod(0o600)
    assert wrong_in(load_settings(path, base=BASE)) == []


def test_only_the_file_with_the_password_must_be_closed(load, failure, tmp_path):
    (tmp_path / "mail.cfg").write_text(MAIL + "pass = hunter2\n")
    (tmp_path / "mail.cfg").chmod(0o644)
    text = GENERAL + "include = mail.cfg\n"
    assert failure(text)[0].startswith("mail.cfg: a password is in the file, and ")
    (tmp_path / "mail.cfg").chmod(0o600)
    load(text)
    (tmp_path / "settings.cfg").chmod(0o644)
    assert load_settings(tmp_path / "settings.cfg", base=BASE).problems == ()


def test_a_missing_include_that_may_have_said_how_mail_leaves_is_fatal(load, failure):
    text = GENERAL + "include = mail.cfg\n"
    assert any("there is no file" in sentence for sentence in failure(text))
    (problem,) = load(text + "[email]\nnomail = yes\n").problems
    assert not (problem.fatal or problem.warning)


def test_settings_without_a_password_may_be_read_but_not_written(tmp_path):
    path = tmp_path / "settings.cfg"
    path.write_text(GENERAL + NO_MAIL)
    path.chmod(0o644)
    assert load_settings(path, base=BASE).problems == ()
    path.write_text(GENERAL + NO_MAIL + "[EmailChecker]\ntoken = canary\n")
    assert [*load_settings(path, base=BASE).secrets] == ["canary"]
    path.chmod(0o646)
    with pytest.raises(
        SettingsError, match="settings.cfg: anybody can write it: chmod"
    ):
        load_settings(path, base=BASE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("line", ["pass = hunter2\n", "pass_command = echo hunter2\n"])
def test_a_password_in_the_file_of_another_user_is_refused(tmp_path, line):
    path = tmp_path / "settings.cfg"
    path.write_text(GENERAL + MAIL + line)
    path.chmod(0o600)
    os.chown(path, 65534, 0)
    with pytest.raises(
        SettingsError, match="belongs to nobody, not to root: chown root"
    ):
        load_settings(path, base=BASE, with_password=False)


# Whatever is in the file

#: Where a secret stands; what is around it makes it one.
SECRETS = {
    "canary-password": "\npass=canary-password\n",
    "canary-in-url": "https://me:canary-in-url@example.com/",
    "canary-of-peer": ",key=canary-of-peer\n",
}
VALID = (
    OLD.replace("yourpassword", "canary-password")
    + "friend = https://example.org/,a@example.org,key=canary-of-peer\n"
    + "[http a]\nurl = https://me:canary-in-url@example.com/\nexpect_status = 200\n"
    + "[tcp b]\nhost = ::1\nport = 25\nsend = \\r\\n\n[disk c]\npath = /\n"
    + "[defaults]\ncontact = a@example.com\n[digest]\ndaily = 08:00\n"
)
BITS = st.sampled_from(
    ["\n", "\r", "\r\n ", "=", ":", "[", "]", "[email]\n", "%", "é", "\0", "\x1b", "@"]
    + ["include = *\n", "pass = x\n", "\n\n", "/", ",", " ", "9" * 30, "a" * 300, "🙂"]
)


@given(
    st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(b"[a]\n".__add__))
)
def test_any_bytes_are_settings_or_an_error(tmp_path_factory, content):
    _loaded(tmp_path_factory, content)


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, len(VALID)), st.integers(0, 40), BITS), max_size=6
    )
)
def test_any_mutation_of_settings_is_settings_or_an_error(tmp_path_factory, changes):
    text = VALID
    for at, length, put in changes:
        text = text[:at] + put + text[at + length :]
    problems = _loaded(tmp_path_factory, text.encode())
    for secret, whole in SECRETS.items():
        if whole in text:
            assert not [line for line in problems if secret in line]


def _loaded(tmp_path_factory, content: bytes) -> list[str]:
    path = tmp_path_factory.getbasetemp() / "fuzz" / "settings.cfg"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        problems = load_settings(path, base=BASE, with_password=False).problems
    except SettingsError as error:
        problems = error.problems
        assert problems
    for problem in problems:
        assert str(problem).isprintable()
    return [str(problem) for problem in problems]


# The example


def own_options() -> dict[str, dict[str, Option]]:
    """Return the options of each kind that ships, without those of every kind."""
    tables = {}
    for name in KIND_FILES.values():
        found = discover(JobFile(BASE / "jobs" / f"{name}.py", name), IniFile(BASE), ())
        tables[found.table.kind] = found.table.own
    return tables


TABLES = own_options()


def example_lines() -> list[tuple[str, str, str, bool]]:
    """Return section, option, value and whether it is switched on, line by line."""
    found = []
    section = ""
    for line in (BASE / "settings.cfg.example").read_text().splitlines():
        title = re.fullmatch(r"#?\[(.+)\]", line)
        option = re.fullmatch(r"(#?)([a-z_0-9]+) = (.+)", line)
        if title:
            section = title[1]
        elif option:
            found.append((section, option[2], option[3], not option[1]))
    return found


def test_the_example_loads_as_it_is(tmp_path):
    path = tmp_path / "settings.cfg"
    shutil.copy(BASE / "settings.cfg.example", path)
    settings = load_settings(path, base=BASE)
    assert [target.title for target in targets_of(settings)] == [
        "disk root",
        "disk temporary-files",
    ]
    assert [problem.warning for problem in settings.problems] == [True]
    assert "mail is not set up" in said(settings)[0]


def test_the_example_has_every_option_once_and_no_other():
    tables = {
        **{name: set(table) for name, table in (SECTIONS | NAMED_SECTIONS).items()},
        **{kind: set(table) for kind, table in TABLES.items()},
    }
    # A sentence above the channels names the other ways to give their secrets.
    tables["channel"] -= {
        f"{name}{suffix}"
        for name in ("url", "webhook", "secret", "token")
        for suffix in SECRET_SUFFIXES[1:]
    }
    shown: dict[str, set[str]] = {name: set() for name in tables}
    for section, option, _value, _on in example_lines():
        word = section if section in SECTIONS else section.split()[0]
        if word == JOB:
            assert option in jobsections.OPTIONS
        elif word not in TABLES or option not in OF_EVERY_KIND:
            shown[word].add(option)
    assert shown.pop("peers") - {"friend"} == tables.pop("peers")
    assert shown == tables


def test_the_example_shows_the_true_defaults():
    for section, option, value, _on in example_lines():
        word = section if section in SECTIONS else section.split()[0]
        table = {**SECTIONS, **NAMED_SECTIONS, **TABLES}.get(word, {})
        # A peer, or what every target may say.
        if option not in table:
            continue
        known = table[option]
        found = known.read(value)
        # Where there is no default, the example shows one that could be.
        if known.default is not REQUIRED and known.default:
            assert found == known.default, f"[{section}] {option}"
        if isinstance(known.default, bool):
            assert found is known.default, f"[{section}] {option}"


def test_the_example_says_why_before_each_option():
    lines = (BASE / "settings.cfg.example").read_text().splitlines()
    # These say it themselves, or are explained with the one before them.
    explained = {"url", "host", "path", "port", "friend", "mailsperday", "weekly"}
    for before, line in zip(lines, lines[1:], strict=False):
        option = re.fullmatch(r"#?([a-z_0-9]+) = .+", line)
        if option and option[1] not in explained:
            assert re.match(r"# [A-Za-z0-9]", before), line
            explained.add(option[1])


def test_everything_in_the_example_may_be_switched_on(load, tmp_path):
    text = (BASE / "settings.cfg.example").read_text()
    switched_on = re.sub(r"(?m)^#(?=[a-z_\[]|   [a-z])", "", text)
    names = ("include", "jobs", "cafile", "templates")
    for name in (*names, "pass_file", "pass_env", "pass_command"):
        switched_on = re.sub(f"(?m)^{name} = .*$", "", switched_on)
    others = "(?m)^(password|token|ping)_(file|env|command) = .*$"
    switched_on = re.sub(others, "", switched_on)
    # These are in place of others; and what is sent changes the method.
    others = "(?m)^(method|body_file|json|form|token) = .*$"
    switched_on = re.sub(others, "", switched_on)
    switched_on = re.sub(
        "/var/(www|lib/prometheus/node-exporter)", str(tmp_path), switched_on
    )
    (tmp_path / "checker").mkdir()
    (tmp_path / "status").mkdir()
    assert wrong_in(load(switched_on)) == []
    assert {target.kind for target in targets_of(load(switched_on))} == {*KIND_FILES}
    ini = load(switched_on).ini
    assert DEFAULTS.keys() <= ini.options("defaults").keys()
    assert OF_EVERY_KIND.keys() - DEFAULTS <= ini.options("http homepage").keys()


# Channels.


def test_a_contact_of_no_channel_leaves_each_section_of_a_kind_to_its_job(load):
    contact = "contact = pager\n"
    settings = load(
        f"{GENERAL}[defaults]\n{contact}[defaults http]\n{contact}"
        f"[template t]\n{contact}[http a]\n{contact}url = http://a.example/\n"
    )
    # Else there were two failing jobs of one name.
    told = {problem.section for problem in settings.problems if not problem.warning}
    assert told == {"defaults", "template t"}
    assert "http a" in settings.ini and settings.ini.removed == {}


@pytest.mark.parametrize(
    ("mode", "folder_mode", "why"),
    [
        (0o700, 0o700, ""),
        (0o722, 0o700, "anybody can write it: chmod"),
        (0o700, 0o777, "anybody can write it: chmod"),
        (0o600, 0o700, "may not be run: chmod u+x"),
    ],
)
def test_a_program_that_others_may_write_to_is_no_channel(
    load, tmp_path, mode, folder_mode, why
):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "notify"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    folder.chmod(folder_mode)
    settings = load(f"{GENERAL}{MAIL}pass = x\n[channel siren]\ncommand = {program}\n")
    wrong = wrong_in(settings)
    assert why in str(wrong[0]) if why else wrong == []
    assert bool(settings.channels["siren"].problem) is bool(why)


def test_a_url_without_apprise_says_what_to_install(load, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = f"{GENERAL}{MAIL}pass = x\n[channel chat]\nurl = ntfys://example.com/x\n"
    (problem,) = wrong_in(load(text))
    assert problem.text.startswith("url needs Apprise, which is not installed: pip")


def test_a_channel_hides_its_secrets(load):
    token = "canary4711canary"
    webhook = f"webhook = https://example.com/{token}\n"
    settings = load(f"{GENERAL}{MAIL}pass = x\n[channel chat]\n{webhook}")
    assert token in settings.secrets
    assert token not in repr(settings.channels)


@pytest.mark.parametrize("between", [" ", ", "])
def test_of_several_services_each_is_a_secret_and_no_host(load, tmp_path, between):
    pytest.importorskip("apprise")
    urls = [f"json://web.example.invalid/{name}canary4711" for name in "ab"]
    in_file = tmp_path / "services"
    in_file.write_text(" ".join(urls).replace("canary", "hidden"))
    in_file.chmod(0o600)
    settings = load(
        f"{GENERAL}{MAIL}pass = x\n[channel chat]\nurl = {between.join(urls)}\n"
        f"[channel other]\nurl_file = {in_file}\n"
    )
    assert wrong_in(settings) == []
    for token in (*urls, "acanary4711", "bcanary4711", "ahidden4711", "bhidden4711"):
        assert token in settings.secrets
    text = "web.example.invalid: no connection"
    assert scrubbed(text, settings.secrets) == text


@pytest.mark.parametrize(
    ("query", "is_taken"),
    [
        ("", True),
        ("?verify=yes", True),
        ("?a=b&Verify=TRUE", True),
        ("?verify=no", False),
        ("?verify=nope", False),
        ("?verify=definitely", False),
        ("?VERIFY=", False),
        ("?verify", False),
        ("?a=b;verify=never", False),
        ("?%76erify=%6eo", False),
        ("?verify=yes&verify=no", False),
    ],
)
def test_only_a_clear_yes_verifies_a_service(load, query, is_taken):
    pytest.importorskip("apprise")
    text = (
        f"{GENERAL}{MAIL}pass = x\n[channel chat]\nurl = json://example.com/{query}\n"
    )
    wrong = [str(problem) for problem in wrong_in(load(text))]
    assert wrong == [] if is_taken else "turns off the verification" in wrong[0]
    assert wrong_in(load(f"{text}insecure = yes\n")) == []


def test_where_only_channels_are_notified_mail_is_not_missed(load):
    channel = "[channel log]\ncommand = /bin/sh\n"
    general = GENERAL.replace("ops@example.com", "log")
    assert said(load(general + channel)) == []
    (line,) = said(load(GENERAL + channel))
    assert "mail is not set up" in line


SLACK = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
SLACK_BOT = "xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d"


# Apprise imports what Python deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ntfy://127.0.0.1/a/b", 2),
        ("ntfys://user:pass@ntfy.example.com/a/b/c?priority=high", 3),
        ("ntfys://ntfy.example.com/a/a", 1),
        ("ntfys://ntfy.example.com/a/", 1),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/12315545", 2),
        ("mailto://user:pass@example.com/a@example.org/b@example.org", 2),
        (
            "twilio://AC735c307c62944b5a0123456789012345:"
            "e29dfbcebf390dee9af88e89012f4321@15551233456/15551233457/15551233458",
            2,
        ),
        ("ntfys://ntfy.example.com/a?to=b", 2),
        ("ntfys://ntfy.example.com/?to=a,b,a&mode=private", 2),
        ("ntfys://ntfy.example.com/a?to=b,b", 2),
        ("ntfys://ntfy.example.com/a?to=a", 1),
        ("tgram://123456789:abcdefg_hijklmnop/12?to=123,456", 3),
        (
            "mailto://user:pass@example.com?from=a@b.example&to=a@c.test,b@c.test",
            2,
        ),
        (
            f"twilio://AC{'7' * 32}:{'e' * 32}@15551233456/15551233457?to=+15551233458",
            2,
        ),
        (f"slack://{SLACK}/#nuxref/#chan2", 2),
        (f"slack://bot@{SLACK}/#nuxref?to=%23chan2&image=no", 2),
        (f"slack://bot@{SLACK_BOT}/#nuxref/@user/+C123456789?to=%23chan2", 4),
        (f"slack://{SLACK}", 1),
        ("matrixs://user:pass@example.com:8448/#a/%23b/!c:example.com", 3),
        ("matrix://user:pass@example.com/a?to=%23b", 2),
        ("signal://example.com:8080/15551233456/15551233457/15551233458", 2),
        ("signals://example.com/15551233456/15551233457?to=15551233458", 2),
        (f"line://{'t' * 40}/user1/user2", 2),
        (f"msgbird://{'a' * 25}/15551233456/15551233457/15551233458", 2),
        (f"nexmo://ab12cd34:{'a' * 16}@15551233456/15551233457/15551233458", 2),
        (f"vonage://ab12cd34:{'a' * 16}@15551233456/15551233457?to=15551233458", 2),
        (f"sinch://{'a' * 32}:{'b' * 32}@15551233456/15551233457/15551233458", 2),
        (
            f"mailgun://user@example.com/{'a' * 32}-{'b' * 8}-{'c' * 8}"
            "/a@example.org/b@example.org",
            2,
        ),
        # All in one call, which is accepted or not.
        ("signal://example.com/15551233456/15551233457/15551233458?batch=yes", 1),
        ("json://example.com/a/b", 1),
    ],
)
def test_each_recipient_of_a_url_is_a_way_of_its_own(load, url, parts):
    apprise = pytest.importorskip("apprise")
    settings = load(f"{GENERAL}{MAIL}pass = x\n[channel chat]\nurl = {url}\n")
    assert wrong_in(settings) == []
    channel = settings.channels["chat"]
    word = url.partition(":")[0]
    assert channel.ways == tuple(
        f"chat/{word}" + (f"-{number}" if number > 1 else "")
        for number in range(1, parts + 1)
    )
    whole = apprise.Apprise.instantiate(url)
    each = [
        apprise.Apprise.instantiate(one.reveal()) for one in channel.services.values()
    ]
    assert [len(one) for one in each] == [1] * parts
    assert len(whole) == parts


# Apprise imports what Python deprecates.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "url",
    [
        "ntfys://ntfy.example.com/a?x=y;to=b",
        "ntfys://ntfy.example.com/a?to=b%20c",
        f"slack://{SLACK_BOT}/?to=%23a%23b",
        "matrix://user:pass@example.com/a/b?mode=slack",
        "signal://example.com/15551233457/15551233458?from=15551233456",
        "rocket://user:pass@example.com/#a/#b",
    ],
)
def test_recipients_that_only_apprise_tells_apart_are_one_way(load, url):
    apprise = pytest.importorskip("apprise")
    settings = load(f"{GENERAL}{MAIL}pass = x\n[channel chat]\nurl = {url}\n")
    assert wrong_in(settings) == []
    (service,) = settings.channels["chat"].services.values()
    assert service.reveal() == url
    # -m validate says so.
    assert len(apprise.Apprise.instantiate(url)) > 1
