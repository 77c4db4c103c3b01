"""Knocks at TCP ports of some addresses, and prints what answered: scan.py all|22,80 ADDRESS...

A port that refuses has answered, too: the packet filter let the question through.
"""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import errno
import json
import resource
import socket
import sys

# The kernel asks a second time after one second.
PATIENCE_S = 1.5
# Each holds an open file, and a login gets fewer of them than it may have.
AT_ONCE = 8000
# No packet filter lets so many ports through.
MANY = 1000


def state(sock: socket.socket) -> str:
    """What the kernel knows by now, even where a busy loop was too late to hear of it."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return "refused"
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return "silent"
        raise
    return "open"


async def knock(address: str, ports: collections.abc.Iterator[int], found: dict[str, list[int]]) -> None:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in ports:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await loop.sock_connect(sock, (address, port))
            except TimeoutError:
                found[state(sock)].append(port)
            except OSError:
                found["refused"].append(port)
            else:
                found["open"].append(port)


async def knock_at_all(address: str, ports: list[int], found: dict[str, list[int]], at_once: int) -> None:
    left = iter(ports)
    await asyncio.gather(*(knock(address, left, found) for dummy in range(min(at_once, len(ports)))))


async def scan(address: str, ports: list[int]) -> dict[str, list[int] | int]:
    found: dict[str, list[int]] = {"open": [], "refused": [], "silent": []}
    crowd = AT_ONCE
    await knock_at_all(address, ports, found, crowd)
    while found["silent"] and len(found["open"]) + len(found["refused"]) > MANY and crowd > 100:
        # Where many answer, the rest may have lost its packets in the crowd.
        crowd //= 3
        lost, found["silent"] = found["silent"], []
        await knock_at_all(address, lost, found, crowd)
    # A few ports tell what is wrong, 65535 would only be long.
    return {
        "open": sorted(found["open"]),
        "refused": sorted(found["refused"])[:50],
        "silent": sorted(found["silent"])[:50],
        "answered_count": len(found["open"]) + len(found["refused"]),
        "silent_count": len(found["silent"]),
    }


def run(address: str) -> dict[str, list[int] | int]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ports = range(1, 65536) if sys.argv[1] == "all" else map(int, sys.argv[1].split(","))
    return asyncio.run(scan(address, list(ports)))


if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        print(json.dumps(dict(zip(sys.argv[2:], pool.map(run, sys.argv[2:]), strict=True))))
