"""Several files written together: each is complete or absent, and all are synced at once."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.errors import OutOfSpaceError
from storage.files.folder_spool import FolderSpool
from storage.files.spool import object_path
from tests.storage.files.spool_files import files_in

_KILLED_AT_EACH_STEP = """
import os, signal, sys
from pathlib import Path
from storage.files.folder_spool import FolderSpool

left = 0

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def killing(name):
    call = getattr(os, name)
    def before(*arguments):
        step()
        return call(*arguments)
    setattr(os, name, before)

fdopen = os.fdopen

class Halves:
    def __init__(self, *arguments):
        self.file = fdopen(*arguments)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def write(self, data):
        half = len(data) // 2
        for part in (data[:half], data[half:]):
            step()
            self.file.write(part)
            self.file.flush()
    def __getattr__(self, name):
        return getattr(self.file, name)

for number in range(1, 200):
    spool = FolderSpool(Path(sys.argv[1]) / str(number))
    spool.write("objects/ab/0", b"as it was")
    child = os.fork()
    if not child:
        left, os.fdopen = number, Halves
        for name in ("open", "fsync", "replace", "close"):
            killing(name)
        files = [(f"objects/ab/{n}", b"data of an object" * (n + 1)) for n in range(3)]
        spool.write_together(files)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(number)
"""


def test_a_group_killed_between_any_two_steps_leaves_complete_files_and_what_is_swept(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", _KILLED_AT_EACH_STEP, str(tmp_path)]
    steps = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    contents = {f"{n}": b"data of an object" * (n + 1) for n in range(3)}

    seen = set()
    for number in range(1, steps + 1):
        spool = FolderSpool(tmp_path / str(number))
        spool.sweep_temporary()
        found = {path.name: path.read_bytes() for path in files_in(spool)}
        replaced = {name for name, data in found.items() if data == contents[name]}
        assert {name: found[name] for name in found if name not in replaced} in (
            {},
            {"0": b"as it was"},
        )
        seen.add(frozenset(replaced))
    every = [frozenset(map(str, range(count))) for count in range(4)]
    assert seen == set(every), "killed before, between and after the renames"
    assert steps > 20


def test_a_group_is_opened_then_synced_then_renamed_and_its_folder_synced_once(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.write("objects/ab/x.dcm", b"x")
    steps = []

    def recording(name: str) -> Any:
        call = getattr(os, name)

        def recorded(*arguments: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            steps.append("folder" if is_folder else name)
            return call(*arguments)

        return recorded

    for name in ("fdopen", "fsync", "replace"):
        monkeypatch.setattr(os, name, recording(name))
    stored = spool.write_together([("objects/ab/y.dcm", b"y"), ("objects/ab/z.dcm", b"zz")])

    assert steps == ["fdopen", "fdopen", "fsync", "fsync", "replace", "replace", "folder"]
    assert [spool.read(file.path, file.sha256) for file in stored] == [b"y", b"zz"]
    assert [file.size for file in stored] == [1, 2]


@pytest.mark.parametrize(("step", "fails_at"), [("open", 3), ("fdopen", 2), ("fsync", 2)])
def test_a_group_that_fails_before_its_renames_changes_no_file(
    spool: FolderSpool, monkeypatch: pytest.MonkeyPatch, step: str, fails_at: int
) -> None:
    stored = spool.write("kept", b"as it was")
    call, calls = getattr(os, step), []

    def fail(*arguments: object, **options: object) -> object:
        calls.append(step)
        if len(calls) >= fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments, **options)

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutOfSpaceError):
        spool.write_together([("kept", b"another"), ("new", b"x")])
    monkeypatch.undo()

    assert files_in(spool) == {spool.path("kept")}
    assert spool.read("kept", stored.sha256) == b"as it was"


def test_objects_beside_each_other_are_in_one_folder() -> None:
    paths = {object_path(f"1.2.{n}", b"x", "1.2") for n in range(20)}

    assert len(paths) == 20
    assert len({path.rpartition("/")[0] for path in paths}) == 1
    assert object_path("1.2.3", b"x", "1.2") != object_path("1.2.3", b"another time", "1.2")
