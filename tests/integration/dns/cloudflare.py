"""A stand-in for the API of Cloudflare and for its name servers.

Nothing of Cloudflare runs anywhere but there. What is real is the module community.general.cloudflare_dns, of which
only the address of the API is changed, in a copy: so this shows what the role has the module do, and not that
Cloudflare does what it is told.
"""

from __future__ import annotations

import http.server
import itertools
import json
import pathlib
import threading
import typing as t
import urllib.parse

import ansible
from dnslib import QTYPE, RCODE, RR, SOA, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

ZONE = "flare.test"
TOKEN = "a-token-of-tests-that-nobody-may-read"
API = "https://api.cloudflare.com/client/v4"
MODULE = "plugins/modules/cloudflare_dns.py"


class Cloudflare(BaseResolver):
    """One zone with A records."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, t.Any]] = {}
        self.done: list[tuple[str, str]] = []
        self._ids = (str(number) for number in itertools.count(1))
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_words: t.Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    code, answer = 403, {"success": False, "errors": [{"code": 9109, "message": "Invalid token"}]}
                else:
                    code, answer = 200, {"success": True, "result": outer.act(self.command, self.path, body)}
                content = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_DELETE = do_GET

        self._api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._api.serve_forever, daemon=True).start()
        self._names = DNSServer(self, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
        self._names.start_thread()

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self._names.server.server_address[1]}"

    def add(self, name: str, content: str, ttl: int) -> None:
        number = next(self._ids)
        record = {"id": number, "type": "A", "name": name, "content": content, "ttl": ttl}
        self.records[number] = {**record, "proxied": False, "comment": None, "tags": []}

    def act(self, method: str, path: str, body: dict[str, t.Any]) -> t.Any:
        parts = urllib.parse.urlsplit(path)
        asked = {key: values[0] for key, values in urllib.parse.parse_qs(parts.query).items()}
        if parts.path == "/client/v4/zones":
            return [{"id": "z", "name": ZONE}] if asked.get("name") == ZONE else []
        number = parts.path.removeprefix("/client/v4/zones/z/dns_records").strip("/")
        if method == "GET":
            return [one for one in self.records.values() if all(str(one[key]) == asked[key] for key in asked)]
        if method == "DELETE":
            self.done.append((method, self.records.pop(number)["content"]))
            return {"id": number}
        number = number or next(self._ids)
        self.records[number] = {"id": number, **body}
        self.done.append((method, body["content"]))
        return self.records[number]

    def resolve(self, request: DNSRecord, handler: t.Any) -> DNSRecord:
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        answer = request.reply(aa=1)
        soa = RR(ZONE, QTYPE.SOA, ttl=60, rdata=SOA(f"ns.{ZONE}", f"admin.{ZONE}", (1, 3600, 600, 86400, 30)))
        for one in list(self.records.values()):
            if (one["name"], one["type"]) == (name, kind):
                answer.add_answer(RR(name, QTYPE.A, ttl=one["ttl"], rdata=A(one["content"])))
        if (name, kind) == (ZONE, "SOA"):
            answer.add_answer(soa)
        elif not answer.rr:
            answer.header.rcode = RCODE.NXDOMAIN
            answer.add_auth(soa)
        return answer

    def collection(self, directory: pathlib.Path) -> pathlib.Path:
        """Return a path of collections that has community.general with another address in that one module."""
        real = pathlib.Path(ansible.__file__).parents[1] / "ansible_collections/community/general"
        copy = directory / "ansible_collections/community/general"
        (copy / MODULE).parent.mkdir(parents=True)
        for folder in ("", "plugins", "plugins/modules"):
            for path in (real / folder).iterdir():
                if not (copy / folder / path.name).exists() and path != real / MODULE:
                    (copy / folder / path.name).symlink_to(path)
        text = (real / MODULE).read_text()
        assert text.count(f"'{API}'") == 1
        port = self._api.server_address[1]
        (copy / MODULE).write_text(text.replace(API, f"http://127.0.0.1:{port}/client/v4"))
        return directory

    def stop(self) -> None:
        self._names.stop()
        self._names.server.server_close()
        self._api.shutdown()
        self._api.server_close()
