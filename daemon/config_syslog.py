"""The section `syslog`: where the audit trail is sent."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import model_validator

from daemon.config_base import Port, Section


class SyslogTransport(StrEnum):
    """How audit messages travel."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"


class SyslogConfig(Section):
    """Where the audit trail is sent (docs/audit.md); nowhere without a host."""

    host: str | None = None
    port: Port = 6514
    transport: SyslogTransport = SyslogTransport.TLS
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    patient_ids: bool = False

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: set both or neither")
        return self

    def below(self, base: Path) -> Self:
        """The same with its files relative to a folder."""
        files = {"ca": self.ca, "certificate": self.certificate, "key": self.key}
        return self.model_copy(
            update={name: base / path.expanduser() for name, path in files.items() if path}
        )
