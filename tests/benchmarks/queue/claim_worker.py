"""A process of workers: `python -m tests.benchmarks.queue.claim_worker URL THREADS`.

Each thread is a worker as those of the analyst are: they share one store. A question is what they
do and for how many seconds; the answer has the jobs and the processor time.
"""

import datetime
import json
import sys
import threading
import time
from collections.abc import Callable

from storage.records import Job, JobKind
from storage.store import Store

LEASE = datetime.timedelta(minutes=10)
CLAIM, SETTLE, BOTH = "claim", "settle", "claim and settle"


def main() -> None:
    """Answer questions until stdin ends."""
    url, threads = sys.argv[1], int(sys.argv[2])
    with Store.open(url, migrate=False) as store:
        held: list[Job] = []
        print("ready", flush=True)
        for line in sys.stdin:
            act, span = json.loads(line)
            before = time.process_time()
            started = time.perf_counter()
            count = _work(store, held, act, span, threads)
            taken = time.perf_counter() - started
            answer = {"jobs": count, "seconds": taken, "cpu": time.process_time() - before}
            print(json.dumps(answer), flush=True)


def _work(store: Store, held: list[Job], act: str, span: float, threads: int) -> int:
    """Let all threads work for `span` seconds; return the number of jobs."""
    end = time.perf_counter() + span
    counts = [0] * threads

    def claim(worker: str) -> Job | None:
        return store.jobs.claim((JobKind.ANALYSE,), worker, LEASE)

    def claim_and_keep(worker: str) -> bool:
        job = claim(worker)
        if job is not None:
            held.append(job)
        return job is not None

    def settle(_worker: str) -> bool:
        try:
            store.jobs.finish(held.pop())
        except IndexError:
            return False
        return True

    def both(worker: str) -> bool:
        job = claim(worker)
        if job is not None:
            store.jobs.finish(job)
        return job is not None

    acts: dict[str, Callable[[str], bool]] = {CLAIM: claim_and_keep, SETTLE: settle, BOTH: both}

    def run(place: int) -> None:
        while time.perf_counter() < end and acts[act](f"worker {place}"):
            counts[place] += 1

    workers = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts)


if __name__ == "__main__":
    main()
