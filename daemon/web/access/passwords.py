"""Passwords of accounts: argon2id hashes, made and checked.

A check takes 64 MiB and a tenth of a second of a core, so few run at a time.
"""

import asyncio
import hmac
import logging
import secrets
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from daemon.config.sections.web import AccountConfig
from daemon.errors import UsageError
from daemon.web.problems import BusyError

log = logging.getLogger("web")

PASSWORD_CHARACTERS = 12
"""Least length of a new password (NIST SP 800-63B asks for 8 or more)."""
MOST_PASSWORD_BYTES = 1024
CHECKS_AT_ONCE = 2
CHECKS_WAITING = 16
"""Checks that may wait for their turn; a login beyond them is refused as busy."""


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password. Raises UsageError for an unsuitable password."""
    if len(password) < PASSWORD_CHARACTERS:
        raise UsageError(f"a password has at least {PASSWORD_CHARACTERS} characters")
    if len(_normal(password)) > MOST_PASSWORD_BYTES:
        raise UsageError(f"a password has at most {MOST_PASSWORD_BYTES} bytes")
    if not password.isprintable():
        raise UsageError("a password has no control character")
    return PasswordHasher().hash(_normal(password))


def weak_hashes(accounts: Sequence[AccountConfig]) -> list[str]:
    """Return the names of accounts whose hash costs less than a new hash would."""
    new = PasswordHasher()
    weak = []
    for account in accounts:
        old = extract_parameters(account.password_hash.get_secret_value())
        if old.memory_cost < new.memory_cost or old.time_cost < new.time_cost:
            weak.append(account.name)
    return weak


class Accounts:
    """Checks names and passwords. Called on the event loop; the work is done in threads."""

    def __init__(self, accounts: Sequence[AccountConfig]) -> None:
        self._accounts = tuple(accounts)
        self._by_name = {account.name: account for account in accounts}
        self._key = secrets.token_bytes(32)
        self._threads = ThreadPoolExecutor(CHECKS_AT_ONCE, "password")
        self._pending = 0

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def knows(self, name: str) -> bool:
        """Return True if an account has this name."""
        return name in self._by_name

    async def check(self, name: str, password: str) -> AccountConfig | None:
        """Return the account if name and password fit, else None.

        An unknown name costs as much as a known name: the hash of some account is checked, and the
        result is ignored. Raises BusyError if too many checks wait.
        """
        if not self._accounts or len(_normal(password)) > MOST_PASSWORD_BYTES:
            return None
        if self._pending >= CHECKS_AT_ONCE + CHECKS_WAITING:
            raise BusyError("Too many logins at once: try again in a few seconds.")
        account = self._by_name.get(name)
        checked = account or self._any_account(name)
        self._pending += 1
        try:
            loop = asyncio.get_running_loop()
            fits = await loop.run_in_executor(self._threads, _fits, checked, password)
        finally:
            self._pending -= 1
        return account if fits else None

    def _any_account(self, name: str) -> AccountConfig:
        """Return an account for a name, always the same one, so that its cost is constant."""
        digest = hmac.digest(self._key, name.encode("utf-8", "surrogatepass"), "sha256")
        return self._accounts[int.from_bytes(digest) % len(self._accounts)]


def _fits(account: AccountConfig, password: str) -> bool:
    try:
        return PasswordHasher().verify(account.password_hash.get_secret_value(), _normal(password))
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        log.error("the password of %s cannot be checked: %s", account.name, error)
        return False


def _normal(password: str) -> bytes:
    """Return the bytes of a password, in one form on every keyboard (RFC 8265 4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
