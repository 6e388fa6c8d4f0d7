"""Writes result objects to the spool."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from daemon.analyse.result_objects import BuiltObject
from storage.files.spool import Spool, StoredFile, object_path
from storage.records import Instance, ObjectKind, ObjectRecord


@contextmanager
def written_objects(
    spool: Spool, objects: Sequence[BuiltObject], source: Instance
) -> Iterator[list[ObjectRecord]]:
    """Write the objects and yield their records, to be stored before the context ends.

    A sweep leaves the files alone until then.
    """
    # In one folder, so that they are synced together.
    files = [
        (object_path(built.sop_instance_uid, built.data, source.sop_instance_uid), built.data)
        for built in objects
    ]
    with spool.folders_held(*(path for path, _ in files)):
        written = spool.write_together(files)
        yield [_record(*made, source) for made in zip(written, objects, strict=True)]


def _record(stored: StoredFile, built: BuiltObject, source: Instance) -> ObjectRecord:
    return ObjectRecord(
        sop_instance_uid=built.sop_instance_uid,
        sop_class_uid=built.sop_class_uid,
        kind=built.kind,
        study_instance_uid=source.study_instance_uid,
        instance_id=None if built.kind is ObjectKind.REPORT else source.id,
        label=built.label,
        spool_path=stored.path,
        size=stored.size,
        sha256=stored.sha256,
        source=source.source,
        form=built.form,
    )
