"""The list `worklists`: managers whose workitems this node performs (IHE RAD AIW-I)."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from daemon.config.fields import (
    AETitle,
    Host,
    Port,
    Seconds,
    Section,
    SourceName,
)


class WorklistKind(StrEnum):
    """The protocol of a worklist manager."""

    DIMSE = "dimse"


class CodeConfig(Section):
    """A coded value; see PS3.3 section 8."""

    code: str = Field(min_length=1, max_length=64)
    scheme: str = Field(default="DCM", min_length=1, max_length=16)
    meaning: str = Field(default="", max_length=64)


DETECTION = CodeConfig(code="110004", meaning="Computer Aided Detection")
DIAGNOSIS = CodeConfig(code="110003", meaning="Computer Aided Diagnosis")


class WorklistConfig(Section):
    """A worklist, and which of its workitems this node performs.

    `source` is the source of the films that they are about. `codes` are Scheduled Workitem Codes;
    an empty list stands for every workitem.
    """

    name: str = Field(min_length=1)
    kind: WorklistKind
    source: SourceName
    ae_title: AETitle | None = None
    host: Host | None = None
    port: Port | None = None
    tls: bool = False
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
        if None in (self.ae_title, self.host, self.port):
            raise ValueError(f"worklist {self.name} is of kind dimse: set ae_title, host and port")
        return self


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
