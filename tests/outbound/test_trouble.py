"""The failure policy: the table, row by row, and what holds for every reply."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import reply
from relay.outbound.trouble import Action, Scope, action_for, scope_of_break, scope_of_rcpt
from tests.properties import given

OK = reply(250, "2.0.0", "ok")
LATER = reply(451, "4.3.0", "later")
NEVER = reply(550, "5.7.1", "never")
AWAY = reply(421, "4.3.2", "away")

# scope, reply, what is done with a host left, what without
TABLE = [
    (Scope.SITE, LATER, Action.NEXT_HOST, Action.BACK_OFF),
    (Scope.SITE, NEVER, Action.NEXT_HOST, Action.BACK_OFF),
    (Scope.SITE, AWAY, Action.NEXT_HOST, Action.BACK_OFF),
    (Scope.SESSION, AWAY, Action.FRESH_SESSION, Action.FRESH_SESSION),
    (Scope.MESSAGE, LATER, Action.NEXT_HOST, Action.DELAY),
    (Scope.MESSAGE, NEVER, Action.FAIL, Action.FAIL),
    (Scope.RECIPIENT, LATER, Action.NEXT_HOST, Action.DELAY),
    (Scope.RECIPIENT, NEVER, Action.FAIL, Action.FAIL),
    (Scope.LIMIT, LATER, Action.FURTHER, Action.FURTHER),
    (Scope.LIMIT, NEVER, Action.FURTHER, Action.FURTHER),
    (Scope.ABILITY, NEVER, Action.NEXT_HOST, Action.FAIL),
    (Scope.CONTENT, OK, Action.RELAY, Action.RELAY),
    (Scope.CONTENT, LATER, Action.DELAY, Action.DELAY),
    (Scope.CONTENT, AWAY, Action.DELAY, Action.DELAY),
    (Scope.CONTENT, NEVER, Action.FAIL, Action.FAIL),
    (Scope.SILENCE, LATER, Action.DELAY_UNKNOWN, Action.DELAY_UNKNOWN),
]

# code, status, after an accepted RCPT?, whose trouble
RCPT = [
    (452, "4.5.3", True, Scope.LIMIT),
    (452, "5.5.3", True, Scope.LIMIT),
    (552, "5.5.3", True, Scope.LIMIT),
    (452, "", True, Scope.LIMIT),
    (552, "", True, Scope.RECIPIENT),
    (452, "4.2.2", True, Scope.RECIPIENT),
    (452, "4.15.3", True, Scope.RECIPIENT),
    (450, "4.5.3", True, Scope.RECIPIENT),
    (550, "5.5.3", True, Scope.RECIPIENT),
    (452, "", False, Scope.RECIPIENT),
    (452, "4.5.3", False, Scope.RECIPIENT),
    (552, "5.5.3", False, Scope.RECIPIENT),
]

replies = st.builds(reply, st.integers(200, 599), st.sampled_from(["", "4.5.3", "5.5.3", "2.0.0"]))


class PolicyTests(SynchronousTestCase):
    def test_table(self):
        for scope, said, with_host, without in TABLE:
            self.assertIs(action_for(scope, said, has_next_host=True), with_host, (scope, said))
            self.assertIs(action_for(scope, said, has_next_host=False), without, (scope, said))

    def test_table_is_whole(self):
        self.assertEqual({row[0] for row in TABLE}, set(Scope))

    def test_rcpt(self):
        for code, status, has_accepted, scope in RCPT:
            found = scope_of_rcpt(reply(code, status), has_accepted=has_accepted)
            self.assertIs(found, scope, (code, status, has_accepted))

    def test_break(self):
        for is_stale in (True, False):
            found = scope_of_break(is_stale=is_stale, is_content_ended=True)
            self.assertIs(found, Scope.SILENCE)
        found = scope_of_break(is_stale=True, is_content_ended=False)
        self.assertIs(found, Scope.SESSION)
        self.assertIs(scope_of_break(is_stale=False, is_content_ended=False), Scope.SITE)

    @given(st.sampled_from(Scope), replies, st.booleans())
    def test_no_loss(self, scope, said, has_next_host):
        """Only 2xx to the content relays; nothing but a refusal for good fails."""
        action = action_for(scope, said, has_next_host=has_next_host)
        if action is Action.RELAY:
            self.assertTrue(scope is Scope.CONTENT and said.code < 300)
        if action is Action.FAIL:
            self.assertTrue(said.code >= 500 or scope is Scope.ABILITY)
        if not has_next_host:
            self.assertIsNot(action, Action.NEXT_HOST)
