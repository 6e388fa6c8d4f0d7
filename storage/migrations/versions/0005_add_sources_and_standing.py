"""Add the source of each film, the identity of its patient, and the standing of each result.

UIDs, revisions and studies are of one source from here on. The rows of earlier versions have the
source '', which stands for an unknown one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_moment = sa.DateTime(timezone=True)

# SQLite makes a table anew to change its keys, and does not drop a table that rows refer to.
_REFERRING = ("deliveries", "findings", "objects")


def upgrade() -> None:
    """Add the columns and the table, change the keys, and name the source in REPORT jobs."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    if is_sqlite:
        for table in _REFERRING:
            op.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")  # noqa: S608
            op.execute(sa.delete(sa.table(table)))
    _change_instances()
    _change_objects()
    _change_studies()
    if is_sqlite:
        for table in reversed(_REFERRING):
            names = ", ".join(_columns(f"kept_{table}"))
            op.execute(
                f"INSERT INTO {table} ({names}) SELECT {names} FROM kept_{table}"  # noqa: S608
            )
            op.drop_table(f"kept_{table}")
    op.add_column("deliveries", sa.Column("coerced_uid", sa.Text))
    op.add_column("deliveries", sa.Column("held_at", _moment))
    op.create_index("ix_deliveries_coerced_uid", "deliveries", ["coerced_uid"])
    _create_rejections()
    op.execute("UPDATE jobs SET subject = subject || '@' WHERE kind = 'report'")


def _columns(table: str) -> list[str]:
    return [column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)]


def _source() -> sa.Column[str]:
    return sa.Column("source", sa.Text, nullable=False, server_default="")


def _change_instances() -> None:
    with op.batch_alter_table("instances") as table:
        table.add_column(_source())
        for name in (
            "issuer_of_patient_id",
            "patient_name",
            "patient_birth_date",
            "patient_sex",
            "rejected_by",
        ):
            table.add_column(sa.Column(name, sa.Text))
        table.add_column(sa.Column("set_aside_at", _moment))
        for other in ("revision", "sha256"):
            table.drop_constraint(f"uq_instances_sop_instance_uid_{other}", type_="unique")
            table.create_unique_constraint(
                f"uq_instances_source_sop_instance_uid_{other}",
                ["source", "sop_instance_uid", other],
            )
    # Archives ask for commitment by the UID alone.
    op.create_index("ix_instances_sop_instance_uid", "instances", ["sop_instance_uid"])


def _change_objects() -> None:
    with op.batch_alter_table("objects") as table:
        table.add_column(_source())
        table.add_column(
            sa.Column("standing", sa.String(32), nullable=False, server_default="valid")
        )


def _change_studies() -> None:
    with op.batch_alter_table("studies") as table:
        table.add_column(_source())
        table.drop_constraint("pk_studies", type_="primary")
        table.create_primary_key("pk_studies", ["source", "study_instance_uid"])


def _create_rejections() -> None:
    op.create_table(
        "rejections",
        _source(),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("note_uid", sa.Text, nullable=False),
        sa.Column("received_at", _moment, nullable=False),
        sa.PrimaryKeyConstraint("source", "sop_instance_uid", "note_uid", name="pk_rejections"),
    )
