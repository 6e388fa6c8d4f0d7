"""Add priorities, and the tables that several hosts share: nodes, leases, sessions and tokens.

Every change is an addition with a default: a process of revision 0007 goes on beside it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns and the tables."""
    for table in ("instances", "jobs"):
        op.add_column(
            table, sa.Column("priority", sa.Integer, nullable=False, server_default=sa.text("0"))
        )
    described = "name host role version schema config_digest state detail"
    _create("nodes", described, "since seen_at")
    _create("leases", "name holder", "taken_at until")
    _create("web_sessions", "digest user role csrf entry", "started_at ends_at idle_at")
    _create("web_tokens", "name digest", "created_at")


def _create(table: str, texts: str, moments: str) -> None:
    """Create a table whose primary key is its first column."""
    key = texts.split()[0]
    op.create_table(
        table,
        *(sa.Column(name, sa.Text, nullable=False) for name in texts.split()),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in moments.split()),
        sa.PrimaryKeyConstraint(key, name=f"pk_{table}"),
    )
