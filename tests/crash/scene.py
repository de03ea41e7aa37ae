"""What every fault has in common: a relay under load before a watched upstream, and its end."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.crash.account import Account, Watched, settle
from tests.crash.clock import clock_code, set_clock
from tests.crash.load import SteadyLoad
from tests.process.child import wait_until
from tests.process.relay_process import RelayProcess, route, upstream

SETTLING = 180.0
"""Seconds in which everything that waits is relayed, on a slow and busy machine too."""


DISK = "48m"

UNCOUNTED = "recipient@example.org"
"""Whom clients send to that only make a load."""


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, small and in memory: only root may."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", folder)
    try:
        yield
    finally:
        unmount(folder)


@dataclass(slots=True)
class Scene:
    relay: RelayProcess
    load: SteadyLoad
    upstream: Watched
    random: Random
    notes: list[str] = field(default_factory=list)

    @property
    def offset(self) -> Path:
        """Says by how much the relay's clock is wrong."""
        return self.relay.folder / "offset"

    def wait_for_more(self, count: int = 20) -> None:
        """So many further messages got their 250."""
        goal = len(self.load.accepted) + count
        wait_until(lambda: len(self.load.accepted) >= goal, f"{count} more accepted messages")

    def wait_for_arrivals(self, count: int) -> None:
        """So many different ones in all."""
        wait_until(lambda: len(self.upstream.names()) >= count, f"{count} messages relayed")

    def account(self) -> Account:
        """No more load; all is relayed."""
        self.load.stop()
        wait_until(
            lambda: self.load.accepted <= self.upstream.names() and not self.relay.queue(),
            "everything accepted at the upstream, and an empty queue",
            SETTLING,
        )
        return settle(self.load, self.upstream)


@contextmanager
def scene(
    random: Random,
    delivery: str = "store",
    workers: int = 1,
    before: str = "",
    *,
    sessions: int = 4,
    on_small_disk: bool = False,
    has_own_clock: bool = False,
    sink: int = 0,
) -> Iterator[Scene]:
    """A running relay, whose load has begun. `sink`: a port that gets the mail to UNCOUNTED."""
    watched = Watched()
    watched.collector.start()
    further = [upstream("sink", sink)] if sink else []
    relay = RelayProcess(
        [upstream("main", watched.collector.port), *further],
        [
            *(route(each["name"], UNCOUNTED, delivery=delivery) for each in further),
            route("main", delivery=delivery),
        ],
        top={"workers": workers} if workers > 1 else {},
    )
    relay.before = before
    load = SteadyLoad(relay.port)
    stage = Scene(relay, load, watched, random)
    with ExitStack() as cleaning:
        cleaning.callback(relay.clean_up)
        if has_own_clock:
            set_clock(stage.offset, 0)
            relay.before += clock_code(stage.offset)
        if on_small_disk:
            cleaning.enter_context(small_disk(relay.spool))
        cleaning.callback(relay.kill)
        cleaning.callback(watched.collector.stop)
        cleaning.callback(load.stop)
        start(relay)
        load.start(sessions)
        yield stage


def start(relay: RelayProcess) -> None:
    """Until it takes mail; a supervisor listens before its workers do."""
    starts = len(relay.facts("started", what="relay"))
    relay.start()
    wait_until(lambda: len(relay.facts("started", what="relay")) > starts, "the relay's start")
