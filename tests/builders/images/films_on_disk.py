"""Small made-up films and label tables for the tests of training."""

import csv
from pathlib import Path

import cv2
import numpy as np

from cxr_model.findings import LABELS

SIDE = 40


def make_film(path: Path, bright: bool, rng: np.random.Generator) -> None:
    """Noise, with a bright square on the image's right where a finding is meant."""
    film = rng.integers(60, 120, (SIDE, SIDE), dtype=np.uint8)
    if bright:
        film[10:25, 25:38] = 230
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), film)


def simple_dataset(folder: Path, patients: int = 40, films_each: int = 2) -> Path:
    """Write films and ``labels.csv`` in the simple layout; returns the table's path.

    Every third patient has an Effusion that can be seen, every fourth a Mass that cannot.
    """
    rng = np.random.default_rng(0)
    table = folder / "labels.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "image", "patient_id", "age", "sex", "view", "labels"])
        for patient in range(patients):
            names = [name for name, every in (("Effusion", 3), ("Mass", 4)) if patient % every == 0]
            for number in range(films_each):
                image = f"{patient:04d}_{number:03d}.png"
                make_film(folder / "films" / image, "Effusion" in names, rng)
                found = "|".join(names) or "No Finding"
                writer.writerow([f"films/{image}", image, patient, 60, "F", "PA", found])
    return table


def official_dataset(folder: Path, patients: int = 8, lists: bool = True) -> Path:
    """Write films and ``Data_Entry_2017_v2020.csv`` as NIH's download has them."""
    rng = np.random.default_rng(0)
    names = []
    table = folder / "Data_Entry_2017_v2020.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        file.write(
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
            "View Position,OriginalImage[Width,Height]\n"
        )
        for patient in range(patients):
            image = f"{patient:08d}_000.png"
            names.append(image)
            path = folder / f"images_{patient % 2 + 1:03d}" / "images" / image
            make_film(path, patient % 2 == 0, rng)
            found = LABELS[patient % 14] if patient % 2 == 0 else "No Finding"
            writer.writerow([image, found, 0, patient, "058Y", "M", "AP", 1024, 1024])
    if lists:
        cut = patients * 3 // 4
        (folder / "train_val_list.txt").write_text("\n".join(names[:cut]))
        (folder / "test_list.txt").write_text("\n".join(names[cut:]))
    return table


def teacher_table(path: Path, images: list[str], probability: float) -> Path:
    """Write soft targets that say the same of every label of every image."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(f"prob_{label}" for label in LABELS)])
        for image in images:
            writer.writerow([image, *[probability] * len(LABELS)])
    return path
