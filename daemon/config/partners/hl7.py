"""The section `hl7`: the MLLP server that reads changes of patients, and who may send to it."""

from typing import Self

from pydantic import Field, model_validator

from daemon.config.fields import Fingerprint, Host, ListenHost, Port, Seconds, Section, SourceName
from daemon.config.partners.hl7_messages import CODECS


class Hl7SenderConfig(Section):
    """A system that may send ADT messages, by its hosts and, with TLS, its certificates.

    `sources` are the sources whose films its messages may change. `sending_application` (MSH-3)
    and `sending_facility` (MSH-4) tell senders of one host apart. `issuer_of_films` is the
    assigning authority of the Patient IDs of films that name none. `charset` is that of messages
    whose MSH-18 is empty.
    """

    name: str = Field(min_length=1)
    hosts: tuple[Host, ...] = Field(min_length=1)
    certificate_sha256: tuple[Fingerprint, ...] = ()
    sending_application: str | None = None
    sending_facility: str | None = None
    sources: tuple[SourceName, ...] = Field(min_length=1)
    issuer_of_films: str | None = None
    charset: str | None = None

    @model_validator(mode="after")
    def _has_known_charset(self) -> Self:
        if self.charset is not None and not CODECS.get(self.charset):
            known = ", ".join(sorted(name for name in CODECS if name))
            raise ValueError(
                f"hl7 sender {self.name}: charset {self.charset} is not read; known are {known}"
            )
        return self


class Hl7Config(Section):
    """The MLLP server; off without a port. Its certificate is that of the section `tls`."""

    port: Port | None = None
    host: ListenHost = "127.0.0.1"
    tls: bool = False
    max_connections: int = Field(default=16, ge=1, le=1000)
    max_message_kb: int = Field(default=1024, ge=16, le=65536)
    idle_seconds: Seconds = 3600.0
    message_seconds: Seconds = 30.0
    senders: tuple[Hl7SenderConfig, ...] = ()

    @model_validator(mode="after")
    def _has_senders(self) -> Self:
        if self.port is not None and not self.senders:
            raise ValueError("hl7.port is set, but no system may send: list them in hl7.senders")
        names = [sender.name for sender in self.senders]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two hl7 senders are named {twice}: give each a name of its own")
        pinned = next((one.name for one in self.senders if one.certificate_sha256), None)
        if pinned is not None and not self.tls:
            raise ValueError(
                f"hl7 sender {pinned} has certificate_sha256, but hl7.tls is false: set it to true"
            )
        return self
