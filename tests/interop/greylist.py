"""A policy service for Postfix that refuses each recipient some times before it lets it pass."""

import socketserver
import threading
from collections import Counter


class Greylist:
    """Speaks Postfix's policy delegation protocol; listens from its making to `stop`."""

    def __init__(self, refusals: int) -> None:
        self.asked: Counter[str] = Counter()
        asked = self.asked

        class Asked(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request: dict[str, str] = {}
                for line in self.rfile:
                    name, _, value = line.decode().strip().partition("=")
                    request[name] = value
                    if not name:
                        self.wfile.write(_action(request["recipient"]))

        def _action(recipient: str) -> bytes:
            asked[recipient] += 1
            word = "450 4.2.0 greylisted" if asked[recipient] <= refusals else "dunno"
            return f"action={word}\n\n".encode()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Asked)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.socket.close()
