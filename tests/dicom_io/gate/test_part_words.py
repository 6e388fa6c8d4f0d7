"""Body parts in the words of many languages and character sets."""

from typing import Any

import pytest
from pydicom import Dataset

from dicom_io.gate.anatomy import FILM_TEXTS, STUDY_TEXTS, Part, anatomy_of
from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import Reason, Verdict
from dicom_io.gate.rules import Rules
from dicom_io.read.header import read_dataset, text
from dicom_io.read.image_header import ImageHeader
from tests.builders.images.films import chest_film, file_bytes
from tests.builders.images.headers import film_header

UNNAMED = {"BodyPartExamined": None}


def judge(**attributes: Any) -> Verdict:
    return assess(film_header(**attributes))


def film_with_part(stored: bytes, character_set: str | None) -> ImageHeader:
    """Return a film whose BodyPartExamined holds these bytes, as it is read from a file."""
    film = chest_film(SpecificCharacterSet=character_set, BodyPartExamined="Z" * len(stored))
    data = file_bytes(film)
    assert data.count(b"Z" * len(stored)) == 1
    return ImageHeader.of(read_dataset(data.replace(b"Z" * len(stored), stored)))


@pytest.mark.parametrize(
    ("stored", "character_set"),
    [
        (b"T?RAX ", "ISO_IR 100"),
        ("TÓRAX ".encode("latin-1"), "ISO_IR 100"),
        ("TÒRAX ".encode("latin-1"), "ISO_IR 100"),
        ("TÓRAX".encode(), "ISO_IR 192"),
        ("TÓRAX".encode(), "ISO_IR 100"),
        ("TÓRAX".encode(), None),
        ("TÓRAX ".encode("latin-1"), "ISO_IR 192"),
        ("TÓRAX ".encode("latin-1"), None),
        ("胸部".encode(), "ISO_IR 192"),
        ("胸部".encode(), "ISO_IR 100"),
        ("胸部".encode("gb18030"), "GB18030"),
        ("胸部".encode("iso2022_jp"), "\\ISO 2022 IR 87"),
        (b"\x1b$)C" + "흉부".encode("euc_kr"), "\\ISO 2022 IR 149"),
        ("ГРУДЬ ".encode("iso8859_5"), "ISO_IR 144"),
        ("HRUDNÍK ".encode("iso8859_2"), "ISO_IR 101"),
    ],
)
def test_a_body_part_is_decoded_in_the_character_set(
    stored: bytes, character_set: str | None
) -> None:
    header = film_with_part(stored, character_set)
    assert anatomy_of(header).part is Part.CHEST, text(header.dataset, "BodyPartExamined")


def test_a_code_string_is_read_as_it_was_written() -> None:
    header = film_with_part("TÓRAX ".encode("latin-1"), "ISO_IR 100")
    assert text(header.dataset, "BodyPartExamined") == "TÓRAX"
    header = film_header(SpecificCharacterSet="NO SUCH SET", BodyPartExamined="CHEST\xff")
    assert text(header.dataset, "BodyPartExamined") == "CHESTÿ"


@pytest.mark.parametrize(
    "words",
    [
        "CHEST",
        "PECHO",
        "T?RAX",
        "Tórax",
        "TORACE",
        "CXR",
        "BRUST",
        "BRUSTKORB",
        "HRUDNIK",
        "HRUDNÍK",
        "Klatka piersiowa",
        "PORTABLE CHEST",
        "NON GRID CHEST",
        "CHESTPA",
        "W CHEST",
        "POUMONS",
        "PULMÃO",
        "LONGEN",
        "MELLKAS",
        "AKCIĞER",
        "ГРУДНАЯ КЛЕТКА",
        "ОГК",
        "胸部",
        "흉부",
        "صدر",
        "ΘΩΡΑΚΑΣ",
        "RINTAKEHÄ",
        "Bröstkorg",
        "CHESTABDOMEN",
        "CHEST_ABDOMEN",
        "ACUTE ABDOMEN INCL CHEST",
        "CHEST AND RIBS",
        "THORACIC",
        "Lungenübersicht",
    ],
)
def test_words_for_the_chest(words: str) -> None:
    anatomy = anatomy_of(film_header(BodyPartExamined=words))
    assert anatomy.part is Part.CHEST
    assert anatomy.part_is_coded
    for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"):
        assert judge(**UNNAMED, **{keyword: words}).is_eligible


@pytest.mark.parametrize(
    "words",
    [
        "PORTABLE",
        "XYZ",
        "1",
        "CHIRURGIE",
        "BORST",
        "AMBULANZ",
        "CHEST WALL",
        "BRUSTWAND",
        "SUPINE",
        "?",
        "BETT",
        "UCI CAMA 3",
    ],
)
def test_an_unknown_word_is_no_body_part(words: str) -> None:
    verdict = judge(BodyPartExamined=words)
    assert verdict.is_eligible
    assert f"BodyPartExamined {words!r} names no body part that is known here" in verdict.notes
    strict = Rules(require_body_part=True)
    assert assess(film_header(BodyPartExamined=words), strict).reason is Reason.BODY_PART_NOT_SAID


@pytest.mark.parametrize(
    "words",
    [
        "MODALITYLUT - TEETH",
        "Becken a.p.",
        "Schaedel ap",
        "Schädel",
        "MAMMOGRAPHY BILATERAL",
        "Mamma bds",
        "BREAST",
        "HIP",
        "THORACIC SPINE",
        "T-SPINE",
        "TSPINE",
        "Spine thoracic",
        "BWS in 2 Ebenen",
        "Brustwirbelsäule",
        "BRUSTBEIN",
        "RIBS LEFT",
        "Rippen",
        "Hemithorax knöchern",
        "Gril costal",
        "Genou droit",
        "Épaule",
        "CR?NE",
        "Cadera",
        "Rodilla",
        "Columna dorsal",
        "Columna torácica",
        "Parrilla costal",
        "Ginocchio",
        "Bacino",
        "Rachide dorsale",
        "Joelho",
        "Mão",
        "Coluna torácica",
        "Knie links",
        "Bekken",
        "Thoracale wervelkolom",
        "Kolano",
        "Czaszka",
        "Kręgosłup piersiowy",
        "Koleno",
        "Hrudní páteř",
        "ABDOMEN",
        "KUB",
        "Коленный сустав колено",
        "Грудной отдел позвоночника",
        "腹部",
        "胸椎",
        "膝関節",
        "무릎",
        "ركبة",
        "Polvi",
        "Knä",
        "CLAVICLE",
        "Zahnstatus",
        "OPG",
        "Hand",
        "Left knee, 2 views",
    ],
)
def test_words_for_other_parts(words: str) -> None:
    for keyword in ("BodyPartExamined", *FILM_TEXTS, *STUDY_TEXTS):
        verdict = judge(**UNNAMED | {keyword: words})
        assert verdict.reason is Reason.NOT_CHEST, verdict
        assert verdict.detail.startswith(f"{keyword} says '")


# All of PS3.16 annex L for a human but the airways, thymus, aorta, axilla and heart's vessels.
TERMS = (
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE ARM BACK BLADDER BRAIN BREAST BUTTOCK CALCANEUS CALF "
    "CAROTID CEREBELLUM CERVIX CHEEK CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORNEA CSPINE CTSPINE "
    "DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT GALLBLADDER HAND "
    "HEAD HEADNECK HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE "
    "LSSPINE MAXILLA MOUTH NECK NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX "
    "PROSTATE RECTUM RIB SCALP SCAPULA SCLERA SCROTUM SHOULDER SKULL SPINE SPLEEN SSPINE STERNUM "
    "STOMACH SUBMANDIBULAR TESTIS THIGH THUMB THYROID TLSPINE TMJ TOE TONGUE TSPINE ULNA URETER "
    "URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA"
)
CHEST_TERMS = "CHEST CHESTABDOMEN CHESTABDPELVIS HEART LUNG NECKCHEST NECKCHESTABDOMEN MEDIASTINUM"


def test_the_defined_terms_of_body_part_examined() -> None:
    for term in TERMS.split():
        assert judge(BodyPartExamined=term).reason is Reason.NOT_CHEST, term
    for term in CHEST_TERMS.split():
        assert anatomy_of(film_header(BodyPartExamined=term)).part is Part.CHEST, term


def code(meaning: str, value: str = "X") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "99", meaning
    return item


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"AnatomicRegionSequence": [code("Kniegelenk")]}, Reason.NOT_CHEST),
        ({"AnatomicRegionSequence": [code("Brustkorb")]}, None),
        ({"AnatomicRegionSequence": [code("?", "T-D3000")]}, None),
        ({"ProcedureCodeSequence": [code("Xray Abdomen KUB")]}, Reason.NOT_CHEST),
        ({"ProcedureCodeSequence": [code("Xray Chest and Abdomen")]}, None),
        # A study of several parts: the text of the film decides.
        (
            {"StudyDescription": "CHEST AND ABDOMEN", "SeriesDescription": "Abdomen erect"},
            Reason.NOT_CHEST,
        ),
        ({"StudyDescription": "ABDOMEN", "SeriesDescription": "Chest PA"}, None),
        ({"StudyDescription": "Hip fracture", "ProcedureCodeSequence": [code("Chest")]}, None),
        ({"BodyPartExamined": "PORTABLE", "StudyDescription": "Pelvis"}, Reason.NOT_CHEST),
        ({"StudyDescription": "Hx of breast cancer"}, None),
        ({"StudyDescription": "Stomach tube position"}, None),
        ({"StudyDescription": "Kidney transplant evaluation"}, None),
        ({"StudyDescription": "Sinus tachycardia"}, None),
        ({"StudyDescription": "Kidney, ureter, bladder"}, Reason.NOT_CHEST),
        ({"SeriesDescription": "AP C-arm, head up"}, None),
        ({"SeriesDescription": "TORAX DE PIE"}, None),
    ],
)
def test_the_most_specific_attribute_decides(
    attributes: dict[str, Any], reason: Reason | None
) -> None:
    assert judge(**{**UNNAMED, **attributes}).reason is reason


def test_a_text_that_contradicts_the_body_part_is_noted() -> None:
    verdict = judge(BodyPartExamined="CHEST", SeriesDescription="Knee left")
    assert verdict.is_eligible
    assert "BodyPartExamined says 'CHEST', but SeriesDescription says 'KNEE'" in verdict.notes


def test_a_description_of_the_film_names_the_part_for_a_sender_that_has_to_say_it() -> None:
    strict = Rules(require_body_part=True)
    film = film_header(**UNNAMED, SeriesDescription="Thorax p.a.")
    assert assess(film, strict).is_eligible
    of_study = film_header(**UNNAMED, StudyDescription="Thorax")
    assert assess(of_study, strict).reason is Reason.BODY_PART_NOT_SAID


def test_a_refusal_shows_no_other_words_of_a_description() -> None:
    verdict = judge(**UNNAMED, StudyDescription="Mustermann Erika 12.3.1950 Becken")
    assert verdict.detail == "StudyDescription says 'BECKEN'"
