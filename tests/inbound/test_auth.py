"""AUTH over real connections: who may do what then, how failures are met, what is told of them."""

from base64 import b64decode, b64encode
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from relay.notices import Accepted, Authenticated, Disconnected, Rejected, ShutOut
from relay.users.file import Users
from relay.users.pool import Busy
from relay.users.record import User
from tests.inbound.few_accounts import FewAccounts
from tests.inbound.relay_front import Client, Front
from tests.smtp.sasl.exchanges import NAME, PASSWORD, ScramClient

OPEN: dict[str, Any] = {"auth": "offered", "auth_without_tls": True, "networks": ("192.0.2.0/24",)}
REQUIRED = OPEN | {"auth": "required"}
MESSAGE = ("RCPT TO:<r@example.org>", "DATA", "x", ".")


def coded(octets: bytes) -> str:
    return b64encode(octets).decode()


def plain(name: str = NAME, password: str = PASSWORD) -> str:
    return f"AUTH PLAIN {coded(f'{chr(0)}{name}{chr(0)}{password}'.encode())}"


class AuthCase(TestCase):
    timeout = 30

    async def begin(self, **keys: Any) -> Client:
        self.front = Front(**{**OPEN, **keys})
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        return await self.greeted()

    async def greeted(self) -> Client:
        client = await self.front.connect()
        await client.heard(1)
        await self.hello(client)
        return client

    async def hello(self, client: Client) -> None:
        """Until the last line of the reply, however many there are."""
        count = len(client.lines())
        client.say("EHLO client.example")
        while (await client.heard(count := count + 1))[count - 1][3] == "-":
            pass

    async def ask(self, client: Client, *lines: str) -> list[str]:
        """The replies, each of one line."""
        before = len(client.lines())
        client.say(*lines)
        return (await client.heard(before + len(lines)))[before:]

    async def codes(self, client: Client, *lines: str) -> list[str]:
        return [line[:3] for line in await self.ask(client, *lines)]

    def told(self, kind: type) -> list[Any]:
        return [notice for notice in self.front.bench.notices if isinstance(notice, kind)]

    async def message(self, client: Client, sender: str = "s@example.net") -> list[str]:
        before = len(client.lines())
        client.say(f"MAIL FROM:<{sender}>", *MESSAGE)
        return (await client.heard(before + 4))[before:]


class GrantTests(AuthCase):
    async def test_an_authenticated_user_may_send_to_anyone(self) -> None:
        client = await self.begin()
        self.assertEqual(
            await self.codes(client, "MAIL FROM:<s@x>", MESSAGE[0], "RSET"), ["250", "550", "250"]
        )
        self.assertEqual(await self.ask(client, plain()), ["235 2.7.0 Authentication succeeded"])
        self.assertEqual([line[:3] for line in await self.message(client)][-1], "250")
        [content] = await self.front.contents()
        self.assertIn(b" with ESMTPA id ", content)

    async def test_the_name_is_told_and_stored(self) -> None:
        client = await self.begin()
        await self.ask(client, plain())
        await self.hello(client)  # changes nothing about who it is
        await self.message(client)
        self.assertEqual((await self.codes(client, "NONSENSE", "QUIT")), ["500", "221"])
        await client.gone
        [authenticated] = self.told(Authenticated)
        self.assertEqual((authenticated.user, authenticated.mechanism), (NAME, "PLAIN"))
        [accepted] = self.told(Accepted)
        self.assertEqual((accepted.origin.user, accepted.origin.helo), (NAME, "client.example"))
        self.assertEqual(self.told(Rejected)[-1].user, NAME)
        self.assertEqual(self.told(Disconnected)[-1].user, NAME)
        [work] = await self.front.bench.store.works(sorted(self.front.bench.listed()))
        self.assertEqual(work.message.origin.user, NAME)

    async def test_scram(self) -> None:
        client = await self.begin()
        scram = ScramClient()
        [first] = await self.ask(client, f"AUTH SCRAM-SHA-256 {coded(scram.first())}")
        final = scram.final(_decoded(first))
        [proof] = await self.ask(client, coded(final))
        self.assertEqual(_decoded(proof), b"v=" + b64encode(scram.server_signature))
        self.assertEqual(await self.codes(client, ""), ["235"])
        self.assertEqual(self.told(Authenticated)[0].mechanism, "SCRAM-SHA-256")

    async def test_scram_nonces_are_never_the_same(self) -> None:
        client = await self.begin()
        hello = f"AUTH SCRAM-SHA-256 {coded(ScramClient().first())}"
        replies = await self.ask(client, hello, "*", hello, "*")
        self.assertNotEqual(replies[0], replies[2])

    async def test_pipelined_commands_wait_for_the_check(self) -> None:
        client = await self.begin()
        held: Deferred[User | None] = Deferred()
        cast(FewAccounts, self.front.accounts).answer = held
        before = len(client.lines())
        client.say(plain(), "NOOP", "MAIL FROM:<s@x>")
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.assertEqual(len(client.lines()), before)
        held.callback(User(NAME))
        lines = await client.heard(before + 3)
        self.assertEqual([line[:3] for line in lines[before:]], ["235", "250", "250"])


class PolicyTests(AuthCase):
    async def test_required(self) -> None:
        client = await self.begin(**REQUIRED | {"networks": ("127.0.0.0/8",)})
        [refusal] = await self.ask(client, "MAIL FROM:<s@x>")
        self.assertEqual(refusal[:9], "530 5.7.0")
        self.assertEqual(
            await self.codes(client, "NOOP", "RSET", plain(), "MAIL FROM:<s@x>"),
            ["250", "250", "235", "250"],
        )

    async def test_offered_asks_nobody(self) -> None:
        client = await self.begin(networks=("127.0.0.0/8",))
        self.assertEqual((await self.message(client))[-1][:3], "250")
        [content] = await self.front.contents()
        self.assertIn(b" with ESMTP id ", content)

    async def test_senders_of_a_user(self) -> None:
        accounts = FewAccounts(User("tim", senders=("tim@example.net", "*@lists.example.net")))
        client = await self.begin(accounts=accounts)
        await self.ask(client, plain("tim"))
        for sender, code in (
            ("tim@example.net", "250"),
            ("tim@EXAMPLE.net", "250"),
            ("a@lists.example.net", "250"),
            ("ann@example.net", "553"),
            ("tim@example.net.evil.example", "553"),
            ("", "553"),
        ):
            [reply, _] = await self.ask(client, f"MAIL FROM:<{sender}>", "RSET")
            self.assertEqual(reply[:3], code, sender)
        self.assertEqual(self.told(Rejected)[0].reply[:9], "553 5.7.1")

    async def test_the_null_path_where_it_is_allowed(self) -> None:
        accounts = FewAccounts(User("tim", senders=("tim@example.net", "<>")))
        client = await self.begin(accounts=accounts)
        self.assertEqual(await self.codes(client, plain("tim"), "MAIL FROM:<>"), ["235", "250"])

    async def test_no_word_of_it_without_auth(self) -> None:
        self.front = Front()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        await client.heard(1)
        client.say("EHLO client.example", plain())
        lines = await client.heard(11)
        self.assertFalse([line for line in lines if "AUTH" in line])
        self.assertEqual(lines[-1][:9], "502 5.5.1")


class ProxiedTests(AuthCase):
    """XCLIENT makes another client of the session."""

    KEYS = REQUIRED | {"xclient_from": ("127.0.0.0/8",)}

    async def test_who_was_authenticated_is_forgotten(self) -> None:
        client = await self.begin(**self.KEYS)
        moved = await self.codes(client, plain(), "XCLIENT ADDR=198.51.100.7")
        self.assertEqual(moved, ["235", "220"])
        await self.hello(client)
        self.assertEqual(await self.codes(client, "MAIL FROM:<s@x>"), ["530"])
        self.assertEqual(await self.codes(client, plain(), "MAIL FROM:<s@x>"), ["235", "250"])
        self.assertEqual(self.told(Authenticated)[-1].client, "198.51.100.7:0")

    async def test_login_is_no_authentication(self) -> None:
        client = await self.begin(**self.KEYS)
        self.assertEqual(await self.codes(client, "XCLIENT LOGIN=user"), ["220"])
        await self.hello(client)
        self.assertEqual(await self.codes(client, "MAIL FROM:<s@x>"), ["530"])

    async def test_failures_are_those_of_the_client(self) -> None:
        client = await self.begin(**self.KEYS, failures=(0.0, 0.0, 1, 60.0))
        for address in ("198.51.100.7", "[UNAVAILABLE]"):
            await self.ask(client, f"XCLIENT ADDR={address}")
            await self.hello(client)
            self.assertEqual(await self.codes(client, plain(NAME, "guess")), ["535"])
        self.assertEqual([each.client for each in self.told(ShutOut)], ["198.51.100.7", "unknown"])
        other = await self.front.connect()
        await other.heard(1)
        await self.hello(other)
        self.assertEqual(await self.codes(other, plain()), ["235"])


class FailureTests(AuthCase):
    async def test_what_is_told_of_failures(self) -> None:
        client = await self.begin()
        secrets = ("swordfish", "opensesame")
        await self.ask(client, plain(NAME, secrets[0]), plain(secrets[1], secrets[0]), "AUTH PLAIN")
        await self.ask(client, coded(f"\0{NAME}\0{secrets[0]}\0".encode()))
        await self.ask(client, coded(f"\0{NAME}\0{secrets[0]}".encode()))  # a command by now
        rejected = self.told(Rejected)
        self.assertEqual(
            [(each.command, each.reply[:9], each.why) for each in rejected],
            [
                ("AUTH", "535 5.7.8", "wrong password, user user"),
                ("AUTH", "535 5.7.8", "wrong password, no known user"),
                ("AUTH", "501 5.5.2", "not three parts between NULs"),
                ("?", "500 5.5.1", ""),
            ],
        )
        everything = repr(self.front.bench.notices) + repr(self.front.factory._sessions)
        for secret in secrets:
            self.assertNotIn(secret, everything)
            self.assertNotIn(coded(secret.encode()).rstrip("=")[:-1], everything)

    async def test_shut_out(self) -> None:
        client = await self.begin(failures=(0.0, 0.0, 3, 60.0))
        guesses = [plain(NAME, f"guess{n}") for n in range(3)]
        self.assertEqual(await self.codes(client, *guesses), ["535"] * 3)
        self.assertEqual(self.told(ShutOut), [ShutOut("127.0.0.1", "lan", 3)])
        [last] = await self.ask(client, plain())
        self.assertEqual(last[:9], "421 4.7.0")
        await client.gone
        other = await self.greeted()
        checks = cast(FewAccounts, self.front.accounts).checks
        self.assertEqual(await self.codes(other, "AUTH LOGIN"), ["421"])
        self.assertEqual(cast(FewAccounts, self.front.accounts).checks, checks)
        self.assertEqual(len(self.told(ShutOut)), 1)

    async def test_shut_out_between_its_beginning_and_its_end(self) -> None:
        """Else each session that waits in an exchange would have one guess more."""
        client = await self.begin(failures=(0.0, 0.0, 2, 60.0))
        others = [await self.greeted() for _ in range(2)]
        for other in others:
            self.assertEqual(await self.codes(other, "AUTH PLAIN"), ["334"])
        guesses = [plain(NAME, f"guess{n}") for n in range(2)]
        self.assertEqual(await self.codes(client, *guesses), ["535"] * 2)
        right, wrong = plain(), plain(NAME, "guess")
        for other, guess in zip(others, (right, wrong), strict=True):
            self.assertEqual(await self.codes(other, guess.removeprefix("AUTH PLAIN ")), ["421"])
        self.assertEqual(len(self.told(ShutOut)), 1)

    async def test_who_is_shut_out_may_still_send_where_anyone_may(self) -> None:
        client = await self.begin(
            failures=(0.0, 0.0, 1, 60.0), accept_recipients=("*@example.org",)
        )
        await self.ask(client, plain(NAME, "guess"))
        self.assertEqual((await self.message(client))[-1][:3], "250")

    async def test_the_same_wrong_password_again_is_not_checked_again(self) -> None:
        """Nor does it open the door: it is wrong, and a right one is checked as ever."""
        client = await self.begin()
        accounts = cast(FewAccounts, self.front.accounts)
        self.assertEqual(await self.codes(client, *[plain(NAME, "guess")] * 5), ["535"] * 5)
        self.assertEqual(accounts.checks, 1)
        self.assertEqual(len(self.told(Rejected)), 5)
        self.assertEqual(await self.codes(client, plain(NAME, "other"), plain()), ["535", "235"])
        self.assertEqual(accounts.checks, 3)

    async def test_scram_failures_count(self) -> None:
        client = await self.begin(failures=(0.0, 0.0, 2, 60.0))
        for _ in range(2):
            scram = ScramClient("guess")
            [first] = await self.ask(client, f"AUTH SCRAM-SHA-256 {coded(scram.first())}")
            self.assertEqual(await self.codes(client, coded(scram.final(_decoded(first)))), ["535"])
        self.assertEqual(len(self.told(ShutOut)), 1)

    async def test_a_failure_is_told_at_once_and_answered_later(self) -> None:
        client = await self.begin(failures=(3600.0, 3600.0, 100, 60.0))
        before = len(client.lines())
        client.say(plain(NAME, "guess"))
        while not self.told(Rejected):
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.assertEqual(len(client.lines()), before)
        client.transport.abortConnection()  # leaves no timer behind: trial would tell
        await client.gone

    async def test_held_back_and_then_said(self) -> None:
        client = await self.begin(failures=(0.05, 0.05, 100, 60.0))
        self.assertEqual(await self.codes(client, plain(NAME, "guess"), plain()), ["535", "235"])

    async def test_trouble_of_ours_is_no_failure(self) -> None:
        client = await self.begin(failures=(0.0, 0.0, 1, 60.0))
        for trouble in (Busy("100 checks"), ValueError("secret path")):
            held: Deferred[User | None] = Deferred()
            cast(FewAccounts, self.front.accounts).answer = held
            held.errback(trouble)
            [reply] = await self.ask(client, plain())
            self.assertEqual(reply, "454 4.7.0 Temporary authentication failure, try again later")
        self.assertEqual(await self.codes(client, plain()), ["235"])
        self.assertNotIn("secret", repr(self.front.bench.notices))

    async def test_a_client_that_does_not_wait_for_the_check(self) -> None:
        client = await self.begin()
        held: Deferred[User | None] = Deferred()
        cast(FewAccounts, self.front.accounts).answer = held
        client.say(plain())
        while not cast(FewAccounts, self.front.accounts).checks:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        client.transport.abortConnection()
        await client.gone
        while not self.told(Disconnected):
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        held.callback(None)
        self.assertEqual(self.told(Rejected)[-1].why, "wrong password, user user")

    async def test_a_user_who_is_removed_during_scram(self) -> None:
        client = await self.begin()
        scram = ScramClient()
        [first] = await self.ask(client, f"AUTH SCRAM-SHA-256 {coded(scram.first())}")
        await self.ask(client, coded(scram.final(_decoded(first))))
        cast(FewAccounts, self.front.accounts).users = Users(b"seed", {})
        self.assertEqual(await self.codes(client, ""), ["535"])


def _decoded(reply: str) -> bytes:
    assert reply.startswith("334 "), reply
    return b64decode(reply[4:])
