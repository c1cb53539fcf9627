"""`metawatt solana-replay`: Solana's history from a slot on applied anew, by the node that runs.

It is the node that replays: it has the cluster at hand and the store open. This command asks it to, and waits.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import aiohttp
from rich.console import Console

from config.errors import ErrorCode, MetawattError, Unavailable
from config.logging import configure_logging
from config.secrets import SecretUnusable, admin_token, admin_token_path
from config.settings import Settings
from overlay.http_json import bearer

_PATH: Final = "/api/admin/event-processor/replay"
_TIMEOUT_SECS: Final = 30.0
_ASK_SECS: Final = 1.0
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - where a node may listen


class ReplayFailed(MetawattError):
    """The replay did not come to its end."""

    default_code = ErrorCode.SOLANA_UNAVAILABLE


def run(settings: Settings, from_slot: int) -> None:
    """Replay from a slot on, and return when it is done. Raises `SecretUnusable` without the node's admin token,
    `Unavailable` when the node does not run, `ReplayFailed` when the replay stops early, and whatever the node
    refuses it with."""
    configure_logging(settings.log)
    asyncio.run(replay(settings, from_slot, Console()))


async def replay(settings: Settings, from_slot: int, console: Console) -> None:
    """What `run` does, told on `console`."""
    token = _token(settings)
    timeout = aiohttp.ClientTimeout(_TIMEOUT_SECS)
    async with aiohttp.ClientSession(_url(settings), headers=bearer(token), timeout=timeout) as node:
        job = await _ask(node, "POST", {"from_slot": from_slot})
        with console.status("replaying") as status:
            while job["state"] == "running":
                status.update(f"replaying: {job['transactions']} transactions, slot {job['slot']}")
                await asyncio.sleep(_ASK_SECS)
                job = await _job(node, job["job_id"])
    if job["state"] != "done":
        raise ReplayFailed(f"the replay {job['state']} at slot {job['slot']}: {job['error'] or 'the node stopped'}")
    console.print(f"replayed from slot {from_slot}: {job['transactions']} transactions")


async def _job(node: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    for job in (await _ask(node, "GET"))["replays"]:
        if job["job_id"] == job_id:
            return dict(job)
    raise ReplayFailed("the node knows nothing of the replay any more")


async def _ask(node: aiohttp.ClientSession, method: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer; an error of the node's is raised as it told it."""
    try:
        async with node.request(method, _PATH, json=body) as reply:
            status, value = reply.status, json.loads(await reply.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unavailable(f"the node does not answer: {error}", ErrorCode.SOLANA_UNAVAILABLE) from error
    if status >= 400:
        raise MetawattError(str(value["message"]), _code(value["code"]))
    return dict(value)


def _code(text: Any) -> ErrorCode:
    return ErrorCode(text) if text in set(ErrorCode) else ErrorCode.INTERNAL


def _token(settings: Settings) -> str:
    """The running node's; a new one would be nobody's."""
    path = admin_token_path(settings)
    if settings.node.admin_token is None and not path.exists():
        raise SecretUnusable(f"{path}: the node's admin token is not there; name its folder with --data-dir")
    return admin_token(settings).get_secret_value()


def _url(settings: Settings) -> str:
    host = settings.node.host
    host = "127.0.0.1" if host in _EVERYWHERE else host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.node.port}"
