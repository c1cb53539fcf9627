"""Discovery, health, metrics and the pages."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.health import Checked, Finding, HealthBoard, HealthCheck, overall, run_check

GC = "tm_metawatt_gc"


async def test_what_is_hosted(running: Any) -> None:
    topics = (await running.get("/listTopicManagers")).json()
    services = (await running.get("/listLookupServiceProviders")).json()
    assert topics[GC]["name"] == GC
    assert services["ls_metawatt"]["shortDescription"]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/getDocumentationForTopicManager?manager=", GC),
        ("/getDocumentationForLookupServiceProvider?lookupService=", "ls_metawatt"),
    ],
)
async def test_documentation(running: Any, path: str, known: str) -> None:
    reply = await running.get(path + known)
    assert reply.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert reply.body.startswith(b"#")
    for unknown in (path + "nobody", path, path.partition("?")[0]):
        reply = await running.get(unknown)
        assert (reply.status, reply.body) == (200, b"No documentation found!")


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/healthz"])
async def test_health_of_a_ready_node(running: Any, path: str) -> None:
    reply = await running.get(path)
    report = reply.json()
    assert reply.status == 200
    assert (report["live"], report["ready"]) == (True, True)
    assert report["service"]["network"] == "dev"
    assert report["service"]["port"] == running.server.port
    assert report["service"]["topicManagerCount"] > 0
    assert {"process", "lifecycle"} < {check["name"] for check in report["checks"]}
    assert reply.headers["Cache-Control"] == "no-store"


async def test_live_looks_at_the_process_alone(running: Any) -> None:
    report = (await running.get("/health/live")).json()
    assert {check["scope"] for check in report["checks"]} == {"live"}


def checked(status: str, *, critical: bool = True, scope: str = "ready") -> Checked:
    async def probe() -> Finding:
        return Finding()

    return Checked(HealthCheck("x", scope, critical, probe), Finding(status), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([], "ok"),
        ([checked("ok")], "ok"),
        ([checked("ok"), checked("degraded")], "degraded"),
        ([checked("error", critical=False)], "degraded"),
        ([checked("error"), checked("ok")], "error"),
    ],
)
def test_the_worst_critical_finding_counts(found: list[Checked], status: str) -> None:
    assert overall(found) == status


async def test_a_check_may_neither_raise_nor_hang() -> None:
    import asyncio

    async def raises() -> Finding:
        raise ValueError("secret address")

    async def hangs() -> Finding:
        await asyncio.sleep(60)
        return Finding()

    failed = await run_check(HealthCheck("raises", "ready", True, raises))
    assert (failed.finding.status, failed.finding.message) == ("error", "failed (ValueError)")
    late = await run_check(HealthCheck("hangs", "ready", True, hangs), timeout_secs=0.05)
    assert late.finding.message == "no answer within 0.05 seconds"


async def test_asking_often_does_not_check_often() -> None:
    runs, now = 0, 0.0

    async def probe() -> Finding:
        nonlocal runs
        runs += 1
        return Finding()

    board = HealthBoard(lambda: [HealthCheck("x", "ready", True, probe)], lambda: now)
    for _ in range(10):
        await board.findings()
    assert runs == 1
    now = 1.5
    await board.findings()
    assert runs == 2


async def test_version(running: Any) -> None:
    told = (await running.get("/version")).json()
    assert (told["name"], told["network"], told["sdk"]) == ("metawatt", "dev", "2.4.0")


async def samples(running: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    reply = await running.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(reply.body.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a metric is told twice"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_metrics(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    await running.submit(b"nonsense")
    told = await samples(running)
    assert told["metawatt_submissions_total", (("outcome", "admitted"), ("topic", GC))] == 1
    assert told["metawatt_refusals_total", (("code", "ERR_ENVELOPE_MALFORMED"),)] == 1
    assert told["metawatt_http_errors_total", (("code", "ERR_ENVELOPE_MALFORMED"),)] == 1
    submit = (("method", "POST"), ("route", "/submit"))
    assert told["metawatt_http_request_seconds_count", submit] == 2
    assert told["metawatt_http_requests_total", (*submit, ("status", "200"))] == 1
    assert told["metawatt_stage_seconds_count", (("stage", "commit"),)] == 1
    assert told["metawatt_chain_tip_height", ()] > 100
    assert told["metawatt_http_active", (("gate", "submissions"),)] == 0
    assert told["metawatt_http_body_bytes", ()] == 0
    assert told["metawatt_outputs", ()] == 1
    assert sum(number for (name, _), number in told.items() if name == "metawatt_index_entries") >= 1


async def test_unknown_paths_are_one_label(running: Any) -> None:
    for number in range(20):
        await running.get(f"/nowhere/{number}")
    told = await samples(running)
    routes = {dict(labels)["route"] for name, labels in told if name == "metawatt_http_requests_total"}
    assert not [route for route in routes if "nowhere" in route]


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing_and_run_nothing(running: Any, path: str) -> None:
    reply = await running.get(path)
    page = reply.body.decode()
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert b64encode(sha256(style.encode()).digest()).decode() in policy
    assert not re.findall(r"<script|<iframe|<img|@import|url\(|style=|\son\w+=", page)
    assert not re.findall(r'(?:href|src)="(?:https?:)?//', page)


async def test_the_front_page_escapes_what_it_shows(launch: Any) -> None:
    running = await launch(node={"name": "<b>&name"})
    page = (await running.get("/")).body.decode()
    assert "<b>&name" not in page
    assert "&lt;b&gt;&amp;name" in page


async def test_the_documentation_shows_every_operation(running: Any) -> None:
    page = (await running.get("/docs")).body.decode()
    document = (await running.get("/openapi.json")).json()
    operations = [entry["operationId"] for verbs in document["paths"].values() for entry in verbs.values()]
    assert sorted(re.findall(r'<details id="(?!schema-)([^"]+)"', page)) == sorted(operations)
