"""Puts waiting messages straight into a spool that no relay holds: `python -m benchmarks.fill`."""

import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from relay.mail.content import InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.queue.ids import QueueIds
from relay.queue.open_store import open_store
from relay.queue.store import IStore, Message, NewMessage

_AT_ONCE = 2000
"""Insertions under way at a time."""

_CONTENT = InlineContent(b"Subject: waiting\r\n\r\n" + b"A line of a message that waits.\r\n" * 60)


async def fill(reactor: Any, store: IStore, lane: str, count: int) -> None:
    opened = await store.open()
    ids = QueueIds(opened.start_number, 0, reactor)
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        await gatherResults([_insert(store, ids.next(), lane, number) for number in numbers])
    await store.close()


def _insert(store: IStore, queue_id: str, lane: str, number: int) -> Deferred[None]:
    recipient = Recipient(1, f"{number}@waiting.example")
    envelope = Envelope("sender@example.net", (recipient,))
    message = Message(queue_id, envelope, Origin("lan", "127.0.0.1:1"), _CONTENT, time.time())
    return store.insert(NewMessage(message, {lane: (recipient.id,)}))


def main() -> None:
    spool, lane, count = sys.argv[1:]
    Path(spool).mkdir(exist_ok=True)

    def run(reactor: Any) -> Deferred[None]:
        store = open_store(f"sqlite:{spool}", reactor)
        return Deferred.fromCoroutine(fill(reactor, store, lane, int(count)))

    task.react(run)


if __name__ == "__main__":
    main()
