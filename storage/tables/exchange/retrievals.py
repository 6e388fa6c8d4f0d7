"""The tables of orders to fetch studies from archives."""

from sqlalchemy import Column, ForeignKey, Index, Table

from storage.records import RetrievalPurpose
from storage.tables.columns import RowNumber, StorableText, UtcDateTime, metadata, named

retrieval_orders = Table(
    "retrieval_orders",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("peer", StorableText, nullable=False),
    Column("purpose", named(RetrievalPurpose), nullable=False),
    Column("ordered_by", StorableText, nullable=False),
    Column("ordered_at", UtcDateTime, nullable=False),
    # Since when nothing more is fetched for it.
    Column("stopped_at", UtcDateTime),
)

retrieval_studies = Table(
    "retrieval_studies",
    metadata,
    Column("order_id", RowNumber, ForeignKey(retrieval_orders.c.id), primary_key=True),
    Column("study_instance_uid", StorableText, primary_key=True),
    Index("ix_retrieval_studies_study", "study_instance_uid"),
)
