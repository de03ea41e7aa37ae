"""The client's side of AUTH, sans-io: which mechanism is taken, and its responses to challenges.

Passwords: SCRAM-SHA-256 (RFC 5802, 7677), PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login).
Access tokens: OAUTHBEARER (RFC 7628), and XOAUTH2, its forerunner, as Google documents it.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relay.smtp.sasl import base64, scram
from relay.smtp.sasl.prepare import Unprepared, prepare

MAX_ITERATIONS = 300_000
"""SCRAM's, as a server may ask for: some 0.2 s of this process's time, once for each salt. Real
servers ask for 4,096 to 100,000."""

TOKEN_MECHANISMS = ("OAUTHBEARER", "XOAUTH2")
PASSWORD_MECHANISMS = (scram.NAME, "PLAIN", "LOGIN")
"""The strongest first. PLAIN and LOGIN show the same; the former takes one step."""


class Distrusted(Exception):
    """The server's part of the exchange is not what it must be. Its text shows no secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """Whom a session is to be, and how it shows that. `secret`: a password, or an access token.
    `mechanisms`: those that may be used, () for any; `may_go_plain`: without TLS, too."""

    user: str
    secret: str = field(repr=False)
    is_token: bool = False
    mechanisms: tuple[str, ...] = ()
    may_go_plain: bool = False
    salted: dict[tuple[bytes, int], bytes] = field(
        default_factory=dict, repr=False, compare=False
    )  # the last one: it is slow to make

    @property
    def usable(self) -> tuple[str, ...]:
        """The mechanisms that may be used, the strongest first."""
        every = TOKEN_MECHANISMS if self.is_token else PASSWORD_MECHANISMS
        return tuple(each for each in every if not self.mechanisms or each in self.mechanisms)


class Exchange(Protocol):
    """One exchange. `is_settled`: the server's word that it is done may be believed."""

    name: str

    @property
    def is_settled(self) -> bool: ...

    def begin(self) -> bytes | None:
        """The initial response; None: the mechanism has none."""

    def respond(self, challenge: bytes) -> bytes:
        """Raises Distrusted."""


def choose(offered: str, login: Login, nonce: str) -> Exchange | None:
    """The strongest mechanism that is offered and usable; None: there is none."""
    words = frozenset(offered.upper().split())
    name = next((each for each in login.usable if each in words), None)
    return None if name is None else _EXCHANGES[name](login, nonce)


class _InOneStep:
    """All is said in the initial response."""

    name = ""
    is_settled = True

    def __init__(self, login: Login, nonce: str) -> None:
        self._login = login

    def begin(self) -> bytes | None:
        raise NotImplementedError

    def respond(self, challenge: bytes) -> bytes:
        raise Distrusted("it asks for more than this mechanism has")

    def __repr__(self) -> str:
        return f"<{self.name} for {self._login.user}>"


class Plain(_InOneStep):
    name = "PLAIN"

    def begin(self) -> bytes:
        user, password = _prepared(self._login.user), _prepared(self._login.secret)
        return b"\0%b\0%b" % (user.encode(), password.encode())


class LoginPrompts(_InOneStep):
    """Name, then password, whatever the prompts are called: servers differ in that."""

    name = "LOGIN"

    def __init__(self, login: Login, nonce: str) -> None:
        super().__init__(login, nonce)
        self._to_say = [login.secret, login.user]

    def begin(self) -> None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        if not self._to_say:
            raise Distrusted("it asks for more than a name and a password")
        return self._to_say.pop().encode()


class Xoauth2(_InOneStep):
    """A refusal comes with a challenge that tells why; an empty response lets the server go on."""

    name = "XOAUTH2"
    _go_on = b""

    def __init__(self, login: Login, nonce: str) -> None:
        super().__init__(login, nonce)
        self._is_told_why = False

    def begin(self) -> bytes:
        return f"user={self._login.user}\1auth=Bearer {self._login.secret}\1\1".encode()

    def respond(self, challenge: bytes) -> bytes:
        if self._is_told_why:
            raise Distrusted("it asks for more than a token")
        self._is_told_why = True
        return self._go_on


class OauthBearer(Xoauth2):
    """RFC 7628 3.1."""

    name = "OAUTHBEARER"
    _go_on = b"\1"  # RFC 7628 3.2.3

    def begin(self) -> bytes:
        user = scram.escaped(self._login.user)
        return f"n,a={user},\1auth=Bearer {self._login.secret}\1\1".encode()


class Scram:
    """RFC 5802 with SHA-256, without channel binding. The server must prove itself, too."""

    name = scram.NAME

    def __init__(self, login: Login, nonce: str) -> None:
        self._login = login
        self._nonce = nonce
        self._bare = f"n={scram.escaped(_prepared(login.user))},r={nonce}"
        self._server_proof = b""
        self._next: Callable[[str], bytes] = self._server_first
        self.is_settled = False

    def begin(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def respond(self, challenge: bytes) -> bytes:
        try:
            return self._next(challenge.decode("utf-8"))
        except UnicodeDecodeError:
            raise Distrusted("a SCRAM message that is not UTF-8") from None

    def _server_first(self, text: str) -> bytes:
        nonce, salt, iterations = self._read_first(text)
        without_proof = f"c=biws,r={nonce}"  # "n,," in Base64
        auth_message = f"{self._bare},{text},{without_proof}".encode()
        salted = self._salted(salt, iterations)
        key = scram.client_key(salted)
        proof = scram.xor(key, scram.signature(scram.stored_key(key), auth_message))
        self._server_proof = scram.signature(scram.server_key(salted), auth_message)
        self._next = self._server_final
        return f"{without_proof},p={base64.encode(proof)}".encode()

    def _read_first(self, text: str) -> tuple[str, bytes, int]:
        found = scram.attributes(text) or []
        if [name for name, _ in found[:3]] != ["r", "s", "i"]:
            raise Distrusted("no SCRAM message with nonce, salt and iterations")
        (_, nonce), (_, salt), (_, iterations) = found[:3]
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise Distrusted("a SCRAM nonce that does not go on from ours")
        if not (iterations.isascii() and iterations.isdigit() and len(iterations) <= 9):
            raise Distrusted("a SCRAM iteration count that is no number")
        if not 1 <= int(iterations) <= MAX_ITERATIONS:
            raise Distrusted(f"{iterations} SCRAM iterations; 1 to {MAX_ITERATIONS} are done")
        return nonce, _decoded(salt), int(iterations)

    def _salted(self, salt: bytes, iterations: int) -> bytes:
        known = self._login.salted
        salted = known.get((salt, iterations))
        if salted is None:
            salted = scram.salted_password(_prepared(self._login.secret), salt, iterations)
            known.clear()
            known[salt, iterations] = salted
        return salted

    def _server_final(self, text: str) -> bytes:
        found = dict(scram.attributes(text) or [])
        if "v" not in found or not hmac.compare_digest(_decoded(found["v"]), self._server_proof):
            raise Distrusted("it does not prove that it knows the password")
        self.is_settled = True
        self._next = self._nothing
        return b""

    def _nothing(self, text: str) -> bytes:
        raise Distrusted("it asks for more than SCRAM has")

    def __repr__(self) -> str:
        return f"<{self.name} for {self._login.user}>"


_EXCHANGES: Mapping[str, Callable[[Login, str], Exchange]] = {
    scram.NAME: Scram,
    "PLAIN": Plain,
    "LOGIN": LoginPrompts,
    "OAUTHBEARER": OauthBearer,
    "XOAUTH2": Xoauth2,
}


def _prepared(text: str) -> str:
    """As it is where it cannot be prepared: the server is to judge that."""
    try:
        return prepare(text)
    except Unprepared:
        return text


def _decoded(text: str) -> bytes:
    try:
        return base64.decode(text.encode())
    except base64.NotBase64:
        raise Distrusted("a SCRAM message that is no Base64") from None
