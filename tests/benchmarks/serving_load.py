"""The load of ``serve-mixed``: callers on connections of their own, one request after another each.

    python serving_load.py URL MODEL CALLERS REQUESTS TASKS

``ref`` as MODEL stands for the adapters ``a0`` and on in turn. Each body asks for one text.

Written on sockets, since a client library would take more of the cores than the servers.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

from words import texts


async def caller(host: str, port: int, path: str, calls: list[tuple[str, str]], seconds: list[float]) -> None:
    """Ask, and wait for each answer."""
    reader, writer = await asyncio.open_connection(host, port)
    for model, text in calls:
        body = json.dumps({"model": model, "input": [text]}).encode()
        began = time.perf_counter()
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        seconds.append(time.perf_counter() - began)
    writer.close()


async def main(url: str, model: str, callers: int, requests: int, tasks: int) -> None:
    """Print requests a second and the 99th percentile as JSON."""
    address, sentences = urlsplit(url), texts()
    calls = [
        (f"a{number % tasks}" if model == "ref" else model, sentences[number % len(sentences)])
        for number in range(requests)
    ]
    seconds: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(
        *(
            caller(address.hostname or "", address.port or 80, address.path, calls[number::callers], seconds)
            for number in range(callers)
        )
    )
    taken = time.perf_counter() - began
    print(json.dumps({"rate": requests / taken, "p99": sorted(seconds)[int(0.99 * len(seconds))] * 1000}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], *map(int, sys.argv[3:])))
