"""Limits on audit rows that any remote host can cause: the first at once, then a count a minute."""

import ipaddress
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

log = logging.getLogger("audit")

MOST_HOSTS = 100
OTHER_HOSTS = "further hosts"
"""Stands for every host beyond MOST_HOSTS."""

MERGE_SECONDS = 60.0
STOP_SECONDS = 5.0
"""Time to write the remaining rows when a role stops."""
_LOOK_SECONDS = 1.0
_LOOPBACK = "127.0.0.0/8"
_IPV6_PREFIX = 64

Key = TypeVar("Key")

Event = TypeVar("Event")


def client_of(address: str) -> str:
    """Group an address by client: all loopback addresses are one, IPv6 by /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))
        ip = ip.ipv4_mapped
    return _LOOPBACK if ip.is_loopback else str(ip)


def counted_client(address: str, known: Collection[str]) -> str:
    """Return the client of an address; OTHER_HOSTS if it is new and MOST_HOSTS are known."""
    return _limited(client_of(address), known, MOST_HOSTS, OTHER_HOSTS)


def _limited(key: Key, known: Collection[Key], most: int, overflow: Key) -> Key:
    return key if key in known or len(known) < most else overflow


@dataclass(slots=True)
class _Count(Generic[Event]):
    """Events of one key since the last row, merged into one; the row is due at `until`."""

    until: float
    event: Event | None = None
    number: int = 0


class RepeatRecorder(ABC, Generic[Key, Event]):
    """Records events by key: the first at once, repeats as one row with a count a minute.

    A context manager. A thread of its own writes, so the caller never waits for the store.
    """

    def __init__(
        self, noun: str, most_keys: int, *, merge_seconds: float, stop_seconds: float
    ) -> None:
        """`noun` names an event in the log; keys beyond `most_keys` share an overflow key."""
        self._noun = noun
        self._most_keys = most_keys
        self._merge_seconds = merge_seconds
        self._stop_seconds = stop_seconds
        self._queue: deque[tuple[Key | None, Event, int]] = deque()
        self._counts: dict[Key, _Count[Event]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"{noun} audit", daemon=True)

    @abstractmethod
    def merge(self, earlier: Event, later: Event) -> Event:
        """Return the event that stands for both in a row with a count."""

    @abstractmethod
    def write(self, key: Key | None, event: Event, count: int) -> None:
        """Write one row for `count` events."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(self._stop_seconds)
        if self._thread.is_alive():
            log.error(
                "%d %s(s) are not in the audit trail: the store does not answer",
                # The writer may still change both: copy them in one step each.
                sum(number for _, _, number in tuple(self._queue))
                + sum(count.number for count in tuple(self._counts.values())),
                self._noun,
            )

    @property
    def counted_keys(self) -> int:
        """Number of keys whose repeats are counted now."""
        return len(self._counts)

    def add(self, event: Event) -> None:
        """Queue an event for a row of its own. Returns at once."""
        with self._changed:
            self._queue.append((None, event, 1))
            self._changed.notify()

    def add_repeatable(self, event: Event, key: Key, overflow: Key) -> None:
        """Queue the first event of a key, count a repeat. Returns at once."""
        with self._changed:
            key = _limited(key, self._counts, self._most_keys, overflow)
            count = self._counts.get(key)
            if count is None:
                self._counts[key] = _Count(time.monotonic() + self._merge_seconds)
                self._queue.append((key, event, 1))
                self._changed.notify()
                return
            count.event = event if count.event is None else self.merge(count.event, event)
            count.number += 1

    def _run(self) -> None:
        stopping = False
        while not stopping:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._queue, _LOOK_SECONDS if self._counts else None
                )
                stopping = self._stopping
                self._queue_counts(everything=stopping)
            while self._queue:
                self.write(*self._queue[0])
                self._queue.popleft()

    def _queue_counts(self, *, everything: bool) -> None:
        """Queue the counts that are due; a key without repeats is forgotten."""
        now = time.monotonic()
        for key, count in list(self._counts.items()):
            if now < count.until and not everything:
                continue
            del self._counts[key]
            if count.event is not None:
                self._queue.append((key, count.event, count.number))
                self._counts[key] = _Count(now + self._merge_seconds)
