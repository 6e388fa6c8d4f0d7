"""Limits on failed logins, which never lock the right token out.

A password may be short, so failures are counted for each client, and for each account. An attacker
who tries an account from many addresses does not lock its owner out: from an address of its own, a
client still has a try every few seconds.
"""

import hashlib
import time
from collections.abc import Callable

from daemon.audit.repeats import OTHER_HOSTS, client_of

FAILURES = 10
"""Failures within FAILURE_SECONDS before a client is throttled."""
FAILURE_SECONDS = 60.0
PAUSE_SECONDS = 5.0
"""Time between the tries of a client for an account that other clients attack."""
MOST_CLIENTS = 10_000
"""Clients that are counted one by one; further clients share a count."""


class FailureCount:
    """Failures of clients within the last FAILURE_SECONDS."""

    def __init__(self, most_clients: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most_clients
        self._now = monotonic
        self._times: dict[str, list[float]] = {}

    def key_of(self, host: str) -> str:
        """Return the name under which the failures of a host are counted."""
        client = client_of(host)
        if client in self._times or len(self._times) < self._most:
            return client
        return OTHER_HOSTS

    def wait(self, host: str) -> float:
        """Return the seconds until a host may fail again; 0 if it may fail now."""
        recent = self._recent(self.key_of(host))
        return recent[-FAILURES] + FAILURE_SECONDS - self._now() if len(recent) >= FAILURES else 0.0

    def add(self, host: str) -> None:
        """Count a failure of a host."""
        since = self._now() - FAILURE_SECONDS
        self._times = {key: times for key, times in self._times.items() if times[-1] > since}
        key = self.key_of(host)
        self._times[key] = [*self._recent(key)[1 - FAILURES :], self._now()]

    def take_back(self, host: str) -> None:
        """Forget the last failure of a host: it was none."""
        key = self.key_of(host)
        if not self._times.get(key, [])[1:]:
            self._times.pop(key, None)
        else:
            self._times[key].pop()

    def of_others(self, host: str) -> int:
        """Return the number of failures of all clients but one host's."""
        own = self.key_of(host)
        return sum(len(self._recent(key)) for key in self._times if key != own)

    def __bool__(self) -> bool:
        return any(self._recent(key) for key in self._times)

    def _recent(self, key: str) -> list[float]:
        since = self._now() - FAILURE_SECONDS
        return [at for at in self._times.get(key, ()) if at > since]


class PasswordThrottle:
    """Admits tries of passwords. A try counts as a failure until `take_back`."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._clients = FailureCount(MOST_CLIENTS, monotonic)
        self._accounts: dict[bytes, FailureCount] = {}
        self._turns: dict[tuple[bytes, str], float] = {}
        self._tidy_at = 0.0

    def admit(self, name: str, host: str) -> float:
        """Return 0 and count a try, or return the seconds after which to try again."""
        self._forget()
        wait = self._clients.wait(host) or self._wait_of_account(_digest(name), host)
        if not wait:
            account = self._accounts.setdefault(
                _digest(name), FailureCount(MOST_CLIENTS, self._now)
            )
            account.add(host)
            self._clients.add(host)
        return wait

    def take_back(self, name: str, host: str) -> None:
        """Forget the last try of a host: it was right, or it was not made."""
        self._clients.take_back(host)
        account = self._accounts.get(_digest(name))
        if account is not None:
            account.take_back(host)

    def _wait_of_account(self, account: bytes, host: str) -> float:
        """Return the wait for this client's turn at an account that other clients attack."""
        failures = self._accounts.get(account)
        if failures is None or failures.of_others(host) < FAILURES:
            return 0.0
        now = self._now()
        turn = (account, failures.key_of(host))
        wait = self._turns.setdefault(turn, now + PAUSE_SECONDS) - now
        if wait > 0:
            return wait
        self._turns[turn] = now + PAUSE_SECONDS
        return 0.0

    def _forget(self) -> None:
        """Forget what is older than FAILURE_SECONDS, once in a while."""
        now = self._now()
        if now < self._tidy_at:
            return
        self._tidy_at = now + FAILURE_SECONDS
        self._accounts = {name: count for name, count in self._accounts.items() if count}
        self._turns = {turn: at for turn, at in self._turns.items() if at > now - FAILURE_SECONDS}


def _digest(name: str) -> bytes:
    """Hash a name: a tried name may be a password, so none is kept."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
