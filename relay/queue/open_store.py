"""Which store a URL of the configuration names, and where it lies."""

from pathlib import Path

from relay.queue.group_commit import Reactor
from relay.queue.memory import MemoryStore
from relay.queue.sqlite import SqliteStore
from relay.queue.store import IStore


def open_store(url: str, reactor: Reactor) -> IStore:
    """The store, not opened yet: "sqlite:DIR" or "memory:". Raises ValueError for anything else."""
    spool = spool_of(url)
    return MemoryStore() if spool is None else SqliteStore(spool, reactor)


def spool_of(url: str) -> Path | None:
    """The directory of a store that has one. Raises ValueError for what names no store."""
    kind, _, place = url.partition(":")
    if kind == "sqlite" and place:
        return Path(place)
    if url == "memory:":
        return None
    raise ValueError(f"{url!r} is not a queue store; write e.g. 'sqlite:/var/spool/relay'")
