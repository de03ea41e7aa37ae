"""Clients of all kinds authenticate over STARTTLS and over implicit TLS, as submission is done."""

import subprocess

from tests.interop.auth_clients import MESSAGE, RECIPIENT, SENDER
from tests.interop.test_tls_clients import _ThroughTls
from tests.interop.tools import need, need_nodemailer
from tests.process.child import DEADLINE


class AuthTlsClientTests(_ThroughTls):
    listener = {"auth": "required", "relay_networks": []}
    top = {"auth": {"users": "users"}}
    users = (("tim", "secret"),)

    def check(self, *command: str, count: int) -> None:
        done = subprocess.run(
            command, input=MESSAGE.encode(), capture_output=True, timeout=DEADLINE, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        kept = self.collector.wait_for(count)[-1]
        self.assertIn(b" with ESMTPSA\r\n\t(TLSv1.", kept.content)
        accepted = self.relay.wait_for(count, "accepted", user="tim")[-1]
        self.assertTrue(accepted["tls"].startswith("TLSv1."))

    def test_swaks(self) -> None:
        for count, words in enumerate((["--tls"], ["--tls-on-connect"]), 1):
            port = self.implicit_port if count == 2 else self.relay.port
            command = [need("swaks"), "--server", f"127.0.0.1:{port}", *words, "--auth", "PLAIN"]
            command += ["--auth-user", "tim", "--auth-password", "secret"]
            self.check(*command, "--from", SENDER, "--to", RECIPIENT, count=count)

    def test_msmtp(self) -> None:
        for count, mechanism in enumerate(("plain", "login", "scram-sha-256"), 1):
            command = [need("msmtp"), "--file=/dev/null", "--host=localhost", f"--from={SENDER}"]
            command += [f"--port={self.relay.port}", "--tls=on", f"--auth={mechanism}"]
            command += [f"--tls-trust-file={self.trusted}", "--user=tim"]
            self.check(*command, "--passwordeval=echo secret", "--", RECIPIENT, count=count)

    def test_curl(self) -> None:
        (self.folder / "message").write_text(MESSAGE)
        for count, mechanism in enumerate(("PLAIN", "LOGIN"), 1):
            command = [need("curl"), "--silent", "--show-error", "--cacert", str(self.trusted)]
            command += [f"smtps://localhost:{self.implicit_port}", "--user", "tim:secret"]
            command += ["--login-options", f"AUTH={mechanism}", "--mail-from", SENDER]
            command += ["--mail-rcpt", RECIPIENT, "--upload-file", str(self.folder / "message")]
            self.check(*command, count=count)

    def test_nodemailer(self) -> None:
        node, packages = need_nodemailer()
        script = self.folder / "send.js"
        script.write_text(_NODEMAILER)
        for count, is_implicit in enumerate((False, True), 1):
            port = self.implicit_port if is_implicit else self.relay.port
            words = [str(script), packages, str(port), str(self.trusted), SENDER, RECIPIENT]
            self.check(node, *words, *(["implicit"] if is_implicit else []), count=count)


_NODEMAILER = """\
const [, , packages, port, authority, from, to, implicit] = process.argv;
const nodemailer = require(packages + "/nodemailer");
const transport = nodemailer.createTransport({
  host: "localhost", port: Number(port), secure: !!implicit, requireTLS: true,
  tls: { ca: require("fs").readFileSync(authority) },
  auth: { user: "tim", pass: "secret" },
});
transport
  .sendMail({ from, to, subject: "x", text: "hello" })
  .then((info) => console.log(info.response))
  .catch((error) => { console.error(String(error)); process.exitCode = 1; });
"""
