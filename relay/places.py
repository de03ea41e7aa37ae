"""Places: the right to one session, where the number of sessions is limited."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

Taken = Callable[[bool], None]
"""Whether a place was had."""


class Places(Protocol):
    """Where places are taken and given back."""

    def take(self, key: str, total: int, taken: Taken) -> None:
        """A place of `key`, of which there are `total`; `taken` is called once, maybe at once,
        and hears False where there is none."""

    def give(self, key: str) -> None:
        """It is not used any more."""


class SharedPlaces(Protocol):
    """Places of which several processes have a part each."""

    def take(
        self,
        key: str,
        total: int,
        taken: Taken,
        recalled: Callable[[], None] | None = None,
    ) -> None:
        """As above. With `recalled` it waits until there is one; that is called when one of them
        should be freed for others."""

    def give(self, key: str) -> None:
        """It is not used any more."""

    def is_recalled(self, key: str) -> bool:
        """One should be freed for others."""


class OwnPlaces:
    """Those of a relay that is one process: it counts them."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, key: str, total: int, taken: Taken) -> None:
        has_one = self._taken[key] < total
        if has_one:
            self._taken[key] += 1
        taken(has_one)

    def give(self, key: str) -> None:
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]

    def __repr__(self) -> str:
        return f"<OwnPlaces {self._taken.total()} taken of {len(self._taken)} kinds>"
