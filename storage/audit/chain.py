"""The hash chain of the audit trail, and its verification.

The hash of a row is the SHA-256, in lower-case hexadecimal, of the netstrings of its cells in the
order previous_hash, number, recorded_at, kind, outcome, actor, host, subject, detail. A netstring
is the length of the UTF-8 text in bytes, in decimal, a colon, the bytes, and a comma
(https://cr.yp.to/proto/netstrings.txt), so that different cells never give the same text. The first
row has number 1 and a previous hash of 64 zeros.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from storage.audit.records import AuditHead, AuditRow
from storage.errors import TrailAlteredError
from storage.tables.database import DamagedText

EMPTY_HEAD = AuditHead(0, "0" * 64)
"""The head of a trail without rows."""


class Span(NamedTuple):
    """The rows of a trail after the row `after` to the row `last`."""

    after: int
    last: int


def row_hash(previous_hash: str, number: int, *cells: str) -> str:
    """Return the hash of a row. `cells` are recorded_at to detail, in the order above."""
    hashed = (previous_hash, str(number), *cells)
    text = "".join([f"{len(cell)}:{cell}," for cell in hashed])
    if not text.isascii():
        text = "".join([f"{len(cell.encode())}:{cell}," for cell in hashed])
    return hashlib.sha256(text.encode()).hexdigest()


def verify_rows(
    rows: Iterable[Sequence[Any]], noted: AuditHead | None = None, before: AuditHead = EMPTY_HEAD
) -> AuditHead:
    """Verify the rows that follow the row `before`, oldest row first, and return the head.

    A row has the values of an `AuditRow` in their order. Raises TrailAlteredError with the first
    altered row; with `noted`, also if the trail does not contain that head.
    """
    number, last_hash = before.number, before.hash
    noted_number = None if noted is None else noted.number
    if noted is not None:
        require_possible(noted)
    for row in rows:
        if not _follows(row, number, last_hash):
            _check(AuditRow(*row), AuditHead(number, last_hash))
        number, last_hash = row[0], row[-1]
        if number == noted_number and last_hash != noted.hash:  # type: ignore[union-attr]
            raise TrailAlteredError(
                number,
                f"row {number} is not the one that was noted: it or rows before it were replaced",
            )
    if noted is not None:
        require_reached(noted, number)
    return AuditHead(number, last_hash)


class Joint(NamedTuple):
    """The ends of a part of a trail whose rows follow each other unaltered."""

    previous_hash: str
    head: AuditHead


def joint_of(
    rows: Sequence[Sequence[Any]], span: Span, noted: AuditHead | None = None
) -> Joint | None:
    """Verify a part of a trail without the part before it; `noted` may be anywhere in the trail.

    Returns None if the part is not sound: `verify_rows` then finds out why.
    """
    if not rows:
        return None
    previous_hash = rows[0][-2]
    inside = noted if noted is not None and span.after < noted.number <= span.last else None
    try:
        head = verify_rows(rows, inside, AuditHead(span.after, previous_hash))
    except TrailAlteredError:
        return None
    return Joint(previous_hash, head) if head.number == span.last else None


def require_possible(noted: AuditHead) -> None:
    """Raise TrailAlteredError if no trail has this head."""
    if noted.number == 0 and noted != EMPTY_HEAD:
        raise TrailAlteredError(
            1, f"no trail has the head that was noted: before row 1 it is {EMPTY_HEAD}"
        )


def require_reached(noted: AuditHead, number: int) -> None:
    """Raise TrailAlteredError if a trail that ends at row `number` lacks this head."""
    if noted.number > number:
        raise TrailAlteredError(
            number + 1,
            f"row {number + 1} and what followed are gone: the trail ends at row"
            f" {number}, and row {noted.number} was noted",
        )


def _follows(row: Sequence[Any], last_number: int, last_hash: str) -> bool:
    """Return True if a row is the unaltered successor of the last row; False may need a look."""
    number, at, kind, outcome, actor, host, subject, detail, previous_hash, own_hash = row
    if number != last_number + 1 or previous_hash != last_hash:
        return False
    digits = str(number)
    try:
        # As `row_hash` has it, where a hash has 64 characters and all are ASCII.
        text = (
            f"64:{previous_hash},{len(digits)}:{digits},{len(at)}:{at},{len(kind)}:{kind},"
            f"{len(outcome)}:{outcome},{len(actor)}:{actor},{len(host)}:{host},"
            f"{len(subject)}:{subject},{len(detail)}:{detail},"
        )
    except TypeError:
        return False  # a cell that is no text
    return text.isascii() and hashlib.sha256(text.encode()).hexdigest() == own_hash


def _check(row: AuditRow, last: AuditHead) -> None:
    number = last.number + 1
    if row.number < number:
        raise TrailAlteredError(row.number, f"row {row.number} was inserted before row 1")
    if row.number != number:
        raise TrailAlteredError(number, f"row {number} is missing: row {row.number} comes next")
    follows, unaltered = row.previous_hash == last.hash, hash_matches(row)
    if follows and unaltered:
        return
    if follows:
        raise TrailAlteredError(
            number, f"row {number} was altered: its hash is not that of its cells"
        )
    if not unaltered:
        raise TrailAlteredError(
            number,
            f"row {number} is not the one that followed row {last.number}: rows were inserted,"
            " removed, moved or altered here",
        )
    if number == 1:
        raise TrailAlteredError(1, "row 1 was not the first: what came before it is gone")
    # This row is unaltered, so its previous hash is the hash of the original row before it.
    raise TrailAlteredError(
        last.number, f"row {last.number} was replaced: row {number} follows another one"
    )


def hash_matches(row: AuditRow) -> bool:
    """Return True if the hash of a row is that of its cells, and every cell is undamaged text."""
    cells = (row.recorded_at, row.kind, row.outcome, row.actor, row.host, row.subject, row.detail)
    for cell in (row.previous_hash, *cells):
        if not isinstance(cell, str) or isinstance(cell, DamagedText):
            return False
    return row_hash(row.previous_hash, row.number, *cells) == row.hash
