"""Appends to the audit trail of a store, one transaction after another.

`python -m tests.benchmarks.scaling.measuring.audit_worker URL` prints `ready`, and answers each
line, a number of seconds, with the transactions/s.
"""

import sys
import time

from storage.audit.records import AuditKind
from storage.store import Store


def main() -> None:
    with Store.open(sys.argv[1], migrate=False) as store:
        store.audit.record(AuditKind.BACKED_UP)
        print("ready", flush=True)
        for line in sys.stdin:
            limit = float(line)
            started, done = time.monotonic(), 0
            while time.monotonic() - started < limit:
                store.audit.record(AuditKind.BACKED_UP, actor="bench", detail=str(done))
                done += 1
            print(done / (time.monotonic() - started), flush=True)


if __name__ == "__main__":
    main()
