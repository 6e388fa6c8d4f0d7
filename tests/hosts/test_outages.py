"""Two hosts that receive and work go on by themselves: nothing is lost and nothing is done twice.

One has a clock that is moved, or the S3 server answers nothing for a while.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.servers.outages.host import ACKNOWLEDGED, CLAIMED
from tests.servers.outages.site import LEASE_SECONDS, Balance, OutageSite, spool_in
from tests.servers.postgresql_server import own_database, postgresql_server
from tests.servers.s3_server import S3Server, s3_server
from tests.tools.installed import require_tool
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.network]

HOUR = 3600
FILLERS = 20_000
CLAIMS, FILMS = 20, 5
SHORT_LIMITS = {"timeout_seconds": 1.0, "retry_seconds": 1.0}


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[str, S3Server]]:
    with postgresql_server() as socket_folder, s3_server() as objects:
        yield socket_folder, objects


@contextlib.contextmanager
def working_hosts(
    folder: Path,
    socket_folder: str,
    objects: S3Server | None = None,
    limits: Mapping[str, float] = MappingProxyType({}),
    faketime: str = "",
) -> Iterator[OutageSite]:
    """Run two hosts; the first has a clock that can be moved if `faketime` is given."""
    url = own_database(socket_folder)
    with spool_in(objects, folder, limits) as (spool, values):
        site = OutageSite(folder, url, spool)
        site.fill(FILLERS)
        try:
            for program in (faketime, ""):
                site.add_host(url, values, threads=2, films=5).start(program)
            site.await_hosts()
            yield site
        finally:
            for host in site.hosts:
                host.stop()


def await_work(site: OutageSite) -> None:
    """Wait until further jobs are claimed and further films are acknowledged by both hosts."""
    before = time.monotonic()

    def is_done() -> bool:
        counts: list[bool] = []
        for host in site.hosts:
            kinds = [event.kind for event in host.events() if event.at > before]
            counts += [kinds.count(CLAIMED) >= CLAIMS, kinds.count(ACKNOWLEDGED) >= FILMS]
        return all(counts)

    wait_until(is_done, "both hosts work")


def check(balance: Balance) -> None:
    print(balance)
    assert balance.acknowledged >= 2 * FILMS
    assert (balance.missing, balance.twice, balance.given_up) == (0, 0, 0)


def test_the_clock_of_one_host_is_moved_an_hour_both_ways(
    tmp_path: Path, engines: tuple[str, S3Server]
) -> None:
    with working_hosts(tmp_path, engines[0], faketime=require_tool("faketime")) as site:
        moved, true = site.hosts
        for ahead in (0, HOUR, -HOUR):
            moved.move_clock(ahead)
            await_work(site)
            assert moved.events()[-1].ahead == pytest.approx(ahead, abs=5)
            assert true.events()[-1].ahead == pytest.approx(0, abs=5)
        time.sleep(LEASE_SECONDS / 3)
        check(site.settle())


@pytest.mark.parametrize(
    ("seconds", "limits"),
    [
        pytest.param(4, SHORT_LIMITS, id="short"),
        pytest.param(60, {}, id="minute", marks=[pytest.mark.soak, pytest.mark.timeout(300)]),
    ],
)
def test_the_s3_server_is_stopped(
    tmp_path: Path, engines: tuple[str, S3Server], seconds: float, limits: dict[str, float]
) -> None:
    socket_folder, objects = engines
    with working_hosts(tmp_path, socket_folder, objects, limits) as site:
        await_work(site)
        with objects.paused():
            time.sleep(seconds)
        await_work(site)
        balance = site.settle()
    check(balance)
    assert balance.refused > 0
