"""Facts of a store by name, which all its hosts share. Two of them tell of a move.

A store that was moved elsewhere, and a copy that is not finished, may not be used: each open of a
store looks for them.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, select

from storage.errors import MovedError
from storage.tables.database import insert
from storage.tables.schema import node_facts

FIRST_SCHEMA = "first_schema"
"""The revision that created the store. Only a store has it whose first version knew facts."""
MOVED_TO = "moved_to"
COPY_OF = "copy_of"
FACTS = (MOVED_TO, COPY_OF)
"""Facts of one database, which no copy of a store contains."""


@dataclass(frozen=True, slots=True)
class CopyOf:
    """The store that is copied, and the head of its audit trail at that time."""

    store: str
    number: int
    hash: str


def fact(connection: Connection, name: str) -> str | None:
    """Return the value of a fact; None without it."""
    found: str | None = connection.scalar(
        select(node_facts.c.value).where(node_facts.c.name == name)
    )
    return found


def facts(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """Return those of the facts that the store has, by name."""
    query = select(node_facts.c.name, node_facts.c.value).where(node_facts.c.name.in_(names))
    return {row.name: row.value for row in connection.execute(query)}


def set_fact(connection: Connection, name: str, value: str) -> None:
    """Add a fact, or replace its value."""
    statement = insert(connection, node_facts).values(name=name, value=value)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def add_fact(connection: Connection, name: str, value: str) -> str:
    """Add a fact; one that is there keeps its value. Return the value that it then has."""
    statement = insert(connection, node_facts).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    return facts(connection, [name])[name]


def remove_fact(connection: Connection, name: str) -> None:
    """Remove a fact; a missing one is not an error."""
    connection.execute(delete(node_facts).where(node_facts.c.name == name))


def require_in_use(connection: Connection, name: str) -> None:
    """Raise MovedError if the store `name` was moved elsewhere, or is an unfinished copy."""
    found = facts(connection, FACTS)
    if COPY_OF in found:
        raise MovedError(
            f"{name} is an unfinished copy of {copy_of(found).store}:"
            " run the same `cxrd store migrate` again to finish it"
        )
    if MOVED_TO in found:
        raise MovedError(
            f"the store {name} was moved to {found[MOVED_TO]}: set database_url to that, or take"
            " the move back with `cxrd store migrate --undo`"
        )


def copy_of(found: dict[str, str]) -> CopyOf:
    """Return the store of which this one is an unfinished copy."""
    return CopyOf(**json.loads(found[COPY_OF]))


def note_copy(connection: Connection, original: CopyOf) -> None:
    """Note that this store is an unfinished copy."""
    set_fact(connection, COPY_OF, json.dumps(asdict(original)))
