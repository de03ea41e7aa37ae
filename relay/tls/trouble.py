"""Why TLS came to nothing, in plain words with OpenSSL's own reason behind them."""

from typing import Any

from OpenSSL import SSL

MAX_REASON = 200
"""Characters of OpenSSL's reasons that are told."""

_WORDS = (
    ("unsupported protocol", "the other side offers no TLS version that is allowed here"),
    ("version too low", "the other side offers no TLS version that is allowed here"),
    ("protocol version", "the other side allows no TLS version that is offered here"),
    ("no shared cipher", "the other side offers no cipher that is allowed here"),
    ("http request", "the other side speaks HTTP, not TLS"),
    ("wrong version number", "the other side does not speak TLS"),
    ("packet length too long", "the other side does not speak TLS"),
    ("unknown ca", "the other side does not know who issued our certificate"),
    ("certificate expired", "the other side says that our certificate has expired"),
    ("certificate unknown", "the other side does not accept our certificate"),
    ("bad certificate", "the other side does not accept our certificate"),
    ("unexpected eof", "the other side broke off"),
    ("internal error", "the other side failed"),
)


def reasons(error: SSL.Error) -> str:
    """What OpenSSL says: "no shared cipher"."""
    queue: Any = error.args[0] if error.args else ()
    said = [entry[2] for entry in queue if len(entry) == 3] if isinstance(queue, list) else []
    return "; ".join(said)[:MAX_REASON] or type(error).__name__


def tls_trouble(error: BaseException | None) -> str:
    """Of a session under way; "" where TLS was not the trouble."""
    return f"TLS failed: {reasons(error)}" if isinstance(error, SSL.Error) else ""


def handshake_trouble(error: BaseException | None) -> str:
    """One line for the log."""
    if not isinstance(error, SSL.Error):
        return "TLS handshake failed: the other side broke off"
    said = reasons(error)
    plain = next((words for reason, words in _WORDS if reason in said.lower()), "")
    return f"TLS handshake failed: {plain} ({said})" if plain else f"TLS handshake failed: {said}"
