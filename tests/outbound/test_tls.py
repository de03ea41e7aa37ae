"""TLS to upstreams: each policy against each thing that a host may do."""

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from relay.mail.content import InlineContent
from relay.mail.outcome import Failed, Relayed
from relay.testing.upstream import KEYWORDS, Act
from relay.tls.client import TlsUnusable
from relay.tls.policy import Level, Tlsa, TlsPolicy
from tests.certificates import Authority, self_signed
from tests.outbound.case import DeliveryCase

DAY = timedelta(days=1)

AUTHORITY = Authority()
GOOD = AUTHORITY.issue("localhost", "127.0.0.1")


def server_context(issued):
    """An SSL.Context is itself, for servers of another kind."""
    if isinstance(issued, SSL.Context):
        return issued
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    for certificate in issued.between:
        context.add_extra_chain_cert(certificate)
    return context


def old_context():
    """TLS 1.1 is the best it can do."""
    context = server_context(GOOD)
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    return context


PLAIN, TLS = "plain", "tls"  # the mail went there so
QUICK = {"timeouts": {"tls": "0.6s", "hello": "0.6s"}}

# What the host does: its identity (None: no TLS at all) and script. Then for each policy: how the
# mail gets there, or a part of the trouble that is told.
HOSTS = {
    "good": (GOOD, {}, TLS, TLS, TLS),
    "intermediate": (
        Authority("Test intermediate", AUTHORITY).issue("localhost"),
        {},
        TLS,
        TLS,
        TLS,
    ),
    "no STARTTLS": (
        None,
        {},
        PLAIN,
        "451 4.7.4 TLS required, but localhost offers no STARTTLS",
        "451 4.7.4 TLS required, but localhost offers no STARTTLS",
    ),
    "no EHLO": (
        GOOD,
        {"ehlo": "502 5.5.1 what?"},
        PLAIN,
        "4.7.4 TLS required, but localhost offers no STARTTLS",
        "4.7.4 TLS required, but localhost offers no STARTTLS",
    ),
    "STARTTLS 454": (
        GOOD,
        {"starttls": "454 4.7.0 not now"},
        PLAIN,
        "4.7.4 TLS required, but localhost refused STARTTLS: 454 4.7.0 not now",
        "4.7.4 TLS required, but localhost refused STARTTLS: 454 4.7.0 not now",
    ),
    "STARTTLS 501": (
        GOOD,
        {"starttls": "501 5.5.4 what?"},
        PLAIN,
        "refused STARTTLS: 501 5.5.4 what?",
        "refused STARTTLS: 501 5.5.4 what?",
    ),
    "STARTTLS 421": (GOOD, {"starttls": "421 4.3.2 bye"}, *["421 4.3.2 bye"] * 3),
    "STARTTLS 354": (GOOD, {"starttls": "354 go on"}, *["impossible code in answer to"] * 3),
    "STARTTLS stall": (
        GOOD,
        {"starttls": Act.STALL},
        PLAIN,
        "451 4.4.2 no answer for 0.6 s while TLS was set up",
        "451 4.4.2 no answer for 0.6 s while TLS was set up",
    ),
    "handshake refused": (
        SSL.Context(SSL.TLS_SERVER_METHOD),  # without a certificate
        {},
        PLAIN,
        "451 4.7.5 TLS handshake failed: ",
        "alert handshake failure",
    ),
    "old TLS": (
        old_context(),
        {},
        TLS,
        "451 4.7.5 TLS handshake failed: ",
        "the other side allows no TLS version",
    ),
    "no handshake": (
        GOOD,
        {"handshake": b"220 this is no TLS at all\r\n"},
        PLAIN,
        "451 4.7.5 TLS handshake failed: the other side does not speak TLS (wrong",
        "451 4.7.5 TLS handshake failed: the other side does not speak TLS (wrong",
    ),
    "handshake dropped": (
        GOOD,
        {"handshake": Act.DROP},
        PLAIN,
        "by the host while TLS was set up",
        "by the host while TLS was set up",
    ),
    "handshake reset": (
        GOOD,
        {"handshake": Act.RESET},
        PLAIN,
        "by the host while TLS was set up",
        "by the host while TLS was set up",
    ),
    "handshake stall": (
        GOOD,
        {"handshake": Act.STALL},
        PLAIN,
        "no answer for 0.6 s while TLS was set up",
        "no answer for 0.6 s while TLS was set up",
    ),
    "dropped after EHLO": (
        GOOD,
        {"ehlo:tls": Act.DROP},
        PLAIN,
        "closed by the host in answer to EHLO",
        "closed by the host in answer to EHLO",
    ),
    "stall after EHLO": (
        GOOD,
        {"ehlo:tls": Act.STALL},
        PLAIN,
        "no answer for 0.6 s in answer to EHLO",
        "no answer for 0.6 s in answer to EHLO",
    ),
    "421 to EHLO": (GOOD, {"ehlo:tls": "421 4.3.2 bye"}, *["421 4.3.2 bye"] * 3),
    "injected": (
        GOOD,
        {"starttls": b"220 go on\r\n250 upstream.test\r\n"},
        *["plain text came behind its answer to STARTTLS"] * 3,
    ),
    "injected half a line": (
        GOOD,
        {"starttls": b"220 go on\r\n2"},
        *["plain text came behind its answer to STARTTLS"] * 3,
    ),
    "wrong name": (
        AUTHORITY.issue("other.example", "www.other.example"),
        {},
        TLS,
        TLS,
        "451 4.7.5 certificate is for other.example, www.other.example, not localhost",
    ),
    "wildcard above": (
        AUTHORITY.issue("*.localhost"),
        {},
        TLS,
        TLS,
        "451 4.7.5 certificate is for *.localhost, not localhost",
    ),
    "expired": (
        AUTHORITY.issue("localhost", valid_from=-30 * DAY, valid_until=-10 * DAY),
        {},
        TLS,
        TLS,
        "451 4.7.5 certificate expired on 20",
    ),
    "not yet valid": (
        AUTHORITY.issue("localhost", valid_from=10 * DAY),
        {},
        TLS,
        TLS,
        "451 4.7.5 certificate is not valid before 20",
    ),
    "self-signed": (
        self_signed("localhost"),
        {},
        TLS,
        TLS,
        "451 4.7.5 certificate is self-signed, by nobody that is trusted",
    ),
    "unknown authority": (
        Authority("Somebody else's CA").issue("localhost"),
        {},
        TLS,
        TLS,
        "451 4.7.5 certificate is signed by Somebody else's CA, which is not trusted",
    ),
}


class TlsCase(DeliveryCase):
    host = "localhost"

    def setUp(self):
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.ca_file = AUTHORITY.write(self.folder)

    def delivery(self, *upstreams, **settings):
        return super().delivery(*upstreams, **{"ca_file": str(self.ca_file), **settings})

    def good(self, script=None, identity=GOOD, **more):
        return self.upstream(script, tls=server_context(identity), **more)

    def assert_way(self, up, attempt, way):
        self.assert_kinds(attempt, Relayed)
        self.assertEqual([each.is_tls for each in up.accepted], [way is TLS])
        self.assertEqual(attempt.outcomes[1].tls.startswith("TLSv1."), way is TLS)

    def assert_delayed(self, up, attempt, trouble):
        """Nothing was sent, and nobody is decided."""
        self.assertEqual((attempt.outcomes, up.transactions), ({}, []))
        self.assertFalse([line for line in up.commands if line.startswith("MAIL")])
        self.assertIn(trouble, str(attempt.site.reply))
        self.assertEqual(attempt.site.host, f"{self.host}[127.0.0.1]:{up.port}")

    def assert_as_told(self, name, up, attempt, expected):
        try:
            if expected in (PLAIN, TLS):
                self.assert_way(up, attempt, expected)
            else:
                self.assert_delayed(up, attempt, expected)
        except self.failureException as error:
            raise self.failureException(f"{name}: {error}\n{attempt}") from error


class PolicyTests(TlsCase):
    """The table above."""

    async def check(self, level, column):
        for name, (identity, script, *expected) in HOSTS.items():
            up = self.upstream(script) if identity is None else self.good(script, identity)
            settings = QUICK if Act.STALL in script.values() else {}
            attempt = await self.deliver(self.delivery(up, tls=level, **settings), "a@x.test")
            self.assert_as_told(name, up, attempt, expected[column])

    def test_opportunistic(self):
        return self.check("opportunistic", 0)

    def test_auto(self):
        """A host that the configuration names: no domain says what is asked of it."""
        return self.check("auto", 0)

    def test_required(self):
        return self.check("required", 1)

    def test_verified(self):
        return self.check("verified", 2)

    async def test_implicit(self):
        """The same handshakes and certificates, where TLS comes first; never in plain."""
        for level, column in (("opportunistic", 1), ("required", 1), ("verified", 2)):
            for name, (identity, script, *expected) in HOSTS.items():
                if identity is None or not script.keys() <= {"handshake"}:
                    continue  # what comes of STARTTLS and of a plain EHLO does not come here
                up = self.good(script, identity, is_implicit=True)
                settings = QUICK if Act.STALL in script.values() else {}
                attempt = await self.deliver(self.delivery(up, tls=level, **settings), "a@x.test")
                self.assert_as_told(f"{level}, {name}", up, attempt, expected[column])

    async def test_none(self):
        """Nothing of all this is even asked for, so none of it matters: each gets it in plain."""
        for name, (identity, script, *_) in HOSTS.items():
            up = self.upstream(script) if identity is None else self.good(script, identity)
            attempt = await self.deliver(self.delivery(up, tls="none"), "a@x.test")
            self.assert_as_told(name, up, attempt, PLAIN)
            self.assertNotIn("STARTTLS", up.commands, name)


class RequireTlsTests(TlsCase):
    """Mail whose sender demands TLS all the way (RFC 8689)."""

    OFFERED = (*KEYWORDS, "REQUIRETLS")

    async def send(self, *upstreams, reverse_path="sender@y.test", **settings):
        delivery = self.delivery(*upstreams, **settings)
        return await self.deliver(
            delivery, "a@x.test", requires_tls=True, reverse_path=reverse_path
        )

    async def test_it_goes_to_a_host_that_promises_the_same(self):
        for level in ("opportunistic", "required", "verified"):
            up = self.good(keywords=self.OFFERED)
            attempt = await self.send(up, tls=level)
            self.assert_kinds(attempt, Relayed)
            (mail,) = [line for line in up.commands if line.startswith("MAIL")]
            self.assertTrue(mail.endswith(" REQUIRETLS"), mail)

    async def test_and_to_no_other(self):
        unsure = {"identity": AUTHORITY.issue("other.example"), "keywords": self.OFFERED}
        hosts = (
            (self.good(), "550 5.7.30 "),
            (self.good(**unsure), "550 5.7.10 "),
            (self.upstream(keywords=self.OFFERED), "550 5.7.10 "),
        )
        for up, wanted in hosts:
            attempt = await self.send(up)
            self.assert_kinds(attempt, Failed)
            self.assertEqual(wanted, str(attempt.outcomes[1].reply)[:11])
            self.assertFalse([line for line in up.commands if line.startswith("MAIL")])

    async def test_a_report_is_not_lost_where_none_promises_it(self):
        offering, other = self.good(keywords=self.OFFERED), self.upstream()
        for up, demands in ((offering, True), (other, False)):
            self.assert_kinds(await self.send(up, reverse_path=""), Relayed)
            (mail,) = [line for line in up.commands if line.startswith("MAIL FROM:<>")]
            self.assertEqual(" REQUIRETLS" in mail, demands)

    async def test_another_host_may_do_it(self):
        first, second = self.good(), self.good(keywords=self.OFFERED)
        self.assert_kinds(await self.send(first, second), Relayed)
        self.assertEqual((0, 1), (len(first.accepted), len(second.accepted)))

    async def test_what_demands_nothing_says_nothing(self):
        up = self.good(keywords=self.OFFERED)
        self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Relayed)
        self.assertFalse([line for line in up.commands if "REQUIRETLS" in line])


class SessionTests(TlsCase):
    async def send(self, up, *paths, content=None, **settings):
        delivery = self.delivery(up, **{"tls": "verified", **settings})
        more = {} if content is None else {"content": content}
        return await self.deliver(delivery, *(paths or ["a@x.test"]), **more)

    async def test_dialogue(self):
        up = self.good()
        attempt = await self.send(up)
        self.assert_way(up, attempt, TLS)
        self.assertEqual(up.sessions[0].server_name, b"localhost")
        self.assertEqual(up.commands[:3], ["EHLO relay.test", "STARTTLS", "EHLO relay.test"])
        self.assertTrue(attempt.outcomes[1].tls.endswith(" verified"))

    async def test_required_tells_whether_it_would_be_verified(self):
        up = self.good()
        self.assertIn("verified", (await self.send(up, tls="required")).outcomes[1].tls)
        up = self.good(identity=AUTHORITY.issue("other.example"))
        self.assertNotIn("verified", (await self.send(up, tls="required")).outcomes[1].tls)

    async def test_address_literal(self):
        self.host = "127.0.0.1"
        up = self.good()
        self.assert_way(up, await self.send(up), TLS)
        self.assertIsNone(up.sessions[0].server_name)
        up = self.good(identity=AUTHORITY.issue("localhost"))
        self.assert_delayed(up, await self.send(up), "is for localhost, not 127.0.0.1")

    async def test_implicit(self):
        for level in ("opportunistic", "required", "verified"):
            up = self.good(is_implicit=True)
            self.assert_way(up, await self.send(up, tls=level), TLS)
            self.assertNotIn("STARTTLS", up.commands)

    async def test_implicit_with_troubles(self):
        up = self.good(identity=self_signed("localhost"), is_implicit=True)
        self.assert_delayed(up, await self.send(up), "certificate is self-signed")
        for level in ("opportunistic", "required"):  # there is no plain way there
            up = self.good({"handshake": Act.STALL}, is_implicit=True)
            attempt = await self.send(up, tls=level, **QUICK)
            self.assert_delayed(up, attempt, "while TLS was set up")
            self.assertEqual(len(up.sessions), 1)

    async def test_lmtp(self):
        up = self.good(is_lmtp=True)
        attempt = await self.send(up, "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Relayed)
        self.assertTrue(up.accepted[0].is_tls)
        self.assertEqual(up.commands[:3], ["LHLO relay.test", "STARTTLS", "LHLO relay.test"])

    async def test_extensions_are_those_told_under_tls(self):
        """What was offered in plain text may be anybody's (RFC 3207 4.2)."""
        up = self.good({"ehlo:tls": "250 upstream.test"})
        self.assert_way(up, await self.send(up), TLS)
        self.assertIn("MAIL FROM:<sender@y.test>", up.commands)

    async def test_large_content_arrives_whole(self):
        octets = b"".join(b"%07d\r\n" % n for n in range(700_000))
        up = self.good()
        self.assert_way(up, await self.send(up, content=InlineContent(octets)), TLS)
        self.assertTrue(up.accepted[0].content == octets)

    async def test_session_is_reused(self):
        up = self.good()
        delivery = self.delivery(up, tls="required")
        for _ in range(3):
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(len(up.sessions), 1)
        self.assertIn("TLSv1.3", delivery.status()[0]["tls"])

    async def test_idle_session_says_quit_and_goes(self):
        up = self.good()
        delivery = self.delivery(up, tls="required", idle_timeout="0.2s")
        await self.deliver(delivery, "a@x.test")
        await self.until(lambda: not delivery.status()[0]["sessions"])
        self.assertEqual(up.commands[-1], "QUIT")

    async def test_closed_by_the_host_while_idle(self):
        up = self.good()
        delivery = self.delivery(up, tls="required")
        await self.deliver(delivery, "a@x.test")
        up.sessions[0].abort()
        await self.until(lambda: not delivery.status()[0]["sessions"])
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)

    async def test_stopped_in_the_midst_of_a_handshake(self):
        up = self.good({"handshake": Act.STALL})
        delivery = self.delivery(up, tls="required")
        attempt = self.deliver(delivery, "a@x.test")
        await up.when(lambda: "STARTTLS" in up.commands)
        await delivery.stop(0)
        self.assertTrue((await attempt).is_withdrawn)

    async def test_next_host(self):
        """A policy that one host cannot meet is no reason to send it weaker to the next."""
        plain, good = self.upstream(), self.good()
        attempt = await self.deliver(self.delivery(plain, good, tls="verified"), "a@x.test")
        self.assert_way(good, attempt, TLS)
        self.assertEqual(plain.transactions, [])
        self.assertEqual(plain.commands[-1], "QUIT")

    async def test_starttls_ignored(self):
        up = self.good()
        attempt = await self.send(up, tls="opportunistic", ignore_extensions=("starttls",))
        self.assert_way(up, attempt, PLAIN)

    async def test_client_certificate(self):
        certificate, key = AUTHORITY.issue("relay.test").write(self.folder, "client")
        context = server_context(GOOD)
        context.load_verify_locations(str(self.ca_file))
        context.set_verify(3, lambda *_: True)  # it must show one
        up = self.upstream(tls=context)
        shown = {"client_certificate": str(certificate), "client_key": str(key)}
        self.assert_way(up, await self.send(up, **shown), TLS)
        up = self.upstream(tls=context)
        attempt = await self.send(up)
        self.assertEqual(attempt.outcomes, {})
        self.assertEqual(up.transactions, [])

    async def test_hosts_own_certificate_as_ca_file(self):
        identity = self_signed("localhost")
        certificate, _ = identity.write(self.folder, "pinned")
        up = self.good(identity=identity)
        self.assert_way(up, await self.send(up, ca_file=str(certificate)), TLS)

    async def test_system_authorities_do_not_know_ours(self):
        up = self.good()
        attempt = await self.send(up, ca_file=None)
        self.assert_delayed(up, attempt, "certificate is signed by Test CA, which is not trusted")

    def test_files_that_cannot_be_used(self):
        up = self.good()
        empty = self.folder / "empty.pem"
        empty.touch()
        away = self.folder / "away.pem"
        for settings, text in (
            ({"ca_file": str(away)}, f"{away} cannot be read: No such file"),
            ({"ca_file": str(empty)}, f"{empty} does not hold authorities in PEM form"),
            ({"client_certificate": str(empty)}, f"{empty} does not hold a certificate"),
            ({"client_certificate": str(self.ca_file)}, "does not hold the private key of"),
        ):
            error = self.assertRaises(TlsUnusable, self.delivery, up, **settings)
            self.assertIn(text, str(error))


class LookedUpTests(TlsCase):
    """A policy that comes from lookups, whatever the config says."""

    async def send(self, up, policy, **settings):
        upstream = self.settings(up, ca_file=str(self.ca_file), **settings)
        delivery = self.delivery(up, **settings)
        (factory,) = delivery._hops["up"].factories
        factory.security = delivery.securities.of(upstream, upstream.hosts[0], policy)
        return await self.deliver(delivery, "a@x.test")

    def record(self, issued):
        return Tlsa(3, 0, 0, issued.certificate.public_bytes(Encoding.DER))

    async def test_names(self):
        policy = TlsPolicy(Level.VERIFIED, ("x.test", "mx.x.test"))
        for name in policy.names:
            up = self.good(identity=AUTHORITY.issue(name))
            self.assert_way(up, await self.send(up, policy), TLS)
        up = self.good()
        trouble = "certificate is for localhost, 127.0.0.1, not x.test or mx.x.test"
        self.assert_delayed(up, await self.send(up, policy), trouble)

    async def test_every_behaviour_under_dane(self):
        """As where TLS is required; and the certificate must be the one of the records."""
        policy = TlsPolicy(Level.DANE, tlsa=(self.record(GOOD),))
        for name, (identity, script, *expected) in HOSTS.items():
            up = self.upstream(script) if identity is None else self.good(script, identity)
            settings = QUICK if Act.STALL in script.values() else {}
            attempt = await self.send(up, policy, **settings)
            is_another = identity is not GOOD and expected[1] is TLS
            none = "none of those that the host's TLSA records name"
            self.assert_as_told(name, up, attempt, none if is_another else expected[1])

    async def test_every_behaviour_under_mta_sts(self):
        policy = TlsPolicy(Level.VERIFIED, ("localhost",), is_sure=True)
        for name, (identity, script, *expected) in HOSTS.items():
            up = self.upstream(script) if identity is None else self.good(script, identity)
            settings = QUICK if Act.STALL in script.values() else {}
            self.assert_as_told(name, up, await self.send(up, policy, **settings), expected[2])

    async def test_dane(self):
        shown = self_signed("whoever.example")
        up = self.good(identity=shown)
        attempt = await self.send(up, TlsPolicy(Level.DANE, tlsa=(self.record(shown),)))
        self.assert_way(up, attempt, TLS)
        self.assertIn("verified", attempt.outcomes[1].tls)

    async def test_dane_with_another_certificate(self):
        policy = TlsPolicy(Level.DANE, tlsa=(self.record(self_signed("localhost")),))
        up = self.good()  # which everybody else would trust
        trouble = "451 4.7.5 certificate is none of those that the host's TLSA records name"
        self.assert_delayed(up, await self.send(up, policy), trouble)

    async def test_dane_without_tls(self):
        policy = TlsPolicy(Level.DANE, tlsa=(self.record(GOOD),))
        up = self.upstream()
        self.assert_delayed(up, await self.send(up, policy), "offers no STARTTLS")
        up = self.good({"handshake": Act.DROP})
        self.assert_delayed(up, await self.send(up, policy), "while TLS was set up")


class BrokenTests(TlsCase):
    """Opportunistic, with a host whose TLS does not work."""

    async def test_remembered(self):
        up = self.good({"handshake": Act.DROP})
        delivery = self.delivery(up, tls="opportunistic", idle_timeout="0s")
        for _ in range(3):
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(up.commands.count("STARTTLS"), 1)
        self.assertEqual(len(up.sessions), 4)

    async def test_forgotten_when_an_operator_wants_it(self):
        up = self.good({"handshake": [Act.DROP, ""]})
        delivery = self.delivery(up, tls="opportunistic", idle_timeout="0s")
        await self.deliver(delivery, "a@x.test")
        delivery.forget_trouble("up")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIn("TLS", attempt.outcomes[1].tls)

    async def test_plain_is_no_help_either(self):
        up = self.good({"handshake": Act.DROP, "connect": ["220 hi", "421 4.3.2 busy"]})
        attempt = await self.deliver(self.delivery(up, tls="opportunistic"), "a@x.test")
        self.assert_delayed(up, attempt, "421 4.3.2 busy")
