"""Clients that others wrote, authenticating by one mechanism; what they say where it fails."""

import smtplib
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.interop.tools import need, need_nodemailer
from tests.process.child import DEADLINE

SENDER, RECIPIENT = "sender@example.net", "one@example.org"
MESSAGE = f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: x\n\nhello\n"

Send = Callable[[int, str, str, str, Path], bool]
"""Port, mechanism, user, password, a folder to use; whether it was sent."""


def by_smtplib(port: int, mechanism: str, user: str, password: str, folder: Path) -> bool:
    with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as session:
        session.ehlo()
        session.user, session.password = user, password
        authenticate = getattr(session, f"auth_{mechanism.lower()}")
        try:
            session.auth(mechanism, authenticate)
            session.sendmail(SENDER, [RECIPIENT], MESSAGE)
        except smtplib.SMTPAuthenticationError as error:
            assert error.smtp_code == 535, error
            return False
    return True


def by_swaks(port: int, mechanism: str, user: str, password: str, folder: Path) -> bool:
    command = [need("swaks"), "--server", f"127.0.0.1:{port}", "--from", SENDER]
    command += ["--to", RECIPIENT, "--auth", mechanism]
    return _is_sent([*command, "--auth-user", user, "--auth-password", password])


def by_msmtp(port: int, mechanism: str, user: str, password: str, folder: Path) -> bool:
    (folder / "password").write_text(password)
    command = [need("msmtp"), "--file=/dev/null", "--host=127.0.0.1", f"--port={port}"]
    command += ["--tls=off", f"--auth={mechanism.lower()}", f"--user={user}", f"--from={SENDER}"]
    return _is_sent([*command, f"--passwordeval=cat {folder / 'password'}", "--", RECIPIENT])


def by_curl(port: int, mechanism: str, user: str, password: str, folder: Path) -> bool:
    (folder / "message").write_text(MESSAGE)
    command = [need("curl"), "--silent", "--show-error", f"smtp://127.0.0.1:{port}/client.example"]
    command += ["--mail-from", SENDER, "--mail-rcpt", RECIPIENT]
    command += ["--upload-file", str(folder / "message"), "--login-options", f"AUTH={mechanism}"]
    return _is_sent([*command, "--user", f"{user}:{password}"])


def by_nodemailer(port: int, mechanism: str, user: str, password: str, folder: Path) -> bool:
    node, packages = need_nodemailer()
    script = folder / "send.js"
    script.write_text(_NODEMAILER)
    words = [packages, str(port), mechanism, user, password, SENDER, RECIPIENT]
    return _is_sent([node, str(script), *words])


_NODEMAILER = """\
const [, , packages, port, authMethod, user, pass, from, to] = process.argv;
const nodemailer = require(packages + "/nodemailer");
const transport = nodemailer.createTransport({
  host: "127.0.0.1", port: Number(port), secure: false, ignoreTLS: true,
  auth: { user, pass }, authMethod,
});
transport
  .sendMail({ from, to, subject: "x", text: "hello" })
  .then((info) => console.log(info.response))
  .catch((error) => { console.error(String(error)); process.exitCode = 1; });
"""


def _is_sent(command: list[str]) -> bool:
    """False where the server refused the password; whatever else went wrong is raised."""
    done = subprocess.run(
        command, input=MESSAGE.encode(), capture_output=True, timeout=DEADLINE, check=False
    )
    if not done.returncode:
        return True
    said = (done.stdout + done.stderr).decode(errors="replace")
    if not any(word in said for word in ("535", "Login denied", "uthentication failed")):
        raise AssertionError(f"{command[0]} ended with {done.returncode}:\n{said}")
    return False
