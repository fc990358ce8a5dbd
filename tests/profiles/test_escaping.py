import pytest

from profiles.escaping import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 5%, 画像 🦊", "größe 5%, 画像 🦊"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),  # a colour and the bell
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),  # the window's title
        ("a\x9b2Jb", r"a\x9b2Jb"),  # the same control sequences in one byte, C1
        ("abc\rxyz", "abc xyz"),  # would be written over
        ("a\nb\tc\u2028d", "a b c d"),
        ("\u202ereversed", r"\u202ereversed"),  # bidi
        ("\ud800", r"\ud800"),  # half a letter
        ("nul\0", r"nul\x00"),
    ],
)
def test_no_byte_of_others_moves_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable_lines(text).replace("\n", "").isprintable()


def test_long_words_are_cut_where_it_is_asked_for() -> None:
    assert printable("x" * 9, most=4) == "xxx…"
    assert printable("xxxx", most=4) == "xxxx"


def test_a_texts_own_lines_are_kept() -> None:
    assert printable_lines("one\n\x1btwo\n") == "one\n\\x1btwo\n"
