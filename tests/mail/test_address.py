"""Addresses and the patterns over them."""

import fnmatch
import re

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.address import AddressGlob, split
from tests.properties import given

PATHS = {
    "ann@example.org": ("ann", "example.org"),
    '"a@b"@example.org': ('"a@b"', "example.org"),
    "postmaster": ("postmaster", ""),
    "": ("", ""),
    "x@[IPv6:::1]": ("x", "[IPv6:::1]"),
}

# pattern -> what it matches, what it does not
GLOBS: dict[str, tuple[list[str], list[str]]] = {
    "*": (["", "postmaster", "ann@example.org", "é@x"], []),
    "**": (["", "ann@example.org"], []),
    "<>": ([""], ["postmaster", "a@b", "<>@x"]),
    "postmaster": (
        ["postmaster", "Postmaster", "POSTMASTER"],
        ["", "postmaster@example.org", "postmasters"],
    ),
    "PostMaster": (["postmaster"], [""]),
    "*@example.org": (
        ["ann@example.org", "ann@EXAMPLE.org", '"a@b"@example.org', "@example.org"],
        ["", "postmaster", "ann@sub.example.org", "ann@example.org.evil.net", "ann@xexample.org"],
    ),
    "*@Example.ORG": (["ann@example.org"], ["ann@example.com"]),
    "*@*": (["a@b", "@"], ["", "postmaster"]),
    "*@*.example.net": (
        ["a@b.example.net", "a@b.c.EXAMPLE.net"],
        ["a@example.net", "a@xexample.net"],
    ),
    "Ann@example.org": (
        ["Ann@example.org", "Ann@Example.Org"],
        ["ann@example.org", "xAnn@example.org"],
    ),
    "a*b@x": (["ab@x", "aab@x", "a-b-b@x"], ["a@x", "b@x", "aB@x", "abc@x"]),
    "aba*aba@x": (["abaaba@x", "aba-aba@x"], ["aba@x", "ababa@x"]),
    "a*b*c@x": (["abc@x", "a1b2c@x", "abbc@x"], ["acb@x", "ac@x"]),
    # the star does not reach over the last "@": a quoted local part cannot stand in for a domain
    "*@good.*": (["a@good.org"], ['"a@good.org"@evil.net', '"@good."@evil.net']),
    "*.example.org": (["a@b.EXAMPLE.org", "A@b.example.org"], ["a@example.org", ""]),
    # nothing but the star is special
    "a?@x": (["a?@x"], ["ab@x"]),
    "[ab]@x": (["[ab]@x"], ["a@x"]),
    "a.b@x": (["a.b@x"], ["acb@x"]),
}


class SplitTests(SynchronousTestCase):
    def test_parts(self) -> None:
        for path, parts in PATHS.items():
            self.assertEqual(split(path), parts)


class GlobTests(SynchronousTestCase):
    def test_table(self) -> None:
        for pattern, (matched, others) in GLOBS.items():
            glob = AddressGlob(pattern)
            for path in matched:
                self.assertTrue(glob.matches(path), f"{pattern} {path}")
            for path in others:
                self.assertFalse(glob.matches(path), f"{pattern} {path}")

    def test_the_only_domain(self) -> None:
        for pattern, domain in {
            "*@Example.ORG": "example.org",
            '"a@b"@x': "x",
            "*@": "",
            "*@*": None,
            "*@*.x": None,
            "*": None,
            "<>": None,
            "postmaster": None,
        }.items():
            self.assertEqual(AddressGlob(pattern).domain, domain, pattern)

    def test_an_empty_pattern_is_refused(self) -> None:
        self.assertRaises(ValueError, AddressGlob, "")

    def test_it_says_its_pattern(self) -> None:
        self.assertEqual(repr(AddressGlob("*@x")), "<AddressGlob '*@x'>")

    def test_many_stars_stay_linear(self) -> None:
        """Backtracking over this takes longer than the universe lasts."""
        glob = AddressGlob("a*" * 500 + "b@x")
        self.assertFalse(glob.matches("a" * 5000 + "c@x"))
        self.assertTrue(glob.matches("a" * 5000 + "b@x"))

    @given(st.text("aAb*@", min_size=1, max_size=8), st.text("aAb@", max_size=8))
    def test_agrees_with_a_regular_expression(self, pattern: str, path: str) -> None:
        self.assertEqual(AddressGlob(pattern).matches(path), _expected(pattern, path))


def _expected(pattern: str, path: str) -> bool:
    if not pattern.strip("*"):
        return True
    if "@" not in pattern:
        return bool(path) and _fits(pattern.lower(), path.lower())
    if "@" not in path:
        return False
    (local, domain), (their_local, their_domain) = split(pattern), split(path)
    return _fits(local, their_local) and _fits(domain.lower(), their_domain.lower())


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(fnmatch.translate(pattern), text) is not None
