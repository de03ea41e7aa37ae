"""One token for all: who waits, who does not, and what is fetched when."""

import gc
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.upstream import OAuth
from relay.outbound.identity.grants import NoToken
from relay.outbound.identity.shared_token import PATIENCE, Held, SharedToken, SharedTokens, key_of

LIFE = 3600.0


def oauth(**more):
    given = {"grant": "client-credentials", "token_url": "https://x.test/t", "client_id": "c"}
    return OAuth.model_validate({**given, "client_secret_env": "S", "timeout": "20s", **more})


class Source:
    """Answers when the test says so. `asked`: what was refused, at each fetch."""

    def __init__(self, clock):
        self.clock = clock
        self.asked = []
        self.answers = []

    def fetch(self, refused):
        self.asked.append(refused)
        self.answers.append(Deferred(lambda d: d.errback(NoToken("given up"))))
        return self.answers[-1]

    def give(self, access, life=LIFE, age=0.0):
        self.answers[-1].callback(Held(access, self.clock.seconds() - age, life))

    def fail(self, why, **more):
        self.answers[-1].errback(NoToken(why, **more))


class SharedCase(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.source = Source(self.clock)
        self.shared = SharedToken(oauth(), self.source, self.clock)

    def had(self, deferred):
        return self.successResultOf(deferred).access

    def none(self, deferred):
        failure = self.failureResultOf(deferred, NoToken)
        return str(failure.value), failure.value.is_refusal

    def have_first(self, access="a", **more):
        first = self.shared.have()
        self.source.give(access, **more)
        self.assertEqual(access, self.had(first))


class FetchTests(SharedCase):
    def test_one_fetch_for_all_who_wait(self):
        waiting = [self.shared.have() for _ in range(5)]
        for each in waiting:
            self.assertNoResult(each)
        self.source.give("a")
        waiting.append(self.shared.have())
        self.assertEqual({"a"}, {self.had(each) for each in waiting})
        self.assertEqual([""], self.source.asked)

    def test_renewed_beside_those_who_use_it(self):
        self.have_first()
        self.clock.advance(LIFE - 301)
        self.assertEqual("a", self.had(self.shared.have()))
        self.assertEqual(1, len(self.source.asked))
        self.clock.advance(2)
        for _ in range(3):
            self.assertEqual("a", self.had(self.shared.have()))
        self.assertEqual(2, len(self.source.asked))
        self.source.give("b")
        self.assertEqual("b", self.had(self.shared.have()))

    def test_waited_for_once_it_is_too_old(self):
        self.have_first()
        self.clock.advance(LIFE - 9)
        late = self.shared.have()
        self.assertNoResult(late)
        self.source.give("b")
        self.assertEqual("b", self.had(late))

    def test_its_age_counts_from_where_it_was_fetched(self):
        self.have_first(age=LIFE - 9)
        self.assertNoResult(self.shared.have())
        self.assertEqual(2, len(self.source.asked))

    def test_each_waits_for_the_timeout_and_the_fetch_goes_on(self):
        first = self.shared.have()
        self.clock.advance(15)
        second = self.shared.have()
        self.clock.advance(5)
        why = "no access token from x.test: no answer in time"
        self.assertEqual((why, False), self.none(first))
        self.assertNoResult(second)
        self.source.give("a")
        self.assertEqual("a", self.had(second))
        self.assertEqual([""], self.source.asked)

    def test_who_hears_of_a_failure_may_begin_the_next_at_once(self):
        """A host's session fails, the next host is tried in the same breath, and a secret has been
        written meanwhile: that is one fetch, and nobody begins another beside it."""
        secret = Path(self.mktemp())
        secret.write_text("one")
        table = oauth(client_secret_env=None, client_secret_file=str(secret.absolute()))
        self.shared = SharedToken(table, self.source, self.clock)
        again = []
        self.shared.have().addErrback(lambda _: again.append(self.shared.have()))
        secret.write_text("another")
        self.source.fail("no")
        again.append(self.shared.have())
        self.assertEqual(["", ""], self.source.asked)
        self.source.give("a")
        self.assertEqual(["a", "a"], [self.had(each) for each in again])


class RefusedTests(SharedCase):
    def test_another_one_is_fetched(self):
        self.have_first()
        again = self.shared.have("a")
        self.assertNoResult(again)
        self.source.give("b")
        self.assertEqual("b", self.had(again))
        self.assertEqual(["", "a"], self.source.asked)

    def test_once_for_all_who_were_refused(self):
        self.have_first()
        again = [self.shared.have("a"), self.shared.have("a")]
        self.source.give("b")
        again.append(self.shared.have("a"))
        self.assertEqual({"b"}, {self.had(each) for each in again})
        self.assertEqual(2, len(self.source.asked))

    def test_the_old_one_does_not_serve_meanwhile(self):
        self.have_first()
        again = self.shared.have("a")
        self.source.fail("busy")
        self.assertEqual(("busy", False), self.none(again))

    def test_refused_while_it_was_on_its_way(self):
        """The source may have handed out what it had before it heard of the refusal."""
        waits = self.shared.have()
        again = self.shared.have("a")
        self.source.give("a")
        self.assertNoResult(again)
        self.assertEqual(["", "a"], self.source.asked)
        self.source.give("b")
        self.assertEqual(["b", "b"], [self.had(waits), self.had(again)])

    def test_an_endpoint_that_gives_the_same_again(self):
        self.have_first()
        again = self.shared.have("a")
        self.source.give("a")
        self.assertEqual("a", self.had(again))
        self.clock.advance(LIFE)
        self.shared.have()
        self.assertEqual(["", "a", ""], self.source.asked)


class TroubleTests(SharedCase):
    def test_all_who_wait_hear_of_it_and_none_is_fetched_for_a_while(self):
        waiting = [self.shared.have(), self.shared.have()]
        self.source.fail("no", is_refusal=True)
        waiting.append(self.shared.have())
        self.assertEqual([("no", True)] * 3, [self.none(each) for each in waiting])
        self.assertEqual(1, len(self.source.asked))
        self.clock.advance(PATIENCE)
        self.shared.have()
        self.assertEqual(2, len(self.source.asked))

    def test_the_old_one_serves_while_it_is_good(self):
        self.have_first()
        self.clock.advance(LIFE - 300)
        self.shared.have()
        self.source.fail("busy")
        self.assertEqual("a", self.had(self.shared.have()))
        self.clock.advance(PATIENCE)
        self.assertEqual("a", self.had(self.shared.have()))
        self.assertEqual(3, len(self.source.asked))
        self.source.fail("busy")
        self.clock.advance(300 - PATIENCE - 9)
        last = self.shared.have()
        self.source.fail("busy still")
        self.assertEqual(("busy still", False), self.none(last))

    def test_given_up_at_the_end(self):
        waits = self.shared.have()
        settled = self.shared.settle(3)
        self.clock.advance(2)
        self.assertNoResult(settled)
        self.clock.advance(1)
        self.successResultOf(settled)
        self.assertEqual(("given up", False), self.none(waits))

    def test_settled_when_the_answer_came(self):
        self.successResultOf(self.shared.settle(3))
        waits = self.shared.have()
        settled = self.shared.settle(3)
        self.source.give("a")
        self.successResultOf(settled)
        self.assertEqual("a", self.had(waits))

    def test_one_who_goes_away_is_nobody_elses_trouble(self):
        gone, stays = self.shared.have(), self.shared.have()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.source.give("a")
        self.assertEqual("a", self.had(stays))

    def test_no_secret_is_shown(self):
        self.have_first("pencil")
        self.assertNotIn("pencil", repr(self.shared) + repr(self.shared._held))


class SharedTokensTests(SynchronousTestCase):
    def setUp(self):
        self.made = []
        self.tokens = SharedTokens(self.make, Clock())

    def make(self, user, oauth):
        self.made.append(user)
        return Source(Clock())

    def test_one_for_all_who_ask_the_same(self):
        one, other = self.tokens.of("a", oauth()), self.tokens.of("b", oauth())
        self.assertIs(one, other)
        self.assertIsNot(one, self.tokens.of("a", oauth(scope="more")))

    def test_a_service_account_acts_for_a_user(self):
        given = {"grant": "service-account", "key_file": "/key", "client_secret_env": None}
        self.assertNotEqual(key_of("a", oauth(**given)), key_of("b", oauth(**given)))

    def test_forgotten_with_the_last_who_uses_it(self):
        shared = self.tokens.of("a", oauth())
        del shared
        gc.collect()
        self.tokens.of("a", oauth())
        self.assertEqual(["a", "a"], self.made)

    def test_authorities_that_changed_are_read_again(self):
        path = Path(self.mktemp())
        path.write_text("one")
        shared = self.tokens.of("a", oauth(ca_file=str(path.absolute())))
        path.write_text("another")
        other = self.tokens.of("a", oauth(ca_file=str(path.absolute())))
        self.assertIsNot(shared, other)
