"""The server's side of PLAIN, LOGIN and SCRAM-SHA-256, sans-io: a response in, the next step out.

Checks no password and knows no users: that is asked for by steps. RFC 4616, 5802, 7677; LOGIN has
no standard but draft-murchison-sasl-login.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relay.smtp.sasl import base64, scram
from relay.smtp.sasl.prepare import Unprepared, prepare

MAX_NAME = 255
"""Octets of a user's name (RFC 4616 2: at least so many are taken)."""

MAX_PASSWORD = 1024
"""Octets of a password: four times what RFC 4616 asks for."""

MAX_NONCE = 512
"""Octets of a client's nonce, which is sent back; real ones have 20 to 50."""

_NONCE = re.compile(rf"[!-+\--~]{{1,{MAX_NONCE}}}")


class Bad(Exception):
    """A message against the mechanism's grammar. Its text, for the log, shows none of it."""


class Denied(Exception):
    """Well-formed, and not to be granted whatever the password. Its text is for the log."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this, and give its response to `step`."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class CheckPassword:
    """The end: granted if this is the user's password. Both are prepared."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindKeys:
    """Give this user's keys to `found`, and for a user that is not known keys of nobody."""

    name: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The end: the user has proven that he knows the password."""

    name: str


Step = Challenge | CheckPassword | FindKeys | Granted


class Mechanism(Protocol):
    """One exchange. Raises Bad or Denied, and is over then."""

    @property
    def name(self) -> str:
        """The user's, as far as he is known by now; "" if not."""

    def step(self, response: bytes | None) -> Step:
        """What the client sent: first its initial response, or None where there was none."""

    def found(self, keys: scram.Keys) -> Step:
        """What FindKeys asked for."""


class Plain:
    """RFC 4616."""

    __slots__ = ("name",)

    def __init__(self, nonce: str) -> None:
        self.name = ""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Bad("not three parts between NULs")
        authorize_as, name, password = parts
        self.name = _name(name)
        if authorize_as and _name(authorize_as) != self.name:
            raise Denied("wants to act as somebody else")
        return CheckPassword(self.name, _password(password))

    def found(self, keys: scram.Keys) -> Step:
        raise Bad("no keys were asked for")


class Login:
    """Two prompts. Many clients send the name as their initial response, which is taken."""

    __slots__ = ("name",)

    def __init__(self, nonce: str) -> None:
        self.name = ""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        if not self.name:
            self.name = _name(response)
            return Challenge(b"Password:")
        return CheckPassword(self.name, _password(response))

    def found(self, keys: scram.Keys) -> Step:
        raise Bad("no keys were asked for")


class Scram:
    """RFC 5802 with SHA-256 (RFC 7677), without channel binding: no -PLUS mechanism is offered."""

    __slots__ = ("_bare", "_first", "_header", "_keys", "_next", "_nonce", "name")

    def __init__(self, nonce: str) -> None:
        self.name = ""
        self._nonce = nonce  # the client's comes before it
        self._header = self._bare = self._first = ""
        self._keys: scram.Keys | None = None
        self._next: Callable[[str], Step] = self._client_first

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        return self._next(_text(response))

    def _client_first(self, text: str) -> Step:
        """gs2-header "n=" name ",r=" nonce (RFC 5802 7)."""
        flag, comma, rest = text.partition(",")
        authorize_as, second_comma, bare = rest.partition(",")
        if not comma or not second_comma:
            raise Bad("no GS2 header")
        if flag.startswith("p="):
            raise Denied("wants channel binding, which is not offered")
        if flag not in ("n", "y"):
            raise Bad("no channel binding flag")
        self._header, self._bare = f"{flag},{authorize_as},", bare
        self.name, nonce = self._name_and_nonce(bare)
        if authorize_as and self._authorized(authorize_as) != self.name:
            raise Denied("wants to act as somebody else")
        self._nonce = nonce + self._nonce
        self._next = self._nothing
        return FindKeys(self.name)

    def _name_and_nonce(self, bare: str) -> tuple[str, str]:
        found = scram.attributes(bare)
        if found is None or len(found) < 2:
            raise Bad("no attributes")
        if found[0][0] == "m":
            raise Denied("wants an extension that is not known")
        (n, name), (r, nonce) = found[:2]
        if n != "n" or r != "r" or not _NONCE.fullmatch(nonce):
            raise Bad("no name or no nonce")
        return _saslname(name), nonce

    def _authorized(self, text: str) -> str:
        if not text.startswith("a="):
            raise Bad("no authorization identity")
        return _saslname(text[2:])

    def found(self, keys: scram.Keys) -> Step:
        self._keys = keys
        self._first = f"r={self._nonce},s={base64.encode(keys.salt)},i={keys.iterations}"
        self._next = self._client_final
        return Challenge(self._first.encode())

    def _client_final(self, text: str) -> Step:
        """ "c=" gs2-header in Base64 ",r=" nonce extensions ",p=" proof."""
        assert self._keys is not None
        without_proof, _, proof = text.rpartition(",p=")
        found = scram.attributes(without_proof)
        if found is None or [name for name, _ in found[:2]] != ["c", "r"]:
            raise Bad("no channel binding or no nonce")
        if found[0][1] != base64.encode(self._header.encode()):
            raise Denied("the channel binding is not the one it began with")
        if found[1][1] != self._nonce:
            raise Denied("not our nonce")
        auth_message = f"{self._bare},{self._first},{without_proof}".encode()
        if not scram.proves(self._keys, auth_message, _decoded(proof)):
            raise Denied("wrong password")
        self._next = self._acknowledged
        signature = scram.signature(self._keys.server_key, auth_message)
        return Challenge(f"v={base64.encode(signature)}".encode())

    def _acknowledged(self, text: str) -> Step:
        """SMTP's 235 carries no data, so the server's proof was a challenge (RFC 4422 5)."""
        if text:
            raise Bad("a response to the server's proof")
        return Granted(self.name)

    def _nothing(self, text: str) -> Step:
        raise Bad("out of turn")


MECHANISMS: Mapping[str, Callable[[str], Mechanism]] = {
    "PLAIN": Plain,
    "LOGIN": Login,
    scram.NAME: Scram,
}
"""By name, each made with a fresh nonce."""


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("not UTF-8") from None


def _prepared(octets: bytes, limit: int, what: str) -> str:
    if len(octets) > limit:
        raise Bad(f"a {what} of more than {limit} octets")
    text = _text(octets)
    if "\0" in text:
        raise Bad(f"a NUL in the {what}")
    try:
        return prepare(text)
    except Unprepared as fault:
        raise Bad(f"the {what}: {fault}") from None


def _name(octets: bytes) -> str:
    return _prepared(octets, MAX_NAME, "name")


def _password(octets: bytes) -> str:
    return _prepared(octets, MAX_PASSWORD, "password")


def _saslname(text: str) -> str:
    name = scram.unescaped(text)
    if name is None:
        raise Bad("a name that is not escaped")
    return _name(name.encode())


def _decoded(text: str) -> bytes:
    try:
        return base64.decode(text.encode())
    except base64.NotBase64:
        raise Bad("a proof that is no Base64") from None
