"""`query` of a peer, and the section `pull`: studies that are fetched from archives."""

import datetime
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon.config.fields import Seconds, Section, below, read_secret

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class RetrieveService(StrEnum):
    """The service by which a peer sends the films of a study that this node asks for."""

    MOVE = "move"
    GET = "get"
    WEB = "web"


class QueryConfig(Section):
    """The queries that this node may make at a peer, and how it fetches studies from it.

    `url`, `token`, `ca` and `allow_http` are for `retrieve: web`, whose queries are QIDO-RS, too.
    """

    retrieve: RetrieveService | None = None
    max_answers: int = Field(default=5000, ge=1, le=100_000)
    answer_seconds: Seconds = 60.0
    study_seconds: Seconds = 600.0
    url: str | None = None
    token: SecretStr | None = None
    token_file: Path | None = None
    ca: Path | None = None
    allow_http: bool = False

    @model_validator(mode="after")
    def _has_an_address_for_the_web(self) -> Self:
        if self.retrieve is not RetrieveService.WEB:
            if self.url or self.token or self.token_file or self.ca or self.allow_http:
                raise ValueError("query: url, token, ca and allow_http are for retrieve: web")
            return self
        parts = urlsplit(self.url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("query: retrieve is web: set url, as https://HOST/PATH")
        if parts.scheme == "http" and not self.allow_http:
            raise ValueError(
                "query: url is not encrypted: use https, or set allow_http to true for a network"
                " that is the node's alone"
            )
        if self.token is not None and self.token_file is not None:
            raise ValueError("query: set token or token_file, not both")
        return self

    def resolved(self, base: Path) -> Self:
        """Return a copy with absolute paths and the token read from its file.

        Raises ConfigError.
        """
        changes: dict[str, object] = {}
        if self.ca is not None:
            changes["ca"] = below(base, self.ca)
        if self.token_file is not None:
            changes["token"] = read_secret(below(base, self.token_file))
        return self.model_copy(update=changes)


def _checked_hours(value: str) -> str:
    found = _HOURS.fullmatch(value)
    if found is None or found[1] + found[2] == found[3] + found[4]:
        raise ValueError('must be two different times of the day, as "19:00-06:00", or null')
    return value


class PullConfig(Section):
    """The pace of a backfill, for all peers alike, and the wait of a report for earlier studies."""

    hours: Annotated[str, AfterValidator(_checked_hours)] | None = None
    max_waiting: int = Field(default=1, ge=1, le=10_000)
    max_per_hour: int | None = Field(default=600, ge=1)
    max_attempts: int = Field(default=5, ge=1)
    priors_seconds: float = Field(default=120.0, ge=0, le=86_400)

    def is_open(self, moment: datetime.datetime) -> bool:
        """Return True if a backfill may fetch at this time of the day, local time."""
        if self.hours is None:
            return True
        first, last = self.hours.split("-")
        now = f"{moment:%H:%M}"
        return first <= now < last if first < last else now >= first or now < last
