from daemon.audit.refused_messages import RefusedMessages
from storage.audit.records import AuditKind
from storage.store import Store


def test_repeats_of_one_host_are_counted_and_reasons_kept_apart(store: Store) -> None:
    with RefusedMessages(store.audit) as refused:
        for host in ("10.0.0.5", "10.0.0.5", "10.0.0.6"):
            refused.connection("the host is not listed", host)
        for sender in ("adt", "adt", "other"):
            refused.message("AE 101 at PID-3", sender, "10.0.0.5")
    rows = [row for row in store.audit.rows() if row.kind == AuditKind.MESSAGE_REFUSED]
    assert sorted((row.actor, row.host, row.detail) for row in rows) == [
        ("", "10.0.0.5", "AE 101 at PID-3 (2 times)"),
        ("", "10.0.0.5", "the host is not listed"),
        ("", "10.0.0.5", "the host is not listed"),
        ("", "10.0.0.6", "the host is not listed"),
        ("adt", "10.0.0.5", "AE 101 at PID-3"),
    ]
    assert {row.outcome for row in rows} == {"failure"}
