"""Sessions whose client a trusted proxy names by XCLIENT."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from relay.notices import Accepted, Connected, Disconnected, Rejected
from tests.inbound.relay_front import Client, Front
from tests.inbound.test_protocol import AdmissionCase, SlowPlaces
from tests.inbound.test_proxied import NAMED

MAIL = ("MAIL FROM:<s@example.net>", "RCPT TO:<r@example.org>", "DATA", "x", ".")
FROM_HERE = {"xclient_from": ("127.0.0.1/32",), "networks": ("192.0.2.0/24",)}


class XclientTests(TestCase):
    timeout = 30

    async def begin(self, **keys: object) -> Client:
        self.front = Front(**{**FROM_HERE, **keys})  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        return await self.another()

    async def another(self) -> Client:
        client = await self.front.connect()
        await client.heard(1)
        return client

    async def ask(self, client: Client, *lines: str) -> list[str]:
        """The codes of so many replies of one line."""
        before = len(client.lines())
        client.say(*lines)
        return [line[:3] for line in (await client.heard(before + len(lines)))[before:]]

    def told(self, kind: type) -> list:
        return [notice for notice in self.front.bench.notices if isinstance(notice, kind)]

    async def test_the_client_told_of_is_judged_and_logged(self) -> None:
        client = await self.begin()
        told = "XCLIENT NAME=a.example ADDR=192.0.2.7 PORT=4711 LOGIN=ann"
        self.assertEqual(["220", "250"], await self.ask(client, told, "HELO client.example"))
        client.say(*MAIL)
        self.assertEqual("250", (await client.heard(7))[-1][:3])
        [accepted] = self.told(Accepted)
        origin = accepted.origin
        self.assertEqual(
            ("192.0.2.7:4711", "client.example", "ann", "a.example", "SMTP"),
            (origin.client, origin.helo, origin.user, origin.name, origin.protocol),
        )
        [content] = await self.front.contents()
        self.assertTrue(content.startswith(b"Received: from client.example ([192.0.2.7])"))
        client.say("QUIT")
        await client.gone
        await self.front.listener.close()
        await self.front.factory.leave()
        self.assertTrue(self.told(Connected)[0].client.startswith("127.0.0.1:"))
        self.assertEqual("192.0.2.7:4711", self.told(Disconnected)[0].client)

    async def test_a_stranger_behind_a_trusted_proxy(self) -> None:
        client = await self.begin(networks=("127.0.0.0/8",))
        codes = await self.ask(client, "XCLIENT ADDR=192.0.2.7", "HELO c", *MAIL[:2])
        self.assertEqual(["220", "250", "250", "550"], codes)
        self.assertEqual("192.0.2.7:0", self.told(Rejected)[0].client)

    async def test_an_unknown_address_is_trusted_nowhere(self) -> None:
        client = await self.begin(networks=("0.0.0.0/0", "::/0"))
        codes = await self.ask(client, "XCLIENT ADDR=[UNAVAILABLE]", "HELO c", *MAIL[:2])
        self.assertEqual(["220", "250", "250", "550"], codes)

    async def test_told_in_several_commands(self) -> None:
        """The address that was told does not take the right to go on away, nor grant it."""
        client = await self.begin()
        codes = await self.ask(
            client,
            "XCLIENT ADDR=192.0.2.7 PORT=4711",
            "XCLIENT LOGIN=ann NAME=a.example",
            "HELO client.example",
            *MAIL[:2],
            "RSET",
            "XCLIENT ADDR=198.51.100.7",
            "HELO client.example",
            *MAIL[:2],
        )
        self.assertEqual(["220", "220", *["250"] * 4, "220", "250", "250", "550"], codes)
        self.assertEqual("198.51.100.7:0", self.told(Rejected)[0].client)

    async def test_another_address_is_another_client(self) -> None:
        """What was told of the one before, its login above all, is not that one's."""
        client = await self.begin()
        await self.ask(
            client,
            "XCLIENT ADDR=198.51.100.7 LOGIN=ann NAME=a.example",
            "XCLIENT ADDR=192.0.2.7",
            "HELO client.example",
        )
        client.say(*MAIL)
        self.assertEqual("250", (await client.heard(8))[-1][:3])
        (accepted,) = self.told(Accepted)
        self.assertEqual(("", ""), (accepted.origin.user, accepted.origin.name))

    async def test_the_address_told_grants_no_trust(self) -> None:
        client = await self.begin(xclient_from=("192.0.2.7/32",))
        self.assertEqual(["550"], await self.ask(client, "XCLIENT ADDR=192.0.2.7"))

    async def test_whom_a_load_balancer_names_may_be_such_a_proxy(self) -> None:
        client = await self._through_a_balancer(("192.0.2.7/32",))
        codes = await self.ask(client, "XCLIENT ADDR=198.51.100.7", "HELO c", *MAIL[:2])
        self.assertEqual(["220", "250", "250", "550"], codes)

    async def test_behind_a_load_balancer_nobody_has_its_rights(self) -> None:
        client = await self._through_a_balancer(("127.0.0.1/32",))
        self.assertEqual(["550"], await self.ask(client, "XCLIENT ADDR=198.51.100.7"))

    async def _through_a_balancer(self, xclient_from: tuple[str, ...]) -> Client:
        self.front = Front(
            proxy_protocol_from=("127.0.0.1/32",),
            xclient_from=xclient_from,
            networks=("192.0.2.0/24",),
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        client.transport.write(NAMED)
        await client.heard(1)
        return client

    async def test_the_limit_per_client(self) -> None:
        """Each session counts as that of the client told of, and of nobody else."""
        first = await self.begin(max_connections_per_client=1)
        told = "XCLIENT ADDR=192.0.2.7"
        self.assertEqual(["220"], await self.ask(first, told))
        second = await self.another()
        self.assertEqual(["421"], await self.ask(second, told))
        await second.gone
        third = await self.another()
        self.assertEqual(["220"], await self.ask(third, "XCLIENT ADDR=192.0.2.8"))
        self.assertEqual(["220"], await self.ask(first, "XCLIENT ADDR=192.0.2.9"))
        self.assertEqual(["220"], await self.ask(third, told))

    async def test_the_rest_of_a_transaction_is_gone(self) -> None:
        client = await self.begin()
        told = "XCLIENT ADDR=192.0.2.7"
        codes = await self.ask(client, told, "HELO c", MAIL[0], told, "RSET", told, MAIL[0])
        self.assertEqual(["220", "250", "250", "503", "250", "220", "503"], codes)


class SlowlyAdmittedTests(AdmissionCase):
    """Places that are asked of another process."""

    async def told(self) -> tuple[SlowPlaces, Client]:
        """XCLIENT was sent, and the client's place is asked for."""
        places, client = await self._waiting(**FROM_HERE)
        places.decide(True)
        places.decide(True)
        await client.heard(2)
        before = len(client.lines())
        client.say("XCLIENT ADDR=192.0.2.7", "HELO c")
        await self._until(lambda: len(places.asked) == 1)
        self.assertEqual(before, len(client.lines()))
        client.text = b""
        return places, client

    async def test_the_greeting_waits_for_the_clients_place(self) -> None:
        places, client = await self.told()
        places.decide(True)
        self.assertEqual(["220", "250"], [line[:3] for line in await client.heard(2)])
        self.assertEqual(1, places.taken["listener lan client 192.0.2.7"])
        client.say("QUIT")
        await client.gone
        await self._until(lambda: not places.taken.total())
        self.assertEqual([], [key for key, count in places.taken.items() if count])

    async def test_there_is_none(self) -> None:
        places, client = await self.told()
        places.decide(False)
        self.assertIn("421 4.7.0", (await client.heard(1))[0])
        await client.gone
        await self._until(lambda: isinstance(self.front.bench.notices[-1], Disconnected))
        self.assertEqual([], [key for key, count in places.taken.items() if count])

    async def test_gone_before_there_is_one(self) -> None:
        await self._gone_meanwhile(True)

    async def test_gone_before_there_is_none(self) -> None:
        await self._gone_meanwhile(False)

    async def _gone_meanwhile(self, had: bool) -> None:
        places, client = await self.told()
        client.transport.abortConnection()
        await client.gone
        await self._until(lambda: isinstance(self.front.bench.notices[-1], Disconnected))
        places.decide(had)
        self.assertEqual([], [key for key, count in places.taken.items() if count])

    async def test_what_came_with_a_proxy_header_waits_too(self) -> None:
        places = SlowPlaces()
        self.front = Front(places=places, proxy_protocol_from=("127.0.0.1/32",))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        client.transport.write(NAMED + b"HELO early\r\nNOOP\r\n")
        await self._until(lambda: len(places.asked) == 2)  # for the connection, for its session
        places.decide(True)
        self.assertEqual(0, places.taken.total(), "the first is given back, late as it came")
        places.decide(True)
        self.assertEqual(b"", client.text)
        places.decide(True)
        self.assertEqual(["220", "250", "250"], [line[:3] for line in await client.heard(3)])
        self.assertEqual(1, places.taken["listener lan client 192.0.2.7"])
