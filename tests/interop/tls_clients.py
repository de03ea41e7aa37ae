"""TLS clients that others wrote, each as one call that sends a message and raises where it fails.

All verify the certificate of "localhost" by `authority`. `is_implicit`: TLS from the first octet,
else STARTTLS is demanded.
"""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.interop.clients import _file, _run
from tests.interop.tools import need, need_nodemailer
from tests.process.child import DEADLINE


@dataclass(frozen=True)
class Errand:
    """What is sent where. `content` has CRLF line ends."""

    port: int
    is_implicit: bool
    authority: Path
    sender: str
    recipient: str
    content: bytes
    folder: Path

    @property
    def message(self) -> Path:
        return _file(self.folder, self.content.replace(b"\r\n", b"\n"))


Send = Callable[[Errand], None]


def by_swaks(errand: Errand) -> None:
    command = [need("swaks"), "--server", f"localhost:{errand.port}", "--from", errand.sender]
    command += ["--to", errand.recipient, "--data", f"@{errand.message}", "--no-strip-from"]
    command += ["--tls-on-connect"] if errand.is_implicit else ["--tls"]
    command += ["--tls-verify", "--tls-ca-path", str(errand.authority)]
    _run(command)


def by_curl(errand: Errand) -> None:
    scheme = "smtps" if errand.is_implicit else "smtp"
    command = [need("curl"), "--silent", "--show-error", "--ssl-reqd", "--crlf"]
    command += ["--cacert", str(errand.authority), "--mail-from", errand.sender]
    command += ["--mail-rcpt", errand.recipient, "--upload-file", str(errand.message)]
    _run([*command, f"{scheme}://localhost:{errand.port}/client.example"])


def by_msmtp(errand: Errand) -> None:
    command = [need("msmtp"), "--file=/dev/null", "--host=localhost", f"--port={errand.port}"]
    command += ["--auth=off", "--tls=on", f"--tls-starttls={'off' if errand.is_implicit else 'on'}"]
    command += [f"--tls-trust-file={errand.authority}", f"--from={errand.sender}"]
    command += ["--set-date-header=off", "--set-from-header=off", "--set-msgid-header=off"]
    _run([*command, "--", errand.recipient], errand.content.replace(b"\r\n", b"\n"))


def by_nodemailer(errand: Errand) -> None:
    node, packages = need_nodemailer()
    script = _file(errand.folder, _NODEMAILER.encode(), "send.js")
    file = _file(errand.folder, errand.content)
    secure = "true" if errand.is_implicit else "false"
    command = [node, str(script), packages, str(errand.port), secure, str(errand.authority)]
    _run([*command, str(file), errand.sender, errand.recipient])


_NODEMAILER = """\
const [, , packages, port, secure, authority, file, from, to] = process.argv;
const nodemailer = require(packages + "/nodemailer");
const transport = nodemailer.createTransport({
  host: "localhost", port: Number(port), secure: secure === "true", requireTLS: true,
  tls: { ca: require("fs").readFileSync(authority) },
});
transport
  .sendMail({ envelope: { from, to: [to] }, raw: { path: file } })
  .then((info) => console.log(info.response))
  .catch((error) => { console.error(String(error)); process.exitCode = 1; });
"""


def s_client(port: int, *options: str, is_implicit: bool = False, says: bytes = b"") -> str:
    """What `openssl s_client -brief` prints; it says QUIT at the end."""
    command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-brief"]
    command += [] if is_implicit else ["-starttls", "smtp"]
    done = subprocess.run(
        [*command, "-ign_eof", *options],
        input=says + b"QUIT\r\n",
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


OLD = ("-cipher", "DEFAULT@SECLEVEL=0")
"""Lets this machine's OpenSSL try TLS 1.0 and 1.1 at all."""


def offered(port: int, *, is_implicit: bool = False) -> Sequence[str]:
    """The TLS versions that a server takes, of those that OpenSSL knows."""
    tried = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
    return [
        version
        for version, option in tried.items()
        if f"Protocol version: {version}\n" in s_client(port, option, *OLD, is_implicit=is_implicit)
    ]
