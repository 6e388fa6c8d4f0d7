"""Add priorities, and the tables that several hosts share: nodes, leases, sessions and tokens.

Every change is an addition with a default: a process of revision 0007 goes on beside it.

Jobs get indexes of those that wait. Revision 0007 claims by `ix_jobs_due` and
`ix_jobs_due_in_lane`, which stay: lists of jobs by state, and the jobs in work, are read by them,
too. Once no process of revision 0007 claims from a store, a later release may make these two
partial, of the jobs in other states: that saves two of the seven index entries of a new job.
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
    _index_jobs()
    described = "name host role version schema config_digest state detail"
    _create("nodes", described, "since seen_at")
    _create("leases", "name holder", "taken_at until")
    _create("web_sessions", "digest user role csrf entry", "started_at ends_at idle_at")
    _create("web_tokens", "name digest", "created_at")


def _index_jobs() -> None:
    for name, columns, condition in (
        ("queued", "kind priority not_before id", "state = 'queued' AND coalesce(lane, '') = ''"),
        (
            "queued_in_lane",
            "lane kind priority not_before id",
            "state = 'queued' AND lane IS NOT NULL",
        ),
    ):
        where = sa.text(condition)
        op.create_index(
            f"ix_jobs_{name}",
            "jobs",
            columns.split(),
            sqlite_where=where,
            postgresql_where=where,
        )
    if op.get_bind().dialect.name == "postgresql":
        # A claim reads past the entries of jobs that were claimed since the last vacuum. By default
        # that would come after changes of a fifth of all jobs that ever were.
        op.execute(
            "ALTER TABLE jobs SET (autovacuum_vacuum_threshold = 5000,"
            " autovacuum_vacuum_scale_factor = 0.005, vacuum_index_cleanup = on)"
        )


def _create(table: str, texts: str, moments: str) -> None:
    """Create a table whose primary key is its first column."""
    key = texts.split()[0]
    op.create_table(
        table,
        *(sa.Column(name, sa.Text, nullable=False) for name in texts.split()),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in moments.split()),
        sa.PrimaryKeyConstraint(key, name=f"pk_{table}"),
    )
