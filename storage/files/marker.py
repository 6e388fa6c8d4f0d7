"""The marker file of a spool: it shows that the spool is mounted, and says whose spool it is.

It is text, one fact a line:

    cxrd keeps files here: without this one it takes the folder for an empty mount point.
    id: 32 hexadecimal digits, the id of the spool, which the store knows, too
    store: 32 hexadecimal digits, the id of the store that works with the spool

An earlier version wrote the first line only.
"""

import re
from dataclasses import dataclass

MARKER_NAME = "cxrd-spool"
"""Name of the marker file."""
MARKER_TEXT = (
    b"cxrd keeps files here: without this one it takes the folder for an empty mount point.\n"
)
_FACT = re.compile(rb"^(id|store): ([0-9a-f]{32})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Marker:
    """The ids in a marker file; empty in the marker file of an earlier version."""

    spool_id: str = ""
    store_id: str = ""

    @classmethod
    def parse(cls, content: bytes) -> "Marker":
        """Return the ids in the content of a marker file."""
        facts = {name: value.decode() for name, value in _FACT.findall(content)}
        return cls(facts.get(b"id", ""), facts.get(b"store", ""))

    def text(self) -> bytes:
        """Return the content of the marker file."""
        facts = (("id", self.spool_id), ("store", self.store_id))
        return MARKER_TEXT + b"".join(f"{name}: {id_}\n".encode() for name, id_ in facts if id_)
