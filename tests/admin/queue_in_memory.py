"""A queue with messages, in memory, for whatever stands in front of a queue."""

from typing import Any

from relay.admin.spool_queue import SpoolQueue
from relay.mail.content import InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.notices import Notice
from relay.queue.ids import QueueIds
from relay.queue.memory import MemoryStore
from relay.queue.store import IStore, Message, NewMessage

START = 1767225600.0  # 2026-01-01T00:00:00Z

NOW = START + 100_000.0
"""By the clock of the queue: all its messages were accepted before."""


class _Clock:
    def seconds(self) -> float:
        return START


async def fill(store: IStore, count: int) -> list[str]:
    """Messages a second apart, to user N on lane even or odd. Yields their ids."""
    ids = QueueIds(1, 0, _Clock())
    made = []
    for number in range(count):
        envelope = Envelope(
            f"sender{number}@example.net", (Recipient(1, f"user{number}@example.org"),)
        )
        queue_id = ids.next()
        message = Message(
            queue_id,
            envelope,
            Origin("lan", "[::1]:1"),
            InlineContent(b"content\r\n"),
            START + number,
        )
        await store.insert(NewMessage(message, {("even", "odd")[number % 2]: (1,)}))
        made.append(queue_id)
    return made


class QueueInMemory(SpoolQueue):
    """Remembers the ids and what was told of them."""

    find: Any
    hold: Any

    def __init__(self, store: MemoryStore) -> None:
        self.told: list[Notice] = []
        super().__init__(store, ["even", "odd"], self.told.append, lambda: NOW)
        self.store = store
        self.ids: list[str] = []


async def filled_queue(count: int) -> QueueInMemory:
    store = MemoryStore()
    await store.open()
    queue = QueueInMemory(store)
    queue.ids = await fill(store, count)
    return queue
