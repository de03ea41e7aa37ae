"""Two workers that log in by access tokens, at an endpoint that takes each refresh token once."""

import os
import signal
import smtplib
import time
from base64 import b64decode
from typing import Any

from tests.process.child import wait_until
from tests.process.collector import KEYWORDS, Collector
from tests.process.relay_process import Fact, RelayProcess, route, upstream
from tests.process.sending import send
from tests.process.test_workers import WorkersCase, worker_in, worker_pids
from tests.process.token_endpoint import AUTHORITY, RotatingEndpoint

IN = "235 2.7.0 in"
EACH_ONE = {"max_messages_per_connection": 1}  # a login for each message


class TokensCase(WorkersCase):
    def tokens(self, *more: Fact, timeout: str = "20s", **tables: Any) -> RelayProcess:
        """Not started yet; `self.endpoint` and `self.main` are what it talks to."""
        self.main = self.upstream_with_auth()
        oauth = {
            "grant": "refresh-token",
            "token_url": "https://localhost/token",
            "client_id": "client",
            "refresh_token_file": "refresh.token",
            "ca_file": "token-ca.pem",
            "timeout": timeout,
        }
        login = {"user": "me@example.net", "auth_without_tls": True, "tls": "none", "oauth": oauth}
        main = upstream("main", self.main.port, **login, **EACH_ONE)
        top = {"workers": 2}
        relay = self.idle_relay(main, *more, top=top, **tables)
        endpoint = self.endpoint = RotatingEndpoint(relay.folder)
        self.addCleanup(endpoint.stop)
        oauth["token_url"] = endpoint.url
        AUTHORITY.write(relay.folder, "token-ca")
        self.refresh_file = relay.folder / "refresh.token"
        self.refresh_file.touch(0o600)
        self.refresh_file.write_text("swordfish-0\n")
        return relay

    def upstream_with_auth(self) -> Collector:
        collector = Collector(keywords=(*KEYWORDS, "AUTH XOAUTH2"))
        collector.answer("AUTH", IN)
        collector.start()
        self.addCleanup(collector.stop)
        return collector

    def begin(self, relay: RelayProcess, starts: int = 1) -> None:
        relay.launch()
        self.wait_until_ready(relay, 2, starts)

    def session_with_each(self, relay: RelayProcess) -> list[smtplib.SMTP]:
        """The kernel chooses the worker: tried until each has been."""
        sessions: dict[str, smtplib.SMTP] = {}
        for _ in range(200):
            session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
            self.addCleanup(session.close)
            session.ehlo()
            client = f"127.0.0.1:{session.sock.getsockname()[1]}"  # type: ignore[union-attr]
            (fact,) = relay.wait_for(1, "connected", client=client)
            sessions[worker_in(fact["session"])] = session
            if len(sessions) == 2:
                return list(sessions.values())
        raise AssertionError(f"sessions with {set(sessions)} alone")

    def send_to_each(self, relay: RelayProcess) -> None:
        """One message to each worker."""
        for session in self.session_with_each(relay):
            session.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n")

    def used(self) -> set[str]:
        """The access tokens that the upstream was shown."""
        shown = (b64decode(kept.auth.split()[1]).decode() for kept in self.main.kept)
        return {text.partition("Bearer ")[2].strip("\1") for text in shown}

    def assert_well(self, relay: RelayProcess) -> None:
        """No refresh token was shown twice, the newest is kept, and nothing was told to anybody."""
        self.assertFalse(self.endpoint.is_revoked, self.endpoint.asked)
        self.assertEqual(1, self.endpoint.most_at_once)
        self.assertLessEqual(self.used(), set(self.endpoint.given))
        self.assertEqual(f"{self.endpoint.refresh_token}\n", self.refresh_file.read_text())
        self.assertEqual(0o600, self.refresh_file.stat().st_mode & 0o777)
        self.assertEqual([], relay.facts("alarm", what="login at main"))
        for path in relay.folder.rglob("*"):
            if path.is_file() and path != self.refresh_file:
                octets = path.read_bytes()
                for secret in (b"pencil-", b"swordfish-"):
                    self.assertNotIn(secret, octets, path)


class SharedTests(TokensCase):
    def test_one_token_serves_both_workers(self) -> None:
        relay = self.tokens()
        self.endpoint.delay = 1.0  # both need it meanwhile
        self.begin(relay)
        self.send_to_each(relay)
        self.main.wait_for(2)
        relay.wait_until_empty()
        self.assertEqual(["swordfish-0"], self.endpoint.asked)
        self.assertEqual({"pencil-1"}, self.used())
        self.assert_well(relay)

    def test_renewed_again_and_again_under_load(self) -> None:
        relay = self.tokens()
        self.endpoint.life, self.endpoint.delay = 2.0, 0.3
        self.begin(relay)
        sessions, sent = self.session_with_each(relay), 0
        while len(self.endpoint.asked) < 5:
            for session in sessions:
                session.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n")
                sent += 1
            time.sleep(0.02)
        self.main.wait_for(sent)
        relay.wait_until_empty()
        self.assertEqual(sent, len(self.main.kept))
        self.assert_well(relay)

    def test_a_worker_that_dies_takes_no_refresh_token_with_it(self) -> None:
        relay = self.tokens()
        self.endpoint.delay = 2.0
        self.begin(relay)
        self.send_to_each(relay)
        wait_until(lambda: self.endpoint.under_way, "a request")
        for pid in worker_pids(relay):  # whoever has asked
            os.kill(pid, signal.SIGKILL)
        self.main.wait_for(2)
        relay.wait_until_empty_after_a_crash()
        self.assertEqual(["swordfish-0"], self.endpoint.asked)
        self.assert_well(relay)

    def test_a_stop_waits_for_an_answer_that_nobody_waits_for_any_more(self) -> None:
        for workers in (1, 2):
            relay = self.tokens(timeout="1s")
            relay.settings["workers"] = workers
            self.endpoint.delay = 5.0
            self.begin(relay)
            send(relay.port, ["one@example.org"])
            relay.wait_for(1, "delayed")
            self.assertEqual(1, self.endpoint.under_way)
            relay.stop()
            self.assertEqual("swordfish-1\n", self.refresh_file.read_text())
            self.endpoint.delay = 0.0
            self.begin(relay, starts=2)
            self.main.wait_for(1)
            relay.wait_until_empty()
            self.assert_well(relay)

    def test_a_reload_keeps_the_token(self) -> None:
        relay = self.tokens()
        self.begin(relay)
        self.send_to_each(relay)
        self.main.wait_for(2)
        relay.settings["upstream"][0]["max_connections"] = 7
        relay.write_config()
        self.assertEqual(0, relay.relayctl("reload").returncode)
        self.send_to_each(relay)
        self.main.wait_for(4)
        self.assertEqual(["swordfish-0"], self.endpoint.asked)
        relay.settings["upstream"][0]["oauth"]["scope"] = "mail"
        relay.write_config()
        self.assertEqual(0, relay.relayctl("reload").returncode)
        self.send_to_each(relay)
        self.main.wait_for(6)
        relay.wait_until_empty()
        self.assertEqual(["swordfish-0", "swordfish-1"], self.endpoint.asked)
        self.assert_well(relay)

    def test_a_grant_that_was_revoked_and_given_anew(self) -> None:
        """Both workers' lanes pause, and both go on by the file's new content."""
        relay = self.tokens()
        self.endpoint.is_revoked = True
        self.begin(relay)
        self.send_to_each(relay)
        relay.wait_for(2, "alarm", what="login at main")
        self.endpoint.is_revoked = False
        self.refresh_file.write_text(f"{self.endpoint.refresh_token}\n")
        self.main.wait_for(2)
        relay.wait_for(2, "alarm_over", what="login at main")
        relay.wait_until_empty()
        self.assertEqual(1, self.endpoint.most_at_once)

    def test_a_supervisor_that_hangs_keeps_nobody_waiting_while_the_token_is_good(self) -> None:
        relay = self.tokens()
        self.begin(relay)
        sessions = self.session_with_each(relay)
        for count in (2, 4):
            for session in sessions:
                session.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n")
            self.main.wait_for(count)
            relay.freeze()

    def test_a_live_check_of_two_hosts_shows_the_refresh_token_once(self) -> None:
        relay = self.tokens()
        self.endpoint.delay = 0.3
        relay.settings["upstream"][0]["hosts"].append(
            f"smtp://127.0.0.1:{self.upstream_with_auth().port}"
        )
        relay.write_config()
        told = relay.relayctl("check", "--live").stdout
        self.assertIn("as me@example.net, let in by XOAUTH2", told)
        self.assertEqual(["swordfish-0"], self.endpoint.asked)
        self.assert_well(relay)


class SlowEndpointTests(TokensCase):
    def test_mail_waits_and_nothing_else_does(self) -> None:
        other = self.collector()
        routes = [route("other", "*@example.com"), route("main")]
        relay = self.tokens(upstream("other", other.port), timeout="1s", routes=routes)
        self.endpoint.delay = 8.0
        self.begin(relay)
        self.send_to_each(relay)
        relay.wait_for(2, "delayed")
        wait_until(lambda: self.endpoint.under_way, "a request under way")
        began = time.monotonic()
        for number in range(10):
            send(relay.port, [f"{number}@example.com"])
        other.wait_for(10)
        self.assertEqual(0, relay.relayctl("status").returncode)
        self.assertLess(time.monotonic() - began, 5.0)
        self.assertEqual(1, self.endpoint.under_way)
        self.assertEqual([], self.main.kept)
        self.main.wait_for(2)
        relay.wait_until_empty()
        for fact in relay.facts("delayed"):
            self.assertEqual("4.7.0", fact["status"])
            self.assertIn("no access token from localhost: no answer in time", fact["reply"])
        self.assertEqual(["swordfish-0"], self.endpoint.asked)
        self.assert_well(relay)
