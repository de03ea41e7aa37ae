"""What is read of a message's header on its way in."""

from twisted.trial.unittest import SynchronousTestCase

from relay.inbound.heading import Heading


class WaivesTlsTests(SynchronousTestCase):
    """TLS-Required: No (RFC 8689)."""

    def waives(self, content: bytes, size: int = 1000) -> bool:
        heading = Heading()
        for at in range(0, len(content), size):
            heading.add(content[at : at + size])
        return heading.waives_tls

    def test_each(self) -> None:
        for header, wanted in (
            (b"TLS-Required: No\r\n", True),
            (b"tls-REQUIRED:no\r\n", True),
            (b"TLS-Required:\r\n  No \r\n", True),
            (b"Subject: x\r\nTLS-Required: No\r\nTo: y\r\n", True),
            (b"", False),
            (b"TLS-Required: Yes\r\n", False),
            (b"TLS-Required: No, or yes\r\n", False),
            (b"TLS-Required:\r\n", False),
            (b"X-TLS-Required: No\r\n", False),
            (b"Subject: TLS-Required: No\r\n", False),
            (b"TLS-Required: No\r\nTLS-Required: No\r\n", False),
            (b"TLS-Required: No\r\nTLS-Required: Yes\r\n", False),
            (b"Subject: x\r\n\r\nTLS-Required: No\r\n", False),
        ):
            for size in (1, 1000):
                self.assertIs(self.waives(header + b"\r\nhello\r\n", size), wanted, header)
