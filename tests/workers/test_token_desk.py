"""The desk and those who ask there, with the channel's JSON between them."""

from dataclasses import replace

import orjson
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config import Upstream
from relay.outbound.identity.grants import NoToken
from relay.outbound.identity.making import grants_of
from relay.outbound.identity.shared_token import Held, SharedTokens
from relay.workers.channel import Gone
from relay.workers.token_asker import SLACK, asked_tokens
from relay.workers.token_desk import TokenDesk

LIFE = 3600.0
TIMEOUT = 20.0


def upstream(**more) -> Upstream:
    oauth = {
        "grant": "client-credentials",
        "token_url": "https://x.test/t",
        "client_id": "client",
        "client_secret_env": "SECRET",
        "timeout": "20s",
        **more,
    }
    return Upstream.model_validate(
        {"name": "up", "hosts": ("smtp://localhost",), "user": "me@x.test", "oauth": oauth}
    )


class Endpoint:
    """The desk's source: each answer is another token."""

    def __init__(self, clock):
        self.clock = clock
        self.answers = []

    def fetch(self, refused):
        self.answers.append(Deferred())
        return self.answers[-1]

    def give(self, made_of=()):
        number = len(self.answers)
        held = Held(f"token-{number}", self.clock.seconds(), LIFE, made_of)
        self.answers[-1].callback(held)


class Worker:
    """Its clock is not the supervisor's."""

    def __init__(self, desk, upstream):
        self.clock = Clock()
        self.clock.advance(5_000_000)
        self.is_heard = True
        self.desk = desk
        self.asked = 0
        ((user, oauth),) = grants_of([upstream])
        self.shared = asked_tokens(self.ask, self.clock).of(user, oauth)

    def ask(self, name, *arguments):
        assert name == "token"
        self.asked += 1
        if not self.is_heard:
            return Deferred()
        return self.desk.have(*arguments).addCallback(lambda a: orjson.loads(orjson.dumps(a)))


class DeskTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.endpoint = Endpoint(self.clock)
        self.desk = TokenDesk(SharedTokens(lambda *_: self.endpoint, self.clock), self.clock)
        self.take(upstream())
        self.one, self.other = (Worker(self.desk, upstream()) for _ in range(2))

    def take(self, *upstreams):
        self.desk.take(self.desk.prepare(upstreams))

    def advance(self, seconds):
        for clock in (self.clock, self.one.clock, self.other.clock):
            clock.advance(seconds)

    def had(self, deferred):
        return self.successResultOf(deferred).access

    def none(self, deferred):
        failure = self.failureResultOf(deferred, NoToken)
        return str(failure.value), failure.value.is_refusal

    def test_fetched_once_for_all_workers(self):
        waiting = [worker.shared.have() for worker in (self.one, self.other) for _ in range(3)]
        self.endpoint.give()
        self.assertEqual({"token-1"}, {self.had(each) for each in waiting})
        self.assertEqual((1, 1), (self.one.asked, self.other.asked))
        self.assertEqual(1, len(self.endpoint.answers))

    def test_a_worker_that_comes_later_gets_what_is_there_with_its_age(self):
        self.one.shared.have()
        self.endpoint.give(made_of=((1, 2, 3), None))
        self.advance(1000)
        held = self.successResultOf(self.other.shared.have())
        age = self.other.clock.seconds() - held.fetched_at
        self.assertEqual(("token-1", 1000, LIFE), (held.access, age, held.life))
        self.assertEqual(((1, 2, 3), None), held.made_of)
        self.assertEqual(1, len(self.endpoint.answers))

    def test_renewed_once(self):
        waiting = [self.one.shared.have(), self.other.shared.have()]
        self.endpoint.give()
        self.advance(LIFE - 300)
        waiting = [self.one.shared.have(), self.other.shared.have()]
        self.assertEqual(["token-1", "token-1"], [self.had(each) for each in waiting])
        self.assertEqual(2, len(self.endpoint.answers))
        self.endpoint.give()
        waiting = [self.one.shared.have(), self.other.shared.have()]
        self.assertEqual(["token-2", "token-2"], [self.had(each) for each in waiting])
        self.assertEqual(2, len(self.endpoint.answers))

    def test_a_refused_one_is_replaced_once(self):
        waiting = [self.one.shared.have(), self.other.shared.have()]
        self.endpoint.give()
        waiting = [self.one.shared.have("token-1"), self.other.shared.have("token-1")]
        self.endpoint.give()
        self.assertEqual(["token-2", "token-2"], [self.had(each) for each in waiting])
        self.assertEqual(2, len(self.endpoint.answers))

    def test_trouble_is_told_as_it_is(self):
        waiting = [self.one.shared.have(), self.other.shared.have()]
        why = "no access token from x.test: it answered 400 invalid_grant"
        self.endpoint.answers[0].errback(NoToken(why, is_refusal=True))
        self.assertEqual([(why, True)] * 2, [self.none(each) for each in waiting])

    def test_a_supervisor_that_does_not_answer(self):
        """The token that is there goes on serving."""
        self.one.shared.have()
        self.endpoint.give()
        self.one.is_heard = self.other.is_heard = False
        self.advance(LIFE - 200)
        self.assertEqual("token-1", self.had(self.one.shared.have()))
        late = self.other.shared.have()
        self.advance(TIMEOUT)
        self.assertIn("no answer in time", self.none(late)[0])
        later = self.other.shared.have()
        self.advance(SLACK)
        self.assertEqual(
            ("no access token: the supervisor does not answer", False), self.none(later)
        )

    def test_a_supervisor_that_is_gone(self):
        self.desk.have = lambda *_: fail(Gone())
        self.assertEqual(
            ("no access token: the supervisor does not answer", False),
            self.none(self.other.shared.have()),
        )

    def test_another_config(self):
        """What is as before stays; what was before is given to those who still use it."""
        self.one.shared.have()
        self.endpoint.give()
        self.take(upstream().model_copy(update={"max_connections": 3}))
        self.assertEqual("token-1", self.had(self.other.shared.have()))
        self.take(upstream(scope="more"))
        self.advance(LIFE)
        late = self.one.shared.have()
        self.endpoint.give()
        self.assertEqual("token-2", self.had(late))
        self.take(upstream(scope="most"))
        self.advance(LIFE)
        why, is_refusal = self.none(self.one.shared.have())
        self.assertEqual(("the upstream's configuration has changed", False), (why, is_refusal))

    def test_no_secret_in_what_is_shown(self):
        self.one.shared.have()
        self.endpoint.give()
        shown = repr(self.desk) + repr(self.one.shared) + repr(self.one.shared._source)
        self.assertNotIn("token-1", shown)
        held = replace(self.one.shared._held, access="swordfish")
        self.assertNotIn("swordfish", repr(held))
