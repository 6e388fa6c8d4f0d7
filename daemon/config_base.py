"""What the sections of the configuration are made of."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _checked_ae_title(value: str) -> str:
    title = value.strip()
    if not 1 <= len(title) <= 16:
        raise ValueError("an AE title has 1 to 16 characters (PS3.5 6.2, VR AE)")
    if "\\" in title or not title.isascii() or not title.isprintable():
        raise ValueError("an AE title has no backslash, control or non-ASCII character")
    return title


def _checked_listen_host(value: str) -> str:
    if not value.strip():
        raise ValueError(
            "is empty: 127.0.0.1 is for this machine alone, 0.0.0.0 for every address of it"
        )
    return value


AETitle = Annotated[str, AfterValidator(_checked_ae_title)]
ListenHost = Annotated[str, AfterValidator(_checked_listen_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
