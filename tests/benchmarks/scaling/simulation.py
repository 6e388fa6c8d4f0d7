"""Simulation of films through listeners, database, analysts and couriers, event by event.

Each stage is a set of equal servers with one queue. The analysts take STAT first, and an ordinary
film before it once that has waited for `max_wait`. The database is a stage of each step: its
processors, and the lock of the audit trail, which is one server.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.scaling.values import Demand, Hosts, Measured, Plan

Times = NDArray[np.float64]
MAX_WAIT = 1800.0
SPREAD = 0.25
"""Standard deviation of a service time as a share of it."""
CYCLE_HOURS = 24.0
LEASE_SECONDS = 60.0
"""After so long without a heartbeat another worker takes a film (`analyst.lease_seconds`)."""
_NONE = -1


@dataclass(frozen=True, slots=True)
class Outage:
    """A part that is away from `begin` for `seconds`; of analysts, `hosts` of them."""

    name: str
    part: str = ""
    begin: float = 1800.0
    seconds: float = 0.0
    hosts: int = 1


NORMAL = Outage("no fault")
HOST_LOST = Outage("an analyst host is lost", "analyst", seconds=1e9)
FAILOVER = Outage("the database fails over in 30 s", "database", seconds=30.0)
PACS_DOWN = Outage("the PACS is away for 2 h", "courier", seconds=7200.0)
OUTAGES = (NORMAL, HOST_LOST, FAILOVER, PACS_DOWN)


@dataclass(frozen=True, slots=True)
class Waits:
    """Percentiles in seconds: 50, 95 and 99 per cent."""

    acknowledged: tuple[float, float, float]
    """From the last byte to the answer of the listener."""
    stat: tuple[float, float, float]
    """From the answer to the findings, of STAT."""
    ordinary: tuple[float, float, float]
    delivered: tuple[float, float, float]
    """From the answer to the last object at the destination, `quiet_seconds` included."""
    films: int


def serve(arrivals: Times, services: Times, servers: int, away: Sequence[Outage] = ()) -> Times:
    """Return when each arrival has been served, first come first served.

    During an outage of the whole stage nothing begins.
    """
    free = [0.0] * servers
    ends = np.empty(len(arrivals))
    gaps = [(one.begin, one.begin + one.seconds) for one in away]
    for number, (arrival, service) in enumerate(
        zip(arrivals.tolist(), services.tolist(), strict=True)
    ):
        start = max(arrival, free[0])
        for begin, end in gaps:
            if begin <= start < end:
                start = end
        end = start + service
        heapq.heapreplace(free, end)
        ends[number] = end
    return ends


def serve_by_priority(
    arrivals: Times,
    services: Times,
    stat: NDArray[np.bool_],
    servers: int,
    lost: tuple[float, int] | None = None,
    max_wait: float = MAX_WAIT,
) -> Times:
    """Return when each arrival has been served: waited too long, then STAT, then the others.

    `lost` is a time and the servers that are gone from then on. Another server begins their films
    anew when the lease has expired.
    """
    order = np.argsort(arrivals, kind="stable").tolist()
    work, urgent = services.tolist(), stat.tolist()
    coming = [(float(arrivals[film]), film) for film in order]
    since = arrivals.tolist()
    ends = np.full(len(arrivals), np.inf)
    free: list[tuple[float, int]] = [(0.0, _NONE)] * servers
    queues: tuple[deque[int], deque[int]] = (deque(), deque())
    again: list[tuple[float, int]] = []
    place, gone, left = 0, 0, len(order)
    while left:
        now, last = heapq.heappop(free)
        if lost is not None and now > lost[0] and gone < lost[1] and free:
            gone += 1
            if last != _NONE and now - work[last] < lost[0]:
                heapq.heappush(again, (lost[0] + LEASE_SECONDS, last))
                left += 1
            continue
        if not queues[0] and not queues[1]:
            following = [source[0][0] for source in (coming[place : place + 1], again) if source]
            if not following:
                continue  # the films that are left are in work elsewhere
            now = max(now, min(following))
        while place < len(coming) and coming[place][0] <= now:
            film = coming[place][1]
            queues[0 if urgent[film] else 1].append(film)
            place += 1
        while again and again[0][0] <= now:
            film = heapq.heappop(again)[1]
            queues[0 if urgent[film] else 1].appendleft(film)
        waited = bool(queues[1]) and now - since[queues[1][0]] > max_wait
        film = (queues[1] if waited or not queues[0] else queues[0]).popleft()
        left -= 1
        ends[film] = now + work[film]
        heapq.heappush(free, (float(ends[film]), film))
    return ends


def arrivals_of(demand: Demand, seconds: float, rng: np.random.Generator) -> Times:
    """Return Poisson arrivals around the busiest hour of a day, which is in the middle."""
    most = demand.busiest
    found = np.sort(rng.uniform(0, seconds, rng.poisson(most * seconds)))
    hours = (found - seconds / 2) / 3600
    # A cosine to the third power above a floor: its mean is that of the day, its top the busiest.
    floor = max(0.0, (1 / demand.peak - 0.3125) / (1 - 0.3125))
    rate = floor + (1 - floor) * ((1 + np.cos(2 * np.pi * hours / CYCLE_HOURS)) / 2) ** 3
    return np.asarray(found[rng.random(len(found)) < rate])


def simulate(
    measured: Measured,
    plan: Plan,
    outage: Outage,
    *,
    hours: float = 3.0,
    hosts: Hosts | None = None,
    seed: int = 1,
) -> Waits:
    """Return the waits around the busiest hour in one store, with the hosts of the plan."""
    hosts, demand, rng = hosts or Hosts(), plan.store_demand, np.random.default_rng(seed)
    arrivals = arrivals_of(demand, hours * 3600, rng)
    count = len(arrivals)
    hold = 1 / measured.audit_rate

    def services(mean: float) -> Times:
        return np.asarray(rng.gamma(1 / SPREAD**2, mean * SPREAD**2, count))

    def database(times: Times, rows: float) -> Times:
        """Pass through the processors and the lock of the audit trail, for `rows` of a film.

        The lock is one for all steps: it serves a step with the part of its time that the other
        steps leave, in the busiest hour.
        """
        others = demand.busiest * (measured.audit_rows - rows) * hold
        away = [outage] if outage.part == "database" else []
        order = np.argsort(times, kind="stable")
        work = services(measured.database_cpu * rows / measured.audit_rows)
        done = serve(times[order], work, hosts.database_cores, away)
        inner = np.argsort(done, kind="stable")
        locked = np.empty(count)
        held = np.full(count, rows * hold / max(0.02, 1 - others))
        locked[inner] = serve(done[inner], held, 1)
        result = np.empty(count)
        result[order] = locked
        return result

    received = serve(
        arrivals,
        services(measured.listener.at(demand.megabytes)),
        plan.listener_hosts * hosts.cores,
    )
    kept = database(received, 1)
    stat = rng.random(count) < demand.stat_share
    servers = plan.analyst_hosts * hosts.cores
    lost = None
    if outage.part == "analyst":
        lost = (outage.begin, outage.hosts * hosts.cores)
    analysed = serve_by_priority(
        kept, services(measured.analyst.at(demand.megabytes)), stat, servers, lost
    )
    found = database(analysed, 1)
    reported = database(found + demand.quiet_seconds, 1)
    order = np.argsort(reported, kind="stable")
    away = [outage] if outage.part == "courier" else []
    delivering = measured.objects * (measured.courier + demand.pacs_seconds)
    delivered = np.empty(count)
    delivered[order] = serve(reported[order], services(delivering), plan.couriers, away)
    delivered = database(delivered, max(1.0, measured.audit_rows - 3))
    return Waits(
        _percentiles(kept - arrivals),
        _percentiles((found - kept)[stat]),
        _percentiles((found - kept)[~stat]),
        _percentiles(delivered - kept),
        count,
    )


def _percentiles(values: Times) -> tuple[float, float, float]:
    if not len(values):
        return (0.0, 0.0, 0.0)
    low, middle, high = np.percentile(values, (50, 95, 99))
    return float(low), float(middle), float(high)
