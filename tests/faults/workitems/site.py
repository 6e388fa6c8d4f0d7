"""A daemon with fault points that performs the workitems of an independent manager."""

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydicom import Dataset

from dicom_io.read.header import Header, read_header
from storage.records import JobKind, JobState
from tests.builders.images.films import film
from tests.faults.life import Kill, Reviver
from tests.faults.site import CountingArchive, FaultSite, fault_site, is_alive
from tests.servers.worklist.dimse_manager import TITLE, DimseWorklist, running_manager
from tests.servers.worklist.steps import chest_step
from tests.servers.worklist.web_manager import WebWorklist, running_web_manager
from tests.tools.ports import HOST
from tests.tools.waiting import wait_until

FINAL = ("COMPLETED", "CANCELED")
SECONDS = 120.0


@dataclass
class Ordered:
    """A workitem, and the film that it is about."""

    uid: str
    image: bytes
    header: Header


@dataclass
class WorklistSite:
    """The daemon, its destinations, and a manager whose operations may kill the courier.

    `kills` are kills at the manager that have not happened; `killed` are those that have.
    """

    faults: FaultSite
    manager: DimseWorklist | WebWorklist
    kills: list[Kill] = field(default_factory=list)
    killed: Counter[Kill] = field(default_factory=Counter)
    ordered: list[Ordered] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def order(self) -> Ordered:
        """Order the analysis of a new film."""
        number = len(self.ordered) + 1
        image = film(f"ordered-{number}")
        header = read_header(image)
        step = self._step(header)
        one = Ordered(self.manager.schedule(step), image, header)
        self.ordered.append(one)
        return one

    def _step(self, header: Header) -> Dataset:
        named = {header.series_instance_uid: [(header.sop_class_uid, header.sop_instance_uid)]}
        return chest_step(header.study_instance_uid, named)

    def complete(self, number: int = 1) -> None:
        """Order and send films until the manager calls their workitems final."""
        ordered = [self.order() for _ in range(number)]
        for one in ordered:
            self.faults.send(one.image)
        self.wait_until_final(ordered)

    def cancel(self, number: int = 1) -> None:
        """Order films that do not come, and cancel them once they are claimed."""
        ordered = [self.order() for _ in range(number)]
        wait_until(lambda: all(self._is_claimed(one) for one in ordered), "claimed", SECONDS)
        with self.faults.daemon.store() as store:
            for one in ordered:
                assert store.workitems.request_cancel("ris", one.uid)
        self.wait_until_final(ordered)

    def _is_claimed(self, one: Ordered) -> bool:
        return self._state(one) != "SCHEDULED"

    def _state(self, one: Ordered) -> str:
        return self.manager.steps[one.uid].state

    def wait_until_final(self, ordered: Sequence[Ordered]) -> None:
        wait_until(lambda: all(self._state(one) in FINAL for one in ordered), "final", SECONDS)
        with self.faults.daemon.store() as store:
            wait_until(
                lambda: (
                    {job.state for job in store.jobs.list(kind=JobKind.PERFORM)} == {JobState.DONE}
                ),
                "the workitems are recorded as ended",
                SECONDS,
            )

    def die_at(self, kills: Sequence[Kill], live: Callable[[], None], lives: int = 3) -> list[Kill]:
        """Repeat `live` until the courier has died at each point; return the points not reached.

        The points of the daemon begin with its role; the others are operations of the manager.
        """
        of_daemon = [kill for kill in kills if ": " in kill[0]]
        before = len(self.faults.daemon.killed())
        for kill in of_daemon:
            self.faults.daemon.arm(*kill)
        with self._lock:
            self.kills += [kill for kill in kills if kill not in of_daemon]
        left: Counter[Kill] = Counter()
        for _ in range(lives):
            with Reviver(self.faults):
                live()
            reached = Counter(self.faults.daemon.killed()[before:])
            left = Counter(of_daemon) - reached + Counter(self.kills)
            if not left:
                break
        self.faults.daemon.disarm()
        self.kills.clear()
        return sorted(left.elements())

    def kill_count(self) -> int:
        return len(self.faults.daemon.killed()) + self.killed.total()

    def on_operation(self, operation: str, moment: str) -> None:
        """Kill the courier at an operation of the manager, if that is due."""
        with self._lock:
            if (operation, moment) not in self.kills:
                return
            courier = self.faults.daemon.role_alive("courier")
            if courier is None:
                return
            self.kills.remove((operation, moment))
            self.killed[operation, moment] += 1
            os.kill(courier, signal.SIGKILL)
        wait_until(lambda: not is_alive(courier), "the courier is dead")

    def check(self) -> dict[str, int]:
        """Check that each workitem ended once, with what the destinations keep."""
        ends: Counter[str] = Counter()
        for one in self.ordered:
            states = self.manager.states_of(one.uid)
            assert states[:2] == ["SCHEDULED", "IN PROGRESS"], states
            assert len(states) == 3, states
            ends[states[2]] += 1
            study = one.header.study_instance_uid
            kept = [archive.kept.get(study, set()) for archive in self.archives]
            named = self.manager.steps[one.uid].outputs
            if states[2] == "COMPLETED":
                assert kept[0] == kept[1] == named, (kept, named)
                assert named
            else:
                assert named == set()
        return {"workitems": len(self.ordered), "kills": self.kill_count(), **ends}

    @property
    def archives(self) -> tuple[CountingArchive, ...]:
        return (self.faults.plain, self.faults.archive)


@contextlib.contextmanager
def worklist_site(
    folder: Path, bundle: Path, *, database_url: str | None = None, over_the_web: bool = False
) -> Iterator[WorklistSite]:
    """A daemon that is not started yet, its destinations and a manager."""
    running = running_web_manager if over_the_web else running_manager
    with (
        running() as manager,
        fault_site(folder, bundle, forks=True, database_url=database_url) as faults,
    ):
        path = faults.daemon.config
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        values["worklists"] = [
            {
                "name": "ris",
                **address_of(manager),
                "source": "room",
                "codes": [],
                "poll_seconds": 0.3,
            }
        ]
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        site = WorklistSite(faults, manager)
        manager.hook = site.on_operation
        yield site


def address_of(manager: DimseWorklist | WebWorklist) -> dict[str, object]:
    """Return the keys that say how a manager is asked."""
    if isinstance(manager, WebWorklist):
        return {"kind": "web", "url": manager.url, "allow_http": True}
    return {"kind": "dimse", "ae_title": TITLE, "host": HOST, "port": manager.port}
