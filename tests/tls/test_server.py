"""The server's contexts: by name, renewed with their files, kept where the new ones fail."""

import ssl
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.listener import Certificate, Listener
from relay.notices import Alarm, AlarmOver, Notice
from relay.tls.certificates import CertificateUnusable
from relay.tls.server import LOOK_EVERY, ServerTls
from tests.certificates import Authority
from tests.tls.shaking import shake_hands, shown


class ServerTlsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.authority = Authority()
        self.trusted = self.authority.write(self.folder)
        self.clock = Clock()
        self.notices: list[Notice] = []

    def put(self, file: str, *names: str) -> Certificate:
        certificate, key = self.authority.issue(*names).write(self.folder, file)
        return Certificate(certificate=certificate, key=key)

    def serve(self, *certificates: Certificate, **keys: Any) -> ServerTls:
        listener = Listener(
            name="lan",
            address="127.0.0.1:0",
            tls="starttls",
            certificates=certificates,
            **keys,
        )
        return ServerTls(listener, self.notices.append, self.clock.seconds)


class NameTests(ServerTlsCase):
    def test_the_certificate_of_the_name_asked_for(self) -> None:
        tls = self.serve(
            self.put("a", "a.example", "relay.example"),
            self.put("b", "b.example", "*.b.example"),
            self.put("c", "c.b.example"),
        )
        first = ["a.example", "relay.example"]
        for name, names in (
            ("a.example", first),
            ("b.example", ["b.example", "*.b.example"]),
            ("B.Example", ["b.example", "*.b.example"]),
            ("x.b.example", ["b.example", "*.b.example"]),
            ("c.b.example", ["c.b.example"]),
            ("y.x.b.example", first),
            ("nobody.example", first),
            (None, first),
        ):
            self.assertEqual(names, shown(tls.contexts(), name), name)

    def test_the_chain_is_shown_too(self) -> None:
        issued = Authority("Between", self.authority).issue("a.example")
        certificate, key = issued.write(self.folder)
        tls = self.serve(self.put("b", "b.example"), Certificate(certificate=certificate, key=key))
        shake_hands(tls.contexts(), "a.example", self.trusted)
        self.assertRaises(
            ssl.SSLCertVerificationError, shake_hands, tls.contexts(), "d.example", self.trusted
        )

    def test_clients_are_asked_whatever_the_name(self) -> None:
        tls = self.serve(
            self.put("a", "a.example"), self.put("b", "b.example"), client_ca=self.trusted
        )
        for name in ("a.example", "b.example"):
            _, server = shake_hands(tls.contexts(), name)
            self.assertIsNone(server.is_verified)


class RenewalTests(ServerTlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.pair = self.put("a", "old.example")
        self.tls = self.serve(self.pair)

    def shown(self) -> list[str]:
        return shown(self.tls.contexts(), None)

    def look_again(self) -> None:
        self.clock.advance(LOOK_EVERY)

    def test_new_handshakes_get_the_new_one(self) -> None:
        former = self.tls.contexts()
        self.put("a", "new.example")
        self.look_again()
        self.assertEqual(["new.example"], self.shown())
        self.assertEqual(["old.example"], shown(former, None), "a handshake that was under way")
        self.assertEqual([], self.notices)

    def test_not_looked_at_each_time(self) -> None:
        self.put("a", "new.example")
        self.assertEqual(["old.example"], self.shown())
        self.look_again()
        self.assertEqual(["new.example"], self.shown())

    def test_half_written(self) -> None:
        """The certificate is there, its key is not yet."""
        new = self.authority.issue("new.example")
        self.pair.certificate.write_bytes(new.chain_pem)
        self.look_again()
        self.assertEqual(["old.example"], self.shown())
        (alarm,) = self.notices
        assert isinstance(alarm, Alarm)
        self.assertEqual("certificates of lan", alarm.what)
        self.assertIn("is not the key of", alarm.why)
        self.look_again()
        self.shown()
        self.assertEqual(1, len(self.notices), "told once for each state of the files")
        self.pair.key_file.write_bytes(new.key_pem)
        self.look_again()
        self.assertEqual(["new.example"], self.shown())
        self.assertIsInstance(self.notices[-1], AlarmOver)

    def test_gone(self) -> None:
        self.pair.key_file.unlink()
        self.look_again()
        self.assertEqual(["old.example"], self.shown())
        self.assertIn("No such file", self.notices[-1].why)  # type: ignore[union-attr]

    def test_one_of_two_is_broken(self) -> None:
        """The other one is not renewed alone: all or none, so that what is in use is known."""
        second = self.put("b", "second.example")
        self.tls = self.serve(self.pair, second)
        self.put("a", "new.example")
        second.key_file.write_bytes(b"")
        self.look_again()
        self.assertEqual(["old.example"], self.shown())
        self.assertEqual(["second.example"], shown(self.tls.contexts(), "second.example"))

    def test_a_clock_that_was_set_back(self) -> None:
        now = [1000.0]
        self.tls = ServerTls(self.tls._listener, self.notices.append, lambda: now[0])
        self.put("a", "new.example")
        now[0] = 0.0
        self.assertEqual(["new.example"], self.shown())


class StartTests(ServerTlsCase):
    def test_what_cannot_be_used_is_told(self) -> None:
        pair = self.put("a", "a.example")
        pair.key_file.write_bytes(b"")
        self.assertRaises(CertificateUnusable, self.serve, pair)
