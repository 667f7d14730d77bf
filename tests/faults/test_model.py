"""Random sequences of results, faults, kills and times: people hear what they must."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import seed as seeded
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.faults.mutants import MUTANTS
from tests.faults.reference import Reference, collapsed, heard
from tests.faults.table import LONG, measured, seed
from tests.faults.world import NAMES, World
from tests.support.servers import SmtpServer

LAMPS = NAMES[:3]
EXAMPLES, STEPS = (150, 30) if LONG else (2, 10)
#: Longer than any wait between two attempts, shorter than what is forgotten.
LATER = timedelta(hours=2)
steps = {"steps": 0, "killed": 0}


def machine(server: SmtpServer, program: Path | None = None) -> type:
    """Return the machine that plays with an instance of this program."""

    class Machine(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.folder = Path(tempfile.mkdtemp())
            server.mails.clear()
            self.world = World(self.folder / "world", server, program)
            self.world.lamps(len(LAMPS))
            self.world.mail(up=True)
            self.world.light(on=True)
            self.dark = dict.fromkeys(LAMPS, False)
            self.reference = Reference(LAMPS)
            self.killed = False
            self.run()

        @rule(name=st.sampled_from(LAMPS))
        def switch(self, name: str) -> None:
            self.dark[name] = not self.dark[name]
            path = self.world.folder / name
            path.unlink() if self.dark[name] else path.touch()

        @rule()
        def run(self) -> None:
            steps["steps"] += 1
            code, said = self.world.run()
            assert "Traceback" not in said, said
            assert code == 0, said
            self.reference.judge(self.dark)

        @rule(name=st.sampled_from(LAMPS))
        def switch_and_run(self, name: str) -> None:
            self.switch(name)
            self.run()

        @rule(part=st.floats(0, 0.5))
        def run_and_kill(self, part: float) -> None:
            steps["steps"] += 1
            steps["killed"] += 1
            process = self.world.start()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=part)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            self.killed = True
            self.reference.judge(self.on_disk())

        @rule(up=st.booleans())
        def refuse_mail(self, up: bool) -> None:
            self.world.mail(up=up)

        @rule(hours=st.sampled_from([-1, 1, 3, 30]))
        def pass_time(self, hours: int) -> None:
            self.world.pass_time(timedelta(hours=hours))

        @rule()
        def cannot_write(self) -> None:
            self.world.state.chmod(0o500)
            try:
                # Judged, but kept nowhere: so it is judged anew, and told then.
                self.world.run()
            finally:
                self.world.state.chmod(0o700)
            self.reference.judge(self.on_disk())

        def on_disk(self) -> dict[str, bool]:
            records = self.world.instance.records()
            return {
                name: records.get(f"Lamp {name}", {}).get("status") == "failing"
                for name in LAMPS
            }

        def teardown(self) -> None:
            if not hasattr(self, "world"):
                return
            self.world.mail(up=True)
            for _ in range(6):
                self.world.pass_time(LATER)
                self.run()
                if not self.world.queued():
                    break
            self.world.close()
            assert not self.world.queued()
            notified = heard(server.mails, LAMPS)
            found = collapsed(notified) if self.killed else notified
            shutil.rmtree(self.folder, ignore_errors=True)
            assert found == self.reference.to_tell

    return Machine


def play(kind: type, examples: int, count: int) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    seeded(seed())(kind)
    run_state_machine_as_test(kind, settings=chosen)


@pytest.mark.fault("X8", "model: random results, faults, kills and times")
def test_people_hear_what_the_model_says():
    with SmtpServer(security="none") as server:
        play(machine(server), EXAMPLES, STEPS)
    measured(f"{steps['steps']} runs, {steps['killed']} of them killed: as the model")


if LONG:
    # Chance finds it in hundreds of runs, not in forty.
    @pytest.mark.fault("R4", "a wrong design is not as the model says")
    @pytest.mark.parametrize("name", ["mark before send"])
    def test_a_wrong_design_is_not_as_the_model_says(tmp_path, name):
        program = tmp_path / "program"
        program.mkdir()
        with SmtpServer(security="none") as server, pytest.raises(AssertionError):
            play(machine(server, MUTANTS[name].plant(program)), EXAMPLES, STEPS)
