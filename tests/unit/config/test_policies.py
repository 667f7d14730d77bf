"""What settings say of a job's policy, on top of what its runs recorded."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lib.config.load import load_settings
from lib.config.policies import Policies, needs_checks
from lib.core.enums import JobFailureNotificationFrequency as Every
from lib.core.jobs import (
    NEVER_FLAPPING,
    FailureRule,
    FlappingRule,
    JobKey,
    Policy,
    Terms,
)

OPS, BOSS = "ops@example.com", "boss@example.com"
HEAD = f"[general]\nservername = web1\nalertcontact = {OPS}\n[email]\nnomail = yes\n"
DISK, WEB = JobKey("DiskSpace", "disk /"), JobKey("HTTPServerChecker", "http shop")
OWN = JobKey("Own", "Own")
DISK_SECTION = "[disk /]\npath = /\n"
WEB_SECTION = "[http shop]\nurl = https://shop.example.com/\n"
ACROSS = Terms(
    Policy(failures=FailureRule(3), recoveries=2),
    "minute",
    (OPS,),
    is_across_network=True,
)
HERE = Terms(Policy(), "minute", (OPS,))


@pytest.fixture
def settings_of(tmp_path):
    (tmp_path / "jobs").mkdir()

    def load(text, name="settings.cfg", head=HEAD):
        path = tmp_path / name
        path.write_text(head + text)
        path.chmod(0o600)
        return load_settings(path, base=tmp_path, state=tmp_path / "state")

    return load


def terms(after, key, recorded, before=None):
    return Policies(after, before or after).terms(key, key.identity, recorded)


def test_what_the_section_and_its_layers_say_counts(settings_of):
    found = terms(
        settings_of(
            "[defaults]\nnotify = hour\nfailures = 2\n[defaults disk]\nfailures = 5\n"
            f"[template night]\nwhen = mon-fri 08:00-20:00\ncontact = {BOSS}\n"
            f"{DISK_SECTION}use = night\nrecoveries = 3\nflapping = 3/9\n"
        ),
        DISK,
        HERE,
    )
    assert found.contact == (BOSS,)
    assert found.policy == Policy(
        Every.EVERYHOUR,
        FailureRule(5),
        recoveries=3,
        flapping=FlappingRule(3, 9),
        when="mon-fri 08:00-20:00",
    )


@pytest.mark.parametrize(("key", "recorded"), [(DISK, HERE), (WEB, ACROSS)])
def test_what_no_section_says_any_more_is_the_default(settings_of, key, recorded):
    settings = settings_of(DISK_SECTION + WEB_SECTION)
    changed = replace(
        recorded.policy,
        notify=Every.EVERYDAY,
        failures=FailureRule(9),
        recoveries=4,
        notifies_warnings=False,
        when="mon 10:00-12:00",
    )
    other = replace(recorded, policy=changed, contact=(BOSS,))
    assert terms(settings, key, recorded) == recorded
    assert terms(settings, key, other) == recorded


def test_a_kind_that_never_flaps_does_not_begin_to(settings_of):
    log = JobKey("LogChecker", "log app")
    quiet = Terms(Policy(flapping=NEVER_FLAPPING), "minute", (OPS,))
    settings = settings_of("[log app]\npath = /var/log/app\nfail = ERROR\n")
    assert terms(settings, log, quiet) == quiet


def test_a_class_of_ones_own_keeps_what_it_says_itself(settings_of):
    before = settings_of("[defaults]\nnotify = hour\n", "before.cfg")
    after = settings_of("[defaults]\nnotify = day\nfailures = 4\nrecoveries = 2\n")
    by_defaults = Terms(Policy(Every.EVERYHOUR), "minute", (OPS,))
    by_itself = Terms(Policy(Every.EVERYTIME, FailureRule(2)), "minute", (BOSS,))
    found = terms(after, OWN, by_defaults, before)
    assert (found.policy, found.contact) == (
        Policy(Every.EVERYDAY, FailureRule(4), recoveries=2),
        (OPS,),
    )
    found = terms(after, OWN, by_itself, before)
    assert (found.policy, found.contact) == (
        Policy(Every.EVERYTIME, FailureRule(2), recoveries=2),
        (BOSS,),
    )
    # Without others that are known nothing is taken for what [defaults] said.
    unchanged = Terms(Policy(recoveries=2), "minute", (OPS,))
    assert terms(after, OWN, unchanged) == unchanged


def test_its_section_goes_before_the_class(settings_of):
    settings = settings_of(f"[job Own]\nfailures = 15min\ncontact = {BOSS}\n")
    found = terms(settings, OWN, HERE)
    assert (found.policy.failures, found.contact) == (FailureRule(seconds=900), (BOSS,))


def test_the_alertcontact_of_whoever_had_it_changes(settings_of):
    before = settings_of(DISK_SECTION, "before.cfg")
    after = settings_of(DISK_SECTION, head=HEAD.replace(OPS, BOSS))
    mail = JobKey.of_way("mail")
    for key in (DISK, OWN, mail):
        assert terms(after, key, HERE, before).contact == (BOSS,)
    elsewhere = replace(HERE, contact=("x@example.com",))
    assert terms(after, OWN, elsewhere, before) == elsewhere


def test_the_report_on_a_wrong_section_has_the_policy_that_it_had(settings_of):
    own = replace(HERE, policy=Policy(flapping=NEVER_FLAPPING), is_own=True)
    settings = settings_of(f"{DISK_SECTION}failures = 4\nnotify = hour\n")
    assert terms(settings, DISK, own) == own


def test_what_is_disabled_has_no_terms(settings_of):
    assert terms(settings_of(f"{DISK_SECTION}enabled = no\n"), DISK, HERE) is None


def test_what_is_wrong_is_said_with_its_line(settings_of):
    settings = settings_of(f"{DISK_SECTION}failures = many\n")
    (found,) = Policies(settings, settings).problems({DISK: "disk /", OWN: "Own"})
    assert str(found).startswith("settings.cfg:8: [disk /] failures = many: expected")


def test_what_only_new_checks_could_show_is_named(settings_of):
    before = settings_of(f"{DISK_SECTION}limit = 90\n", "before.cfg")
    after = settings_of(f"{DISK_SECTION}limit = 80\nevery = hour\nfailures = 3\n")
    assert list(needs_checks(before.ini, after.ini, DISK)) == [
        ("every", "disk /"),
        ("limit", "disk /"),
    ]
    assert list(needs_checks(before.ini, before.ini, DISK)) == []
