"""The section `peers`: the other DICOM nodes, what they may send and what they receive."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from daemon.config.fields import AETitle, Fingerprint, Port, Section
from dicom_io.peer.peers import Peer


class Product(StrEnum):
    """A kind of result that a peer can receive."""

    REPORT = "report"
    HEATMAP = "heatmap"
    SUMMARY = "summary"
    PRESENTATION_STATE = "presentation_state"
    SEGMENTATION = "segmentation"


class PictureSyntax(StrEnum):
    """Encoding that a peer prefers for pictures; uncompressed if the peer does not accept it."""

    UNCOMPRESSED = "uncompressed"
    RLE = "rle"
    JPEG_2000 = "jpeg_2000"
    JPEG_BASELINE = "jpeg_baseline"


class RulesConfig(Section):
    """A peer's conditions for analysing a film, beyond those of the model (docs/gate.md)."""

    minimum_age_years: int | None = Field(default=None, ge=0, le=130)
    require_body_part: bool = False
    require_view: bool = False
    accept_secondary_capture: bool = True


class PeerConfig(Section):
    """Another DICOM node, which sends images, receives results, or both."""

    name: str = Field(min_length=1)
    ae_title: AETitle
    host: str | None = None
    port: Port | None = None
    sends: bool = False
    receives: tuple[Product, ...] = ()
    picture_syntax: PictureSyntax = PictureSyntax.UNCOMPRESSED
    commitment: bool = False
    tls: bool = False
    certificate_sha256: tuple[Fingerprint, ...] = ()
    rules: RulesConfig = RulesConfig()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.receives and (self.host is None or self.port is None):
            raise ValueError(f"peer {self.name} receives, so it needs both host and port")
        if not self.sends and not self.receives:
            raise ValueError(f"peer {self.name} neither sends nor receives: set one of the two")
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

    @property
    def has_address(self) -> bool:
        """True if this node can open an association with the peer."""
        return self.host is not None and self.port is not None

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
