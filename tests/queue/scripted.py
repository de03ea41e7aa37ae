"""A deliverer under a test's control, and a queue around it on a store in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from relay.mail.content import Content, InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.outcome import Attempt, Delayed, Failed, Outcome, Relayed, SiteFailure
from relay.mail.reply import Reply, reply
from relay.notices import Notice
from relay.queue.control import QueueControl
from relay.queue.hybrid import Hybrid, Trial
from relay.queue.ids import QueueIds
from relay.queue.manager import QueueManager
from relay.queue.memory import MemoryStore
from relay.queue.reports import ReportMaker
from relay.queue.schedule import Terms
from relay.queue.store import IStore, Message, Opened
from relay.queue.sweep import Sweep

OK = reply(250, "2.0.0", "ok")
LATER = reply(451, "4.7.1", "greylisted")
NO = reply(550, "5.1.1", "no such user")
REFUSED = reply(451, "4.4.1", "connection refused")
WRONG = reply(535, "5.7.8", "wrong password")
CONTENT = InlineContent(b"Message-ID: <1@x>\r\n\r\nhello\r\n")


class ScriptedDeliverer:
    """Every attempt waits in `running` until the test ends it."""

    def __init__(self) -> None:
        self.running: list[tuple[str, str, Envelope, Callable[[Attempt | Failure], None]]] = []
        self.forgotten: list[str] = []

    def deliver(
        self,
        lane: str,
        queue_id: str,
        envelope: Envelope,
        content: Content,
        origin: Origin,
        done: Callable[[Attempt | Failure], None],
    ) -> None:
        self.running.append((lane, queue_id, envelope, done))

    def forget_trouble(self, lane: str) -> None:
        self.forgotten.append(lane)

    def end(self, attempt: Attempt | None = None, **outcomes: Outcome) -> None:
        """End the oldest attempt; by default all its recipients are relayed."""
        _, _, envelope, ended = self.running.pop(0)
        if attempt is None:
            by_path = {r.forward_path.partition("@")[0]: r.id for r in envelope.recipients}
            made = {by_path[name]: outcome for name, outcome in outcomes.items()}
            attempt = Attempt({r.id: made.get(r.id, relayed()) for r in envelope.recipients})
        ended(attempt)

    def fail_site(self) -> None:
        self.end(Attempt({}, SiteFailure(REFUSED, "down[192.0.2.1]:25")))

    def refuse_login(self) -> None:
        self.end(Attempt({}, SiteFailure(WRONG, "up[192.0.2.1]:25", is_refusal=True)))


def relayed(answer: Reply = OK) -> Relayed:
    return Relayed(answer, "up[192.0.2.1]:25")


def delayed(answer: Reply = LATER) -> Delayed:
    return Delayed(answer, "up[192.0.2.1]:25")


def failed(answer: Reply = NO) -> Failed:
    return Failed(answer, "up[192.0.2.1]:25")


@dataclass
class Tried:
    """A message in hybrid delivery, and what its client is told."""

    trial: Trial
    answer: Deferred[Reply | None]

    def client_left(self) -> None:
        self.trial.client_left()


class Bench:
    """A queue with lanes "a" and "b": recipients at a.example and b.example go there."""

    def __init__(
        self,
        store: IStore | None = None,
        postmaster: str | None = None,
        warn_after: float | None = 600.0,
        max_in_hand: int = 8,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1_900_000_000.0)
        self.notices: list[Notice] = []
        self.discarded: list[str] = []
        self.deliverer = ScriptedDeliverer()
        self.store: IStore = MemoryStore() if store is None else store
        self.ids = QueueIds(1, 0, self.clock)
        terms = Terms((60.0, 300.0), warn_after, 3600.0)
        reports = ReportMaker("relay.example", postmaster, self.lane_for, self.ids.next)
        self.manager = QueueManager(
            self.store,
            self.deliverer,
            self.clock,
            terms,
            reports,
            self.notices.append,
            ("a", "b"),
            Random(1),
            max_in_hand,
        )
        self.hybrid = Hybrid(self.manager, self.store, reports, self.clock, self.notices.append)
        self.sweep = Sweep(self.store, self.manager, reports, terms, self.clock)
        self.control = QueueControl(self.store, self.manager, self.clock, self.notices.append)
        opened: list[Opened] = []
        self.store.open().addCallback(opened.append)
        self.manager.start(opened[0])

    @staticmethod
    def lane_for(forward_path: str, reverse_path: str = "", listener: str = "") -> str | None:
        return {"a.example": "a", "b.example": "b"}.get(forward_path.partition("@")[2])

    def accept(
        self, *paths: str, reverse_path: str = "from@b.example", notify: str = "", **more: Any
    ) -> Deferred[None]:
        """`more` of the envelope."""
        message, lanes = self.message(*paths, reverse_path=reverse_path, notify=notify, **more)
        return self.store_message(message, lanes)

    def store_message(
        self, message: Message, lanes: Mapping[str, tuple[int, ...]]
    ) -> Deferred[None]:
        accepted: Deferred[None] = Deferred()
        self.manager.accept(message, lanes, "<1@x>", accepted.callback, accepted.errback)
        return accepted

    def attempt(self, *paths: str, reverse_path: str = "from@b.example", notify: str = "") -> Tried:
        """In hybrid delivery, with a client that waits for 30 seconds."""
        message, lanes = self.message(*paths, reverse_path=reverse_path, notify=notify)
        discard = lambda: self.discarded.append(message.queue_id)  # noqa: E731
        tried = Tried(self.hybrid.accept(message, lanes, "<1@x>", 30.0, discard), Deferred())
        tried.trial.begin(tried.answer.callback, tried.answer.errback)
        return tried

    def message(
        self, *paths: str, reverse_path: str, notify: str, **more: Any
    ) -> tuple[Message, dict[str, tuple[int, ...]]]:
        recipients = tuple(Recipient(n, path, notify) for n, path in enumerate(paths, 1))
        lanes: dict[str, tuple[int, ...]] = {}
        for recipient in recipients:
            lane = self.lane_for(recipient.forward_path) or ""
            lanes[lane] = (*lanes.get(lane, ()), recipient.id)
        envelope = Envelope(reverse_path, recipients, **more)
        message = Message(
            self.ids.next(), envelope, Origin("lan", "c"), CONTENT, self.clock.seconds()
        )
        return message, lanes

    def told(self) -> list[str]:
        """The names of what was told, in order."""
        return [describe(notice) for notice in self.notices]

    def listed(self) -> Mapping[str, list[tuple[str, str]]]:
        from relay.queue.store import Selection

        found: list[object] = []
        self.store.find(Selection(), "", 100).addCallback(found.extend)
        return {
            m.queue_id: [(r.forward_path, r.state) for r in m.recipients]  # type: ignore[attr-defined]
            for m in found
        }


def describe(notice: Notice) -> str:
    """ "Attempted relayed", "Removed done", "Reported failed" ..."""
    name = type(notice).__name__
    outcome = getattr(notice, "outcome", None)
    detail = type(outcome).__name__.lower() if outcome else getattr(notice, "why", "")
    detail = getattr(notice, "kind", detail)
    return f"{name} {detail}".strip()
