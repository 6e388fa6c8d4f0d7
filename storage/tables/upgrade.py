"""Upgrade of a database's tables to this version.

The software of revision N may work beside that of N+1, on tables of N+1, during an upgrade of
several hosts. Each migration after 0008 says with `compatible_from` the oldest revision whose
software may go on, and the store keeps that. A migration with `fills_summaries` changes what the
list of studies says.

Alembic is imported only for tables that are not those of this version: it costs each process a
tenth of a second and 10 MB.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from storage.errors import SchemaError, StoreUnavailableError
from storage.tables.database import Database, lock_until_end
from storage.tables.facts import FIRST_SCHEMA, fact, require_in_use, set_fact

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import Script

log = logging.getLogger("storage")

# An arbitrary number, the same for every process that upgrades the store.
_UPGRADE_LOCK = 0x63787264

# The oldest revision whose software may work on the tables as they are.
_COMPATIBLE_FROM = "compatible_from"

_LOCK_SECONDS = 0.5
"""Time for which an upgrade waits for a table in use. All others wait behind it meanwhile."""
_PAUSE_SECONDS = 1.0
_IN_USE_SECONDS = 600.0
"""Time after which an upgrade gives up: a transaction keeps a table for so long."""
_IN_USE = ("55P03", "40P01")
"""PostgreSQL's SQLSTATE of a lock that was not available in time, and of a deadlock."""


class _TablesInUseError(Exception):
    """Another transaction uses a table that the upgrade changes; the upgrade was rolled back."""


_FACTS_SINCE = "0007"
"""The revision that added the table of facts."""


def migrate(
    database: Database,
    revision: str = "head",
    fill: Callable[[Connection], object] | None = None,
) -> None:
    """Create the tables or upgrade them to `revision`, in one transaction.

    `fill` is called in it, to compute the list of studies, if a migration asks for that. Two
    processes may do so at the same time, while others work. An upgrade that has to wait for a table
    lets the others go on, and tries again. Tables of a newer version are left as they are if this
    version may work on them.

    Raises SchemaError if it may not, and StoreUnavailableError if a table stays in use.
    """
    until = time.monotonic() + _IN_USE_SECONDS
    while True:
        try:
            return _migrate(database, revision, fill)
        except _TablesInUseError as error:
            if time.monotonic() > until:
                raise StoreUnavailableError(
                    "the store is not upgraded: a transaction uses its tables for"
                    f" {_IN_USE_SECONDS / 60:.0f} minutes; end it, and start again"
                ) from error
            log.info("the upgrade of the store waits for a transaction that uses its tables")
            time.sleep(_PAUSE_SECONDS)


def _migrate(
    database: Database, revision: str, fill: Callable[[Connection], object] | None
) -> None:
    with database.writing() as connection:
        is_server = connection.dialect.name == "postgresql"
        if is_server:
            # The upgrade of a large store by another host may take long.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            lock_until_end(connection, _UPGRADE_LOCK)
        before = _require_usable(connection)
        if before is not None and before >= _FACTS_SINCE:
            require_in_use(connection, database.name)
        if revision == "head" and before is not None and before >= head_revision():
            return
        if is_server and before is not None:
            connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_SECONDS * 1000:.0f}"))
        from alembic import command

        config = alembic_config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
            if revision != "head":
                return
            applied = _scripts_after(config, before)
            _record_facts(connection, before, applied)
            asks = any(getattr(script.module, "fills_summaries", False) for script in applied)
            if fill is not None and asks:
                fill(connection)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) in _IN_USE:
                raise _TablesInUseError from error
            raise


def _scripts_after(config: "Config", before: str | None) -> "list[Script]":
    """Return the migrations after a revision, newest first."""
    from alembic.script import ScriptDirectory

    return list(ScriptDirectory.from_config(config).iterate_revisions("head", before or "base"))


def _record_facts(connection: Connection, before: str | None, applied: "list[Script]") -> None:
    """Record which software may work on the tables, and the revision of a new store."""
    oldest = getattr(applied[0].module, "compatible_from", applied[0].revision)
    set_fact(connection, _COMPATIBLE_FROM, oldest)
    if before is None:
        set_fact(connection, FIRST_SCHEMA, head_revision())


def first_schema(database: Database) -> str | None:
    """Return the revision with which the tables were created; None: by an earlier version."""
    with database.reading() as connection:
        return fact(connection, FIRST_SCHEMA)


def newer_schema(database: Database) -> str | None:
    """Return the revision of tables that are newer than this version, else None.

    Raises SchemaError if this version may not work on them.
    """
    with database.reading() as connection:
        revision = _require_usable(connection)
    return revision if revision is not None and revision > head_revision() else None


def require_current(database: Database) -> None:
    """Raise SchemaError unless this version works on the tables, and the store is in use.

    Tables of a newer version fit, too, if this one may work beside it.
    """
    require_tables(database)
    with database.reading() as connection:
        require_in_use(connection, database.name)


def require_tables(database: Database) -> None:
    """Raise SchemaError unless this version works on the tables."""
    if not is_current(database):
        raise SchemaError(
            "the store was not set up by this version: start `cxrd serve` once to upgrade it"
        )


def is_current(database: Database) -> bool:
    """Return True if this version can work on the tables, False if `migrate` would change them.

    Raises SchemaError if they are those of a newer version on which this one may not work.
    """
    with database.reading() as connection:
        revision = _require_usable(connection)
    return revision is not None and revision >= head_revision()


def head_revision() -> str:
    """Return the revision of this version's tables: the greatest one, by the files' names."""
    return max(_known_revisions())


def alembic_config() -> "Config":
    """Return the Alembic configuration that names the migrations of the store."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    return config


def _known_revisions() -> set[str]:
    folder = Path(__file__).parents[1] / "migrations" / "versions"
    return {path.name.split("_")[0] for path in folder.glob("[0-9]*_*.py")}


def _require_usable(connection: Connection) -> str | None:
    """Return the revision of the tables; None without tables.

    Raises SchemaError if they are newer, and not compatible with the software of this revision.
    """
    revision: str | None = None
    if inspect(connection).has_table("alembic_version"):
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is None or revision in _known_revisions():
        return revision
    # Every revision that this version does not know has the table of facts.
    oldest = fact(connection, _COMPATIBLE_FROM)
    if oldest is None or oldest > head_revision():
        raise SchemaError(
            f"the store is of a newer version (revision {revision}, which needs software of"
            f" revision {oldest or revision}; this is {head_revision()}):"
            " upgrade this software, or restore a backup made before"
        )
    return revision
