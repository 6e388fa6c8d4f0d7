import inspect
from collections.abc import Mapping
from typing import cast

import pytest
from pydicom.sr._concepts_dict import concepts

from dicom_io.errors import ObjectError
from dicom_io.objects import codes
from dicom_io.objects.codes import FINDING_CODES, PRIVATE_SCHEME, Concept, Origin, finding_code

NIH_ORDER = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
]
EVERY_CONCEPT = [
    *(value for _, value in inspect.getmembers(codes) if isinstance(value, Concept)),
    *(finding.concept for finding in FINDING_CODES.values()),
    *(finding.site for finding in FINDING_CODES.values()),
]


def dictionary_meanings(concept: Concept) -> list[str]:
    """Meanings that pydicom's DICOM dictionary gives a code value of a scheme."""
    scheme = cast(Mapping[str, Mapping[str, tuple[str, object]]], concepts[concept.scheme])
    return [entries[concept.value][0] for entries in scheme.values() if concept.value in entries]


def test_the_14_labels_are_coded_in_nih_order() -> None:
    assert list(FINDING_CODES) == NIH_ORDER
    assert all(finding_code(label).label == label for label in NIH_ORDER)


@pytest.mark.parametrize("concept", EVERY_CONCEPT, ids=lambda c: f"{c.scheme}-{c.value}")
def test_a_code_is_in_the_dictionary_exactly_when_it_says_so(concept: Concept) -> None:
    if concept.origin is Origin.DICOM:
        assert concept.meaning in dictionary_meanings(concept)
    elif concept.origin is Origin.PUBLISHED:
        assert dictionary_meanings(concept) == []
        assert concept.provenance != Concept("1", "UCUM", "no units").provenance
    else:
        assert concept.scheme == PRIVATE_SCHEME


@pytest.mark.parametrize("concept", EVERY_CONCEPT, ids=lambda c: f"{c.scheme}-{c.value}")
def test_a_code_fits_its_elements(concept: Concept) -> None:
    assert 0 < len(concept.value) <= 16
    assert 0 < len(concept.scheme) <= 16
    assert 0 < len(concept.meaning) <= 64


def test_cardiomegaly_is_not_the_code_that_also_means_an_enlarged_septal_foramen() -> None:
    trap = Concept("287272002", "SCT", "Cardiomegaly")
    assert len(dictionary_meanings(trap)) == 2
    assert trap.value not in {concept.value for concept in EVERY_CONCEPT}


def test_only_pleural_thickening_needs_a_private_code() -> None:
    private = [f.label for f in FINDING_CODES.values() if f.concept.origin is Origin.PRIVATE]
    assert private == ["Pleural_Thickening"]
    item = codes.private_scheme_item()
    assert item.CodingSchemeDesignator == finding_code("Pleural_Thickening").concept.scheme


def test_no_two_findings_share_a_code() -> None:
    pairs = {(f.concept.scheme, f.concept.value) for f in FINDING_CODES.values()}
    assert len(pairs) == 14


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(ObjectError, match=r"'Covid'.*Atelectasis"):
        finding_code("Covid")
