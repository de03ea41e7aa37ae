"""A certificate authority for tests: issues certificates with their keys and writes them as files.

Keys are on the curve P-256, made in a millisecond; RSA where a test asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

YEAR = timedelta(days=365)

_MAY_SIGN = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the certificates between it and the root (not the root)."""

    certificate: x509.Certificate
    key: Key
    between: tuple[x509.Certificate, ...] = ()

    @property
    def chain_pem(self) -> bytes:
        """The certificate first, then those above it."""
        return b"".join(pem_of(each) for each in (self.certificate, *self.between))

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def encrypted_key_pem(self, passphrase: bytes) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase),
        )

    def write(self, folder: Path, name: str = "host") -> tuple[Path, Path]:
        """NAME.pem (the chain) and NAME.key; the key is for its owner alone."""
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.chain_pem)
        key.touch(0o600)
        key.write_bytes(self.key_pem)
        return chain, key


class Authority:
    """Issues certificates. `above`: the authority that issued its own; None: a root."""

    def __init__(self, name: str = "Test CA", above: "Authority | None" = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self._between: tuple[x509.Certificate, ...] = ()
        issuer = self if above is None else above
        builder = (
            _builder(self.name, issuer.name, self.key, issuer.key, -YEAR, YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_MAY_SIGN, critical=True)
        )
        self.certificate = builder.sign(issuer.key, hashes.SHA256())
        if above is not None:
            self._between = (self.certificate, *above._between)

    @property
    def pem(self) -> bytes:
        return pem_of(self.certificate)

    def write(self, folder: Path, name: str = "ca") -> Path:
        path = folder / f"{name}.pem"
        path.write_bytes(self.pem)
        return path

    def issue(
        self,
        *names: str,
        emails: Sequence[str] = (),
        common_name: str = "",
        valid_from: timedelta = -timedelta(days=1),
        valid_until: timedelta = YEAR,
        is_rsa: bool = False,
        issued_by_key: Key | None = None,
    ) -> Issued:
        """`names`: host names and IP addresses; times count from now.

        `issued_by_key` in the place of the authority's own: a forgery.
        """
        key: Key = (
            rsa.generate_private_key(65537, 2048)
            if is_rsa
            else ec.generate_private_key(ec.SECP256R1())
        )
        subject = _name(common_name or (names or tuple(emails) or ("nobody",))[0])
        builder = _builder(subject, self.name, key, self.key, valid_from, valid_until)
        alternatives = [*map(_general_name, names), *map(x509.RFC822Name, emails)]
        if alternatives:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        certificate = builder.sign(issued_by_key or self.key, hashes.SHA256())
        return Issued(certificate, key, self._between)


def self_signed(*names: str) -> Issued:
    """One that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(names[0])
    builder = _builder(name, name, key, key, -timedelta(days=1), YEAR).add_extension(
        x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    issuer_key: Key,
    valid_from: timedelta,
    valid_until: timedelta,
) -> x509.CertificateBuilder:
    """With the key identifiers that strict verifiers ask for."""
    own, above = key.public_key(), issuer_key.public_key()
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid_from)
        .not_valid_after(now + valid_until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
    )
