"""Who may use the operators' door over TCP: a bearer token, and a Host header that is our own.

The Host check keeps a web page from reaching the door under a name of its own (DNS rebinding).
The control socket needs neither: its file mode is the guard.
"""

import hmac
from ipaddress import ip_address
from pathlib import Path

from relay.private_file import NotPrivate, read_private

MIN_TOKEN = 16
"""Characters: a shorter token could be guessed."""

MAX_TOKEN = 4096


class TokenUnusable(Exception):
    """The token file cannot be used; its text is one line for the operator."""


def read_token(path: Path) -> bytes:
    """The secret in a file that only its owner may read. Raises TokenUnusable."""
    try:
        octets, _ = read_private(path, MAX_TOKEN)
    except OSError as error:
        raise TokenUnusable(
            f"admin.token_file {path} cannot be read: {error.strerror}; make one with"
            f" (umask 077; openssl rand -hex 32 >{path})"
        ) from None
    except NotPrivate as error:
        raise TokenUnusable(f"admin.token_file {path} {error}") from None
    token = octets.strip()
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise TokenUnusable(
            f"admin.token_file {path} must hold {MIN_TOKEN} to {MAX_TOKEN} characters"
        )
    return token


class Guard:
    """Judges the headers of a request that came in at `host`."""

    def __init__(self, token: bytes, host: str) -> None:
        self._token = token
        self._is_any = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
        self._hosts = {host.lower(), "localhost", "127.0.0.1", "::1"}

    def knows_host(self, header: bytes | None) -> bool:
        """Whether a Host header names this door: an address, or localhost."""
        name = _host_of(header or b"")
        return name in self._hosts or (self._is_any and _is_address(name))

    def knows_token(self, header: bytes | None) -> bool:
        """Whether an Authorization header has the token. Takes the same time for any wrong one."""
        scheme, _, token = (header or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def _host_of(header: bytes) -> str:
    """The host of HOST[:PORT], without brackets; "" for what is no such thing."""
    text = header.decode("ascii", "replace").strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        is_well_formed = bool(bracket) and (not port or (port[0] == ":" and port[1:].isdigit()))
    else:
        host, colon, port = text.partition(":")
        is_well_formed = not colon or port.isdigit()
    return host if is_well_formed else ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
