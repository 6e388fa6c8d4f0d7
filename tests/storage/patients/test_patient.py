"""One patient or two, as a table."""

import pytest

from storage.patients.patient import Patient, by_patient, is_same_patient

A = Patient("PAT-A", "HOSP", "Müller^Jörg", "19700101", "M")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (A, A, True),
        (A, Patient("PAT-B", "HOSP", "Müller^Jörg", "19700101", "M"), False),
        (A, Patient(" PAT-A\0 "), True),
        (A, Patient("pat-a"), False),
        (A, Patient("PAT-A", "", "Other^Name", "", "F"), True),
        (A, Patient("PAT-A", " HOSP "), True),
        (A, Patient("PAT-A", "OTHER"), False),
        (A, Patient("PAT-A", "HOSP", "", "19700102"), False),
        (A, Patient("PAT-A", "HOSP", "", "1970.01.01"), True),
        (A, Patient("PAT-A", "HOSP", "", "1970"), True),
        (A, Patient("PAT-A", "HOSP", "", "00000000"), True),
        (A, Patient("PAT-A", "HOSP", "", "19000101"), True),
        (A, Patient("PAT-A", "HOSP", "", "not a date"), True),
        (A, Patient("", "", "MULLER^JORG^^DR", "19700101", "M"), True),
        (A, Patient("UNKNOWN", "", "Müller^Jörg", "", ""), True),
        (A, Patient("unknown", "", "Meier^Jörg", "19700101", "M"), False),
        (A, Patient("N/A", "", "Müller^Jörg", "19710101", "M"), False),
        (A, Patient("0000", "", "Müller^Jörg", "19700101", "F"), False),
        (A, Patient("???", "", "", "", ""), True),
        (Patient(""), Patient(""), True),
        (Patient("", name="Doe^Jane"), Patient("", name="Doe^John"), False),
        (Patient("", name="Doe^Jane"), Patient("", name="DOE JANE"), True),
        (Patient("", name="Doe^Jane"), Patient("", name="Jane Doe"), True),
        (Patient("", name="Doe^Jane"), Patient("", name="doe ^ jane^^^"), True),
        (Patient("", name="Doe^Jane^Ann"), Patient("", name="Doe^Jane"), True),
        (Patient("", name="Doe^Jane^Ann"), Patient("", name="Doe^Jane^Eve"), False),
        (Patient("", name="Doe^Jane"), Patient("", name="Doe"), False),
        (Patient("", name="Doe^Jane"), Patient("", name="Unknown^"), True),
        (
            Patient("", name="Yamada^Tarou=山田^太郎=やまだ^たろう"),
            Patient("", name="=山田^太郎"),
            True,
        ),
        (Patient("", name="Yamada^Tarou"), Patient("", name="=山田^太郎"), True),
        (Patient("", name="=山田^太郎"), Patient("", name="=山田　太郎"), True),
        (Patient("", name="=山田^太郎"), Patient("", name="=山田^花子"), False),
        (Patient("", name="==ガキ^タロ"), Patient("", name="==カキ^タロ"), False),
        (Patient("", name="ｙａｍａｄａ^ｔａｒｏｕ"), Patient("", name="YAMADA^TAROU"), True),
        (Patient("", name="홍^길동"), Patient("", name="홍^길동"), True),
        (Patient("XXX"), Patient("XXX", name="Doe^Jane"), True),
        (Patient("X1"), Patient("X2"), False),
        (Patient("NEZNÁMÝ"), A, True),
        (Patient("Okänd", name="Doe^Jane"), A, False),
        (Patient("неизвестный"), A, True),
        (Patient("不明"), A, True),
        (Patient("Not provided", name="Doe^Jane"), Patient("12", name="Doe^Jane"), True),
    ],
)
def test_identities_match(one: Patient, other: Patient, expected: bool) -> None:
    assert is_same_patient(one, other) is expected
    assert is_same_patient(other, one) is expected


def test_films_are_grouped_by_patient() -> None:
    films = [
        (Patient("A", "north"), 1),
        (Patient("A"), 2),
        (Patient("B"), 3),
        (Patient("A", "south"), 4),
        (Patient("B", name="Any^One"), 5),
    ]
    assert by_patient(films) == [[1, 2], [3, 5], [4]]
