"""TLS clients of all kinds send through the relay, by STARTTLS and with implicit TLS."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.interop import tls_clients as clients
from tests.interop.received import without_received
from tests.interop.tools import need
from tests.process.child import DEADLINE, free_port, is_open, wait_until
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

_SENDER, _RECIPIENT = "sender@example.net", "one@example.org"

_CONTENT = (
    b"From: Sender <sender@example.net>\r\nTo: one@example.org\r\nSubject: dots and lines\r\n"
    b"Date: Mon, 2 Mar 2026 12:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\r\n"
    b".a line that begins with a dot\r\n..two dots\r\n\r\n"
    + b"a line of an ordinary length, of which there are many\r\n" * 2000
    + b"the end\r\n"
)


class _ThroughTls(SynchronousTestCase):
    """A relay with a listener for STARTTLS and one for implicit TLS, before a collector."""

    listener: dict[str, Any] = {}
    top: dict[str, Any] = {}
    users: tuple[tuple[str, str], ...] = ()

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-tls-client-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)
        self.authority = Authority()
        self.trusted = self.authority.write(self.folder)
        shared = {"certificates": self.certificates(), **self.listener}
        self.relay = RelayProcess(
            [upstream("main", self.collector.port)],
            listener={"tls": "required", **shared},
            top=self.top,
        )
        self.addCleanup(self.relay.clean_up)
        self.implicit_port = free_port()
        address = f"127.0.0.1:{self.implicit_port}"
        self.relay.settings["listener"].append(
            {"name": "submissions", "address": address, "tls": "implicit", **shared}
        )
        for name, password in self.users:
            self.relay.add_user(name, password)
        self.relay.start()
        wait_until(lambda: is_open(self.implicit_port), "the listener for implicit TLS")

    def certificates(self) -> list[dict[str, str]]:
        return [self.issue("localhost", "127.0.0.1"), self.issue("other.example")]

    def issue(self, *names: str) -> dict[str, str]:
        certificate, key = self.authority.issue(*names).write(self.folder, names[0])
        return {"certificate": str(certificate), "key": str(key)}


class ClientTests(_ThroughTls):
    def check(self, send: clients.Send, adds: bytes = b"") -> None:
        """`adds`: what the client itself puts behind the content."""
        for number, is_implicit in enumerate((False, True), 1):
            port = self.implicit_port if is_implicit else self.relay.port
            send(
                clients.Errand(
                    port, is_implicit, self.trusted, _SENDER, _RECIPIENT, _CONTENT, self.folder
                )
            )
            kept = self.collector.wait_for(number)[-1]
            self.assertEqual((kept.sender, kept.recipients), (_SENDER, [_RECIPIENT]))
            self.assertEqual(without_received(kept.content), _CONTENT + adds)
            self.assertIn(b" with ESMTPS\r\n\t(TLSv1.", kept.content)

    def test_swaks(self) -> None:
        self.check(clients.by_swaks, adds=b"\r\n")

    def test_curl(self) -> None:
        self.check(clients.by_curl)

    def test_msmtp(self) -> None:
        self.check(clients.by_msmtp)

    def test_nodemailer(self) -> None:
        self.check(clients.by_nodemailer)


class OpensslTests(_ThroughTls):
    def test_versions(self) -> None:
        for is_implicit, port in ((False, self.relay.port), (True, self.implicit_port)):
            found = clients.offered(port, is_implicit=is_implicit)
            self.assertEqual(["TLSv1.2", "TLSv1.3"], found)

    def test_weak_ciphers_are_not_taken(self) -> None:
        for cipher in ("AES128-SHA", "AECDH-AES256-SHA", "eNULL", "PSK"):
            said = clients.s_client(self.relay.port, "-tls1_2", "-cipher", f"{cipher}@SECLEVEL=0")
            self.assertNotIn("Protocol version", said, cipher)

    def test_two_names(self) -> None:
        for name in ("localhost", "other.example"):
            said = clients.s_client(self.relay.port, "-servername", name)
            self.assertIn(f"CN = {name}\n", said)

    def test_no_tickets_in_1_2(self) -> None:
        """A session ticket makes Outlook break off; TLS 1.3 has two all the same."""
        said = clients.s_client(self.relay.port, "-tls1_2", "-msg")
        self.assertIn("Finished", said)
        self.assertNotIn("NewSessionTicket", said)

    def test_no_session_is_resumed(self) -> None:
        session = self.folder / "session"
        for version in ("-tls1_2", "-tls1_3"):
            clients.s_client(self.relay.port, version, "-sess_out", str(session))
            if session.exists():
                said = clients.s_client(self.relay.port, version, "-sess_in", str(session), "-msg")
                self.assertIn("Certificate\n", said)

    def test_a_handshake_that_fails_is_told(self) -> None:
        clients.s_client(self.relay.port, "-tls1_1", *clients.OLD)
        (fact,) = self.relay.wait_for(
            1,
            "disconnected",
            reason="TLS handshake failed: the other side offers no TLS version that is allowed "
            "here (unsupported protocol)",
        )
        self.assertEqual("lan", fact["listener"])
        self.assertNotIn("Traceback", self.relay.child.output)


class TlsMaxTests(_ThroughTls):
    listener = {"tls_max": "1.2"}

    def test_versions(self) -> None:
        self.assertEqual(["TLSv1.2"], clients.offered(self.relay.port))


class LegacyTests(_ThroughTls):
    listener = {"profile": "legacy-device"}

    def test_versions(self) -> None:
        self.assertEqual(
            ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], clients.offered(self.relay.port)
        )


class OtherListenerTests(_ThroughTls):
    def test_an_old_device_opens_no_other_listener(self) -> None:
        self.relay.settings["listener"][1]["profile"] = "legacy-device"
        self.relay.restart()
        wait_until(lambda: is_open(self.implicit_port), "the listener for implicit TLS")
        self.assertEqual(4, len(clients.offered(self.implicit_port, is_implicit=True)))
        self.assertEqual(["TLSv1.2", "TLSv1.3"], clients.offered(self.relay.port))


class ClientCertificateTests(_ThroughTls):
    """A client that may relay by its certificate alone."""

    def setUp(self) -> None:
        self.own = Authority("Clients' CA")
        folder = Path(tempfile.mkdtemp(prefix="relay-client-ca-"))
        self.addCleanup(shutil.rmtree, folder)
        self.listener = {
            "relay_networks": [],
            "client_ca": str(self.own.write(folder)),
            "relay_certificates": ["printer.example"],
        }
        super().setUp()

    def by_curl(self, *names: str) -> int:
        (self.folder / "message").write_bytes(_CONTENT)
        certificate, key = self.own.issue(*names).write(self.folder, names[0])
        command = [need("curl"), "--silent", "--show-error", "--cacert", str(self.trusted)]
        command += [f"smtps://localhost:{self.implicit_port}", "--mail-from", _SENDER]
        command += ["--mail-rcpt", _RECIPIENT, "--upload-file", str(self.folder / "message")]
        command += ["--cert", str(certificate), "--key", str(key)]
        return subprocess.run(
            command, capture_output=True, timeout=DEADLINE, check=False
        ).returncode

    def test_curl(self) -> None:
        self.assertEqual(0, self.by_curl("printer.example"))
        self.assertEqual([_RECIPIENT], self.collector.wait_for(1)[0].recipients)
        self.assertNotEqual(0, self.by_curl("somebody.example"))
        (rejected,) = self.relay.wait_for(1, "rejected")
        self.assertEqual("550 5.7.1", rejected["reply"][:9])
