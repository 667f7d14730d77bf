"""The parts of ``make bench`` run, at tiny sizes; what they take is not judged."""

from __future__ import annotations

import re

import pytest

from tests import bench, bench_against, bench_history, bench_logs
from tests.support import pages
from tests.support.benchserver import servers


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with servers(tmp_path_factory.mktemp("servers")) as there:
        yield there


def silent(part):
    """Return the figures of a run that ended well and said nothing."""
    ran, figures = part
    assert (ran.exit_code, ran.said) == (0, "")
    assert ran.wall_s > 0 and ran.cpu_s > 0
    return figures


def exact(part):
    """Return whether all is there that has to be, however slow this machine is."""
    return all(one.ok for one in silent(part) if one.exact)


@pytest.mark.long
def test_targets_that_answer_at_once_or_after_a_while(tmp_path, there):
    assert exact(bench.answering(tmp_path, there, 5))
    assert exact(bench.slow(tmp_path, there, 5))


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["mute", "drip"])
def test_as_many_fail_as_never_answer(tmp_path, there, trouble):
    assert exact(bench.troubled(tmp_path, there, trouble, 0, 6, 2, 3.0))


@pytest.mark.long
def test_targets_with_a_certificate_are_ok(tmp_path, there):
    assert exact(bench.secure(tmp_path, there, 5))


@pytest.mark.long
def test_memory_is_measured(tmp_path, there):
    ran, _figures = part = bench.memory(tmp_path, there, 300)
    assert exact(part)
    assert 5 < ran.peak_pss_mib < 500
    assert ran.processes >= 2


@pytest.mark.long
def test_each_job_of_a_storm_is_accounted_for(tmp_path):
    assert exact(bench.storm(tmp_path, 12))


@pytest.mark.long
def test_the_longest_wait_in_a_storm_is_measured(tmp_path):
    longest, mails, told = bench.waits(tmp_path, 12)
    assert longest.ok and mails.ok and told.ok
    assert mails.value > 2


@pytest.mark.parametrize(
    ("subject", "count"),
    [
        ("[bench] 9,988 failing: no route to host", 9_988),
        ("[bench] One 7 is failing: no route to host", 1),
        ("[bench] a state file was lost or damaged", 0),
    ],
)
def test_a_subject_says_how_many_jobs_a_mail_is_about(subject, count):
    assert bench.stands_for(subject) == count


def test_a_figure_says_its_limit_and_whether_it_is_over():
    assert str(bench.Figure("wall:", 2.5, 3, " s")) == "wall: 2.50 s, limit 3 s: ok"
    assert str(bench.Figure("wall:", 3.5, 3, " s")) == "wall: 3.50 s, limit 3 s: OVER"
    assert str(bench.Figure("mails:", 2, 3, exact=True)) == "mails: 2, expected 3: OVER"


def test_a_commit_is_measured_and_whole(tmp_path):
    assert all(one.ok for one in bench.commits(tmp_path, 12) if one.exact)


@pytest.mark.long
def test_history_is_measured_beside_sqlite(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_history, "LAST_DAY", 70)
    ours = bench_history.of_history(tmp_path / "state", jobs=1, days=1)
    theirs = bench_history.of_sqlite(tmp_path, jobs=1, days=1)
    assert 3 < ours.row_bytes < 20 < theirs.row_bytes
    assert min(*ours, *theirs) > 0


def test_what_a_log_costs_is_measured_beside_one_search(tmp_path):
    log = tmp_path / "app.log"
    bench_logs.write(log, 100_000)
    for pattern in bench_logs.PATTERNS.values():
        assert bench_logs.measured(log, pattern, turns=1).found == 1


# make bench-against.


@pytest.mark.long
def test_a_row_is_measured_in_two_checkouts(capsys):
    bench_against.main([str(bench.ROOT), "--rows", "idle", "--times", "1"])
    *_machine, title, _line, row = capsys.readouterr().out.splitlines()
    assert title == "| work | unit | here | here | here / here |"
    assert re.fullmatch(r"\| a minute run, .* \| CPU s( \| [\d.]+){3} \|", row), row


@pytest.mark.long
def test_a_run_that_did_not_do_what_it_is_measured_for_has_no_figure(tmp_path):
    here = bench_against.checkout(bench.ROOT)

    def prepared(folder, checkout):
        return bench_against.Place(folder, checkout, "[email\n").prepare("minute")

    row = bench_against.Row("settings that cannot be used", prepared, 1)
    (trouble,) = bench_against.measured(row, [here], tmp_path, 1)
    assert "exit code 1" in trouble
    assert bench_against.line(row, [1.0, trouble]).endswith("| 1 | - | - |")


def test_the_page_names_every_row():
    page = (bench.ROOT / "docs" / "testing.md").read_text("utf-8")
    table = pages.rows(pages.part(page, "What a run costs"))
    shown = {pages.words(name)[0]: what for name, what in table}
    assert shown == {name: row.what for name, row in bench_against.ROWS.items()}


@pytest.mark.long
def test_a_history_is_made_and_read_by_the_code_of_a_checkout(tmp_path):
    here = bench_against.checkout(bench.ROOT)
    for made, what in (
        ("days", "page"),
        ("days", "page-size"),
        ("days", "bars"),
        ("day", "history"),
        ("day", "status"),
    ):
        prepared = bench_against._of_history(made, what, jobs=3)
        row = bench_against.Row(what, prepared, 1)
        (tmp_path / what).mkdir()
        (found,) = bench_against.measured(row, [here], tmp_path / what, 1)
        assert isinstance(found, float) and found > 0
