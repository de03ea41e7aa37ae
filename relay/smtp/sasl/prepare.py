"""SASLprep: names and passwords as they are compared and hashed (RFC 4013).

The tables are those of the standard library's `stringprep` (RFC 3454, Unicode 3.2).
"""

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class Unprepared(ValueError):
    """A text with characters that no name or password may hold. Says nothing of the text."""


def prepare(text: str, *, is_stored: bool = False) -> str:
    """The text in its one form; never empty. Raises Unprepared.

    `is_stored`: it is to be kept, so characters that Unicode 3.2 did not assign are refused too
    (RFC 4013 2.5): their form might change.
    """
    if not (text.isascii() and text.isprintable()):
        text = _mapped(text)
        _check(text, is_stored)
    if not text:
        raise Unprepared("it is empty")
    return text


def _mapped(text: str) -> str:
    """RFC 4013 2.1 and 2.2. A C.1.2 character is a space here, whatever else it is."""
    kept = (
        " " if stringprep.in_table_c12(c) else c
        for c in text
        if stringprep.in_table_c12(c) or not stringprep.in_table_b1(c)
    )
    return unicodedata.ucd_3_2_0.normalize("NFKC", "".join(kept))


def _check(text: str, is_stored: bool) -> None:
    for character in text:
        if any(is_in(character) for is_in in _PROHIBITED):
            raise Unprepared("it holds characters that are not allowed")
        if is_stored and stringprep.in_table_a1(character):
            raise Unprepared("it holds characters that Unicode 3.2 does not know")
    _check_direction(text)


def _check_direction(text: str) -> None:
    """RFC 3454 6: right-to-left text stands alone, between right-to-left characters."""
    if not any(map(stringprep.in_table_d1, text)):
        return
    is_framed = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not is_framed or any(map(stringprep.in_table_d2, text)):
        raise Unprepared("it mixes right-to-left and left-to-right text")
