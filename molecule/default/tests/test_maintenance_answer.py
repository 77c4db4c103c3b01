"""The load balancer answers in the homeserver's stead, and ends that by itself."""

from __future__ import annotations

import datetime
import typing as t

# From a host that may not administrate, as every user's client is.
ASK = """
import http.client, ssl
connection = http.client.HTTPSConnection(given["address"], timeout=10, context=ssl._create_unverified_context())
connection.request("GET", given["path"], headers={"Host": "matrix.fleet.test"})
answer = connection.getresponse()
print(json.dumps({"status": answer.status, "again": answer.getheader("Retry-After"), "body": answer.read().decode()}))
"""


def test_a_maintenance_answer_ends_with_nobody_there_to_end_it(
    server: t.Callable[[str], t.Any], run_python: t.Any, client_as: t.Any, until: t.Any
) -> None:
    def ask(path: str = "/_matrix/client/versions") -> dict[str, t.Any]:
        return run_python("cache1", ASK, address="172.30.10.11", path=path)

    def answers() -> bool:
        return bool(ask()["status"] == 200)

    assert answers()
    lb1 = server("lb1")
    now = datetime.datetime.fromtimestamp(int(lb1.check_output("date +%s")), datetime.timezone.utc)
    end = now + datetime.timedelta(seconds=20)
    given = f"answer=all until={end:%Y-%m-%dT%H:%M:%SZ}"
    told = lb1.ansible("matrixon.ops.matrixon_maintenance_answer", given, check=False, become=True)
    assert told["changed"], told
    found = ask()
    assert (found["status"], found["again"]) == (503, "30"), found
    assert '"errcode": "M_UNKNOWN"' in found["body"] and f"until {end:%H:%M} UTC" in found["body"], found
    # Nothing but the homeserver's own paths, and who administrates looks whether all is well.
    assert "M_UNKNOWN" not in ask("/elsewhere")["body"]
    assert client_as().call("GET", "/_matrix/client/versions")["versions"]
    assert until(answers, 40)
    assert int(lb1.check_output("date +%s")) >= end.timestamp()
