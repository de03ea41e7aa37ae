"""The base of tests with a Postfix that offers TLS, before a collector of what it took."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Issued
from tests.interop.peers import UNCHANGED, Postfix
from tests.process.collector import Collector


class PostfixTlsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-tls-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)

    def postfix(self, identity: Issued, more: Mapping[str, str] = {}) -> Postfix:
        certificate, key = identity.write(self.folder, "postfix")
        settings = {
            **UNCHANGED,
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": str(certificate),
            "smtpd_tls_key_file": str(key),
            "smtpd_tls_received_header": "yes",
            "smtpd_tls_loglevel": "1",
            **more,
        }
        postfix = Postfix(self.collector.port, settings=settings)
        self.addCleanup(postfix.clean_up)
        postfix.start()
        return postfix
