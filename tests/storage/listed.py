"""The list of studies compared with the tables that it sums up."""

from dataclasses import asdict

from sqlalchemy import select

from storage.records import StudyKey
from storage.summaries.compute import compute
from storage.tables.database import open_database
from storage.tables.schema import instances, study_summaries


def assert_listed(database_url: str) -> None:
    """Fail unless the list has a row for each study with instances, and it is true."""
    with open_database(database_url) as database, database.reading() as connection:
        films = select(instances.c.source, instances.c.study_instance_uid).distinct()
        keys = [StudyKey(*row) for row in connection.execute(films)]
        expected = {key: asdict(summary) for key, summary in compute(connection, keys).items()}
        listed = {
            StudyKey(row.pop("source"), row.pop("study_instance_uid")): row
            for row in map(dict, connection.execute(select(study_summaries)).mappings())
        }
    for row in listed.values():
        del row["id"]
    assert listed == expected
