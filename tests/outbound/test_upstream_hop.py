"""What an upstream of several hosts, which change, is known to offer."""

from relay.mail.outcome import Relayed
from tests.outbound.case import DeliveryCase


class ExtensionsTests(DeliveryCase):
    async def test_each_session_tells_anew(self) -> None:
        up = self.upstream(keywords=("8BITMIME", "SIZE 1000"))
        delivery = self.delivery(up, max_messages_per_connection=1)
        self.assertEqual({}, delivery.extensions("up"))
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual({"8BITMIME": "", "SIZE": "1000"}, delivery.extensions("up"))
        up.keywords = ("DSN", "SIZE 2000")
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual({"DSN": "", "SIZE": "2000"}, delivery.extensions("up"))

    async def test_asked_before_there_is_any_mail(self) -> None:
        up = self.upstream(keywords=("DSN",))
        delivery = self.delivery(up)
        delivery.learn("up")
        await self.until(lambda: "DSN" in delivery.extensions("up"))
        self.assertEqual(["EHLO relay.test"], up.commands)

    async def test_of_several_hosts_what_each_has(self) -> None:
        first = self.upstream({"rcpt": "451 4.2.0 not here"}, keywords=("8BITMIME", "DSN"))
        second = self.upstream(keywords=("CHUNKING", "8BITMIME"))
        delivery = self.delivery(first, second)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual({"8BITMIME": ""}, delivery.extensions("up"))
