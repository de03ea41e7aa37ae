"""Run as a program: inserts and settles messages in a spool until it is killed, and tells each."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from twisted.internet import reactor

from relay.queue.ids import QueueIds
from relay.queue.sqlite import SqliteStore
from relay.queue.store import Opened
from tests.contract.messages import RELAYED, new, settlement

SESSIONS = 20


def tell(what: str, queue_id: str) -> None:
    sys.stdout.write(f"{what} {queue_id} .\n")
    sys.stdout.flush()


def main() -> None:
    store = SqliteStore(Path(sys.argv[1]), reactor)

    def begin(opened: Opened) -> None:
        ids = QueueIds(opened.start_number, 0, reactor)
        for session in range(SESSIONS):
            one(ids, session)

    def one(ids: QueueIds, count: int) -> None:
        queue_id = ids.next()
        content = None
        if count % 7 == 0:
            writer = store.new_content(queue_id)
            writer.write(b"x" * 100_000)
            content = writer.finish()
        message = new(id=queue_id, in_hand=("east",), content=content)

        def inserted(_: None) -> None:
            tell("inserted", queue_id)
            if count % 3 == 0:
                store.settle(settlement(message, {1: RELAYED})).deferred().addCallback(settled)
            else:
                one(ids, count + SESSIONS)

        def settled(_: object) -> None:
            tell("settled", queue_id)
            one(ids, count + SESSIONS)

        store.insert(message).deferred().addCallback(inserted)

    store.open().addCallback(begin)
    reactor.run()


main()
