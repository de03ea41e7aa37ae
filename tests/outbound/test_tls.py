"""TLS to upstreams: each policy against each thing that a host may do."""

from pathlib import Path

from relay.mail.outcome import Relayed
from relay.testing.upstream import Act
from tests.certificates import Authority, self_signed
from tests.outbound.case import DeliveryCase

AUTHORITY = Authority()
GOOD = AUTHORITY.issue("localhost", "127.0.0.1")


class TlsCase(DeliveryCase):
    host = "localhost"

    def setUp(self):
        folder = Path(self.mktemp())
        folder.mkdir()
        self.folder = folder
        self.ca_file = AUTHORITY.write(folder)

    def delivery(self, *upstreams, **settings):
        return super().delivery(*upstreams, **{"ca_file": str(self.ca_file), **settings})

    def good(self, script=None, **more):
        return self.upstream(script, tls=GOOD.server_context(), **more)


class GoodTests(TlsCase):
    """A host that can do all that is asked."""

    async def assert_encrypted(self, up, **settings):
        attempt = await self.deliver(self.delivery(up, **settings), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Relayed)
        self.assertTrue(up.accepted[0].is_tls)
        return attempt.outcomes[1]

    async def test_each_level(self):
        for tls in ("opportunistic", "required", "verified"):
            up = self.good()
            await self.assert_encrypted(up, tls=tls)
            self.assertEqual(up.sessions[0].server_name, b"localhost")
            self.assertEqual(up.commands[:3], ["EHLO relay.test", "STARTTLS", "EHLO relay.test"])
