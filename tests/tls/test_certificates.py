"""Certificate and key files: what is read, and what is said of those that cannot be."""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from relay.tls.certificates import (
    MAX_FILE_SIZE,
    CertificateUnusable,
    all_names,
    host_names,
    read_certificates,
    read_pair,
    stamps,
)
from tests.certificates import Authority


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = Authority()
        self.issued = self.authority.issue("Relay.Example", "*.relay.example", "192.0.2.1")
        self.chain, self.key = self.issued.write(self.folder)

    def told(self) -> str:
        error = self.assertRaises(CertificateUnusable, read_pair, self.chain, self.key)
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_a_pair(self) -> None:
        pair = read_pair(self.chain, self.key)
        self.assertEqual(("relay.example", "*.relay.example"), pair.names)
        self.assertEqual(self.issued.certificate.not_valid_after_utc, pair.valid_until)
        self.assertNotIn("PRIVATE", repr(pair))

    def test_of_rsa_too(self) -> None:
        self.issued = self.authority.issue("relay.example", is_rsa=True)
        self.assertEqual(("relay.example",), read_pair(*self.issued.write(self.folder)).names)

    def test_with_the_certificates_above_it(self) -> None:
        issued = Authority("Between", self.authority).issue("relay.example")
        self.assertEqual(2, len(read_pair(*issued.write(self.folder)).chain))

    def test_all_in_one_file(self) -> None:
        self.chain.write_bytes(self.issued.key_pem + self.issued.chain_pem)
        self.assertEqual(1, len(read_pair(self.chain, self.chain).chain))

    def test_the_key_of_another(self) -> None:
        self.key.write_bytes(self.authority.issue("relay.example").key_pem)
        self.assertEqual(
            f"{self.key}: is not the key of the first certificate in {self.chain}", self.told()
        )

    def test_missing(self) -> None:
        self.key.unlink()
        self.assertEqual(f"{self.key}: cannot be read: No such file or directory", self.told())

    def test_a_folder(self) -> None:
        self.chain = self.folder
        self.assertIn("cannot be read: Is a directory", self.told())

    def test_half_written_anywhere(self) -> None:
        for path, octets in ((self.chain, self.issued.chain_pem), (self.key, self.issued.key_pem)):
            for size in range(0, len(octets) - 26, 7):
                path.write_bytes(octets[:size])
                self.assertIn(str(path), self.told())
            path.write_bytes(octets)

    def test_with_a_passphrase(self) -> None:
        self.key.write_bytes(self.issued.encrypted_key_pem(b"secret"))
        self.assertIn("has a passphrase", self.told())

    def test_a_key_of_the_wrong_kind(self) -> None:
        self.key.write_bytes(
            dsa.generate_private_key(2048).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
        )
        self.assertIn("use an RSA or an elliptic-curve key", self.told())

    def test_huge(self) -> None:
        with self.chain.open("wb") as file:
            file.truncate(MAX_FILE_SIZE + 1)
        self.assertIn("larger than 1 MiB", self.told())

    def test_authorities(self) -> None:
        path = self.folder / "ca.pem"
        path.write_bytes(self.authority.pem + Authority("Another").pem)
        self.assertEqual(2, len(read_certificates(path)))
        path.write_bytes(b"")
        self.assertRaises(CertificateUnusable, read_certificates, path)


class NameTests(SynchronousTestCase):
    def test_the_common_name_counts_where_there_is_no_other(self) -> None:
        authority = Authority()
        for issued, hosts, every in (
            (authority.issue("A.example", common_name="b"), ("a.example",), ("a.example",)),
            (authority.issue(emails=["Joe@a.example"]), (), ("joe@a.example",)),
            (authority.issue(common_name="Printer 7"), ("printer 7",), ("printer 7",)),
        ):
            self.assertEqual(hosts, host_names(issued.certificate))
            self.assertEqual(every, all_names(issued.certificate))


class StampTests(SynchronousTestCase):
    def test_every_change_is_seen(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "a"
        before = stamps([path])
        for change in (
            lambda: path.write_bytes(b"one"),
            lambda: path.write_bytes(b"more"),
            lambda: os.utime(path, ns=(1, 1)),
            lambda: path.chmod(0o400),
            lambda: _replace(path),
            path.unlink,
        ):
            change()
            now = stamps([path])
            self.assertEqual(now, stamps([path]))
            self.assertNotEqual(before, now)
            before = now


def _replace(path: Path) -> None:
    """By a file of the same size, as deployment tools do."""
    other = path.with_name("b")
    other.write_bytes(path.read_bytes())
    other.rename(path)
