"""The values that messages told of patients; statements for use inside a transaction.

A caller that writes has locked the source against receptions.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, or_, select, tuple_

from storage.patients.identity import Edge, KnownPatient, PatientKey, Told, learn
from storage.tables.database import insert
from storage.tables.exchange.patients import patients

Known = dict[PatientKey, KnownPatient]
_FIELDS = ("name", "birth_date", "sex")


def learn_edges(
    connection: Connection, source: str, edges: Iterable[Edge], at: datetime
) -> set[PatientKey]:
    """Record what an event at `at` tells of numbers of a source; return whose films it may change.

    An older event than those known does not count. A number that was merged before has its films
    under the earlier heir, which is returned, too.
    """
    edges = list(edges)
    numbers = {edge.key for edge in edges}
    known = load_family(connection, source, numbers)
    heirs = {known[key].heir for key in numbers if key in known}
    for edge in edges:
        before = known.get(edge.key)
        after = learn(before or KnownPatient(edge.key), edge, at)
        if after != before:
            known[edge.key] = after
            _write(connection, source, after)
    return numbers | {heir for heir in heirs if heir is not None}


def load_family(connection: Connection, source: str, keys: Collection[PatientKey]) -> Known:
    """Return these numbers and all that merges join with them, as far as messages named them."""
    known: Known = {}
    wanted = set(keys)
    asked: set[PatientKey] = set()
    while new := wanted - asked:
        asked |= new
        pairs = [(key.patient_id, key.issuer) for key in new]
        query = select(patients).where(
            patients.c.source == source,
            or_(
                tuple_(patients.c.patient_id, patients.c.issuer).in_(pairs),
                and_(
                    patients.c.heir_id.is_not(None),
                    tuple_(patients.c.heir_id, patients.c.heir_issuer).in_(pairs),
                ),
            ),
        )
        for found in map(_known, connection.execute(query)):
            known[found.key] = found
            wanted |= {found.key} | ({found.heir} if found.heir is not None else set())
    return known


def load_lines(connection: Connection, source: str, ids: Collection[str]) -> Known:
    """Return the numbers with these Patient IDs, and those into which they were merged."""
    known: Known = {}
    query: Select[Any] = select(patients).where(
        patients.c.source == source, patients.c.patient_id.in_(ids)
    )
    while True:
        found = [_known(row) for row in connection.execute(query)]
        known |= {one.key: one for one in found}
        heirs = {one.heir for one in found if one.heir is not None} - known.keys()
        if not heirs:
            return known
        pairs = [(heir.patient_id, heir.issuer) for heir in heirs]
        query = select(patients).where(
            patients.c.source == source,
            tuple_(patients.c.patient_id, patients.c.issuer).in_(pairs),
        )


def _known(row: Row[Any]) -> KnownPatient:
    values = row._mapping
    told = {
        name: None if values[name] is None else Told(values[name], values[f"{name}_at"])
        for name in _FIELDS
    }
    heir = None if row.heir_id is None else PatientKey(row.heir_id, row.heir_issuer)
    key = PatientKey(row.patient_id, row.issuer)
    return KnownPatient(key, **told, heir=heir, merged_at=row.merged_at)


def _write(connection: Connection, source: str, known: KnownPatient) -> None:
    values: dict[str, Any] = {
        "heir_id": known.heir.patient_id if known.heir else None,
        "heir_issuer": known.heir.issuer if known.heir else None,
        "merged_at": known.merged_at,
    }
    for name in _FIELDS:
        told: Told | None = getattr(known, name)
        values |= {name: told.value if told else None, f"{name}_at": told.at if told else None}
    row = {"source": source, "patient_id": known.key.patient_id, "issuer": known.key.issuer}
    statement = insert(connection, patients).values(row | values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["source", "patient_id", "issuer"], set_=values
        )
    )
