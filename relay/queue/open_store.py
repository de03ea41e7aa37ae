"""Which store a URL of the configuration names, and where it lies."""

from pathlib import Path

from relay.queue.content_files import MAX_BUFFERED
from relay.queue.group_commit import Reactor
from relay.queue.memory import MemoryStore
from relay.queue.sqlite import SqliteStore
from relay.queue.store import IStore


def open_store(
    url: str, reactor: Reactor, max_content_memory: int = MAX_BUFFERED, number: int = 0
) -> IStore:
    """The store, not opened yet: "sqlite:DIR" or "memory:". Raises ValueError for anything else.

    `max_content_memory`: octets of content coming in; a store in memory has no such limit.
    `number`: the worker's, whose folder of the spool it is.
    """
    spool = spool_of(url)
    if spool is None:
        return MemoryStore()
    return SqliteStore(spool, reactor, max_content_memory=max_content_memory, number=number)


def spool_of(url: str) -> Path | None:
    """The directory of a store that has one. Raises ValueError for what names no store."""
    kind, _, place = url.partition(":")
    if kind == "sqlite" and place:
        return Path(place)
    if url == "memory:":
        return None
    raise ValueError(f"{url!r} is not a queue store; write e.g. 'sqlite:/var/spool/relay'")
