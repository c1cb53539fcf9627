"""`/api/bridge/quote` and `/deposit`: what a crossing takes, as the limits and settings have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.mirror.books.limits import limit_key
from bridge.mirror.from_solana.memos import PREFIX
from bridge.mirror.pauses import pause
from bridge.mirror.records import MIRROR
from bridge.mirror.states import Direction
from energytag.records import ACCOUNTS
from store.port import Insert, Put
from tests.api.mirror_face import CUSTODY, IDENTITY, MINT, OWNER, serving

ACCOUNT = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42"
KEY = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
LIMITED = {
    "limit_in_wh": 24_000,
    "limit_window_hours": 24,
    "large_wh": 10_000,
    "large_delay_secs": 600,
    "confirmations": 6,
    "large_confirmations": 12,
}


async def quoted(face: Any, direction: str, wh: int) -> Any:
    return await face.get(f"/api/bridge/quote?direction={direction}&wh={wh}")


async def test_without_limits(tmp_path: Path) -> None:
    async with serving(tmp_path) as face:
        told = await quoted(face, "in", 1)
    assert told["headroom"] == {"limit_wh": None, "left_wh": None, "waiting_wh": 0, "window_secs": None}
    assert told["fits_now"]
    assert told["least_wh"] == 1
    assert told["fees"] == {"bridge_wh": 0, "lamports": 0, "satoshis": 4}
    assert told["how"]["custody_account"] == str(CUSTODY)
    assert told["delay"]["arrival_secs"] == round(32 * 0.4)


async def test_what_does_not_fit_is_told_when_it_would(tmp_path: Path) -> None:
    async with serving(tmp_path, bridge=LIMITED) as face:
        now_ms = face.clock.now_ms
        row = {"level_wh": 500, "fraction": 0, "at_ms": now_ms, "waiting_wh": 0}
        level = {"_id": limit_key(Direction.IN), **row}
        await face.store.commit([Put(MIRROR, level)])
        fitting, waiting = await quoted(face, "in", 500), await quoted(face, "in", 1500)
    assert (fitting["fits_now"], fitting["delay"]["wait_secs"]) == (True, 0)
    assert (waiting["fits_now"], waiting["delay"]["wait_secs"]) == (False, 3600)
    assert waiting["headroom"]["left_wh"] == 500


async def test_a_large_one_waits_and_must_be_deeper(tmp_path: Path) -> None:
    async with serving(tmp_path, bridge=LIMITED) as face:
        small, large = await quoted(face, "out", 9_999), await quoted(face, "out", 10_000)
    assert (small["is_large"], small["delay"]["confirmations"], small["delay"]["source_secs"]) == (False, 6, 3600)
    assert (large["is_large"], large["delay"]["confirmations"], large["delay"]["wait_secs"]) == (True, 12, 600)
    assert large["delay"]["arrival_secs"] == 7200 + 600
    assert large["how"]["bridge_key"] == IDENTITY.hex()
    assert large["how"]["exit"]["chain"].startswith("solana:")
    assert large["fees"]["lamports"] > 890_880


async def test_nothing_fits_into_a_direction_that_is_paused(tmp_path: Path) -> None:
    async with serving(tmp_path) as face:
        async with face.book.page() as page:
            pause(Direction.OUT, "a drill", "Ada", page)
        paused, other = await quoted(face, "out", 1), await quoted(face, "in", 1)
    assert (paused["is_paused"], paused["fits_now"]) == (True, False)
    assert (other["is_paused"], other["fits_now"]) == (False, True)
    assert "Ada" not in str(paused)


@pytest.mark.parametrize(
    "query", ["direction=in", "wh=5", "direction=in&wh=0", "direction=in&wh=1.5", "direction=x&wh=1"]
)
async def test_quotes_that_are_none(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as face:
        assert (await face.refused(f"/api/bridge/quote?{query}"))[0] == 422


async def test_where_to_send_and_with_which_memo(tmp_path: Path) -> None:
    async with serving(tmp_path) as face:
        await face.store.commit([Insert(ACCOUNTS, {"_id": ACCOUNT, "organisation_id": None, "name": "Mill"})])
        of_account = await face.get(f"/api/bridge/deposit?account_id={ACCOUNT.upper()}")
        of_key = await face.get(f"/api/bridge/deposit?identity_key={KEY.upper()}")
    assert of_account["memo"] == f"{PREFIX}{ACCOUNT}"
    assert of_key["memo"] == f"{PREFIX}{KEY}"
    assert (of_key["mint"], of_key["custody_account"], of_key["custody_wallet"]) == tuple(
        map(str, (MINT, CUSTODY, OWNER))
    )
    assert (of_key["units_per_wh"], of_key["least_units"]) == (10**6, 10**6)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 422, "ERR_INVALID_FIELD"),
        (f"account_id={ACCOUNT}", 404, "ERR_ACCOUNT_UNKNOWN"),
        (f"account_id={ACCOUNT}&identity_key={KEY}", 422, "ERR_INVALID_FIELD"),
        ("identity_key=02" + "ff" * 32, 422, "ERR_KEY_INVALID"),
        ("identity_key=04" + "ab" * 32, 422, "ERR_INVALID_FIELD"),
        ("account_id=me", 422, "ERR_INVALID_FIELD"),
    ],
)
async def test_what_would_be_held_is_refused_here(tmp_path: Path, query: str, status: int, code: str) -> None:
    async with serving(tmp_path) as face:
        assert (await face.refused(f"/api/bridge/deposit?{query}"))[:2] == (status, code)


async def test_until_solana_has_answered_nothing_is_promised(tmp_path: Path) -> None:
    async with serving(tmp_path) as face:
        face.mirror.asset, face.mirror.trouble = None, "Solana was not asked yet"
        for path in ("quote?direction=in&wh=1", f"deposit?identity_key={KEY}"):
            answer = await face.ask(f"/api/bridge/{path}")
            assert (answer.status, answer.json()["code"]) == (503, "ERR_SOLANA_UNAVAILABLE")
            assert answer.headers["Retry-After"]
