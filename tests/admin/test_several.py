"""Several queues as one: pages in order, acts one queue after the other, tables merged."""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from relay.admin.operations import BadWish
from relay.admin.several import QueueAway, Several
from relay.queue.store import Selection, StoreFailed

ALL = Selection()


class Ids:
    """A queue that holds messages of these ids, and pages as `Operations` does."""

    def __init__(self, *ids: str) -> None:
        self.ids = sorted(ids)
        self.page_size = 2  # of `act`
        self.acted: list[tuple[str, str]] = []
        self.lane: dict[str, Any] = {}
        self.told: dict[str, Any] = {}

    def page(self, selection: Selection, after: str, limit: int) -> Any:
        left = [each for each in self.ids if each > after]
        found = left[:limit]
        return succeed(
            {
                "messages": [{"id": each} for each in found],
                "after": found[-1] if len(left) > limit else None,
            }
        )

    def act(self, verb: str, selection: Selection, after: str) -> Any:
        left = [each for each in self.ids if each > after]
        found = left[: self.page_size]
        self.acted += [(verb, each) for each in found]
        return succeed({"done": found, "after": found[-1] if len(left) > len(found) else None})

    def lanes(self) -> Any:
        return succeed({"lanes": [self.lane] if self.lane else []})

    def hold_lane(self, name: str) -> Any:
        return succeed(name == self.lane.get("name"))

    release_lane = hold_lane

    def status(self) -> Any:
        lanes = [self.lane] if self.lane else []
        return succeed({**self.told, "lanes": lanes})


class Gone(Ids):
    """A worker that does not answer any more."""

    def page(self, selection: Selection, after: str, limit: int) -> Any:
        return fail(StoreFailed("it is gone"))

    def act(self, verb: str, selection: Selection, after: str) -> Any:
        return fail(StoreFailed("it is gone"))

    def lanes(self) -> Any:
        return fail(StoreFailed("it is gone"))


class SeveralCase(SynchronousTestCase):
    def several(self, *queues: Ids) -> Several:
        self.queues = dict(enumerate(queues))
        return Several(lambda: self.queues, more_status=lambda: {"workers": 2})

    def get(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def fails(self, coroutine: Any, kind: type[Exception]) -> None:
        self.failureResultOf(Deferred.fromCoroutine(coroutine), kind)


class PageTests(SeveralCase):
    def pages(self, several: Several, limit: int) -> list[list[str]]:
        pages, after = [], ""
        while after is not None:
            page = self.get(several.page(ALL, after, limit))
            pages.append([message["id"] for message in page["messages"]])
            after = page["after"]
        return pages

    def test_merged_in_order_and_resumed_at_every_size(self) -> None:
        ids = [f"{number:02}" for number in range(13)]
        for limit in range(1, 15):
            several = self.several(Ids(*ids[0::3]), Ids(*ids[1::3]), Ids(), Ids(*ids[2::3]))
            pages = self.pages(several, limit)
            self.assertEqual(ids, [each for page in pages for each in page])
            self.assertEqual([limit] * (len(pages) - 1), [len(page) for page in pages[:-1]])

    def test_one_that_is_before_all_others(self) -> None:
        several = self.several(Ids("a", "b", "c"), Ids("x", "y"))
        self.assertEqual([["a", "b"], ["c", "x"], ["y"]], self.pages(several, 2))

    def test_none(self) -> None:
        for several in (self.several(), self.several(Ids(), Ids())):
            self.assertEqual([[]], self.pages(several, 5))

    def test_limits_are_kept_within_reason(self) -> None:
        several = self.several(Ids("a", "b"))
        self.assertEqual([["a"], ["b"]], self.pages(several, -3))
        self.assertEqual([["a", "b"]], self.pages(several, 10**9))

    def test_one_that_is_gone_fails_the_request(self) -> None:
        self.fails(self.several(Ids("a"), Gone("b")).page(ALL, "", 5), StoreFailed)


class ActTests(SeveralCase):
    def acts(self, several: Several) -> list[str]:
        done, after = [], ""
        while after is not None:
            answer = self.get(several.act("hold", ALL, after))
            done += answer["done"]
            after = answer["after"]
        return done

    def test_one_queue_after_the_other_each_to_its_end(self) -> None:
        several = self.several(Ids("a", "d", "e"), Ids(), Ids("b", "c"))
        self.assertEqual(["a", "d", "e", "b", "c"], self.acts(several))
        self.assertEqual([("hold", "b"), ("hold", "c")], self.queues[2].acted)

    def test_no_queue_at_all(self) -> None:
        self.assertEqual([], self.acts(self.several()))

    def test_a_queue_less_than_when_it_began(self) -> None:
        several = self.several(Ids("a"), Ids("b"))
        answer = self.get(several.act("hold", ALL, ""))
        del self.queues[1]
        self.assertEqual(
            {"done": [], "after": None, "at": 0.0},
            self.get(several.act("hold", ALL, answer["after"])),
        )

    def test_one_that_was_done_and_goes_takes_no_others_turn(self) -> None:
        several = self.several(Ids(), Ids("a"), Ids("b"))
        answer = self.get(several.act("hold", ALL, "1:"))
        del self.queues[0]
        answer = self.get(several.act("hold", ALL, answer["after"]))
        self.assertEqual((["b"], None), (answer["done"], answer["after"]))

    def test_one_that_goes_while_its_turn_comes_is_passed_over(self) -> None:
        several = self.several(Ids("a"), Ids("b"), Ids("a", "c"))
        self.assertEqual("1:", self.get(several.act("hold", ALL, ""))["after"])
        del self.queues[1]
        answer = self.get(several.act("hold", ALL, "1:b"))
        self.assertEqual((["a", "c"], None), (answer["done"], answer["after"]))

    def test_one_that_is_gone_fails_the_request(self) -> None:
        several = self.several(Ids("a"), Gone())
        answer = self.get(several.act("hold", ALL, ""))
        self.fails(several.act("hold", ALL, answer["after"]), StoreFailed)

    def test_nonsense_places(self) -> None:
        several = self.several(Ids("a"))
        for place in ("x", "x:a", ":a", "-1:a", "9999:a", "²:a"):
            self.fails(several.act("hold", ALL, place), BadWish)


class LanesTests(SeveralCase):
    def queue(self, **changes: Any) -> Ids:
        queue = Ids()
        queue.lane = {
            "name": "main",
            "waiting": 1,
            "held": False,
            "paused": False,
            "attempt": 0,
            "next_attempt_at": None,
            "last_reply": "",
        } | changes
        return queue

    def test_one_row_a_lane_as_the_worst_off_sees_it(self) -> None:
        several = self.several(
            self.queue(waiting=3, attempt=1, next_attempt_at=50, last_reply="451 a"),
            self.queue(waiting=4, attempt=2, next_attempt_at=60, last_reply="451 b"),
            self.queue(held=True),
            self.queue(attempt=1, next_attempt_at=70, paused=True),
            self.queue(name="a", waiting=0),
        )
        lanes = self.get(several.lanes())["lanes"]
        self.assertEqual(lanes, self.get(several.status())["lanes"])
        first, main = lanes
        self.assertEqual("a", first["name"])
        self.assertEqual(
            {
                "name": "main",
                "waiting": 9,
                "held": True,
                "paused": True,
                "attempt": 2,
                "next_attempt_at": 50,
                "last_reply": "451 b",
            },
            main,
        )

    def test_held_and_released_on_all(self) -> None:
        several = self.several(self.queue(), self.queue(name="left"))
        for act in (several.hold_lane, several.release_lane):
            self.assertTrue(self.get(act("left")))
            self.assertFalse(self.get(act("none such")))

    def test_one_that_is_gone_fails_the_request(self) -> None:
        self.fails(self.several(self.queue(), Gone()).lanes(), StoreFailed)


class StatusTests(SeveralCase):
    def test_numbers_are_summed_what_holds_for_all_is_asked_of_all(self) -> None:
        one, other = Ids(), Ids()
        one.told = {"hostname": "x", "in_hand": 2, "has_space": True, "hosts": [], "only": "one"}
        other.told = {
            "hostname": "x",
            "in_hand": 3,
            "has_space": False,
            "hosts": [{"host": "h", "sessions": 1}],
            "extra": 5,
        }
        told = self.get(self.several(one, other).status())
        self.assertEqual(
            {
                "workers": 2,
                "hostname": "x",
                "in_hand": 5,
                "has_space": False,
                "hosts": [{"host": "h", "sessions": 1}],
                "only": "one",
                "extra": 5,
                "lanes": [],
            },
            told,
        )

    def test_rows_of_the_same_name_are_one(self) -> None:
        one, other = Ids(), Ids()
        one.told = {"hosts": [{"host": "a", "idle": 1}, {"host": "b", "idle": 2}]}
        other.told = {"hosts": [{"host": "b", "idle": 3}]}
        hosts = self.get(self.several(one, other).status())["hosts"]
        self.assertEqual([{"host": "a", "idle": 1}, {"host": "b", "idle": 5}], hosts)

    def test_who_has_logged_in_tells_how(self) -> None:
        one, other = Ids(), Ids()
        one.told = {"hosts": [{"host": "a", "auth": "not tried"}]}
        other.told = {"hosts": [{"host": "a", "auth": "PLAIN"}]}
        for some in ((one, other), (other, one)):
            (host,) = self.get(self.several(*some).status())["hosts"]
            self.assertEqual("PLAIN", host["auth"])

    def test_a_host_is_one_row_whatever_tls_each_worker_has_there(self) -> None:
        rows = [{"host": "a", "sessions": n, "tls": tls} for n, tls in ((0, ""), (2, "TLSv1.3 X"))]
        one, other = Ids(), Ids()
        one.told, other.told = ({"hosts": [row]} for row in rows)
        hosts = self.get(self.several(one, other).status())["hosts"]
        self.assertEqual(hosts, [{"host": "a", "sessions": 2, "tls": "TLSv1.3 X"}])

    def test_an_alarm_of_several_is_one_row(self) -> None:
        """The one that was raised first; whatever the supervisor has to say comes before."""
        rows = [{"alarm": "space", "since": f"2026-01-0{n}", "why": f"{n} MB"} for n in (1, 2)]
        one, other = Ids(), Ids()
        one.told, other.told = ({"alarms": [row]} for row in rows)
        own = {"alarm": "worker 2", "since": "2026-01-03", "why": "ended"}
        both = {0: one, 1: other}
        several = Several(lambda: both, more_status=lambda: {"alarms": [own]})
        self.assertEqual([own, rows[0]], self.get(several.status())["alarms"])

    def test_each_that_hangs_is_an_alarm(self) -> None:
        class Hung(Ids):
            async def status(self) -> Any:
                raise QueueAway(f"{self.ids[0]} has not answered", self.ids[0])

        one = Ids()
        one.told = {"in_hand": 2}
        told = self.get(self.several(one, Hung("worker 1"), Hung("worker 2")).status())
        self.assertEqual(2, told["in_hand"])
        self.assertEqual(
            [
                ("no answer from worker 1", "worker 1 has not answered"),
                ("no answer from worker 2", "worker 2 has not answered"),
            ],
            [(row["alarm"], row["why"]) for row in told["alarms"]],
        )

    def test_while_one_is_away_it_tells_of_the_others_and_nothing_else_is_done(self) -> None:
        present = Ids("a")
        present.told = {"in_hand": 2}

        def all_of_them() -> dict[int, Ids]:
            raise StoreFailed("one is starting")

        several = Several(all_of_them, lambda: {0: present})
        self.assertEqual({"in_hand": 2, "lanes": []}, self.get(several.status()))
        self.fails(several.page(ALL, "", 5), StoreFailed)
        self.fails(several.act("hold", ALL, ""), StoreFailed)
        self.fails(several.lanes(), StoreFailed)
        self.fails(several.hold_lane("main"), StoreFailed)
