"""How the relay is built is told as it is."""

from twisted.trial.unittest import SynchronousTestCase

from relay.build import how_built
from relay.smtp import server


class BuildTests(SynchronousTestCase):
    def test_it_is_what_this_process_uses(self) -> None:
        is_python = str(server.__file__).endswith(".py")
        self.assertEqual(how_built(), "Python" if is_python else "compiled")
