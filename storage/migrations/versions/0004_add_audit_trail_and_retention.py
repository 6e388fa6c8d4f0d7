"""Add the audit trail, the time of a purge, and an index of file paths.

The database refuses to change or delete rows of the audit trail.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_moment = sa.DateTime(timezone=True)

_SQLITE = (
    """
    CREATE TRIGGER audit_events_keep_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """,
    """
    CREATE TRIGGER audit_events_keep_delete BEFORE DELETE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """,
    # Without this trigger INSERT OR REPLACE would delete a row without firing the delete trigger.
    """
    CREATE TRIGGER audit_events_number BEFORE INSERT ON audit_events
    WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit_events)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is numbered without a gap'); END
    """,
)
_POSTGRESQL = (
    """
    CREATE FUNCTION audit_events_keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_events_keep
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_keep()
    """,
    """
    CREATE FUNCTION audit_events_number() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit_events) THEN
            RAISE EXCEPTION 'the audit trail is numbered without a gap';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER audit_events_number BEFORE INSERT ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_number()
    """,
)


def upgrade() -> None:
    """Create the tables, the triggers that protect the trail, the columns and the indexes."""
    op.create_table(
        "audit_events",
        sa.Column("number", _row_number, autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_events"),
    )
    op.create_table(
        "audit_readers",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", _row_number, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held_until", _moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_audit_readers"),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if is_sqlite else _POSTGRESQL:
        op.execute(statement)
    op.add_column("instances", sa.Column("purged_at", _moment))
    op.add_column("instances", sa.Column("received_again_at", _moment))
    op.add_column("objects", sa.Column("purged_at", _moment))
    op.create_index("ix_instances_spool_path", "instances", ["spool_path"])
    op.create_index("ix_objects_spool_path", "objects", ["spool_path"])
