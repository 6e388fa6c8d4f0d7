"""All JSON bodies of requests, read strictly: no unknown key, no other type."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from daemon.web.actions.requested import MAX_JOBS
from daemon.web.problems import BadRequestError
from daemon.web.request_body import raw_body
from daemon.web.reviews.sent_review import MOST_CHARACTERS
from storage.records import Verdict

_STRICT = ConfigDict(strict=True, extra="forbid")
_FAULTS_NAMED = 3

Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Source = Annotated[str, Field(max_length=200)]
"""A source; '' is the unknown one."""
_Body = TypeVar("_Body")


@dataclass(frozen=True)
class JobAct:
    """An act on one job; `seen` is the state of the job that the caller saw."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    seen: Text | None = None


@dataclass(frozen=True)
class NamedJob:
    """A job by its number, and its state that the caller saw."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    job: Number
    seen: Text | None = None


@dataclass(frozen=True)
class JobsAct:
    """An act on many jobs."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    jobs: Annotated[tuple[NamedJob, ...], Field(min_length=1, max_length=MAX_JOBS)]


@dataclass(frozen=True)
class Release:
    """The SOP Instance UIDs of films to set aside, and the state of the study that was seen."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    set_aside: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    source: Source | None = None
    seen: Text | None = None


@dataclass(frozen=True)
class AnalyseAgain:
    """The numbers of films, or None for all, and the state of the study that was seen."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    films: Annotated[tuple[Number, ...], Field(min_length=1, max_length=1000)] | None = None
    source: Source | None = None
    seen: Text | None = None


@dataclass(frozen=True)
class SendAgain:
    """The destination, and the state of the study that was seen."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    to: Text
    source: Source | None = None
    seen: Text | None = None


@dataclass(frozen=True)
class FilmReview:
    """A verdict on some findings of a film, and a remark on the film.

    Attributes:
        verdicts: by label; null takes a verdict back, and a label that is not named stays.
        seen: by label, true if the reviewer saw the finding called present.
        remark: the text that replaces the earlier one; null leaves it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    verdicts: dict[str, Verdict | None] = field(default_factory=dict)
    seen: dict[str, bool] = field(default_factory=dict)
    remark: Annotated[str, Field(json_schema_extra={"maxLength": MOST_CHARACTERS})] | None = None


@dataclass(frozen=True)
class TrailVerification:
    """The head that the trail must contain: NUMBER:HASH of a row, as it was noted earlier."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    head: Annotated[str, Field(max_length=200)] | None = None


def body_of(request: Request, kind: type[_Body]) -> _Body:
    """Return the JSON body as an object of this class; {} for an empty one.

    Raises BadRequestError with the first faults, by the names of the keys.
    """
    body = raw_body(request)
    try:
        return _adapter(kind).validate_json(body if body.strip() else b"{}")
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        named = [
            f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg']}"
            for fault in faults[:_FAULTS_NAMED]
        ]
        raise BadRequestError("; ".join(named)) from error


def _adapter(kind: type[_Body]) -> TypeAdapter[_Body]:
    return TypeAdapter(kind)
