"""A look at hosts without mail: what is told of each, and that nothing is sent."""

from relay.admin.probe import probes_of, unobserved
from relay.outbound.identity.making import own_tokens
from relay.outbound.security import Securities
from relay.outbound.ticker import Ticker
from relay.testing.upstream import KEYWORDS, Act
from tests.certificates import self_signed
from tests.outbound.identity.token_server import write_private
from tests.outbound.test_login import IN, WRONG
from tests.outbound.test_tls import TlsCase, server_context


class ProbeTests(TlsCase):
    async def look(self, *upstreams, **settings):
        given = {"ca_file": str(self.ca_file), "tls": "verified", **settings}
        upstream = self.settings(*upstreams, **given)
        securities, ticker = Securities(self.reactor), Ticker(self.reactor)
        tokens = own_tokens(unobserved, self.reactor)
        probes = probes_of(upstream, "relay.test", securities, tokens, ticker, self.reactor)
        found = [await probe.run() for probe in probes]
        for up in upstreams:
            self.assertFalse([line for line in up.commands if line.startswith("MAIL")])
            await self.until(lambda up=up: not up.open_sessions)
        return found

    def login(self):
        return {"user": "me", "password_file": write_private(self.folder, "password", "pa ss")}

    async def test_all_is_well(self):
        up = self.good({"auth": IN}, keywords=(*KEYWORDS, "AUTH PLAIN"))
        (found,) = await self.look(up, **self.login())
        self.assertEqual((found.upstream, found.trouble), ("up", ""))
        self.assertEqual(found.host, f"localhost[127.0.0.1]:{up.port}")
        self.assertEqual(found.greeting, "220 upstream.test ESMTP")
        self.assertEqual(found.extensions["SIZE"], "52428800")
        self.assertRegex(found.tls, r"^TLSv1\.3 TLS_\w+$")
        self.assertRegex(found.certificate, r"^localhost, 127.0.0.1; by Test CA; until 20\d\d-")
        self.assertEqual((found.verification, found.auth), ("verified", "PLAIN"))
        self.assertEqual(up.commands[-1], "QUIT")

    async def test_login_refused(self):
        up = self.good({"auth": WRONG}, keywords=(*KEYWORDS, "AUTH PLAIN"))
        (found,) = await self.look(up, **self.login())
        self.assertEqual((found.trouble, found.auth), (WRONG, ""))
        self.assertEqual(found.extensions["AUTH"], "PLAIN")
        self.assertNotIn("pa ss", str(found))

    async def test_certificate_of_nobody(self):
        bad = server_context(self_signed("localhost"))
        (found,) = await self.look(self.upstream(tls=bad))
        self.assertIn("451 4.7.5 certificate is self-signed", found.trouble)
        self.assertEqual(found.greeting, "220 upstream.test ESMTP")
        self.assertRegex(found.certificate, "^localhost; by localhost; until 20")
        self.assertIn("certificate is self-signed", found.verification)
        (found,) = await self.look(self.upstream(tls=bad), tls="required")
        self.assertEqual(found.trouble, "")
        self.assertIn("certificate is self-signed", found.verification)

    async def test_each_host_and_identity(self):
        up, gone = self.good({"auth": IN}, keywords=("AUTH PLAIN",)), self.good()
        await gone.stop()
        identity = ({"name": "a", **self.login()}, {"name": "b", **self.login()})
        found = await self.look(up, gone, identity=identity)
        self.assertEqual([each.upstream for each in found], ["up:a", "up:a", "up:b", "up:b"])
        self.assertIn("451 4.4.1 cannot connect: connection refused", found[1].trouble)
        self.assertEqual([bool(each.trouble) for each in found], [False, True] * 2)

    async def test_greeting_refused_and_plain_where_tls_is_broken(self):
        (found,) = await self.look(self.upstream({"connect": "554 5.7.1 not you"}))
        self.assertEqual(found.trouble, "554 5.7.1 not you")
        (found,) = await self.look(self.good({"handshake": Act.DROP}), tls="opportunistic")
        self.assertEqual((found.trouble, found.tls), ("", ""))
