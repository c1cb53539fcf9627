"""Waiting for what another process may do: asked again and again, for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Answer = TypeVar("Answer")


async def answered(
    ask: Callable[[], Awaitable[Answer | None]], wait_secs: float, pause_secs: float
) -> Answer | None:
    """The first answer that is not None; None after `wait_secs`."""
    try:
        async with asyncio.timeout(wait_secs):
            while True:
                answer = await ask()
                if answer is not None:
                    return answer
                await asyncio.sleep(pause_secs)
    except TimeoutError:
        return None
