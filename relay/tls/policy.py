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
    DANE = "dane"  # encrypted, and the certificate is that of the TLSA records


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record (RFC 6698 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """`names`: those that the certificate may bear, () for the host's own; `tlsa`: usable records
    (see `relay.tls.dane`), for DANE alone: they are of the first of the names. `is_sure`: the host
    is the one that is meant, by DNSSEC or by MTA-STS; otherwise anybody may have named it."""

    level: Level
    names: tuple[str, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()
    is_sure: bool = False

    @property
    def may_go_plain(self) -> bool:
        return self.level is Level.NONE or self.level is Level.OPPORTUNISTIC

    @property
    def is_verified(self) -> bool:
        return self.level is Level.VERIFIED or self.level is Level.DANE

    def __str__(self) -> str:
        return self.level.value
