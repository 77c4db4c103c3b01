"""A stand-in for Matrixon, whose public source does not build. It is not Matrixon.

It knows what the tests need and names itself a stand-in wherever it speaks:

    matrixon --version
    matrixon start --config FILE

It stores nothing and asks neither a database nor a cache. As today's Matrixon it
reads the table [global] alone; of the others it tells the names.
"""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import sys
import tomllib

VERSION = "0.0.1"
TITLE = f"matrixon stand-in {VERSION}"
REQUIRED = [
    "server_name",
    "address",
    "port",
    "database_url",
    "allow_registration",
    "allow_federation",
    "allow_jaeger",
    "tracing_flame",
    "log",
    "max_request_size",
]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the client API's first question."""

    protocol_version = "HTTP/1.1"
    server_version = f"matrixon-standin/{VERSION}"
    sys_version = ""
    tables: list[str] = []

    def do_GET(self) -> None:
        if re.fullmatch(r"/_matrix/client/versions", self.path):
            self.answer(200, {"versions": ["v1.1"], "server": {"name": TITLE, "tables": self.tables}})
        else:
            self.answer(404, {"errcode": "M_UNRECOGNIZED", "error": f"{TITLE} does not know this"})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def start(path: str) -> None:
    """Serve until told to stop."""
    with open(path, "rb") as file:
        config = tomllib.load(file)
    settings = config.get("global", {})
    missing = [key for key in REQUIRED if key not in settings]
    if missing:
        sys.exit(f"{TITLE}: [global] lacks {', '.join(missing)}")
    Handler.tables = sorted(config)

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in settings["address"] else socket.AF_INET

    server = Server((settings["address"], settings["port"]), Handler)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    print(f"{TITLE} answers on {settings['address']} port {settings['port']}", flush=True)
    server.serve_forever()


def main(arguments: list[str]) -> None:
    """Do what the command line says, and nothing without a subcommand."""
    if arguments == ["--version"]:
        print(TITLE)
    elif arguments[:2] == ["start", "--config"] and len(arguments) == 3:
        start(arguments[2])
    else:
        sys.exit("usage: matrixon --version | matrixon start --config FILE")


if __name__ == "__main__":
    main(sys.argv[1:])
