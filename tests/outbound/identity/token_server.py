"""An HTTPS token endpoint, certified by the tests' authority, that answers as it is told."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from OpenSSL import crypto
from twisted.internet import reactor, ssl
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.certificates import Authority, Issued

AUTHORITY = Authority("Token root")
WEB = AUTHORITY.issue("localhost")


class TokenServer(Resource):
    """`answers` in their order, the last one for ever: a code and what is made JSON of, or octets;
    None: silence. `asked`: the forms."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[int, Any] | None] = [good()]
        self.before: Any = None  # called at each request
        self.delay = 0.0  # seconds until it answers
        self.asked: list[dict[str, str]] = []

    def render_POST(self, request: Any) -> Any:
        form = parse_qs(request.content.read().decode(), strict_parsing=True)
        self.asked.append({name: value for name, (value,) in form.items()})
        if self.before is not None:
            self.before()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            return NOT_DONE_YET
        code, body = answer
        request.setResponseCode(code)
        if code == 302:
            request.setHeader("location", "https://localhost/elsewhere")
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        if not self.delay:
            return octets
        deferLater(reactor, self.delay, request.write, octets).addCallback(
            lambda _: request.finish()
        )
        return NOT_DONE_YET


def good(token: str = "token-1", **more: Any) -> tuple[int, Any]:
    return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **more}


def refusal(error: str, about: str = "", code: int = 400) -> tuple[int, Any]:
    return code, {"error": error, "error_description": about}


def serve(case: Any, web: TokenServer, issued: Issued = WEB) -> str:
    """Its URL."""
    context = ssl.CertificateOptions(
        privateKey=crypto.PKey.from_cryptography_key(issued.key),
        certificate=crypto.X509.from_cryptography(issued.certificate),
    )
    port = case.reactor.listenSSL(0, Site(web), context, interface="127.0.0.1")
    case.addCleanup(port.stopListening)
    return f"https://localhost:{port.getHost().port}/token"


def write_private(folder: Path, name: str, text: str) -> str:
    """The path of a file that nobody else may read."""
    path = folder / name
    path.touch(0o600)
    path.write_text(text)
    return str(path)
