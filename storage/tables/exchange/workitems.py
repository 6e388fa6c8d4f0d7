"""The tables of workitems: Unified Procedure Steps of worklist managers, performed here."""

from sqlalchemy import JSON, Column, Index, Integer, LargeBinary, Table, UniqueConstraint, text

from storage.tables.columns import RowNumber, StorableText, UtcDateTime, metadata

OPEN_WORKITEMS = text("ended_at IS NULL")
"""The condition of `ix_workitems_open`; a query that is to use it repeats this text."""

# Each workitem that this node took up, once per manager.
workitems = Table(
    "workitems",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("manager", StorableText, nullable=False),
    Column("workitem_uid", StorableText, nullable=False),
    # A WorkitemState.
    Column("state", StorableText, nullable=False),
    # Made before the claim is sent: the performer names it in each later message.
    Column("transaction_uid", StorableText, nullable=False),
    Column("source", StorableText, nullable=False),
    Column("study_instance_uid", StorableText, nullable=False),
    # [[study, series, SOP Class UID, SOP Instance UID, place], …] as the workitem names them.
    Column("inputs", JSON, nullable=False),
    # [[study, series, SOP Class UID, SOP Instance UID, [destination, …]], …] as they are kept.
    Column("outputs", JSON, nullable=False),
    # Why it is canceled: a code of PS3.16 CID 9300, and a text.
    Column("reason_code", StorableText, nullable=False),
    Column("reason", StorableText, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("cancel_requested_at", UtcDateTime),
    Column("found_at", UtcDateTime, nullable=False),
    Column("claimed_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("manager", "workitem_uid"),
    Index("ix_workitems_study", "study_instance_uid", "source"),
    Index("ix_workitems_updated", "updated_at", "id"),
    Index(
        "ix_workitems_open",
        *("manager", "state"),
        sqlite_where=OPEN_WORKITEMS,
        postgresql_where=OPEN_WORKITEMS,
    ),
)

# The attributes of workitems that peers created here, as they were created.
pushed_workitems = Table(
    "pushed_workitems",
    metadata,
    Column("manager", StorableText, primary_key=True),
    Column("workitem_uid", StorableText, primary_key=True),
    Column("attributes", LargeBinary, nullable=False),
)

# The worklists themselves: when a host asked for workitems, and what came of it.
worklists = Table(
    "worklists",
    metadata,
    Column("name", StorableText, primary_key=True),
    Column("asked_at", UtcDateTime),
    # When an event of the manager, or the end of a workitem, asked for a look at the worklist.
    Column("wanted_at", UtcDateTime),
    Column("answered_at", UtcDateTime),
    Column("subscribed_at", UtcDateTime),
    # The fault of the last look; '' after a good one.
    Column("fault", StorableText, nullable=False),
)
