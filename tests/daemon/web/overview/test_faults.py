"""The faults that the overview names first, and the groups of parked jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.config.settings import Config
from daemon.web.health.checks import Check, HealthReport, Level, Part
from daemon.web.overview.faults import Fault, find_faults
from daemon.web.overview.rows import DestinationRow, QueueRow, parked_rows
from daemon.web.overview.work import Spread
from storage.queue.listing import ParkedGroup
from storage.records import JobKind, JobState
from storage.status import LaneError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def faults(*checks: Check, **changes: Any) -> list[Fault]:
    """Return the faults of a node that works but for these checks and changes."""
    values: dict[str, Any] = {
        "queue": [],
        "destinations": [],
        "held": 0,
        "usual_wait": None,
        "free_bytes": 10**12,
    } | changes
    free = values.pop("free_bytes")
    return list(find_faults(Config(), HealthReport(checks, (), {}, free), **values))


def queue(kind: JobKind, waited: timedelta | None = None, parked: int = 0) -> list[QueueRow]:
    counts = dict.fromkeys(JobState, 0) | {JobState.PARKED: parked}
    return [QueueRow(kind, counts, NOW, waited)]


def destination(**changes: Any) -> DestinationRow:
    values: dict[str, Any] = {
        "name": "pacs",
        "configured": True,
        "delivered": 3,
        "delivered_today": 1,
        "waiting": 2,
        "waiting_since": NOW,
        "parked": 0,
        "last_success": None,
        "error": None,
        "page": "jobs?destination=pacs",
    }
    return DestinationRow(**values | changes)


def test_a_node_that_works_has_no_fault() -> None:
    assert faults(Check(Part.STORE, "", Level.OK), destinations=[destination()]) == []


def test_the_worst_faults_come_first_each_with_a_step() -> None:
    found = faults(
        Check(Part.CERTIFICATE, "tls", Level.DEGRADED, "ends in 3 day(s): renew it"),
        Check(Part.ROLE, "listener", Level.FAILING, "signal SIGSEGV"),
        Check(Part.ROLE, "courier", Level.STARTING),
        Check(Part.DESTINATION, "pacs", Level.DEGRADED, "no answer"),
        queue=queue(JobKind.DELIVER, parked=37),
        destinations=[destination(error=LaneError("no answer", NOW))],
        held=2,
        free_bytes=600 * 2**20,
    )
    assert [(fault.level, fault.text) for fault in found] == [
        (Level.FAILING, "Role listener: signal SIGSEGV"),
        (Level.FAILING, "2 studies are in doubt, and nothing of them leaves."),
        (Level.DEGRADED, "37 parked jobs: a person has to decide."),
        (Level.DEGRADED, "pacs: 2 waiting, the last attempt failed."),
        (Level.DEGRADED, "Certificate tls: ends in 3 day(s): renew it"),
        (Level.DEGRADED, "The disk is nearly full: 629 MB free."),
        (Level.STARTING, "Starting: role courier."),
    ]
    assert all(fault.advice for fault in found[:-1])
    assert "`tls.certificate`" in found[4].advice
    assert [fault.page for fault in found[1:4]] == [
        "studies?state=held",
        "jobs?state=parked",
        "jobs?destination=pacs",
    ]


def test_work_for_a_former_destination_is_named() -> None:
    (fault,) = faults(destinations=[destination(configured=False)])
    assert fault.text == "pacs: 2 waiting, but it is not in the configuration."


@pytest.mark.parametrize(
    ("kind", "waited", "usual", "is_late"),
    [
        (JobKind.ANALYSE, 9 * MINUTE, None, False),
        (JobKind.ANALYSE, 11 * MINUTE, None, True),
        (JobKind.ANALYSE, 59 * MINUTE, 12 * MINUTE, False),
        (JobKind.ANALYSE, 61 * MINUTE, 12 * MINUTE, True),
        (JobKind.ANALYSE, MINUTE, timedelta(seconds=2), False),
        (JobKind.ANALYSE, 1.1 * MINUTE, timedelta(seconds=2), True),
        (JobKind.REPORT, 11 * MINUTE, timedelta(hours=9), True),
        (JobKind.DELIVER, 90 * MINUTE, None, False),
        (JobKind.ANALYSE, None, MINUTE, False),
    ],
)
def test_work_is_late_by_its_usual_wait(
    kind: JobKind, waited: timedelta | None, usual: timedelta | None, is_late: bool
) -> None:
    found = faults(queue=queue(kind, waited), usual_wait=usual)
    assert [fault.text.startswith(f"Work waits: {kind} has been due") for fault in found] == (
        [True] if is_late else []
    )


def test_parked_jobs_are_grouped_by_their_redacted_reason() -> None:
    def group(error: str, count: int, minute: int, lane: str = "pacs") -> ParkedGroup:
        at = NOW + minute * MINUTE
        return ParkedGroup(JobKind.DELIVER, lane, error, count, at, at)

    rows = parked_rows(
        [
            group("no answer for 1.2.840.113619.2.66.7", 1, 5),
            group("status 0xA900: DOE^JANE", 2, 1),
            group("status 0xA900: another", 3, 9),
            group("status 0xA900", 1, 2, "archive"),
            group("", 1, 0),
        ]
    )
    assert [(row.task, row.reason, row.count) for row in rows] == [
        ("deliver to pacs", "status 0xA900", 5),
        ("deliver to pacs", "no answer for …", 1),
        ("deliver to archive", "status 0xA900", 1),
        ("deliver to pacs", "no reason recorded", 1),
    ]
    assert (rows[0].first_at, rows[0].last_at) == (NOW + MINUTE, NOW + 9 * MINUTE)
    assert rows[1].page == (
        "jobs?state=parked&kind=deliver&destination=pacs&error=no+answer+for+%E2%80%A6"
    )


def test_percentiles_are_by_nearest_rank() -> None:
    times = [timedelta(seconds=number) for number in range(1, 101)]
    assert Spread.of(times) == Spread(100, timedelta(seconds=50), timedelta(seconds=95))
    assert Spread.of(times[:1]) == Spread(1, times[0], times[0])
    assert Spread.of([]) == Spread(0, None, None)
