"""What is measured, each started afresh before a sink: the relay, its peers, nothing between."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from benchmarks.load import Identity, Workload
from benchmarks.peers import (
    AiosmtpdProxy,
    EximCutthrough,
    EximQueue,
    HarakaForward,
    HarakaQueue,
    OpenSmtpd,
    missing_peer,
)
from tests.interop.peers import TUNED, Postfix
from tests.interop.tools import CHECKOUT
from tests.process.relay_process import Fact, RelayProcess, route, upstream

COMPILED = CHECKOUT / "var" / "compiled"
"""A copy of the checkout, whose way of a message is compiled."""


class System(Protocol):
    """`pid` is the root of its process tree; 0 where there is none."""

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def clean_up(self) -> None: ...


class TheRelay:
    """This relay, with the settings it ships with, log and synced queue included.

    `tls`: STARTTLS is demanded on both sides; nobody's certificate is verified.
    """

    delivery = "store"
    workers = 1
    checkout = CHECKOUT

    def __init__(self, sink: int, folder: Path, tls: Identity | None) -> None:
        listener, secured = _secured(tls) if tls else ({}, {})
        self._relay = RelayProcess(
            [upstream("sink", sink, **secured)],
            [route("sink", delivery=self.delivery)],
            listener=listener,
            top={"workers": self.workers},
            parent=folder,
        )
        self._relay.checkout = self.checkout
        self.port = self._relay.port

    @property
    def pid(self) -> int:
        return self._relay.child.pid

    def start(self) -> None:
        self._relay.start()

    def clean_up(self) -> None:
        self._relay.clean_up()


def _secured(tls: Identity) -> tuple[Fact, Fact]:
    """Of the listener and of the upstream."""
    files = {"certificate": str(tls.certificate), "key": str(tls.key)}
    return {"tls": "required", "certificates": [files]}, {"tls": "required"}


class TheHybridRelay(TheRelay):
    """The same: disk only when needed."""

    delivery = "hybrid"


class TheProxyRelay(TheRelay):
    """The same: nothing is ever on disk."""

    delivery = "proxy"


class TheRelayInTwo(TheRelay):
    workers = 2


class TheHybridRelayInTwo(TheHybridRelay):
    workers = 2


class TheProxyRelayInTwo(TheProxyRelay):
    workers = 2


class TheCompiledRelay(TheRelay):
    """The way of a message is compiled there."""

    checkout = COMPILED


class TheCompiledHybridRelay(TheHybridRelay):
    checkout = COMPILED


class TheCompiledProxyRelay(TheProxyRelay):
    checkout = COMPILED


class TheCompiledRelayInTwo(TheCompiledRelay):
    workers = 2


class TheCompiledHybridRelayInTwo(TheCompiledHybridRelay):
    workers = 2


class TheCompiledProxyRelayInTwo(TheCompiledProxyRelay):
    workers = 2


class ThePostfix:
    """Postfix, tuned, forwarding. With TLS it, too, keeps connections for the next message."""

    def __init__(self, sink: int, folder: Path, tls: Identity | None) -> None:
        settings = {**TUNED, **_postfix_secured(tls)} if tls else TUNED
        self._postfix = Postfix(sink, settings, parent=folder)
        self.port = self._postfix.port

    @property
    def pid(self) -> int:
        return self._postfix.pid

    def start(self) -> None:
        self._postfix.start()

    def clean_up(self) -> None:
        self._postfix.clean_up()


def _postfix_secured(tls: Identity) -> dict[str, str]:
    return {
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_cert_file": str(tls.certificate),
        "smtpd_tls_key_file": str(tls.key),
        "smtp_tls_security_level": "encrypt",
        "smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache",
        "smtp_tls_connection_reuse": "yes",
    }


class Nothing:
    """The source straight to the sink: the limit of the load itself."""

    pid = 0

    def __init__(self, sink: int, folder: Path, tls: Identity | None) -> None:
        self.port = sink

    def start(self) -> None:
        pass

    def clean_up(self) -> None:
        pass


SYSTEMS: dict[str, Callable[[int, Path, Identity | None], System]] = {
    "relay": TheRelay,
    "relay, 2 workers": TheRelayInTwo,
    "relay, compiled": TheCompiledRelay,
    "relay, 2 workers, compiled": TheCompiledRelayInTwo,
    "hybrid": TheHybridRelay,
    "hybrid, 2 workers": TheHybridRelayInTwo,
    "hybrid, compiled": TheCompiledHybridRelay,
    "hybrid, 2 workers, compiled": TheCompiledHybridRelayInTwo,
    "proxy": TheProxyRelay,
    "proxy, 2 workers": TheProxyRelayInTwo,
    "proxy, compiled": TheCompiledProxyRelay,
    "proxy, 2 workers, compiled": TheCompiledProxyRelayInTwo,
    "Postfix": ThePostfix,
    "Exim, queue": EximQueue,
    "Exim, cutthrough": EximCutthrough,
    "OpenSMTPD": OpenSmtpd,
    "Haraka, queue": HarakaQueue,
    "Haraka, smtp_forward": HarakaForward,
    "aiosmtpd, proxy": AiosmtpdProxy,
    "limit": Nothing,
}

PARTS = {
    "Exim, queue": 6,
    "Exim, cutthrough": 6,
    "OpenSMTPD": 20,
    "Haraka, queue": 3,
    "Haraka, smtp_forward": 3,
    "aiosmtpd, proxy": 3,
}
"""Slow ones get this part of the messages, or a run would take minutes."""

UNCOUNTED = {
    *("proxy", "proxy, 2 workers", "proxy, compiled", "proxy, 2 workers, compiled"),
    *("Haraka, smtp_forward", "aiosmtpd, proxy"),
}
"""They store nothing: when the source has each 250, the sink has each message. A sink that counts
can be gone before its last reply has left, which they would have to pass on as a failure."""

_FURTHER_PEERS = {name for name, kind in SYSTEMS.items() if kind.__module__ == "benchmarks.peers"}


def takes_part(system: str, load: Workload) -> bool:
    """The TLS workloads are for the relay, Postfix and the limit alone."""
    return not (load.has_tls and system in _FURTHER_PEERS)


def missing(system: str) -> str:
    """What is not there of what it needs, or nothing."""
    if system.endswith(", compiled") and not any(COMPILED.glob("relay/smtp/server.*.so")):
        return f"{COMPILED.relative_to(CHECKOUT)} (make bench-compiled)"
    return missing_peer(system)
