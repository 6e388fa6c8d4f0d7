"""The sections `listener`, `analyst`, `courier` and `commitment`."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from daemon.config.fields import AETitle, ListenHost, Port, Seconds, Section


class EchoAnswer(StrEnum):
    """The callers whose C-ECHO the listener answers."""

    ANY = "any"
    PEERS = "peers"


class ListenerConfig(Section):
    """Address, limits and timeouts of the C-STORE SCP."""

    ae_title: AETitle = "CXRD"
    host: ListenHost = "127.0.0.1"
    port: Port = 11112
    tls: bool = False
    tls_port: Port | None = None
    check_called_ae_title: bool = False
    echo: EchoAnswer = EchoAnswer.ANY
    max_associations: int = Field(default=64, ge=1)
    max_instance_mb: int = Field(default=512, ge=1)
    max_receiving_mb: int = Field(default=1024, ge=1)
    request_seconds: Seconds = 10.0
    stall_seconds: Seconds = 30.0
    idle_seconds: Seconds = 300.0
    leave_seconds: float = Field(default=0.0, ge=0, le=600)
    drain_seconds: float = Field(default=0.0, ge=0, le=3600)
    reuse_port: bool = False

    @model_validator(mode="after")
    def _one_instance_fits(self) -> Self:
        if self.max_receiving_mb < self.max_instance_mb:
            raise ValueError("max_receiving_mb must not be less than max_instance_mb")
        return self

    @model_validator(mode="after")
    def _tls_has_its_port(self) -> Self:
        if self.tls_port is not None and not self.tls:
            raise ValueError("tls_port is set, but tls is false: set it to true")
        if self.tls_port == self.port:
            raise ValueError("tls_port is also port: leave it null to have TLS alone")
        return self

    @property
    def addresses(self) -> tuple[tuple[int, bool], ...]:
        """The ports to listen on, each with True for TLS."""
        if self.tls_port is not None:
            return (self.port, False), (self.tls_port, True)
        return ((self.port, self.tls),)


class AnalystConfig(Section):
    """Leases and retries of the analyst, the limits for decoding one image, and its workers.

    `workers` is the number of images in work at once, `processes` that of the processes that share
    them; 0: from the number of processors.
    """

    workers: int = Field(default=0, ge=0, le=64)
    processes: int = Field(default=0, ge=0, le=16)
    lease_seconds: Seconds = 60.0
    max_attempts: int = Field(default=4, ge=1)
    retry_seconds: Seconds = 5.0
    decode_seconds: Seconds = 30.0
    decode_memory_mb: int = Field(default=2048, ge=64)


class CourierConfig(Section):
    """Retries of deliveries, and the network timeout."""

    retry_seconds: Seconds = 5.0
    retry_max_seconds: Seconds = 300.0
    network_timeout_seconds: Seconds = 30.0


class CommitmentScope(StrEnum):
    """The instances that a peer may ask this node to commit to."""

    OWN = "own"
    ALL = "all"


class CommitmentConfig(Section):
    """Delay, timeout and number of storage commitment requests; the scope of those of peers."""

    delay_seconds: Seconds = 5.0
    answer_seconds: Seconds = 3600.0
    max_requests: int = Field(default=5, ge=1)
    max_resends: int = Field(default=3, ge=0)
    same_association_seconds: float = Field(default=3.0, ge=0)
    scope: CommitmentScope = CommitmentScope.OWN
