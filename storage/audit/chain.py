"""How the rows of the audit trail hang together, and which of them was altered first.

The hash of a row is the SHA-256, in lower-case hexadecimal, of the netstrings of its cells in the
order previous_hash, number, recorded_at, kind, outcome, actor, host, subject, detail. A netstring
is the length of the UTF-8 text in bytes, in decimal, a colon, the bytes, and a comma
(https://cr.yp.to/proto/netstrings.txt): no two rows have the same. The first row is number 1, its
previous hash 64 zeros.
"""

import hashlib
from collections.abc import Iterable

from storage.audit.records import AuditHead, AuditRow
from storage.errors import TrailAlteredError
from storage.tables.database import DamagedText

EMPTY = AuditHead(0, "0" * 64)
"""The head of a trail without rows."""


def digest(previous_hash: str, number: int, *cells: str) -> str:
    """The hash of a row: `cells` are recorded_at, kind, outcome, actor, host, subject, detail."""
    hashed = hashlib.sha256()
    for cell in (previous_hash, str(number), *cells):
        encoded = cell.encode()
        hashed.update(b"%d:%b," % (len(encoded), encoded))
    return hashed.hexdigest()


def follow(rows: Iterable[AuditRow], noted: AuditHead | None = None) -> AuditHead:
    """Walk a whole trail, oldest row first, and return its head.

    Raises TrailAlteredError, which names the first altered row; with `noted`, also where the
    trail does not hold that head.
    """
    head = EMPTY
    if noted is not None and noted.number == 0 and noted != EMPTY:
        raise TrailAlteredError(
            1, f"no trail has the head that was noted: before row 1 it is {EMPTY}"
        )
    for row in rows:
        _check(row, head)
        head = AuditHead(row.number, row.hash)
        if noted is not None and noted.number == row.number and noted != head:
            raise TrailAlteredError(
                row.number,
                f"row {row.number} is not the one that was noted: it or rows before it were"
                " replaced",
            )
    if noted is not None and noted.number > head.number:
        raise TrailAlteredError(
            head.number + 1,
            f"row {head.number + 1} and what followed are gone: the trail ends at row"
            f" {head.number}, and row {noted.number} was noted",
        )
    return head


def _check(row: AuditRow, last: AuditHead) -> None:
    number = last.number + 1
    if row.number < number:
        raise TrailAlteredError(row.number, f"row {row.number} was inserted before row 1")
    if row.number != number:
        raise TrailAlteredError(number, f"row {number} is missing: row {row.number} comes next")
    follows, unaltered = row.previous_hash == last.hash, is_itself(row)
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
    # The hash of this row is right, so it still tells what the one before it was.
    raise TrailAlteredError(
        last.number, f"row {last.number} was replaced: row {number} follows another one"
    )


def is_itself(row: AuditRow) -> bool:
    """Whether the hash of a row is that of its cells. None of them may be other than text."""
    cells = (row.recorded_at, row.kind, row.outcome, row.actor, row.host, row.subject, row.detail)
    for cell in (row.previous_hash, *cells):
        if not isinstance(cell, str) or isinstance(cell, DamagedText):
            return False
    return digest(row.previous_hash, row.number, *cells) == row.hash
