"""The first route that matches wins."""

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Route
from relay.outbound.routes import MAX_REMEMBERED, Routes


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

    def test_memory_is_bounded(self):
        routes = Routes([route("a", recipients=("*@a.test",))])
        for number in range(MAX_REMEMBERED + 100):
            routes.find(f"{number}@a.test", "", None)
        self.assertLessEqual(len(routes._remembered), MAX_REMEMBERED)
        self.assertEqual(self.found(routes, "1@a.test"), "a")
