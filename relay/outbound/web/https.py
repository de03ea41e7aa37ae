"""What HTTPS requests of ours have in common: whom they trust, and a limit on what comes back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from relay.tls.certificates import CertificateUnusable, read_certificates
from relay.tls.client import TlsUnusable
from relay.tls.trouble import handshake_trouble

MAX_WHY = 200  # characters of what a host or a library said


class NotFetched(Exception):
    """Why there is no answer."""


def authorities(file: Path) -> Any:
    """Those in a PEM file, as a trust root. Raises TlsUnusable."""
    try:
        found = read_certificates(file)
    except CertificateUnusable as error:
        raise TlsUnusable(str(error)) from None
    in_pem = (each.public_bytes(Encoding.PEM) for each in found)
    return trustRootFromCertificates([Certificate.loadPEM(each) for each in in_pem])


class Body(Protocol):
    """Collects a response's body of at most `limit` octets; ends the connection where it is larger,
    or not waited for any more. `has_ended_whole`: asked where the connection's end is the body's.
    `done` fails with NotFetched."""

    def __init__(self, what: str, limit: int, has_ended_whole: Callable[[], bool]) -> None:
        self._what = what
        self._limit = limit
        self._has_ended_whole = has_ended_whole
        self._octets = b""
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if len(self._octets) > self._limit:
            self._octets = b""
            self._end(NotFetched(f"{self._what} is larger than {self._limit} octets"))
            self._abort()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """RFC 9112 9.8: of what has no length only TLS's closure tells that it is whole."""
        is_whole = reason is not None and reason.check(ResponseDone)
        if reason is not None and reason.check(PotentialDataLoss):
            is_whole = self._has_ended_whole()
        self._end(None if is_whole else NotFetched("the answer was cut off"))

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def _end(self, trouble: NotFetched | None) -> None:
        if self.done.called:
            return
        if trouble is None:
            self.done.callback(self._octets)
        else:
            self.done.errback(trouble)


def as_not_fetched(reason: Failure) -> Failure:
    """An errback: whatever went wrong, in words."""
    if reason.check(NotFetched):
        return reason
    inner: list[Failure] = getattr(reason.value, "reasons", None) or [reason]
    error = inner[0].value
    if isinstance(error, SSL.Error):
        return Failure(NotFetched(handshake_trouble(error)))
    is_late = isinstance(error, TimeoutError | CancelledError | ConnectingCancelledError)
    why = "no answer in time" if is_late else _in_words(error)
    return Failure(NotFetched(why[:MAX_WHY]))


def _in_words(error: BaseException | None) -> str:
    if isinstance(error, VerificationError):
        return "its certificate is for another name"
    return str(error) or type(error).__name__
