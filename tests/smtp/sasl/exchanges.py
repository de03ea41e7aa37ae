"""A user, and a SCRAM client that is written from the RFC and shares no code with the server."""

import base64
import hashlib
import hmac

from relay.smtp.sasl import scram
from relay.smtp.sasl.server import Challenge, CheckPassword, FindKeys, Mechanism, Step

NAME, PASSWORD = "user", "pencil"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = scram.derive_keys(PASSWORD, SALT, 4096)

CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"


def played(mechanism: Mechanism, *responses: bytes | None) -> Step:
    """The last step, keys found on the way."""
    step: Step = Challenge(b"")
    for response in responses:
        step = mechanism.step(response)
        if type(step) is FindKeys:
            step = mechanism.found(KEYS)
    return step


def is_right(asked: CheckPassword) -> bool:
    return (asked.name, asked.password) == (NAME, PASSWORD)


class ScramClient:
    """RFC 5802 3, by hand."""

    def __init__(self, password: str = PASSWORD, name: str = NAME, header: str = "n,,") -> None:
        self.password = password
        self.header = header
        self.bare = f"n={name},r={CLIENT_NONCE}"

    def first(self) -> bytes:
        return (self.header + self.bare).encode()

    def final(self, server_first: bytes, *, header: str | None = None, more: str = "") -> bytes:
        """`header` in place of the one it began with; `more`: behind the nonce."""
        text = server_first.decode()
        bound = self.header if header is None else header
        nonce, salt, count = (part[2:] for part in text.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), base64.b64decode(salt), int(count)
        )
        key = hmac.digest(salted, b"Client Key", "sha256")
        without = f"c={base64.b64encode(bound.encode()).decode()},r={nonce}{more}"
        message = f"{self.bare},{text},{without}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        self.server_signature = hmac.digest(
            hmac.digest(salted, b"Server Key", "sha256"), message, "sha256"
        )
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{without},p={base64.b64encode(proof).decode()}".encode()
