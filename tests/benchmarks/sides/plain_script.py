"""The script in the middle of the chain of single programs: films in, reports and heatmaps out.

It reads a film with pydicom, applies the window by a table, resizes the picture, runs the engine,
draws the heatmaps and builds the same Secondary Captures and Structured Report with the project's
builders. It does not gate, check the picture, isolate the decoder, sync, or keep a record.

`python -m tests.benchmarks.sides.plain_script THREADS` prints `ready`, then takes lines of JSON
{"films": [PATH, …], "out": FOLDER} and answers each with a line when its files are written.
"""

import datetime
import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pydicom

from cxr_model.check.picture_check import PictureCheck
from cxr_model.engine.choice import open_predictor
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.transform import reduced
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.decoder_pool import DecoderPool
from daemon.analyse.reader.film import GreyImage
from daemon.analyse.reader.film_reader import FilmReader
from daemon.analyse.result_objects import SERIES_NUMBERS, BuiltObject, ObjectBuilder
from daemon.config.picture_form import DEFAULT_FORM, DEFAULT_MAX_SIDE
from daemon.report.study_report import built_report
from dicom_io.objects.classes import HEATMAP_CLASS
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import film_key, report_uid, series_uid, study_key
from dicom_io.read.image_header import ImageHeader, read_image_header
from dicom_io.read.tone import DECLARED
from dicom_io.report.content import ObjectReference, ReportContent, ReportedFinding, ReportedImage
from storage.records import ObjectKind

SOURCE = "bench"


class Script:
    """The loaded model and the steps from a film's file to the files of its results."""

    def __init__(self, threads: int) -> None:
        self._predictor = open_predictor(Bundle.load(STARTER), threads=threads)
        # No file is read with it, so it starts no process.
        reader = FilmReader(PictureCheck.load(), self._predictor.bundle.card.input)
        self._pipeline = Pipeline(self._predictor, DecoderPool(reader))
        self._predictor.check_reference()

    def run(self, film: Path, out: Path) -> None:
        """Write the report and the heatmaps of a film, named so that the report sorts first."""
        data = film.read_bytes()
        picture, header = _decoded(data), read_image_header(data)
        (prediction,) = self._predictor.predict([picture])
        now = datetime.datetime.now().astimezone()
        sha256 = hashlib.sha256(data).hexdigest()
        model = self._pipeline.algorithm
        # storescu sends a file as it is, and the archive takes uncompressed pictures.
        builder = ObjectBuilder(
            header, None, DECLARED, prediction, model, SOURCE, sha256, now, encode=to_bytes
        )
        heatmaps = [
            built
            for drawing in self._pipeline.heatmaps(reduced(picture, DEFAULT_MAX_SIDE), prediction)
            for built in builder.heatmap(drawing, DEFAULT_FORM)
        ]
        uids = {one.label: one.sop_instance_uid for one in heatmaps}
        findings = [
            ReportedFinding(
                one.label,
                one.probability,
                one.threshold,
                one.present,
                self._reference(header, uids[one.label]) if one.label in uids else None,
                region.points if (region := builder.regions.get(one.label)) else None,
            )
            for one in prediction.findings
        ]
        report = self._report(header, findings, sha256, now)
        for number, built in enumerate([report, *heatmaps]):
            (out / f"{film.name}-{number:02d}.dcm").write_bytes(built.data)

    def _reference(self, header: ImageHeader, uid: str) -> ObjectReference:
        study = header.uids["StudyInstanceUID"]
        key = study_key(SOURCE, study)
        series = series_uid(key, self._pipeline.algorithm.sha256, ObjectKind.HEATMAP.value)
        return ObjectReference(HEATMAP_CLASS, uid, series, study)

    def _report(
        self,
        header: ImageHeader,
        findings: list[ReportedFinding],
        sha256: str,
        now: datetime.datetime,
    ) -> BuiltObject:
        film = film_key(SOURCE, header.uids["SOPInstanceUID"], sha256)
        key = study_key(SOURCE, header.uids["StudyInstanceUID"])
        model = self._pipeline.algorithm
        identity = Identity(
            sop_instance_uid=report_uid(key, [film], model.sha256),
            series_instance_uid=series_uid(key, model.sha256, "report"),
            series_number=SERIES_NUMBERS[ObjectKind.REPORT],
            instance_number=1,
            content_datetime=now,
            timezone=now.tzinfo,
        )
        image = ReportedImage(header, findings, film=film)
        return built_report(ReportContent([image], [], model, None, identity))


def _decoded(data: bytes) -> GreyImage:
    """Return the display-true picture of a film with a linear window, uint8 (rows, columns)."""
    film = pydicom.dcmread(io.BytesIO(data))
    centre, width = float(film.WindowCenter), float(film.WindowWidth)
    values = np.arange(2**film.BitsStored) * float(film.RescaleSlope) + float(film.RescaleIntercept)
    table = np.clip((values - centre + 0.5) / (width - 1) + 0.5, 0, 1) * 255
    return np.asarray(np.rint(table).astype(np.uint8)[film.pixel_array], dtype=np.uint8)


def main() -> None:
    script = Script(int(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        for film in asked["films"]:
            script.run(Path(film), Path(asked["out"]))
        print("done", flush=True)


if __name__ == "__main__":
    main()
