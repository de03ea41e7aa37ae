"""Certificates and keys as files: read, checked against each other, and watched for changes.

Whatever is wrong with a file raises CertificateUnusable with one line for the operator. Builds no
context.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

MAX_FILE_SIZE = 1 << 20
"""Octets of a certificate or key file. A bundle of every public authority has some 200 KiB."""

MAX_NAME = 320
"""Characters of a name: as long as a mail address can be. Longer ones are passed over."""

Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

Stamp = tuple[object, ...]
"""What tells that a file is another one, or was written."""


class CertificateUnusable(Exception):
    """One line for the operator."""


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A certificate with those above it, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: Key

    @property
    def names(self) -> tuple[str, ...]:
        """Host names, lower case; "*.example.net" stands for one label."""
        return host_names(self.chain[0])

    @property
    def valid_until(self) -> datetime:
        return self.chain[0].not_valid_after_utc

    def __repr__(self) -> str:
        return f"<Pair {', '.join(self.names)} until {self.valid_until:%Y-%m-%d}>"


def read_pair(certificate: Path, key: Path) -> Pair:
    """Both may be one file. Raises CertificateUnusable."""
    chain = read_certificates(certificate)
    pair = Pair(chain, _read_key(key))
    own, certified = (
        each.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for each in (pair.key.public_key(), _public_key(certificate, chain[0]))
    )
    if own != certified:
        raise CertificateUnusable(
            f"{key}: is not the key of the first certificate in {certificate}"
        )
    return pair


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """All of a PEM file, at least one. Raises CertificateUnusable."""
    octets = _read(path)
    try:
        return tuple(x509.load_pem_x509_certificates(octets))
    except ValueError:
        raise CertificateUnusable(f"{path}: holds no certificate that can be read (PEM)") from None


def _public_key(path: Path, certificate: x509.Certificate) -> Any:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateUnusable(f"{path}: its public key is of no known kind") from None


def _read_key(path: Path) -> Key:
    octets = _read(path)
    try:
        key = load_pem_private_key(octets, None)
    except TypeError:
        raise CertificateUnusable(
            f"{path}: has a passphrase, which nobody would be there to give; take it off"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateUnusable(f"{path}: holds no private key that can be read (PEM)") from None
    if not isinstance(key, Key):
        raise CertificateUnusable(f"{path}: is no key for TLS; use an RSA or an elliptic-curve key")
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise CertificateUnusable(f"{path}: cannot be read: {error.strerror}") from None
    if len(octets) > MAX_FILE_SIZE:
        raise CertificateUnusable(f"{path}: larger than 1 MiB: no certificate or key file")
    return octets


def stamps(paths: Iterable[Path]) -> Stamp:
    """Equal as long as nothing was written, renamed or made readable: one `stat` a file."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> object:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Its DNS names, lower case; the common name counts only where there is no other name."""
    return _names(certificate, lambda names: names.get_values_for_type(x509.DNSName))


def all_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and mail addresses, lower case; else the common name."""
    return _names(
        certificate,
        lambda names: (
            names.get_values_for_type(x509.DNSName) + names.get_values_for_type(x509.RFC822Name)
        ),
    )


def _names(
    certificate: x509.Certificate, pick: Callable[[x509.SubjectAlternativeName], list[str]]
) -> tuple[str, ...]:
    """() where the certificate is malformed."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = pick(extension.value)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found = [str(name.value) for name in common]
    except ValueError:
        return ()
    return tuple(name.lower() for name in found if len(name) <= MAX_NAME)
