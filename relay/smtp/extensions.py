"""EHLO keywords: the list this relay offers, and the reading of another server's list.

RFC 5321 4.1.1.1; a keyword stands once, upper case, with its parameters as one text.
"""

from collections.abc import Iterable
from typing import Final

MAX_KEYWORDS: Final = 100  # remembered of one server: there are some 40 registered ones


def offered_keywords(
    max_message_size: int,
    max_recipients: int,
    withheld: frozenset[str] = frozenset(),
    mechanisms: tuple[str, ...] = (),
    *,
    is_encrypted: bool = False,
) -> tuple[str, ...]:
    """The lines of our EHLO reply after the first, without the `withheld` keywords.

    No `mechanisms`: no AUTH.
    """
    every: tuple[str, ...] = (
        "PIPELINING",  # RFC 2920
        f"SIZE {max_message_size}",  # RFC 1870
        "8BITMIME",  # RFC 6152
        "ENHANCEDSTATUSCODES",  # RFC 2034
        "DSN",  # RFC 3461
        "SMTPUTF8",  # RFC 6531
        "CHUNKING",  # RFC 3030
        f"LIMITS RCPTMAX={max_recipients}",  # RFC 9422
    )
    if mechanisms:
        every = (*every, f"AUTH {' '.join(mechanisms)}")  # RFC 4954
    if is_encrypted:
        every = (*every, "REQUIRETLS")  # RFC 8689
    if not withheld:
        return every
    return tuple(line for line in every if line.partition(" ")[0] not in withheld)


def parse_keywords(lines: Iterable[str]) -> dict[str, str]:
    """Keyword -> parameters, from the lines of an EHLO reply after the first; the first one wins.

    "AUTH=LOGIN", an old form that some servers send beside "AUTH LOGIN", counts as the latter.
    """
    keywords: dict[str, str] = {}
    for line in lines:
        words = line.split(None, 1)
        if not words or len(keywords) >= MAX_KEYWORDS:
            continue
        keyword = words[0].upper()
        parameters = words[1].strip() if len(words) > 1 else ""
        if keyword.startswith("AUTH="):
            keyword, parameters = "AUTH", f"{words[0][5:]} {parameters}".strip()
        keywords.setdefault(keyword, parameters)
    return keywords
