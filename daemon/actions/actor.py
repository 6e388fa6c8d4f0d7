"""The operator who acts."""

from dataclasses import dataclass
from typing import Self

from daemon.audit.users import current_user


@dataclass(frozen=True, slots=True)
class Actor:
    """The operator who acts: the name of the account, and the address; '' for a local command."""

    name: str
    host: str = ""

    @classmethod
    def of_process(cls) -> Self:
        """Return the account that runs this command."""
        return cls(current_user())
