import pytest

from daemon.words.readable import person_name, readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Müller 山田", "Müller 山田"),
        ("a\x1b[31m\n\x7f\x85", "a␛[31m␊␡⟨U+0085⟩"),
        ("\u202emoc.live\u202c", "⟨U+202E⟩moc.live⟨U+202C⟩"),
        ("a\u200bb\ufeff\u2028", "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+2028⟩"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u3164\u2800", "⟨U+3164⟩⟨U+2800⟩"),
        ("e" + "\u0301" * 40 + "f", "e" + "\u0301" * 3 + "f"),
        ("<script>", "<script>"),
    ],
)
def test_a_character_that_does_not_show_is_made_visible(text: str, shown: str) -> None:
    assert readable(text) == shown


def test_a_long_text_is_cut() -> None:
    assert readable("x" * 12, most=10) == "x" * 10 + "…"
    assert readable("ü" * 12, most=10) == "ü" * 10 + "…"
    assert readable("\x00" * 12, most=2) == "␀␀…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("Doe^Jane", "Doe, Jane"),
        (
            "Adams^John Robert^Quincy^Rev.^B.A. M.Div.",
            "Adams, John Robert Quincy, Rev., B.A. M.Div.",
        ),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎; やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
        ("^^^Dr.", "Dr."),
        ("^Jane", "Jane"),
        ("a^b^c^d^e^f^g", "a b c d e f g"),
        ("===^^=^", "=, ="),
        ("^" * 300, ""),
    ],
)
def test_a_name_is_shown_as_people_write_it(value: str, shown: str) -> None:
    assert str(person_name(value)) == shown
