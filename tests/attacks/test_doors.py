"""The operators' doors, control socket and admin port of a running relay, and who knocks."""

import os
import pwd
import socket
import subprocess

from tests.attacks.test_floods import MAX_GROWTH, SOCKET_BUFFERS, resident
from tests.interop.tools import need_root
from tests.process.child import free_port
from tests.process.relay_process import RelayProcess, upstream
from tests.process.through_relay import ThroughRelay

TOKEN = "a token of enough length"

_KNOCK = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"

REQUESTS = (
    b"",
    b"\r\n" * 1000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"EHLO client.example\r\n",
    b"GET /queue HTTP/1.1\r\nHost\r\n\r\n",
    b"GET /queue HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /queue?ids=%00%0d%0a%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /queue/remove HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n{}",
    b"POST /queue/remove HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n{}",
    b"POST /queue/remove HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n{}",
    b"POST /queue/remove HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /queue/remove HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 6\r\n\r\n[[[[[[",
    b"GET /queue HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
)

ENDLESS = (
    b"a" * 65536,
    b"GET /queue HTTP/1.1\r\n" + b"X: " + b"y" * 65000,
    b"X: y\r\n" * 10000,
)


class DoorTests(ThroughRelay):
    def begin(self) -> RelayProcess:
        self.port = free_port()
        relay = self.idle_relay(
            upstream("main", 2526),
            top={"admin": {"address": f"127.0.0.1:{self.port}", "token_file": "token"}},
        )
        token = relay.folder / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        relay.start()
        relay.wait_for(1, "started")
        return relay

    def check_after(self, relay: RelayProcess) -> None:
        self.assertTrue(relay.child.is_running)
        self.assertEqual([], relay.queue())
        self.assertNotIn("Traceback", relay.child.output)

    def ask(self, octets: bytes) -> bytes:
        """What comes back until the door is shut, or nothing more for a moment."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as session:
            try:
                session.sendall(octets)
                while part := session.recv(65536):
                    answer += part
            except OSError:
                pass
        return answer

    def test_no_malformed_request_opens(self) -> None:
        relay = self.begin()
        for octets in REQUESTS:
            with self.subTest(octets[:60]):
                answer = self.ask(octets)
                self.assertNotRegex(answer, rb"^HTTP/1\.[01] 2")
                self.assertNotIn(b"Traceback", answer)
        self.check_after(relay)

    def test_nothing_endless_is_read(self) -> None:
        relay = self.begin()
        size = resident(relay)
        for octets in ENDLESS:
            with (
                self.subTest(octets[:20]),
                socket.create_connection(("127.0.0.1", self.port), timeout=10) as session,
            ):
                sent = 0
                try:
                    while sent < 1 << 30:
                        session.sendall(octets)
                        sent += len(octets)
                except OSError:
                    pass
                self.assertLess(sent, SOCKET_BUFFERS)
        self.assertLess(resident(relay) - size, MAX_GROWTH)
        self.check_after(relay)

    def test_forged_hosts(self) -> None:
        """With the right token: a web page in the operator's browser would have neither."""
        relay = self.begin()
        request = "GET /queue HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n"
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "["):
            answer = self.ask(request.format(host, TOKEN).encode())
            self.assertNotRegex(answer, rb"^HTTP/1\.1 2", host)
        self.assertRegex(self.ask(request.format("127.0.0.1", "wrong").encode()), rb"^HTTP/1.1 401")
        self.assertRegex(self.ask(request.format("127.0.0.1", TOKEN).encode()), rb"^HTTP/1.1 200")
        self.check_after(relay)

    def test_other_users_do_not_reach_the_control_socket(self) -> None:
        """Though they could go through the folders before it."""
        need_root("another user's program")
        relay = self.begin()
        relay.folder.chmod(0o755)
        relay.spool.chmod(0o755)
        nobody = pwd.getpwnam("nobody")
        path = relay.spool / "control.sock"
        for user, is_let_in in ((nobody.pw_uid, False), (os.geteuid(), True)):
            done = subprocess.run(
                [os.path.realpath("/usr/bin/python3"), "-c", _KNOCK, str(path)],
                user=user,
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(is_let_in, done.returncode == 0, done.stderr)
            if not is_let_in:
                self.assertIn("PermissionError", done.stderr)
        self.check_after(relay)
