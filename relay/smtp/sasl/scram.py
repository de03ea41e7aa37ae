"""SCRAM-SHA-256's keys, proofs and attributes, for both ends of an exchange (RFC 5802, RFC 7677).

No exchange is held here: the server's is in `server`, the client's in `client`.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

NAME = "SCRAM-SHA-256"

HASH_SIZE = 32
"""Octets of a SHA-256 hash, so of each key and proof."""

SALT_SIZE = 16
"""Octets of a new salt."""

MAX_ITERATIONS = 10_000_000
"""A larger number in a file or from a server is a mistake or an attack, and would cost seconds."""

_ATTRIBUTE = re.compile(r"([A-Za-z])=([^,\0]+)")
_BAD_ESCAPE = re.compile(r"=(?!2C|3D)")


@dataclass(frozen=True, slots=True)
class Keys:
    """What a server keeps of a password: enough to check a proof, not to make one."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def derive_keys(password: str, salt: bytes, iterations: int) -> Keys:
    """From a prepared password. Slow, by design: never in the reactor's thread."""
    salted = salted_password(password, salt, iterations)
    return Keys(salt, iterations, stored_key(client_key(salted)), server_key(salted))


def salted_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Hi() of RFC 5802 2.2."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def client_key(salted: bytes) -> bytes:
    return hmac.digest(salted, b"Client Key", "sha256")


def stored_key(key: bytes) -> bytes:
    """Of a client key."""
    return hashlib.sha256(key).digest()


def server_key(salted: bytes) -> bytes:
    return hmac.digest(salted, b"Server Key", "sha256")


def signature(key: bytes, auth_message: bytes) -> bytes:
    return hmac.digest(key, auth_message, "sha256")


def xor(one: bytes, other: bytes) -> bytes:
    """Of equal length."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def proves(keys: Keys, auth_message: bytes, proof: bytes) -> bool:
    """Whether the proof was made with the password of these keys (RFC 5802 3)."""
    if len(proof) != HASH_SIZE:
        return False
    key = xor(proof, signature(keys.stored_key, auth_message))
    return hmac.compare_digest(hashlib.sha256(key).digest(), keys.stored_key)


def attributes(text: str) -> list[tuple[str, str]] | None:
    """The attributes of a message in their order; None where it is not made of such."""
    found = [_ATTRIBUTE.fullmatch(part) for part in text.split(",")]
    return [(m[1], m[2]) for m in found if m] if all(found) else None


def escaped(name: str) -> str:
    """A name as it stands in a message (RFC 5802 5.1)."""
    return name.replace("=", "=3D").replace(",", "=2C")


def unescaped(name: str) -> str | None:
    """None where an "=" is not escaped."""
    if _BAD_ESCAPE.search(name):
        return None
    return name.replace("=2C", ",").replace("=3D", "=")
