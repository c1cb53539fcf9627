"""One action that the node cannot carry out does not hold up the others."""

from __future__ import annotations

import pytest

from energytag.actions import Kind, State
from energytag.private import PRIVATE
from store.port import Patch
from tests.energytag.kit import ACCOUNT, DEVICE, RegistryNode, readings


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energytag.queue._PAUSE_SECS", 0.01)


async def kept(registry: RegistryNode, **changes: object) -> dict[str, str]:
    """A private bundle of which a part was changed since; the request that publishes it."""
    request = {"device_id": DEVICE, "readings": readings(0, 1), "broadcast": False}
    action = (await registry.resolved(Kind.CREATE_MANY, request)).action
    await registry.store.commit([Patch(PRIVATE, action.action_id, changes)])
    return {"source_account_id": ACCOUNT, "private_action_id": action.action_id}


async def test_what_no_topic_takes_any_more_is_refused(registry: RegistryNode) -> None:
    """The topics are those of the day on which it was signed, and the operator may host others since."""
    publish = await kept(registry, topics=["tm_metawatt_gc", "tm_metawatt_gc_peat"])
    refused = (await registry.act(Kind.PUBLISH, publish, wait_secs=30)).action
    assert refused.state is State.REJECTED, refused.state
    await registry.issue(5, 1)


async def test_what_the_nodes_own_rules_refuse_is_refused(registry: RegistryNode) -> None:
    publish = await kept(registry, scripts=[b"", b""])
    refused = (await registry.act(Kind.PUBLISH, publish, wait_secs=30)).action
    assert refused.state is State.REJECTED, refused.state
    assert refused.error is not None and refused.error["code"] == "ERR_INTERNAL"
    await registry.issue(5, 1)
