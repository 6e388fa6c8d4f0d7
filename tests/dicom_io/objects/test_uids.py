import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicom_io.objects import uids as uids_module
from dicom_io.objects.uids import (
    derived_uid,
    device_uid,
    film_key,
    heatmap_uid,
    object_uid,
    report_uid,
    series_uid,
    study_key,
    tracking_uid,
)

SHA256 = "ab" * 32


@given(st.text(), st.text(), st.text())
def test_a_derived_uid_is_a_valid_uuid_under_2_25(source: str, sha256: str, kind: str) -> None:
    uid = derived_uid(source, sha256, kind)
    assert UID(uid).is_valid
    number = uuid.UUID(int=int(uid.removeprefix("2.25.")))
    assert number.version == 8
    assert number.variant == uuid.RFC_4122


def test_a_derived_uid_never_changes_between_releases() -> None:
    assert derived_uid("1.2.3", SHA256, "report") == "2.25.170122327165531014328538439265478498793"


def test_the_hash_separates_its_parts() -> None:
    assert derived_uid("1.2.3", "4", "x") != derived_uid("1.2.34", "", "x")


def test_every_kind_of_object_of_one_image_has_its_own_uid() -> None:
    uids = {
        report_uid("1.2", ["1.2.3"], SHA256),
        series_uid("1.2", SHA256, "report"),
        series_uid("1.2", SHA256, "heatmap"),
        heatmap_uid("1.2.3", SHA256, "Mass"),
        heatmap_uid("1.2.3", SHA256, "Nodule"),
        heatmap_uid("1.2.3", SHA256, "Nodule", "full"),
        report_uid("1.2", ["1.2.3"], SHA256, "full"),
        series_uid("1.2", SHA256, "heatmap", "full"),
        tracking_uid("1.2.3", SHA256, "Mass"),
        device_uid(SHA256),
        device_uid("cd" * 32),
    }
    assert len(uids) == 11


def test_the_same_uids_of_two_sources_or_of_other_bytes_make_other_objects() -> None:
    films = [
        film_key("north", "1.2.3", "aa"),
        film_key("south", "1.2.3", "aa"),
        film_key("north", "1.2.3", "bb"),
        film_key("north", "1.2.4", "aa"),
        film_key("", "1.2.3", "aa"),
    ]
    studies = [study_key("north", "1.2"), study_key("south", "1.2"), study_key("", "1.2")]
    uids = {
        *(make(film, SHA256, "Mass") for make in (heatmap_uid, tracking_uid) for film in films),
        *(series_uid(study, SHA256, "report") for study in studies),
        *(report_uid(study, ["1.2.3#aa"], SHA256) for study in studies),
    }
    assert len(uids) == 16


def test_another_rendering_makes_other_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> list[str]:
        film, study = film_key("north", "1.2.3", "aa"), study_key("north", "1.2")
        return [
            object_uid(film, SHA256, "summary"),
            heatmap_uid(film, SHA256, "Mass"),
            tracking_uid(film, SHA256, "Mass"),
            series_uid(study, SHA256, "report"),
            report_uid(study, ["1.2.3#aa"], SHA256),
        ]

    before = made()
    monkeypatch.setattr(uids_module, "RENDERING_VERSION", uids_module.RENDERING_VERSION + 1)
    assert not set(before) & set(made())


def test_a_report_uid_depends_on_the_images_but_not_on_their_order() -> None:
    assert report_uid("1.2", ["a", "b"], SHA256) == report_uid("1.2", ["b", "a", "a"], SHA256)
    assert report_uid("1.2", ["a", "b"], SHA256) != report_uid("1.2", ["a"], SHA256)
