"""The tables that the hosts of one store share: nodes, leases, sessions and tokens."""

from sqlalchemy import Column, Table

from storage.tables.columns import StorableText, UtcDateTime, metadata

# The roles of all hosts that work on this store; `since` is the time of the last change of state.
nodes = Table(
    "nodes",
    metadata,
    Column("name", StorableText, primary_key=True),
    Column("host", StorableText, nullable=False),
    Column("role", StorableText, nullable=False),
    Column("version", StorableText, nullable=False),
    Column("schema", StorableText, nullable=False),
    Column("config_digest", StorableText, nullable=False),
    Column("state", StorableText, nullable=False),
    Column("detail", StorableText, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

# Work that one process of all hosts does at a time, with the process that does it.
leases = Table(
    "leases",
    metadata,
    Column("name", StorableText, primary_key=True),
    Column("holder", StorableText, nullable=False),
    Column("taken_at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

# The open sessions of browsers, by the digest of their cookie.
web_sessions = Table(
    "web_sessions",
    metadata,
    Column("digest", StorableText, primary_key=True),
    Column("user", StorableText, nullable=False),
    Column("role", StorableText, nullable=False),
    Column("csrf", StorableText, nullable=False),
    # The digest of the account or token of the login: a changed one ends the session.
    Column("entry", StorableText, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("idle_at", UtcDateTime, nullable=False),
)

# The tokens that the first start makes, by their digest.
web_tokens = Table(
    "web_tokens",
    metadata,
    Column("name", StorableText, primary_key=True),
    Column("digest", StorableText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
