"""A meter whose key, texts and signatures are made by TweetNaCl in node is believed, and PyNaCl makes the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter, public_of
from tests.bridge.readings_server import ReadingsServer

FORMATS = ("gridtokenx", "colon", "device")
SEED = (1).to_bytes(32, "big").hex()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ReadingsServer]:
    gateway = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await gateway.open()
    made = ReadingsServer(gateway)
    await made.start()
    yield made
    await made.stop()
    await gateway.store.close()


def reading(meter: SimpleMeter, **changes: Any) -> dict[str, Any]:
    fields = {"serial": meter.serial, "timestamp": meter.timestamp(NOW_MS), "kwh": "1.500000"}
    return fields | {"format": meter.form, "wallet": meter.wallet} | changes


@pytest.mark.parametrize("form", FORMATS)
async def test_a_meter_in_node(server: ReadingsServer, run_script: Any, form: str) -> None:
    meter = SimpleMeter(f"TWEET-{form}", number=1, form=form)
    await server.gateway.register(meter)
    readings = [reading(meter), reading(meter, sent="1.500001")]
    done = await asyncio.to_thread(run_script, "meter", url=server.url, seed=SEED, readings=readings)
    assert done["publicKey"] == public_of(meter.key)
    ours = meter.sign("1.500000", meter.timestamp(NOW_MS))
    taken, refused = done["results"]
    assert [taken["signature"], refused["signature"]] == [ours, ours]
    assert (taken["status"], taken["answer"]["units"]) == (201, 1_500_000_000)
    assert (refused["status"], refused["answer"]["code"]) == (401, "ERR_SIGNATURE_INVALID")


async def test_the_manuals_vectors(server: ReadingsServer, run_script: Any) -> None:
    """The signatures that docs/METERS.md prints are TweetNaCl's as well."""
    page = (Path(__file__).parents[2] / "docs" / "METERS.md").read_text("utf-8")
    readings = [reading(SimpleMeter(form=form)) for form in FORMATS]
    done = await asyncio.to_thread(run_script, "meter", url=server.url, seed=SEED, readings=readings)
    assert f"`{done['publicKey']}`" in page
    for form, each in zip(FORMATS, done["results"], strict=True):
        assert f"| `{form}` | `{each['signature']}` |" in page
