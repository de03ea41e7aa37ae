"""What is measured, each started afresh before a sink: the relay, its peers, nothing between."""

from collections.abc import Callable, Iterator
from functools import partial
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

    `tls`: STARTTLS is demanded on both sides; nobody's certificate is verified. `checkout`: where
    its code lies.
    """

    def __init__(
        self,
        sink: int,
        folder: Path,
        tls: Identity | None,
        *,
        delivery: str = "store",
        workers: int = 1,
        checkout: Path = CHECKOUT,
    ) -> None:
        listener, secured = _secured(tls) if tls else ({}, {})
        self._relay = RelayProcess(
            [upstream("sink", sink, **secured)],
            [route("sink", delivery=delivery)],
            listener=listener,
            top={"workers": workers},
            parent=folder,
        )
        self._relay.checkout = checkout
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


Start = Callable[[int, Path, Identity | None], System]
"""Of the sink's port, a folder for spools, and a certificate where there is TLS."""


def _ours() -> Iterator[tuple[str, Start]]:
    for name, delivery in (("relay", "store"), ("hybrid", "hybrid"), ("proxy", "proxy")):
        for workers, of in ((1, ""), (2, ", 2 workers")):
            for checkout, how in ((CHECKOUT, ""), (COMPILED, ", compiled")):
                start = partial(TheRelay, delivery=delivery, workers=workers, checkout=checkout)
                yield f"{name}{of}{how}", start


SYSTEMS: dict[str, Start] = {
    **dict(_ours()),
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
"""The further peers, which are slow, get this part of the messages: a run would take minutes."""

UNCOUNTED = {
    *(name for name in SYSTEMS if name.startswith("proxy")),
    *("Haraka, smtp_forward", "aiosmtpd, proxy"),
}
"""They store nothing: when the source has each 250, the sink has each message. A sink that counts
can be gone before its last reply has left, which they would have to pass on as a failure."""


def takes_part(system: str, load: Workload) -> bool:
    """The TLS workloads are for the relay, Postfix and the limit alone."""
    return not (load.has_tls and system in PARTS)


def missing(system: str) -> str:
    """What is not there of what it needs, or nothing."""
    if system.endswith(", compiled") and not any(COMPILED.glob("relay/smtp/server.*.so")):
        return f"{COMPILED.relative_to(CHECKOUT)} (make bench-compiled)"
    return missing_peer(system)
