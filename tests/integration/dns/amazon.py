"""The API of Route 53 as moto has it, and a name server that answers what is in there.

The API is real enough for boto3 and amazon.aws; the name server stands in for Amazon's own.
"""

from __future__ import annotations

import os
import typing as t

import boto3
from dnslib import QTYPE, RCODE, RR, SOA, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from moto.server import ThreadedMotoServer

ZONE = "cloud.test"
KEYS = {"access_key": "AKIATESTONLY", "secret_key": "a-secret-of-tests-that-nobody-may-read"}


class Amazon(BaseResolver):
    """One hosted zone."""

    def __init__(self) -> None:
        # Its own credentials: those of this machine are of no concern to it.
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        self._api = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._api.start()
        host, port = self._api.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self._client = boto3.client(
            "route53",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEYS["access_key"],
            aws_secret_access_key=KEYS["secret_key"],
        )
        self.zone_id = self._client.create_hosted_zone(Name=ZONE, CallerReference="tests")["HostedZone"]["Id"]
        self._names = DNSServer(self, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
        self._names.start_thread()

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self._names.server.server_address[1]}"

    def records(self, name: str, kind: str) -> list[dict[str, t.Any]]:
        """The record sets of a name, asked without the code that is tested."""
        found = self._client.list_resource_record_sets(HostedZoneId=self.zone_id)["ResourceRecordSets"]
        return [one for one in found if (one["Name"].rstrip("."), one["Type"]) == (name, kind)]

    def resolve(self, request: DNSRecord, handler: t.Any) -> DNSRecord:
        name, kind = str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype]
        answer = request.reply(aa=1)
        soa = RR(ZONE, QTYPE.SOA, ttl=60, rdata=SOA(f"ns.{ZONE}", f"admin.{ZONE}", (1, 3600, 600, 86400, 30)))
        if name == ZONE and kind == "SOA":
            answer.add_answer(soa)
            return answer
        for found in self.records(name, kind) if kind == "A" else []:
            for value in found["ResourceRecords"]:
                answer.add_answer(RR(name, QTYPE.A, ttl=found["TTL"], rdata=A(value["Value"])))
        if not answer.rr:
            answer.header.rcode = RCODE.NXDOMAIN
            answer.add_auth(soa)
        return answer

    def stop(self) -> None:
        self._names.stop()
        self._names.server.server_close()
        self._api.stop()
