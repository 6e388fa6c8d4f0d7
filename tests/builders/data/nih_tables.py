"""Films and tables in the form of the public chest X-ray collections."""

import csv
import gzip
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cxr_model.findings import LABELS
from dicom_io.phantom import PhantomFilm, draw

FILMS = 6


def write_pictures(folder: Path) -> None:
    """Write chest films of 8 bits as PNG."""
    folder.mkdir(parents=True)
    for seed in range(FILMS):
        film = PhantomFilm("P", "S", seed=seed, heart_failure=bool(seed % 2), rows=512, columns=512)
        cv2.imwrite(str(folder / f"{seed:08d}_000.png"), (draw(film) // 16).astype(np.uint8))


def write_headers(folder: Path) -> None:
    """Write the two tables of header values: CR and DX films, and Secondary Captures."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(40):
        is_dx = number % 2
        rows.append(
            {
                "Modality": "DX" if is_dx else "CR",
                "View Position": ("PA", "AP")[number % 3 == 0],
                "Patient's Sex": "MFO"[number % 3],
                "KVP": str(70 + number),
                "Presentation Intent Type": "FOR PRESENTATION" if is_dx else None,
                "Field of View Horizontal Flip": ("NO", "YES")[number % 5 == 0] if is_dx else None,
                "Burned In Annotation": "NO" if is_dx else None,
                "Body Part Examined": "CHEST" if number % 4 else "PORT CHEST",
                "SOP Class UID": f"1.2.840.10008.5.1.4.1.1.1{'.1' if is_dx else ''}",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "openi_headers.csv.gz", index=False)
    captures = [
        {
            "Modality": "CR",
            "ConversionType": "WSD",
            "PatientSex": "MF"[number % 2],
            "BodyPartExamined": "CHEST",
            "ViewPosition": ("PA", "AP")[number % 2],
            "PixelSpacing": ("0.168", "0.14300000000000002")[number % 3 == 0],
        }
        for number in range(30)
    ]
    pd.DataFrame(captures).to_csv(folder / "rsna_headers.csv.gz", index=False)


def write_boxes(path: Path) -> None:
    """Write radiologists' boxes as NIH publishes them."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        file.write("Image Index,Finding Label,Bbox [x,y,w,h]\n")
        writer = csv.writer(file)
        for number in range(64):
            label = LABELS[number % 8].replace("Infiltration", "Infiltrate")
            x, y = rng.uniform(0, 600, 2)
            width, height = rng.uniform(50, 400, 2)
            writer.writerow([f"{number:08d}_000.png", label, x, y, width, height])


def write_predictions(path: Path, patients: int = 5000) -> None:
    """Write the table of an overconfident classifier with labels drawn from its true chances."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    table = {
        "image": [f"{patient:08d}_{place:03d}.png" for place, patient in enumerate(ids)],
        "patient_id": ids,
        "official_test": ids % 4 == 0,
    }
    scores = rng.normal(-3.9, 1.3, (len(ids), len(LABELS)))
    chances = 1 / (1 + np.exp(-scores))
    for column, label in enumerate(LABELS):
        said = 1 / (1 + np.exp(-(1.4 * scores[:, column] + 1.0)))
        table[f"prob_{label}"] = np.round(said, 7)
    for column, label in enumerate(LABELS):
        table[f"y_{label}"] = (rng.random(len(ids)) < chances[:, column]).astype(int)
    with gzip.open(path, "wt", newline="") as file:
        pd.DataFrame(table).to_csv(file, index=False)
