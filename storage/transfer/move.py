"""Moves a store to another database.

The original is held: no other process can write to it. A target that is an unfinished copy says so
from its first transaction on, and no daemon uses it. Rows are copied in parts, each committed, in
the order of the key, so that an interrupted copy goes on where it was. Then all rows of both
databases are read and compared, and the audit trail of the copy is verified. Only then the original
is marked as moved, and the last transaction takes the mark off the copy.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

from sqlalchemy import URL, Connection, delete, inspect, text

from storage.audit.records import AuditEntry, AuditHead, AuditKind
from storage.audit.trail import Audit, append
from storage.errors import (
    MovedError,
    MoveError,
    OutOfSpaceError,
    SchemaError,
    StorageError,
    StoreUnavailableError,
    TrailAlteredError,
)
from storage.tables import upgrade
from storage.tables.columns import metadata
from storage.tables.database import Database, open_database, parse_url
from storage.tables.facts import (
    COPY_OF,
    FACTS,
    MOVED_TO,
    CopyOf,
    copy_of,
    fact,
    facts,
    note_copy,
    remove_fact,
)
from storage.tables.schema import node_facts
from storage.transfer.damage import damage_of
from storage.transfer.side import Side, mended, tables

SHOWN_CELLS = 10
_FUNCTIONS = ("audit_events_keep", "audit_events_number")

Phase = Callable[[int, str, str], AbstractContextManager[Callable[[int], object]]]
"""Gets the size, the unit and the name of a phase; gives the function that advances it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a move.

    `empty`: an unfinished copy is deleted first. `keep_damage`: damaged text is copied as the pages
    show it, and an altered audit trail as it is. `processes` verify the trail.
    """

    empty: bool = False
    keep_damage: bool = False
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Moved:
    """The result: rows and tables, the head of the audit trail, and the damage that was kept."""

    rows: int
    tables: int
    head: AuditHead
    database_url: str
    damage: tuple[str, ...]


def shown_url(url: str) -> str:
    """Return a URL without its password."""
    parsed = parse_url(url)
    query = {name: value for name, value in parsed.query.items() if "password" not in name}
    shown = URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query
    )
    return shown.render_as_string()


def move_store(
    source_url: str,
    target_url: str,
    *,
    actor: str,
    phase: Phase,
    options: Options,
) -> Moved:
    """Move a store. The caller knows that no daemon works on it, and none will start meanwhile.

    Raises MoveError if the copy cannot be made or differs, SchemaError for tables of another
    version, MovedError for a store that was moved, or another StorageError. The original stays as
    it was; the same call goes on with the copy.
    """
    if parse_url(source_url) == parse_url(target_url):
        raise MoveError("the store is there already: name another database with --to")
    with open_database(source_url) as source:
        upgrade.require_tables(source)
        if upgrade.newer_schema(source) is not None:
            raise SchemaError("the store is of a newer version: move it with that version")
        with (
            open_database(target_url, create=True) as target,
            Side(source, mended if options.keep_damage else str) as original,
        ):
            _require_encoding(target)
            original.hold()
            head = Audit(source, source.now).head()
            _prepare(source, target, CopyOf(source.name, head.number, head.hash), options.empty)
            with Side(target) as copy:
                with _damage_named(source, options.keep_damage):
                    total = _copy(original, copy, phase, options.keep_damage)
                    _compare(original, copy, total, phase)
                damage = _verify(target, head, phase, options)
                if options.keep_damage and original.is_sqlite:
                    damage += tuple(map(str, damage_of(source)))
                copy.finish()
                original.mark_moved(target.name)
            _complete(source, target, actor, total)
    return Moved(total, len(tables()), head, shown_url(target_url), damage)


def take_back(url: str, *, actor: str) -> str:
    """Take the mark of a move off a store. Return the place to which it was moved."""
    with open_database(url) as database:
        upgrade.require_tables(database)
        with database.writing() as connection:
            place = fact(connection, MOVED_TO)
            if place is None:
                raise MoveError(f"the store {database.name} was not moved: it is in use")
            remove_fact(connection, MOVED_TO)
            detail = f"taken back: this store is in use again, and not {place}"
            entry = AuditEntry(AuditKind.STORE_MOVED, actor=actor, detail=detail)
            append(connection, entry, database.now())
    return place


def _require_encoding(target: Database) -> None:
    with target.reading() as connection:
        if connection.dialect.name != "postgresql":
            return
        encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise MoveError(
            f"{target.name} has the encoding {encoding}, which does not hold every text: create it"
            " with `createdb --encoding UTF8 --template template0`"
        )


def _prepare(source: Database, target: Database, original: CopyOf, empty: bool) -> None:
    """Make the tables of the target, or find an unfinished copy of the same state."""
    with source.reading() as connection:
        place = fact(connection, MOVED_TO)
    found = _unfinished(target)
    if place is not None and (found is None or place != target.name):
        raise MovedError(f"the store {source.name} was already moved, to {place}")
    if found is not None and not empty:
        if (found.number, found.hash) == (original.number, original.hash):
            return
        raise MoveError(
            f"{target.name} is an unfinished copy of another store, or of an earlier state of this"
            " one: add --empty-target to begin again"
        )
    if found is not None:
        _empty(target)

    def note(connection: Connection) -> None:
        connection.execute(delete(node_facts))
        note_copy(connection, original)

    upgrade.migrate(target, fill=note)


def _unfinished(target: Database) -> CopyOf | None:
    """Return the note of an unfinished copy; None for an empty target. Raises MoveError."""
    with target.reading() as connection:
        names = inspect(connection).get_table_names()
        if not names:
            return None
        found = facts(connection, FACTS) if node_facts.name in names else {}
    if COPY_OF not in found:
        kind = "a store" if "alembic_version" in names else f"{len(names)} table(s)"
        raise MoveError(f"{target.name} is not empty: it holds {kind}; name an empty database")
    return copy_of(found)


def _empty(target: Database) -> None:
    with target.writing() as connection:
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        if connection.dialect.name == "postgresql":
            for function in _FUNCTIONS:
                connection.execute(text(f"DROP FUNCTION IF EXISTS {function}()"))


def _copy(original: Side, copy: Side, phase: Phase, keep_damage: bool) -> int:
    """Copy the rows that the copy lacks. Return the number of all."""
    total = sum(original.count(table) for table in tables())
    with phase(total, "row", "copying") as advance:
        for table in tables():
            advance(copy.count(table))
            with closing(original.rows(table, copy.last_key(table))) as rows:
                for written in copy.write(table, rows, any_number=keep_damage):
                    advance(written)
    return total


@contextmanager
def _damage_named(source: Database, keep_damage: bool) -> Iterator[None]:
    """Raise MoveError that names the damaged cells, if the block failed because of them."""
    try:
        yield
    except (StoreUnavailableError, OutOfSpaceError):
        raise
    except StorageError as error:
        if source.engine.dialect.name != "sqlite":
            raise
        bad = [cell for cell in damage_of(source) if not (cell.is_text and keep_damage)]
        if not bad:
            raise
        shown = "; ".join(map(str, bad[:SHOWN_CELLS]))
        if len(bad) > SHOWN_CELLS:
            shown += f"; and {len(bad) - SHOWN_CELLS} more"
        remedy = "restore a backup as docs/backup.md says"
        if all(cell.is_text for cell in bad):
            remedy += ", or add --keep-damage to copy them as the pages show them"
        raise MoveError(f"{len(bad)} damaged cell(s): {shown}; {remedy}") from error


def _compare(original: Side, copy: Side, total: int, phase: Phase) -> None:
    """Compare all rows of both sides. Raises MoveError."""
    with phase(2 * total, "row", "comparing") as advance:
        for table in tables():
            expected, found = original.digest(table, advance), copy.digest(table, advance)
            if expected != found:
                raise MoveError(
                    f"table {table.name}: the copy differs ({expected[0]} row(s) with the digest"
                    f" {expected[1][:16]}…, copied {found[0]} with {found[1][:16]}…), so the store"
                    " was not moved: add --empty-target to begin again"
                )


def _verify(target: Database, head: AuditHead, phase: Phase, options: Options) -> tuple[str, ...]:
    """Verify the audit trail of the copy. Return what was kept damaged."""
    try:
        with phase(head.number, "row", "verifying the audit trail") as advance:
            verified = Audit(target, target.now).verify(head, advance, options.processes)
    except TrailAlteredError as error:
        # The comparison has shown that it is that of the original.
        if options.keep_damage:
            return (f"the audit trail is altered, as in the original: {error}",)
        raise MoveError(
            f"the audit trail was altered before the move: {error}; `cxrd audit verify` says so,"
            " too: restore a backup, or add --keep-damage to move it as it is"
        ) from error
    return () if verified == head else (f"the audit trail ends at row {verified.number}",)


def _complete(source: Database, target: Database, actor: str, rows: int) -> None:
    """Take the mark of an unfinished copy off, and record the move in the trail of the copy."""
    detail = f"moved from {source.name}: {rows} row(s) in {len(tables())} tables, compared"
    with target.writing() as connection:
        remove_fact(connection, COPY_OF)
        entry = AuditEntry(AuditKind.STORE_MOVED, actor=actor, detail=detail)
        append(connection, entry, target.now())
