"""What a listener's keys for TLS and old devices say together: contradictions, and doubts.

Opens no file: `relay.tls.files` looks into those that are named here.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from relay.config.listener import Listener
from relay.config.schema import Settings

SUBMISSIONS = 465
"""The port where TLS comes first (RFC 8314 3.3)."""

_KINDS = ("starttls", "required", "implicit")
_NEED_TLS = ("certificates", "client_ca", "relay_certificates")


def tls_contradictions(listeners: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """`listeners`: the raw tables, each with its path."""
    for path, table in listeners:
        tls = table.get("tls", "none")
        if tls == "none":
            for key in _NEED_TLS:
                if table.get(key):
                    yield f'{path}.{key}: is of no use without TLS; write e.g. tls = "starttls"'
        if tls not in _KINDS:
            continue
        if not table.get("certificates"):
            yield (
                f"{path}.certificates: is missing, and tls = {tls!r} needs it; "
                "add [[listener.certificates]] and its keys below the listener"
            )
        if table.get("relay_certificates") and not table.get("client_ca"):
            yield (
                f"{path}.relay_certificates: nobody is asked for a certificate; name the "
                "authority of your clients in client_ca"
            )


def tls_doubts(settings: Settings) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for index, listener in enumerate(settings.listeners):
        path = f"listener[{index}]"
        is_inside = listener.host and _is_inside(listener.host)  # systemd's may be anywhere
        if listener.profile == "legacy-device" and not is_inside:
            yield (
                f"{path}.profile: 'legacy-device' offers TLS 1.0, which is broken, on "
                f"{listener.host or listener.address}, where others may reach it; give it an "
                "address of a private network"
            )
        if listener.tls == "required" and listener.accept_recipients:
            yield (
                f"{path}.tls: 'required' refuses mail from servers without TLS, which a server "
                'for mail from anyone must take (RFC 3207 4); write "starttls"'
            )
        yield from _odd_port(path, listener)


def _odd_port(path: str, listener: Listener) -> Iterator[str]:
    if listener.tls == "implicit" and listener.port in (25, 587):
        yield (
            f"{path}.tls: 'implicit' on port {listener.port}, where clients begin in plain text; "
            f'write "starttls", or use port {SUBMISSIONS}'
        )
    if listener.tls in ("starttls", "required") and listener.port == SUBMISSIONS:
        yield (
            f"{path}.tls: {listener.tls!r} on port {SUBMISSIONS}, where clients begin with TLS; "
            'write "implicit"'
        )


def _is_inside(host: str) -> bool:
    """Loopback or private: nobody from outside gets there."""
    address = ip_address(host)
    return not address.is_unspecified and (address.is_private or address.is_link_local)
