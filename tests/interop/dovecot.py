"""Dovecot's LMTP server as a peer, in a folder of its own: with STARTTLS, and a mailbox for anyone.

Listens on loopback alone, and goes with `clean_up`.
"""

import shutil
import tempfile
from pathlib import Path

from tests.interop.tools import need, need_root
from tests.process.child import Child, free_port

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = lmtp
default_internal_user = dovecot
default_login_user = dovenull
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
mail_location = maildir:{folder}/mail/%u
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
passdb {{
  driver = static
  args = nopassword=y
}}
first_valid_uid = 0
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
    ssl = no
  }}
}}
"""


class Dovecot:
    """Takes mail for every recipient. `certificate` and `key` are PEM files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._program = need("dovecot")
        need_root("Dovecot")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-dovecot-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        (self.folder / "mail").mkdir()
        shutil.chown(self.folder / "mail", "mail", "mail")
        config = _CONFIG.format(
            folder=self.folder, certificate=certificate, key=key, port=self.port
        )
        (self.folder / "dovecot.conf").write_text(config)
        self._child: Child | None = None

    def start(self) -> None:
        command = [self._program, "-F", "-c", str(self.folder / "dovecot.conf")]
        self._child = Child(command, self.folder / "output")
        self._child.wait_for_port(self.port)

    def kept(self, user: str) -> list[bytes]:
        """The messages in a mailbox; Dovecot's own fields stand in front, lines end in LF."""
        return [path.read_bytes() for path in (self.folder / "mail" / user).glob("new/*")]

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def clean_up(self) -> None:
        if self._child is not None:
            self._child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
