"""The configuration as the supervisor read it: every worker gets this one, also one that is started
again after the file was changed."""

import os
import pickle
import tempfile

from relay.config.reading import Config


class Snapshot:
    """A file without a name, whose descriptor is passed on to workers."""

    def __init__(self, config: Config) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the relay runs)
        self._file.write(pickle.dumps(config))
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


def read_snapshot(descriptor: int) -> Config:
    """In a worker. The place in the file is shared with all others: it is left where it is."""
    octets = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    config: Config = pickle.loads(octets)  # noqa: S301 (our own process wrote it)
    return config
