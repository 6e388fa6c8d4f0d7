"""Engines that share the statements they have compiled, as the long life of a role does.

Each engine compiles each statement once, which takes many times longer than to run it. A test opens
a store of its own, so it would compile all its statements again.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

_STATEMENTS = 4000


class _Sharing:
    """A dialect whose engines share their statements: the cache takes its instances for one."""

    statements: LRUCache[Any, Any]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=cls.statements)


class SharingSqlite(_Sharing, SQLiteDialect_pysqlite):
    """The SQLite dialect."""

    statements = LRUCache(_STATEMENTS)
    supports_statement_cache = True


class SharingPostgresql(_Sharing, PGDialect_psycopg):
    """The PostgreSQL dialect."""

    statements = LRUCache(_STATEMENTS)
    supports_statement_cache = True


def share_statements() -> None:
    """Let every engine that this process makes from now on share its statements."""
    registry.register("sqlite", __name__, SharingSqlite.__name__)
    registry.register("postgresql.psycopg", __name__, SharingPostgresql.__name__)
