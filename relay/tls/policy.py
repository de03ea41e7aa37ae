"""What TLS a session with a host must have, as a frozen value: from the config, or from lookups.

Sessions are shared only by mail of equal policy.
"""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How much is asked of a host, from the least to the most."""

    NONE = "none"  # plain
    OPPORTUNISTIC = "opportunistic"  # encrypted where that works, unverified
    REQUIRED = "required"  # encrypted, unverified
    VERIFIED = "verified"  # encrypted, and the certificate is the host's


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """`names`: those that the certificate may bear, () for the host's own."""

    level: Level
    names: tuple[str, ...] = ()

    @property
    def may_go_plain(self) -> bool:
        return self.level is Level.NONE or self.level is Level.OPPORTUNISTIC

    @property
    def is_verified(self) -> bool:
        return self.level is Level.VERIFIED

    def __str__(self) -> str:
        return self.level.value
