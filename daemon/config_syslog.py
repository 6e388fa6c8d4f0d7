"""The section `syslog`: where the audit trail is sent."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import model_validator

from daemon.config_access import KeyPair, below
from daemon.config_base import Port
from dicom_io.tls import Credentials


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

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        for key in ("ca", "certificate", "key_password", "key_password_file"):
            if self.transport is not SyslogTransport.TLS and getattr(self, key) is not None:
                raise ValueError(
                    f"{key} is set, but transport is {self.transport}, which has no TLS:"
                    " set transport to tls"
                )
        return self

    @property
    def credentials(self) -> Credentials | None:
        """As the base class does; None where nothing is sent."""
        return super().credentials if self.host is not None else None

    @property
    def shows_patients(self) -> bool:
        """Whether Patient IDs cross the network in clear."""
        return (
            self.host is not None and self.patient_ids and self.transport is not SyslogTransport.TLS
        )

    def resolved(self, base: Path) -> Self:
        """As the base class does, the CA included."""
        return super().resolved(base).model_copy(update={"ca": below(base, self.ca)})
