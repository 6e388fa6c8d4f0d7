"""Upgrade of a database's tables to this version."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from storage.errors import SchemaError
from storage.tables.database import Database

# An arbitrary number, the same for every process that upgrades the store.
_UPGRADE_LOCK = 0x63787264


def migrate(database: Database, revision: str = "head") -> None:
    """Create the tables or upgrade them to `revision`, in one transaction.

    Two processes may do so at the same time. Raises SchemaError if the tables are those of a newer
    version.
    """
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        config = alembic_config()
        _refuse_unknown(connection, ScriptDirectory.from_config(config))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


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
    scripts = ScriptDirectory.from_config(alembic_config())
    with database.reading() as connection:
        _refuse_unknown(connection, scripts)
        return bool(_revision(connection) == scripts.get_current_head())


def alembic_config() -> Config:
    """Return the Alembic configuration that names the migrations of the store."""
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unknown(connection: Connection, scripts: ScriptDirectory) -> None:
    revision = _revision(connection)
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaError(
            f"the store is of a newer version (revision {revision}):"
            " upgrade this software, or restore a backup made before"
        )
