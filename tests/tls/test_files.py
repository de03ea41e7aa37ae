"""The look at the files before the start."""

import os
import pwd
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from relay.config.listener import Certificate, Listener
from relay.config.schema import Settings
from relay.config.upstream import Upstream
from relay.tls.files import problems, unreadable_later, warnings
from tests.certificates import Authority
from tests.interop.tools import need_root


class FilesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(mkdtemp(prefix="relay-tls-files-"))
        self.addCleanup(self._clean_up)
        self.authority = Authority()
        self.chain, self.key = self.authority.issue("relay.example").write(self.folder)

    def _clean_up(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def listeners(self, **keys: object) -> list[Listener]:
        pair = Certificate(certificate=self.chain, key=self.key)
        values = {"tls": "starttls", "certificates": (pair,), **keys}
        plain = Listener(name="plain", address="127.0.0.1:0")
        return [plain, Listener.model_validate({"name": "a", "address": "127.0.0.1:0", **values})]


class ProblemTests(FilesCase):
    def test_none(self) -> None:
        ca = self.authority.write(self.folder)
        self.assertEqual([], problems(self.listeners(client_ca=ca)))

    def test_each_with_its_key(self) -> None:
        self.key.write_bytes(b"no key")
        self.assertEqual(
            [
                f"listener[1].certificates[0]: {self.key}: holds no private key that can be read "
                "(PEM)",
                "listener[1].client_ca: /nowhere: cannot be read: No such file or directory",
            ],
            problems(self.listeners(client_ca=Path("/nowhere"))),
        )


class WarningTests(FilesCase):
    def test_none(self) -> None:
        self.assertEqual([], warnings(self.listeners()))

    def test_expired(self) -> None:
        self.authority.issue("a.example", valid_until=-timedelta(hours=1)).write(self.folder)
        (warning,) = warnings(self.listeners())
        self.assertIn(f"{self.chain} has expired on 20", warning)


class LaterTests(FilesCase):
    """Whether the user that twistd becomes can read them."""

    def settings(self, *upstreams: Upstream) -> Settings:
        return Settings.model_construct(listeners=tuple(self.listeners()), upstreams=upstreams)

    def unreadable(self) -> list[str]:
        need_root("switching users")
        nobody = pwd.getpwnam("nobody")
        return unreadable_later(self.settings(), nobody.pw_uid, None)

    def test_a_folder_that_is_closed(self) -> None:
        self.assertEqual(
            [f"listener[1]: {path} cannot be read by nobody" for path in (self.chain, self.key)],
            self.unreadable(),
        )

    def test_a_key_of_root_alone(self) -> None:
        self.folder.chmod(0o755)
        self.assertEqual([f"listener[1]: {self.key} cannot be read by nobody"], self.unreadable())

    def test_a_key_for_the_group(self) -> None:
        self.folder.chmod(0o755)
        os.chown(self.key, 0, pwd.getpwnam("nobody").pw_gid)
        self.key.chmod(0o640)
        self.assertEqual([], self.unreadable())

    def test_what_upstreams_need(self) -> None:
        """A client certificate, authorities, and those of a token's endpoint."""
        nobody = pwd.getpwnam("nobody")
        self.folder.chmod(0o755)
        self.key.chmod(0o644)
        files = [self.folder / name for name in ("ca", "shown", "token-ca")]
        for path in files:
            path.write_text("")
            path.chmod(0o600)
        oauth = {"grant": "client-credentials", "token_url": "https://a.example/token"}
        upstream = Upstream.model_validate(
            {
                "name": "main",
                "hosts": ("smtps://a.example",),
                "user": "tim",
                "ca_file": files[0],
                "client_certificate": files[1],
                "oauth": oauth | {"client_id": "me", "ca_file": files[2]},
            }
        )
        self.assertEqual(
            [f"upstream[0]: {path} cannot be read by nobody" for path in files],
            unreadable_later(self.settings(upstream), nobody.pw_uid, None),
        )

    def test_a_user_without_a_name(self) -> None:
        need_root("switching users")
        (first, _) = unreadable_later(self.settings(), 54321, 54321)
        self.assertIn("cannot be read by user 54321", first)
