"""What is offered to clients whose mail may be passed on to several upstreams."""

from collections.abc import Mapping
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from relay.inbound.passage import OURS_ONLY_WITH_THEIRS, withheld
from relay.mail.trace import MAX_RECEIVED

ALL = dict.fromkeys(OURS_ONLY_WITH_THEIRS, "")


class Known:
    """What upstreams offer, by their names."""

    def __init__(self, offers: Mapping[str, Mapping[str, str]]) -> None:
        self._offers = offers

    def extensions(self, upstream: str) -> Mapping[str, str]:
        return self._offers[upstream]


def lacking(**offers: Mapping[str, str]) -> tuple[frozenset[str], int]:
    return withheld(cast(Any, Known(offers)), offers)


class WithheldTests(SynchronousTestCase):
    def test_what_any_of_them_lacks(self) -> None:
        self.assertEqual((frozenset(), 0), lacking(a=ALL, b=ALL))
        few = {"8BITMIME": "", "PIPELINING": ""}
        for offers in ({"a": few, "b": ALL}, {"a": ALL, "b": few}):
            self.assertEqual((OURS_ONLY_WITH_THEIRS - {"8BITMIME"}, 0), lacking(**offers))
        self.assertEqual((OURS_ONLY_WITH_THEIRS, 0), lacking(a={}, b=ALL))

    def test_the_least_size_that_is_a_limit(self) -> None:
        for sizes, least in (
            (("10000", "20000"), 10000 - MAX_RECEIVED),
            (("20000", "10000"), 10000 - MAX_RECEIVED),
            (("0", "20000"), 20000 - MAX_RECEIVED),
            (("0", "1000"), 1),
            (("", "20000"), 20000 - MAX_RECEIVED),
            (("x", "\u00b2"), 0),
        ):
            offers = {str(n): {**ALL, "SIZE": size} for n, size in enumerate(sizes)}
            self.assertEqual((frozenset(), least), lacking(**offers), sizes)
