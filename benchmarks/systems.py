"""What is measured, each started afresh before a sink: the relay, Postfix, and nothing between."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.interop.peers import TUNED, Postfix
from tests.process.relay_process import RelayProcess, route, upstream


class System(Protocol):
    """`pid` is the root of its process tree; 0 where there is none."""

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def clean_up(self) -> None: ...


class TheRelay:
    """This relay, with the settings it ships with, log and synced queue included."""

    delivery = "store"
    workers = 1

    def __init__(self, sink: int, folder: Path) -> None:
        self._relay = RelayProcess(
            [upstream("sink", sink)],
            [route("sink", delivery=self.delivery)],
            top={"workers": self.workers},
            parent=folder,
        )
        self.port = self._relay.port

    @property
    def pid(self) -> int:
        return self._relay.child.pid

    def start(self) -> None:
        self._relay.start()

    def clean_up(self) -> None:
        self._relay.clean_up()


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


class ThePostfix:
    """Postfix, tuned, forwarding."""

    def __init__(self, sink: int, folder: Path) -> None:
        self._postfix = Postfix(sink, TUNED, parent=folder)
        self.port = self._postfix.port

    @property
    def pid(self) -> int:
        return self._postfix.pid

    def start(self) -> None:
        self._postfix.start()

    def clean_up(self) -> None:
        self._postfix.clean_up()


class Nothing:
    """smtp-source straight to smtp-sink: the limit of the load itself."""

    pid = 0

    def __init__(self, sink: int, folder: Path) -> None:
        self.port = sink

    def start(self) -> None:
        pass

    def clean_up(self) -> None:
        pass


SYSTEMS: dict[str, Callable[[int, Path], System]] = {
    "relay": TheRelay,
    "relay, 2 workers": TheRelayInTwo,
    "hybrid": TheHybridRelay,
    "hybrid, 2 workers": TheHybridRelayInTwo,
    "proxy": TheProxyRelay,
    "proxy, 2 workers": TheProxyRelayInTwo,
    "Postfix": ThePostfix,
    "limit": Nothing,
}
