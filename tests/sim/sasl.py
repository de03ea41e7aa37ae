"""Both ends of PLAIN, LOGIN and SCRAM-SHA-256, written from RFC 4616, 5802 and 7677 alone.

Generators: what is yielded is said, what is sent into them was heard. A client's yields None where
it has no initial response; a server's returns the user who has proven himself, or None.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator
from random import Random

PLAIN, LOGIN, SCRAM = MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256")

ITERATIONS = 8
"""For speed."""

ClientSide = Generator[str | None, str, None]
ServerSide = Generator[str, str, str | None]
PasswordOf = Callable[[str], str | None]


class Distrusted(Exception):
    """The server has not proven that it knows the password."""


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def decoded(text: str) -> str:
    return b64decode(text).decode()


def client_side(mechanism: str, name: str, password: str, random: Random) -> ClientSide:
    if mechanism == PLAIN:
        return _plain(name, password, random)
    if mechanism == LOGIN:
        return _login(name, password)
    return _scram(name, password, f"{random.getrandbits(64):x}")


def _plain(name: str, password: str, random: Random) -> ClientSide:
    if random.random() < 0.3:
        yield None
    yield f"\0{name}\0{password}"


def _login(name: str, password: str) -> ClientSide:
    yield None
    yield name
    yield password


def _scram(name: str, password: str, nonce: str) -> ClientSide:
    bare = f"n={name},r={nonce}"
    first = yield f"n,,{bare}"
    told = _attributes(first)
    salted = _salted(password, b64decode(told["s"]), int(told["i"]))
    without_proof = f"c=biws,r={told['r']}"
    about = f"{bare},{first},{without_proof}"
    last = yield f"{without_proof},p={_proof(salted, about)}"
    if _attributes(last).get("v") != _word_of_server(salted, about):
        raise Distrusted
    yield ""


def server_side(mechanism: str, password_of: PasswordOf, nonce: str) -> ServerSide:
    """The client's initial response, or nothing, is the first that is sent in after the start."""
    if mechanism == PLAIN:
        return _serve_plain(password_of)
    if mechanism == LOGIN:
        return _serve_login(password_of)
    return _serve_scram(password_of, nonce)


def _serve_plain(password_of: PasswordOf) -> ServerSide:
    _, name, password = (yield "").split("\0")
    return name if password_of(name) == password else None


def _serve_login(password_of: PasswordOf) -> ServerSide:
    name = yield "User Name"
    password = yield "Password"
    return name if password_of(name) == password else None


def _serve_scram(password_of: PasswordOf, nonce: str) -> ServerSide:
    bare = (yield "").removeprefix("n,,")
    told = _attributes(bare)
    password = password_of(told["n"])
    salt = told["n"].encode()
    nonce = told["r"] + nonce
    first = f"r={nonce},s={encoded(told['n'])},i={ITERATIONS}"
    without_proof, _, proof = (yield first).rpartition(",p=")
    salted = _salted(password or "", salt, ITERATIONS)
    about = f"{bare},{first},{without_proof}"
    if password is None or proof != _proof(salted, about):
        return None
    yield f"v={_word_of_server(salted, about)}"
    return told["n"]


def _attributes(text: str) -> dict[str, str]:
    return {part[0]: part[2:] for part in text.split(",")}


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _proof(salted: bytes, about: str) -> str:
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), about.encode(), "sha256")
    return b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()


def _word_of_server(salted: bytes, about: str) -> str:
    key = hmac.digest(salted, b"Server Key", "sha256")
    return b64encode(hmac.digest(key, about.encode(), "sha256")).decode()
