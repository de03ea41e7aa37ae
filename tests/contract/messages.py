"""Messages, outcomes and settlements for the tests of stores, made short."""

from relay.mail.content import Content, InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.outcome import Delayed, Failed, Relayed
from relay.mail.reply import Reply
from relay.queue.ids import EPOCH, from_int
from relay.queue.store import Message, NewMessage, Settlement, Work

NOW = EPOCH + 200_000_000.0
"""The tests' present."""

RELAYED = Relayed(Reply(250, "2.0.0", ("taken",)), "mx[192.0.2.1]:25")
DELAYED = Delayed(Reply(450, "4.2.1", ("later",)), "mx[192.0.2.1]:25")
FAILED = Failed(Reply(550, "5.1.1", ("nobody",)), "mx[192.0.2.1]:25")
ORIGIN = Origin(
    "lan", "192.0.2.7:5025", "printer.example", "user", "session", "name.example", "ESMTP"
)


def queue_id(age: float, counter: int = 0) -> str:
    """The id of a message accepted `age` seconds before NOW."""
    return from_int(int(NOW - age - EPOCH) << 32 | counter << 10 | 1)


def new(
    number: int = 0,
    lanes: dict[str, list[str]] | None = None,
    *,
    age: float = 100.0,
    in_hand: tuple[str, ...] = (),
    reverse_path: str = "sender@a.example",
    content: Content | None = None,
    id: str = "",
    settlements: tuple[Settlement, ...] = (),
) -> NewMessage:
    """`lanes`: the forward-paths of each; recipients are numbered from 1 in that order."""
    lanes = {"east": ["x@b.example"]} if lanes is None else lanes
    recipients, by_lane = [], {}
    for lane, paths in lanes.items():
        first = len(recipients) + 1
        by_lane[lane] = tuple(range(first, first + len(paths)))
        recipients += [
            Recipient(i, path, "FAILURE,DELAY", "rfc822;x+2By")
            for i, path in enumerate(paths, first)
        ]
    message = Message(
        id or queue_id(age, number),
        Envelope(reverse_path, tuple(recipients), "8BITMIME", True, "HDRS", "en+2Bvid", True),
        ORIGIN,
        InlineContent(b"Subject: x\r\n\r\n\x00\xff.\r\n") if content is None else content,
        NOW - age + 0.123456,
    )
    return NewMessage(message, by_lane, in_hand, settlements)


def settlement(
    work: NewMessage | Work,
    outcomes: dict[int, Relayed | Delayed | Failed],
    lane: str = "east",
    *,
    attempt: int = 1,
    at: float = NOW + 60,
    reports: tuple[NewMessage, ...] = (),
) -> Settlement:
    return Settlement(work.message.queue_id, lane, outcomes, attempt, at, reports)


def ids(works: "tuple[Work, ...] | list[Work]") -> list[str]:
    return [work.message.queue_id for work in works]


def octets(content: Content) -> bytes:
    return b"".join(content.chunks())
