"""The roles of callers, least first: each may do what the roles before it may do."""

from enum import IntEnum
from typing import Self

from daemon.config.sections.web import WebRole


class Role(IntEnum):
    """The reach of a caller.

    METRICS reads the metrics. STATUS also sees the overview, which names no patient; it is the
    reach of a token from before there were roles. VIEWER sees studies, films and statistics.
    OPERATOR acts on jobs and studies, and reviews findings. ADMIN also sees the audit trail and the
    configuration.
    """

    METRICS = 1
    STATUS = 2
    VIEWER = 3
    OPERATOR = 4
    ADMIN = 5

    @classmethod
    def of(cls, role: WebRole) -> Self:
        """Return the role that the configuration names."""
        return cls[role.name]

    def __str__(self) -> str:
        return self.name.lower()
