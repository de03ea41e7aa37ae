"""Who the client is, told by haproxy and swaks, and told to Postfix.

Every machine here is this one: 127.0.0.7 is the client, 127.0.0.9 the proxy, others are strangers.
"""

import smtplib
import socket
import subprocess

from tests.interop.peers import UNCHANGED, HaProxy, Postfix
from tests.interop.tools import missing, need
from tests.process.child import DEADLINE, wait_until
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, content
from tests.process.through_relay import ThroughRelay

CLIENT, PROXY, STRANGER = "127.0.0.7", "127.0.0.9", "127.0.0.10"
TO = "one@example.org"


def session(port: int, source: str = CLIENT, host: str = "127.0.0.1") -> smtplib.SMTP:
    return smtplib.SMTP(host, port, "client.example", 30, source_address=(source, 0))


def send(port: int, source: str = CLIENT, host: str = "127.0.0.1") -> None:
    with session(port, source, host) as client:
        client.sendmail(SENDER, [TO], content("one"))


class HaproxyTests(ThroughRelay):
    HEADERS = ("send-proxy", "send-proxy-v2")

    def behind(
        self, header: str, source: str = PROXY, has_ipv6: bool = False
    ) -> tuple[RelayProcess, Collector, HaProxy]:
        collector = self.collector()
        keys = {"proxy_protocol_from": [PROXY], "relay_networks": [CLIENT, "::1"]}
        relay = self.relay(upstream("main", collector.port), listener=keys)
        haproxy = HaProxy(relay.port, header, source, has_ipv6)
        self.addCleanup(haproxy.clean_up)
        haproxy.start()
        return relay, collector, haproxy

    def read(self, port: int, *, until: bytes, say: bytes = b"") -> bytes:
        """What a client hears up to that, or to the end."""
        heard = b""
        with socket.create_connection(("127.0.0.1", port), DEADLINE, (CLIENT, 0)) as client:
            client.sendall(say)
            while until not in heard and (octets := client.recv(4096)):
                heard += octets
        return heard

    def test_the_client_behind_it_is_judged_and_named(self) -> None:
        for header in self.HEADERS:
            with self.subTest(header):
                relay, collector, haproxy = self.behind(header)
                send(haproxy.port)
                (kept,) = collector.wait_for(1)
                self.assertIn(b"Received: from client.example ([127.0.0.7])", kept.content)
                (accepted,) = relay.wait_for(1, "accepted")
                self.assertTrue(accepted["client"].startswith(f"{CLIENT}:"))
                (connected,) = relay.facts("connected", session=accepted["session"])
                self.assertEqual(accepted["client"], connected["client"])
                self.assertTrue(connected["via"].startswith(f"{PROXY}:"))
                with self.assertRaises(smtplib.SMTPRecipientsRefused):
                    send(haproxy.port, STRANGER)

    def test_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            raise missing("IPv6 on the loopback interface") from None
        for header in self.HEADERS:
            relay, collector, haproxy = self.behind(header, has_ipv6=True)
            send(haproxy.port, "::1", "::1")
            collector.wait_for(1)
            (accepted,) = relay.wait_for(1, "accepted")
            self.assertTrue(accepted["client"].startswith("[::1]:"))

    def test_its_own_checks_are_taken(self) -> None:
        """It says LOCAL in them (in version 1: UNKNOWN), and goes: nothing to complain of."""
        for header in self.HEADERS:
            relay, _, _ = self.behind(f"{header} check-send-proxy")
            relay.wait_for(3, "disconnected", transactions=0)
            self.assertTrue(
                [f for f in relay.facts("connected") if f["client"].startswith(f"{PROXY}:")]
            )
            self.assertEqual([], relay.facts("rejected"))

    def test_without_a_header(self) -> None:
        """Nothing is said to it, and the log tells what to do."""
        relay, _, haproxy = self.behind("")
        heard = self.read(haproxy.port, say=b"EHLO client.example\r\n", until=b"\n")
        self.assertEqual(b"", heard)
        (rejected, *_) = relay.wait_for(1, "rejected")
        self.assertTrue(rejected["client"].startswith(f"{PROXY}:"))
        self.assertIn("send-proxy", rejected["why"])

    def test_a_proxy_that_is_not_named(self) -> None:
        """Its header is a bad command, and its clients are what it is: strangers."""
        for header in self.HEADERS:
            relay, _, haproxy = self.behind(header, source=STRANGER)
            heard = self.read(haproxy.port, until=b"\r\n500 ")
            self.assertTrue(heard.startswith(b"220 "), heard)
            self.assertIn(b"\r\n500 ", heard)
            self.assertFalse(
                [f for f in relay.facts("connected") if f["client"].startswith(CLIENT)]
            )


class SwaksTests(ThroughRelay):
    """swaks sends XCLIENT as a proxy does."""

    def swaks(self, relay: RelayProcess, *options: str, source: str = PROXY) -> str:
        done = subprocess.run(
            [
                need("swaks"),
                *("--server", "127.0.0.1", "--port", str(relay.port)),
                *("--local-interface", source),
                *("--from", SENDER, "--to", TO, "--helo", "client.example"),
                *options,
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return done.stdout

    def trusting(self) -> tuple[RelayProcess, Collector]:
        collector = self.collector()
        keys = {"xclient_from": [PROXY], "relay_networks": ["192.0.2.7", "2001:db8::/32"]}
        return self.relay(upstream("main", collector.port), listener=keys), collector

    def test_the_client_told_of(self) -> None:
        relay, collector = self.trusting()
        told = ("--xclient-addr", "192.0.2.7", "--xclient-name", "a.example")
        self.swaks(relay, *told, "--xclient-port", "4711", "--xclient-login", "ann@a.example")
        (kept,) = collector.wait_for(1)
        self.assertIn(b"Received: from client.example ([192.0.2.7])", kept.content)
        (accepted,) = relay.wait_for(1, "accepted")
        self.assertEqual(
            ("192.0.2.7:4711", "ann@a.example"), (accepted["client"], accepted["user"])
        )

    def test_ipv6(self) -> None:
        relay, collector = self.trusting()
        self.swaks(relay, "--xclient-addr", "IPV6:2001:db8::7")
        collector.wait_for(1)
        (accepted,) = relay.wait_for(1, "accepted")
        self.assertEqual("[2001:db8::7]:0", accepted["client"])

    def test_a_stranger(self) -> None:
        relay, _ = self.trusting()
        self.assertIn("550 5.7.1", self.swaks(relay, "--xclient-addr", "198.51.100.1"))
        (rejected,) = relay.wait_for(1, "rejected", command="RCPT")
        self.assertEqual("198.51.100.1:0", rejected["client"])

    def test_from_a_peer_that_is_not_named(self) -> None:
        relay, _ = self.trusting()
        said = self.swaks(relay, "--xclient-addr", "192.0.2.7", source=STRANGER)
        self.assertIn("250-PIPELINING", said)
        self.assertNotIn("XCLIENT", said)
        with session(relay.port, STRANGER) as client:
            client.ehlo()
            self.assertEqual(550, client.docmd("XCLIENT ADDR=192.0.2.7")[0])
        (rejected,) = relay.wait_for(1, "rejected", command="XCLIENT")
        self.assertTrue(rejected["client"].startswith(f"{STRANGER}:"))
        self.assertEqual([], relay.facts("accepted"))


class PostfixCase(ThroughRelay):
    def postfix(self, **settings: str) -> Postfix:
        self.behind = self.collector()
        postfix = Postfix(self.behind.port, settings={**UNCHANGED, **settings})
        self.addCleanup(postfix.clean_up)
        postfix.start()
        return postfix

    def before(self, postfix: Postfix, delivery: str, **trust: bool) -> RelayProcess:
        return self.relay(
            upstream("main", postfix.port, **trust), routes=[route("main", delivery=delivery)]
        )


class XclientToPostfixTests(PostfixCase):
    """It judges and logs the relay's client as its own."""

    TRUSTS = {
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    }

    def test_the_client_is_trusted_there(self) -> None:
        postfix = self.postfix(**self.TRUSTS, mynetworks=f"{CLIENT}/32")
        relay = self.before(postfix, "proxy", xclient=True)
        with session(relay.port) as client:
            for _ in range(3):
                client.sendmail(SENDER, [TO], content("one"))
        kept = self.behind.wait_for(3)
        self.assertIn(b"from client.example (unknown [127.0.0.7])", kept[0].content)
        self.assertEqual(3, postfix.log.count(f"client=unknown[{CLIENT}]"))
        wait_until(
            lambda: f"disconnect from unknown[{CLIENT}]" in postfix.log, "end of its session"
        )
        self.assertEqual(1, postfix.log.count(f"disconnect from unknown[{CLIENT}]"))

    def test_the_relay_is_trusted_there_and_the_client_is_not(self) -> None:
        """Each client its own session: none of them gets another's rights."""
        postfix = self.postfix(**self.TRUSTS, mynetworks=f"127.0.0.1/32 {CLIENT}/32")
        relay = self.before(postfix, "proxy", xclient=True)
        for _ in range(2):
            send(relay.port)
            with session(relay.port, STRANGER) as stranger:
                stranger.ehlo()
                stranger.mail(SENDER)
                code, text = stranger.rcpt(TO)
                self.assertEqual(554, code, text)
        self.assertEqual(2, len(self.behind.wait_for(2)))
        self.assertIn(f"reject: RCPT from unknown[{STRANGER}]", postfix.log)

    def test_not_granted(self) -> None:
        """Postfix would take anything from the relay: so it gets nothing."""
        postfix = self.postfix()
        relay = self.before(postfix, "proxy", xclient=True)
        with session(relay.port) as client:
            client.ehlo()
            code, text = client.mail(SENDER)
        self.assertEqual((451, b"4.7.0"), (code, text[:5]))
        (rejected,) = relay.wait_for(1, "rejected", command="MAIL")
        self.assertIn("smtpd_authorized_xclient_hosts", rejected["why"])
        self.assertEqual([], self.behind.kept)


class XforwardToPostfixTests(PostfixCase):
    """It logs the relay's client beside the relay."""

    TRUSTS = {"smtpd_authorized_xforward_hosts": "127.0.0.1"}

    def test_in_every_delivery(self) -> None:
        for delivery in ("store", "hybrid", "proxy"):
            with self.subTest(delivery):
                postfix = self.postfix(**self.TRUSTS)
                relay = self.before(postfix, delivery, xforward=True)
                for source in (CLIENT, STRANGER, CLIENT):
                    send(relay.port, source)
                self.behind.wait_for(3)
                logged = [line for line in postfix.log.splitlines() if "orig_client=" in line]
                logged_clients = [line.partition("orig_client=")[2] for line in logged]
                self.assertEqual(3, len(logged_clients), postfix.log)
                for source, times in ((CLIENT, 2), (STRANGER, 1)):
                    found = [c for c in logged_clients if c.startswith(f"unknown[{source}]")]
                    self.assertEqual(times, len(found), logged)
                self.assertTrue(all("client=unknown[127.0.0.1]" in line for line in logged))
                if delivery != "proxy":
                    for accepted in relay.wait_for(3, "accepted"):
                        self.assertIn(f"orig_queue_id={accepted['queue_id']}", postfix.log)

    def test_not_granted(self) -> None:
        postfix = self.postfix()
        relay = self.before(postfix, "store", xforward=True)
        send(relay.port)
        self.behind.wait_for(1)
        self.assertNotIn("orig_client", postfix.log)
        self.assertIn("smtpd_authorized_xforward_hosts", relay.child.output)
