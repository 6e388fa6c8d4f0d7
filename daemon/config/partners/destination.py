"""The list `destinations`: receivers of results that are no DICOM nodes."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr, model_validator

from daemon.config.fields import Host, KeyPair, Port, below, read_secret
from daemon.config.partners.fhir_version import FhirVersion
from daemon.config.partners.hl7_messages import Hl7DestinationKeys
from daemon.config.receivers import PictureSyntax, Product, ReceiverConfig


class DestinationKind(StrEnum):
    """The protocol by which a destination receives results."""

    DICOMWEB = "dicomweb"
    HL7 = "hl7"
    FHIR = "fhir"


_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!-~]+")
_OF_REPORTS = (DestinationKind.HL7, DestinationKind.FHIR)
"""The kinds whose messages say what a report says; they carry no picture."""


class DestinationConfig(ReceiverConfig, KeyPair, Hl7DestinationKeys):
    """A receiver of results that is no DICOM node.

    `url` is the address of a web service, `host` and `port` are those of a TCP server.
    `certificate` and `key` are shown to a server that asks for a certificate (mTLS).

    For `fhir`: `version` is that of the server. `patient_system` and `accession_system` are the
    systems of its identifiers of patients and of accession numbers; `patient_issuer` is the Issuer
    of Patient ID whose numbers are of the former.
    """

    kind: DestinationKind
    url: str | None = None
    host: Host | None = None
    port: Port | None = None
    tls: bool = False
    allow_http: bool = False
    token: SecretStr | None = None
    token_file: Path | None = None
    ca: Path | None = None
    version: FhirVersion | None = None
    patient_system: str | None = None
    patient_issuer: str | None = None
    accession_system: str | None = None

    @model_validator(mode="after")
    def _has_address(self) -> Self:
        is_tcp = self.kind is DestinationKind.HL7
        if is_tcp and (self.host is None or self.port is None or self.url is not None):
            raise ValueError(f"destination {self.name} is of kind hl7: set host and port, not url")
        if not is_tcp and (self.url is None or self.host is not None or self.port is not None):
            raise ValueError(
                f"destination {self.name} is of kind {self.kind}: set url, not host and port"
            )
        if self.url is not None:
            self._check_url(self.url)
        elif not self.tls and (self.ca is not None or self.certificate is not None):
            raise ValueError(
                f"destination {self.name} has ca or certificate, but would be called without TLS:"
                " set tls to true"
            )
        return self

    @model_validator(mode="after")
    def _receives_what_its_kind_can(self) -> Self:
        if not self.receives:
            raise ValueError(f"destination {self.name} receives nothing: set receives")
        if self.kind in _OF_REPORTS:
            if self.receives != (Product.REPORT,):
                raise ValueError(
                    f"destination {self.name} is of kind {self.kind}, which carries reports alone:"
                    " set receives to [report]"
                )
            if self.picture_syntax is not PictureSyntax.UNCOMPRESSED:
                raise ValueError(
                    f"destination {self.name} receives no picture: leave picture_syntax out"
                )
        return self

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("set token or token_file, not both")
        if self.kind is DestinationKind.HL7 and (self.token or self.token_file):
            raise ValueError(f"destination {self.name} is of kind hl7, which has no token")
        return self

    @model_validator(mode="after")
    def _fits_fhir(self) -> Self:
        keys = ("version", "patient_system", "patient_issuer", "accession_system")
        if self.kind is not DestinationKind.FHIR:
            used = next((key for key in keys if getattr(self, key) is not None), None)
            if used is not None:
                raise ValueError(f"destination {self.name}: {used} is for kind fhir alone")
            return self
        if self.version is None:
            raise ValueError(
                f"destination {self.name} is of kind fhir: set version to R5 or R4B, as its server"
            )
        if self.patient_issuer is not None and self.patient_system is None:
            raise ValueError(
                f"destination {self.name}: patient_issuer says whose numbers are of patient_system:"
                " set patient_system"
            )
        for key in ("patient_system", "accession_system"):
            system = getattr(self, key)
            if system is not None and not _URI.fullmatch(system):
                raise ValueError(
                    f"destination {self.name}: {key} is a URI, as https://HOST/mrn or urn:oid:1.2"
                )
        return self

    @model_validator(mode="after")
    def _has_no_key_of_hl7(self) -> Self:
        if self.kind is not DestinationKind.HL7:
            keys = Hl7DestinationKeys.model_fields
            used = next((key for key in keys if getattr(self, key) is not None), None)
            if used is not None:
                raise ValueError(f"destination {self.name}: {used} is for kind hl7 alone")
        return self

    @property
    def sends(self) -> bool:
        """False: films come from DICOM nodes."""
        return False

    @property
    def commitment(self) -> bool:
        """False: storage commitment is asked of DICOM nodes."""
        return False

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths and the secrets read from their files.

        Raises ConfigError.
        """
        found = super().resolved(base)
        if self.token_file is None:
            return found
        return found.model_copy(update={"token": read_secret(below(base, self.token_file))})

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"destination {self.name}: url is the address of the service, as https://HOST/PATH"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                f"destination {self.name}: url is an address alone; a token has its own key"
            )
        if parts.scheme == "http" and not self.allow_http:
            raise ValueError(
                f"destination {self.name}: url is not encrypted: use https, or set allow_http to"
                " true for a network that is the node's alone"
            )
        if self.tls:
            raise ValueError(f"destination {self.name}: url says https, so leave tls out")
