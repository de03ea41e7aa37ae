"""What all upstreams of a process share: its reactor, its places, and who hears of things."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relay.config import Upstream
from relay.notices import Observer
from relay.outbound.conversions import Conversions
from relay.outbound.identity.shared_token import SharedTokens
from relay.outbound.pacer import Pacer
from relay.outbound.ticker import Ticker
from relay.outbound.turns import Turns
from relay.places import SharedPlaces


@dataclass(frozen=True, slots=True)
class Premises:
    """It outlives configurations. `workers` share each `max_rate` evenly: one without mail leaves
    its part unused."""

    reactor: Any
    ticker: Ticker
    places: SharedPlaces | None
    workers: int
    tokens: SharedTokens
    turns: Turns
    conversions: Conversions
    observe: Observer
    emptied: Callable[[], None]
    """Called whenever a factory has nothing left."""
    login_changed: Callable[[str], None]
    """Told the lane whose credentials have changed."""

    def pacer_of(self, upstream: Upstream, lane: str) -> Pacer | None:
        """None: as fast as it goes."""
        if upstream.max_rate is None:
            return None
        return Pacer(upstream.max_rate / self.workers, self.reactor, self.turns, lane)
