"""Names as they are shown: nothing in them moves the text around them, and what is written in other scripts stays."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bundle.printable import is_printable, printable

MOVES_TEXT = {"RLO", "LRO", "RLE", "LRE", "PDF", "LRI", "RLI", "FSI", "PDI", "B"}  # B: ends a paragraph


@given(st.binary(max_size=40))
def test_any_name_of_a_file_can_be_printed_and_stored(name):
    shown = printable(name)
    shown.encode("utf-8")
    assert is_printable(shown)
    assert printable(shown) == shown
    assert not any(unicodedata.category(letter) == "Cc" for letter in shown)
    assert not any(unicodedata.bidirectional(letter) in MOVES_TEXT for letter in shown)


@pytest.mark.parametrize("name", ["r\u00e9d", "\u0645\u06cc\u200c\u062e", "\U0001f468\u200d\U0001f469", "[red]", "a b"])
def test_names_of_any_script_stay(name):
    assert printable(name) == name
    assert is_printable(name)


@pytest.mark.parametrize("name", ["\u202ered", "a\nb", "a\u2028b", "\x85", "\ud800"])
def test_what_moves_text_is_no_name(name):
    assert not is_printable(name)
