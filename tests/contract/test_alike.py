"""SQLite and memory, given the same calls in the same order, answer the same: random walks."""

from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from relay.queue.memory import MemoryStore
from relay.queue.sqlite import SqliteStore
from relay.queue.store import Claim, IStore, LaneState, NewMessage, Selection, StoreFailed, Work
from tests.contract.messages import DELAYED, FAILED, NOW, RELAYED, new, octets, queue_id, settlement

LANES = ("east", "west", "north", "")
STEPS = 250


class Walk:
    """Makes calls as a relay would, and some that it would not."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.in_hand: list[Work] = []
        self.made = 0
        self.now = NOW

    def call(self) -> tuple[str, tuple]:
        kinds = ["insert"] * 4 + ["claim"] * 3 + ["settle"] * 5 + ["move", "hold", "release"]
        kinds += ["retry", "remove", "claim_expired", "overdue", "warned", "save_lane", "works"]
        kind = self.random.choice(kinds)
        self.now += self.random.random() * 20
        return kind, getattr(self, kind)()

    def some_id(self) -> str:
        return queue_id(1000 - self.random.randrange(self.made + 1), 0)

    def some_ids(self) -> list[str]:
        return [self.some_id() for _ in range(self.random.randrange(3))]

    def fresh(self) -> NewMessage:
        self.made += self.random.random() < 0.95  # else a queue id is used twice
        lanes: dict[str, list[str]] = {}
        for n in range(self.random.choice((1, 1, 1, 2, 3, 4))):
            lanes.setdefault(self.random.choice(LANES), []).append(f"{n}@b.example")
        in_hand = tuple(lane for lane in lanes if lane and self.random.random() < 0.4)
        sender = self.random.choice(("", "a@a.example", "b@a.example"))
        return new(0, lanes, age=1000 - self.made, in_hand=in_hand, reverse_path=sender)

    def insert(self) -> tuple:
        made = self.fresh()
        recipients = made.message.envelope.recipients
        for lane in made.in_hand:
            ids = made.lanes[lane]
            self.in_hand.append(
                Work(made.message, lane, tuple(r for r in recipients if r.id in ids))
            )
        return (made,)

    def claim(self) -> tuple:
        return self.random.choice(LANES[:3]), self.now, self.random.randrange(1, 4)

    def settle(self) -> tuple:
        if not self.in_hand:
            return (settlement(new(id=self.some_id()), {1: RELAYED}),)
        work = self.in_hand.pop(self.random.randrange(len(self.in_hand)))
        favourite = self.random.choice((RELAYED, RELAYED, DELAYED, FAILED))
        outcomes = {
            r.id: self.random.choice((favourite, favourite, RELAYED, DELAYED, FAILED))
            for r in work.recipients
            if self.random.random() < 0.9
        }
        reports = (self.fresh(),) if self.random.random() < 0.2 else ()
        at = self.now + self.random.random() * 100
        return (settlement(work, outcomes, work.lane, attempt=3, at=at, reports=reports),)

    def move(self) -> tuple:
        to = {n: self.random.choice(LANES) for n in (1, 2, 3) if self.random.random() < 0.7}
        return self.some_id(), self.random.choice(LANES), to

    def hold(self) -> tuple:
        return (self.some_ids(),)

    remove = works = hold

    def release(self) -> tuple:
        return self.some_ids(), self.now

    retry = release

    def claim_expired(self) -> tuple:
        return NOW - 1000 + self.random.randrange(self.made + 1), 2

    overdue = claim_expired

    def warned(self) -> tuple:
        return self.some_id(), (self.fresh(),)

    def save_lane(self) -> tuple:
        name, is_held = self.random.choice(LANES[:3]), self.random.random() < 0.3
        return (LaneState(name, 2, self.now, is_held, 0, "421 busy"),)


class AlikeTests(TestCase):
    async def walk(self, seed: int) -> None:
        stores = MemoryStore(), SqliteStore(Path(self.mktemp()), reactor)
        for store in stores:
            await store.open()
        walk = Walk(seed)
        for step in range(STEPS):
            kind, arguments = walk.call()
            where = f"seed {seed}, step {step}: {kind}{arguments}"
            walk.in_hand += await self.alike(stores, kind, arguments, where)
            if step % 10 == 0:
                await self.alike(stores, "lanes", (), where)
                await self.alike(stores, "find", (Selection(), "", 999), where)
        await stores[1].close()

    async def alike(
        self, stores: tuple[IStore, IStore], kind: str, arguments: tuple, where: str
    ) -> tuple[Work, ...]:
        """What was taken in hand."""
        answers = [await self.answer(store, kind, arguments) for store in stores]
        self.assertEqual(*[self.plain(answer) for answer in answers], where)
        if kind == "claim":
            return answers[0].works
        return answers[0] if kind == "claim_expired" else ()

    async def answer(self, store: IStore, kind: str, arguments: tuple) -> object:
        try:
            return await getattr(store, kind)(*arguments)
        except StoreFailed:
            return "failed"

    def plain(self, answer: object) -> object:
        """Something that compares: contents by their octets."""
        if isinstance(answer, Claim):
            return self.plain(answer.works), answer.next_due_at
        if isinstance(answer, list | tuple):
            return [self.plain(each) for each in answer]
        return self.plain_work(answer) if isinstance(answer, Work) else answer

    def plain_work(self, work: Work) -> tuple:
        message = work.message
        return (
            message.queue_id,
            message.envelope,
            message.origin,
            message.accepted_at,
            octets(message.content),
            work.lane,
            work.recipients,
            work.attempt,
        )

    async def test_random_walks(self) -> None:
        for seed in range(6):
            await self.walk(seed)
