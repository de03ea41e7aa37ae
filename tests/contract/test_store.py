"""What every store does, whatever keeps it: one suite, run on each implementation."""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from relay.mail.content import InlineContent
from relay.mail.outcome import Delayed, Failed
from relay.mail.reply import MAX_BRIEF, reply
from relay.queue.memory import MemoryStore
from relay.queue.sqlite import SqliteStore
from relay.queue.store import (
    UNROUTED,
    Answer,
    Claim,
    IStore,
    LaneState,
    Listed,
    Selection,
    Settled,
    StoreFailed,
)
from tests.contract.messages import (
    DELAYED,
    FAILED,
    NOW,
    RELAYED,
    ids,
    new,
    octets,
    queue_id,
    settlement,
)

GONE = Settled(is_removed=True)
GONE_AFTER_FAILURE = Settled(is_removed=True, had_failed=True)
KEPT = Settled(is_removed=False)
UNKNOWN = Settled(is_removed=False, is_known=False)


class Contract:
    """Needs `make_store`, which yields the same store again after a `restart`."""

    store: IStore

    async def setUp(self) -> None:
        self.store = self.make_store()
        self.opened = await self.store.open()

    async def tearDown(self) -> None:
        await self.store.close()

    async def restart(self) -> None:
        await self.store.close()
        self.store = self.make_store()
        self.opened = await self.store.open()

    def asked(self, answer: Answer) -> Deferred[Any]:
        told: Deferred[Any] = Deferred()
        answer.addCallbacks(told.callback, told.errback)
        return told

    async def insert(self, *news) -> None:
        for each in news:
            await self.store.insert(each)

    async def claim(self, lane: str = "east", now: float = NOW, limit: int = 10) -> Claim:
        return await self.store.claim(lane, now, limit)

    async def listed(self, of) -> Listed | None:
        found = await self.store.find(Selection((of.message.queue_id,)), "", 10)
        return found[0] if found else None

    async def states(self, of) -> dict[int, str]:
        listed = await self.listed(of)
        return {r.id: r.state for r in listed.recipients} if listed else {}

    async def waiting(self) -> dict[str, int]:
        return {state.name: state.waiting for state in await self.store.lanes() if state.waiting}


class InsertContract(Contract):
    async def test_what_is_claimed_is_what_was_inserted(self) -> None:
        message = new(0, {"east": ["x@b.example", "ü@b.example"]})
        await self.insert(message)
        (work,) = (await self.claim()).works
        self.assertEqual(work.message.envelope, message.message.envelope)
        self.assertEqual(work.message.origin, message.message.origin)
        self.assertEqual(work.message.accepted_at, message.message.accepted_at)
        self.assertEqual(work.message.queue_id, message.message.queue_id)
        self.assertEqual(octets(work.message.content), octets(message.message.content))
        self.assertEqual(work.recipients, message.message.envelope.recipients)
        self.assertEqual((work.lane, work.attempt), ("east", 0))

    async def test_a_queue_id_is_taken_once(self) -> None:
        await self.insert(new())
        await self.assertFailure(self.asked(self.store.insert(new())), StoreFailed)
        self.assertEqual(await self.waiting(), {"east": 1})

    async def test_a_recipient_without_a_lane_is_refused(self) -> None:
        whole = new(0, {"east": ["x@b.example"], "west": ["y@b.example"]})
        part = type(whole)(whole.message, {"east": (1,)})
        await self.assertFailure(self.asked(self.store.insert(part)), StoreFailed)
        await self.assertFailure(
            self.asked(self.store.insert(type(whole)(whole.message, {}))), StoreFailed
        )
        self.assertIsNone(await self.listed(whole))

    async def test_what_is_no_queue_id_is_refused(self) -> None:
        await self.assertFailure(
            self.asked(self.store.insert(new(id="../../etc/pass"))), StoreFailed
        )

    async def test_what_is_inserted_in_hand_is_not_claimed(self) -> None:
        one = new(0, {"east": ["x@b.example"], "west": ["y@b.example"]}, in_hand=("west",))
        await self.insert(one)
        self.assertEqual(await self.claim("west"), Claim((), None))
        self.assertEqual(len((await self.claim("east")).works), 1)
        self.assertEqual(await self.states(one), {1: "in_hand", 2: "in_hand"})

    async def test_what_was_decided_before_is_settled_with_the_insertion(self) -> None:
        lanes = {"east": ["x@b.example", "y@b.example"], "west": ["z@b.example"]}
        report = new(1, {"north": ["sender@a.example"]}, reverse_path="")
        decided = settlement(new(0, lanes), {1: RELAYED, 2: DELAYED}, at=NOW, reports=(report,))
        one = new(0, lanes, in_hand=("west",), settlements=(decided,))
        await self.insert(one)
        self.assertEqual(await self.states(one), {1: "relayed", 2: "waiting", 3: "in_hand"})
        self.assertEqual(await self.waiting(), {"east": 1, "north": 1, "west": 1})
        (work,) = (await self.claim()).works
        self.assertEqual([r.id for r in work.recipients], [2])

    async def test_insertion_and_what_was_decided_are_all_or_nothing(self) -> None:
        await self.insert(new(1))
        decided = settlement(new(0), {1: DELAYED}, reports=(new(1),))
        one = new(0, settlements=(decided,))
        await self.assertFailure(self.asked(self.store.insert(one)), StoreFailed)
        self.assertIsNone(await self.listed(one))

    async def test_each_lane_has_its_own_recipients(self) -> None:
        await self.insert(new(0, {"east": ["x@b.example", "y@b.example"], "west": ["z@b.example"]}))
        (east,) = (await self.claim("east")).works
        (west,) = (await self.claim("west")).works
        self.assertEqual([r.id for r in east.recipients], [1, 2])
        self.assertEqual([r.id for r in west.recipients], [3])
        self.assertEqual(len(west.message.envelope.recipients), 3)


class ClaimContract(Contract):
    async def test_the_longest_due_comes_first(self) -> None:
        young, old, middle = new(0, age=10), new(1, age=30), new(2, age=20)
        await self.insert(young, old, middle)
        claim = await self.claim(limit=2)
        self.assertEqual(ids(claim.works), ids([old, middle]))
        self.assertEqual(claim.next_due_at, young.message.accepted_at)

    async def test_what_is_in_hand_is_skipped(self) -> None:
        await self.insert(*[new(n) for n in range(5)])
        first = await self.claim(limit=2)
        second = await self.claim(limit=2)
        self.assertEqual(len(set(ids(first.works) + ids(second.works))), 4)
        third = await self.claim(limit=2)
        self.assertEqual((len(third.works), third.next_due_at), (1, None))

    async def test_what_is_not_due_tells_when(self) -> None:
        one, two = new(0, in_hand=("east",)), new(1, in_hand=("east",))
        await self.insert(one, two)
        await self.store.settle(settlement(one, {1: DELAYED}, at=NOW + 7.125))
        self.assertEqual(await self.claim(), Claim((), NOW + 7.125))
        self.assertEqual(ids((await self.claim(now=NOW + 7.125)).works), ids([one]))

    async def test_what_is_held_is_skipped(self) -> None:
        one, two = new(0), new(1)
        await self.insert(one, two)
        await self.store.hold([one.message.queue_id])
        claim = await self.claim()
        self.assertEqual((ids(claim.works), claim.next_due_at), (ids([two]), None))

    async def test_an_unknown_lane_has_nothing(self) -> None:
        self.assertEqual(await self.claim("nowhere"), Claim((), None))

    async def test_a_restart_frees_what_was_in_hand(self) -> None:
        one = new(0, in_hand=("east",))
        await self.insert(one)
        await self.restart()
        self.assertEqual(ids((await self.claim()).works), ids([one]))


class SettleContract(Contract):
    async def test_all_done_removes_the_message(self) -> None:
        for outcome in (RELAYED, FAILED):
            one = new(0, in_hand=("east",))
            await self.insert(one)
            self.assertEqual(await self.store.settle(settlement(one, {1: outcome})), GONE)
            self.assertIsNone(await self.listed(one))
            self.assertEqual(await self.waiting(), {})

    async def test_what_was_claimed_is_settled_likewise(self) -> None:
        await self.insert(new(0), new(1))
        works = (await self.claim()).works
        settled = [self.store.settle(settlement(work, {1: RELAYED})) for work in works]
        self.assertEqual([await each for each in settled], [GONE, GONE])
        self.assertEqual(await self.waiting(), {})

    async def test_what_is_kept_of_a_reply_is_bounded(self) -> None:
        one = new(0, {"east": ["x@b.example", "y@b.example"]}, in_hand=("east",))
        await self.insert(one)
        endless = reply(450, "", *["x" * 2000] * 30)
        outcomes = {1: Delayed(endless, "host"), 2: Failed(endless, "host")}
        await self.store.settle(settlement(one, outcomes))
        texts = [recipient.last_reply for recipient in (await self.listed(one)).recipients]
        self.assertEqual([MAX_BRIEF] * 2, [len(text) for text in texts])

    async def test_delayed_recipients_wait_under_their_attempt(self) -> None:
        one = new(0, {"east": ["x@b.example", "y@b.example", "z@b.example"]}, in_hand=("east",))
        await self.insert(one)
        outcomes = {1: RELAYED, 2: DELAYED, 3: FAILED}
        settled = await self.store.settle(settlement(one, outcomes, attempt=4, at=NOW + 9))
        self.assertEqual(settled, KEPT)
        listed = await self.listed(one)
        told = [(r.state, r.last_reply, r.attempt, r.next_attempt_at) for r in listed.recipients]
        self.assertEqual(
            told,
            [
                ("relayed", "250 2.0.0 taken", 0, 0.0),
                ("waiting", "450 4.2.1 later", 4, NOW + 9),
                ("failed", "550 5.1.1 nobody", 0, 0.0),
            ],
        )
        (work,) = (await self.claim(now=NOW + 9)).works
        self.assertEqual(([r.id for r in work.recipients], work.attempt), ([2], 4))
        self.assertEqual(work.message.envelope, one.message.envelope)
        self.assertEqual(
            await self.store.settle(settlement(work, {2: RELAYED})), GONE_AFTER_FAILURE
        )

    async def test_recipients_that_are_not_named_stay_owed(self) -> None:
        one = new(0, {"east": ["x@b.example", "y@b.example"]}, in_hand=("east",))
        await self.insert(one)
        self.assertEqual(await self.store.settle(settlement(one, {1: RELAYED})), KEPT)
        self.assertEqual(await self.states(one), {1: "relayed", 2: "waiting"})
        (work,) = (await self.claim(now=NOW + 60)).works
        self.assertEqual(await self.store.settle(settlement(work, {})), KEPT)
        self.assertEqual(await self.states(one), {1: "relayed", 2: "waiting"})

    async def test_an_outcome_of_another_recipient_changes_nothing(self) -> None:
        one = new(0, in_hand=("east",))
        await self.insert(one)
        self.assertEqual(await self.store.settle(settlement(one, {7: RELAYED})), KEPT)
        self.assertEqual(await self.states(one), {1: "waiting"})

    async def test_a_message_goes_with_its_last_lane(self) -> None:
        one = new(0, {"east": ["x@b.example"], "west": ["y@b.example"]}, in_hand=("east", "west"))
        await self.insert(one)
        self.assertEqual(await self.store.settle(settlement(one, {1: RELAYED})), KEPT)
        self.assertEqual(await self.states(one), {1: "relayed", 2: "in_hand"})
        self.assertEqual(await self.store.settle(settlement(one, {2: FAILED}, "west")), GONE)
        self.assertEqual(await self.waiting(), {})

    async def test_whole_again_and_again_delayed(self) -> None:
        one = new(0, {"east": ["x@b.example", "y@b.example"]})
        await self.insert(one)
        for attempt in (1, 2, 3):
            (work,) = (await self.claim(now=NOW + attempt)).works
            self.assertEqual(work.attempt, attempt - 1)
            outcomes = {1: DELAYED, 2: DELAYED}
            await self.store.settle(
                settlement(work, outcomes, attempt=attempt, at=NOW + attempt + 1)
            )
        (work,) = (await self.claim(now=NOW + 10)).works
        self.assertEqual(await self.store.settle(settlement(work, {1: FAILED, 2: RELAYED})), GONE)

    async def test_reports_come_with_the_settlement(self) -> None:
        one = new(0, in_hand=("east",))
        report = new(1, {"west": ["sender@a.example"]}, age=0, reverse_path="")
        await self.insert(one)
        settled = await self.store.settle(settlement(one, {1: FAILED}, reports=(report,)))
        self.assertEqual(settled, GONE)
        self.assertEqual(ids((await self.claim("west", NOW + 1)).works), ids([report]))

    async def test_reports_and_settlement_are_all_or_nothing(self) -> None:
        one, other = new(0, in_hand=("east",)), new(1)
        await self.insert(one, other)
        taken = settlement(one, {1: FAILED}, reports=(new(1),))
        await self.assertFailure(self.asked(self.store.settle(taken)), StoreFailed)
        self.assertEqual(await self.states(one), {1: "in_hand"})
        self.assertEqual(await self.waiting(), {"east": 2})
        self.assertEqual(await self.store.settle(settlement(one, {1: FAILED})), GONE)

    async def test_nothing_is_recorded_of_what_was_removed_meanwhile(self) -> None:
        one = new(0, in_hand=("east",))
        await self.insert(one)
        await self.store.remove([one.message.queue_id])
        report = new(1, {"west": ["sender@a.example"]})
        for reports in ((), (report,)):
            settled = await self.store.settle(settlement(one, {1: FAILED}, reports=reports))
            self.assertEqual(settled, UNKNOWN)
        self.assertEqual(await self.waiting(), {})

    async def test_held_while_in_hand_stays_held_when_delayed(self) -> None:
        one = new(0, in_hand=("east",))
        await self.insert(one)
        await self.store.hold([one.message.queue_id])
        await self.store.settle(settlement(one, {1: DELAYED}, at=NOW))
        self.assertEqual(await self.claim(), Claim((), None))
        self.assertTrue((await self.listed(one)).is_held)


class SweepContract(Contract):
    async def expired(self, before: float = NOW - 50, limit: int = 10) -> list[str]:
        return ids(await self.store.claim_expired(before, limit))

    async def overdue(self, before: float = NOW - 50, limit: int = 10) -> list[str]:
        return ids(await self.store.overdue(before, limit))

    async def test_the_oldest_expire_first_and_are_in_hand_then(self) -> None:
        messages = [new(0, age=200), new(1, age=100), new(2, age=300), new(3, age=10)]
        await self.insert(*messages)
        self.assertEqual(await self.expired(limit=2), ids([messages[2], messages[0]]))
        self.assertEqual(await self.expired(), ids([messages[1]]))
        self.assertEqual(await self.expired(), [])
        self.assertEqual(ids((await self.claim()).works), ids([messages[3]]))

    async def test_nothing_is_claimed_twice_by_those_who_ask_at_once(self) -> None:
        messages = [new(n, age=100 + n) for n in range(6)]
        await self.insert(*messages)
        asked = [self.store.claim_expired(NOW - 50, 10), self.store.claim("east", NOW, 10)]
        expired, claimed = [await each for each in asked]
        self.assertEqual(sorted(ids(messages)), sorted(ids(expired) + ids(claimed.works)))

    async def test_what_does_not_expire(self) -> None:
        held, in_hand, unrouted = new(0), new(1, in_hand=("east",)), new(2, {UNROUTED: ["x@y.z"]})
        on_held_lane, due = new(3, {"west": ["x@b.example"]}), new(4)
        await self.insert(held, in_hand, unrouted, on_held_lane, due)
        await self.store.hold([held.message.queue_id])
        await self.store.save_lane(LaneState("west", is_held=True))
        self.assertEqual(await self.expired(), ids([due]))

    async def test_one_attempt_comes_between_the_release_of_a_lane_and_expiry(self) -> None:
        await self.insert(new(0), new(1, {"west": ["x@b.example"]}))
        await self.store.save_lane(LaneState("east", is_held=True))
        await self.store.save_lane(LaneState("east"))
        await self.store.save_lane(LaneState("west", 1))
        await self.store.save_lane(LaneState("west"))
        self.assertEqual(await self.expired(), [new(1).message.queue_id])
        [work] = (await self.claim()).works
        await self.store.settle(settlement(work, {1: DELAYED}))
        self.assertEqual(await self.expired(), ids([work]))

    async def test_a_paused_lane_does_not_expire_but_is_overdue(self) -> None:
        await self.insert(new(0))
        await self.store.save_lane(LaneState("east", 1, is_paused=True))
        self.assertEqual(await self.expired(), [])
        self.assertEqual(await self.overdue(), [new(0).message.queue_id])

    async def test_one_attempt_comes_between_the_end_of_a_pause_and_expiry(self) -> None:
        await self.insert(new(0))
        await self.store.save_lane(LaneState("east", 1, is_held=True, is_paused=True))
        await self.store.save_lane(LaneState("east", 1, is_held=True))
        await self.store.save_lane(LaneState("east"))
        self.assertEqual(await self.expired(), [])
        [work] = (await self.claim()).works
        await self.store.settle(settlement(work, {1: DELAYED}))
        self.assertEqual(await self.expired(), ids([work]))

    async def test_one_attempt_comes_between_an_operators_wish_and_expiry(self) -> None:
        released, retried = new(0), new(1)
        await self.insert(released, retried)
        await self.store.hold([released.message.queue_id])
        await self.store.release([released.message.queue_id], NOW)
        await self.store.retry([retried.message.queue_id], NOW)
        self.assertEqual(await self.expired(), [])
        for work in (await self.claim()).works:
            await self.store.settle(settlement(work, {1: DELAYED}))
        self.assertEqual(await self.expired(), ids([released, retried]))

    async def test_put_back_untried_it_keeps_the_attempt_that_was_promised(self) -> None:
        await self.insert(new(0))
        await self.store.retry([new(0).message.queue_id], NOW)
        [work] = (await self.claim()).works
        await self.store.settle(settlement(work, {}, attempt=work.attempt, at=NOW))
        self.assertEqual(await self.expired(), [])
        [work] = (await self.claim()).works
        await self.store.settle(settlement(work, {1: DELAYED}))
        self.assertEqual(await self.expired(), ids([work]))

    async def test_overdue_messages_until_they_are_warned_about(self) -> None:
        old, young = new(0, age=100), new(1, age=10)
        await self.insert(old, young)
        self.assertEqual(await self.overdue(), ids([old]))
        self.assertEqual(await self.overdue(), ids([old]))
        report = new(2, {"west": ["sender@a.example"]}, age=0)
        self.assertTrue(await self.store.warned(old.message.queue_id, (report,)))
        self.assertEqual(await self.overdue(), [])
        self.assertEqual(await self.waiting(), {"east": 2, "west": 1})
        await self.restart()
        self.assertEqual(await self.overdue(), [])

    async def test_a_warning_of_what_is_gone_makes_no_report(self) -> None:
        report = new(2, {"west": ["sender@a.example"]}, age=0)
        self.assertFalse(await self.store.warned(queue_id(100), (report,)))
        self.assertEqual(await self.waiting(), {})

    async def test_all_works_of_an_overdue_message_come_together(self) -> None:
        both = {"east": ["x@b.example"], "west": ["y@b.example"]}
        await self.insert(new(0, both), new(1, both), new(2, both))
        works = await self.store.overdue(NOW - 50, 3)
        self.assertEqual([work.lane for work in works], ["east", "west"] * 2)

    async def test_what_is_not_overdue(self) -> None:
        held, in_hand = new(0), new(1, in_hand=("east",))
        on_held_lane, due = new(2, {"west": ["x@b.example"]}), new(3)
        await self.insert(held, in_hand, on_held_lane, due)
        await self.store.hold([held.message.queue_id])
        await self.store.save_lane(LaneState("west", is_held=True))
        self.assertEqual(await self.overdue(), ids([due]))


class LaneContract(Contract):
    async def test_lanes_outlive_a_restart(self) -> None:
        state = LaneState("east", 3, NOW + 5.5, True, 99, "451 4.4.1 no answer", True)
        await self.store.save_lane(LaneState("east", 1))
        await self.store.save_lane(state)
        await self.insert(new(0, {"east": ["x@b.example"], "west": ["y@b.example"]}), new(1))
        expected = (
            LaneState("east", 3, NOW + 5.5, True, 2, "451 4.4.1 no answer", True),
            LaneState("west", waiting=1),
        )
        self.assertEqual(tuple(await self.store.lanes()), expected)
        before = self.opened.start_number
        await self.restart()
        self.assertEqual(self.opened.lanes, expected)
        self.assertEqual(self.opened.start_number, before + 1)
        self.assertEqual(self.opened.troubles, ())

    async def test_move_puts_recipients_on_other_lanes(self) -> None:
        one = new(0, {"east": ["x@b.example", "y@b.example", "z@b.example"]}, in_hand=("east",))
        await self.insert(one)
        await self.store.settle(settlement(one, {1: DELAYED, 2: DELAYED, 3: DELAYED}, attempt=5))
        name = one.message.queue_id
        self.assertTrue(await self.store.move(name, "east", {1: "west", 2: "north"}))
        self.assertEqual(await self.waiting(), {"east": 1, "north": 1, "west": 1})
        (work,) = (await self.claim("west")).works
        self.assertEqual(([r.id for r in work.recipients], work.attempt), ([1], 5))
        self.assertEqual((await self.claim("east")).next_due_at, NOW + 60)
        self.assertTrue(await self.store.move(name, "east", {3: "north"}))
        (work,) = (await self.claim("north")).works
        self.assertEqual([r.id for r in work.recipients], [2, 3])
        self.assertEqual(await self.waiting(), {"north": 1, "west": 1})
        self.assertEqual(await self.store.settle(settlement(one, {1: RELAYED}, "west")), KEPT)
        done = settlement(one, {2: RELAYED, 3: FAILED}, "north")
        self.assertEqual(await self.store.settle(done), GONE)

    async def test_what_was_moved_keeps_its_hold_its_grace_and_its_warning(self) -> None:
        one, held = new(0), new(1)
        await self.insert(one, held)
        await self.store.retry(ids([one]), NOW)
        await self.store.hold(ids([held]))
        await self.store.warned(one.message.queue_id, ())
        for each in (one, held):
            self.assertTrue(await self.store.move(each.message.queue_id, "east", {1: "west"}))
        self.assertEqual(await self.store.claim_expired(NOW, 9), ())
        self.assertEqual(list(await self.store.overdue(NOW, 9)), [])
        self.assertEqual(ids((await self.claim("west")).works), ids([one]))

    async def test_what_is_in_hand_or_gone_is_not_moved(self) -> None:
        one = new(0, in_hand=("east",))
        await self.insert(one)
        name = one.message.queue_id
        self.assertFalse(await self.store.move(name, "east", {1: "west"}))
        self.assertFalse(await self.store.move(name, "west", {1: "east"}))
        self.assertFalse(await self.store.move(queue_id(5), "east", {1: "west"}))
        self.assertEqual(await self.waiting(), {"east": 1})


class OperatorContract(Contract):
    async def found(self, limit: int = 10, after: str = "", **conditions: object) -> list[str]:
        found = await self.store.find(Selection(**conditions), after, limit)
        return [listed.queue_id for listed in found]

    async def test_find_lists_a_message(self) -> None:
        one = new(0, {"east": ["x@b.example"], "west": ["y@b.example"]}, in_hand=("west",))
        await self.insert(one)
        listed = await self.listed(one)
        message = one.message
        self.assertEqual(
            (listed.queue_id, listed.reverse_path, listed.size, listed.accepted_at, listed.is_held),
            (
                message.queue_id,
                "sender@a.example",
                message.content.size,
                message.accepted_at,
                False,
            ),
        )
        self.assertEqual(("lan", "user"), (listed.listener, listed.user))
        told = [(r.id, r.forward_path, r.state, r.lane, r.last_reply) for r in listed.recipients]
        self.assertEqual(
            told,
            [(1, "x@b.example", "waiting", "east", ""), (2, "y@b.example", "in_hand", "west", "")],
        )

    async def test_find_by_each_condition(self) -> None:
        null = new(0, {"west": ["X@B.example"]}, reverse_path="", age=300)
        other = new(1, {"east": ["[a]@c.example"]}, reverse_path="Boss@A.example", age=200)
        both = new(2, {"east": ["z@d.example"], "west": ["y@b.example"]}, age=100)
        await self.insert(both, other, null)
        for conditions, expected in (
            ({}, [null, other, both]),
            ({"lane": "west"}, [null, both]),
            ({"lane": "nowhere"}, []),
            ({"sender": "<>"}, [null]),
            ({"sender": "*"}, [null, other, both]),
            ({"sender": "boss@*"}, [other]),
            ({"sender": "s?nder@a.EXAMPLE"}, [both]),
            ({"recipient": "x@b.example"}, [null]),
            ({"recipient": "*@b.example"}, [null, both]),
            ({"recipient": "[a]@*"}, [other]),
            ({"recipient": "[ab]@*"}, []),
            ({"accepted_before": NOW - 150}, [null, other]),
            ({"lane": "west", "accepted_before": NOW - 150, "sender": "*"}, [null]),
            ({"queue_ids": tuple(ids([both, null]))}, [null, both]),
            ({"queue_ids": (queue_id(7), "nonsense")}, []),
            ({"queue_ids": tuple(ids([both, null])), "lane": "east"}, [both]),
        ):
            self.assertEqual(await self.found(**conditions), ids(expected), conditions)

    async def test_find_looks_only_at_recipients_still_owed(self) -> None:
        both = {"east": ["x@b.example"], "west": ["y@b.example"]}
        one = new(0, both, in_hand=("east",))
        await self.insert(one)
        await self.store.settle(settlement(one, {1: RELAYED}))
        self.assertEqual(await self.found(lane="east"), [])
        self.assertEqual(await self.found(recipient="x@*"), [])
        self.assertEqual(await self.found(recipient="y@*"), ids([one]))

    async def test_find_goes_page_by_page(self) -> None:
        messages = [new(n, reverse_path="a@b" if n % 2 else "") for n in range(7)]
        await self.insert(*messages)
        self.assertEqual(await self.found(3), ids(messages[:3]))
        self.assertEqual(await self.found(3, messages[2].message.queue_id), ids(messages[3:6]))
        odd = await self.found(2, messages[2].message.queue_id, sender="a@b")
        self.assertEqual(odd, ids([messages[3], messages[5]]))
        self.assertEqual(await self.found(9, messages[6].message.queue_id), [])

    async def test_hold_and_release(self) -> None:
        one, two = new(0, in_hand=("east",)), new(1)
        await self.insert(one, two)
        await self.store.settle(settlement(one, {1: DELAYED}))
        both = ids([one, two])
        self.assertEqual(list(await self.store.hold([*both, queue_id(1), "x"])), both)
        self.assertEqual(await self.claim(now=NOW + 999), Claim((), None))
        self.assertEqual((await self.states(one)), {1: "waiting"})
        await self.restart()
        self.assertTrue((await self.listed(one)).is_held)
        self.assertEqual(list(await self.store.release([both[0], queue_id(1)], NOW)), both[:1])
        self.assertEqual(list(await self.store.release([both[0]], NOW)), [])
        self.assertFalse((await self.listed(one)).is_held)
        self.assertEqual(ids((await self.claim()).works), both[:1])

    async def test_retry_makes_due_but_does_not_release(self) -> None:
        one, held = new(0, in_hand=("east",)), new(1, in_hand=("east",))
        await self.insert(one, held)
        for each in (one, held):
            await self.store.settle(settlement(each, {1: DELAYED}))
        await self.store.hold([held.message.queue_id])
        both = ids([one, held])
        self.assertEqual(list(await self.store.retry([*both, "x"], NOW)), both)
        self.assertEqual(ids((await self.claim()).works), both[:1])

    async def test_remove(self) -> None:
        both = {"east": ["x@b.example"], "west": ["y@b.example"]}
        one, two, three = new(0, both), new(1, in_hand=("east",)), new(2)
        await self.insert(one, two, three)
        gone = ids([one, two])
        self.assertEqual(list(await self.store.remove([*gone, queue_id(1), "x"])), gone)
        self.assertEqual(list(await self.store.remove(gone)), [])
        self.assertEqual(await self.waiting(), {"east": 1})
        self.assertEqual(await self.found(), ids([three]))
        await self.insert(new(1))
        self.assertEqual(ids((await self.claim()).works), ids([new(1), three]))

    async def test_works_that_wait(self) -> None:
        both = {"east": ["x@b.example"], "west": ["y@b.example"]}
        one, two = new(0, both, in_hand=("east",)), new(1)
        await self.insert(one, two, new(2))
        for _ in range(2):
            works = await self.store.works([*ids([one, two]), queue_id(1)])
            self.assertEqual(
                [(*ids([w]), w.lane) for w in works], [(*ids([one]), "west"), (*ids([two]), "east")]
            )


class ContentContract(Contract):
    async def test_content_of_any_size_comes_back(self) -> None:
        for number, size in enumerate((0, 1, 70_000, 3_000_000)):
            expected = bytes(range(256)) * (size // 256 + 1)
            one = new(number)
            writer = self.store.new_content(one.message.queue_id)
            for start in range(0, size, 50_000):
                writer.write(expected[start : min(size, start + 50_000)])
            self.assertEqual(writer.size, size)
            content = writer.finish()
            self.assertEqual(content.size, size)
            self.assertEqual(octets(content), expected[:size])
            await self.insert(new(number, content=content))
            (work,) = (await self.claim()).works
            self.assertEqual(octets(work.message.content), expected[:size])
            self.assertEqual(octets(work.message.content), expected[:size])
            self.assertEqual(await self.store.settle(settlement(work, {1: RELAYED})), GONE)

    async def test_large_content_made_here_is_kept_too(self) -> None:
        expected = b"line\r\n" * 50_000
        await self.insert(new(0, content=InlineContent(expected)))
        await self.restart()
        (work,) = (await self.claim()).works
        self.assertEqual(octets(work.message.content), expected)

    async def test_what_is_discarded_can_be_written_anew(self) -> None:
        writer = self.store.new_content(queue_id(100))
        writer.write(b"x" * 200_000)
        writer.discard()
        writer.discard()
        await self.insert(new(0))
        self.assertEqual(await self.waiting(), {"east": 1})

    async def test_discard_after_the_insertion_is_harmless(self) -> None:
        one = new(0)
        writer = self.store.new_content(one.message.queue_id)
        writer.write(b"x" * 200_000)
        inserted = self.store.insert(new(0, content=writer.finish()))
        writer.discard()
        await inserted
        writer.discard()
        (work,) = (await self.claim()).works
        self.assertEqual(octets(work.message.content), b"x" * 200_000)


class OnMemory:
    def make_store(self) -> IStore:
        self._store = getattr(self, "_store", None) or MemoryStore()
        return self._store


class OnSqlite:
    def make_store(self) -> IStore:
        self._directory = getattr(self, "_directory", None) or Path(self.mktemp())
        return SqliteStore(self._directory, reactor)


class MemoryInsertTests(OnMemory, InsertContract, TestCase):
    pass


class MemoryClaimTests(OnMemory, ClaimContract, TestCase):
    pass


class MemorySettleTests(OnMemory, SettleContract, TestCase):
    pass


class MemorySweepTests(OnMemory, SweepContract, TestCase):
    pass


class MemoryLaneTests(OnMemory, LaneContract, TestCase):
    pass


class MemoryOperatorTests(OnMemory, OperatorContract, TestCase):
    pass


class MemoryContentTests(OnMemory, ContentContract, TestCase):
    pass


class SqliteInsertTests(OnSqlite, InsertContract, TestCase):
    pass


class SqliteClaimTests(OnSqlite, ClaimContract, TestCase):
    pass


class SqliteSettleTests(OnSqlite, SettleContract, TestCase):
    pass


class SqliteSweepTests(OnSqlite, SweepContract, TestCase):
    pass


class SqliteLaneTests(OnSqlite, LaneContract, TestCase):
    pass


class SqliteOperatorTests(OnSqlite, OperatorContract, TestCase):
    pass


class SqliteContentTests(OnSqlite, ContentContract, TestCase):
    pass
