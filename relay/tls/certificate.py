"""What is wrong with a host's certificate, in plain words. Opens no file and no socket."""

from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)

MAX_NAMES = 3
"""Names of a certificate that are told: it may bear hundreds."""

_NOT_YET_VALID = 9
_EXPIRED = 10
_SELF_SIGNED = (18, 19)
_NO_ISSUER = (2, 20, 21)
_WRONG_PURPOSE = 26
_TOO_WEAK = (66, 67, 68)


def chain_words(error: int, certificate: x509.Certificate) -> str:
    """`error`: OpenSSL's X509_V_ERR_... of that certificate."""
    if error == _EXPIRED:
        return f"certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if error == _NOT_YET_VALID:
        return f"certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if error in _SELF_SIGNED:
        return "certificate is self-signed, by nobody that is trusted"
    if error in _NO_ISSUER:
        issuer = _common_name(certificate.issuer)
        return f"certificate is signed by {issuer}, which is not trusted"
    if error == _WRONG_PURPOSE:
        return "certificate is not for a server"
    if error in _TOO_WEAK:
        return "certificate's key or signature is too weak"
    return f"certificate is not trusted (OpenSSL's error {error})"


def is_for(certificate: x509.Certificate, name: str, *, is_address: bool) -> bool:
    """Whether it bears this host name or IP address (RFC 6125)."""
    verify = verify_certificate_ip_address if is_address else verify_certificate_hostname
    try:
        verify(certificate, name)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def names_of(certificate: x509.Certificate) -> str:
    """Whom it is for, as it says."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = [*extension.value.get_values_for_type(x509.DNSName)]
        names += map(str, extension.value.get_values_for_type(x509.IPAddress))
    except (x509.ExtensionNotFound, ValueError):
        names = []
    if not names:
        return f"{_common_name(certificate.subject)}, without a host name"
    more = ", ..." if len(names) > MAX_NAMES else ""
    return _as_printable(", ".join(names[:MAX_NAMES]) + more)


def issuer_of(certificate: x509.Certificate) -> str:
    """Who signed it, as it says."""
    return _common_name(certificate.issuer)


def _common_name(name: x509.Name) -> str:
    parts = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME) or list(name)
    return _as_printable(str(parts[0].value)) if parts else "nobody"


def _as_printable(text: str) -> str:
    """A peer wrote it."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
