"""A token endpoint in a thread of the test, over HTTPS, as strict as the strictest provider.

Each refresh token is good for one use. One that is shown again is taken for stolen: then none of
them is good any more (RFC 9700 4.14.2).
"""

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.certificates import Authority

AUTHORITY = Authority("Token root")


class RotatingEndpoint:
    """`life`: of its access tokens, in seconds; `delay`: of its answers, settable at any time."""

    def __init__(self, folder: Path, life: float = 3600.0, delay: float = 0.0) -> None:
        self.life = life
        self.delay = delay
        self.refresh_token = "swordfish-0"
        self.is_revoked = False
        self.asked: list[str] = []  # the refresh tokens that were shown
        self.given: list[str] = []  # access tokens
        self.under_way = self.most_at_once = 0
        self._lock = threading.Lock()
        certificate, key = AUTHORITY.issue("localhost").write(folder, "token-endpoint")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = _Server(self)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_address[1]}/token"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, shown: str) -> tuple[int, dict[str, Any]]:
        """The token is rotated at once; that is told after `delay`."""
        with self._lock:
            self.asked.append(shown)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            self.is_revoked = self.is_revoked or shown != self.refresh_token
            if not self.is_revoked:
                number = len(self.asked)
                self.refresh_token = f"swordfish-{number}"
                self.given.append(f"pencil-{number}")
            told = self._told()
        time.sleep(self.delay)
        with self._lock:
            self.under_way -= 1
        return told

    def _told(self) -> tuple[int, dict[str, Any]]:
        if self.is_revoked:
            return 400, {"error": "invalid_grant", "error_description": "it was used before"}
        access, refresh = self.given[-1], self.refresh_token
        return 200, {"access_token": access, "expires_in": self.life, "refresh_token": refresh}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, endpoint: RotatingEndpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = endpoint

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever does not wait for the answer."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        endpoint = self.server.endpoint  # type: ignore[attr-defined]
        code, told = endpoint.answer(form["refresh_token"][0])
        octets = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", f"{len(octets)}")
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing."""
