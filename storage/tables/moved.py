"""The facts of a move: a store that was moved elsewhere, and a copy that is not finished.

Neither may be used: each open of a store looks for them.
"""

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Delete, delete, select

from storage.errors import MovedError
from storage.tables.database import insert
from storage.tables.schema import node_facts

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


def require_in_use(connection: Connection, name: str) -> None:
    """Raise MovedError if the store `name` was moved elsewhere, or is an unfinished copy."""
    found = facts_of(connection)
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


def facts_of(connection: Connection) -> dict[str, str]:
    """Return the facts of a move by name."""
    query = select(node_facts.c.name, node_facts.c.value).where(node_facts.c.name.in_(FACTS))
    return {row.name: row.value for row in connection.execute(query)}


def copy_of(facts: dict[str, str]) -> CopyOf:
    """Return the store of which this one is an unfinished copy."""
    return CopyOf(**json.loads(facts[COPY_OF]))


def note_copy(connection: Connection, original: CopyOf) -> None:
    """Note that this store is an unfinished copy."""
    connection.execute(
        insert(connection, node_facts).values(name=COPY_OF, value=json.dumps(asdict(original)))
    )


def without(name: str) -> Delete:
    """Return the statement that removes a fact."""
    return delete(node_facts).where(node_facts.c.name == name)
