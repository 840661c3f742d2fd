"""What is closed when it is done with, in whatever way its user prefers."""

from __future__ import annotations

import asyncio
from typing import Self

from inference.common.fork import ProcessLocal


class Closing(ProcessLocal):
    """Closes at the end of a `with` or an `async with` block, on `aclose`, and at exit."""

    def close(self) -> None:
        """Let go of everything."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """`close`, while the event loop goes on."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def at_exit(self) -> None:
        """Calls under way are given a while to end, so that what was paid for is kept."""
        self.close()
