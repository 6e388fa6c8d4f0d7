"""The work of today and of the last hours, and the times to result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.charts.bars import Series, columns
from daemon.charts.chart import Chart
from storage.activity import HOUR, HourCounts
from storage.store import Store

HOURS = 24


@dataclass(frozen=True, slots=True)
class WorkCounts:
    """Films received, analysed and refused, reports made, and objects delivered."""

    received: int
    analysed: int
    not_analysed: int
    reported: int
    delivered: int


@dataclass(frozen=True, slots=True)
class WorkHour:
    """The work of the hour that begins at `start`."""

    start: datetime
    counts: WorkCounts


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the 95th percentile of some times, by nearest rank; None without a time."""

    count: int
    p50: timedelta | None
    p95: timedelta | None

    @classmethod
    def of(cls, times: Sequence[timedelta]) -> "Spread":
        """Return the spread of sorted times."""
        return cls(len(times), nearest_rank(times, 0.5), nearest_rank(times, 0.95))


@dataclass(frozen=True, slots=True)
class Work:
    """Today is the day in UTC.

    Attributes:
        today: the counts since midnight.
        delivered_today: the part of each destination.
        hours: the last HOURS hours, oldest first; the last of them is not over.
        to_report: from the last film of a study to its report, of reports made today.
        to_delivery: from the last film to each delivery of these reports.
        undelivered: deliveries of these reports that wait or are parked: they are in no time.
        is_partial: True if only the newest of today's reports were read.
    """

    today: WorkCounts
    delivered_today: dict[str, int]
    hours: tuple[WorkHour, ...]
    to_report: Spread
    to_delivery: Spread
    undelivered: int
    is_partial: bool


def collect_work(store: Store, destinations: Sequence[str], now: datetime) -> Work:
    """Return the work of the last hours. Raises StorageError."""
    begin = now.replace(minute=0, second=0, microsecond=0) - (HOURS - 1) * HOUR
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found = store.activity.by_hour(begin, HOURS, destinations)
    today = [hour for hour in found if hour.start >= midnight]
    times = store.activity.times(midnight)
    return Work(
        today=_sum(today),
        delivered_today={
            name: sum(hour.delivered[name] for hour in today) for name in destinations
        },
        hours=tuple(WorkHour(hour.start, _sum([hour])) for hour in found),
        to_report=Spread.of(times.to_report),
        to_delivery=Spread.of(times.to_delivery),
        undelivered=times.waiting,
        is_partial=times.is_partial,
    )


def draw_hours(work: Work) -> Chart:
    """Return the chart of films by hour, with all counts in the table behind it."""
    places = [f"{hour.start:%H}:00" for hour in work.hours]
    counts = [hour.counts for hour in work.hours]
    return columns(
        "Films by hour (UTC)",
        places,
        [
            Series("analysed", tuple(one.analysed for one in counts), 1),
            Series("not analysed", tuple(one.not_analysed for one in counts), 2),
        ],
    )


def nearest_rank(times: Sequence[timedelta], share: float) -> timedelta | None:
    """Return the least of the sorted times that `share` of them do not exceed, or None."""
    return times[math.ceil(share * len(times)) - 1] if times else None


def _sum(hours: Sequence[HourCounts]) -> WorkCounts:
    return WorkCounts(
        received=sum(hour.received for hour in hours),
        analysed=sum(hour.analysed for hour in hours),
        not_analysed=sum(hour.not_analysed for hour in hours),
        reported=sum(hour.reported for hour in hours),
        delivered=sum(sum(hour.delivered.values()) for hour in hours),
    )
