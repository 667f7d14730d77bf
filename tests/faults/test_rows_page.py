"""Rows A15, B17, C15 and T9: the page, whatever becomes of its folder and of state/."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core.enums import Status
from lib.core.jobs import JobKey, file_stem
from lib.core.secret import Secret
from lib.core.settings import Page
from lib.report.page import link_of
from lib.report.reader import Reader
from lib.runner import page
from lib.storage import historylog
from lib.storage.store import State
from tests.faults.rows import FLAG_ALERT, in_own_mounts, subjects
from tests.support.daemon import Daemon, free_port
from tests.support.instance import NO_MAIL, Instance, flag_job
from tests.support.kills import each_kill, survives
from tests.support.snapshots import NOON, entry
from tests.support.waits import until
from tests.unit.report.test_reader import KEY, OTHER, result, written
from tests.unit.storage.test_history import as_newer
from tests.unit.web.test_pages import PATHS, TOKEN, Asked

LATER = NOON + timedelta(minutes=5)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "page"
    made.mkdir()
    return made


@pytest.fixture
def given(tmp_path, folder):
    (tmp_path / "state").mkdir()
    shown = Page(write=str(folder), token=Secret(TOKEN))
    return replace(written(tmp_path / "state"), page=shown)


def pages_in(folder):
    return {path.name: path.read_text() for path in folder.glob("*.html")}


def names(folder):
    return sorted(os.listdir(folder))


def seen(folder):
    """Return an instance that has run once, and the URL of its page."""
    instance, port = Instance(folder, NO_MAIL), free_port()
    instance.job("Flag", flag_job(folder / "flag"))
    instance.add(f"[page]\nlisten = 127.0.0.1:{port}\nopen = yes\n")
    instance.cron()
    return instance, f"http://127.0.0.1:{port}/"


# A15: killed.


@pytest.mark.fault("A15", "kill -9 at any step while the page is written")
def test_a15_a_page_is_the_old_or_the_new_one_whenever_its_run_is_killed(given, folder):
    page.write(given, NOON, 30.0)
    there, old = names(folder), (folder / "index.html").read_text()
    kills, olds = 0, 0
    for was_killed in each_kill(
        lambda: page.write(given, NOON, 30.0), lambda: page.write(given, LATER, 30.0)
    ):
        found = pages_in(folder)
        assert sorted(found) == there
        for text in found.values():
            assert text.startswith("<!") and text.rstrip().endswith("</html>")
        olds += found["index.html"] == old
        kills += was_killed
    assert kills >= 8 and 0 < olds < kills
    # Also of a file that was made, and has nothing in it yet.
    (folder / ".index.html.0a1b2c3d.tmp").touch()
    page.write(given, LATER, 30.0)
    assert names(folder) == there


@pytest.mark.fault("A15", "a power cut leaves the page empty, or of zeros")
@pytest.mark.parametrize("left", [b"", bytes(5000)])
def test_a15_a_page_that_a_power_cut_emptied_is_written_again(given, folder, left):
    page.write(given, NOON, 30.0)
    before = pages_in(folder)
    for path in folder.iterdir():
        path.write_bytes(left)
    page.write(given, NOON, 30.0)
    assert pages_in(folder) == before


@pytest.mark.long
@pytest.mark.fault("A15", "the daemon is killed and started again")
def test_a15_a_daemon_that_was_killed_shows_the_same_when_it_is_started_again(tmp_path):
    instance, url = seen(tmp_path)

    def shown():
        with urllib.request.urlopen(url) as answer:
            # The time of the reading is another one.
            text = answer.read().decode()
            return re.sub(r'\d\d:\d\d(:\d\d)?|\d+ seconds?|data-at="\d+"', "", text)

    daemon = Daemon(instance)
    daemon.__enter__()
    daemon.process.stdout.readline()
    before = shown()
    assert "the flag is down" in before
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.communicate()
    kept = instance.everything_written()
    with daemon:
        daemon.process.stdout.readline()
        assert shown() == before
    assert instance.everything_written() == kept


@pytest.mark.fault("A15", "kill -9 at any step while the public page is written")
def test_a15_a_public_page_is_whole_and_what_is_left_of_others_goes(given, tmp_path):
    (tmp_path / "public").mkdir()
    shown = Page(public=("group-0",), public_write=str(tmp_path / "public"))
    front, given = tmp_path / "public" / "index.html", replace(given, page=shown)
    page.write(given, NOON, 30.0)
    for _was_killed in each_kill(
        lambda: page.write(given, NOON, 30.0), lambda: page.write(given, LATER, 30.0)
    ):
        assert front.read_text().rstrip().endswith("</html>")
    assert names(front.parent) == ["index.html"]


# B17: the folder.


@pytest.mark.long
@pytest.mark.fault("B17", "the folder is removed while a run writes the page")
def test_b17_a_folder_that_goes_at_any_step_is_an_error_and_no_more(given, folder):
    page.write(given, NOON, 30.0)
    there, steps = names(folder), 0
    for step in range(100):
        assert survives(
            step, lambda: shutil.rmtree(folder), lambda: page.write(given, LATER, 30.0)
        ), step
        if folder.exists():
            break
        steps += 1
        folder.mkdir()
        page.write(given, NOON, 30.0)
        assert names(folder) == there
    assert steps >= 8


def a_file(path):
    path.write_text("<html>mine</html>")


def a_folder(path):
    path.mkdir()
    (path / "mine").touch()


def a_link(path):
    target = path.parent.parent / "elsewhere.html"
    target.write_text("<html>mine</html>")
    path.symlink_to(target)


#: How something of others lies in the place of a page.
FOREIGN = [a_file, a_folder, a_link, os.mkfifo]


@pytest.mark.fault("B17", "files, folders, links and pipes of others lie in the folder")
@pytest.mark.parametrize("made", FOREIGN)
def test_b17_what_is_of_others_stays_and_the_rest_is_written(
    given, folder, caplog, made
):
    gone, left = folder / "job-gone-0123456789.html", ".index.html.0a1b2c3d.tmp"
    for path in (folder / link_of(KEY), gone, folder / left):
        made(path)
    kinds = {path.name: os.lstat(path).st_mode for path in folder.iterdir()}
    page.write(given, NOON, 30.0)
    assert {name: os.lstat(folder / name).st_mode for name in kinds} == kinds
    assert set(names(folder)) == {*kinds, link_of(OTHER), "index.html"}
    assert "a</a>" in (folder / "index.html").read_text()
    (said,) = caplog.messages
    assert "is no page of Checker's" in said and link_of(KEY) in said


@pytest.mark.fault("B17", "something of others lies in the place of the front page")
@pytest.mark.parametrize("made", FOREIGN)
def test_b17_a_front_page_of_others_is_left_alone(given, folder, caplog, made):
    made(folder / "index.html")
    mode = os.lstat(folder / "index.html").st_mode
    page.write(given, NOON, 30.0)
    assert names(folder) == ["index.html"]
    assert os.lstat(folder / "index.html").st_mode == mode
    (said,) = caplog.messages
    assert "is no page of Checker's" in said


@pytest.mark.fault("B17", "the folder of one page cannot be written, the other can")
def test_b17_the_public_page_is_written_where_the_other_cannot_be(
    given, folder, tmp_path, caplog
):
    public = tmp_path / "public"
    public.mkdir()
    both = Page(write=str(folder), public=("group-0",), public_write=str(public))
    folder.rmdir()
    page.write(replace(given, page=both), NOON, 30.0)
    assert names(public) == ["index.html"]
    (said,) = caplog.messages
    assert said.startswith("[page] write: ")


FILL = 'dd if=/dev/zero of="$PAGE/ballast" bs=4k 2>/dev/null\n'
CRON = 'eval "$CRON" 2>&1; echo "exit $?"\n'


@pytest.mark.integration
@pytest.mark.parametrize(
    ("breaks", "mends", "why"),
    [
        pytest.param(
            FILL,
            'rm "$PAGE/ballast"',
            "No space left on device",
            marks=pytest.mark.fault("B17", "the disk of the page is full"),
        ),
        pytest.param(
            'mount -o remount,ro "$PAGE"',
            'mount -o remount,rw "$PAGE"',
            "Read-only file system",
            marks=pytest.mark.fault("B17", "the disk of the page is read-only"),
        ),
        pytest.param(
            'umount "$PAGE"; rmdir "$PAGE"',
            'mkdir "$PAGE"',
            "No such file or directory",
            marks=pytest.mark.fault("B17", "the folder of the page is missing"),
        ),
    ],
)
def test_b17_a_folder_that_cannot_be_written_costs_no_alert(
    instance, smtp, breaks, mends, why
):
    www, flag = instance.folder / "www", instance.folder / "flag"
    www.mkdir()
    instance.job("Flag", flag_job(flag))
    instance.add(f"[page]\nwrite = {www}\n")
    flag.touch()
    due = "touch -d '1 hour ago' \"$PAGE/index.html\"\n"
    script = f"""
        PAGE={shlex.quote(str(www))}
        mount -t tmpfs -o size=128k,mode=755 none "$PAGE"
        {CRON}{due}{breaks}
        rm {shlex.quote(str(flag))}
        echo broken; {CRON}echo over
        ls -A "$PAGE" | grep tmp; grep -c 'is failing' "$PAGE/index.html"
        {mends}
        {CRON}echo mended; grep -c 'the flag is down' "$PAGE/index.html"
    """
    ran = in_own_mounts(instance, script)
    assert re.findall(r"(?m)^exit (\d+)$", ran.out) == ["0"] * 3, ran.out + ran.err
    broken = re.search(r"(?s)broken\n(.*)exit 0\nover\n(.*?)exit", ran.out)
    (said,) = [line for line in broken[1].splitlines() if "[page]" in line]
    assert why in said and str(www) in said
    assert "tmp" not in broken[2]
    assert ran.out.rpartition("mended\n")[2].strip() not in ("", "0")
    # The first may say what is wrong with the settings, and that it is over.
    told = [one for one in subjects(smtp) if not one.startswith("settings.cfg [page]")]
    assert told == [FLAG_ALERT]


@pytest.mark.long
@pytest.mark.fault(
    "B17", "writing the page takes long: the next run is not kept waiting"
)
def test_b17_the_lock_is_free_while_the_page_is_written(tmp_path):
    www = tmp_path / "www"
    www.mkdir()
    instance = Instance(tmp_path, NO_MAIL)
    targets = "".join(f"[file f{n}]\npath = /\nevery = minute\n" for n in range(150))
    instance.add(f"[page]\nwrite = {www}\n{targets}")
    run = instance.start("-m", "cron", "-c", "minute")
    until(lambda: any(www.glob("job-*.html")), 60)
    run.send_signal(signal.SIGSTOP)
    try:
        assert not (www / "index.html").exists()
        state = State(instance.state)
        assert state.lock(datetime.now(UTC), timedelta(seconds=1)) is None
        state.unlock()
        assert instance.cron().silent
        assert (www / "index.html").exists()
    finally:
        run.send_signal(signal.SIGCONT)
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (0, "", "")
    assert instance.last_run().get("skipped", 0) == 0


# C15: what state/ says.


def a_newer(path):
    if path.suffix == ".json":
        path.write_text('{"format": 99}')
    else:
        content = path.read_bytes()
        path.write_bytes(content[:4] + b"\x63" + content[5:])


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path):
    path.write_bytes(b"\xff\x00{" * 200)


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def in_its_place(path):
    path.unlink()
    path.mkdir()


def gone(path):
    path.unlink()


STATE = [
    "run.json",
    "catalog.json",
    "values.json",
    "decisions.log",
    f"jobs/{file_stem(KEY)}.json",
    "graphs.json",
    *(
        f"history/{name}"
        for name in (
            "2026-11-22T11.log",
            "2026-11-22T12.log",
            "before.bin",
            "changes.log",
            "now.bin",
            "policies.log",
        )
    ),
]


@pytest.mark.long
@pytest.mark.fault("C15", "what the page is made of is damaged, newer or gone")
@pytest.mark.parametrize("name", STATE)
def test_c15_damaged_state_is_some_lines_in_the_log_and_no_end_of_the_page(
    given, folder, caplog, name
):
    page.write(given, NOON, 30.0)
    path = given.state / name
    whole = path.read_bytes()
    for damage in (half, garbage, zeros, a_newer, gone, in_its_place):
        path.write_bytes(whole)
        damage(path)
        caplog.clear()
        page.write(given, LATER, 30.0)
        assert len(caplog.messages) <= 2, damage
        for text in pages_in(folder).values():
            assert text.rstrip().endswith("</html>")
        asked = Asked(given)
        for shown in PATHS:
            of_one = "/job" in shown or shown.startswith("/badge/")
            expected = (200, 404, 503) if of_one else (200, 503)
            assert asked(shown)[0] in expected, (damage, shown)
        if path.is_dir():
            path.rmdir()
    path.write_bytes(whole)
    page.write(given, NOON, 30.0)
    assert Asked(given)("/api/v1/jobs/a")[0] == 200


@pytest.mark.fault("C15", "a newer Checker wrote a part of the history of 30 jobs")
def test_c15_history_of_a_newer_checker_is_one_line_for_all_jobs(given, folder, caplog):
    keys = [JobKey("Own", f"job {number}") for number in range(30)]
    State(given.state).save_catalog({key: entry(key) for key in keys})
    path = given.state / "history" / "2026-11-22T11.log"
    content = bytearray(path.read_bytes())
    as_newer(content)
    path.write_bytes(content)
    page.write(given, NOON, 30.0)
    assert len(names(folder)) > 30
    assert all(f"{path}: it was written by a" in line for line in caplog.messages)
    assert len(caplog.messages) <= 2


@pytest.mark.fault("C15", "the record of a job that fails is damaged or gone")
@pytest.mark.parametrize("damage", [half, garbage, zeros, gone])
def test_c15_a_job_whose_record_is_lost_is_unknown_and_never_ok(given, folder, damage):
    def shown():
        known = Reader(given, NOON).bare.records.get(KEY)
        return known and known.status

    assert shown() is Status.FAILING
    run = State(given.state).load_run()
    State(given.state).save_run(replace(run, records=(file_stem(KEY),)))
    damage(given.state / "jobs" / f"{file_stem(KEY)}.json")
    assert shown() is Status.UNKNOWN
    page.write(given, NOON, 30.0)
    assert "<b>unknown</b>" in (folder / "index.html").read_text()
    assert 'name="a",kind="Own"} 3' in Asked(given)("/metrics")[1]


@pytest.mark.fault("C15", "a backup of the history is put back")
def test_c15_a_history_that_was_put_back_is_shown_as_it_is_then(given, folder):
    page.write(given, NOON, 30.0)
    before, backup = pages_in(folder), given.state / "backup"
    history = given.state / "history"
    shutil.copytree(history, backup)
    for minute in range(1, 5):
        at = (NOON + timedelta(minutes=minute)).timestamp()
        historylog.record(given.state, UTC, at, [result(), result(OTHER)])
    page.write(given, LATER, 30.0)
    assert pages_in(folder) != before
    shutil.rmtree(history)
    backup.rename(history)
    page.write(given, NOON, 30.0)
    assert pages_in(folder) == before


@pytest.mark.long
@pytest.mark.fault("C15", "the daemon cannot read state for a while")
def test_c15_what_cannot_be_read_is_said_and_read_when_it_can_be(tmp_path):
    instance, url = seen(tmp_path)

    def status():
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                assert b"the log of Checker says why" in error.read()
            return error.code

    with Daemon(instance) as daemon:
        daemon.process.stdout.readline()
        assert status() == 200
        word = daemon.word()
        instance.state.chmod(0)
        time.sleep(5)
        assert status() == 503
        assert daemon.word() == "JobProblem"
        instance.state.chmod(0o700)
        assert status() == 200
        assert daemon.word() == word
    assert 0 < len(daemon.err.splitlines()) < 10


# T9: the clock.


@pytest.mark.fault("T9", "the clock is 400 days ahead for a page, and set back")
def test_t9_a_page_of_the_future_is_written_again(given, folder):
    page.write(given, NOON, 30.0)
    before = pages_in(folder)
    future = NOON + timedelta(days=400)
    page.write(given, future, 30.0)
    for path in folder.iterdir():
        os.utime(path, (future.timestamp(), future.timestamp()))
    # Without time for graphs: those of the future are not shown.
    page.write(given, NOON, 0.0)
    assert "<svg class=g" not in (folder / "index.html").read_text()
    page.write(given, NOON, 30.0)
    assert pages_in(folder) == before


@pytest.mark.long
@pytest.mark.fault("T9", "the clock of a run steps forwards, and back")
def test_t9_a_run_whose_clock_steps_writes_the_page_at_its_time(tmp_path):
    www = tmp_path / "www"
    www.mkdir()
    instance = Instance(tmp_path, NO_MAIL)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    instance.add(f"[page]\nwrite = {www}\n")
    front = www / "index.html"
    hour, run_at = timedelta(hours=1), None
    for ahead in (timedelta(), hour, timedelta(), -hour, timedelta()):
        instance.clock_ahead = ahead
        run_at = datetime.now(UTC) + ahead
        assert instance.cron().code == 0
        said = re.search(r'data-at="(\d+)"', front.read_text())
        assert 0 <= int(said[1]) - int(run_at.timestamp()) < 60, ahead
        # As the clock of the machine would say it.
        os.utime(front, (int(said[1]), int(said[1])))
