"""AUTH and TLS together: where passwords are taken, and what a handshake leaves of a user."""

from base64 import b64encode
from typing import Any

from relay.notices import Accepted
from tests.inbound.test_tls import STRANGER, Talk, TlsCase

RIGHT = "AUTH PLAIN " + b64encode(b"\0user\0pencil").decode()
AUTH: dict[str, Any] = {"auth": "required", "networks": STRANGER}


class AuthTlsTests(TlsCase):
    async def test_within_tls(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.begin_tls()
            return [talk.ask(RIGHT), *talk.transact()]

        replies = await self.talk(act, **AUTH)
        self.assertEqual([reply[:3] for reply in replies], [b"235", b"250", b"250", b"354", b"250"])
        [content] = await self.front.contents()
        self.assertIn(b" with ESMTPSA\r\n\t(TLSv1.", content)
        origin = self.told(Accepted).origin
        self.assertEqual((origin.user, origin.tls[:5]), ("user", "TLSv1"))

    async def test_with_implicit_tls(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            talk.shake_hands()
            return [talk.reply(), talk.ask("EHLO c"), talk.ask(RIGHT)]

        replies = await self.talk(act, tls="implicit", **AUTH)
        self.assertEqual([reply[:3] for reply in replies], [b"220", b"250", b"235"])

    async def test_before_tls(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            return [talk.reply(), talk.ask("EHLO c"), talk.ask(RIGHT)]

        for keys in (AUTH, AUTH | {"auth_without_tls": True, "tls": "required"}):
            replies = await self.talk(act, **keys)
            self.assertEqual(replies[-1][:10], b"538 5.7.11")

    async def test_nobody_authenticates_twice(self) -> None:
        """RFC 3207 4.2 wants a handshake to make all forgotten: so there is none after AUTH."""

        def act(talk: Talk) -> list[bytes]:
            return [talk.reply(), talk.ask("EHLO c"), talk.ask(RIGHT), talk.ask("STARTTLS")]

        replies = await self.talk(act, auth_without_tls=True, **AUTH)
        self.assertEqual([reply[:3] for reply in replies], [b"220", b"250", b"235", b"503"])

    async def test_a_failure_before_leaves_nothing_behind(self) -> None:
        def act(talk: Talk) -> list[bytes]:
            wrong = "AUTH PLAIN " + b64encode(b"\0user\0wrong").decode()
            before = [talk.reply(), talk.ask("EHLO c"), talk.ask(wrong), talk.ask("STARTTLS")]
            talk.shake_hands()
            return [*before[2:], talk.ask(RIGHT), talk.ask("EHLO c"), talk.ask(RIGHT)]

        replies = await self.talk(act, auth_without_tls=True, **AUTH)
        self.assertEqual([reply[:3] for reply in replies], [b"535", b"220", b"503", b"250", b"235"])
