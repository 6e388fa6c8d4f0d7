"""Published weights that can be imported for all 14 findings.

torchxrayvision (Cohen et al., MIDL 2022; Apache-2.0) publishes its networks as release files on
GitHub and the threshold of each output in the `model_urls` table of its `models.py`. It publishes
no sizes or hashes: those below were computed from the release files, and a file that differs is
refused. Its other networks lack some of the 14 findings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cxr_model.checkpoints.download import Source, fetch
from cxr_model.checkpoints.importers import TORCHXRAYVISION_LABELS, import_bundle
from cxr_model.errors import DownloadError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle

RELEASE = "https://github.com/mlmed/torchxrayvision/releases/download/v1"

_RECIPE = "densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"


@dataclass(frozen=True, slots=True)
class Published:
    """A published network: release file (a pickled module), training data and thresholds.

    `size` and `sha256` are None if they are unknown.
    """

    name: str
    file: str
    trained_on: str
    thresholds: Mapping[str, float]
    size: int | None = None
    sha256: str | None = None

    def source(self, mirror: str | None = None, sha256: str | None = None) -> Source:
        """Return the source of the file: the release, or `mirror`, a folder of the same files.

        `sha256`, if given, replaces the known size and hash.
        """
        url = f"{(mirror or RELEASE).rstrip('/')}/{self.file}"
        if sha256 is not None:
            return Source(url, sha256=sha256)
        return Source(url, self.size, self.sha256)


def published(name: str) -> Published:
    """Return the network of that name. Raises DownloadError for an unknown name."""
    for network in PUBLISHED:
        if network.name == name:
            return network
    known = ", ".join(network.name for network in PUBLISHED)
    raise DownloadError(f"no published network is called {name!r}; known are {known}")


def import_published(
    network: Published,
    folder: Path,
    *,
    name: str | None,
    version: str,
    now: datetime,
    mirror: str | None = None,
    allow_modules: bool = False,
    sha256: str | None = None,
    progress: bool = True,
) -> Bundle:
    """Download `network` to `folder` and make a bundle with its published thresholds.

    A file with a known sha256 needs no `allow_modules`. Raises DownloadError as `fetch` and
    CheckpointError as `import_bundle`.
    """
    source = network.source(mirror, sha256)
    target = folder / network.file
    fetch(source, target, progress=progress)
    return import_bundle(
        target,
        name=name or network.name,
        version=version,
        now=now,
        allow_modules=allow_modules or source.sha256 is not None,
        sha256=source.sha256,
        thresholds=network.thresholds,
    )


def _thresholds(*values: float) -> dict[str, float]:
    # The first 14 outputs are NIH's findings, in torchxrayvision's order.
    named = dict(zip(TORCHXRAYVISION_LABELS[: len(LABELS)], values, strict=True))
    return {label: named[label] for label in LABELS}


# fmt: off
PUBLISHED = (
    Published(
        name="densenet121-res224-all",
        file=f"nih-pc-chex-mimic_ch-google-openi-kaggle-{_RECIPE}",
        trained_on="NIH, PadChest, CheXpert, MIMIC-CXR, Google, OpenI and RSNA films",
        thresholds=_thresholds(
            0.07422872, 0.038290843, 0.09814756, 0.0098118475, 0.023601074, 0.0022490358,
            0.010060724, 0.103246614, 0.056810737, 0.026791653, 0.050318155, 0.023985857,
            0.01939503, 0.042889766,
        ),
        size=28_382_008,
        sha256="56524913dd16a906422e8d8b66a7a5c46be1d82eb7ac012d8103776f1aa68899",
    ),
    Published(
        name="densenet121-res224-pc",
        file=f"pc-{_RECIPE}",
        trained_on="PadChest films",
        thresholds=_thresholds(
            0.031012505, 0.013347598, 0.081435576, 0.001262615, 0.002587246, 0.0035944257,
            0.0023071, 0.055412333, 0.044385884, 0.042766232, 0.043258056, 0.037629247,
            0.005658899, 0.0091741895,
        ),
        size=28_381_804,
        sha256="a9148ef62ae4e7a31a9bed8cef22811f39681cd61e4390398936efc6280af521",
    ),
    Published(
        name="densenet121-res224-nih",
        file=f"nih-{_RECIPE}",
        trained_on="NIH ChestX-ray14 films",
        thresholds=_thresholds(
            0.039117552, 0.0034529066, 0.11396341, 0.0057298196, 0.00045666535, 0.0018880932,
            0.012037827, 0.038744126, 0.0037213727, 0.014730946, 0.016149804, 0.054241467,
            0.037198864, 0.0004403434,
        ),
    ),
)
