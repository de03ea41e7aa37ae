"""Places: the right to one session where the number of sessions is limited over several processes.

A relay that is one process counts its sessions itself and needs none of this.
"""

from collections.abc import Callable
from typing import Protocol

Taken = Callable[[bool], None]
"""Whether a place was had."""


class Places(Protocol):
    """Where places are taken and given back."""

    def take(
        self,
        key: str,
        total: int,
        taken: Taken,
        recalled: Callable[[], None] | None = None,
    ) -> None:
        """A place of `key`, of which there are `total`; `taken` is called once, maybe at once.

        `recalled`: waits until there is one, and is called when one of them should be freed for
        others. Without it `taken` hears False where there is none.
        """

    def give(self, key: str) -> None:
        """It is not used any more."""

    def is_recalled(self, key: str) -> bool:
        """One should be freed for others."""
