"""`make bench`: run every benchmark, or those named: `python -m tests.benchmarks receive queue`."""

import sys
from collections.abc import Callable

from tests.benchmarks import (
    acknowledge,
    header_tables,
    inference,
    large_store,
    queue,
    reading,
    training,
)
from tests.benchmarks.network import commitment, delivery, receive

BENCHMARKS: dict[str, Callable[[], None]] = {
    "acknowledge": acknowledge.run,
    "receive": receive.run,
    "reading": reading.run,
    "inference": inference.run,
    "queue": queue.run,
    "delivery": delivery.run,
    "large_store": large_store.run,
    "header_tables": header_tables.run,
    "commitment": commitment.run,
    "training": training.run,
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"== {name}")
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
