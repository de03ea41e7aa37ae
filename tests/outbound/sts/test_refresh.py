"""Kept policies stay fresh without mail: which are fetched when, how many, and by whom."""

from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.sts.policies import StsPolicies
from relay.outbound.sts.policy import StsPolicy
from relay.outbound.sts.refresh import AT_ONCE, FILES_A_STEP, ROUND_EVERY, STEP, Refresher
from relay.outbound.sts.store import Kept, StsStore
from relay.outbound.web.https import NotFetched

DAY = 86400.0
TEXT = "version: STSv1\nmode: enforce\nmx: mail.example.org\nmax_age: {max_age}\n"


class Web:
    """Answers when a test says so, or at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open: dict[str, Deferred[str]] = {}
        self.answer: str | Exception | None = TEXT.format(max_age=int(7 * DAY))

    def fetch(self, domain: str) -> "Deferred[str]":
        self.asked.append(domain)
        answered: Deferred[str] = Deferred(lambda d: d.errback(NotFetched("no answer in time")))
        self.open[domain] = answered
        if isinstance(self.answer, str):
            answered.callback(self.answer)
        elif self.answer is not None:
            answered.errback(self.answer)
        return answered


class Worker:
    """The policies of one process of a relay."""

    def __init__(self, folder: Path | None, web: Web, clock: Clock) -> None:
        self.store = StsStore(folder)
        self.policies = StsPolicies(None, web, self.store, clock)
        self.refresher = Refresher(self.policies, self.store, clock, Random(1))


class RefreshTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.clock = Clock()
        self.clock.advance(1000 * DAY)
        self.web = Web()

    def worker(self) -> Worker:
        worker = Worker(self.folder, self.web, self.clock)
        self.addCleanup(worker.refresher.stop)
        return worker

    def keep(self, domain: str, age: float, *, unused: float = 0, mode="enforce", days=7) -> None:
        now = self.clock.seconds()
        policy = StsPolicy(mode, int(days * DAY), ("mail.example.org",))
        StsStore(self.folder).put(domain, Kept("id1", now - age, policy, now - unused))

    def kept(self, domain: str) -> Kept | None:
        return StsStore(self.folder).get(domain)

    def pass_time(self, seconds: float, step: float = 60.0) -> None:
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(step, end - self.clock.seconds()))

    def test_a_quiet_domain_keeps_its_policy(self) -> None:
        """Weeks without mail: fetched day after day, never run out."""
        self.keep("quiet.test", 0)
        self.worker().refresher.start()
        for day in range(1, 22):
            self.pass_time(DAY)
            kept = self.kept("quiet.test")
            assert kept is not None
            self.assertLessEqual(self.clock.seconds() - kept.fetched_at, DAY + 2 * ROUND_EVERY)
            self.assertApproximates(len(self.web.asked), day, 2)
            self.assertEqual(kept.id, "id1")

    def test_what_no_mail_goes_by_is_let_go(self) -> None:
        self.keep("quiet.test", 0)
        self.worker().refresher.start()
        self.pass_time(31 * DAY, 600.0)
        asked = len(self.web.asked)
        self.assertGreater(asked, 25)
        self.pass_time(6 * DAY, 600.0)
        self.assertEqual(len(self.web.asked), asked)
        self.pass_time(2 * DAY, 600.0)
        self.assertIsNone(self.kept("quiet.test"))
        self.assertEqual([each.name for each in self.folder.iterdir()], ["refreshing"])

    def test_which(self) -> None:
        self.keep("fresh.test", DAY / 2)
        self.keep("due.test", 1.1 * DAY)
        self.keep("short.test", DAY / 2, days=0.9)
        self.keep("unused.test", 2 * DAY, unused=31 * DAY)
        self.keep("none.test", 2 * DAY, mode="none")
        self.keep("over.test", 8 * DAY)
        self.worker().refresher.start()
        self.pass_time(ROUND_EVERY + 60)
        self.assertEqual(sorted(self.web.asked), ["due.test", "short.test"])
        self.assertIsNone(self.kept("over.test"))
        for domain in ("unused.test", "none.test"):
            self.assertIsNotNone(self.kept(domain))

    def test_one_that_cannot_be_had_stays_as_it_is(self) -> None:
        self.web.answer = NotFetched("mta-sts.due.test answered 500")
        self.keep("due.test", 2 * DAY)
        before = self.kept("due.test")
        self.worker().refresher.start()
        self.pass_time(DAY)
        self.assertEqual(self.kept("due.test"), before)
        self.assertGreater(len(self.web.asked), 15)  # each hour: an outage is over soon
        self.assertLess(len(self.web.asked), 32)

    def test_not_too_many_at_once(self) -> None:
        self.web.answer = None
        for number in range(FILES_A_STEP):
            self.keep(f"{number}.test", 2 * DAY)
        self.worker().refresher.start()
        self.pass_time(ROUND_EVERY + 60)
        self.assertEqual(len(self.web.asked), AT_ONCE)
        for answered in list(self.web.open.values()):
            answered.callback(TEXT.format(max_age=int(DAY)))
        self.pass_time(2 * STEP, STEP)
        self.assertEqual(len(self.web.asked), 2 * AT_ONCE)

    def test_slowly(self) -> None:
        for number in range(3 * FILES_A_STEP):
            self.keep(f"{number}.test", 2 * DAY)
        worker = self.worker()
        worker.refresher.start()
        while not self.web.asked:
            self.clock.advance(STEP)
        seen = [len(self.web.asked)]
        for _ in range(3):
            self.clock.advance(STEP)
            seen.append(len(self.web.asked))
        self.assertEqual(seen, [FILES_A_STEP * n for n in (1, 2, 3, 3)])

    def test_once_over_all_workers(self) -> None:
        self.web.answer, few = None, AT_ONCE - 1
        workers = [self.worker() for _ in range(3)]
        for number in range(few):
            self.keep(f"{number}.test", 2 * DAY)
        for worker in workers:
            worker.store.get("0.test")
            worker.refresher.start()
        self.pass_time(3 * ROUND_EVERY)
        self.assertEqual(len(self.web.asked), few)
        for answered in list(self.web.open.values()):
            answered.callback(TEXT.format(max_age=int(7 * DAY)))
        self.pass_time(DAY / 2)
        self.assertEqual(len(self.web.asked), few)
        for worker in workers:  # who has not fetched it knows of it all the same
            worker.policies.refresh("0.test")
            self.assertEqual(len(self.web.asked), few)

    def test_another_goes_on_where_one_has_ended(self) -> None:
        self.web.answer = None
        self.keep("due.test", 2 * DAY)
        first, second = self.worker(), self.worker()
        first.refresher.start()
        self.pass_time(ROUND_EVERY + 60)
        self.assertEqual(self.web.asked, ["due.test"])
        first.refresher.stop()
        second.refresher.start()
        self.pass_time(ROUND_EVERY + 60)
        self.assertEqual(self.web.asked, ["due.test"] * 2)

    def test_stopped(self) -> None:
        self.web.answer = None
        self.keep("due.test", 2 * DAY)
        worker = self.worker()
        worker.refresher.start()
        self.pass_time(ROUND_EVERY + 60)
        worker.refresher.stop()
        self.assertTrue(self.web.open["due.test"].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        worker.refresher.stop()

    def test_what_was_given_up_is_no_failure_of_the_domain(self) -> None:
        self.web.answer = None
        self.keep("due.test", 2 * DAY)
        worker = self.worker()
        worker.refresher.start()
        self.pass_time(ROUND_EVERY + 60)
        worker.refresher.stop()
        self.assertEqual("", worker.policies.trouble_with("due.test"))
        worker.policies.refresh("due.test")
        self.assertEqual(self.web.asked, ["due.test"] * 2)

    def test_nothing_kept_yet_and_in_memory_alone(self) -> None:
        for folder in (self.folder, None):
            worker = Worker(folder, self.web, self.clock)
            worker.refresher.start()
            self.pass_time(2 * ROUND_EVERY)
            now = self.clock.seconds()
            policy = StsPolicy("enforce", int(7 * DAY), ("mail.example.org",))
            worker.store.put("due.test", Kept("id1", now - 2 * DAY, policy, now))
            self.pass_time(3 * ROUND_EVERY)
            self.assertEqual(self.web.asked, ["due.test"])
            self.web.asked.clear()
            worker.refresher.stop()
