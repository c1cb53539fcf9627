"""Several processes at one port: they serve as one node, count as one, and end as one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api import workers
from api.tally import add_up
from api.workers import places, worker_count
from config.settings import Settings
from overlay.devchain.block import mine_block

_EXPOSITION = '# HELP x_total X.\n# TYPE x_total counter\nx_total{a="1"} %d\n'


def test_counts_are_added_by_name_and_labels() -> None:
    text = add_up(
        [_EXPOSITION % 2, _EXPOSITION % 3, '# HELP x_total X.\n# TYPE x_total counter\nx_total{a="\\""} 7\n']
    )
    assert 'x_total{a="1"} 5\n' in text
    assert 'x_total{a="\\""} 7\n' in text
    assert text.count("# TYPE x_total counter") == 1


def test_the_dev_network_has_one_process_and_others_one_a_core() -> None:
    assert worker_count(Settings()) == 1
    test = Settings.model_validate({"node": {"network": "test"}})
    assert worker_count(test) == min(os.cpu_count() or 1, 4)
    assert worker_count(Settings.model_validate({"node": {"network": "test", "workers": 3}})) == 3


@pytest.mark.parametrize(
    ("processors", "node", "expected"),
    [
        ([0, 1], {"network": "test", "workers": 2}, [0, 1]),
        ([3, 5, 6], {"network": "main", "workers": 3}, [3, 5, 6]),
        ([0, 1, 2, 3], {"network": "test", "workers": 2}, []),
        ([0, 1], {"network": "test", "workers": 4}, []),
        ([0], {"network": "test", "workers": 1}, []),
        ([], {"network": "test", "workers": 2}, []),
        ([0, 1], {"network": "test", "workers": 2, "pin_workers": False}, []),
        ([0, 1], {"network": "dev", "workers": 2}, []),
    ],
)
def test_processes_keep_to_processors_when_there_are_as_many(
    monkeypatch: pytest.MonkeyPatch, processors: list[int], node: dict[str, Any], expected: list[int]
) -> None:
    monkeypatch.setattr(workers, "allowed", lambda: processors)
    assert places(Settings.model_validate({"node": node})) == expected


async def headers_service() -> tuple[asyncio.Server, str]:
    """A headers service with one block."""
    header = mine_block(None, 1_780_000_000, b"\x51", [], 0).header
    version, bits, nonce = struct.unpack_from("<I", header.raw)[0], *struct.unpack_from("<II", header.raw, 72)

    async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
        state = {
            "header": {
                "hash": header.hash[::-1].hex(),
                "version": version,
                "prevBlockHash": header.previous[::-1].hex(),
                "merkleRoot": header.merkle_root[::-1].hex(),
                "creationTimestamp": struct.unpack_from("<I", header.raw, 68)[0],
                "difficultyTarget": bits,
                "nonce": nonce,
                "work": "2",
            },
            "state": "LONGEST_CHAIN",
            "height": 0,
        }
        return aiohttp.web.json_response([state["header"]] if "byHeight" in request.path else state)

    runner = aiohttp.web.AppRunner(app := aiohttp.web.Application())
    app.router.add_get("/{path:.*}", answer)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)  # type: ignore[arg-type]
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_workers_share_the_port_and_the_counts_and_are_replaced(tmp_path: Path) -> None:
    service, url = await headers_service()
    probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    command = [str(Path(sys.executable).with_name("metawatt")), "serve", "--network", "test", "--port", str(port)]
    environment = os.environ | {
        "METAWATT_NODE__DATA_DIR": str(tmp_path),
        "METAWATT_NODE__WORKERS": "2",
        "METAWATT_ENGINE__BROADCAST": "false",
        "METAWATT_CHAIN__HEADERS_URL": url,
        "METAWATT_LOG__FORMAT": "json",
    }
    node = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        pids = await _workers(node)
        assert len(await _answering(port)) == 2
        kept = [os.sched_getaffinity(pid) for pid in (node.pid, pids[0])]
        mine = sorted(os.sched_getaffinity(0))
        assert kept == ([{mine[0]}, {mine[1]}] if len(mine) == 2 else [{*mine}] * 2)
        await asyncio.sleep(1.5)  # counts are written once a second
        os.kill(pids[0], signal.SIGKILL)
        pids += await _workers(node)
        assert len(await _answering(port)) == 2
        await asyncio.sleep(1.5)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as reply:
            text = await reply.text()
        counted = [line for line in text.splitlines() if 'route="/version",status="200"' in line]
        assert float(counted[0].split()[-1]) >= 2 * _ASKED
        node.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(node.wait(), 30) == 0
        for pid in pids:
            assert not _alive(pid)
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
        service.close()


_ASKED = 40


async def _workers(node: asyncio.subprocess.Process) -> list[int]:
    """The pid of the next worker that is ready, from the log."""
    assert node.stderr is not None
    while line := await asyncio.wait_for(node.stderr.readline(), 60):
        entry = json.loads(line)
        if entry.get("event") == "worker started":
            pid = entry["pid"]
            # It reads its modules wherever there is room, and keeps to a processor when it has.
            assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
        if entry.get("event") == "listening" and not entry["primary"]:
            return [pid]
    raise AssertionError("the node ended")


async def _answering(port: int) -> set[str]:
    """Which processes answer, by the request ids that each numbers for itself."""
    prefixes: set[str] = set()
    for _ in range(_ASKED):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/version") as reply,
        ):
            assert reply.status == 200
            prefixes.add(reply.headers["x-request-id"].rpartition("-")[0])
    return prefixes


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
