"""Hosts, storage and costs of a demand, from the measured values of one film."""

import dataclasses
import math

from tests.benchmarks.scaling.values import (
    ANALYSTS,
    AUDIT,
    COURIERS,
    DATABASE,
    LISTENERS,
    S3,
    S3_PUTS_PER_PREFIX,
    Demand,
    Hosts,
    Measured,
    Plan,
    Prices,
)

YEAR_SECONDS = 365.25 * 86400
HOUR_SECONDS = 3600.0


def plan(
    measured: Measured, demand: Demand, hosts: Hosts | None = None, prices: Prices | None = None
) -> Plan:
    """Return the hosts that keep the planned utilisation in the busiest hour, and their costs.

    What all hosts of a store share is kept below it, too: by more stores.
    """
    hosts, prices = hosts or Hosts(), prices or Prices()
    limits = saturation(measured, hosts)
    usual = hosts.utilisation * min(limits[AUDIT], limits[DATABASE])
    stores = max(1, _hosts(demand.busiest / usual, 0))
    whole, demand = (
        demand,
        dataclasses.replace(demand, films_per_second=demand.films_per_second / stores),
    )
    rate, objects = demand.busiest, measured.objects * demand.destinations
    listening = measured.listener.at(demand.megabytes)
    analysing = measured.analyst.at(demand.megabytes)
    usable = hosts.cores * hosts.utilisation
    listeners = _hosts(rate * listening / usable, hosts.spare)
    analysts = _hosts(rate * analysing / usable, hosts.spare)
    # A courier works on one object of a destination at a time, and waits for its answer.
    delivering = measured.courier + demand.pacs_seconds
    couriers = _hosts(rate * measured.objects * delivering / hosts.utilisation, hosts.spare)
    gpu = (
        _hosts(rate / (measured.gpu_films_per_second * hosts.utilisation), hosts.spare)
        if measured.gpu_films_per_second
        else None
    )
    busy = {
        LISTENERS: rate * listening / (listeners * hosts.cores),
        ANALYSTS: rate * analysing / (analysts * hosts.cores),
        COURIERS: rate * measured.objects * delivering / couriers,
        DATABASE: rate * measured.database_cpu / hosts.database_cores,
        AUDIT: rate * measured.audit_rows / measured.audit_rate,
        S3: rate * measured.puts / S3_PUTS_PER_PREFIX,
    }
    films = whole.films_per_second * YEAR_SECONDS
    kept = demand.megabytes + measured.objects * measured.object_megabytes
    moved = demand.megabytes * 2 + 2 * objects * measured.object_megabytes
    storage = kept / 1000 * prices.gigabyte_month * prices.months
    gets = measured.gets + objects
    asked = (measured.puts * prices.put_thousand + gets * prices.get_thousand) / 1000
    each = storage + asked

    def per_million(core_hosts: int, gpus: int = 0) -> float:
        cores = core_hosts * hosts.cores + couriers + hosts.database_cores
        hourly = cores * prices.core_hour + gpus * prices.gpu_hour
        return 1e6 * (hourly / (demand.films_per_second * HOUR_SECONDS) + each)

    return Plan(
        whole,
        stores,
        listeners,
        analysts,
        gpu,
        couriers,
        busy,
        spool_terabytes=films * kept / 1e6,
        database_terabytes=films * measured.database_bytes / 1e12,
        requests_per_second=whole.busiest * (measured.puts + gets),
        megabytes_per_second=whole.busiest * moved,
        dollars_per_million=per_million(listeners + analysts),
        dollars_per_million_gpu=None if gpu is None else per_million(listeners, gpu),
    )


def saturation(measured: Measured, hosts: Hosts | None = None) -> dict[str, float]:
    """Return the films/s at which each shared resource is fully used."""
    hosts = hosts or Hosts()
    return {
        AUDIT: measured.audit_rate / measured.audit_rows,
        DATABASE: hosts.database_cores / measured.database_cpu,
        S3: S3_PUTS_PER_PREFIX / measured.puts,
    }


def _hosts(needed: float, spare: int) -> int:
    return math.ceil(needed - 1e-9) + spare
