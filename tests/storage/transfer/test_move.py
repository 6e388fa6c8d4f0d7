"""A store is moved to another database: every row, the trail, and nothing by halves."""

import contextlib
import itertools
import os
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from storage.errors import MovedError, MoveError, SchemaError, StoreUnavailableError
from storage.hosts.web_sessions import WebSession
from storage.records import JobKind
from storage.store import Store
from storage.tables.database import Database, open_database
from storage.transfer import move, side
from storage.transfer.move import Moved, Options, move_store, shown_url, take_back
from storage.transfer.side import Side, tables
from tests.builders.store_rows import LEASE, analyse, new_instance
from tests.builders.stores.new import new_store
from tests.servers.postgresql_server import own_database, with_idle_limit
from tests.storage.hosts.test_web_sessions import IDLE, LIFETIME
from tests.storage.tables.release import restore, revisions

ACTOR = "admin"
OLD = datetime(1969, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)
NAME = "MÜLLER^Jürgen\\N\t\r\n{}\"'\U0001f4a1"


class StoppedError(Exception):
    """The move was interrupted."""


def fill(path: Path) -> str:
    """Make a store with rows of all kinds in a file; return its URL."""
    with new_store(path) as store:
        for number in range(4):
            uid = f"1.2.3.{number}"
            new = new_instance(uid, uid, study_instance_uid=uid, patient_name=NAME)
            store.record_instance(new, 0)
            analyse(store, OLD)
        store.jobs.claim([JobKind.REPORT], "host:analyst:1", LEASE)
        session = WebSession("ines", "operator", "secret", "entry")
        store.web_sessions.start("digest", session, LIFETIME, IDLE)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO heat_maps VALUES (1, 'Mass', ?)", (bytes(range(256)),))
        connection.execute("UPDATE findings SET probability = 0.1 + 0.2, logit = -1e-300")
        connection.execute("UPDATE instances SET notes = '[\"\\ud800\", 1.50,  true]' WHERE id = 1")
    connection.close()
    return f"sqlite:///{path}"


def moved(source: str, target: str, stop_in: str = "", **options: Any) -> Moved:
    """Move a store; stop in a phase when it has begun."""

    def phase(_: int, __: str, what: str) -> AbstractContextManager[Callable[[int], object]]:
        return contextlib.nullcontext(advance_of(what))

    def advance_of(what: str) -> Callable[[int], object]:
        def advance(rows: int) -> None:
            if what == stop_in and rows:
                raise StoppedError

        return advance

    return move_store(source, target, actor=ACTOR, phase=phase, options=Options(**options))


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with open_database(url) as database, Side(database) as one:
        return {table.name: list(one.rows(table)) for table in tables()}


def is_open(url: str, *, migrate: bool = True) -> bool:
    """Return True if a daemon could start on the store."""
    try:
        Store.open(url, migrate=migrate).close()
    except MovedError:
        return False
    return True


@pytest.fixture
def source(tmp_path: Path) -> str:
    return fill(tmp_path / "source.sqlite")


@pytest.fixture(params=["postgresql", pytest.param("sqlite", marks=pytest.mark.slow)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/target.sqlite"
    return own_database(request.getfixturevalue("postgresql_socket"))


@pytest.fixture
def server(postgresql_socket: str) -> str:
    return own_database(postgresql_socket)


def test_every_row_is_moved_and_the_trail_goes_on(source: str, target: str, tmp_path: Path) -> None:
    before = content(source)
    result = moved(source, target)
    assert result.rows == sum(map(len, before.values()))
    assert content(source) == before
    after = content(target)
    (own,) = after["audit_events"][len(before["audit_events"]) :]
    assert own[2] == "store_moved"
    assert after | {"audit_events": after["audit_events"][:-1]} == before
    with Store.open(target, migrate=True) as store:
        assert store.audit.verify(result.head).number == result.head.number + 1
        assert store.results.study("1.2.3.0").instances[0].analysed_at == OLD
        new = new_instance("1.2.3.9", "9", study_instance_uid="1.2.3.9")
        assert store.record_instance(new, 0).instance_id == 5
    assert "append-only" in refusal(target, "DELETE FROM audit_events WHERE number = 1")


def test_the_old_store_is_refused_until_the_move_is_taken_back(
    source: str, target: str, tmp_path: Path
) -> None:
    moved(source, target)
    for migrate in (True, False):
        with pytest.raises(MovedError, match=r"was moved to .*--undo"):
            Store.open(source, migrate=migrate)
    with pytest.raises(MovedError, match="was already moved"):
        moved(source, f"sqlite:///{tmp_path}/third.sqlite")
    with pytest.raises(MoveError, match="is not empty: it holds a store"):
        moved(source, target)
    with open_database(target) as database:
        assert take_back(source, actor=ACTOR) == database.name
    assert is_open(source)
    with pytest.raises(MoveError, match="was not moved"):
        take_back(source, actor=ACTOR)


def test_a_store_goes_to_the_server_and_back(source: str, server: str, tmp_path: Path) -> None:
    before = content(source)
    moved(source, server)
    back = f"sqlite:///{tmp_path}/back.sqlite"
    moved(server, back)
    after = content(back)
    assert [row[2] for row in after["audit_events"][-2:]] == ["store_moved", "store_moved"]
    assert after | {"audit_events": after["audit_events"][:-2]} == before
    assert (is_open(back), is_open(server)) == (True, False)


def test_each_side_may_wait_long_for_the_other(
    source: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Side.digest

    def slow(one: Side, *arguments: Any) -> Any:
        if arguments[0] is tables()[-1]:
            time.sleep(0.5)
        return real(one, *arguments)

    monkeypatch.setattr(Side, "digest", slow)
    server = with_idle_limit(server, 0.2)
    moved(source, server)
    moved(server, f"sqlite:///{tmp_path}/back.sqlite")
    assert not is_open(server)


@pytest.mark.parametrize("phase", ["copying", "comparing", "verifying the audit trail"])
def test_an_interrupted_move_goes_on_where_it_was(
    source: str, target: str, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "CHUNK_ROWS", 3)
    before = content(source)
    for _ in range(3):
        with pytest.raises(StoppedError):
            moved(source, target, phase)
        assert is_open(source)
        assert not is_open(target)
        assert not is_open(target, migrate=False)
    moved(source, target)
    after = content(target)
    assert after | {"audit_events": after["audit_events"][:-1]} == before


def test_a_move_killed_before_its_last_commit_is_completed_by_the_same_command(
    source: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(move, "_complete", dies)
        with pytest.raises(StoppedError):
            moved(source, server)
    assert (is_open(source), is_open(server)) == (False, False)
    moved(source, server)
    assert (is_open(source), is_open(server)) == (False, True)


@pytest.mark.slow
def test_a_move_killed_at_any_time_can_go_on(source: str, server: str) -> None:
    """Kill the process of the move at its next step each time, until it is through."""
    before = content(source)
    for step in itertools.count(1):
        status = in_process_that_dies_at(step, source, server)
        if not status:
            break
        assert status == signal.SIGKILL
        assert not is_open(server)
    assert step > 2 * len(tables())
    assert (is_open(source), is_open(server)) == (False, True)
    after = content(server)
    assert after | {"audit_events": after["audit_events"][:-1]} == before


def in_process_that_dies_at(step: int, source: str, target: str) -> int:
    """Move the store in a process of its own that is killed at a step; return its status."""
    child = os.fork()
    if not child:
        steps = iter(range(step - 1, -1, -1))

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                result = real(*arguments, **options)
                if next(steps, None) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            return call

        for place, name in (
            (Side, "count"),
            (Side, "last_key"),
            (Side, "digest"),
            (Side, "finish"),
            (Side, "mark_moved"),
            (move, "_prepare"),
        ):
            setattr(place, name, counted(getattr(place, name)))
        try:
            moved(source, target)
        except BaseException:  # noqa: BLE001 - the child never returns into the tests
            traceback.print_exc()
            os._exit(9)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) * -1


def test_an_unfinished_copy_of_an_earlier_state_is_begun_again_on_request(
    source: str, target: str
) -> None:
    with pytest.raises(StoppedError):
        moved(source, target, "comparing")
    with Store.open(source, migrate=True) as store:
        store.record_instance(new_instance("1.2.3.8", "8"), 0)
    with pytest.raises(MoveError, match="of an earlier state"):
        moved(source, target)
    moved(source, target, empty=True)
    assert len(content(target)["instances"]) == 5


def test_a_target_that_is_not_empty_is_left_as_it_is(source: str, target: str) -> None:
    with open_database(target, create=True) as database, database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
    with pytest.raises(MoveError, match=r"is not empty: it holds 1 table\(s\)"):
        moved(source, target, empty=True)
    assert is_open(source)


def test_a_copy_that_differs_is_not_taken(
    source: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = move._copy

    def altered(original: Side, other: Side, *rest: Any) -> int:
        total = copy(original, other, *rest)
        other.driver.execute("UPDATE findings SET probability = 0.3 WHERE position = 0")
        return total

    with monkeypatch.context() as patch:
        patch.setattr(move, "_copy", altered)
        with pytest.raises(MoveError, match="table findings: the copy differs"):
            moved(source, server)
    assert (is_open(source), is_open(server)) == (True, False)


def test_no_process_writes_to_the_store_meanwhile(
    source: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []
    compare = move._compare

    def beside(*arguments: Any) -> None:
        refused.append(refusal(source, "UPDATE jobs SET attempts = 7", wait=0.1))
        compare(*arguments)

    monkeypatch.setattr(move, "_compare", beside)
    moved(source, server)
    (words,) = refused
    assert "database is locked" in words


DAMAGE = {
    "a NUL": ("instances", "patient_name", "'A' || char(0) || 'B'", "text with a NUL"),
    "no UTF-8": ("instances", "patient_name", "CAST(x'ff41' AS TEXT)", "text that is not UTF-8"),
    "a surrogate": ("jobs", "last_error", "CAST(x'eda080' AS TEXT)", "text that is not UTF-8"),
    "a blob": ("instances", "modality", "x'41'", "not text"),
    "no time": ("instances", "received_at", "'yesterday'", "not a time"),
    "no number": ("instances", "size", "'big'", "not a whole number of 64 bits"),
    "a large number": ("jobs", "attempts", "99999999999", "not a whole number of 32 bits"),
    "no JSON": ("instances", "notes", "'[NaN]'", "not JSON"),
}
KINDS = [
    kind if kind in ("a NUL", "no time") else pytest.param(kind, marks=pytest.mark.slow)
    for kind in DAMAGE
]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_cells_are_named_and_nothing_is_moved(source: str, server: str, kind: str) -> None:
    table, column, value, problem = DAMAGE[kind]
    alter(source, f"UPDATE {table} SET {column} = {value} WHERE rowid = 2")  # noqa: S608
    with pytest.raises(MoveError) as caught:
        moved(source, server)
    words = str(caught.value)
    assert words.startswith(f"1 damaged cell(s): {table} ")
    assert f" 2, column {column}: {problem}; " in words
    assert "MÜLLER" not in words
    assert (is_open(source), is_open(server)) == (True, False)
    is_text = problem.startswith("text")
    assert ("--keep-damage" in words) == is_text
    if is_text:
        result = moved(source, server, keep_damage=True)
        assert [line.partition(": ")[2] for line in result.damage] == [problem]
        (_, row, *_) = content(server)[table]
        assert ("AB" in row) or any("\ufffd" in str(cell) for cell in row)


def test_an_altered_trail_is_moved_on_request_only(source: str, server: str) -> None:
    alter(source, "DROP TRIGGER audit_events_keep_update; DROP TRIGGER audit_events_keep_delete")
    alter(source, "UPDATE audit_events SET detail = 'other' WHERE number = 2")
    with pytest.raises(MoveError, match="row 2 was altered"):
        moved(source, server)
    alter(source, "DELETE FROM audit_events WHERE number = 3")
    result = moved(source, server, keep_damage=True, empty=True)
    assert any("row 2 was altered" in line for line in result.damage)
    numbers = [row[0] for row in content(server)["audit_events"]]
    assert numbers[:3] == [1, 2, 4]
    gap = (
        "INSERT INTO audit_events SELECT 99, recorded_at, kind, outcome, actor, host, subject,"
        " detail, previous_hash, hash FROM audit_events WHERE number = 1"
    )
    assert "without a gap" in refusal(server, gap)


def test_a_store_of_an_earlier_version_is_upgraded_first(tmp_path: Path, server: str) -> None:
    restore(list(revisions())[-1], tmp_path / "old.sqlite")
    with pytest.raises(SchemaError, match="start `cxrd serve` once to upgrade it"):
        moved(f"sqlite:///{tmp_path}/old.sqlite", server)


def test_an_encoding_that_does_not_hold_every_text_is_refused(
    source: str, postgresql_socket: str
) -> None:
    url = own_database(postgresql_socket, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(MoveError, match="has the encoding LATIN1"):
        moved(source, url)


def test_a_server_that_does_not_answer_leaves_the_store_in_use(source: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="is the server running"):
        moved(source, f"postgresql://cxrd@/none?host={tmp_path}")
    assert is_open(source)


def test_the_key_to_set_has_no_password() -> None:
    url = "postgresql://ines:secret@db.example/cxrd?sslmode=require&sslpassword=other"
    assert shown_url(url) == "postgresql://ines@db.example/cxrd?sslmode=require"


def alter(url: str, statements: str) -> None:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.executescript(statements)


def refusal(url: str, statement: str, wait: float = 30.0) -> str:
    """Return the words with which a database refuses a statement."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.tables.database.BUSY_TIMEOUT_SECONDS", wait)
        with open_database(url) as database, pytest.raises(DBAPIError) as caught:
            execute(database, statement)
    return str(caught.value)


def execute(database: Database, statement: str) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(statement)
