"""The hash chain of the audit trail, and its verification.

The hash of a row is the SHA-256, in lower-case hexadecimal, of the netstrings of its cells in the
order previous_hash, number, recorded_at, kind, outcome, actor, host, subject, detail. A netstring
is the length of the UTF-8 text in bytes, in decimal, a colon, the bytes, and a comma
(https://cr.yp.to/proto/netstrings.txt), so that different cells never give the same text. The first
row has number 1 and a previous hash of 64 zeros.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from storage.audit.records import AuditHead, AuditRow
from storage.errors import TrailAlteredError
from storage.tables.database import DamagedText

EMPTY_HEAD = AuditHead(0, "0" * 64)
"""The head of a trail without rows."""


def row_hash(previous_hash: str, number: int, *cells: str) -> str:
    """Return the hash of a row. `cells` are recorded_at to detail, in the order above."""
    hashed = (previous_hash, str(number), *cells)
    text = "".join([f"{len(cell)}:{cell}," for cell in hashed])
    if not text.isascii():
        text = "".join([f"{len(cell.encode())}:{cell}," for cell in hashed])
    return hashlib.sha256(text.encode()).hexdigest()


def verify_rows(rows: Iterable[Sequence[Any]], noted: AuditHead | None = None) -> AuditHead:
    """Verify a whole trail, oldest row first, and return its head.

    A row has the values of an `AuditRow` in their order. Raises TrailAlteredError with the first
    altered row; with `noted`, also if the trail does not contain that head.
    """
    number, last_hash = EMPTY_HEAD.number, EMPTY_HEAD.hash
    noted_number = None if noted is None else noted.number
    if noted is not None and noted.number == 0 and noted != EMPTY_HEAD:
        raise TrailAlteredError(
            1, f"no trail has the head that was noted: before row 1 it is {EMPTY_HEAD}"
        )
    for row in rows:
        if not _follows(row, number, last_hash):
            _check(AuditRow(*row), AuditHead(number, last_hash))
        number, last_hash = row[0], row[-1]
        if number == noted_number and last_hash != noted.hash:  # type: ignore[union-attr]
            raise TrailAlteredError(
                number,
                f"row {number} is not the one that was noted: it or rows before it were replaced",
            )
    if noted is not None and noted.number > number:
        raise TrailAlteredError(
            number + 1,
            f"row {number + 1} and what followed are gone: the trail ends at row"
            f" {number}, and row {noted.number} was noted",
        )
    return AuditHead(number, last_hash)


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
