"""A lease has one holder of all hosts, and its holder finds out that it lost it."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from storage.errors import StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.hosts import leases
from storage.hosts.leases import LEASE, LeaseName
from storage.orphans import Sweep
from storage.store import Store
from tests.builders.store_rows import new_instance
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock

FILES, SWEEP = LeaseName.FILES, LeaseName.SWEEP
DAY = timedelta(days=1)


@pytest.fixture
def other(database_url: str, store: Store, clock: Clock) -> Iterator[Store]:
    """The same store, opened by another host."""
    with Store.open(database_url, clock=clock, migrate=False) as opened:
        yield opened


@pytest.fixture
def server(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("a store in a file has a lock that cannot expire")


def test_one_host_holds_a_lease(store: Store, other: Store) -> None:
    with store.leases.hold(FILES, 0):
        with other.leases.try_hold(FILES) as held:
            assert held is None
        with pytest.raises(StoreUnavailableError, match="another backup or purge holds"):
            other.leases.hold(FILES, 0).__enter__()
    with other.leases.try_hold(FILES) as held:
        assert held is not None
        held.confirm()


def test_a_host_waits_for_a_lease(store: Store, other: Store) -> None:
    taken, released = threading.Event(), threading.Event()

    def hold() -> None:
        with store.leases.hold(FILES, 0):
            taken.set()
            released.wait(30)

    holding = threading.Thread(target=hold)
    holding.start()
    assert taken.wait(30)
    threading.Timer(0.3, released.set).start()
    with other.leases.hold(FILES, 30):
        assert released.is_set()
    holding.join()


def test_an_error_releases_a_lease(store: Store, other: Store) -> None:
    with pytest.raises(ValueError, match="mine"), store.leases.hold(FILES, 0):
        raise ValueError("mine")
    with other.leases.hold(FILES, 0):
        pass


@pytest.mark.usefixtures("server")
def test_the_lease_of_a_killed_host_expires(store: Store, other: Store, clock: Clock) -> None:
    holding = store.leases.hold(FILES, 0)
    lease = holding.__enter__()
    clock.advance(LEASE.total_seconds() - 1)
    with other.leases.try_hold(FILES) as held:
        assert held is None
    clock.advance(2)
    lease.confirm()  # it expired, but no other host took it: it was held all the time
    clock.advance(LEASE.total_seconds() + 1)
    with (
        other.leases.hold(FILES, 0),
        pytest.raises(StoreUnavailableError, match="another host took over the lease"),
    ):
        lease.confirm()
    with pytest.raises(StoreUnavailableError, match="another host took over the lease"):
        lease.confirm()


@pytest.mark.usefixtures("server")
def test_a_long_lease_is_renewed(
    store: Store, other: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    with store.leases.hold(FILES, 0, renewed=True):
        for _ in range(3):
            clock.advance(LEASE.total_seconds() - 1)
            time.sleep(0.2)
        with other.leases.try_hold(FILES) as held:
            assert held is None


@pytest.mark.usefixtures("server")
def test_a_daily_task_is_done_on_one_host(store: Store, other: Store, clock: Clock) -> None:
    with store.leases.turn(SWEEP, DAY) as mine, other.leases.turn(SWEEP, DAY) as others:
        assert (mine is not None, others) == (True, None)
    for host, hours, expected in ((other, 23, False), (other, 2, True), (store, 23, False)):
        clock.advance(3600 * hours)
        with host.leases.turn(SWEEP, DAY) as mine:
            assert (mine is not None) is expected
    clock.advance(3600 * 2)
    with pytest.raises(ValueError, match="half"), store.leases.turn(SWEEP, DAY) as mine:
        raise ValueError("half")
    with other.leases.turn(SWEEP, DAY) as mine:
        assert mine is not None  # the other host did not end it
        mine.is_done = False
    with store.leases.turn(SWEEP, DAY) as mine:
        assert mine is not None  # some work was left


def test_a_single_host_always_does_its_daily_task(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as store:
        for _ in range(2):
            with store.leases.turn(SWEEP, DAY) as mine:
                assert mine is not None


def test_a_second_host_neither_purges_nor_sweeps_during_a_backup(
    store: Store, other: Store, clock: Clock, tmp_path: Path
) -> None:
    """The lease belongs to the store: it has nothing to do with the folders of a host."""
    spool = FolderSpool(tmp_path / "elsewhere" / "spool")
    stored = spool.write("received/ab/1.dcm", b"1")
    store.record_instance(new_instance("1.1", "1", spool_path=stored.path, size=1), 0)
    for job in store.jobs.list():
        store.jobs.discard(job.id)
    spool.write("objects/ab/1.dcm", b"an orphan")
    later = clock() + timedelta(days=9)
    with store.leases.hold(FILES, 0):
        with pytest.raises(StoreUnavailableError):
            list(other.retention.purge(spool, later, (), "me", wait_seconds=0))
        assert Sweep(spool, other, lambda _: False, max_tries=1).run().busy == 1
    assert len(list(other.retention.purge(spool, later, (), "me", wait_seconds=0))) == 1
    assert Sweep(spool, other, lambda _: False).run().objects == 1


@pytest.mark.usefixtures("server")
def test_a_purge_that_lost_its_lease_marks_no_study(
    store: Store, other: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was suspended: a backup that began meanwhile names the files of this study."""
    spool = FolderSpool(tmp_path / "spool")
    stored = spool.write("received/ab/1.dcm", b"1")
    store.record_instance(new_instance("1.1", "1", spool_path=stored.path, size=1), 0)
    for job in store.jobs.list():
        store.jobs.discard(job.id)
    mark = store.retention._mark

    def suspended(*arguments: object) -> bool:
        clock.advance(LEASE.total_seconds() + 1)
        with other.leases.hold(FILES, 0):
            return mark(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.retention, "_mark", suspended)
    with pytest.raises(StoreUnavailableError, match="took over the lease"):
        list(store.retention.purge(spool, clock() + timedelta(days=9), ()))
    assert spool.exists(stored.path)
    assert store.results.instance(1).purged_at is None
