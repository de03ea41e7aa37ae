"""Addresses as text: their two parts, and the patterns by which operators name many of them.

Paths are as `relay.mail.envelope` tells: no angle brackets, "" is the null reverse-path. Only `*`
is special in a pattern: any characters or none, but never across the last "@" of an address.
"""

from collections.abc import Callable


def split(path: str) -> tuple[str, str]:
    """Local part and domain; the domain is "" for the null reverse-path and for <postmaster>."""
    local, at, domain = path.rpartition("@")
    return (local, domain) if at else (path, "")


class AddressGlob:
    """A pattern over the whole address; the local part is case-sensitive, the domain is not.

    "*" alone matches every path, the null path too; "<>" only that; "postmaster", in any case,
    <postmaster>. Other patterns without "@" are tried on the whole address, its case ignored.
    Raises ValueError for an empty pattern.
    """

    __slots__ = ("domain", "matches", "pattern")

    matches: Callable[[str], bool]
    """Whether a path matches, in time linear in its length."""

    domain: str | None
    """The only domain, in lower case, whose addresses can match; None: there are others."""

    def __init__(self, pattern: str) -> None:
        if not pattern:
            raise ValueError('an address pattern is empty; write "<>" for the null reverse-path')
        self.pattern = pattern
        self.matches = _matcher(pattern)
        _, at, domain = pattern.rpartition("@")
        self.domain = domain.lower() if at and "*" not in domain else None

    def __repr__(self) -> str:
        return f"<AddressGlob {self.pattern!r}>"


def _matcher(pattern: str) -> Callable[[str], bool]:
    if pattern.strip("*") == "":
        return _everything
    if pattern == "<>":
        return _is_null
    local, at, domain = pattern.rpartition("@")
    if not at:
        return _without_at(pattern.lower())
    return _in_two_parts(_glob(local), _glob(domain.lower()))


def _everything(path: str) -> bool:
    return True


def _is_null(path: str) -> bool:
    return not path


def _without_at(pattern: str) -> Callable[[str], bool]:
    matches = _glob(pattern)
    return lambda path: bool(path) and matches(path.lower())


def _in_two_parts(
    local_matches: Callable[[str], bool], domain_matches: Callable[[str], bool]
) -> Callable[[str], bool]:
    def matches(path: str) -> bool:
        local, at, domain = path.rpartition("@")
        return bool(at) and domain_matches(domain.lower()) and local_matches(local)

    return matches


def _glob(pattern: str) -> Callable[[str], bool]:
    """What stands between the stars is looked for from left to right, each as early as it can be.

    That never has to go back, so no pattern is slow (a regular expression's would be).
    """
    if "*" not in pattern:
        return pattern.__eq__
    first, *between, last = pattern.split("*")
    between = [piece for piece in between if piece]
    shortest = len(first) + len(last)

    def matches(text: str) -> bool:
        if len(text) < shortest or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in between:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    return matches
