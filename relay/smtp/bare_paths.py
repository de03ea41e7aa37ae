"""Paths without angle brackets, as old devices send them: put into brackets where it can be told
what was meant. Against RFC 5321 4.1.1.2; for listeners that are told to tolerate it."""

import re

_BARE = re.compile(r"(FROM|TO): *([^<>\s]++)( .*+)?", re.IGNORECASE)


def with_brackets(argument: str) -> str:
    """ "FROM:a@b SIZE=3" becomes "FROM:<a@b> SIZE=3"; "" for anything else."""
    match = _BARE.fullmatch(argument)
    return "" if match is None else f"{match[1]}:<{match[2]}>{match[3] or ''}"
