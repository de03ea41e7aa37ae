"""What tests of deliveries share: upstreams, a Delivery that is cleaned up, short ways to ask."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from relay.config import Upstream
from relay.mail.content import InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.outbound.delivery import Delivery
from relay.testing.upstream import KEYWORDS, ScriptedUpstream

CONTENT = InlineContent(b"Subject: x\r\n\r\n.dot\r\n")
ORIGIN = Origin("lan", "192.0.2.7:4711", "mail.example", session="S1", protocol="ESMTP")


class DeliveryCase(TestCase):
    reactor: Any = reactor

    def upstream(self, script=None, *, keywords=KEYWORDS, is_lmtp=False, **tls) -> ScriptedUpstream:
        upstream = ScriptedUpstream(script, keywords=keywords, is_lmtp=is_lmtp, **tls)
        upstream.listen(reactor)
        self.addCleanup(upstream.stop)
        return upstream

    host = "127.0.0.1"

    def settings(self, *upstreams, **settings) -> Upstream:
        hosts = tuple(f"{_scheme(up)}://{self.host}:{up.port}" for up in upstreams)
        return Upstream.model_validate({"name": "up", "hosts": hosts, **settings})

    def delivery(self, *upstreams, **settings) -> Delivery:
        upstream = self.settings(*upstreams, **settings)
        delivery = Delivery({"up": upstream}, "relay.test", reactor)
        self.addCleanup(delivery.stop, 0)
        return delivery

    def deliver(
        self,
        delivery,
        *paths,
        content=CONTENT,
        reverse_path="sender@y.test",
        lane="up",
        origin=ORIGIN,
        **more,
    ):
        recipients = tuple(Recipient(n, path) for n, path in enumerate(paths, 1))
        envelope = Envelope(reverse_path, recipients, **more)
        return self.deliver_envelope(delivery, envelope, content, lane, origin)

    def deliver_envelope(
        self, delivery, envelope, content=CONTENT, lane="up", origin=ORIGIN
    ) -> Deferred:
        attempt = Deferred()
        delivery.deliver(lane, "Q1", envelope, content, origin, attempt.callback)
        return attempt

    def pause(self, seconds):
        return deferLater(reactor, seconds)

    async def until(self, condition, seconds=10) -> None:
        """Look again and again, for things that no event tells of."""
        deadline = reactor.seconds() + seconds
        while not condition():
            self.assertLess(reactor.seconds(), deadline, "it never came to be")
            await self.pause(0.01)

    def assert_kinds(self, attempt, *kinds) -> None:
        """What became of the recipients, in their order."""
        found = [type(attempt.outcomes[n]) for n in sorted(attempt.outcomes)]
        self.assertEqual(found, list(kinds), attempt)


def _scheme(upstream) -> str:
    if upstream.is_lmtp:
        return "lmtp"
    return "smtps" if getattr(upstream, "is_implicit", False) else "smtp"
