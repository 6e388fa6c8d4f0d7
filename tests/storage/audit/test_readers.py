"""Who reads the trail reads alone, and goes on where it was."""

from datetime import timedelta

from storage.store import Store
from tests.builders.store_rows import LEASE
from tests.tools.clock import Clock


def test_a_reader_goes_on_where_it_was(store: Store) -> None:
    readers = store.audit_readers
    assert readers.hold("syslog", "one", LEASE) == 0
    assert readers.advance("syslog", "one", 7)
    assert readers.hold("syslog", "one", LEASE) == 7
    assert readers.hold("another", "one", LEASE) == 0


def test_one_process_reads_at_a_time(store: Store, clock: Clock) -> None:
    readers = store.audit_readers
    readers.hold("syslog", "one", LEASE)
    assert readers.hold("syslog", "other", LEASE) is None
    assert not readers.advance("syslog", "other", 9)

    clock.advance(LEASE.total_seconds() + 1)
    assert readers.hold("syslog", "other", LEASE) == 0
    assert not readers.advance("syslog", "one", 9)
    assert readers.hold("syslog", "one", timedelta(seconds=1)) is None


def test_what_a_dead_process_held_is_free_at_once(store: Store) -> None:
    readers = store.audit_readers
    readers.hold("syslog", "one", LEASE)
    readers.release("other")
    assert readers.hold("syslog", "other", LEASE) is None
    readers.release("one")
    assert readers.hold("syslog", "other", LEASE) == 0
