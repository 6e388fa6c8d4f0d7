"""Films through several hosts, of which one is cut off, one loses power and one restarts."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_io.read.header import read_header
from storage.records import InstanceState, JobState
from tests.builders.images.films import film
from tests.hosts.site import LEASE_SECONDS, WORKERS, HostDaemon, HostsSite
from tests.tools.waiting import wait_until

_IN_WORK = """
SELECT study_instance_uid FROM jobs JOIN instances ON CAST(instances.id AS TEXT) = jobs.subject
WHERE jobs.kind = 'analyse' AND jobs.state = 'running' AND jobs.worker LIKE %s
"""
SENDERS = 4
RETRY_SECONDS = 0.3


@dataclass
class Clinic:
    """Senders that send each film until it is acknowledged; all films are of their own study."""

    site: HostsSite
    mark: str
    count: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The study of each acknowledged film, by SOP Instance UID."""
    refused: int = 0
    """Attempts that were not acknowledged."""
    _next: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, count: int) -> None:
        """Send so many films more, in the background."""
        self.count += count
        for _ in range(SENDERS):
            thread = threading.Thread(target=self._send, daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def is_busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _send(self) -> None:
        with self.site.hosts["clinic"].inside():
            while (number := self._take()) is not None:
                image = film(f"{self.mark}-{number}")
                while not self.site.try_to_send(image, self.site.hosts["front"]):
                    with self._lock:
                        self.refused += 1
                    time.sleep(RETRY_SECONDS)
                header = read_header(image)
                with self._lock:
                    self.acknowledged[header.sop_instance_uid] = header.study_instance_uid

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= self.count:
                return None
            self._next += 1
            return self._next


@dataclass(frozen=True)
class Recovery:
    """A fault: the studies in work on the host then, and the seconds until all were reported."""

    fault: str
    affected: int
    seconds: float


@dataclass
class Figures:
    """The result of a scenario."""

    studies: int
    lost: int
    duplicates: int
    """Studies with reports of more than one SOP Instance UID."""
    delivered_again: int
    """Arrivals of a report that had arrived before, with the same UID and bytes."""
    refused_sends: int
    late_results: int
    """Results of an analyst that had lost its lease, which the store refused."""
    seconds: float
    recoveries: list[Recovery]

    def lines(self) -> list[str]:
        return [
            f"{self.studies} studies in {self.seconds:.0f} s: {self.lost} lost,"
            f" {self.duplicates} with two reports, {self.delivered_again} reports delivered again",
            f"{self.refused_sends} sends repeated, {self.late_results} late results refused,"
            f" lease {LEASE_SECONDS:.0f} s",
            *(
                f"{one.fault}: {one.affected} studies in work there, the last of them reported"
                f" after {one.seconds:.1f} s"
                for one in self.recoveries
            ),
        ]


def in_work(site: HostsSite, host: str) -> frozenset[str]:
    """Return the studies whose film is in work on a host."""
    return frozenset(site.query(_IN_WORK, f"{host}:%"))


def await_work(site: HostsSite, host: str) -> None:
    wait_until(lambda: len(in_work(site, host)) >= WORKERS, f"{host} has films in work")


@dataclass(frozen=True)
class Watch:
    """The studies that a fault interrupted."""

    site: HostsSite
    fault: str
    studies: frozenset[str]
    began: float

    @property
    def is_over(self) -> bool:
        return self.studies <= set(self.site.archive.first)

    def result(self) -> Recovery:
        times = [self.site.archive.first[study] for study in self.studies]
        return Recovery(self.fault, len(times), max(times, default=self.began) - self.began)


def run_scenario(site: HostsSite, studies: int, seconds: float) -> Figures:
    """Send the films; cut off an analyst, switch off the other, restart the listener."""
    front = site.daemon("front", "listener,courier")
    north, south = (site.daemon(name, "analyst") for name in ("north", "south"))
    back = site.daemon("back", "courier")
    front.start()
    start_together([north, south, back])
    clinic, began, watches = Clinic(site, f"hosts-{studies}"), time.monotonic(), []

    clinic.send(studies // 3)
    await_work(site, "north")
    cut_at = time.monotonic()
    north.host.cut_off()
    watches.append(Watch(site, "an analyst is cut off", in_work(site, "north"), cut_at))
    wait_until(lambda: watches[0].is_over, "the other analyst has its films", seconds)
    time.sleep(max(0.0, cut_at + 1.5 * LEASE_SECONDS - time.monotonic()))
    north.host.join()

    clinic.send(studies // 3)
    await_work(site, "south")
    cut_at = time.monotonic()
    south.lose_power()
    watches.append(Watch(site, "an analyst loses power", in_work(site, "south"), cut_at))
    clinic.join()

    clinic.send(studies - clinic.count)
    stopped = time.monotonic()
    front.stop()
    front.start()
    restart = time.monotonic() - stopped
    start_together([south])

    clinic.join()
    wait_until(lambda: site.archive.reported >= studies, "all is reported", seconds)
    took = time.monotonic() - began
    wait_until(lambda: not unfinished(site), "nothing is left to do", seconds)
    recoveries = [one.result() for one in watches]
    recoveries.append(Recovery("the listener and its courier restart", 0, restart))
    return figures_of(site, clinic, [north, south], took, recoveries)


def start_together(daemons: Sequence[HostDaemon]) -> None:
    threads = [threading.Thread(target=daemon.start) for daemon in daemons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(daemon.is_running for daemon in daemons)


def unfinished(site: HostsSite) -> int:
    with site.store() as store:
        return sum(
            count
            for group, count in store.status.job_counts().items()
            if group.state in (JobState.QUEUED, JobState.RUNNING)
        )


def figures_of(
    site: HostsSite,
    clinic: Clinic,
    analysts: Sequence[HostDaemon],
    seconds: float,
    recoveries: list[Recovery],
) -> Figures:
    """Count at the destination and in the store."""
    archive = site.archive
    lost = sum(study not in archive.first for study in clinic.acknowledged.values())
    with site.store() as store:
        assert {group.state for group in store.status.job_counts()} <= {JobState.DONE}
        for uid, study in clinic.acknowledged.items():
            kept = store.kept_files(uid)
            states = {one.state for one in store.results.study(study).instances}
            lost += len(kept) != 1 or states != {InstanceState.ANALYSED}
    return Figures(
        studies=len(clinic.acknowledged),
        lost=lost,
        duplicates=sum(len(of_study) > 1 for of_study in archive.studies.values()),
        delivered_again=sum(
            of_study.total() - len(of_study) for of_study in archive.studies.values()
        ),
        refused_sends=clinic.refused,
        late_results=sum(one.log.count("was taken over by another worker") for one in analysts),
        seconds=seconds,
        recoveries=recoveries,
    )
