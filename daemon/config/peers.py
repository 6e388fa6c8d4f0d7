"""The section `peers`: the other DICOM nodes, what they may send and what they receive.

The section `priority` says which of the films that they send are STAT.
"""

import datetime
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from daemon.config.fields import (
    AETitle,
    Fingerprint,
    Host,
    Port,
    Section,
    checked_source,
)
from daemon.config.partners.query import QueryConfig, RetrieveService
from daemon.config.receivers import ReceiverConfig
from dicom_io.gate.rules import PictureRule
from dicom_io.peer.peers import Peer


def _checked_picture_rule(value: object) -> object:
    """Return the rule. YAML 1.1 reads the plain word off as False. Raises ValueError."""
    if value is False:
        return PictureRule.OFF
    if value not in list(PictureRule):
        raise ValueError("must be refuse, note or off")
    return value


class PeerPriority(StrEnum):
    """The priority of the films of a peer, whatever their header says."""

    STAT = "stat"
    ROUTINE = "routine"


class PriorityConfig(Section):
    """The films that are STAT, and the longest time that the others wait behind them."""

    stat_ae_titles: tuple[AETitle, ...] = ()
    from_header: bool = True
    max_wait_minutes: float = Field(default=30.0, gt=0, le=10080)

    @property
    def max_wait(self) -> datetime.timedelta:
        """The time for which an ordinary job is due at most before it goes before STAT."""
        return datetime.timedelta(minutes=self.max_wait_minutes)

    def is_stat(
        self, peers: Iterable["PeerConfig"], calling: str, called: str, *, is_urgent: bool
    ) -> bool:
        """Return True if a film with this header is STAT, sent between these two AE titles."""
        if called in self.stat_ae_titles:
            return True
        for peer in peers:
            if peer.sends and peer.ae_title == calling and peer.priority is not None:
                return peer.priority is PeerPriority.STAT
        return is_urgent and self.from_header


class RulesConfig(Section):
    """A peer's conditions for analysing a film, beyond those of the model (docs/gate.md)."""

    minimum_age_years: int | None = Field(default=None, ge=0, le=130)
    require_body_part: bool = False
    require_view: bool = False
    accept_secondary_capture: bool = True
    picture_check: Annotated[PictureRule, BeforeValidator(_checked_picture_rule)] = (
        PictureRule.REFUSE
    )


class PeerConfig(ReceiverConfig):
    """Another DICOM node, which sends images, receives results, or both."""

    ae_title: AETitle
    host: Host | None = None
    port: Port | None = None
    sends: bool = False
    commitment: bool = False
    tls: bool = False
    certificate_sha256: tuple[Fingerprint, ...] = ()
    priority: PeerPriority | None = None
    query: QueryConfig | None = None
    rules: RulesConfig = RulesConfig()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.receives and (self.host is None or self.port is None):
            raise ValueError(f"peer {self.name} receives, so it needs both host and port")
        if not self.sends and not self.receives:
            raise ValueError(f"peer {self.name} neither sends nor receives: set one of the two")
        if self.priority is not None and not self.sends:
            raise ValueError(
                f"peer {self.name} has a priority, but sends no films: set sends to true, or leave"
                " priority out"
            )
        if self.query is not None:
            self._check_query(self.query)
        if self.source is None and self.sends:
            try:
                checked_source(self.name)
            except ValueError as error:
                raise ValueError(
                    f"peer {self.name} sends, and its name cannot be its source ({error}):"
                    " set source"
                ) from None
        if self.commitment and not self.receives:
            raise ValueError(
                f"peer {self.name} receives nothing that it could commit to: "
                "set commitment to false"
            )
        if self.certificate_sha256 and self.has_address and not self.tls:
            raise ValueError(
                f"peer {self.name} has certificate_sha256, but would be called without TLS:"
                " set tls to true"
            )
        return self

    def _check_query(self, query: QueryConfig) -> None:
        if query.retrieve is not RetrieveService.WEB and not self.has_address:
            raise ValueError(f"peer {self.name} is queried, so it needs both host and port")
        if query.retrieve is not None and not self.sends:
            raise ValueError(
                f"peer {self.name} has query.retrieve, so its films come here: set sends to true"
            )

    @property
    def sender_name(self) -> str:
        """The name of the sender of its films."""
        return self.ae_title

    @property
    def has_address(self) -> bool:
        """True if this node can open an association with the peer."""
        return self.host is not None and self.port is not None

    def resolved(self, base: Path) -> Self:
        """Return a copy whose query has absolute paths and its token. Raises ConfigError."""
        if self.query is None:
            return self
        return self.model_copy(update={"query": self.query.resolved(base)})

    @property
    def as_caller(self) -> Peer:
        """The conditions for an association that the peer opens."""
        return Peer(
            self.ae_title,
            self.host,
            self.sends,
            tls=self.tls,
            certificates=frozenset(self.certificate_sha256),
        )
