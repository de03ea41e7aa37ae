"""The first route that matches wins."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config import Route
from relay.mail.address import AddressGlob
from relay.outbound.routes import MAX_REMEMBERED, Routes
from tests.properties import given

PATTERNS = ("*", "*@a", "x@A", "*@b", "*@*", "x@*", "a*", "postmaster", "*@a*", "x@a@b")
PATHS = ("", "postmaster", "x@a", "x@A", "y@a", "x@b", "x@ab", "x@a@b", "a", "x@", "a@a")


def route(upstream, **tests):
    return Route.model_validate({"upstream": upstream, **tests})


class RoutesTests(SynchronousTestCase):
    def found(self, routes, forward_path, reverse_path="s@y.test", listener="lan"):
        found = routes.find(forward_path, reverse_path, listener)
        self.assertIs(routes.find(forward_path, reverse_path, listener), found)
        return found and found.upstream

    def test_first_wins(self):
        routes = Routes(
            [
                route("a", recipients=("*@a.test", "postmaster")),
                route("b", recipients=("*@*.test",)),
                route("c", recipients=("Bob@c.example",)),
            ]
        )
        self.assertEqual(self.found(routes, "x@A.TEST"), "a")
        self.assertEqual(self.found(routes, "x@b.test"), "b")
        self.assertEqual(self.found(routes, "postmaster"), "a")
        self.assertEqual(self.found(routes, "Bob@C.example"), "c")
        self.assertIsNone(self.found(routes, "bob@c.example"))
        self.assertIsNone(self.found(routes, "x@test"))

    def test_first_wins_among_routes_for_one_domain_and_for_many(self):
        tests = [
            ("x@a.test",),
            ("*@B.test", "y@a.test"),
            ("z@*",),
            ("*@a.test", "z@b.test"),
            ("*@*.test", "*@c.example"),
            ("*@b.test",),
            (),
        ]
        routes = Routes([route(str(n), recipients=r) for n, r in enumerate(tests)])
        expected = {
            "x@A.test": "0",
            "y@a.test": "1",
            "z@a.test": "2",
            "w@a.test": "3",
            "z@B.TEST": "1",
            "w@b.test": "1",
            "w@c.test": "4",
            "w@c.example": "4",
            "w@a@b.test": "1",
            "a.test": "6",
            "w@d.example": "6",
            "": "6",
        }
        self.assertEqual({path: self.found(routes, path) for path in expected}, expected)

    @given(st.lists(st.lists(st.sampled_from(PATTERNS), max_size=3), max_size=6))
    def test_finds_what_looking_at_all_of_them_finds(self, tests):
        routes = Routes([route(str(n), recipients=tuple(r)) for n, r in enumerate(tests)])
        for path in PATHS:
            matching = (
                str(n)
                for n, patterns in enumerate(tests)
                if not patterns or any(AddressGlob(p).matches(path) for p in patterns)
            )
            self.assertEqual(self.found(routes, path), next(matching, None))

    def test_routes_for_other_domains_are_not_looked_at(self):
        """Ten thousand next hops of a domain each: the answer must not walk through them."""
        routes = Routes([route(str(n), recipients=(f"*@{n}.test",)) for n in range(100)])
        self.assertEqual(len(list(routes._candidates("x@50.test"))), 1)
        self.assertEqual(self.found(routes, "x@99.test"), "99")

    def test_senders(self):
        routes = Routes([route("null", senders=("<>",)), route("any", senders=("*",))])
        self.assertEqual(self.found(routes, "x@y", ""), "null")
        self.assertEqual(self.found(routes, "x@y", "s@y"), "any")
        self.assertEqual(self.found(Routes([route("any", senders=("*",))]), "x@y", ""), "any")
        self.assertIsNone(self.found(Routes([route("s", senders=("*@y",))]), "x@y", ""))

    def test_listeners(self):
        routes = Routes([route("lan", listeners=("lan",)), route("dmz", listeners=("dmz",))])
        self.assertEqual(self.found(routes, "x@y", listener="dmz"), "dmz")
        self.assertIsNone(self.found(routes, "x@y", listener="other"))

    def test_mail_made_here_goes_whatever_the_listener(self):
        routes = Routes([route("lan", listeners=("lan",))])
        self.assertEqual(self.found(routes, "x@y", "", None), "lan")
        self.assertEqual(self.found(routes, "x@y", "", ""), "lan")

    def test_nothing_left_out_matches_everything(self):
        self.assertEqual(self.found(Routes([route("all")]), "x@y", ""), "all")
        self.assertIsNone(self.found(Routes([]), "x@y"))

    def test_sole(self):
        one, same, other = route("a"), route("a", senders=("*@x",)), route("b", listeners=("dmz",))
        self.assertEqual(Routes([one, same, other]).sole("s@x", "lan").upstream, "a")
        self.assertIsNone(Routes([one, same, other]).sole("s@x", "dmz"))
        self.assertIsNone(Routes([one, route("a", delivery="hybrid")]).sole("s@x", "lan"))
        self.assertEqual(Routes([same, other]).sole("s@y", "dmz").upstream, "b")
        self.assertIsNone(Routes([same, other]).sole("s@y", "lan"))

    def test_memory_is_bounded(self):
        routes = Routes([route("a", recipients=("*@a.test",))])
        for number in range(MAX_REMEMBERED + 100):
            routes.find(f"{number}@a.test", "", None)
        self.assertLessEqual(len(routes._remembered), MAX_REMEMBERED)
        self.assertEqual(self.found(routes, "1@a.test"), "a")
