"""Upgrade of a database's tables to this version.

Alembic is imported only for tables that are not those of this version: it costs each process a
tenth of a second and 10 MB.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, select, text

from storage.errors import SchemaError
from storage.tables.database import Database
from storage.tables.schema import node_facts

if TYPE_CHECKING:
    from alembic.config import Config

# An arbitrary number, the same for every process that upgrades the store.
_UPGRADE_LOCK = 0x63787264

# The fact that only a store has which was created by a version that knows facts.
_FIRST_SCHEMA = "first_schema"


def migrate(
    database: Database,
    revision: str = "head",
    fill: Callable[[Connection], object] | None = None,
) -> None:
    """Create the tables or upgrade them to `revision`, in one transaction.

    `fill` is called in it after an upgrade, to compute the rows that say again what other tables
    say. Two processes may do so at the same time. Raises SchemaError if the tables are those of a
    newer version.
    """
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        before = _require_known(connection)
        if before == head_revision() and revision == "head":
            return
        from alembic import command

        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        if before is None and revision == "head":
            first = {"name": _FIRST_SCHEMA, "value": head_revision()}
            connection.execute(node_facts.insert().values(first))
        if fill is not None:
            fill(connection)


def first_schema(database: Database) -> str | None:
    """Return the revision with which the tables were created; None: by an earlier version."""
    query = select(node_facts.c.value).where(node_facts.c.name == _FIRST_SCHEMA)
    with database.reading() as connection:
        return connection.scalar(query)


def require_current(database: Database) -> None:
    """Raise SchemaError unless the tables are those of this version."""
    if not is_current(database):
        raise SchemaError(
            "the store was not set up by this version: start `cxrd serve` once to upgrade it"
        )


def is_current(database: Database) -> bool:
    """Return True if the tables are those of this version, False if `migrate` would change them.

    Raises SchemaError if the tables are those of a newer version.
    """
    with database.reading() as connection:
        return _require_known(connection) == head_revision()


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


def _require_known(connection: Connection) -> str | None:
    """Return the revision of the tables; None without tables. Raises SchemaError if unknown."""
    revision: str | None = None
    if inspect(connection).has_table("alembic_version"):
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in _known_revisions():
        raise SchemaError(
            f"the store is of a newer version (revision {revision}):"
            " upgrade this software, or restore a backup made before"
        )
    return revision
