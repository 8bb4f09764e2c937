"""AWS on 127.0.0.1: moto's server behind a layer that records, injects faults and mends what moto leaves out."""

import argparse
import os
import signal
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from labkit.emulators import access, leave
from labkit.emulators.layer import Layer
from labkit.emulators.processes import HOST, TOKEN


class Handler(MotoRequestHandler):
    """Moto's request handler, whose log leaves out our own control requests."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if not self.path.startswith("/_lab/"):
            super().log_request(code, size)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the notebook's terminal is not meant for us
    access.install()
    leave.when_forgotten()
    layer = Layer(DomainDispatcherApplication(create_backend_app), os.environ.get(TOKEN, ""))
    make_server(HOST, port, layer, threaded=True, request_handler=Handler).serve_forever()


if __name__ == "__main__":
    main()
