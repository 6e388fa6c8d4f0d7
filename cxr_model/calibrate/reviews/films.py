"""Reviewed films: outcomes of single findings, as the reviewers of a site judge them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_model.calibrate.calibration import FOLDS, LOCAL_MINIMUM
from cxr_model.data.predictions import Predictions
from cxr_model.findings import LABELS
from cxr_model.predict.curves import Floats, sigmoid

#: Patients with a review of a finding that its curve needs: two for each fold.
LEAST_PATIENTS = 2 * FOLDS


@dataclass(frozen=True, slots=True)
class Evidence:
    """The reviews of one finding, counted in films.

    `present` and `absent` are what the reviewers hold for true, `called` and `not_called` what the
    model had said.
    """

    label: str
    present: int
    absent: int
    called: int
    not_called: int
    patients: int

    @property
    def lacks(self) -> str:
        """Return what the finding lacks for a curve of its own, or an empty text."""
        needed = {
            "with the finding": self.present,
            "without it": self.absent,
            "that were called": self.called,
            "that were not called": self.not_called,
        }
        told = [
            f"{LOCAL_MINIMUM - count} more films {kind}"
            for kind, count in needed.items()
            if count < LOCAL_MINIMUM
        ]
        if self.patients < LEAST_PATIENTS:
            told.append(f"{LEAST_PATIENTS - self.patients} more patients")
        return ", ".join(told)


@dataclass(frozen=True, slots=True, eq=False)
class ReviewedFilms:
    """n films of a site with the network's logits and the outcomes that their reviewers gave.

    `logits`, `outcomes` and `called` are float64 (n, 14) in the order of `LABELS`; outcomes and
    calls are 0, 1, or NaN where the film has no review of the finding.
    """

    images: npt.NDArray[np.object_]
    patients: npt.NDArray[np.object_]
    logits: Floats
    outcomes: Floats
    called: Floats

    def __len__(self) -> int:
        return len(self.images)

    def where(self, rows: npt.NDArray[np.bool_]) -> "ReviewedFilms":
        """Return the films where `rows` (n,) is True."""
        return ReviewedFilms(
            self.images[rows],
            self.patients[rows],
            self.logits[rows],
            self.outcomes[rows],
            self.called[rows],
        )

    def evidence(self) -> Iterator[Evidence]:
        """Yield the numbers of reviews of each finding, in the order of `LABELS`."""
        for i, label in enumerate(LABELS):
            outcomes, called = self.outcomes[:, i], self.called[:, i]
            reviewed = ~np.isnan(outcomes)
            yield Evidence(
                label,
                present=int((outcomes == 1).sum()),
                absent=int((outcomes == 0).sum()),
                called=int((called == 1).sum()),
                not_called=int((called == 0).sum()),
                patients=len(set(self.patients[reviewed])),
            )

    def predictions(self, labels: tuple[str, ...], logits: Floats) -> Predictions:
        """Return the films with a review of one of `labels` as predictions of these labels.

        `logits` (n, 14) give the probabilities.
        """
        columns = [LABELS.index(label) for label in labels]
        outcomes = self.outcomes[:, columns]
        rows = ~np.isnan(outcomes).all(axis=1)
        return Predictions(
            labels,
            self.images[rows],
            self.patients[rows],
            sigmoid(logits[:, columns][rows]),
            outcomes[rows],
            pd.DataFrame(index=range(int(rows.sum()))),
        )
