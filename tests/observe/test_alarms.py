"""What stands, since when, for how long, and what the program's own log says of it."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from relay.notices import Alarm, AlarmOver, Stopped
from relay.observe import alarms as alarms_module
from relay.observe.alarms import STANDS_FOR, Alarms


class AlarmsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.alarms = Alarms(self.clock.seconds)
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def hear(self, event: Any) -> None:
        self.said.append(event["log_format"].format(**event))

    def rows(self) -> Any:
        return self.alarms.status()["alarms"]

    def test_it_stands_until_it_is_over(self) -> None:
        self.alarms(Alarm("space", "40 MB free"))
        self.clock.advance(60)
        self.alarms(Alarm("space", "30 MB free"))
        self.alarms(Stopped("relay"))
        since = "1970-01-01T00:00:00.000000Z"
        self.assertEqual([{"alarm": "space", "since": since, "why": "30 MB free"}], self.rows())
        self.alarms(AlarmOver("space", "200 MB free"))
        self.alarms(AlarmOver("space"))
        self.assertEqual([], self.rows())
        self.assertEqual(
            [
                "alarm: space: 40 MB free",
                "alarm: space: 30 MB free",
                "alarm over: space: 200 MB free",
            ],
            self.said,
        )

    def test_said_once_while_it_is_the_same(self) -> None:
        for _ in range(3):
            self.alarms(Alarm("space", "40 MB free"))
        self.alarms(AlarmOver("space"))
        self.alarms(Alarm("space", "40 MB free"))
        self.assertEqual(3, len(self.said))

    def test_what_nobody_ends(self) -> None:
        self.alarms(Alarm("no route for a DSN", "nobody", is_passing=True))
        self.alarms(Alarm("space", "40 MB free"))
        self.clock.advance(STANDS_FOR - 1)
        self.assertEqual(2, len(self.rows()))
        self.clock.advance(1)
        self.assertEqual(["space"], [row["alarm"] for row in self.rows()])

    def test_no_more_than_so_many(self) -> None:
        self.patch(alarms_module, "MAX_ALARMS", 2)
        for what in ("a", "b", "a", "c"):
            self.alarms(Alarm(what, "why"))
        self.assertEqual(["c", "a"], [row["alarm"] for row in self.rows()])

    def test_braces_are_text(self) -> None:
        """What upstreams say is in it."""
        self.alarms(Alarm("login at {x}", "535 {y}"))
        self.assertEqual(["alarm: login at {x}: 535 {y}"], self.said)
