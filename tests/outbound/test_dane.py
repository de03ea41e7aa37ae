"""DANE through a real validating resolver: each state of the records against each certificate."""

import hashlib
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.mail.outcome import Failed, Relayed
from relay.queue.lane_book import EASED
from relay.testing.upstream import KEYWORDS
from tests.certificates import Authority, self_signed
from tests.outbound.mx_case import MxCase
from tests.outbound.test_tls import server_context

AUTHORITY = Authority("DANE authority", Authority("DANE root"))  # it is shown with the chain
SHOWN = self_signed("whoever.example")
VOUCHED = AUTHORITY.issue("mail-byauthority.signed.test")


def key_digest(certificate, name="sha256") -> str:
    octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.new(name, octets).hexdigest()


EE = f"3 1 1 {key_digest(SHOWN.certificate)}"
TA = f"2 0 1 {hashlib.sha256(AUTHORITY.certificate.public_bytes(Encoding.DER)).hexdigest()}"
OTHER = f"3 1 1 {'ab' * 32}"
STRONG = f"3 1 2 {key_digest(SHOWN.certificate, 'sha512')}"
OTHER_STRONG = f"3 1 2 {'ab' * 64}"
SHORT = f"3 1 1 {'ab' * 20}"

# A domain, which has a host of that name and address; its TLSA records
SIGNED = {
    "ee": EE,
    "both": f"{OTHER}\n_{{port}}._tcp.mail-both TLSA {EE}",
    "other": OTHER,
    "unusable": "1 1 1 " + "ab" * 32,
    "short": SHORT,
    "shortbeside": f"{SHORT}\n_{{port}}._tcp.mail-shortbeside TLSA {EE}",
    "strongest": f"{OTHER}\n_{{port}}._tcp.mail-strongest TLSA {STRONG}",
    "weakonly": f"{EE}\n_{{port}}._tcp.mail-weakonly TLSA {OTHER_STRONG}",
    "bogus": EE,
    "byauthority": TA,
    "none": "",
}


def host_lines(name: str, tlsa: str) -> str:
    lines = f"{name} MX 10 mail-{name}\nmail-{name} A 127.0.0.1\n"
    return lines + (f"_{{port}}._tcp.mail-{name} TLSA {tlsa}\n" if tlsa else "")


SIGNED_ZONE = (
    "".join(host_lines(name, tlsa) for name, tlsa in SIGNED.items())
    + f"""\
alias MX 10 cname
cname CNAME mail-ee
implicit A 127.0.0.1
_{{port}}._tcp.implicit TLSA {EE}
tohost MX 10 mail.plain.test.
toalias MX 10 alias.plain.test.
two MX 10 mail-bogus
two MX 20 second
second A 127.0.0.2
_{{port}}._tcp.second TLSA {EE}
loose MX 10 mail-loose
mail-loose A 127.0.0.1
_tcp.mail-loose NS ns
"""
)

LOOSE = "_tcp.mail-loose.signed.test"
LOOSE_ZONE = f"_{{port}} TLSA {OTHER}\n"
"""Not signed, below a zone that is: of a secure host the TLSA records alone are anybody's."""

PLAIN_ZONE = f"""\
@ MX 10 mail-ee.signed.test.
mail A 127.0.0.1
_{{port}}._tcp.mail TLSA {OTHER}
alias CNAME mail-ee.signed.test.
"""

VERIFIED, UNVERIFIED, PLAIN = "verified", "unverified", "plain"


class DaneCase(MxCase):
    zones: ClassVar = {"signed.test": SIGNED_ZONE, "plain.test": PLAIN_ZONE, LOOSE: LOOSE_ZONE}
    signed = frozenset({"signed.test"})
    spoilt = frozenset({"_{port}._tcp.mail-bogus.signed.test."})

    async def way(self, domain, identity=SHOWN, address="127.0.0.1", lane="", **settings):
        """How the mail got there; else what kept it. `lane`: the end of its name."""
        up = self.there(address, tls=identity and server_context(identity))
        attempt = await self.deliver(self.by_mx(**settings), "a@x", lane=f"up:{domain}{lane}")
        await up.stop()
        if attempt.site is not None:
            self.assertEqual(attempt.outcomes, {})
            return str(attempt.site.reply)
        self.assert_kinds(attempt, Relayed)
        tls = attempt.outcomes[1].tls
        return VERIFIED if "verified" in tls else UNVERIFIED if tls else PLAIN


class DaneTests(DaneCase):
    async def test_table(self):
        none = "451 4.7.5 certificate is none of those that the host's TLSA records name"
        for domain, identity, wanted in (
            ("ee", SHOWN, VERIFIED),
            ("ee", VOUCHED, none),
            ("ee", None, "451 4.7.4 TLS required, but mail-ee.signed.test offers no STARTTLS"),
            ("both", SHOWN, VERIFIED),
            ("other", SHOWN, none),
            ("unusable", SHOWN, UNVERIFIED),
            ("unusable", None, "451 4.7.4 TLS required"),
            ("short", SHOWN, UNVERIFIED),
            ("short", None, "451 4.7.4 TLS required"),
            ("shortbeside", SHOWN, VERIFIED),
            ("shortbeside", VOUCHED, none),
            ("strongest", SHOWN, VERIFIED),
            ("weakonly", SHOWN, none),
            ("none", SHOWN, UNVERIFIED),
            ("none", None, PLAIN),
            ("alias", SHOWN, VERIFIED),
            ("alias", VOUCHED, none),
            ("implicit", SHOWN, VERIFIED),
            ("byauthority", SHOWN, none),
            ("byauthority", VOUCHED, VERIFIED),
            ("byauthority", AUTHORITY.issue("byauthority.signed.test"), VERIFIED),
            ("byauthority", AUTHORITY.issue("other.test"), "451 4.7.5 certificate is for other"),
            ("tohost", SHOWN, UNVERIFIED),
            ("toalias", VOUCHED, UNVERIFIED),  # it may lead anywhere
        ):
            with self.subTest(f"{domain} {identity and identity.certificate.subject}"):
                found = await self.way(f"{domain}.signed.test", identity)
                self.assertTrue(found.startswith(wanted), found)

    async def test_not_where_the_way_is_not_secure(self):
        """A plain zone's MX leads to a host with TLSA records: anybody could lead elsewhere."""
        self.assertEqual(await self.way("plain.test", VOUCHED), UNVERIFIED)

    async def test_not_by_records_that_are_not_secure(self):
        """Of a host that is; the records are there, and count as none (RFC 7672 2.2)."""
        self.assertEqual(await self.way("loose.signed.test"), UNVERIFIED)
        found = await self.way("loose.signed.test", tls="dane")
        self.assertIn("mail-loose.signed.test has no secure TLSA records", found)

    async def test_not_where_the_resolver_is_not_trusted(self):
        found = await self.way("ee.signed.test", VOUCHED, is_trusted=False)
        self.assertEqual(found, UNVERIFIED)

    async def test_demanded(self):
        self.assertEqual(await self.way("ee.signed.test", tls="dane"), VERIFIED)
        for domain, host in (
            ("none.signed.test", "mail-none.signed.test"),
            ("plain.test", "mail-ee.signed.test"),
        ):
            found = await self.way(domain, tls="dane")
            why = f"DANE is demanded, and {host} has no secure TLSA records"
            self.assertEqual(found, f"451 4.7.5 {why}")


class BogusTests(DaneCase):
    """Records that were changed on the way: nobody knows what the host wants."""

    async def test_delays(self):
        for tls in ("auto", "dane"):
            found = await self.way("bogus.signed.test", tls=tls)
            self.assertIn("451 4.7.5 DNS gives no TLSA records of mail-bogus", found)
            self.assertIn("SERVFAIL", found)

    async def test_the_next_host_serves(self):
        self.assertEqual(await self.way("two.signed.test", address="127.0.0.2"), VERIFIED)


class WaivedTests(DaneCase):
    """Mail that says TLS-Required: No (RFC 8689)."""

    async def test_table(self):
        for domain, identity, wanted in (
            ("ee", SHOWN, UNVERIFIED),
            ("ee", VOUCHED, UNVERIFIED),
            ("ee", None, PLAIN),
            ("unusable", None, PLAIN),
            ("bogus", None, PLAIN),
            ("none", None, PLAIN),
        ):
            for tls in ("auto", "dane"):
                with self.subTest(f"{domain} {tls}"):
                    found = await self.way(f"{domain}.signed.test", identity, tls=tls, lane=EASED)
                    self.assertEqual(found, wanted)

    async def test_not_what_the_config_demands(self):
        for tls in ("required", "verified"):
            found = await self.way("ee.signed.test", None, tls=tls, lane=EASED)
            self.assertIn("451 4.7.4 TLS required", found)

    async def test_ignored(self):
        found = await self.way("ee.signed.test", None, honour_tls_required_no=False, lane=EASED)
        self.assertIn("451 4.7.4 TLS required", found)


class ServerNameTests(DaneCase):
    """RFC 7672 8.1: the host is asked for the certificate of the name that the records are of."""

    async def test_each(self):
        for domain, wanted in (
            ("ee", b"mail-ee.signed.test"),
            ("alias", b"mail-ee.signed.test"),
            ("none", b"mail-none.signed.test"),
        ):
            asked = []
            context = server_context(SHOWN)
            context.set_tlsext_servername_callback(lambda c, a=asked: a.append(c.get_servername()))
            await self.way(f"{domain}.signed.test", context)
            self.assertEqual(asked, [wanted])


class RequireTlsTests(DaneCase):
    """REQUIRETLS: the way from the domain to its host must be sure, too (RFC 8689 4.2.1)."""

    async def sent(self, domain, **settings):
        identity = AUTHORITY.issue("mail-ee.signed.test")
        keywords = (*KEYWORDS, "REQUIRETLS")
        up = self.there(tls=server_context(identity), keywords=keywords)
        folder = Path(self.mktemp())
        folder.mkdir()
        ca = AUTHORITY.write(folder)
        attempt = await self.send(
            self.by_mx(ca_file=ca, tls="verified", **settings), domain, requires_tls=True
        )
        await up.stop()
        return attempt

    async def test_verified_at_a_host_that_anybody_could_have_named(self):
        attempt = await self.sent("plain.test")
        self.assert_kinds(attempt, Failed)
        self.assertIn("550 5.7.10", str(attempt.outcomes[1].reply))

    async def test_verified_at_a_host_that_dnssec_vouches_for(self):
        self.assert_kinds(await self.sent("ee.signed.test"), Relayed)
