"""The client that one proxy names to a whole relay, and what the relay tells the next server."""

from tests.process.collector import KEYWORDS, Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, content
from tests.process.test_proxy import ProxyCase

HERE = "127.0.0.1/32"
XCLIENT = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN"
XFORWARD = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
TO = "one@example.org"


class ConveyingTests(ProxyCase):
    def trusting(self) -> Collector:
        main = Collector(keywords=(*KEYWORDS, XCLIENT, XFORWARD))
        main.answer("XCLIENT", "220 collector.example.net again")
        main.answer("XFORWARD", "250 2.0.0 noted")
        self.addCleanup(main.stop)
        main.start()
        return main

    def before(self, main: Collector, delivery: str, **settings: object) -> RelayProcess:
        return self.relay(
            upstream("main", main.port, **settings),
            routes=[route("main", delivery=delivery)],
            listener={"xclient_from": [HERE], "relay_networks": ["192.0.2.0/24"]},
        )

    def test_one_client_after_the_other_in_one_session(self) -> None:
        """Each has its own session upstream, in its own name, for all of its transactions."""
        main = self.trusting()
        relay = self.before(main, "proxy", xclient=True)
        session = self.session(relay)
        for host in ("192.0.2.7", "192.0.2.8"):
            told = f"XCLIENT ADDR={host} PORT=4711 NAME=a.example LOGIN=ann"
            (answer,) = self.say(session, told)
            self.assertEqual("220", answer[:3])
            session.ehlo("client.example")
            for _ in range(2):
                session.sendmail(SENDER, [TO], content("one"))
        tellings = [c for c in main.commands if c.startswith("XCLIENT")]
        self.assertEqual(
            [
                "XCLIENT PROTO=ESMTP HELO=client.example LOGIN=ann NAME=a.example PORT=4711 "
                f"ADDR={host}"
                for host in ("192.0.2.7", "192.0.2.8")
            ],
            tellings,
        )
        self.assertEqual(4, len(main.kept))
        self.assertEqual(2, main.commands.count("EHLO client.example"))
        self.assertFalse([c for c in main.commands if c.startswith("XFORWARD")])

    def test_forwarded_after_a_restart_too(self) -> None:
        """What the log of the upstream is told is kept with the message."""
        main = self.trusting()
        main.answer("MAIL", "451 4.3.0 later", times=1)
        relay = self.before(main, "store", xforward=True)
        relay.settings["queue"]["retry"] = ["3s"]
        relay.restart()
        session = self.session(relay)
        self.say(session, "XCLIENT ADDR=192.0.2.7 PORT=4711 NAME=a.example")
        session.ehlo("client.example")
        session.sendmail(SENDER, [TO], content("one"))
        (accepted,) = relay.wait_for(1, "accepted")
        relay.wait_for(1, "delayed")
        relay.restart()
        main.wait_for(1)
        telling = (
            "XFORWARD NAME=a.example ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example "
            f"IDENT={accepted['queue_id']} SOURCE=REMOTE"
        )
        self.assertEqual(2, main.commands.count(telling), main.commands)
