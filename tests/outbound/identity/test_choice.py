"""Which identity a message goes by."""

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Route, Upstream
from relay.outbound.next_hops import NextHops

_LOGIN = {"user": "u", "password_file": "p"}


def upstream(*identities: dict[str, object], name: str = "up") -> Upstream:
    given = tuple({**_LOGIN, **each} for each in identities)
    return Upstream.model_validate(
        {"name": name, "hosts": ("smtp://localhost",), "identity": given}, context={}
    )


class ChoiceTests(SynchronousTestCase):
    def test_the_first_whose_tests_all_match(self) -> None:
        hops = NextHops(
            [
                upstream(
                    {"name": "both", "senders": ("*@a.test",), "users": ("printer",)},
                    {"name": "user", "users": ("printer", "scanner")},
                    {"name": "sender", "senders": ("*@a.test", "<>")},
                ),
                upstream(name="plain"),
                upstream({"name": "all"}, name="whole"),
            ]
        )
        self.assertEqual(
            hops.fixed, ("up", "up:both", "up:user", "up:sender", "plain", "whole", "whole:all")
        )
        for reverse_path, user, lane in (
            ("x@a.test", "printer", "up:both"),
            ("x@b.test", "printer", "up:user"),
            ("x@a.test", "scanner", "up:user"),
            ("x@a.test", "", "up:sender"),
            ("", "", "up:sender"),
            ("x@b.test", "", "up"),
        ):
            route = Route(upstream="up")
            self.assertEqual(hops.lane_of(route, "r@x.test", reverse_path, user), lane)
        self.assertEqual(hops.lane_of(Route(upstream="plain"), "r@x.test", "x@a.test"), "plain")
        self.assertEqual(hops.lane_of(Route(upstream="whole"), "r@x.test"), "whole:all")
