"""Outages: the rate of claims before and after, and the films that were lost or done twice.

Two processes are the hosts. Each receives films, and claims and ends jobs in four threads, with the
reception and the analyst of the product; every job reads a film from the spool. The queue is always
full. The database waits for the disk at each commit. The line `none` has no outage: its numbers are
what other work on the machine makes of them. `tests.servers.outages` has the hosts.
"""

import functools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.servers.outages.site import OutageHost, OutageSite, spool_in
from tests.servers.postgresql_server import Server, own_database, own_server
from tests.servers.proxy import Proxy, proxy_to
from tests.servers.s3_server import S3Server, s3_server
from tests.tools.installed import require_tool

FILLERS = 60_000
THREADS = 4
FILMS_A_SECOND = 5.0
WARM_SECONDS, BEFORE_SECONDS, AFTER_SECONDS = 4, 10, 25
SPAN = 5
"""Seconds of which the mean must reach SHARE of the rate before."""
SHARE = 0.95
DOWN_SECONDS = 2.0
CUT_SECONDS = 10.0
S3_SECONDS = (20.0, 60.0)
HOUR = 3600


@dataclass
class Scene:
    """The servers and the hosts of one outage."""

    server: Server
    objects: S3Server
    proxy: Proxy
    hosts: list[OutageHost]


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage; `act` returns when what failed is back."""

    name: str
    act: Callable[[Scene], object]
    is_on_s3: bool = False
    is_cut: bool = False
    """The hosts reach the database through the proxy."""
    moves_clock: bool = False


def run() -> None:
    """Print the figures of each outage."""
    outages = _outages()
    print(
        f"each line: claims a second in the {BEFORE_SECONDS} s before; seconds from the return to"
        f" the first {SPAN} s whose mean is >= {SHARE:.0%} of it; the best such mean; the balance"
    )
    with (
        tempfile.TemporaryDirectory(prefix="cxrd-outages-") as folder,
        own_server() as server,
        s3_server() as objects,
    ):
        for number, outage in enumerate(outages):
            place = Path(folder) / str(number)
            place.mkdir()
            print(_measured(place, server, objects, outage), flush=True)


def _outages() -> list[Outage]:
    return [
        Outage("none", lambda _scene: None),
        Outage("database restarted, fast", lambda scene: _restart(scene, signal.SIGINT)),
        Outage("database restarted, immediate", lambda scene: _restart(scene, signal.SIGQUIT)),
        Outage("one backend ended", lambda scene: scene.server.end_backend()),
        Outage("one backend killed", lambda scene: scene.server.end_backend(kill=True)),
        Outage("all backends ended", lambda scene: scene.server.end_backends()),
        Outage(f"network cut, {CUT_SECONDS:.0f} s", _cut, is_cut=True),
        Outage(f"network silent, {CUT_SECONDS:.0f} s", _hold, is_cut=True),
        *(
            Outage(f"S3 stopped, {span:.0f} s", functools.partial(_pause, span), is_on_s3=True)
            for span in S3_SECONDS
        ),
        Outage("clock +1 h", lambda scene: scene.hosts[0].move_clock(HOUR), moves_clock=True),
        Outage("clock -1 h", lambda scene: scene.hosts[0].move_clock(-HOUR), moves_clock=True),
    ]


def _restart(scene: Scene, kind: signal.Signals) -> None:
    scene.server.stop(kind)
    time.sleep(DOWN_SECONDS)
    scene.server.start()


def _cut(scene: Scene) -> None:
    scene.proxy.cut()
    time.sleep(CUT_SECONDS)
    scene.proxy.resume()


def _hold(scene: Scene) -> None:
    scene.proxy.hold()
    time.sleep(CUT_SECONDS)
    scene.proxy.resume()


def _pause(seconds: float, scene: Scene) -> None:
    with scene.objects.paused():
        time.sleep(seconds)


def _measured(folder: Path, server: Server, objects: S3Server, outage: Outage) -> str:
    """Return the line of an outage on a new database and spool."""
    with (
        spool_in(objects if outage.is_on_s3 else None, folder) as (spool, values),
        proxy_to(f"{server.folder}/.s.PGSQL.5432") as proxy,
    ):
        direct = own_database(str(server.folder))
        site = OutageSite(folder, direct, spool)
        site.fill(FILLERS)
        name = direct.partition("@/")[2].partition("?")[0]
        through = f"postgresql://cxrd@{proxy.host}:{proxy.port}/{name}"
        for _ in range(2):
            site.add_host(through if outage.is_cut else direct, values, THREADS, FILMS_A_SECOND)
        try:
            clock = require_tool("faketime") if outage.moves_clock else ""
            for host, faketime in zip(site.hosts, (clock, ""), strict=True):
                host.start(faketime)
            site.await_hosts()
            time.sleep(WARM_SECONDS + BEFORE_SECONDS)
            began = time.monotonic()
            outage.act(Scene(server, objects, proxy, site.hosts))
            back = time.monotonic()
            load = os.getloadavg()[0]
            time.sleep(AFTER_SECONDS)
            times = site.times()
            moved = [round(host.events()[-1].ahead) for host in site.hosts]
            balance = site.settle()
        finally:
            for host in site.hosts:
                host.stop()
    rate = sum(began - BEFORE_SECONDS <= at < began for at in times) / BEFORE_SECONDS
    after = [sum(back + n <= at < back + n + 1 for at in times) for n in range(AFTER_SECONDS)]
    means = [statistics.mean(after[n : n + SPAN]) for n in range(AFTER_SECONDS - SPAN + 1)]
    first = next((n for n, mean in enumerate(means) if mean >= SHARE * rate), None)
    within = "not" if first is None else f"{first} s"
    clocks = f", clocks {moved} s" if outage.moves_clock else ""
    return (
        f"{outage.name}: away {back - began:.1f} s, {rate:.0f}/s, back after {within},"
        f" best {max(means) / max(rate, 1e-9):.0%}, load {load:.1f}{clocks};"
        f" {balance.acknowledged} films acknowledged, {balance.refused} refused,"
        f" {balance.finished} jobs, {balance.missing} lost, {balance.twice} twice,"
        f" {balance.given_up} given up; each second after: {after[:15]}"
    )
