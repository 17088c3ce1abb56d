"""Files of versions come onto this machine before a call waits for its batch.

So a store that answers late holds up the calls that need it, and no others.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pointsman.registry import Registry, Version
from pointsman.registry.errors import OverloadedError

from ..switching.execute.requests import Request

_THREADS: Final = 8


class Fetcher:
    """Fetches each version once, however many calls need it; used in the thread of the event loop.

    A version that was fetched is taken to be here. Where its files were removed since, its batch fetches them.

    Args:
        registry: Where the versions are.
        most_waiting: The inputs whose calls may wait for files at most.

    Examples:
        >>> await fetcher.fetch(switcher.prepare("sst2", ["a gripping film"]))
    """

    def __init__(self, registry: Registry, *, most_waiting: int) -> None:
        self._registry = registry
        self._most_waiting = most_waiting
        self._waiting = 0
        self._here: set[str] = set()
        self._coming: dict[str, asyncio.Future[None]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch")

    async def fetch(self, requests: Sequence[Request]) -> None:
        """Wait until the files of all versions that answer are here.

        Raises:
            OverloadedError: Too many inputs wait for files.
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged one.
        """
        routes = {route for request in requests for route in request.routes}
        versions = {version.ref: version for route in routes for version in route.versions}
        missing = [version for ref, version in versions.items() if ref not in self._here]
        if not missing:
            return
        if self._waiting and self._waiting + len(requests) > self._most_waiting:
            raise OverloadedError(
                f"{self._waiting} inputs wait for files of their versions, and {self._most_waiting} may: try again in "
                "a moment"
            )
        self._waiting += len(requests)
        try:
            for coming in [self._come(version) for version in missing]:
                await asyncio.shield(coming)  # a caller that hangs up leaves the file to the others
        finally:
            self._waiting -= len(requests)

    def close(self) -> None:
        """Fetch nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _come(self, version: Version) -> "asyncio.Future[None]":
        coming = self._coming.get(version.ref)
        if coming is None:
            coming = asyncio.get_running_loop().run_in_executor(self._pool, self._registry.fetch, version)
            self._coming[version.ref] = coming
            coming.add_done_callback(lambda done: self._came(version.ref, done))
        return coming

    def _came(self, ref: str, done: "asyncio.Future[None]") -> None:
        del self._coming[ref]
        if not done.cancelled() and done.exception() is None:
            self._here.add(ref)
