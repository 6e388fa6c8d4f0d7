"""A start looks for the films of earlier versions in indexes, which are empty as a rule."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.builders.stores.new import new_store


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT source, study_instance_uid FROM instances WHERE patient_name IS NULL"
            " GROUP BY source, study_instance_uid HAVING count(DISTINCT patient_id) > 1",
            "ix_instances_unnamed",
        ),
        (
            "SELECT number FROM audit_events WHERE"
            " kind IN ('configuration_changed', 'sources_adopted') AND kind = ? LIMIT 1",
            "ix_audit_events_",
        ),
    ],
)
def test_a_query_of_the_start_reads_an_index(tmp_path: Path, query: str, index: str) -> None:
    path = tmp_path / "x.sqlite"
    new_store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        plan = database.execute(f"EXPLAIN QUERY PLAN {query}", ("x",) * query.count("?")).fetchall()
    assert index in str(plan)
