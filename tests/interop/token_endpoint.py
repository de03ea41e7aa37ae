"""An HTTPS token endpoint in a thread, by Python's own http.server: gives out JWTs for one user."""

import hashlib
import hmac
import json
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

KEY = b"known to the endpoint and to the mail server"


def jwt(user: str, life: float = 3600) -> str:
    """Signed with KEY (HS256)."""
    now = int(time.time())
    claims = {"sub": user, "email": user, "iat": now - 10, "nbf": now - 10, "exp": now + int(life)}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    text = b".".join(map(_encoded, parts))
    return b".".join((text, _encoded(hmac.digest(KEY, text, hashlib.sha256)))).decode()


def _encoded(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


class TokenEndpoint:
    """`tokens` are given out in their order, the last one for ever."""

    def __init__(self, certificate: Path, key: Path, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.asked = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                body = endpoint.answer()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self) -> bytes:
        self.asked += 1
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        return json.dumps({"access_token": token, "expires_in": 3600}).encode()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)
