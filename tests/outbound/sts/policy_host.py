"""A domain's policy host: a real HTTPS server on loopback, which answers as a test says."""

from OpenSSL import crypto
from twisted.internet import reactor, ssl
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

ADDRESS = "127.0.0.7"

_POLICY = "version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}\n"


def policy(mode: str = "enforce", mx: str = "*.sts.test", max_age: int = 86400) -> str:
    return _POLICY.format(mode=mode, mx=mx, max_age=max_age)


class PolicyHost(Resource):
    """Serves at once, until the test ends. `asked`: host and path of each request."""

    isLeaf = True

    def __init__(self, case: TestCase, issued, text: str = "") -> None:
        super().__init__()
        self._case = case
        self.code, self.text, self.kind = 200, text or policy(), "text/plain; charset=utf-8"
        self.location = ""
        self.is_silent = False
        self.asked: list[str] = []
        self.port = 0
        self.serve(issued)

    def serve(self, issued) -> None:
        """With that certificate, on a port of its own, from now on."""
        contexts = ssl.CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(issued.key),
            certificate=crypto.X509.from_cryptography(issued.certificate),
        )
        port = reactor.listenSSL(0, Site(self), contexts, interface=ADDRESS)
        self.port = port.getHost().port
        self._case.addCleanup(port.stopListening)

    def render_GET(self, request):
        self.asked.append(f"{request.getHeader('host')}{request.path.decode()}")
        if self.is_silent:
            return NOT_DONE_YET
        request.setResponseCode(self.code)
        request.setHeader("content-type", self.kind)
        if self.location:
            request.setHeader("location", self.location)
        return self.text.encode()
