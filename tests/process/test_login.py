"""A whole relay that logs in at its upstream, another relay; and what keeps it from starting."""

import pwd
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.interop.clients import by_smtplib
from tests.interop.tools import need_root
from tests.process.child import DEADLINE, free_port
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

_AUTHORITY = Authority()
CONTENT = b"Subject: x\r\nMessage-ID: <1@example.net>\r\n\r\nhello\r\n"


class LoginProcessTests(SynchronousTestCase):
    def relay(self, **settings: Any) -> RelayProcess:
        """Its upstream wants a login, whose password is in a file beside the config."""
        given = {"user": "tim", "password_file": "password", "tls": "verified", **settings}
        relay = RelayProcess([upstream("main", free_port(), **given)])
        self.addCleanup(relay.clean_up)
        self.password(relay, "pencil")
        return relay

    @staticmethod
    def password(relay: RelayProcess, text: str, mode: int = 0o600) -> Path:
        path = relay.folder / "password"
        path.write_text(f"{text}\n")
        path.chmod(mode)
        return path

    def refusal(self, relay: RelayProcess) -> str:
        self.assertEqual(relay.launch().wait(DEADLINE), 2)
        said = (relay.folder / "output").read_text()
        self.assertNotIn("Traceback", said)
        return said

    def test_secrets_that_cannot_be_used(self) -> None:
        relay = self.relay()
        path = self.password(relay, "pencil", 0o640)
        why = f"upstream[0].password_file: {path} can be read by others; run: chmod 600 {path}"
        self.assertIn(why, self.refusal(relay))
        path.unlink()
        self.assertIn(f"{path} cannot be read: No such file", self.refusal(relay))
        self.assertEqual(relay.relayctl("check").returncode, 2)

    def test_a_variable_that_is_not_set(self) -> None:
        relay = self.relay()
        settings = relay.settings["upstream"][0]
        relay.settings["upstream"] = [
            {k: v for k, v in settings.items() if k != "password_file"}
            | {"password_env": "RELAY_NO_SUCH_VARIABLE"}
        ]
        self.assertIn("RELAY_NO_SUCH_VARIABLE is not set", self.refusal(relay))

    def test_a_secret_that_the_later_user_cannot_read(self) -> None:
        need_root("switching users")
        nobody = pwd.getpwnam("nobody")
        relay = self.relay()
        relay.arguments = [f"--uid={nobody.pw_uid}", f"--gid={nobody.pw_gid}"]
        relay.folder.chmod(0o755)
        said = self.refusal(relay)
        path = relay.folder / "password"
        self.assertIn(f"{path} cannot be read by nobody; let it belong to that user", said)

    def test_warned_of_plain_text(self) -> None:
        relay = self.relay(tls="none", auth_without_tls=True)
        relay.start()
        said = (relay.folder / "output").read_text()
        self.assertIn("warning: upstream[0].auth_without_tls: credentials may go out", said)

    def test_relay_to_relay_with_workers(self) -> None:
        """This relay's client against its own server, several processes on one side."""
        collector = Collector()
        collector.start()
        self.addCleanup(collector.stop)
        certificates = {"certificate": "there.pem", "key": "there.key"}
        listener = {"tls": "required", "auth": "required", "relay_networks": []}
        there = RelayProcess(
            [upstream("main", collector.port)],
            listener={**listener, "certificates": [certificates]},
            top={"auth": {"users": "users"}},
        )
        self.addCleanup(there.clean_up)
        _AUTHORITY.issue("127.0.0.1").write(there.folder, "there")
        there.add_user("tim", "pencil")
        there.start()
        here = self.relay(ca_file=str(_AUTHORITY.write(there.folder)))
        here.settings["upstream"][0]["hosts"] = [f"smtp://127.0.0.1:{there.port}"]
        here.settings["workers"] = 2
        here.start()
        here.wait_for(1, "started", what="relay")  # all of it, and the operators' door
        for _ in range(4):
            by_smtplib(here.port, "a@example.net", ("b@example.org",), CONTENT, here.folder)
        self.assertEqual(len(collector.wait_for(4)), 4)
        (fact, *_) = there.wait_for(1, "authenticated")
        self.assertEqual((fact["user"], fact["mechanism"]), ("tim", "SCRAM-SHA-256"))
        self.assertIn("SCRAM-SHA-256", here.relayctl("status").stdout)
