"""`cxrd model train`: the settings of a training, and nothing else.

The defaults shown in the help are those of `TrainingConfig`; a test holds the two together.
"""

import datetime
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where a network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """What a training computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


DeviceOption = Annotated[Device, typer.Option(help="auto takes a GPU when there is one.")]

ThreadsOption = Annotated[
    int | None, typer.Option(help="CPU threads; default: as many as torch finds.")
]


def train(
    images: Annotated[Path, typer.Option(help="Folder of PNG or JPEG films.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="Label table: NIH's Data_Entry_2017*.csv (or its folder), or a CSV with the "
            "columns file, patient_id, labels (NIH names joined by |) and, where known, image, "
            "view, sex, age, split."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder for checkpoint, log.csv and curves.png; default: OUT.training. A run that "
            "was stopped goes on from there when started again with the same settings."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name, in every report.")] = "cxrd-model",
    version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    description: Annotated[
        str, typer.Option(help="What a reader of the card should know of the data.")
    ] = "",
    init: Annotated[
        str, typer.Option(help="First weights: scratch, imagenet, or the folder of a bundle.")
    ] = "scratch",
    size: Annotated[int, typer.Option(help="Pixels a side of the network's input.")] = 224,
    epochs: Annotated[int, typer.Option(help="Times each film is seen.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Films per step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.05,
    warmup: Annotated[float, typer.Option(help="Share of the steps in which the rate rises.")] = (
        0.05
    ),
    ema_decay: Annotated[float, typer.Option(help="Of the average of the weights.")] = 0.999,
    balance: Annotated[
        float,
        typer.Option(help="Weigh positives by (negatives / positives) ** balance; 0: not at all."),
    ] = 0.0,
    validation: Annotated[
        float, typer.Option(help="Share of patients to choose and calibrate on.")
    ] = 0.15,
    held_out: Annotated[float, typer.Option(help="Share of patients to measure on.")] = 0.20,
    min_side: Annotated[
        int, typer.Option(help="Leave smaller films (pixels) out of the training.")
    ] = 0,
    evaluation_min_side: Annotated[
        int, typer.Option(help="Patients with a smaller film (pixels) only ever train.")
    ] = 0,
    soft_targets: Annotated[
        Path | None, typer.Option(help="CSV of a teacher's probabilities: image, prob_<label>…")
    ] = None,
    soft_weight: Annotated[float, typer.Option(help="The teacher's share of a target.")] = 0.5,
    pretrain_images: Annotated[
        Path | None,
        typer.Option(help="Folder with a sub-folder per class, learnt along by a second head."),
    ] = None,
    pretrain_weight: Annotated[float, typer.Option(help="The second head's share.")] = 1.0,
    pretrain_share: Annotated[
        float, typer.Option(help="At most this share of an epoch is for the second head.")
    ] = 0.5,
    teachers: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher", help="Bundle to learn from on every picture; repeat for an ensemble."
        ),
    ] = None,
    teacher_weight: Annotated[float, typer.Option(help="The teachers' share of the loss.")] = 0.7,
    mixup: Annotated[
        float, typer.Option(help="Blend pairs of films by Beta(mixup, mixup); 0: not at all.")
    ] = 0.0,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better AUC, and keep the best."),
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option(help="End after so many epochs of the schedule.")
    ] = None,
    specificity: Annotated[
        float, typer.Option(help="Of the thresholds, on the validation patients.")
    ] = 0.85,
    seed: Annotated[int, typer.Option(help="Of the split, the first weights and the order.")] = 0,
    split_seed: Annotated[
        int | None, typer.Option(help="Of the split alone; default: the seed.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read films.")] = 0,
    threads: ThreadsOption = None,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision,
        typer.Option(
            help="auto: mixed on a GPU, single on a CPU; bfloat16: mixed (CPUs with AVX-512 BF16)."
        ),
    ] = Precision.AUTO,
    checkpoint_seconds: Annotated[float, typer.Option(help="Between two checkpoints.")] = 300.0,
) -> None:
    """Train a DenseNet-121, calibrate it and measure it on patients it has not seen."""
    from cxr_model.evaluate.text import bundle_text
    from cxr_model.train import training
    from daemon.worker.role import configure_logging

    configure_logging()
    config = training.TrainingConfig(
        images=images,
        labels=labels,
        out=out,
        work=work,
        name=name,
        version=version,
        description=description,
        init=(
            training.Initialisation(init) if init in list(training.Initialisation) else Path(init)
        ),
        size=size,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        warmup=warmup,
        ema_decay=ema_decay,
        balance=balance,
        min_side=min_side,
        evaluation_min_side=evaluation_min_side,
        validation_fraction=validation,
        held_out_fraction=held_out,
        soft_targets=soft_targets,
        soft_weight=soft_weight,
        pretrain_images=pretrain_images,
        pretrain_weight=pretrain_weight,
        pretrain_share=pretrain_share,
        teachers=tuple(teachers or ()),
        teacher_weight=teacher_weight,
        mixup=mixup,
        patience=patience,
        stop_after=stop_after,
        specificity=specificity,
        seed=seed,
        split_seed=split_seed,
        workers=workers,
        threads=threads,
        device=training.Device(device),
        precision=training.Precision(precision),
        checkpoint_seconds=checkpoint_seconds,
    )
    bundle = training.train(
        config, now=lambda: datetime.datetime.now(datetime.UTC), progress=sys.stderr.isatty()
    )
    typer.echo(bundle_text(bundle))
    typer.echo(f"\nbundle: {out}")
