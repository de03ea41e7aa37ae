"""One user as a value and as a line of the users file, and the file's first line.

Lines are JSON objects. Raises BadRecord for whatever is not as it should be, and never shows it.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from relay.config.values import sender_pattern
from relay.smtp.sasl import scram
from relay.smtp.sasl.prepare import Unprepared, prepare
from relay.smtp.sasl.server import MAX_NAME

VERSION = 1
"""Of the file's format."""

SEED_SIZE = 32
"""Octets of the secret that makes salts for names that nobody has."""

_ARGON2ID = "$argon2id$"


class BadRecord(Exception):
    """What is wrong with a line."""


@dataclass(frozen=True, slots=True)
class User:
    """A user. `hashed`: his password by argon2id. `senders`: patterns, (): any reverse-path."""

    name: str
    hashed: str = field(default="", repr=False)
    keys: scram.Keys | None = field(default=None, repr=False)
    senders: tuple[str, ...] = ()


def first_line(seed: bytes) -> bytes:
    """The head of a file."""
    return orjson.dumps({"relay_users": VERSION, "seed": _text(seed)}) + b"\n"


def read_first_line(line: bytes) -> bytes:
    """The seed. Raises BadRecord."""
    fields = _fields(line)
    if fields.get("relay_users") != VERSION:
        raise BadRecord("is not the first line of a users file; make one with: relayctl user add")
    return _octets(fields.get("seed"), SEED_SIZE)


def line_of(user: User) -> bytes:
    """A user's line."""
    fields: dict[str, Any] = {"name": user.name, "argon2id": user.hashed}
    if user.keys is not None:
        fields["scram"] = {
            "salt": _text(user.keys.salt),
            "iterations": user.keys.iterations,
            "stored_key": _text(user.keys.stored_key),
            "server_key": _text(user.keys.server_key),
        }
    if user.senders:
        fields["senders"] = user.senders
    return orjson.dumps(fields) + b"\n"


def read_line(line: bytes) -> User:
    """The user of a line. Raises BadRecord."""
    fields = _fields(line)
    unknown = fields.keys() - {"name", "argon2id", "scram", "senders"}
    if unknown:
        raise BadRecord(f"has the unknown key {min(unknown)!r}")
    hashed = fields.get("argon2id")
    if not isinstance(hashed, str) or not hashed.startswith(_ARGON2ID):
        raise BadRecord("has no argon2id hash")
    return User(
        checked_name(fields.get("name")),
        hashed,
        None if "scram" not in fields else _keys(fields["scram"]),
        checked_senders(fields.get("senders", [])),
    )


def checked_name(name: object) -> str:
    """A user's name in its one form. Raises BadRecord."""
    if not isinstance(name, str):
        raise BadRecord("has no name")
    try:
        prepared = prepare(name, is_stored=True)
    except Unprepared as fault:
        raise BadRecord(f"has a name that cannot be: {fault}") from None
    if len(prepared.encode()) > MAX_NAME:
        raise BadRecord(f"has a name of more than {MAX_NAME} octets")
    return prepared


def checked_senders(patterns: object) -> tuple[str, ...]:
    """Raises BadRecord."""
    if not isinstance(patterns, list):
        raise BadRecord("has senders that are no list")
    try:
        return tuple(sender_pattern(str(pattern)) for pattern in patterns)
    except ValueError as fault:
        raise BadRecord(f"has a wrong sender pattern: {fault}") from None


def _fields(line: bytes) -> Mapping[str, Any]:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise BadRecord("is no JSON object")
    return fields


def _keys(fields: object) -> scram.Keys:
    if not isinstance(fields, dict):
        raise BadRecord("has SCRAM keys that are no object")
    iterations = fields.get("iterations")
    if type(iterations) is not int or not 0 < iterations <= scram.MAX_ITERATIONS:
        raise BadRecord("has SCRAM keys without a sensible number of iterations")
    return scram.Keys(
        _octets(fields.get("salt"), 0),
        iterations,
        _octets(fields.get("stored_key"), scram.HASH_SIZE),
        _octets(fields.get("server_key"), scram.HASH_SIZE),
    )


def _text(octets: bytes) -> str:
    return b64encode(octets).decode("ascii")


def _octets(text: object, size: int) -> bytes:
    """`size` 0: any but none."""
    try:
        octets = b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError:
        octets = b""
    if not octets or (size and len(octets) != size):
        raise BadRecord("has a damaged key, salt or seed")
    return octets
