"""The two zones of the tests of DNS, and their servers."""

from __future__ import annotations

from dataclasses import dataclass

from nameservers import NameServer, until

ZONE, ELSEWHERE = "matrix.test", "elsewhere.test"
SOA = "@ 60 SOA ns1 admin 1 3600 600 864000 30\n"
RECORDS = (
    SOA
    + """@ 60 NS ns1
@ 60 NS ns2
ns1 60 A 192.0.2.53
ns2 60 A 192.0.2.54
ns2 60 AAAA 2001:db8::54
www 60 A 192.0.2.10
six 60 AAAA 2001:db8::10
slow 3600 A 192.0.2.11
alias 60 CNAME www
slowalias 3600 CNAME www
away 60 CNAME lb.elsewhere.test.
gone 60 CNAME nothing.elsewhere.test.
round 60 CNAME back.elsewhere.test.
sub 60 NS ns.elsewhere.test.
"""
    + "".join(f"many 60 A 198.51.100.{number}\n" for number in range(1, 61))
)
OTHERS = (
    SOA
    + """@ 60 NS ns1
ns1 60 A 192.0.2.55
lb 900 A 203.0.113.7
back 60 CNAME round.matrix.test.
"""
)


@dataclass
class Region:
    """The servers of both zones, and how the module is told of them."""

    primary: NameServer
    secondary: NameServer
    deaf: NameServer
    elsewhere: NameServer

    @property
    def both(self) -> list[str]:
        return [self.primary.endpoint, self.secondary.endpoint]

    @property
    def connect_to(self) -> dict[str, str]:
        """Where the addresses of the NS records lead: none of them is one of this machine."""
        return {
            "192.0.2.53:53": self.primary.endpoint,
            "192.0.2.54:53": self.secondary.endpoint,
            "[2001:db8::54]:53": f"[::1]:{self.secondary.port}",
            "192.0.2.55:53": self.elsewhere.endpoint,
        }

    def put(self, name: str, *lines: str) -> None:
        """Replace the records of a name, and wait until those who listen have them."""
        self.primary.put(ZONE, name, *lines)
        wanted = self.primary.serial(ZONE)
        until(lambda: self.secondary.serial(ZONE) == wanted, "the secondary follows")
