"""Software of the revision after this one: its migration is made by a test."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from alembic.config import Config

from storage.tables import upgrade

NEXT = f"{int(upgrade.head_revision()) + 1:04}"
_ADDED = "sa.Column('made', sa.Text, nullable=False, server_default='')"
EXPANDS = f"""
    for table in sa.inspect(op.get_bind()).get_table_names():
        if table != "alembic_version":
            op.add_column(table, {_ADDED})
    op.create_table("things", sa.Column("name", sa.Text, primary_key=True), {_ADDED})
    op.create_index("ix_things_made", "things", ["made"])
    op.create_index("ix_nodes_made", "nodes", ["made"])
"""
"""Adds a column with a default to each table, a table, and indexes."""


def write_migration(folder: Path, body: str, compatible_from: str | None = "0008") -> Path:
    """Write the migration of the next revision, whose `upgrade` has this body."""
    lines = ["import sqlalchemy as sa", "from alembic import op", f"revision = '{NEXT}'"]
    lines.append(f"down_revision = '{upgrade.head_revision()}'")
    if compatible_from is not None:
        lines.append(f"compatible_from = '{compatible_from}'")
    # Python would take the compiled form of an earlier one of the same second and length.
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    path = folder / f"{NEXT}_made.py"
    path.write_text("\n".join([*lines, "def upgrade():", body]), encoding="utf-8")
    return path


@contextlib.contextmanager
def next_software(migration: Path) -> Iterator[None]:
    """Let `upgrade` know one more migration within the block, as the next version does."""
    here = Path(upgrade.__file__).parents[1] / "migrations" / "versions"
    made, known = upgrade.alembic_config, upgrade._known_revisions()

    def with_one_more() -> Config:
        config = made()
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{here}\n{migration.parent}")
        return config

    with (
        mock.patch.object(upgrade, "alembic_config", with_one_more),
        mock.patch.object(upgrade, "_known_revisions", return_value={*known, NEXT}),
    ):
        yield
