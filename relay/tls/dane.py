"""Whether a host's certificates are those that its TLSA records name (RFC 6698, RFC 7672). Pure.

The records must have come securely: that is for whoever looked them up to see to.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from OpenSSL import crypto

from relay.tls.certificate import chain_words, is_for, names_of
from relay.tls.policy import Tlsa

TRUST_ANCHOR, END_ENTITY = 2, 3
"""The usages that mail goes by (RFC 7672 3.1); those of the web's authorities count as unusable."""

NO_MATCH = "certificate is none of those that the host's TLSA records name"

_LENGTHS: Mapping[int, int] = {1: 32, 2: 64}
"""Octets of each digest, by matching type: a record of another length can match nothing."""

_DIGESTS: Mapping[int, Callable[[bytes], bytes]] = {
    0: lambda octets: octets,
    1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Those to go by. Where there are only others, TLS is required and not verified (RFC 7672 2.2).

    Of the digests for one usage and selector the strongest kind alone counts, whatever became of
    the weaker (RFC 7671 9). Whole certificates and keys are no digests, and stand beside them.
    """
    sound = [each for each in records if _is_sound(each)]
    strongest: dict[tuple[int, int], int] = {}
    for each in sound:
        kind = each.usage, each.selector
        strongest[kind] = max(each.matching, strongest.get(kind, 0))
    return tuple(
        each for each in sound if each.matching in (0, strongest[each.usage, each.selector])
    )


def _is_sound(record: Tlsa) -> bool:
    if record.usage not in (TRUST_ANCHOR, END_ENTITY) or record.selector not in (0, 1):
        return False
    if record.matching:
        return len(record.data) == _LENGTHS.get(record.matching)
    try:
        load = load_der_public_key if record.selector else x509.load_der_x509_certificate
        load(record.data)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def trouble_with(
    chain: Sequence[x509.Certificate], records: Sequence[Tlsa], names: Sequence[str]
) -> str:
    """What is wrong, "" for nothing. `chain`: as the host showed it, its own first; `records`:
    usable ones; `names`: one of which it must bear, where an authority vouches for it."""
    if not chain:
        return "the host showed no certificate"
    if any(_matches(each, chain[0]) for each in records if each.usage == END_ENTITY):
        return ""  # neither names nor dates count (RFC 7672 3.1.1)
    trouble = NO_MATCH
    for anchor in _anchors(chain, records):
        trouble = _chain_trouble(chain, anchor) or _name_trouble(chain[0], names)
        if not trouble:
            return ""
    return trouble


def _anchors(
    chain: Sequence[x509.Certificate], records: Sequence[Tlsa]
) -> Iterator[x509.Certificate]:
    for certificate in chain:
        if any(_matches(each, certificate) for each in records if each.usage == TRUST_ANCHOR):
            yield certificate


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector:
        key = certificate.public_key()
        octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        octets = certificate.public_bytes(Encoding.DER)
    return _DIGESTS[record.matching](octets) == record.data


def _chain_trouble(chain: Sequence[x509.Certificate], anchor: x509.Certificate) -> str:
    """From the host's own certificate up to the anchor, which alone is trusted."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(anchor))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    own, *between = map(crypto.X509.from_cryptography, chain)
    try:
        crypto.X509StoreContext(store, own, between).verify_certificate()
    except crypto.X509StoreContextError as error:
        return chain_words(error.errors[0], error.certificate.to_cryptography())
    return ""


def _name_trouble(certificate: x509.Certificate, names: Sequence[str]) -> str:
    if any(is_for(certificate, name, is_address=False) for name in names):
        return ""
    return f"certificate is for {names_of(certificate)}, not {' or '.join(names)}"
