"""The lanes in memory: those of the config, always there, and those made for one domain each.

A lane of a domain is named "UPSTREAM:DOMAIN". It is made when mail for it comes, and forgotten when
nothing is known to wait there, so that memory follows the queue, not all domains ever written to.
Mail that waives the domain's demand for TLS (RFC 8689) has a lane beside it: it must not wait
behind mail that is held up by that demand.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

from relay.queue.lanes import Lane
from relay.queue.store import LaneState

SEPARATOR = ":"
"""Parts upstream and domain in a lane's name; no upstream's name has it."""

EASED = "~tls-optional"
"""Ends the name of a lane for mail that waives the domain's demand for TLS; no domain has it."""


def upstream_of(lane: str) -> str:
    """The upstream that the lane leads to."""
    return lane.partition(SEPARATOR)[0]


def is_eased(lane: str) -> bool:
    """Its mail waives the domain's demand for TLS."""
    return lane.endswith(EASED)


class LaneBook:
    """`names`: the lanes of the config; `by_domain`: the upstreams whose lanes are made."""

    def __init__(self, names: Iterable[str], by_domain: Collection[str], max_in_hand: int) -> None:
        self._max_in_hand = max_in_hand
        self._by_domain = frozenset(by_domain)
        self._lanes = {name: Lane(LaneState(name), max_in_hand) for name in names}

    def __contains__(self, name: str) -> bool:
        """The config has it, or would have it made."""
        return name in self._lanes or self._may_be_made(name)

    def __iter__(self) -> Iterator[Lane]:
        """A copy: lanes may come and go meanwhile."""
        return iter(list(self._lanes.values()))

    def names(self) -> Iterable[str]:
        return list(self._lanes)

    def find(self, name: str) -> Lane | None:
        """None where it does not exist now: nothing waits there."""
        return self._lanes.get(name)

    def get(self, name: str) -> Lane | None:
        """None: the config knows no such lane."""
        lane = self._lanes.get(name)
        if lane is None and self._may_be_made(name):
            lane = self._lanes[name] = Lane(LaneState(name), self._max_in_hand, is_lasting=False)
        return lane

    def _may_be_made(self, name: str) -> bool:
        return SEPARATOR in name and upstream_of(name) in self._by_domain

    def resume(self, state: LaneState) -> None:
        """As it was stored. The state of a domain that nothing waits for is of no use any more."""
        if state.name in self._lanes:
            self._lanes[state.name] = Lane(state, self._max_in_hand)
        elif self._may_be_made(state.name):
            self._lanes[state.name] = Lane(state, self._max_in_hand, is_lasting=False)

    def change(
        self,
        names: Iterable[str],
        by_domain: Collection[str],
        max_in_hand: int,
        stored: Mapping[str, LaneState],
    ) -> list[Lane]:
        """To those of another config; lanes of both stay as they are. Yields those that are gone.

        `stored`: as the store has them, for lanes that are new.
        """
        self._max_in_hand = max_in_hand
        self._by_domain = frozenset(by_domain)
        names = dict.fromkeys(names)
        kept = {name for name in self._lanes if name in names or self._may_be_made(name)}
        gone = [lane for lane in self._lanes.values() if lane.name not in kept]
        for lane in gone:
            lane.is_closed = True
            del self._lanes[lane.name]
        for lane in self._lanes.values():
            lane.resize(max_in_hand)
        for name in names:
            if name not in self._lanes:
                self._lanes[name] = Lane(LaneState(name), max_in_hand)
        for state in stored.values():
            if state.name not in kept:
                self.resume(state)
        return gone

    def forget(self, lane: Lane) -> bool:
        """Whether it was there, and is no longer."""
        if lane.is_lasting or not lane.is_empty or self._lanes.get(lane.name) is not lane:
            return False
        del self._lanes[lane.name]
        return True

    def __repr__(self) -> str:
        return f"<LaneBook {len(self._lanes)} lanes>"
