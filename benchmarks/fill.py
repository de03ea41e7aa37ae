"""Puts waiting messages straight into a spool that no relay holds.

`python -m benchmarks.fill SPOOL LANE COUNT SIZE`, or `fill_spool`, which runs just that.
"""

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
from tests.interop.tools import CHECKOUT
from tests.process.child import Child
from tests.process.relay_process import RelayProcess

_AT_ONCE = 2000
"""Insertions under way at a time."""

_LINE = b"A line of a message that waits.\r\n"


_LIMIT = 1200.0


def fill_spool(relay: RelayProcess, lane: str, count: int, size: int) -> None:
    """In a process of its own, so that its memory goes with it."""
    command = (sys.executable, "-m", "benchmarks.fill", relay.spool, lane, str(count), str(size))
    child = Child(command, relay.folder / "fill", {"PYTHONPATH": str(CHECKOUT)})
    try:
        if child.wait(_LIMIT):
            raise AssertionError(child.output)
    finally:
        child.kill()


async def fill(reactor: Any, store: IStore, lane: str, count: int, size: int) -> None:
    opened = await store.open()
    ids = QueueIds(opened.start_number, 0, reactor)
    content = InlineContent(b"Subject: waiting\r\n\r\n" + _LINE * (size // len(_LINE)))
    for start in range(0, count, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, count))
        await gatherResults(
            [_insert(store, ids.next(), lane, number, content) for number in numbers]
        )
    await store.close()


def _insert(
    store: IStore, queue_id: str, lane: str, number: int, content: InlineContent
) -> Deferred[None]:
    recipient = Recipient(1, f"{number}@waiting.example")
    envelope = Envelope("sender@example.net", (recipient,))
    message = Message(queue_id, envelope, Origin("lan", "127.0.0.1:1"), content, time.time())
    inserted: Deferred[None] = Deferred()
    store.insert(NewMessage(message, {lane: (recipient.id,)})).addCallbacks(
        inserted.callback, inserted.errback
    )
    return inserted


def main() -> None:
    spool, lane, count, size = sys.argv[1:]
    Path(spool).mkdir(exist_ok=True)

    def run(reactor: Any) -> Deferred[None]:
        store = open_store(f"sqlite:{spool}", reactor)
        return Deferred.fromCoroutine(fill(reactor, store, lane, int(count), int(size)))

    task.react(run)


if __name__ == "__main__":
    main()
