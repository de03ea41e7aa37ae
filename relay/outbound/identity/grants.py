"""What a token endpoint is asked, by grant, and what its answer means: pure (RFC 6749, RFC 7523).

Whoever calls passes secrets and the time in.
"""

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"

ASSERTED_FOR = 3600
"""Seconds for which a signed JWT is good: the most that Google takes."""

USUAL_LIFE = 600.0
"""Seconds a token is used whose life was not told."""

MAX_LIFE = 86400.0

MAX_TOKEN = 8192
"""Characters of an access token: a line of AUTH has room for it (RFC 4954 4); real ones have 2,500
at most."""

MAX_WHY = 300  # characters of what the endpoint said

REFUSALS = frozenset(
    (
        "invalid_grant",
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
        "access_denied",
        "interaction_required",
    )
)
"""Errors (RFC 6749 5.2) that stay until somebody mends what is configured, here or there."""

Form = dict[str, str]


class BadKey(ValueError):
    """A file that holds no key of a service account."""


class NoToken(Exception):
    """There is none, and why. `is_refusal`: nor will there be one later."""

    def __init__(self, why: str, *, is_refusal: bool = False) -> None:
        super().__init__(why)
        self.is_refusal = is_refusal


@dataclass(frozen=True, slots=True)
class Token:
    """`life`: seconds from now; `refresh_token`: a new one in place of the one shown, "" if not."""

    access: str = field(repr=False)
    life: float
    refresh_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """`name` and `key_id` are "" where the file does not tell them."""

    key: RSAPrivateKey = field(repr=False)
    name: str = ""
    key_id: str = ""


def refresh_form(client_id: str, client_secret: str, refresh_token: str, scope: str) -> Form:
    """RFC 6749 6."""
    return _without_blanks(
        grant_type="refresh_token",
        refresh_token=refresh_token,
        client_id=client_id,
        client_secret=client_secret,
        scope=scope,
    )


def client_form(client_id: str, client_secret: str, scope: str) -> Form:
    """RFC 6749 4.4."""
    return _without_blanks(
        grant_type="client_credentials",
        client_id=client_id,
        client_secret=client_secret,
        scope=scope,
    )


def assertion_form(
    account: ServiceAccount, issuer: str, subject: str, audience: str, scope: str, now: float
) -> Form:
    """RFC 7523 2.1; `subject`: the user who is acted for."""
    claims = {
        **_without_blanks(iss=issuer, sub=subject, aud=audience, scope=scope),
        "iat": int(now),
        "exp": int(now) + ASSERTED_FOR,
    }
    header = {"alg": "RS256", "typ": "JWT", **_without_blanks(kid=account.key_id)}
    return {"grant_type": JWT_BEARER, "assertion": _signed(account.key, header, claims)}


def _signed(key: RSAPrivateKey, header: Any, claims: Any) -> str:
    """JWS in its compact form (RFC 7515 3.1), RS256 (RFC 7518 3.3)."""
    text = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    return b".".join((text, _encoded(signature))).decode()


def _encoded(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def _without_blanks(**values: str) -> Form:
    return {name: value for name, value in values.items() if value}


def read_key(text: str) -> ServiceAccount:
    """A PEM key, or Google's JSON with one in it. Raises BadKey."""
    name = key_id = ""
    if text.lstrip().startswith("{"):
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            raise BadKey("is no JSON") from None
        name, key_id = (str(told.get(each, "")) for each in ("client_email", "private_key_id"))
        text = str(told.get("private_key", ""))
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError):
        raise BadKey("holds no private key without a passphrase") from None
    if not isinstance(key, RSAPrivateKey):
        raise BadKey("holds a key of another kind than RSA")
    return ServiceAccount(key, name, key_id)


def read_answer(code: int, body: bytes, secrets: tuple[str, ...]) -> Token:
    """Raises NoToken, with nothing of `secrets` in its text."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise NoToken(f"it answered {code} with something else than JSON")
    if code != 200:
        raise _error(code, told, secrets)
    access = told.get("access_token")
    if not isinstance(access, str) or not _is_token(access):
        raise NoToken("it answered 200 without a usable access_token")
    refresh_token = told.get("refresh_token")
    is_new = isinstance(refresh_token, str) and refresh_token.isprintable()
    return Token(access, _life(told.get("expires_in")), str(refresh_token) if is_new else "")


def _is_token(text: str) -> bool:
    """One line of printable ASCII (RFC 6750 2.1), and room for it."""
    return 0 < len(text) <= MAX_TOKEN and text.isascii() and text.isprintable()


def _life(told: Any) -> float:
    try:
        seconds = float(told)
    except (TypeError, ValueError, OverflowError):
        return USUAL_LIFE
    return min(seconds, MAX_LIFE) if seconds > 0 else USUAL_LIFE


def _error(code: int, told: dict[str, Any], secrets: tuple[str, ...]) -> NoToken:
    error = told.get("error")
    error = error if isinstance(error, str) else ""
    why = f"it answered {code} {error}: {told.get('error_description', '')}"
    if any(secret in why for secret in secrets if secret):
        why = f"it answered {code}"
    why = "".join(c if c.isprintable() else " " for c in why).rstrip(": ")[:MAX_WHY]
    return NoToken(why, is_refusal=code < 500 and error in REFUSALS)
