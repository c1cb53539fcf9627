"""`/bridge`, and the same as JSON; parity; and what is measured."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from html.parser import HTMLParser
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.bridge.mirror_figures import MirrorCounts, MirrorSizes, Snapshots
from api.bridge.mirror_page import duration_text, wh_text
from api.bridge.mirror_parity import ParityDesk
from bridge.mirror.alarms import Alarm, alarm_key
from bridge.mirror.books.limits import limit_key
from bridge.mirror.pauses import pause
from bridge.mirror.records import MIRROR
from bridge.mirror.states import Direction, Hold, State
from store.port import Put
from tests.api.mirror_face import EXACT, INWARD, MINT, TO_THE_END, WH, Face, deposit, exit_of, serving

OPS = Path(__file__).parents[2] / "ops"
NASTY = '<script>alert("x")</script>'


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    async with serving(tmp_path, bridge={"limit_out_wh": 5000}) as face:
        yield face


async def page_of(face: Face, query: str = "") -> tuple[str, Any]:
    answer = await face.ask(f"/bridge{query}")
    assert answer.status == 200, answer.body
    return answer.body.decode(), answer.headers


class Checked(HTMLParser):
    """Every element that is opened is closed, in order."""

    VOID = ("meta", "link", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# The page


async def test_a_bridge_on_which_nothing_happened(face: Face) -> None:
    html, headers = await page_of(face)
    page = Checked(html)
    assert "script" not in page.tags
    assert "Nothing has crossed yet" in html
    assert "Parity was not found out yet" in html
    assert html.count("nothing is open") == 2
    policy = headers["Content-Security-Policy"]
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert f"'sha256-{b64encode(sha256(style[1].encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")


async def test_all_that_there_is_to_see(face: Face) -> None:
    first, second, third = await face.opened(deposit(1, wh=345), deposit(2), deposit(3, recipient=NASTY))
    (leaving,) = await face.opened(exit_of(4, wh=1000))
    await face.moved(first, *INWARD)
    await face.moved(second, *TO_THE_END)
    async with face.book.page() as page:
        page.hold(third, Hold.RECIPIENT_MALFORMED, NASTY)
        pause(Direction.OUT, NASTY, NASTY, page)
    alarm = {
        "_id": alarm_key(Alarm.SOURCE_LOST, NASTY),
        "alarm": "source_lost",
        "subject": NASTY,
        "text": "t",
        "at_ms": 1,
    }
    level = {"level_wh": 0, "fraction": 0, "at_ms": face.clock.now_ms, "waiting_wh": 20}
    bucket = {"_id": limit_key(Direction.OUT), **level}
    await face.store.commit([Put(MIRROR, alarm), Put(MIRROR, bucket)])
    await face.parity_found()
    html, _ = await page_of(face)
    page_read = Checked(html)
    assert "<script" not in html
    assert "parity exact" in html
    assert "12\u202f345" in html and "11\u202f000" in html
    assert "paused since" in html
    assert "source lost" in html
    assert "recipient malformed" in html
    for message in (first, second, third, leaving):
        assert f"api/bridge/messages/{message.id.hex()}" in page_read.links
    assert f"api/bridge/messages/{second.id.hex()}/receipt" in page_read.links
    assert "api/bridge/messages?state=DST_SENT&direction=in" in page_read.links
    assert str(MINT) in html
    for link in page_read.links:
        if link.startswith("api/") and not link.endswith("/receipt"):
            assert (await face.ask(f"/{link}")).status in (200, 422), link


async def test_it_comes_again_by_itself_only_when_asked(face: Face) -> None:
    assert 'http-equiv="refresh"' not in (await page_of(face))[0]
    assert '<meta http-equiv="refresh" content="5">' in (await page_of(face, "?every=5"))[0]
    for every in ("0", "1", "x", "3601"):
        assert (await face.refused(f"/bridge?every={every}"))[0] == 422


async def test_a_breach_is_plain_to_see(face: Face) -> None:
    await face.parity_found(custody=EXACT.custody - 1)
    html, _ = await page_of(face)
    assert "parity breached" in html
    assert "12\u202f344.999999" in html
    assert "Breached: 1 base units fewer" in html


async def test_it_is_there_before_solana_has_answered(face: Face) -> None:
    face.mirror.asset, face.mirror.trouble = None, "Solana was not asked yet"
    html, _ = await page_of(face)
    assert "not connected: Solana was not asked yet" in html
    told = await face.get("/api/bridge")
    assert (told["is_connected"], told["trouble"], told["parity"]) == (False, "Solana was not asked yet", None)


async def test_the_same_as_json(face: Face) -> None:
    (message,) = await face.opened(exit_of(1, wh=40))
    await face.moved(message, State.SRC_FINAL)
    await face.parity_found()
    told = await face.get("/api/bridge")
    (out,) = [way for way in told["directions"] if way["direction"] == "out"]
    assert (out["open_messages"], out["open_wh"], out["states"]) == (1, 40, {"SRC_FINAL": 1})
    assert out["headroom"]["limit_wh"] == 5000
    assert told["parity"]["is_exact"]
    assert told["log_entries"] == 2
    assert told["alarms"] == []


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "0"), (WH, "1"), (WH - 1, "0.999999"), (-WH, "−1"), (1234567 * WH + 500_000, "1\u202f234\u202f567.5")],
)
def test_no_digit_is_rounded_away(units: int, text: str) -> None:
    assert wh_text(units) == text


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (86_460, "24 h 1 min")],
)
def test_times_for_reading(secs: int, text: str) -> None:
    assert duration_text(secs) == text


# Parity


async def test_parity_is_told_to_the_base_unit(face: Face) -> None:
    face.mirror.parity.figures = EXACT
    told = await face.get("/api/bridge/parity")
    assert told["is_exact"]
    assert told["units"]["custody"] == "12345000000"
    assert told["wh"] == {
        "custody": 12_345,
        "burned": 0,
        "minted": 0,
        "live": 11_000,
        "in_flight_in": 345,
        "in_flight_out": 1000,
        "held": 0,
        "tokens": 12_345,
        "accounted_for": 12_345,
        "difference": 0,
    }


async def test_before_anything_was_found_out(face: Face) -> None:
    """Why is in the log alone, for it may name a server."""
    status, code, text = await face.refused("/api/bridge/parity")
    assert (status, code) == (503, "ERR_SOLANA_UNAVAILABLE")
    assert "does not answer" not in text


async def test_many_who_ask_wait_for_one_computation(face: Face) -> None:
    face.mirror.parity.figures = EXACT
    await asyncio.gather(*(face.get("/api/bridge/parity") for _ in range(20)))
    await page_of(face)
    assert face.mirror.parity.computed == 1


async def test_what_failed_is_left_alone_for_longer_and_older_figures_are_told(face: Face) -> None:
    secs = 0.0
    desk = ParityDesk(lambda: secs)
    stored = await face.parity_found()
    assert await desk.fresh(face.mirror) == stored
    secs = 20
    assert await desk.fresh(face.mirror) == stored
    assert face.mirror.parity.computed == 1
    secs = 31
    await desk.fresh(face.mirror)
    assert face.mirror.parity.computed == 2


async def test_the_newest_figures_are_told_whoever_found_them(face: Face) -> None:
    stored = await face.parity_found(slot=7)
    face.mirror.parity.figures = EXACT
    assert await ParityDesk().known(face.mirror) == stored


# Metrics


async def told(face: Face) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MirrorCounts(face.mirror))
    registry.register(MirrorSizes(await Snapshots(face.mirror, face.clock).take()))
    text = generate_latest(registry).decode()
    return {
        (each.name, *(each.labels[label] for label in sorted(each.labels))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def test_what_is_measured(face: Face) -> None:
    now_ms = face.clock.now_ms
    first, second, third = await face.opened(deposit(1, wh=345), deposit(2, wh=10), deposit(3))
    await face.moved(first, *INWARD, final_ms=now_ms - 1500, attempt=1)
    await face.moved(await face.moved(second, *INWARD), State.DST_SEEN, State.DST_FINAL, State.RECEIPTED)
    async with face.book.page() as page:
        page.hold(third, Hold.DUST, "too little")
        pause(Direction.OUT, "a drill", "Ada", page)
    await face.parity_found(custody=EXACT.custody - 5)
    face.clock.now_ms += 9000
    samples = await told(face)
    assert samples["metawatt_bridge_messages", "in", "DST_SENT"] == 1
    assert samples["metawatt_bridge_messages_wh", "in", "DST_SENT"] == 345
    assert (samples["metawatt_bridge_held", "in"], samples["metawatt_bridge_held", "out"]) == (1, 0)
    assert samples["metawatt_bridge_oldest_seconds", "in"] == 9
    assert (samples["metawatt_bridge_paused", "in"], samples["metawatt_bridge_paused", "out"]) == (0, 1)
    assert samples["metawatt_bridge_edges_total", "in", "DST_SENT"] == 2
    assert samples["metawatt_bridge_ended_wh_total", "in", "RECEIPTED"] == 10
    assert samples["metawatt_bridge_sent_seconds_sum", "in"] == 1.5
    assert samples["metawatt_bridge_headroom_wh", "out"] == samples["metawatt_bridge_limit_wh", "out"] == 5000
    assert ("metawatt_bridge_headroom_wh", "in") not in samples
    assert samples["metawatt_bridge_parity_difference_units",] == -5
    assert samples["metawatt_bridge_parity_exact",] == 0
    assert samples["metawatt_bridge_parity_age_seconds",] == 9
    assert samples["metawatt_bridge_parity_wh", "live"] == 11_000
    assert samples["metawatt_bridge_alarms", "parity_breached"] == 0
    assert samples["metawatt_bridge_connected",] == 1


async def test_a_bridge_that_has_not_reached_solana_says_so(face: Face) -> None:
    face.mirror.asset = None
    samples = await told(face)
    assert samples["metawatt_bridge_connected",] == 0
    assert samples["metawatt_bridge_parity_age_seconds",] == inf


async def test_a_message_that_has_ended_costs_nothing(face: Face) -> None:
    messages = await face.opened(*(deposit(number) for number in range(1, 50)))
    for message in messages:
        await face.moved(message, *TO_THE_END)
    snapshot = await Snapshots(face.mirror, face.clock).take()
    assert snapshot.figures.queues == ()


OF_THE_PULSE = {"metawatt_bridge_payer_lamports", "metawatt_bridge_payer_low"}
"""Told by the node's pulse of Solana, beside those of the minting key."""


async def test_alerts_and_panels_are_about_what_is_told(face: Face) -> None:
    await face.moved((await face.opened(deposit()))[0], *TO_THE_END)
    await face.opened(deposit(2))
    await face.parity_found()
    names = {name for name, *_ in await told(face)}
    groups = yaml.safe_load((OPS / "prometheus-rules.yml").read_text())["groups"]
    (rules,) = [group["rules"] for group in groups if group["name"] == "metawatt-bridge"]
    panels = json.loads((OPS / "grafana-dashboard.json").read_text())["panels"]
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    found = {name for expression in asked for name in re.findall(r"metawatt_bridge_[a-z_]+", expression)}
    assert len(found) >= 14
    assert found <= names | OF_THE_PULSE
