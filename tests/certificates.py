"""A certificate authority for tests: identities of all kinds, as server contexts and as files."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

DAY = timedelta(days=1)


class Identity:
    """A certificate, its key and the certificates above it."""

    def __init__(self, certificate, key, chain=()):
        self.certificate = certificate
        self.key = key
        self.chain = chain

    @property
    def certificate_pem(self) -> bytes:
        """With its chain."""
        return b"".join(each.public_bytes(_PEM) for each in (self.certificate, *self.chain))

    @property
    def key_pem(self) -> bytes:
        kind = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(_PEM, kind, serialization.NoEncryption())

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """As NAME.pem and NAME.key."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem)
        return certificate, key

    def server_context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self.certificate)
        context.use_privatekey(self.key)
        for certificate in self.chain:
            context.add_extra_chain_cert(certificate)
        return context


class Authority:
    """A root that signs. Times are days from now."""

    def __init__(self, name: str = "Test CA") -> None:
        self.identity = _signed(name, (), None, -1, 365, is_authority=True)

    @property
    def certificate_pem(self) -> bytes:
        return self.identity.certificate_pem

    def write(self, folder: Path, name: str = "ca.pem") -> Path:
        path = folder / name
        path.write_bytes(self.certificate_pem)
        return path

    def issue(self, *names: str, since: float = -1, until: float = 365) -> Identity:
        """For host names and IP addresses."""
        return _signed(names[0], names, self.identity, since, until)

    def intermediate(self, name: str = "Test intermediate CA") -> "Authority":
        authority = Authority.__new__(Authority)
        authority.identity = _signed(name, (), self.identity, -1, 365, is_authority=True)
        return authority


def self_signed(*names: str) -> Identity:
    return _signed(names[0], names, None, -1, 365)


_PEM = serialization.Encoding.PEM


def _signed(name, names, issuer, since, until, *, is_authority=False) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since * DAY)
        .not_valid_after(now + until * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False).add_extension(
            x509.ExtendedKeyUsage(usages), critical=False
        )
    signer = key if issuer is None else issuer.key
    certificate = builder.sign(signer, hashes.SHA256())
    chain = ()
    if issuer is not None and issuer.certificate.issuer != issuer.certificate.subject:
        chain = (issuer.certificate, *issuer.chain)
    return Identity(certificate, key, chain)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
