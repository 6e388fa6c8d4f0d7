"""Messages in any order, once or several times, lead to one identity of each patient."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.patients.identity import (
    KnownPatient,
    PatientKey,
    edges_of,
    identity_key,
    is_contradicted,
    learn,
    line_of,
    present,
)
from storage.patients.patient import Patient
from storage.patients.records import ChangeKind, PatientChange

START = datetime(2026, 3, 1, tzinfo=UTC)
NUMBERS = "ABCD"


def change(
    second: int, patient: str, prior: str = "", name: str | None = None, date: str | None = None
) -> PatientChange:
    return PatientChange(
        ChangeKind.MERGE if prior else ChangeKind.UPDATE,
        "A40" if prior else "A08",
        "ADT",
        str(second),
        "digest",
        ("",),
        START + timedelta(seconds=second),
        patient,
        name=name,
        birth_date=date,
        prior_patient_id=prior,
    )


def known_after(changes: Sequence[PatientChange]) -> dict[PatientKey, KnownPatient]:
    known: dict[PatientKey, KnownPatient] = {}
    for one in changes:
        for edge in edges_of(one):
            before = known.get(edge.key, KnownPatient(edge.key))
            known[edge.key] = learn(before, edge, one.event_time)
    return known


def last_of(known: dict[PatientKey, KnownPatient], number: str) -> str:
    return line_of(known, PatientKey(number))[-1].patient_id


NAMES = st.one_of(st.none(), st.sampled_from(["DOE^JANE", "ROE^JANE", ""]))
DATES = st.one_of(st.none(), st.sampled_from(["19500101", "19510101", ""]))


@st.composite
def messages(draw: st.DrawFn) -> list[PatientChange]:
    seconds = draw(st.lists(st.integers(0, 99), max_size=8, unique=True))
    return [
        change(
            second,
            draw(st.sampled_from(NUMBERS)),
            draw(st.sampled_from(["", *NUMBERS])),
            draw(NAMES),
            draw(DATES),
        )
        for second in seconds
    ]


@given(messages(), st.data())
def test_the_order_and_the_repeats_of_messages_make_no_difference(
    changes: list[PatientChange], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(changes + changes[:3]))

    known, other = known_after(changes), known_after(shuffled)

    assert known == other
    for number in NUMBERS:
        film = Patient(number, "", "DOE^JANE", "19500101", "F")
        assert present(known, film) == present(other, film)


@given(messages())
def test_the_last_merge_holds(changes: list[PatientChange]) -> None:
    merges = [one for one in changes if one.prior_patient_id not in ("", one.patient_id)]
    if not merges:
        return
    last = max(merges, key=lambda one: one.event_time)
    known = known_after(changes)

    assert last_of(known, last.prior_patient_id) == last_of(known, last.patient_id)


@given(messages())
def test_the_last_number_of_a_line_is_its_own_last_number(changes: list[PatientChange]) -> None:
    known = known_after(changes)
    for number in NUMBERS:
        last = last_of(known, number)
        assert last_of(known, last) == last


def test_a_merge_back_makes_the_first_number_the_one() -> None:
    there = [change(1, "B", "A")]
    back = [*there, change(2, "A", "B")]
    again = [*back, change(3, "B", "A")]

    found = [[last_of(known_after(one), number) for number in "AB"] for one in (there, back, again)]

    assert found == [["B", "B"], ["A", "A"], ["B", "B"]]


def test_a_chain_ends_at_its_last_patient() -> None:
    known = known_after([change(2, "C", "B"), change(1, "B", "A", name="ROE^JANE")])

    assert last_of(known, "A") == "C"
    film = Patient("A", "", "DOE^JANE", "19500101", "F")
    assert present(known, film) == Patient("C", "", "ROE^JANE", "19500101", "F")


@pytest.mark.parametrize(("prior_issuer", "last"), [("HOSPITAL", "B"), ("CLINIC", "A")])
def test_a_number_without_issuer_is_not_that_of_another_issuer(
    prior_issuer: str, last: str
) -> None:
    merge = replace(
        change(1, "B", "A"), issuer="HOSPITAL", prior_issuer=prior_issuer, with_unissued=True
    )

    known = known_after([merge])

    assert last_of(known, "A") == last
    assert line_of(known, PatientKey("A", prior_issuer))[-1] == PatientKey("B", "HOSPITAL")


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("Doe^Jane", "DOE^JANE"),
        ("DOE^JANE^^Dr^PhD", "DOE^JANE"),
        ("Döe^Jané", "DOE^JANE"),
        ("DOE^JANE^MARY", "DOE^JANE^MARY"),
        ("JANE^DOE", "JANE^DOE"),
        ("", ""),
    ],
)
def test_only_a_name_that_says_something_else_replaces_that_of_the_film(
    told: str, written: str
) -> None:
    known = known_after([change(1, "A", name=told)])

    assert present(known, Patient("A", "", "DOE^JANE")).name == written


def test_a_film_whose_name_and_birth_date_differ_from_those_of_its_number_contradicts() -> None:
    known = known_after([change(1, "A", name="DOE^JANE", date="19500101")])

    def contradicts(name: str, date: str) -> bool:
        return is_contradicted(known, Patient("A", "", name, date))

    assert contradicts("SMITH^MARY", "19800101")
    assert not contradicts("SMITH^MARY", "19500101")
    assert not contradicts("DOE^JANE", "19800101")
    assert not contradicts("SMITH^MARY", "")
    assert not contradicts("", "19800101")
    assert not is_contradicted(known, Patient("B", "", "SMITH^MARY", "19800101"))


def test_an_identity_has_a_name_unless_it_is_that_of_the_header() -> None:
    one, other = Patient("A", "", "DOE^JANE"), Patient("A", "DOE", "^JANE")

    assert identity_key(one, one) == ""
    assert identity_key(other, one) != identity_key(one, other) != ""
