"""Rows B: the file system refuses.  Real ones, small or read-only, in own mounts."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.faults.harness_calls import needs_strace, traced
from tests.faults.rows import (
    CANNOT_WRITE,
    CANNOT_WRITE_ONE,
    FLAG_ALERT,
    LAMP_ALERT,
    in_own_mounts,
    subjects,
    with_answer,
    word,
)
from tests.support.instance import flag_job


@pytest.fixture
def instance(instance):
    instance.job("Flag", flag_job(instance.folder / "flag"))
    return instance


#: Moves the state folder to a file system of its own, with the options given.
OWN_DISK = """
    set -e
    cp -a "$STATE" "$STATE.was"
    mount -t tmpfs -o {options},mode=700 none "$STATE"
    cp -a "$STATE.was/." "$STATE/"
    set +e
"""
FILL = 'dd if=/dev/zero of="$STATE/ballast" bs=4k 2>/dev/null\n'
CRON = 'eval "$CRON" 2>&1; echo "exit $?"\n'


def notified(ran):
    """Return the exit codes of the runs of a script."""
    return re.findall(r"^exit (\d+)$", ran.out, re.MULTILINE)


@pytest.mark.integration
@pytest.mark.fault("B2", "the disk is full for an hour")
def test_b2_a_full_disk_is_reported_once_an_hour_and_costs_no_alert(instance, smtp):
    script = OWN_DISK.format(options="size=256k") + CRON + FILL + f"""
        {CRON * 3}
        rm "$STATE/ballast"
        {CRON * 2}
    """
    (instance.folder / "flag").touch()
    # From the moment the disk is full the flag is down.
    script = script.replace(FILL, FILL + f'rm "{instance.folder}/flag"\n')
    ran = in_own_mounts(instance, script)
    assert notified(ran) == ["0", "1", "1", "1", "0", "0"], ran.out + ran.err
    assert "No space left on device; make room on the disk" in ran.out
    first, *others = smtp.mails
    assert first.subject == f"[web1] {CANNOT_WRITE_ONE}"
    assert "Flag: failing" in first.body and "the flag is down" in first.body
    assert [mail.subject for mail in others] == [f"[web1] {FLAG_ALERT}"]


@pytest.mark.integration
@pytest.mark.fault("B2", "the next hour of a full disk")
def test_b2_the_next_hour_of_a_full_disk_is_reported_too(instance, smtp):
    (instance.folder / "flag").touch()
    an_hour_ago = """sed -i 's/^[^ ]*/2020-01-01T00:00:00+00:00/' "$XDG"/checker/*\n"""
    script = OWN_DISK.format(options="size=64k") + FILL + CRON * 2
    script += an_hour_ago.replace("$XDG", "$XDG_RUNTIME_DIR") + CRON * 2
    ran = in_own_mounts(instance, script)
    assert notified(ran) == ["1"] * 4, ran.out + ran.err
    assert subjects(smtp) == [CANNOT_WRITE] * 2
    one, other = (mail.parsed["Message-ID"] for mail in smtp.mails)
    assert one != other


@pytest.mark.integration
@pytest.mark.fault("B3", "no free inode")
def test_b3_no_free_inode_is_as_a_full_disk(instance, smtp):
    script = OWN_DISK.format(options="nr_inodes=24") + """
        i=0; while touch "$STATE/ballast$i"; do i=$((i+1)); done 2>/dev/null
    """
    script += CRON * 2 + 'rm "$STATE"/ballast*\n' + CRON * 2
    ran = in_own_mounts(instance, script)
    assert notified(ran) == ["1", "1", "0", "0"], ran.out + ran.err
    assert subjects(smtp) == [
        CANNOT_WRITE_ONE,
        FLAG_ALERT,
    ]


def synced(lines):
    """Return the descriptors of new files that were synced, with their files."""
    return re.findall(r"^fsync\((\d+<\S+\.tmp>)", "\n".join(lines), re.MULTILINE)


@needs_strace
@pytest.mark.fault("B4", "EIO on fsync, once")
def test_b4_where_fsync_fails_once_a_new_file_is_tried_and_nothing_is_amiss(world):
    world.lamps(1)
    code, said, lines = traced(world, "-e", "inject=fsync:error=EIO:when=1")
    assert (code, said) == (0, "")
    first, second, *_more = synced(lines)
    assert first.split(".")[1:3] == second.split(".")[1:3] == ["run", "json"]
    assert len(synced(lines)) == len(set(synced(lines)))
    assert f'unlink("{first.partition("<")[2][:-1]}") = 0' in "\n".join(lines)
    assert subjects(world.server) == [LAMP_ALERT]


@needs_strace
@pytest.mark.fault("B4", "EIO on fsync, lasting")
def test_b4_where_fsync_goes_on_failing_nothing_is_kept_and_one_mail_says_so(world):
    world.lamps(1)
    for _minute in range(2):
        code, said, lines = traced(world, "-e", "inject=fsync:error=EIO:when=1+")
        assert code == 1
        assert "cannot fsync .run.json." in said and "Input/output error" in said
        assert len(synced(lines)) == len(set(synced(lines))) == 2
    assert not list(world.state.rglob("*.tmp"))
    assert subjects(world.server) == [CANNOT_WRITE_ONE]
    assert world.run() == (0, "")
    assert subjects(world.server)[1:] == [LAMP_ALERT]


@needs_strace
@pytest.mark.fault("B8", "rename is refused: EACCES, EXDEV, EROFS")
@pytest.mark.parametrize("error", ["EACCES", "EXDEV", "EROFS"])
def test_b8_a_refused_rename_names_both_files_and_leaves_the_old_ones(world, error):
    world.lamps(1)
    world.run()
    world.light(on=True)
    before = (world.state / "run.json").read_bytes(), world.instance.records()
    code, said, _lines = traced(world, "-e", f"inject=rename:error={error}:when=1+")
    assert code == 1
    assert f"{world.state}/run.json: cannot rename .run.json." in said
    assert ((world.state / "run.json").read_bytes(), world.instance.records()) == before
    assert not list(world.state.rglob("*.tmp"))


@pytest.mark.integration
@pytest.mark.fault("B9", "the state directory is read-only from the start")
def test_b9_a_read_only_state_folder_is_an_error_and_one_mail(instance, smtp):
    with_answer(instance)
    script = OWN_DISK.format(options="size=1m") + CRON
    script += 'mount -o remount,ro "$STATE"\n' + CRON * 3
    script += f"head -1 '{instance.folder}/answer'\n"
    script += 'mount -o remount,rw "$STATE"\n' + CRON * 2
    ran = in_own_mounts(instance, script)
    assert notified(ran) == ["0", "1", "1", "1", "0", "0"], ran.out + ran.err
    assert "its file system is mounted read-only" in ran.out
    assert str(instance.state) in ran.out
    assert re.findall(r"^\w*Problem$", ran.out, re.MULTILINE) == ["JobProblem"]
    assert word(instance) == "True"
    assert subjects(smtp) == [
        FLAG_ALERT,
        CANNOT_WRITE_ONE,
    ]


@pytest.mark.integration
@pytest.mark.fault("B9", "nothing can be remembered anywhere")
def test_b9_without_any_memory_only_the_first_run_of_an_hour_mails(instance, smtp):
    script = (
        OWN_DISK.format(options="size=1m")
        + """
        mount -o remount,ro "$STATE"
        for place in /run /dev/shm /tmp "$XDG_RUNTIME_DIR"; do
            mkdir -p $place/checker-0 "$XDG_RUNTIME_DIR/checker" 2>/dev/null
        done
        export XDG_RUNTIME_DIR=/nowhere
        mount -t tmpfs -o ro none /run
        mount -t tmpfs -o ro none /dev/shm
        chmod 755 /tmp/checker-0
        minute=$(date +%M)
    """
        + CRON * 2
        + """
        rmdir /tmp/checker-0 2>/dev/null
        echo "minute $minute $(date +%M)"
    """
    )
    ran = in_own_mounts(instance, script)
    assert notified(ran) == ["1", "1"], ran.out + ran.err
    if "minute 00" not in ran.out and " 00\n" not in ran.out:
        assert subjects(smtp) == []


@pytest.mark.long
@pytest.mark.fault("B10", "it becomes read-only between commit and sent-mark")
def test_b10_a_mail_that_cannot_be_marked_is_not_repeated(instance, smtp):
    folders = (instance.state, instance.state / "jobs", instance.state / "bundles")

    def make(mode):
        for folder in folders:
            if folder.exists():
                folder.chmod(mode)

    def answer(mail):
        # By the time the mail is taken, nothing can be written any more.
        make(0o500)
        return None

    smtp.answer_data = answer
    codes = [instance.cron().code for _ in range(5)]
    alerts = [mail for mail in smtp.mails if "cannot write" not in mail.subject]
    assert codes == [1] * 5
    assert (len(alerts), len(smtp.mails)) == (1, 2), subjects(smtp)
    smtp.answer_data = lambda mail: None
    make(0o700)
    instance.let_time_pass_for_mails()
    assert [instance.cron().code for _ in range(2)] == [0, 0]
    # Once more, for it could not be known that it was taken: the very same mail.
    again = [mail for mail in smtp.mails[2:] if "cannot write" not in mail.subject]
    assert [mail.data for mail in again] == [alerts[0].data]


@pytest.mark.long
@pytest.mark.fault("B10", "it is read-only before the mail is tried")
def test_b10_a_mail_whose_attempt_cannot_be_counted_is_not_sent(instance, smtp):
    port = smtp.port
    instance.write(instance.settings.read_text().replace(f" {port}", " 1"))
    assert instance.cron().code == 0
    instance.write(instance.settings.read_text().replace(" = 1\n", f" = {port}\n"))
    instance.let_time_pass_for_mails()
    for folder in (instance.state, instance.state / "jobs"):
        folder.chmod(0o500)
    assert [instance.cron().code for _ in range(6)] == [1] * 6
    (notified,) = smtp.mails
    assert notified.subject == f"[web1] {CANNOT_WRITE_ONE}"
    assert "(1 so far)" in notified.body
    for folder in (instance.state, instance.state / "jobs"):
        folder.chmod(0o700)
    assert [instance.cron().code for _ in range(2)] == [0, 0]
    assert subjects(smtp)[1:] == [FLAG_ALERT]


@pytest.mark.long
@pytest.mark.fault("B11", "the state directory is missing")
def test_b11_a_missing_state_folder_is_an_error_that_names_the_mkdir(instance, smtp):
    shutil.rmtree(instance.state)
    ran = instance.cron()
    assert ran.code == 1
    assert f"mkdir -m 700 -p {instance.state}" in ran.err
    assert instance.cron().code == 1
    assert subjects(smtp) == [CANNOT_WRITE_ONE]
    instance.state.mkdir(mode=0o700)
    assert "a fresh start" in instance.cron("minute", "-d").err
    assert subjects(smtp)[1:] == [FLAG_ALERT]


@pytest.mark.fault("B14", "the log is on a full disk")
def test_b14_a_log_on_a_full_disk_stops_nothing(instance, smtp):
    instance.write(
        instance.settings.read_text().replace("[email]", "logfile = /dev/full\n[email]")
    )
    ran = instance.cron("minute", "-v")
    assert ran.code == 0
    assert subjects(smtp) == [FLAG_ALERT]
    assert "log" in ran.err


@pytest.mark.integration
@pytest.mark.fault("B14", "the disk is full by the second line")
def test_b14_a_disk_that_fills_up_under_the_log_is_noted_once(instance, smtp):
    log = instance.folder / "log"
    log.mkdir()
    instance.write(
        instance.settings.read_text().replace(
            "[email]", f"logfile = {log}/checker.log\n[email]"
        )
    )
    script = f"""
        mount -t tmpfs -o size=8k,mode=755 none "{log}"
        head -c 4090 /dev/zero >"{log}/checker.log"
        head -c 4096 /dev/zero >"{log}/ballast"
        eval "$CRON -v" 2>&1; echo "exit $?"
    """
    ran = in_own_mounts(instance, script)
    assert notified(ran) == ["0"], ran.out + ran.err
    assert ran.out.count("checker.log cannot be written: No space left") == 1
    assert subjects(smtp) == [FLAG_ALERT]


@pytest.mark.fault("B14", "the log cannot be written")
def test_b14_a_log_that_cannot_be_written_is_noted_and_goes_on_on_stderr(
    instance, smtp
):
    instance.write(
        instance.settings.read_text().replace(
            "[email]", "logfile = /nowhere/log\n[email]"
        )
    )
    ran = instance.cron("minute", "-v")
    assert ran.code == 0
    assert "/nowhere/log cannot be written" in ran.err
    assert subjects(smtp) == [FLAG_ALERT]


@pytest.mark.long
@pytest.mark.fault("B15", "10,000 left-over temporary files")
def test_b15_ten_thousand_left_overs_are_removed_in_one_run(instance, smtp):
    (instance.folder / "flag").touch()
    jobs = instance.state / "jobs"
    jobs.mkdir(mode=0o700)
    for number in range(10_000):
        (jobs / f".x.json.{number:08x}.tmp").touch()
    (jobs / "notes of mine.tmp").touch()
    assert instance.cron().silent
    assert [path.name for path in jobs.iterdir()] == ["notes of mine.tmp"]
