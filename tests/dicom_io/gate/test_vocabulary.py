"""Words of headers in many spellings, and the tables that hold them."""

from enum import Enum

import pytest

from dicom_io.gate import kind_words, part_words, view_words
from dicom_io.gate.vocabulary import Vocabulary, tokens


class Meaning(Enum):
    CHEST = 1
    SPINE = 2
    NEITHER = 3


KNOWN = Vocabulary(
    {
        Meaning.NEITHER: ({"en": "chest wall"},),
        Meaning.CHEST: ({"en": "chest*, thoracic", "es": "tórax", "ja": "胸", "de": "brust"},),
        Meaning.SPINE: (
            {"en": "thoracic spine", "de": "wirbelsäule*, brustwirbel*", "ja": "胸椎"},
        ),
    }
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Thorax seitl.", ["THORAX", "SEITL"]),
        ("CHEST_2VIEWS", ["CHEST", "VIEWS"]),
        ("p.a./lat.", ["PA", "LAT"]),
        ("P-A & A/P", ["PA", "AP"]),
        ("P→A R→L", ["PA", "RL"]),
        ("ThoraxLat", ["THORAX", "LAT"]),
        ("chestPA", ["CHEST", "PA"]),
        ("CHESTLAT", ["CHEST", "LAT"]),
        ("LATCHEST", ["LAT", "CHEST"]),
        ("Tórax", ["TORAX"]),
        ("ＣＨＥＳＴ", ["CHEST"]),
        ("TÃ³rax", ["TORAX"]),
        ("T??RAX", ["T?RAX"]),
        ("CHEST胸部PA", ["CHEST", "胸部", "PA"]),
        ("Грудная клетка", ["ГРУДНАЯ", "КЛЕТКА"]),
        ("bilateral", ["BILATERAL"]),
        ("", []),
        ("12 / 34", []),
    ],
)
def test_a_text_is_folded_to_words(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@pytest.mark.parametrize(
    ("text", "meanings"),
    [
        ("CHEST PA", [Meaning.CHEST]),
        ("PORTABLE CHESTS", [Meaning.CHEST]),
        ("Chest-wall", [Meaning.NEITHER]),
        ("chest, wall clock", [Meaning.NEITHER]),
        ("thoracic", [Meaning.CHEST]),
        ("Thoracic Spine", [Meaning.SPINE]),
        ("ThoracicSpine", [Meaning.SPINE]),
        ("THORACICSPINE", [Meaning.SPINE]),
        ("BRUST", [Meaning.CHEST]),
        ("Brustwirbelkörper", [Meaning.SPINE]),
        ("Wirbelsaeule", [Meaning.SPINE]),
        ("WIRBELS?ULE", [Meaning.SPINE]),
        ("T\ufffdRAX", [Meaning.CHEST]),
        ("CHEST?", [Meaning.CHEST]),
        ("?CHEST", [Meaning.CHEST]),
        ("胸部", [Meaning.CHEST]),
        ("胸椎", [Meaning.SPINE]),
        ("胸椎・胸部", [Meaning.SPINE, Meaning.CHEST]),
        ("ARCHEST BRUSTX", []),
    ],
)
def test_the_longest_entry_gives_the_meaning(text: str, meanings: list[Meaning]) -> None:
    assert [found.meaning for found in KNOWN.find(text)] == meanings


def test_a_found_word_holds_nothing_else_of_the_text() -> None:
    (found,) = KNOWN.find("Mustermann, Erika: Tórax (Dr. Weiß)")
    assert found.word == "TORAX"


@pytest.mark.parametrize("module", [kind_words, part_words, view_words])
def test_every_entry_of_the_tables_is_found_whole(module: object) -> None:
    tables = {name: table for name, table in vars(module).items() if name.isupper()}
    assert tables
    for table in tables.values():
        known = Vocabulary({Meaning.CHEST: (table,)})
        for entries in table.values():
            for entry in entries.split(","):
                text = entry.strip(" *")
                assert entry.strip() == entry.strip().lower() or not text.isascii(), entry
                found = known.find(text)
                assert len(found) == 1, entry
                assert found[0].word.replace(" ", "") == "".join(tokens(text)), entry
