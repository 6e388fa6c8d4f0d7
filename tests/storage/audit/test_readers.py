"""One process reads the trail for a reader, from the last position on."""

from datetime import timedelta

from storage.store import Store
from tests.builders.store_rows import LEASE
from tests.tools.clock import Clock


def test_a_reader_continues_after_the_last_row_read(store: Store) -> None:
    readers = store.audit_readers
    assert readers.hold("syslog", "one", LEASE) == 0
    assert readers.advance("syslog", "one", 7)
    assert readers.hold("syslog", "one", LEASE) == 7
    assert readers.hold("another", "one", LEASE) == 0


def test_one_process_at_a_time_holds_a_reader(store: Store, clock: Clock) -> None:
    readers = store.audit_readers
    readers.hold("syslog", "one", LEASE)
    assert readers.hold("syslog", "other", LEASE) is None
    assert not readers.advance("syslog", "other", 9)

    clock.advance(LEASE.total_seconds() + 1)
    assert readers.hold("syslog", "other", LEASE) == 0
    assert not readers.advance("syslog", "one", 9)
    assert readers.hold("syslog", "one", timedelta(seconds=1)) is None


def test_a_released_reader_is_free_at_once(store: Store) -> None:
    readers = store.audit_readers
    readers.hold("syslog", "one", LEASE)
    readers.release("other")
    assert readers.hold("syslog", "other", LEASE) is None
    readers.release("one")
    assert readers.hold("syslog", "other", LEASE) == 0
