"""Clients that others wrote, each as one call that sends a message and raises where it fails.

`content` has CRLF line ends; each client gets it the way its users would give it.
"""

import smtplib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.interop.tools import need, need_nodemailer
from tests.process.child import DEADLINE

Send = Callable[[int, str, Sequence[str], bytes, Path], None]
"""Port, sender, recipients, content, a folder to use."""


def by_smtplib(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    options = [] if content.isascii() else ["BODY=8BITMIME"]
    with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as session:
        session.sendmail(sender, recipients, content, mail_options=options)


def by_swaks(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    file = _file(folder, content.replace(b"\r\n", b"\n"))
    command = [need("swaks"), "--server", f"127.0.0.1:{port}", "--from", sender]
    command += ["--to", ",".join(recipients), "--data", f"@{file}", "--no-strip-from"]
    _run(command)


def by_curl(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    """A file with LF, sent as it is: bare newlines are what many scripts really send."""
    file = _file(folder, content.replace(b"\r\n", b"\n"))
    _run([*_curl(port, sender, recipients), "--upload-file", str(file)])


def by_curl_with_crlf(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    file = _file(folder, content.replace(b"\r\n", b"\n"))
    _run([*_curl(port, sender, recipients), "--crlf", "--upload-file", str(file)])


def by_msmtp(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    command = [need("msmtp"), "--file=/dev/null", "--host=127.0.0.1", f"--port={port}"]
    command += ["--tls=off", "--auth=off", f"--from={sender}", "--set-date-header=off"]
    command += ["--set-from-header=off", "--set-msgid-header=off", "--", *recipients]
    _run(command, content.replace(b"\r\n", b"\n"))


def by_nodemailer(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    node, packages = need_nodemailer()
    script = _file(folder, _NODEMAILER.encode(), "send.js")
    file = _file(folder, content)
    _run([node, str(script), packages, str(port), str(file), sender, *recipients])


def by_smtp_source(
    port: int, sender: str, recipients: Sequence[str], content: bytes, folder: Path
) -> None:
    """One recipient alone: it makes up the names of further ones."""
    file = _file(folder, content.replace(b"\r\n", b"\n"))
    command = [need("smtp-source"), "-F", str(file), "-f", sender, "-t", recipients[0]]
    _run([*command, f"127.0.0.1:{port}"])


_NODEMAILER = """\
const [, , packages, port, file, from, ...to] = process.argv;
const nodemailer = require(packages + "/nodemailer");
const transport = nodemailer.createTransport({
  host: "127.0.0.1", port: Number(port), secure: false, ignoreTLS: true,
});
transport
  .sendMail({ envelope: { from, to }, raw: { path: file } })
  .then((info) => console.log(info.response))
  .catch((error) => { console.error(String(error)); process.exitCode = 1; });
"""


def _curl(port: int, sender: str, recipients: Sequence[str]) -> list[str]:
    command = [need("curl"), "--silent", "--show-error", f"smtp://127.0.0.1:{port}/client.example"]
    command += ["--mail-from", sender]
    for recipient in recipients:
        command += ["--mail-rcpt", recipient]
    return command


def _file(folder: Path, octets: bytes, name: str = "message") -> Path:
    path = folder / name
    path.write_bytes(octets)
    return path


def _run(command: Sequence[str], content: bytes = b"") -> None:
    done = subprocess.run(
        command, input=content, capture_output=True, timeout=DEADLINE, check=False
    )
    if done.returncode:
        text = (done.stdout + done.stderr).decode(errors="replace")
        raise AssertionError(f"{command[0]} ended with {done.returncode}:\n{text}")
