"""Failed authentications with several workers: counted together, shut out and let in everywhere."""

import os
import signal
import smtplib
from base64 import b64encode
from typing import Any

from tests.process.child import wait_until
from tests.process.relay_process import RelayProcess, upstream
from tests.process.test_workers import WorkersCase, worker_in, worker_pids

LISTENER = {"auth": "required", "auth_without_tls": True}
BOTH = ("0", "1")
MAX = 6


class ShutOutTests(WorkersCase):
    def relay(self, **auth: object) -> RelayProcess:
        auth = {"users": "users", "failure_delay": "0s", "max_failures": MAX, **auth}
        top = {"workers": 2, "auth": auth}
        relay = self.idle_relay(upstream("main", 9), listener=LISTENER, top=top)
        relay.add_user("tim", "secret")
        relay.launch()
        self.wait_until_ready(relay, 2)
        return relay

    def session(self, relay: RelayProcess, worker: str) -> smtplib.SMTP:
        """With that one: the kernel chooses, so until it does."""
        for _ in range(200):
            session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
            session.ehlo()
            client = f"127.0.0.1:{session.sock.getsockname()[1]}"  # type: ignore[union-attr]
            (fact,) = relay.wait_for(1, "connected", client=client)
            if worker_in(fact["session"]) == worker:
                self.addCleanup(session.close)
                return session
            session.close()
        raise AssertionError(f"no session with worker {worker}")

    def auth(self, session: smtplib.SMTP, password: str = "secret") -> int:
        code, _ = session.docmd(
            "AUTH", f"PLAIN {b64encode(f'{chr(0)}tim{chr(0)}{password}'.encode()).decode()}"
        )
        return code

    def try_at(self, relay: RelayProcess, worker: str, password: str = "secret") -> int:
        return self.auth(self.session(relay, worker), password)

    def shut_out(self, relay: RelayProcess) -> None:
        """By failures of which each worker sees half."""
        for number in range(MAX):
            self.assertEqual(535, self.try_at(relay, BOTH[number % 2], f"wrong {number}"))
        relay.wait_for(1, "shut_out")

    def wait_for_everywhere(self, relay: RelayProcess, code: int) -> None:
        for worker in BOTH:
            wait_until(
                lambda worker=worker: self.try_at(relay, worker) == code, f"{code} everywhere"
            )

    def told(self, relay: RelayProcess) -> dict[str, Any]:
        (told,) = self.json_of(relay, "status", "--json")
        return told

    def test_counted_together_and_shut_out_everywhere(self) -> None:
        relay = self.relay()
        self.shut_out(relay)
        self.wait_for_everywhere(relay, 421)
        (fact,) = relay.facts("shut_out")
        self.assertEqual(
            ("127.0.0.1", "lan", MAX), (fact["client"], fact["listener"], fact["failures"])
        )
        told = self.told(relay)
        (row,) = told["shut_out"]
        self.assertEqual(
            (1, "127.0.0.1", MAX), (told["shut_out_addresses"], row["shut_out"], row["failures"])
        )
        self.assertRegex(relay.relayctl("status").stdout, r"(?m)^127\.0\.0\.1 +6 +20")

    def test_the_same_wrong_password_is_one_failure_for_all(self) -> None:
        relay = self.relay(max_failures=2)
        for number in range(8):
            self.assertEqual(535, self.try_at(relay, BOTH[number % 2], "old"))
        for worker in BOTH:
            self.assertEqual(235, self.try_at(relay, worker))
        self.assertEqual([], relay.facts("shut_out"))

    def test_a_worker_that_is_started_again_knows(self) -> None:
        relay = self.relay()
        self.shut_out(relay)
        os.kill(worker_pids(relay)[0], signal.SIGKILL)
        relay.wait_for(1, "alarm_over", what="worker 0")
        for worker in BOTH:
            self.assertEqual(421, self.try_at(relay, worker))
        self.assertEqual(1, self.told(relay)["shut_out_addresses"])

    def test_its_end_is_everywhere(self) -> None:
        relay = self.relay(shut_out_for="8s")
        self.shut_out(relay)
        wait_until(lambda: not self.told(relay)["shut_out_addresses"], "the end of the shut-out")
        self.wait_for_everywhere(relay, 235)
        self.shut_out_again(relay)

    def shut_out_again(self, relay: RelayProcess) -> None:
        """All count from the beginning."""
        for number in range(MAX):
            self.assertEqual(535, self.try_at(relay, BOTH[number % 2], f"wrong {number}"))
        relay.wait_for(2, "shut_out", failures=MAX)

    def test_a_reload_forgets_nobody(self) -> None:
        relay = self.relay()
        self.shut_out(relay)
        relay.settings["auth"]["remember_for"] = "1m"
        relay.write_config()
        self.assertEqual(0, relay.relayctl("reload").returncode)
        self.wait_for_everywhere(relay, 421)
        relay.settings["auth"]["max_failures"] = MAX + 1
        relay.write_config()
        self.assertEqual(0, relay.relayctl("reload").returncode)
        self.wait_for_everywhere(relay, 235)
        self.assertEqual([], self.told(relay)["shut_out"])

    def test_a_supervisor_that_hangs_keeps_nobody_waiting(self) -> None:
        """Nor does it let one go on guessing: each worker has its own count."""
        relay = self.relay()
        sessions = {worker: self.session(relay, worker) for worker in BOTH}
        relay.freeze()
        for number in range(MAX):
            self.assertEqual(535, self.auth(sessions["0"], f"wrong {number}"))
        self.assertEqual(421, self.auth(sessions["0"]))
        self.assertEqual(235, self.auth(sessions["1"]))

    def test_a_worker_that_hangs_keeps_nobody_waiting_and_learns_it_later(self) -> None:
        relay = self.relay()
        late = self.session(relay, "1")
        other = self.session(relay, "0")
        pid = worker_pids(relay)[1]
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        for number in range(MAX):
            self.assertEqual(535, self.auth(other, f"wrong {number}"))
        relay.wait_for(1, "shut_out")
        self.assertEqual(421, self.auth(other))
        os.kill(pid, signal.SIGCONT)
        late.noop()
        self.wait_for_everywhere(relay, 421)
