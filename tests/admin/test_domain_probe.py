"""A look at the hosts of domains: what is told of each way to one, and that nothing is sent."""

from pathlib import Path
from typing import ClassVar

from relay.admin.domain_probe import probes_of_domain
from relay.admin.probe import Finding, unobserved
from relay.config import Listener, SocketAddress
from relay.outbound.identity.making import own_tokens
from relay.outbound.security import Securities
from relay.outbound.ticker import Ticker
from tests.certificates import Authority, self_signed
from tests.outbound.mx_case import MxCase
from tests.outbound.sts.policy_host import PolicyHost, policy
from tests.outbound.test_dane import EE, OTHER, SHOWN
from tests.outbound.test_tls import server_context

AUTHORITY = Authority("MTA-STS root")
HOST = AUTHORITY.issue("mail.plain.test")
WEB = AUTHORITY.issue("mta-sts.plain.test")

SIGNED_ZONE = f"""\
@ MX 20 second
@ MX 10 first
first A 127.0.0.1
_{{port}}._tcp.first TLSA {EE}
second A 127.0.0.2
_{{port}}._tcp.second TLSA {OTHER}
null MX 0 .
loop MX 10 here
here A 127.0.0.3
bogus MX 10 spoilt
bogus MX 20 first
spoilt A 127.0.0.1
_{{port}}._tcp.spoilt TLSA {EE}
"""

PLAIN_ZONE = """\
@ MX 10 mail
mail A 127.0.0.1
mta-sts A 127.0.0.7
_mta-sts TXT "v=STSv1; id=1;"
quiet MX 10 mail
"""


class DomainProbeTests(MxCase):
    zones: ClassVar = {"signed.test": SIGNED_ZONE, "plain.test": PLAIN_ZONE}
    signed = frozenset({"signed.test"})
    spoilt = frozenset({"_{port}._tcp.spoilt.signed.test."})

    async def look(self, domain: str, **settings) -> list[Finding]:
        listener = Listener(name="in", address=SocketAddress("127.0.0.3", self.port))
        upstream, directory = self.looking(listeners=(listener,), is_looking=True, **settings)
        securities, ticker = Securities(self.reactor), Ticker(self.reactor)
        looks = await probes_of_domain(
            upstream,
            domain,
            directory.hosts("up"),
            "relay.test",
            securities,
            own_tokens(unobserved, self.reactor),
            ticker,
            self.reactor,
        )
        return [each if isinstance(each, Finding) else await each.run() for each in looks]

    async def test_dane(self) -> None:
        right = self.there(tls=server_context(SHOWN))
        wrong = self.there("127.0.0.2", tls=server_context(SHOWN))
        first, second = await self.look("signed.test")
        self.assertEqual((first.domain, first.preference), ("signed.test", 10))
        self.assertEqual(first.host, f"first.signed.test[127.0.0.1]:{self.port}")
        self.assertEqual((first.policy, first.trouble), ("dane", ""))
        self.assertEqual(first.policy_why, "usable TLSA records of first.signed.test: 1")
        self.assertEqual(first.verification, "verified")
        self.assertRegex(first.tls, r"^TLSv1\.3 ")
        self.assertIn("SIZE", first.extensions)
        self.assertTrue(first.certificate.startswith("whoever.example; by "))
        self.assertEqual((second.preference, second.policy), (20, "dane"))
        self.assertTrue(second.trouble.startswith("451 4.7.5 certificate is none of those"))
        for up in (right, wrong):
            self.assertFalse([line for line in up.commands if line.startswith("MAIL")])

    async def test_a_host_that_must_not_be_used(self) -> None:
        self.there(tls=server_context(SHOWN))
        spoilt, first = await self.look("bogus.signed.test")
        self.assertEqual(spoilt.host, f"spoilt.signed.test:{self.port}")
        self.assertTrue(spoilt.trouble.startswith("451 4.7.5 DNS gives no TLSA records of spoilt"))
        self.assertEqual((spoilt.policy, spoilt.greeting), ("", ""))
        self.assertEqual((first.policy, first.trouble), ("dane", ""))

    async def test_no_host(self) -> None:
        for domain, wanted in (
            ("null.signed.test", "556 5.1.10 "),
            ("loop.signed.test", "554 5.4.6 "),
            ("nowhere.signed.test", "550 5.1.2 "),
            ("host.silent.test", "451 4.4.3 "),
        ):
            (found,) = await self.look(domain)
            self.assertEqual((found.domain, found.host), (domain, ""))
            self.assertTrue(found.trouble.startswith(wanted), found)

    async def test_mta_sts(self) -> None:
        self.there(tls=server_context(HOST))
        folder = Path(self.mktemp())
        folder.mkdir()
        web = PolicyHost(self, WEB, policy(mx="mail.plain.test"))
        sts = {"ca_file": AUTHORITY.write(folder), "folder": folder / "mta-sts"}
        sts["https_port"] = web.port
        (found,) = await self.look("plain.test", **sts)
        self.assertEqual((found.policy, found.verification), ("verified", "verified"))
        self.assertEqual(
            found.policy_why,
            "DNSSEC does not vouch for the way to it; "
            "the MTA-STS policy of plain.test, mode enforce",
        )
        self.assertEqual(list(folder.glob("mta-sts*")), [])  # which is the relay's own
        web.text = policy("testing", "elsewhere.test")
        (found,) = await self.look("plain.test", **sts)
        self.assertEqual((found.policy, found.trouble), ("opportunistic", ""))
        self.assertIn("mode testing, does not name it", found.policy_why)
        web.code = 404
        (found,) = await self.look("plain.test", **sts)
        self.assertEqual(found.policy, "opportunistic")
        self.assertIn("was not had: mta-sts.plain.test answered 404", found.policy_why)

    async def test_opportunistic(self) -> None:
        self.there(tls=server_context(self_signed("mail.plain.test")))
        (found,) = await self.look("quiet.plain.test")
        self.assertEqual((found.policy, found.trouble), ("opportunistic", ""))
        self.assertIn("no MTA-STS policy applies", found.policy_why)
        self.assertIn("certificate is self-signed", found.verification)
        (found,) = await self.look("quiet.plain.test", tls="required")
        self.assertEqual(found.policy_why, "tls = 'required' in the configuration")
