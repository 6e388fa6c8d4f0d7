"""Each migration after 0008 lets the version before go on beside it, or says that it does not."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, create_engine, event

from storage.tables import upgrade
from tests.storage.tables.next_revision import EXPANDS, NEXT, next_software, write_migration

FIRST = "0008"
"""The first revision whose software works beside a newer one."""
SMALL = {"node_facts", "nodes", "leases", "web_sessions", "web_tokens", "audit_readers"}
"""Tables of few rows: an index of them is made in a moment."""
_TABLE = re.compile(r"CREATE TABLE \"?(\w+)")
_INDEX = re.compile(r"CREATE INDEX \"?\w+\"? ON \"?(\w+)")
_COLUMN = re.compile(r"ALTER TABLE \"?(\w+)\"? ADD COLUMN (.+)", re.DOTALL)
_OWN = re.compile(r"(INSERT INTO|UPDATE|DELETE FROM) \"?(alembic_version|node_facts)\b")


def problems(script: Script, statements: list[str]) -> Iterator[str]:
    """Yield why the version before cannot work beside a migration that made these statements."""
    oldest = getattr(script.module, "compatible_from", None)
    if oldest is None:
        yield f"{script.revision} has no compatible_from"
    if oldest == script.revision:
        return
    if getattr(script.module, "fills_summaries", False):
        yield "the list of studies is written anew while others write it"
    new = {found[1] for each in statements if (found := _TABLE.match(each))}
    for statement in statements:
        yield from _problem(" ".join(statement.split()), new)


def _problem(statement: str, new: set[str]) -> Iterator[str]:
    if statement.startswith(("SELECT", "PRAGMA")) or _OWN.match(statement):
        return
    if _TABLE.match(statement):
        return
    if (found := _INDEX.match(statement)) and found[1] in new | SMALL:
        return
    found = _COLUMN.match(statement)
    if found and found[1] in new:
        return
    if found and re.search(r"REFERENCES|UNIQUE|CHECK", found[2]):
        yield f"a new column refuses rows of the version before: {statement}"
    elif found and "NOT NULL" in found[2] and "DEFAULT" not in found[2]:
        yield f"a new column has no default: {statement}"
    elif not found:
        yield f"it changes what the version before uses, or locks a large table: {statement}"


def run_each(folder: Path) -> Iterator[tuple[Script, list[str]]]:
    """Apply each migration after FIRST to an empty SQLite store; yield it with its statements."""
    config = upgrade.alembic_config()
    engine = create_engine(f"sqlite:///{folder / 'empty.sqlite'}")
    made: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: made.append(args[2].strip()))
    with engine.begin() as connection:
        _apply(connection, FIRST)
        newer = list(ScriptDirectory.from_config(config).iterate_revisions("head", FIRST))
        for script in reversed(newer):
            made.clear()
            _apply(connection, script.revision)
            yield script, list(made)
    engine.dispose()


def _apply(connection: Connection, revision: str) -> None:
    config = upgrade.alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def test_each_migration_expands_only_or_raises_the_oldest_version(tmp_path: Path) -> None:
    oldest = FIRST
    for script, statements in run_each(tmp_path):
        assert not list(problems(script, statements)), script.path
        assert oldest <= script.module.compatible_from <= script.revision
        oldest = script.module.compatible_from


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("op.drop_table('reviews')", "it changes"),
        ("op.rename_table('reviews', 'verdicts')", "it changes"),
        ("op.drop_column('instances', 'view_position')", "it changes"),
        ("op.alter_column('jobs', 'last_error', new_column_name='fault')", "it changes"),
        ("op.execute('UPDATE jobs SET attempts = 0')", "it changes"),
        ("op.create_index('ix_made', 'jobs', ['attempts'])", "it changes"),
        ("op.create_index('ix_made', 'nodes', ['host'], unique=True)", "it changes"),
        ("op.drop_index('ix_jobs_failed', 'jobs')", "it changes"),
        (
            "with op.batch_alter_table('jobs') as table:\n"
            "        table.alter_column('attempts', type_=sa.Text)",
            "it changes",
        ),
        ("op.execute('ALTER TABLE jobs ADD COLUMN made TEXT NOT NULL')", "no default"),
        ("op.execute('ALTER TABLE jobs ADD COLUMN made TEXT CHECK (made > 1)')", "refuses rows"),
    ],
)
def test_a_migration_that_the_version_before_does_not_bear_is_refused(
    tmp_path: Path, body: str, problem: str
) -> None:
    with next_software(write_migration(tmp_path, f"    {body}")):
        found = dict(_problems_of_next(tmp_path))
        assert [one for one in found[NEXT] if problem in one]
    with next_software(write_migration(tmp_path, f"    {body}", compatible_from=NEXT)):
        assert dict(_problems_of_next(tmp_path))[NEXT] == []


def test_a_migration_that_expands_is_accepted_if_it_says_so(tmp_path: Path) -> None:
    with next_software(write_migration(tmp_path, EXPANDS)):
        assert dict(_problems_of_next(tmp_path))[NEXT] == []
    with next_software(write_migration(tmp_path, EXPANDS, compatible_from=None)):
        assert dict(_problems_of_next(tmp_path))[NEXT] == [f"{NEXT} has no compatible_from"]


def _problems_of_next(folder: Path) -> Iterator[tuple[str, list[str]]]:
    (folder / "empty.sqlite").unlink(missing_ok=True)
    for script, statements in run_each(folder):
        yield script.revision, list(problems(script, statements))
