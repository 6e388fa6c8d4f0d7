"""A performer killed at each message and each commit ends its workitem exactly once.

The kill is an exception that no code catches, before and after every message to the manager and
every commit of the store. The next process has the store and the manager as they were left.
"""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.engine.default import DefaultDialect

from dicom_io.ups.workitems import StepState
from storage.records import JobKind, JobState
from storage.worklist.records import WorkitemState
from tests.builders.worklist.scene import Scene

IN_PROGRESS, COMPLETED, CANCELED = StepState.IN_PROGRESS, StepState.COMPLETED, StepState.CANCELED


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Kills the performer at one of the points that it passes."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kills = 0
        self._scene = scene
        self._left: int | None = None
        self._is_performing = False
        scene.manager.on_message = lambda _message, _when: self._pass()
        real: Any = DefaultDialect.do_commit

        def do_commit(dialect: Any, connection: Any) -> None:
            self._pass()
            real(dialect, connection)
            self._pass()

        monkeypatch.setattr(DefaultDialect, "do_commit", do_commit)

    def arm(self, number: int) -> None:
        """Kill at this point, counted from 0 over all steps from now on."""
        self._left = number

    @property
    def has_killed(self) -> bool:
        return self._left is None

    def step(self, work: Callable[[], None]) -> None:
        """Do a step of the performer, by a second process if the first is killed."""
        self._is_performing = True
        try:
            work()
        except Killed:
            self._is_performing = False
            self._scene.store.jobs.release(f"courier-{self._scene.worker}")
            work()
        finally:
            self._is_performing = False

    def _pass(self) -> None:
        if not self._is_performing or self._left is None:
            return
        if self._left == 0:
            self._left = None
            self.kills += 1
            raise Killed
        self._left -= 1


def complete(scene: Scene, killer: Killer, number: int) -> str:
    """Order, find, claim, receive, deliver and complete; return the workitem."""
    uid = scene.order(number)
    killer.step(scene.search)
    killer.step(scene.perform)
    scene.send(number)
    killer.step(scene.perform)
    scene.deliver()
    killer.step(scene.perform)
    killer.step(scene.perform)
    return uid


def cancel(scene: Scene, killer: Killer, number: int) -> str:
    """Order, find, claim, and cancel as the manager asks; return the workitem."""
    uid = scene.order(number)
    killer.step(scene.search)
    killer.step(scene.perform)
    scene.store.workitems.request_cancel("ris", uid)
    killer.step(scene.perform)
    killer.step(scene.perform)
    return uid


def killed_everywhere(
    scene: Scene, killer: Killer, life: Callable[[Scene, Killer, int], str], every: int
) -> list[str]:
    """Live once for `every` so many points, killed there; return the workitems."""
    lived: list[str] = []
    while True:
        killer.arm(every * len(lived))
        lived.append(life(scene, killer, len(lived) + 1))
        if not killer.has_killed:
            return lived


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("life", "end", "state"),
    [(complete, COMPLETED, WorkitemState.COMPLETED), (cancel, CANCELED, WorkitemState.CANCELED)],
)
def test_a_workitem_ends_exactly_once_wherever_its_performer_is_killed(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    life: Callable[[Scene, Killer, int], str],
    end: StepState,
    state: WorkitemState,
    every: int,
) -> None:
    killer = Killer(scene, monkeypatch)
    lived = killed_everywhere(scene, killer, life, every)
    print(f"\n  {killer.kills} kills, {len(lived)} workitems end {end}")
    assert killer.kills == len(lived) - 1 >= 50 // every
    for number, uid in enumerate(lived, 1):
        assert scene.manager.history[uid] == [IN_PROGRESS, end], number
        assert scene.item(uid).state is state
        kept = scene.kept.get(scene.study(number), set())
        assert scene.manager.outputs(uid) == kept
        assert len(kept) == (end is COMPLETED)
    performed = scene.store.jobs.list(kind=JobKind.PERFORM, limit=None)
    assert {job.state for job in performed} == {JobState.DONE}
    ended = [row for row in scene.store.audit.rows() if row.kind == "workitem_ended"]
    assert len(ended) == len(lived)
