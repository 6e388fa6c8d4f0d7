"""The audit trail records events, refuses changes, and names the first altered row."""

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from storage.audit.chain import EMPTY_HEAD, row_hash, verify_rows
from storage.audit.records import (
    AuditEntry,
    AuditHead,
    AuditKind,
    AuditOutcome,
    AuditRow,
    parse_subject,
)
from storage.audit.trail import COLUMNS, Audit, append_all
from storage.errors import LeaseLostError, StorageError, TrailAlteredError
from storage.records import Delivery, InstanceName, JobKind, StudyStatus
from storage.store import Store
from storage.tables.database import open_database
from tests.builders.store_rows import LEASE, STUDY, analyse, claim, made_object, new_instance
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock
from tests.tools.processes import slow_here


def kinds(store: Store) -> list[str]:
    return [row.kind for row in store.audit.rows()]


def test_a_row_holds_the_recorded_event(store: Store) -> None:
    store.audit.record(
        AuditKind.LOGIN,
        outcome=AuditOutcome.FAILURE,
        actor="admin",
        host="10.0.0.9",
        subject="job=5",
        detail="wrong token",
    )
    (row,) = store.audit.rows()
    assert replace(row, hash="") == AuditRow(
        number=1,
        recorded_at="2026-03-01T12:00:00.000000Z",
        kind="login",
        outcome="failure",
        actor="admin",
        host="10.0.0.9",
        subject="job=5",
        detail="wrong token",
        previous_hash=EMPTY_HEAD.hash,
        hash="",
    )
    assert store.audit.head() == store.audit.verify() == AuditHead(1, row.hash)


def test_the_hash_is_computed_as_documented(store: Store) -> None:
    store.audit.record(AuditKind.BACKED_UP, actor="jörg")
    (row,) = store.audit.rows()
    canonical = (
        f"64:{EMPTY_HEAD.hash},1:1,27:2026-03-01T12:00:00.000000Z,9:backed_up,7:success,5:jörg,"
        "0:,0:,0:,"
    )
    assert row.hash == hashlib.sha256(canonical.encode()).hexdigest()


def test_text_is_hashed_as_it_is_stored(store: Store) -> None:
    store.audit.record(AuditKind.ASSOCIATION_REFUSED, actor="A\0B\ud800", detail="é\N{FACE PALM}")
    (row,) = store.audit.rows()
    assert (row.actor, row.detail) == ("AB?", "é\N{FACE PALM}")
    store.audit.verify()


def test_long_texts_from_peers_are_shortened(store: Store) -> None:
    long = "\N{FACE PALM}" * 5000
    store.audit.record(AuditKind.LOGIN, actor=long, host=long, subject=long)
    (row,) = store.audit.rows()
    assert (len(row.actor), len(row.host), len(row.subject)) == (255, 255, 1000)
    store.audit.verify()


def test_an_empty_trail_is_valid(store: Store) -> None:
    assert store.audit.verify() == EMPTY_HEAD
    assert store.audit.latest(AuditKind.LOGIN, "") is None


def test_every_step_of_an_image_is_in_the_trail(store: Store, clock: Clock) -> None:
    image = new_instance()
    store.record_instance(image, 0, host="10.0.0.7")
    store.record_instance(image, 0, host="10.0.0.7")
    store.record_instance(new_instance(content="other"), 0)
    analyse(store, clock.now)
    refused = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(refused, 2, "NOT_CHEST", "DOE^JOHN stands in BodyPartExamined")
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [made_object("9.1"), made_object("9.2")],
        [Delivery("9.1", "PACS"), Delivery("9.2", "PACS")],
    )
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0xB000, "1.2.88.33")
    parked = claim(store, JobKind.DELIVER)
    store.jobs.fail(parked, "status 0xA900: not DOE^JOHN", None, audited="status 0xA900")
    store.jobs.retry(parked.id, actor="root")
    store.jobs.discard(parked.id, actor="root")

    instance = f"study={STUDY} instance=1.2.3.1 sop_class={image.sop_class_uid}"
    sha256 = new_instance(content="other").sha256
    mass = "Mass 0.80 (4.0 times the odds of its threshold 0.50)"
    model = "model starter 1, sha256 cd"
    made = made_object("9.1").sop_class_uid
    expected = [
        ("instance_received", "MODALITY", instance, f"new, revision 1, sha256 {image.sha256}"),
        (
            "instance_received",
            "MODALITY",
            instance,
            f"duplicate, revision 1, sha256 {image.sha256}",
        ),
        ("instance_received", "MODALITY", instance, f"revision, revision 2, sha256 {sha256}"),
        ("instance_analysed", "worker", f"{instance} revision=1", f"{mass}; {model}"),
        ("instance_not_analysed", "worker", f"{instance} revision=2", "NOT_CHEST"),
        (
            "study_reported",
            "worker",
            f"study={STUDY} object=9.1 sop_class={made}",
            "reported, 2 delivery(ies)",
        ),
        (
            "object_delivered",
            "PACS",
            f"study={STUDY} object=9.1 sop_class=1.2.88.33",
            "status 0xB000",
        ),
        (
            "job_parked",
            "PACS",
            f"job={parked.id} study={STUDY} object=9.2",
            "deliver: status 0xA900",
        ),
        ("job_retried", "root", f"job={parked.id} study={STUDY} object=9.2", "deliver"),
        ("job_discarded", "root", f"job={parked.id} study={STUDY} object=9.2", "deliver"),
    ]
    assert [
        (row.kind, row.actor, row.subject, row.detail) for row in store.audit.rows()
    ] == expected
    assert [row.host for row in store.audit.rows()][:3] == ["10.0.0.7", "10.0.0.7", ""]
    store.audit.verify()


def test_commitments_received_and_given_are_in_the_trail(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance(), 0)
    analyse(store, clock.now)
    report = claim(store, JobKind.REPORT)
    delivery = Delivery("9.1", "PACS")
    store.results.record_report(report, StudyStatus.REPORTED, "", [made_object("9.1")], [delivery])
    sent = claim(store, JobKind.DELIVER)
    store.results.record_delivery(sent, 0, commit_after=timedelta())
    store.commitments.next_step(claim(store, JobKind.COMMIT), "7.7")
    store.commitments.record_answer(
        ["PACS"],
        "7.7",
        [],
        {"9.1": 0x0112},
        resend_for=(),
        max_resends=0,
        resend_wait=lambda _: timedelta(),
    )
    asked = store.inquiries.record("CT1", "8.8", [InstanceName("1", "2")], "listener", LEASE)
    store.inquiries.record_answered(asked)

    answered, given = list(store.audit.rows())[-2:]
    assert (answered.kind, answered.outcome) == ("commitment_received", "failure")
    assert answered.actor == "PACS"
    assert parse_subject(answered.subject) == {"study": STUDY, "transaction": "7.7"}
    assert answered.detail == "0 committed, 0 sent again, 1 refused"
    assert (given.kind, given.actor) == ("commitment_given", "CT1")
    assert given.subject == "transaction=8.8"


def test_a_rolled_back_change_is_not_in_the_trail(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance(), 0)
    lost = claim(store, JobKind.ANALYSE)
    clock.advance(LEASE.total_seconds() + 1)
    store.jobs.reclaim()
    with pytest.raises(LeaseLostError):
        store.results.record_refusal(lost, 1, "NOT_CHEST", "")
    with pytest.raises(LeaseLostError):
        store.jobs.fail(lost, "cannot", None)
    assert kinds(store) == ["instance_received"]


def test_an_instance_that_cannot_be_audited_is_not_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the trail cannot be written")

    monkeypatch.setattr("storage.images.receipt.append_all", fail)
    with pytest.raises(StorageError, match="the trail cannot be written"):
        store.record_instance(new_instance(), 0)
    assert store.jobs.list() == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'someone else' WHERE number = 2",
        "DELETE FROM audit_events WHERE number = 3",
        "DELETE FROM audit_events",
        "INSERT INTO audit_events SELECT number + 7, recorded_at, kind, outcome, actor, host,"
        " subject, detail, previous_hash, hash FROM audit_events WHERE number = 1",
    ],
)
def test_the_database_refuses_to_alter_the_trail(
    filled: Store, database_url: str, statement: str
) -> None:
    before = list(filled.audit.rows())
    with (
        open_database(database_url) as database,
        pytest.raises(StorageError),
        database.writing() as connection,
    ):
        connection.execute(text(statement))
    assert list(filled.audit.rows()) == before


def test_sqlite_does_not_replace_a_row(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with new_store(tmp_path / "store.db") as store:
        store.audit.record(AuditKind.LOGIN, actor="x")
        with (
            open_database(url) as database,
            pytest.raises(StorageError),
            database.writing() as connection,
        ):
            connection.execute(
                text("INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events")
            )
        store.audit.verify()


@pytest.fixture
def filled(store: Store, clock: Clock) -> Store:
    """Return a store with a trail of six rows."""
    for number in range(6):
        clock.advance(1)
        store.audit.record(AuditKind.LOGIN, actor=f"user {number}", host="10.0.0.1")
    return store


Forgery = Callable[[list[AuditRow]], list[AuditRow]]


def change_a_cell(rows: list[AuditRow]) -> list[AuditRow]:
    return [replace(row, actor="nobody") if row.number == 3 else row for row in rows]


def change_a_cell_and_its_hash(rows: list[AuditRow]) -> list[AuditRow]:
    return [rehashed(replace(row, actor="nobody")) if row.number == 3 else row for row in rows]


def change_a_hash(rows: list[AuditRow]) -> list[AuditRow]:
    return [replace(row, hash="0" * 64) if row.number == 3 else row for row in rows]


def move_text_between_cells(rows: list[AuditRow]) -> list[AuditRow]:
    return [
        replace(row, actor=row.actor + row.host, host="") if row.number == 3 else row
        for row in rows
    ]


def remove_a_row(rows: list[AuditRow]) -> list[AuditRow]:
    return [row for row in rows if row.number != 3]


def remove_a_row_and_renumber(rows: list[AuditRow]) -> list[AuditRow]:
    return [replace(row, number=place) for place, row in enumerate(remove_a_row(rows), 1)]


def remove_the_first_rows(rows: list[AuditRow]) -> list[AuditRow]:
    return [rehashed(replace(row, number=place)) for place, row in enumerate(rows[2:], 1)]


def insert_a_row(rows: list[AuditRow]) -> list[AuditRow]:
    forged = rehashed(replace(rows[2], actor="nobody", previous_hash=rows[1].hash))
    return rows[:2] + [
        replace(row, number=place) for place, row in enumerate([forged, *rows[2:]], 3)
    ]


def swap_two_rows(rows: list[AuditRow]) -> list[AuditRow]:
    swapped = [*rows[:2], rows[3], rows[2], *rows[4:]]
    return [replace(row, number=place) for place, row in enumerate(swapped, 1)]


def rehashed(row: AuditRow) -> AuditRow:
    cells = (row.recorded_at, row.kind, row.outcome, row.actor, row.host, row.subject, row.detail)
    return replace(row, hash=row_hash(row.previous_hash, row.number, *cells))


def rechained(rows: list[AuditRow]) -> list[AuditRow]:
    """Return the rows with new hashes, a forgery that only a noted head reveals."""
    chained: list[AuditRow] = []
    for row in rows:
        last = chained[-1].hash if chained else EMPTY_HEAD.hash
        chained.append(rehashed(replace(row, previous_hash=last)))
    return chained


def insert_a_row_before_the_first(rows: list[AuditRow]) -> list[AuditRow]:
    return [rehashed(replace(rows[2], number=-1)), *rows]


FORGERIES: list[tuple[Forgery, int, str]] = [
    (change_a_cell, 3, "row 3 was altered"),
    (change_a_cell_and_its_hash, 3, "row 3 was replaced"),
    (change_a_hash, 3, "row 3 was altered"),
    (move_text_between_cells, 3, "row 3 was altered"),
    (remove_a_row, 3, "row 3 is missing"),
    (remove_a_row_and_renumber, 3, "row 3 is not the one that followed row 2"),
    (remove_the_first_rows, 1, "row 1 was not the first"),
    (insert_a_row_before_the_first, -1, "row -1 was inserted before row 1"),
    (insert_a_row, 4, "row 4 is not the one that followed row 3"),
    (swap_two_rows, 3, "row 3 is not the one that followed row 2"),
]


@pytest.mark.parametrize(("forge", "first", "words"), FORGERIES)
def test_the_first_altered_row_is_named(
    filled: Store, database_url: str, forge: Forgery, first: int, words: str
) -> None:
    filled.audit.verify()
    overwrite(database_url, forge(list(filled.audit.rows())))

    with pytest.raises(TrailAlteredError, match=words) as caught:
        filled.audit.verify()
    assert caught.value.number == first


def insert_row_0(rows: list[AuditRow]) -> list[AuditRow]:
    return [rehashed(replace(rows[2], number=0)), *rows]


def keep_only_row_0(rows: list[AuditRow]) -> list[AuditRow]:
    return insert_row_0(rows)[:1]


def leave_a_long_gap(rows: list[AuditRow]) -> list[AuditRow]:
    return [*rows[:5], replace(rows[5], number=10**15)]


@pytest.mark.parametrize(
    "forge",
    [*(forge for forge, _, _ in FORGERIES), insert_row_0, keep_only_row_0, leave_a_long_gap],
)
def test_parts_of_any_length_name_the_row_that_the_whole_trail_names(
    tmp_path: Path, clock: Clock, forge: Forgery
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with new_store(tmp_path / "store.db", clock=clock) as store:
        for number in range(6):
            store.audit.record(AuditKind.LOGIN, actor=f"user {number}", host="10.0.0.1")
        overwrite(url, forge(list(store.audit.rows())))
        with pytest.raises(TrailAlteredError) as expected:
            verify_rows([astuple(row) for row in store.audit.rows()])
    for page_rows in range(1, 8):
        with open_database(url) as database, pytest.raises(TrailAlteredError) as caught:
            Audit(database, clock, page_rows).verify()
        assert str(caught.value) == str(expected.value)
        assert caught.value.number == expected.value.number


def test_parts_of_any_length_miss_no_noted_head(
    filled: Store, database_url: str, clock: Clock
) -> None:
    rows = [astuple(row) for row in filled.audit.rows()]
    with open_database(database_url) as database:
        trail = Audit(database, clock, page_rows=2)
        for number in range(1, 9):
            noted = AuditHead(number, "1" * 64)
            with pytest.raises(TrailAlteredError) as expected:
                verify_rows(rows, noted)
            with pytest.raises(TrailAlteredError) as caught:
                trail.verify(noted)
            assert str(caught.value) == str(expected.value)


def test_rows_added_meanwhile_are_not_read(
    filled: Store, database_url: str, clock: Clock, tmp_path: Path
) -> None:
    begin = filled.audit.head()

    def add(_: int) -> None:
        filled.audit.record(AuditKind.BACKED_UP)

    with open_database(database_url) as database:
        trail = Audit(database, clock, page_rows=2)
        assert trail.verify(progress=add) == begin
        written = trail.write_csv(tmp_path / "trail.csv", progress=add)
    assert written == begin.number + 3


@pytest.mark.slow
class TestSeveralProcesses:
    """Another process works on most parts: this process works slowly."""

    ROWS = 100

    @pytest.fixture
    def trail(
        self,
        database_url: str,
        clock: Clock,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Audit]:
        entries = [AuditEntry(AuditKind.LOGIN, actor=f"jörg;={n}") for n in range(self.ROWS)]
        with open_database(database_url) as database:
            with database.writing() as connection:
                append_all(connection, entries, clock.now)
            slow_here(monkeypatch, "storage.audit.trail._joint")
            slow_here(monkeypatch, "storage.audit.trail._csv_part")
            yield Audit(database, clock, page_rows=2)

    def test_a_sound_trail_has_the_same_head_and_file(
        self, trail: Audit, store: Store, tmp_path: Path
    ) -> None:
        seen: list[int] = []
        assert trail.verify(store.audit.head(), seen.append, 2) == store.audit.head()
        assert sum(seen) == self.ROWS
        one, several = tmp_path / "one.csv", tmp_path / "several.csv"
        assert store.audit.write_csv(one) == trail.write_csv(several, processes=2) == self.ROWS
        assert one.read_bytes() == several.read_bytes()

    def test_the_first_altered_row_is_named(
        self, trail: Audit, store: Store, database_url: str
    ) -> None:
        rows = list(store.audit.rows())
        rows[90] = rehashed(replace(rows[90], actor="nobody"))
        overwrite(database_url, rows)
        with pytest.raises(TrailAlteredError, match="row 91 was replaced: row 92 follows"):
            trail.verify(processes=2)


def overwrite(database_url: str, rows: list[AuditRow]) -> None:
    """Replace the rows of the trail, as the owner of the database can."""
    with open_database(database_url) as database, database.writing() as connection:
        is_file = connection.dialect.name == "sqlite"
        if is_file:
            for trigger in ("keep_update", "keep_delete", "number"):
                connection.execute(text(f"DROP TRIGGER audit_events_{trigger}"))
        else:
            connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
        connection.execute(text("DELETE FROM audit_events"))
        names = ", ".join(COLUMNS)
        values = ", ".join(f":{name}" for name in COLUMNS)
        for row in rows:
            connection.execute(
                text(f"INSERT INTO audit_events ({names}) VALUES ({values})"),  # noqa: S608
                {name: getattr(row, name) for name in COLUMNS},
            )
        if not is_file:
            connection.execute(text("ALTER TABLE audit_events ENABLE TRIGGER USER"))


@pytest.mark.parametrize("value", ["x'00ff'", "CAST(x'ff' AS TEXT)"])
@pytest.mark.parametrize("cell", ["recorded_at", "actor", "detail", "previous_hash", "hash"])
def test_a_row_with_a_damaged_cell_is_named(tmp_path: Path, cell: str, value: str) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with new_store(tmp_path / "store.db") as store:
        store.audit.record(AuditKind.LOGIN, actor="\ufffd", detail="\ufffd")
        store.audit.record(AuditKind.LOGIN)
        with open_database(url) as database, database.writing() as connection:
            connection.execute(text("DROP TRIGGER audit_events_keep_update"))
            connection.execute(text(f"UPDATE audit_events SET {cell} = {value} WHERE number = 1"))  # noqa: S608
        with pytest.raises(TrailAlteredError, match="row 1 ") as caught:
            store.audit.verify()
        assert caught.value.number == 1
        store.audit.record(AuditKind.LOGIN)
        assert store.audit.write_csv(tmp_path / "trail.csv") == 3


def test_rows_are_added_after_a_row_with_a_damaged_hash(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with new_store(tmp_path / "store.db") as store:
        store.audit.record(AuditKind.LOGIN)
        with open_database(url) as database, database.writing() as connection:
            connection.execute(text("DROP TRIGGER audit_events_keep_update"))
            connection.execute(text("UPDATE audit_events SET hash = CAST(x'ff' AS TEXT)"))
        store.audit.record(AuditKind.LOGIN)
        with pytest.raises(TrailAlteredError, match="row 1 was altered"):
            store.audit.verify()


def test_removed_last_rows_are_detected_with_a_noted_head(filled: Store, database_url: str) -> None:
    noted = filled.audit.head()
    overwrite(database_url, list(filled.audit.rows())[:4])

    assert filled.audit.verify().number == 4
    with pytest.raises(TrailAlteredError, match="row 5 and what followed are gone") as caught:
        filled.audit.verify(noted)
    assert caught.value.number == 5


def test_a_rewritten_trail_is_detected_with_a_noted_head(filled: Store, database_url: str) -> None:
    rows = list(filled.audit.rows())
    noted = AuditHead(4, rows[3].hash)
    overwrite(database_url, rechained(change_a_cell(rows)))

    assert filled.audit.verify().number == 6
    with pytest.raises(TrailAlteredError, match="row 4 is not the one that was noted"):
        filled.audit.verify(noted)


def test_a_noted_head_is_found_in_a_longer_trail(filled: Store) -> None:
    noted = filled.audit.head()
    filled.audit.record(AuditKind.BACKED_UP)
    assert filled.audit.verify(AuditHead.parse(f" {noted}\n")).number == 7
    assert filled.audit.verify(EMPTY_HEAD).number == 7


def test_a_noted_head_with_number_0_must_be_the_empty_head(filled: Store) -> None:
    assert filled.audit.verify(EMPTY_HEAD) == filled.audit.head()
    with pytest.raises(TrailAlteredError, match="no trail has the head that was noted"):
        filled.audit.verify(AuditHead(0, "1" * 64))


@pytest.mark.parametrize("text", ["", "5", "5:abc", "x:" + "0" * 64, "-1:" + "0" * 64])
def test_a_malformed_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUMBER:HASH"):
        AuditHead.parse(text)


_CELLS = st.lists(st.text(max_size=4), min_size=7, max_size=7)


@given(_CELLS, _CELLS)
def test_different_cells_have_different_hashes(one: list[str], other: list[str]) -> None:
    same = row_hash(EMPTY_HEAD.hash, 1, *one) == row_hash(EMPTY_HEAD.hash, 1, *other)
    assert same == (one == other)


def test_pages_join_without_a_gap(filled: Store, database_url: str, clock: Clock) -> None:
    with open_database(database_url) as database:
        trail = Audit(database, clock, page_rows=2)
        assert [row.number for row in trail.rows()] == [1, 2, 3, 4, 5, 6]
        assert trail.verify() == filled.audit.head()


def test_rows_are_filtered_by_time(filled: Store, clock: Clock) -> None:
    since, until = clock.now - timedelta(seconds=3), clock.now
    assert [row.number for row in filled.audit.rows(since, until)] == [3, 4, 5]


def test_the_newest_row_of_a_kind_is_found(filled: Store) -> None:
    filled.audit.record(AuditKind.BACKED_UP)
    found = filled.audit.latest(AuditKind.LOGIN, "10.0.0.1")
    assert found is not None
    assert found.actor == "user 5"
    assert filled.audit.latest(AuditKind.LOGIN, "10.0.0.2") is None


def test_the_csv_file_holds_every_row_with_formulas_neutralised(
    store: Store, tmp_path: Path
) -> None:
    for title in ("=cmd|'/C calc'!A0", "@SUM(1+1)*cmd", "+1-1", "\t=1+1"):
        store.audit.record(AuditKind.ASSOCIATION_REFUSED, actor=title)
    path = tmp_path / "trail.csv"
    assert store.audit.write_csv(path) == 4
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert all(line.split(",")[4].startswith("'") for line in lines[1:])


def _add_rows(url: str, worker: int) -> None:
    with Store.open(url, migrate=False) as store:
        for number in range(15):
            store.audit.record(AuditKind.LOGIN, actor=f"{worker}:{number}")
            store.record_instance(new_instance(f"1.{worker}.{number}"), 0)


@pytest.mark.slow
def test_processes_that_add_rows_at_once_leave_a_valid_trail(database_url: str) -> None:
    with Store.open(database_url, migrate=True) as store:
        with ProcessPoolExecutor(8, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_add_rows, [database_url] * 8, range(8)))

        assert store.audit.verify().number == 8 * 30
        logins = [row.actor for row in store.audit.rows() if row.kind == AuditKind.LOGIN]
        for worker in range(8):
            own = [actor for actor in logins if actor.startswith(f"{worker}:")]
            assert own == [f"{worker}:{number}" for number in range(15)]
