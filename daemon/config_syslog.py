"""The section `syslog`: where the audit trail is sent."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from daemon.config_access import KeyPair, below
from daemon.config_base import Port


class SyslogTransport(StrEnum):
    """How audit messages travel."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class SyslogConfig(KeyPair):
    """Where the audit trail is sent (docs/audit.md); nowhere without a host."""

    host: str | None = None
    port: Port = 6514
    transport: SyslogTransport = SyslogTransport.TLS
    ca: Path | None = None
    patient_ids: bool = False

    def resolved(self, base: Path) -> Self:
        """As the base class does, the CA included."""
        return super().resolved(base).model_copy(update={"ca": below(base, self.ca)})
