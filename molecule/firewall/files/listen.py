"""Accepts connections at the ports of a list, over IPv4 and IPv6: listen.py 80,443"""

from __future__ import annotations

import asyncio
import sys


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def main(ports: list[int]) -> None:
    for port in ports:
        await asyncio.start_server(close, None, port)
    await asyncio.Event().wait()


asyncio.run(main([int(port) for port in sys.argv[1].split(",")]))
