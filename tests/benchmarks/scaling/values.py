"""Measured values of one film, and the service that they are applied to."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds that grow with the size of a film: `base` and `per_megabyte`."""

    base: float
    per_megabyte: float

    def at(self, megabytes: float) -> float:
        return self.base + self.per_megabyte * megabytes

    @classmethod
    def through(cls, points: list[tuple[float, float]]) -> Self:
        """Return the line nearest to the points (megabytes, seconds); neither part is below 0."""
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        square = sum((x - mean_x) ** 2 for x, _ in points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0
        slope = max(0.0, slope)
        return cls(max(0.0, mean_y - slope * mean_x), slope)


@dataclass(frozen=True, slots=True)
class Measured:
    """Processor seconds and counts of one film that is a study of its own."""

    listener: Line
    analyst: Line
    """On one core, with the engine on the CPU, the objects and the report."""
    network: float
    """The share of the engine in it; a GPU takes it over."""
    courier: float
    """Of one object."""
    objects: float
    """A film's report and heatmaps, each delivered once."""
    object_megabytes: float
    database_cpu: float
    transactions: float
    log_bytes: float
    database_bytes: float
    audit_rows: float
    audit_rate: float
    """Transactions/s that append to the audit trail, one at a time, on this machine's disk."""
    audit_rate_unsynced: float
    sync_seconds: float
    puts: float
    gets: float
    """Reads of the spool for a film, with one for each delivery."""
    gpu: str = ""
    gpu_films_per_second: float = 0.0
    """Of a whole analyst on the host of the GPU: its processors limit it, not the GPU."""
    gpu_cores: int = 0
    gpu_seconds: float = 0.0
    """Seconds of the GPU for a film in the batches that came together."""
    gpu_heatmaps: float = 0.0
    """Heatmaps of a film there."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        lines = {name: Line(**values[name]) for name in ("listener", "analyst")}
        return cls(**{**values, **lines})


@dataclass(frozen=True, slots=True)
class Demand:
    """Films that come, and what is promised about them."""

    films_per_second: float
    """Mean over the day."""
    peak: float = 3.0
    """The busiest hour by the mean."""
    megabytes: float = 10.0
    stat_share: float = 0.1
    quiet_seconds: float = 30.0
    destinations: int = 1
    pacs_seconds: float = 0.05
    """The time that a destination takes to answer for an object."""

    @property
    def busiest(self) -> float:
        return self.films_per_second * self.peak


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a site. These defaults are an example, of no provider."""

    core_hour: float = 0.04
    gpu_hour: float = 2.50
    gigabyte_month: float = 0.023
    put_thousand: float = 0.005
    get_thousand: float = 0.0004
    months: float = 12.0
    """Months for which a film is kept."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Cores of a host of each kind, and the utilisation that is planned for the busiest hour."""

    cores: int = 16
    utilisation: float = 0.6
    spare: int = 1
    """Hosts of each kind beyond the need, so that one may be lost."""
    database_cores: int = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """Stores, hosts of each store, and what a year of the demand holds in all of them."""

    demand: Demand
    stores: int
    """Databases, each with its hosts, that share the demand."""
    listener_hosts: int
    analyst_hosts: int
    gpu_hosts: int | None
    couriers: int
    """Processes of the courier, each of which works for one destination on one object."""
    busy: dict[str, float] = field(default_factory=dict)
    """Utilisation of each resource in the busiest hour."""
    spool_terabytes: float = 0.0
    database_terabytes: float = 0.0
    requests_per_second: float = 0.0
    megabytes_per_second: float = 0.0
    dollars_per_million: float = 0.0
    dollars_per_million_gpu: float | None = None

    @property
    def store_demand(self) -> Demand:
        """The demand of one store."""
        share = self.demand.films_per_second / self.stores
        return dataclasses.replace(self.demand, films_per_second=share)


DATABASE, AUDIT, S3 = "database processors", "lock of the audit trail", "S3 requests"
LISTENERS, ANALYSTS, COURIERS = "listeners", "analysts", "couriers"
S3_PUTS_PER_PREFIX = 3500.0
"""PUT requests/s that AWS documents for each prefix of a bucket."""
