"""Reads files as the node's reader processes do, alone in a process, without passing films on.

`python -m tests.benchmarks.model.decode_worker` prints `ready`, then reads the files of each line,
a list of paths in JSON, and answers with the CPU seconds that it took.
"""

import json
import sys
import time
from pathlib import Path

import cv2

from cxr_model.check.picture_check import PictureCheck
from cxr_model.predict.bundle import STARTER, Bundle
from daemon.analyse.reader.film import Film
from daemon.analyse.reader.film_file import Form
from daemon.analyse.reader.film_reader import FilmReader


def main() -> None:
    cv2.setNumThreads(1)
    reader = FilmReader(PictureCheck.load(), Bundle.load(STARTER).card.input)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.process_time()
        for path in map(Path, json.loads(line)):
            form = Form.PICTURE if path.suffix == ".png" else Form.OBJECT
            film = reader.read(path.read_bytes(), form=form)
            assert isinstance(film, Film), film
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main()
