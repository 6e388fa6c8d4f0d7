from dataclasses import replace

import pytest

from daemon.config.picture_form import PictureForm
from daemon.web.studies.study_pages import shown_report
from tests.builders.store_rows import made_object

PRIORS = PictureForm(has_priors=True).name
SMALL = PictureForm(600, is_lossy=True).name
SMALL_PRIORS = PictureForm(600, has_priors=True).name


@pytest.mark.parametrize(
    ("forms", "shown"),
    [
        ([], None),
        ([""], 0),
        (["", SMALL], 0),
        (["", PRIORS], 1),
        (["", SMALL, SMALL_PRIORS], 2),
        # An earlier report named others; the last one does not.
        (["", PRIORS, ""], 2),
        (["", "", PRIORS], 2),
    ],
)
def test_the_page_shows_the_last_report_with_earlier_ones(
    forms: list[str], shown: int | None
) -> None:
    reports = [replace(made_object(f"2.25.{n}"), form=form) for n, form in enumerate(forms)]
    assert shown_report(reports) == (None if shown is None else reports[shown])
