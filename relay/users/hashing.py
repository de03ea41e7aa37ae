"""Passwords to what is kept of them, and back to yes or no: argon2id and SCRAM keys.

All of it is slow, by design: never to be called in the reactor's thread, but by relayctl.
"""

import os
from functools import cache

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from relay.smtp.sasl import scram

ITERATIONS = 100_000
"""Of SCRAM keys. RFC 7677 4 wants at least 4096, and in 2015 said 15,000 for a tenth of a second.
More, since the keys stand in the file beside the argon2id hash, and a thief would try passwords on
whichever is weaker; clients do them once a session. `relayctl user add --no-scram` omits them."""

_MEMORY = 19 * 1024
"""KiB for one hash, with two passes: the least that OWASP recommends of argon2id. Each thread that
checks a password needs so much."""

_HASHER = PasswordHasher(time_cost=2, memory_cost=_MEMORY, parallelism=1, type=Type.ID)


def hash_password(password: str) -> str:
    """A prepared password as argon2id's own text, with a fresh salt."""
    return _HASHER.hash(password)


def make_keys(password: str) -> scram.Keys:
    """A prepared password's SCRAM keys, with a fresh salt."""
    return scram.derive_keys(password, os.urandom(scram.SALT_SIZE), ITERATIONS)


def is_password(hashed: str, password: str) -> bool:
    """Whether this is the password that was hashed."""
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def nobodys_hash() -> str:
    """Checked for names that nobody has, so that they take as long as the others."""
    return hash_password(os.urandom(16).hex())
