"""The parts of the text of a Structured Report; loads no library."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FindingLine:
    """A finding of one image as the report says it; `result` is Present or Absent."""

    finding: str
    result: str
    probability: float
    threshold: float


@dataclass(frozen=True, slots=True)
class ImagePart:
    """The findings of one image, named by its SOP Instance UID."""

    sop_instance_uid: str
    findings: tuple[FindingLine, ...]


@dataclass(frozen=True, slots=True)
class ReportParts:
    """The text of a report, without patient data.

    `conclusion` holds the research notice, the summary and what was not analysed; `notes` those on
    the images; `priors` a line per AI report on an earlier study; `explanations` the operating
    point and what maps and outlines mean.
    """

    title: str
    written: str
    conclusion: tuple[str, ...]
    images: tuple[ImagePart, ...]
    notes: tuple[str, ...]
    explanations: tuple[str, ...]
    priors: tuple[str, ...] = ()
