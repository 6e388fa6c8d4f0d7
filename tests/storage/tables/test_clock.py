"""The clock of a store: that of the database server, whatever the host's clock says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.records import JobKind
from storage.store import Store
from storage.tables import database
from storage.tables.clock import ServerClock

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(minutes=2)


class Elapsed:
    """The time since the start of a host, which the test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def answered(self, server: datetime, after: float = 0.0) -> datetime:
        """Return the server's answer, that takes so many seconds."""
        self.seconds += after
        return server


def test_the_clock_goes_on_from_the_last_reading() -> None:
    elapsed = Elapsed()
    clock = ServerClock(elapsed)
    assert clock.now() is None

    clock.read(lambda: elapsed.answered(NOON, after=0.2))
    elapsed.seconds += 10

    assert clock.now() == NOON + timedelta(seconds=10.1)
    assert clock.age == pytest.approx(10.1)


def test_a_slow_answer_replaces_no_better_reading() -> None:
    elapsed = Elapsed()
    clock = ServerClock(elapsed)
    clock.read(lambda: elapsed.answered(NOON))
    elapsed.seconds += 10
    clock.read(lambda: elapsed.answered(NOON + timedelta(seconds=10), after=4))

    assert clock.now() == NOON + timedelta(seconds=14)


def test_a_step_of_the_servers_clock_is_seen_also_in_a_slow_answer() -> None:
    elapsed = Elapsed()
    clock = ServerClock(elapsed)
    clock.read(lambda: elapsed.answered(NOON))
    elapsed.seconds += 10
    clock.read(lambda: elapsed.answered(NOON - timedelta(hours=1), after=4))

    assert clock.now() == NOON - timedelta(hours=1) + timedelta(seconds=2)


@pytest.mark.parametrize("hours", [-1, 1])
def test_hosts_of_a_server_go_by_its_clock(
    database_url: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_server = database_url.startswith("postgresql")
    wrong = datetime.now(UTC) + timedelta(hours=hours)
    with Store.open(database_url, migrate=True) as right:
        monkeypatch.setattr(database, "utc_now", lambda: wrong)
        with Store.open(database_url, migrate=False) as moved:
            error = (moved.now() - datetime.now(UTC)).total_seconds()
            if not is_server:
                assert error == pytest.approx(hours * 3600, abs=10)
                return
            assert abs(error) < 10
            moved.jobs.enqueue(JobKind.ANALYSE, "1")
            later = moved.now() + timedelta(minutes=30)
            moved.jobs.enqueue(JobKind.ANALYSE, "2", not_before=later)
            monkeypatch.undo()

            claimed = right.jobs.claim_some([JobKind.ANALYSE], "right", LEASE, 9)
            monkeypatch.setattr(database, "utc_now", lambda: wrong)

            assert [job.subject for job in claimed] == ["1"]
            assert moved.jobs.claim([JobKind.ANALYSE], "moved", LEASE) is None
            assert moved.jobs.reclaim() == ()
            assert moved.jobs.shift_to_clock() == 0
            assert right.jobs.heartbeat(claimed[0], LEASE)


@pytest.mark.network
def test_settings_of_the_user_remain(postgresql_socket: str) -> None:
    from tests.servers.postgresql_server import emptied_database

    given = (
        f"{emptied_database(postgresql_socket)}&connect_timeout=7&options=-c%20lock_timeout%3D4321"
    )
    engine = database.open_engine(given)
    with database.Database(engine).reading() as connection:
        shown = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("lock_timeout", "idle_in_transaction_session_timeout")
        ]
        driver: Any = connection.connection.driver_connection
        timeout = driver.info.get_parameters()["connect_timeout"]
    engine.dispose()

    assert shown == ["4321ms", "1min"]
    assert timeout == "7"
