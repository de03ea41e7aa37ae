"""Dovecot as the SASL server of a Postfix: users with plain passwords, and any mechanism of its.

Listens on a socket in a folder of its own, and goes with `clean_up`.
"""

import shutil
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from tests.interop.tools import need, need_root
from tests.process.child import Child, wait_until

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols =
default_internal_user = dovecot
default_login_user = dovenull
ssl = no
auth_verbose = yes
auth_failure_delay = 0
auth_mechanisms = {mechanisms}
disable_plaintext_auth = no
{passdb}
userdb {{
  driver = static
  args = uid=mail gid=mail home=/nowhere
}}
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
"""

_PASSWD_FILE = """\
passdb {{
  driver = passwd-file
  args = {folder}/users
}}"""


_OAUTH2 = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}"""

_LOCAL = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={folder}/keys/
username_attribute = email
"""


class DovecotAuth:
    """`socket`: for Postfix's smtpd_sasl_path. With `token_key` users show JWTs that were signed
    with it (HS256), in the place of passwords."""

    def __init__(
        self, users: Mapping[str, str], mechanisms: str = "plain login", token_key: bytes = b""
    ) -> None:
        self._program = need("dovecot")
        need_root("Dovecot")
        self.folder = Path(tempfile.mkdtemp(prefix="relay-dovecot-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.socket = self.folder / "auth"
        self.set_users(users)
        if token_key:
            self._set_token_key(token_key)
        passdb = (_OAUTH2 if token_key else _PASSWD_FILE).format(folder=self.folder)
        config = _CONFIG.format(folder=self.folder, mechanisms=mechanisms, passdb=passdb)
        (self.folder / "dovecot.conf").write_text(config)
        self._child: Child | None = None

    def _set_token_key(self, key: bytes) -> None:
        place = self.folder / "keys" / "default" / "HS256"
        place.mkdir(parents=True)
        (place / "default").write_bytes(b64encode(key))
        (self.folder / "oauth2.conf").write_text(_LOCAL.format(folder=self.folder))

    def set_users(self, users: Mapping[str, str]) -> None:
        lines = [f"{name}:{{PLAIN}}{password}\n" for name, password in users.items()]
        (self.folder / "users").write_text("".join(lines))
        (self.folder / "users").chmod(0o644)

    def start(self) -> None:
        command = [self._program, "-F", "-c", str(self.folder / "dovecot.conf")]
        self._child = Child(command, self.folder / "output")
        wait_until(self.socket.exists, f"Dovecot's socket\n{self.log}")

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def settings(self) -> dict[str, str]:
        """Of a Postfix that takes mail from who authenticates under TLS, and from nobody else."""
        return {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(self.socket),
            "smtpd_tls_auth_only": "yes",
            "smtpd_sasl_authenticated_header": "yes",
            "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
        }

    def clean_up(self) -> None:
        if self._child is not None:
            self._child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
