import pytest

from jobs.CPUUsage import CPUUsage, kept, shares_of, start_of
from tests.support.machine import Machine


class Cores(Machine):
    """One core whose ticks go on from run to run."""

    def __init__(self, root, **options):
        super().__init__(CPUUsage, root, **options)
        self.job.first_s = 0
        self.ticks = [1000] * 8

    def run(self, busy=0, iowait=0, steal=0, after_s=60.0):
        """Return what is found after a time of which so many per cent went there."""
        ticks = 100 * after_s
        for column, share in ((0, busy), (4, iowait), (7, steal)):
            self.ticks[column] += int(ticks * share / 100)
        self.ticks[3] += int(ticks * (100 - busy - iowait - steal) / 100)
        line = " ".join(map(str, self.ticks))
        stat = {"proc/stat": f"cpu  {line} 0 0\ncpu0 {line} 0 0\n"}
        return self.found(stat, after_s=after_s)


def test_the_first_run_judges_nothing(tmp_path):
    cores = Cores(tmp_path)
    # The files stand still, so that no time passes.
    assert cores.run(busy=100) == "unknown: /proc/stat does not advance"
    # Nor do those until half of the time is known.
    assert [cores.run(busy=100)[:4] for _ in range(6)] == ["ok"] * 4 + ["warn"] * 2


@pytest.mark.parametrize(
    ("shares", "options", "said"),
    [
        ({"busy": 90}, {}, "ok"),
        ({"busy": 96}, {}, "warning: busy is 96%, over warn_busy = 95%"),
        ({"busy": 96}, {"fail_busy": 90}, "failing: busy is 96%, over fail_busy = 90%"),
        ({"iowait": 50}, {}, "warning: iowait is 50%, over warn_iowait = 40%"),
        ({"steal": 11}, {}, "warning: steal is 11%, over warn_steal = 10%"),
    ],
)
def test_what_the_cores_did_since_the_run_before_is_judged(
    tmp_path, shares, options, said
):
    cores = Cores(tmp_path, over="0s", **options)
    cores.run()
    assert cores.run(**shares) == said


def test_one_busy_minute_of_ten_is_ordinary(tmp_path):
    cores = Cores(tmp_path)
    statuses = [cores.run(busy=20 if minute < 12 else 100) for minute in range(24)]
    # The last ten minutes were busy as a whole.
    assert [status[:4] for status in statuses[12:]] == ["ok"] * 9 + ["warn"] * 3


def test_over_no_time_the_minute_before_is_judged(tmp_path):
    cores = Cores(tmp_path, over="0s")
    cores.run()
    assert [cores.run(busy=busy)[:4] for busy in (100, 0, 100)] == [
        "warn",
        "ok",
        "warn",
    ]


def test_after_a_boot_what_was_remembered_does_not_count(tmp_path):
    cores = Cores(tmp_path)
    cores.run()
    cores.run(busy=100)
    cores.ticks = [1] * 8
    assert cores.run(busy=10) == "unknown: /proc/stat does not advance"
    assert cores.run(busy=10) == "ok"


def test_a_clock_that_was_set_back_is_a_first_run(tmp_path):
    cores = Cores(tmp_path)
    cores.run()
    cores.now -= 7200
    assert cores.run(busy=100).startswith("unknown")


def test_other_text_is_unknown(tmp_path):
    found = Machine(CPUUsage, tmp_path).found({"proc/stat": "intr 1 2 3\n"})
    assert found.startswith("unknown: /proc/stat is not understood")


def test_what_is_remembered_stays_small_and_spans_the_time():
    samples = []
    for minute in range(200):
        samples = kept(samples, 60.0 * minute, [minute], 600.0)
        assert len(samples) <= 17
    assert samples[-1][0] - start_of(samples, samples[-1][0], 600.0)[0] >= 540


def test_iowait_that_runs_backwards_counts_as_none():
    before, after = [0, 0, 0, 0, 50, 0, 0, 0], [50, 0, 0, 50, 40, 0, 0, 0]
    assert shares_of(before, after) == {"busy": 50, "iowait": 0, "steal": 0}


@pytest.mark.parametrize(
    ("shares", "options", "said"),
    [
        # By default all three of them, which is more than there is.
        ({"busy": 96}, {}, "ok"),
        ({"busy": 70, "iowait": 20}, {"warn_busy": 60, "warn_iowait": 10},
         "warning: busy is 70%, over warn_busy = 60% and iowait is 20%, over"),
        ({"busy": 70, "iowait": 5}, {"warn_busy": 60, "warn_iowait": 10}, "ok"),
        ({"busy": 96}, {"fail_busy": 90}, "failing: busy is 96%, over fail_busy"),
    ],
)  # fmt: skip
def test_need_all_is_about_what_is_given(tmp_path, shares, options, said):
    cores = Cores(tmp_path, over="0s", need="all", **options)
    cores.run()
    assert cores.run(**shares).startswith(said)
