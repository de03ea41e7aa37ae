"""TLSA records against chains of certificates (RFC 7672 3.1)."""

import hashlib
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from relay.tls.dane import NO_MATCH, trouble_with, usable
from relay.tls.policy import Tlsa
from tests.certificates import Authority

DAY = timedelta(days=1)
HOST = "mx.example.org"
NAMES = ("example.org", HOST)
ROOT = Authority("Root")
MIDDLE = Authority("Middle", ROOT)
OTHER = Authority("Other")


def record(usage, certificate, selector=1, matching=1):
    octets = certificate.public_bytes(Encoding.DER)
    if selector:
        key = certificate.public_key()
        octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = {
        0: bytes,
        1: lambda o: hashlib.sha256(o).digest(),
        2: lambda o: hashlib.sha512(o).digest(),
    }
    return Tlsa(usage, selector, matching, digest[matching](octets))


def chain(issued, *more):
    return [issued.certificate, *issued.between, *more]


class EndEntityTests(SynchronousTestCase):
    def test_each_selector_and_matching(self):
        shown = ROOT.issue(HOST)
        for selector in (0, 1):
            for matching in (0, 1, 2):
                wanted = record(3, shown.certificate, selector, matching)
                self.assertEqual(trouble_with(chain(shown), [wanted], NAMES), "")
                other = record(3, ROOT.issue(HOST).certificate, selector, matching)
                self.assertEqual(trouble_with(chain(shown), [other], NAMES), NO_MATCH)
                self.assertEqual(trouble_with(chain(shown), [other, wanted], NAMES), "")

    def test_neither_name_nor_date_counts(self):
        shown = ROOT.issue("other.example", valid_from=-20 * DAY, valid_until=-10 * DAY)
        self.assertEqual(trouble_with(chain(shown), [record(3, shown.certificate)], NAMES), "")

    def test_only_the_hosts_own_certificate_counts(self):
        shown = MIDDLE.issue(HOST)
        wanted = record(3, MIDDLE.certificate)
        self.assertEqual(trouble_with(chain(shown), [wanted], NAMES), NO_MATCH)

    def test_nothing_shown(self):
        self.assertIn("no certificate", trouble_with([], [], NAMES))


class TrustAnchorTests(SynchronousTestCase):
    def test_root_and_intermediate(self):
        shown = MIDDLE.issue(HOST)
        whole = chain(shown, ROOT.certificate)
        for anchor in (ROOT, MIDDLE):
            for selector in (0, 1):
                wanted = record(2, anchor.certificate, selector)
                self.assertEqual(trouble_with(whole, [wanted], NAMES), "")

    def test_name(self):
        shown = MIDDLE.issue("other.example")
        trouble = trouble_with(chain(shown), [record(2, MIDDLE.certificate)], NAMES)
        self.assertEqual(trouble, "certificate is for other.example, not example.org or " + HOST)

    def test_the_hosts_own_certificate_as_anchor(self):
        """Then it must bear the name, unlike where it is an end entity."""
        shown, other = ROOT.issue(HOST), ROOT.issue("other.example")
        self.assertEqual(trouble_with(chain(shown), [record(2, shown.certificate)], NAMES), "")
        trouble = trouble_with(chain(other), [record(2, other.certificate)], NAMES)
        self.assertIn("is for other.example", trouble)

    def test_expired(self):
        shown = MIDDLE.issue(HOST, valid_from=-20 * DAY, valid_until=-10 * DAY)
        trouble = trouble_with(chain(shown), [record(2, MIDDLE.certificate)], NAMES)
        self.assertIn("certificate expired on", trouble)

    def test_anchor_that_did_not_sign(self):
        """It is shown, and named by the records, and has nothing to do with the host's."""
        shown = OTHER.issue(HOST)
        trouble = trouble_with(chain(shown, ROOT.certificate), [record(2, ROOT.certificate)], NAMES)
        self.assertIn("is signed by Other, which is not trusted", trouble)

    def test_forged(self):
        shown = ROOT.issue(HOST, issued_by_key=OTHER.key)
        trouble = trouble_with(chain(shown, ROOT.certificate), [record(2, ROOT.certificate)], NAMES)
        self.assertNotEqual(trouble, "")


class UsableTests(SynchronousTestCase):
    def test_each(self):
        certificate = ROOT.certificate
        good = [
            Tlsa(2, 0, 1, b"x" * 32),
            Tlsa(3, 1, 2, b"x" * 64),
            record(3, certificate, 0, 0),
            record(3, certificate, 1, 0),
        ]
        bad = [
            Tlsa(0, 0, 1, b"x" * 32),
            Tlsa(1, 1, 1, b"x" * 32),
            Tlsa(3, 2, 1, b"x" * 32),
            Tlsa(3, 1, 3, b"x" * 32),
            Tlsa(3, 1, 1, b"x" * 31),
            Tlsa(3, 1, 1, b"x" * 64),
            Tlsa(3, 1, 2, b"x" * 32),
            Tlsa(2, 0, 2, b""),
            Tlsa(3, 0, 0, b"no certificate"),
            Tlsa(3, 1, 0, record(3, certificate, 0, 0).data),
        ]
        self.assertEqual(usable([*bad, *good]), tuple(good))
        self.assertEqual(usable(bad), ())

    def test_the_strongest_digest_alone_counts(self):
        """RFC 7671 9: of one usage and selector; a whole certificate stands beside it."""
        weak, strong = Tlsa(3, 1, 1, b"x" * 32), Tlsa(3, 1, 2, b"x" * 64)
        broken = Tlsa(3, 1, 2, b"x" * 63)
        whole = record(3, ROOT.certificate, 1, 0)
        other_selector, other_usage = Tlsa(3, 0, 1, b"x" * 32), Tlsa(2, 1, 1, b"x" * 32)
        for records, wanted in (
            ([weak], [weak]),
            ([weak, strong], [strong]),
            ([strong, weak, weak], [strong]),
            ([weak, broken], [weak]),
            ([weak, whole], [weak, whole]),
            ([whole, weak, strong], [whole, strong]),
            ([other_selector, strong, other_usage], [other_selector, strong, other_usage]),
        ):
            self.assertEqual(usable(records), tuple(wanted))
