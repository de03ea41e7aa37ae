"""What the check tells of an upstream's login before anything connects."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Upstream
from relay.outbound.identity.making import problems
from tests.certificates import Authority
from tests.outbound.identity.token_server import write_private


class AuthoritiesTests(SynchronousTestCase):
    def problems(self, ca_file: Path) -> list[str]:
        oauth = {
            "grant": "refresh-token",
            "token_url": "https://127.0.0.1:1/",
            "client_id": "client",
            "refresh_token_file": write_private(self.folder, "refresh", "refresh-1"),
            "ca_file": str(ca_file),
        }
        settings = {"name": "up", "hosts": ("smtp://127.0.0.1:1",), "tls": "required"}
        upstream = Upstream.model_validate({**settings, "user": "me", "oauth": oauth})
        return list(problems([upstream]))

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_good(self) -> None:
        self.assertEqual([], self.problems(Authority().write(self.folder)))

    def test_what_would_trust_nobody_is_told(self) -> None:
        """By the check, not by each fetch of a token, nor as a defect."""
        file = self.folder / "authorities"
        damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for text in ("", "no certificate", damaged):
            file.write_text(text)
            [problem] = self.problems(file)
            self.assertIn(f"oauth.ca_file: {file}: holds no certificate", problem)
        [problem] = self.problems(self.folder / "nowhere")
        self.assertIn("oauth.ca_file", problem)
