"""The tables of the changes of patients."""

from sqlalchemy import JSON, Boolean, Column, ForeignKey, Index, Integer, Table, text

from storage.tables.columns import RowNumber, StorableText, UtcDateTime, metadata

# What messages told of a patient's number in a source, each value with the time of its event.
patients = Table(
    "patients",
    metadata,
    Column("source", StorableText, primary_key=True),
    Column("patient_id", StorableText, primary_key=True),
    Column("issuer", StorableText, primary_key=True),
    # None: no message told it; '': a message deleted it.
    Column("name", StorableText),
    Column("name_at", UtcDateTime),
    Column("birth_date", StorableText),
    Column("birth_date_at", UtcDateTime),
    Column("sex", StorableText),
    Column("sex_at", UtcDateTime),
    # The number into which it was merged.
    Column("heir_id", StorableText),
    Column("heir_issuer", StorableText),
    Column("merged_at", UtcDateTime),
    # The numbers that were merged into one.
    Index(
        "ix_patients_heir",
        *("source", "heir_id", "heir_issuer"),
        sqlite_where=text("heir_id IS NOT NULL"),
        postgresql_where=text("heir_id IS NOT NULL"),
    ),
)

# The messages of the last weeks, so that none is applied twice, and none half.
patient_messages = Table(
    "patient_messages",
    metadata,
    Column("sender", StorableText, primary_key=True),
    Column("control_id", StorableText, primary_key=True),
    Column("sha256", StorableText, nullable=False),
    Column("event", StorableText, nullable=False),
    Column("host", StorableText, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    # The numbers whose films it may change, as a list of source, Patient ID and issuer.
    Column("named", JSON, nullable=False),
    Column("films", Integer, nullable=False),
    Column("studies", Integer, nullable=False),
    # None while studies of a patient with very many are still to be changed.
    Column("outcome", StorableText),
    Column("finished_at", UtcDateTime),
    Index("ix_patient_messages_finished", "finished_at"),
)

# The identity in the header of each film to which messages gave another one. The columns of the
# same names in `instances` hold the present identity.
film_identities = Table(
    "film_identities",
    metadata,
    Column("instance_id", RowNumber, ForeignKey("instances.id"), primary_key=True),
    Column("patient_id", StorableText, nullable=False),
    Column("issuer_of_patient_id", StorableText, nullable=False),
    Column("patient_name", StorableText, nullable=False),
    Column("patient_birth_date", StorableText, nullable=False),
    Column("patient_sex", StorableText, nullable=False),
    # True if its header is of another person than its number: it keeps its name and birth date.
    Column("contradicts", Boolean, nullable=False),
    # The name of the present identity, and of that for which its objects were made; '' is the
    # identity of the header.
    Column("identity_key", StorableText, nullable=False),
    Column("made_for", StorableText, nullable=False),
)

# The messages that changed a study, for its history.
study_changes = Table(
    "study_changes",
    metadata,
    Column("id", RowNumber, primary_key=True),
    Column("source", StorableText, nullable=False),
    Column("study_instance_uid", StorableText, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("event", StorableText, nullable=False),
    Column("sender", StorableText, nullable=False),
    Column("host", StorableText, nullable=False),
    # The names of the changed fields, not their values.
    Column("detail", StorableText, nullable=False),
    Index("ix_study_changes_study", "study_instance_uid"),
)
