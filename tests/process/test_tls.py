"""TLS in a relay as a process: renewal under load, several workers, what it says at its start."""

import pwd
import smtplib
import ssl
import threading
from pathlib import Path
from typing import Any

from tests.certificates import Authority
from tests.interop.tools import need_root
from tests.process.child import is_open, wait_until
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, content
from tests.process.through_relay import ThroughRelay


class TlsCase(ThroughRelay):
    def setUp(self) -> None:
        self.authority = Authority()
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.trusted = self.authority.write(self.folder)
        self.issue()

    def issue(self) -> str:
        """A new pair in the same files, and its serial number as clients show it."""
        issued = self.authority.issue("localhost")
        issued.write(self.folder)
        return f"{issued.certificate.serial_number:X}"

    def listener(self, **keys: Any) -> dict[str, Any]:
        pair = {
            "certificate": str(self.folder / "host.pem"),
            "key": str(self.folder / "host.key"),
        }
        return {"tls": "starttls", "certificates": [pair], **keys}

    def session(self, relay: RelayProcess) -> smtplib.SMTP:
        """Through TLS, greeted."""
        session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
        self.addCleanup(session.close)
        session._host = "localhost"  # type: ignore[attr-defined]
        session.starttls(context=ssl.create_default_context(cafile=str(self.trusted)))
        session.ehlo()
        return session

    def serial(self, session: smtplib.SMTP) -> str:
        shown = session.sock.getpeercert()  # type: ignore[union-attr]
        return str(shown["serialNumber"]).lstrip("0")

    def shown(self, relay: RelayProcess) -> str:
        """The certificate that a new session gets."""
        with self.session(relay) as session:
            return self.serial(session)

    def wait_until_shown(self, relay: RelayProcess, serial: str) -> None:
        wait_until(lambda: self.shown(relay) == serial, "the new certificate")


class RenewalTests(TlsCase):
    def test_under_load(self) -> None:
        """Sessions go on over ten renewals; those that begin get the newest certificate."""
        main = self.collector()
        relay = self.relay(upstream("main", main.port), listener=self.listener())
        kept = self.session(relay)
        first = self.serial(kept)
        load = _Load(self, relay)
        load.start()
        for number in range(10):
            self.wait_until_shown(relay, self.issue())
            kept.sendmail(SENDER, [f"kept{number}@example.org"], content("kept"))
        load.stop()
        self.assertEqual([], load.failures)
        self.assertGreater(load.count, 20)
        self.assertEqual(first, self.serial(kept))
        main.wait_for(load.count + 10)
        self.assertEqual([], relay.facts("disconnected", reason="shutting down"))
        self.assertNotIn("Traceback", relay.child.output)

    def test_a_broken_pair_keeps_the_old_one(self) -> None:
        relay = self.relay(upstream("main", self.collector().port), listener=self.listener())
        first = self.shown(relay)
        (self.folder / "host.key").write_text("half a k")

        def alarmed() -> list[Any]:
            self.assertEqual(first, self.shown(relay))
            return relay.facts("alarm", what="certificates of lan")

        (alarm, *_) = wait_until(alarmed, "an alarm")
        self.assertIn("holds no private key", alarm["why"])
        self.wait_until_shown(relay, self.issue())
        relay.wait_for(1, "alarm_over", what="certificates of lan")


class _Load:
    """Sessions and messages one after another, in some threads, until stopped."""

    def __init__(self, case: TlsCase, relay: RelayProcess) -> None:
        self._case, self._relay = case, relay
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(3)]
        self.failures: list[BaseException] = []
        self.count = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)

    def _send(self) -> None:
        try:
            while not self._is_over.is_set():
                session = self._case.session(self._relay)
                for _ in range(3):
                    session.sendmail(SENDER, ["load@example.org"], content("load", 20000))
                    self.count += 1
                session.quit()
        except BaseException as error:
            self.failures.append(error)


class WorkersTests(TlsCase):
    def test_each_serves_tls_and_takes_up_a_new_certificate(self) -> None:
        main = self.collector()
        relay = self.idle_relay(
            upstream("main", main.port), top={"workers": 2}, listener=self.listener()
        )
        relay.launch()
        wait_until(lambda: relay.facts("started", what="relay"), "two workers")
        for number in range(12):
            self.session(relay).sendmail(SENDER, [f"{number}@example.org"], content("x"))
        serial = self.issue()

        def both() -> bool:
            serials = {self.shown(relay) for _ in range(12)}
            return serials == {serial}

        wait_until(both, "the new one from both")
        main.wait_for(12)
        accepted = relay.facts("accepted")
        self.assertEqual({1, 2}, {fact["session"].count(".") for fact in accepted}, "both")
        self.assertEqual(12, len([fact for fact in accepted if fact["tls"][:5] == "TLSv1"]))


class DeliveryTests(TlsCase):
    def test_each_delivery_through_tls_with_headers_added(self) -> None:
        main = self.collector()
        names = ("store", "hybrid", "proxy")
        relay = self.relay(
            upstream("main", main.port),
            routes=[route("main", f"{name}@example.org", delivery=name) for name in names],
            listener=self.listener(add_missing_headers=True),
        )
        session = self.session(relay)
        body = b"x" * 70 + b"\r\n"
        for count, name in enumerate(names, 1):
            session.sendmail(SENDER, [f"{name}@example.org"], b"Subject: x\r\n\r\n" + body * 5000)
            kept = main.wait_for(count)[-1]
            head, _, rest = kept.content.partition(b"\r\n\r\n")
            self.assertEqual(body * 5000, rest)
            for part in (b"with ESMTPS\r\n\t(TLSv1.3 ", b"\r\nDate: ", b"\r\nFrom: <sender@"):
                self.assertEqual(1, head.count(part), (name, part))


class SendTests(TlsCase):
    def test_relayctl_sends_through_it(self) -> None:
        for tls in ("required", "implicit"):
            main = self.collector()
            relay = self.relay(upstream("main", main.port), listener=self.listener(tls=tls))
            done = relay.relayctl("send", "--to", "one@example.org")
            self.assertEqual(0, done.returncode, done.stderr)
            (kept,) = main.wait_for(1)
            self.assertIn(b"with ESMTPS", kept.content)
            relay.stop()

    def test_as_a_user(self) -> None:
        """Where clients must log in, so must whoever looks whether mail gets through."""
        main = self.collector()
        relay = self.idle_relay(
            upstream("main", main.port),
            listener=self.listener(auth="required", relay_networks=[]),
            top={"auth": {"users": "users"}},
        )
        relay.add_user("tim", "the right password")
        relay.start()
        words = ("send", "--to", "one@example.org", "--user", "tim", "--password-stdin")
        done = relay.relayctl(*words, given="the right password\n")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("AUTH (as tim)\n    235 2.7.0", done.stdout)
        main.wait_for(1)
        wrong = relay.relayctl(*words, given="a wrong password")
        self.assertEqual(1, wrong.returncode)
        self.assertIn("535 5.7.8", wrong.stderr)
        unasked = relay.relayctl(*words[:-1])
        self.assertIn("add --password-stdin", unasked.stderr)
        elsewhere = relay.relayctl(*words, "--server", "192.0.2.1:25", given="the right password")
        self.assertEqual(2, elsewhere.returncode)
        self.assertIn("to this machine alone", elsewhere.stderr)
        for each in (done, wrong, unasked, elsewhere):
            self.assertNotIn("password\n", each.stdout + each.stderr)

    def test_where_nobody_can_log_in(self) -> None:
        relay = self.relay(upstream("main", 2526), listener=self.listener())
        words = ("send", "--to", "one@example.org", "--user", "tim", "--password-stdin")
        done = relay.relayctl(*words, given="the right password")
        self.assertEqual(1, done.returncode)
        self.assertIn("the relay offers no AUTH", done.stderr)


class StartTests(TlsCase):
    def test_a_missing_key_is_told(self) -> None:
        (self.folder / "host.key").unlink()
        relay = self.idle_relay(upstream("main", 2526), listener=self.listener())
        self.assertEqual(2, relay.launch().wait())
        told = f"listener[0].certificates[0]: {self.folder / 'host.key'}: cannot be read: No such"
        self.assertIn(f"relay: {told}", relay.child.output)
        self.assertNotIn("Traceback", relay.child.output)
        checked = relay.relayctl("check")
        self.assertEqual(2, checked.returncode)
        self.assertIn(told, checked.stderr)

    def as_nobody(self, **top: Any) -> RelayProcess:
        need_root("switching users")
        nobody = pwd.getpwnam("nobody")
        relay = self.idle_relay(upstream("main", 2526), listener=self.listener(), top=top)
        relay.folder.chmod(0o777)
        relay.arguments = [f"--uid={nobody.pw_uid}", f"--gid={nobody.pw_gid}"]
        return relay

    def test_a_key_that_the_later_user_cannot_read(self) -> None:
        """It serves with what root has read, and says what it will not take up."""
        relay = self.as_nobody()
        child = relay.launch()
        child.wait_for_port(relay.port)
        self.session(relay)
        self.assertIn(
            f"relay: warning: listener[0]: {self.folder / 'host.key'} cannot be read by nobody: "
            "changes of it will not be taken up, and every reload refused",
            child.output,
        )
        reloaded = relay.relayctl("reload")
        self.assertEqual(2, reloaded.returncode)
        self.assertIn("cannot be read: Permission denied", reloaded.stderr)
        first = self.shown(relay)
        self.issue()

        def alarmed() -> list[Any]:
            self.assertEqual(first, self.shown(relay))
            return relay.facts("alarm", what="certificates of lan")

        (alarm, *_) = wait_until(alarmed, "an alarm")
        self.assertIn("Permission denied", alarm["why"])

    def test_workers_that_could_not_read_it(self) -> None:
        relay = self.as_nobody(workers=2)
        self.assertEqual(2, relay.launch().wait())
        self.assertIn("workers run as that user; let it read it", relay.child.output)
        self.assertFalse(is_open(relay.port))
