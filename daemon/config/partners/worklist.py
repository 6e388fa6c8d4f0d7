"""The list `worklists`: managers whose workitems this node performs (IHE RAD AIW-I)."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from daemon.config.fields import (
    AETitle,
    Host,
    KeyPair,
    Port,
    Seconds,
    Section,
    SourceName,
    below,
    read_secret,
)


class WorklistKind(StrEnum):
    """The protocol of a worklist manager; with PUSH, peers create the workitems here."""

    DIMSE = "dimse"
    WEB = "web"
    PUSH = "push"


class CodeConfig(Section):
    """A coded value; see PS3.3 section 8."""

    code: str = Field(min_length=1, max_length=64)
    scheme: str = Field(default="DCM", min_length=1, max_length=16)
    meaning: str = Field(default="", max_length=64)


DETECTION = CodeConfig(code="110004", meaning="Computer Aided Detection")
DIAGNOSIS = CodeConfig(code="110003", meaning="Computer Aided Diagnosis")


class WorklistConfig(KeyPair):
    """A worklist, and which of its workitems this node performs.

    A manager of kind `dimse` has an AE title, host and port, one of kind `web` a URL. `certificate`
    and `key` are shown to a web server that asks for a certificate (mTLS).

    `source` is the source of the films that they are about. `codes` are Scheduled Workitem Codes;
    an empty list stands for every workitem. `requesters` may create workitems of kind `push`.
    """

    name: str = Field(min_length=1)
    kind: WorklistKind
    source: SourceName
    ae_title: AETitle | None = None
    host: Host | None = None
    port: Port | None = None
    tls: bool = False
    url: str | None = None
    allow_http: bool = False
    token: SecretStr | None = None
    token_file: Path | None = None
    ca: Path | None = None
    requesters: tuple[AETitle, ...] = ()
    codes: tuple[CodeConfig, ...] = (DETECTION, DIAGNOSIS)
    label: str = Field(default="", max_length=64)
    stations: tuple[CodeConfig, ...] = ()
    subscribe: bool = False
    poll_seconds: Seconds = 30.0
    most_at_once: int = Field(default=20, ge=1, le=1000)
    give_up_minutes: float = Field(default=60.0, gt=0, le=10080)

    @model_validator(mode="after")
    def _has_address(self) -> Self:
        if "@" in self.name:
            raise ValueError(f"worklist {self.name}: a name has no @")
        if self.kind is WorklistKind.WEB:
            self._check_url()
        elif self.kind is WorklistKind.PUSH:
            self._check_push()
        elif None in (self.ae_title, self.host, self.port) or self.url is not None:
            raise ValueError(
                f"worklist {self.name} is of kind dimse: set ae_title, host and port, not url"
            )
        return self

    @model_validator(mode="after")
    def _has_what_its_kind_can(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("set token or token_file, not both")
        if self.kind is not WorklistKind.DIMSE and self.subscribe:
            raise ValueError(
                f"worklist {self.name} is of kind {self.kind}, by which no events come: leave"
                " subscribe out"
            )
        if self.kind is not WorklistKind.PUSH and self.requesters:
            raise ValueError(f"worklist {self.name}: requesters is for kind push alone")
        keys = ("token", "token_file", "ca", "certificate")
        used = [key for key in keys if getattr(self, key) is not None]
        if self.kind is not WorklistKind.WEB and used:
            raise ValueError(
                f"worklist {self.name}: {used[0]} is for kind web alone; the other kinds"
                " have the section tls"
            )
        return self

    def _check_push(self) -> None:
        address = self.ae_title, self.port, self.url
        if address != (None, None, None) or not self.requesters:
            raise ValueError(
                f"worklist {self.name} is of kind push: set requesters, the AE titles that may"
                " create workitems here, not ae_title, port and url"
            )

    def _check_url(self) -> None:
        if self.url is None or (self.ae_title, self.host, self.port) != (None, None, None):
            raise ValueError(
                f"worklist {self.name} is of kind web: set url, not ae_title, host and port"
            )
        parts = urlsplit(self.url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        if not is_address or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                f"worklist {self.name}: url is the address of the service alone, as"
                " https://HOST/PATH"
            )
        if parts.scheme == "http" and not self.allow_http:
            raise ValueError(
                f"worklist {self.name}: url is not encrypted: use https, or set allow_http to true"
                " for a network that is the node's alone"
            )

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths and the secrets read from their files.

        Raises ConfigError.
        """
        found = super().resolved(base)
        if self.token_file is None:
            return found
        return found.model_copy(update={"token": read_secret(below(base, self.token_file))})


def check_worklists(
    worklists: Sequence[WorklistConfig],
    routing: Mapping[str, Sequence[str]],
    keepers: Collection[str],
) -> None:
    """Raise ValueError if the source of a worklist is unknown, or no destination keeps its results.

    `routing` has the destinations of each source; `keepers` keep results as DICOM objects.
    """
    for one in worklists:
        if one.source not in routing:
            listed = ", ".join(routing) or "none"
            raise ValueError(
                f"worklist {one.name} has source {one.source!r}, which is the source of no peer"
                f" that sends; the sources are: {listed}"
            )
        if not set(routing[one.source]) & set(keepers):
            raise ValueError(
                f"worklist {one.name}: no destination keeps the results of {one.source!r} as DICOM"
                " objects, so that no workitem could name its outputs: let a peer or a destination"
                " of kind dicomweb receive them"
            )
