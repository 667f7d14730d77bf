"""Plays drawn histories against the model; also by itself, with another program:

    python -m tests.faults.promise_play EXAMPLES SEED [PROGRAM]

PROGRAM is a folder whose ``lib`` is used.  It exits with 1 at the first broken promise.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, example, given
from hypothesis import seed as seeded
from hypothesis import settings
from hypothesis import strategies as st

if __name__ == "__main__" and len(sys.argv) > 3:
    sys.path.insert(0, sys.argv[3])

if TYPE_CHECKING:
    from tests.faults.promise_world import History

OPS, BOSS, BOTH = ("ops@x.org",), ("boss@x.org",), ("ops@x.org", "boss@x.org")
MINUTES = 40
#: Where nothing is synced to a disk, if there is such a place.
FAST = Path("/dev/shm")


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Return a history: noise, real failures, and a server with troubles."""
    from tests.faults.promise_world import History, JobStory

    people = st.sampled_from([OPS, OPS, OPS, BOSS, BOTH])
    minute = st.integers(0, MINUTES - 1)
    jobs: list[JobStory] = []

    def add(failing: range, reminds: int = 0, to: tuple[str, ...] = ()) -> None:
        name = f"job{len(jobs)}x"
        minutes = frozenset(one for one in failing if one < MINUTES)
        jobs.append(JobStory(name, to or draw(people), minutes, reminds))

    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 5, 12]))):
        add(
            range(draw(st.integers(0, 5)), MINUTES, draw(st.sampled_from([2, 2, 3, 7])))
        )
    for _ in range(draw(st.integers(0, 4))):
        add(range(draw(minute), MINUTES), draw(st.sampled_from([1, 1, 5])))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(minute)
        add(range(begin, begin + draw(st.sampled_from([1, 2, 4, 10, 60]))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        begin, lasts = draw(minute), draw(st.sampled_from([3, 8, 60]))
        to = draw(people)
        for _ in range(draw(st.sampled_from([3, 7, 12]))):
            add(range(begin, begin + lasts), to=to)
        # What fails a little later.
        later = begin + draw(st.integers(1, 9))
        add(range(later, later + lasts), to=to)
    for begin in range(draw(minute), MINUTES, 1)[: draw(st.sampled_from([0, 0, 10]))]:
        for _ in range(3):
            add(range(begin, MINUTES))
    server: dict[int, str] = {}
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        begin, lasts = draw(minute), draw(st.sampled_from([1, 2, 9, 25]))
        how = draw(st.sampled_from(["gone", "data", "rcpt", "doubt", "doubt, arrived"]))
        minutes = range(begin, min(begin + lasts, MINUTES))
        server.update(dict.fromkeys(minutes, how))
    kills = {
        draw(minute): draw(st.integers(0, 1))
        for _ in range(draw(st.sampled_from([0, 0, 2, 9])))
    }
    return History(
        tuple(jobs),
        MINUTES,
        draw(st.sampled_from([2, 5, 10, 20])),
        draw(st.sampled_from([10, 100, 100])),
        server,
        kills,
        tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))),
        tuple(draw(st.lists(st.sampled_from([1, 3, 12, 45]), min_size=1, max_size=4))),
    )


# Histories that are seldom drawn.


def after_a_bundle() -> History:
    """Return one in which a job fails soon after a bundle."""
    from tests.faults.promise_world import History, JobStory

    storm = [JobStory(f"job{n}x", OPS, frozenset(range(3, 40))) for n in range(8)]
    later = JobStory("job9x", OPS, frozenset(range(5, 40)))
    return History((*storm, later), MINUTES)


def a_long_outage() -> History:
    """Return one in which a few messages are tried many times in vain."""
    from tests.faults.promise_world import History, JobStory

    jobs = [JobStory(f"job{n}x", OPS, frozenset(range(n, 40))) for n in (2, 3)]
    return History(tuple(jobs), MINUTES, server=dict.fromkeys(range(2, 30), "data"))


def over_with_the_outage() -> History:
    """Return one in which the run that finds mail working finds a job OK."""
    from tests.faults.promise_world import History, JobStory

    jobs = [JobStory(f"job{n}x", OPS, frozenset(range(n, 11))) for n in (4, 5)]
    server = dict.fromkeys(range(4, 8), "gone")
    return History(tuple(jobs), MINUTES, server=server, lasts=(12,))


def play(examples: int, seed: int) -> Counter[str]:
    """Play so many histories; return what they came to.  Raise if one is wrong."""
    from tests.faults.promise_world import World

    seen: Counter[str] = Counter()
    longest = timedelta(0)

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @example(after_a_bundle())
    @example(a_long_outage())
    @example(over_with_the_outage())
    @given(histories())
    def each(history: History) -> None:
        nonlocal longest
        place = FAST if FAST.is_dir() else None
        with tempfile.TemporaryDirectory(dir=place) as folder:
            model = World(Path(folder), history).play()
        assert not model.faults, "\n".join([*model.faults[:10], repr(history)])
        longest = max(longest, model.longest)
        seen.update(
            histories=1,
            queued=len(model.queued),
            attempts=len(model.attempts),
            kills=len(model.killed),
        )

    each()
    seen["longest_s"] = int(longest.total_seconds())
    return seen


if __name__ == "__main__":
    import lib

    if len(sys.argv) > 3:
        assert Path(sys.argv[3]) in Path(str(lib.__file__)).parents, lib.__file__
    print(play(int(sys.argv[1]), int(sys.argv[2])))
