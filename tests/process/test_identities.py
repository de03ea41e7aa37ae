"""A whole relay whose users authenticate, each with another identity at the upstream."""

import smtplib
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from tests.process.collector import KEYWORDS, Collector
from tests.process.relay_process import RelayProcess, upstream
from tests.process.test_workers import WorkersCase

LISTENER = {"auth": "required", "auth_without_tls": True, "relay_networks": []}
IDENTITIES = {"tim": "printers@example.net", "ann": "billing@example.net"}


class IdentityByUserTests(WorkersCase):
    def relay_of(self, workers: int, main: Collector, **settings: Any) -> RelayProcess:
        """tim and ann have identities, zoe has none."""
        own = {"tls": "none", "auth_without_tls": True, **settings}
        identities = [
            {"name": name, "users": [name], "user": user, "password_file": f"{name}.password"}
            for name, user in IDENTITIES.items()
        ]
        relay = self.idle_relay(
            upstream("main", main.port, **own, identity=identities),
            listener=LISTENER,
            top={"workers": workers, "auth": {"users": "users", "failure_delay": "0s"}},
        )
        for name in ("tim", "ann", "other"):
            path = relay.folder / f"{name}.password"
            path.touch(0o600)
            path.write_text(f"out-{name}\n")
        for name in ("tim", "ann", "zoe"):
            relay.add_user(name, f"in-{name}")
        relay.start()
        return relay

    def main(self) -> Collector:
        main = Collector(keywords=(*KEYWORDS, "AUTH PLAIN"))
        main.answer("AUTH", "235 2.7.0 in")
        main.start()
        self.addCleanup(main.stop)
        return main

    def send_as(self, relay: RelayProcess, names: Sequence[str]) -> None:
        for name in names:
            with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
                session.login(name, f"in-{name}")
                session.sendmail(f"{name}@example.net", ["b@example.org"], b"Subject: x\r\n")

    def logins(self, main: Collector) -> set[tuple[str, str]]:
        """By sender: who sent it, and as whom the relay logged in."""
        return {(kept.sender, _plain(kept.auth)) for kept in main.kept}

    def test_each_user_goes_out_as_an_identity_of_its_own(self) -> None:
        for workers in (1, 2):
            main = self.main()
            own = {"user": "other@example.net", "password_file": "other.password"}
            relay = self.relay_of(workers, main, **own)
            self.send_as(relay, ("tim", "ann", "zoe") * 4)
            main.wait_for(12)
            wanted = {
                ("tim@example.net", "printers@example.net out-tim"),
                ("ann@example.net", "billing@example.net out-ann"),
                ("zoe@example.net", "other@example.net out-other"),
            }
            self.assertEqual(wanted, self.logins(main))
            relay.wait_until_empty()
            hosts = {row["upstream"] for row in self.json_of(relay, "status", "--json")[0]["hosts"]}
            self.assertEqual({"main", "main:tim", "main:ann"}, hosts)

    def test_the_user_is_known_after_a_restart(self) -> None:
        """Mail that waited goes by its user's identity still, and nobody's refusal is another's."""
        main = self.main()
        main.answer("MAIL", "451 4.3.0 not now", argument="FROM:<tim@*")
        relay = self.relay_of(1, main, user="other@example.net", password_file="other.password")
        self.send_as(relay, ("tim", "ann"))
        main.wait_for(1)
        relay.wait_for(1, "delayed")
        relay.stop()
        main.forget_answers()
        main.answer("AUTH", "235 2.7.0 in")
        relay.launch().wait_for_port(relay.port)
        main.wait_for(2)
        self.assertIn(("tim@example.net", "printers@example.net out-tim"), self.logins(main))

    def test_one_refused_identity_holds_up_no_other(self) -> None:
        main = self.main()
        refused = "PLAIN AHByaW50ZXJz*"  # \0printers...
        main.forget_answers()
        main.answer("AUTH", "535 5.7.8 no", argument=refused)
        main.answer("AUTH", "235 2.7.0 in")
        relay = self.relay_of(1, main)
        self.send_as(relay, ("tim", "ann"))
        main.wait_for(1)
        relay.wait_for(1, "alarm", what="login at main:tim")
        self.assertEqual({("ann@example.net", "billing@example.net out-ann")}, self.logins(main))
        (waiting,) = relay.queue()
        self.assertEqual("tim@example.net", waiting["reverse_path"])


def _plain(argument: str) -> str:
    """Name and password of AUTH PLAIN's argument."""
    _, name, password = b64decode(argument.split()[1]).decode().split("\0")
    return f"{name} {password}"
