"""The hash chain of the audit trail, and its verification.

The hash of a row is the SHA-256, in lower-case hexadecimal, of the netstrings of its cells in the
order previous_hash, number, recorded_at, kind, outcome, actor, host, subject, detail. A netstring
is the length of the UTF-8 text in bytes, in decimal, a colon, the bytes, and a comma
(https://cr.yp.to/proto/netstrings.txt), so that different cells never give the same text. The first
row has number 1 and a previous hash of 64 zeros.
"""

import hashlib
from collections.abc import Iterable

from storage.audit.records import AuditHead, AuditRow
from storage.errors import TrailAlteredError
from storage.tables.database import DamagedText

EMPTY_HEAD = AuditHead(0, "0" * 64)
"""The head of a trail without rows."""


def row_hash(previous_hash: str, number: int, *cells: str) -> str:
    """Return the hash of a row. `cells` are recorded_at to detail, in the order above."""
    hashed = hashlib.sha256()
    for cell in (previous_hash, str(number), *cells):
        encoded = cell.encode()
        hashed.update(b"%d:%b," % (len(encoded), encoded))
    return hashed.hexdigest()


def verify_rows(rows: Iterable[AuditRow], noted: AuditHead | None = None) -> AuditHead:
    """Verify a whole trail, oldest row first, and return its head.

    Raises TrailAlteredError with the first altered row; with `noted`, also if the trail does not
    contain that head.
    """
    head = EMPTY_HEAD
    if noted is not None and noted.number == 0 and noted != EMPTY_HEAD:
        raise TrailAlteredError(
            1, f"no trail has the head that was noted: before row 1 it is {EMPTY_HEAD}"
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
