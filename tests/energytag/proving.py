"""How a test has a registry's transactions mined and proven."""

from __future__ import annotations

from tests.energytag.kit import RegistryNode


async def prove(registry: RegistryNode) -> None:
    """Broadcast what was admitted, mine it, and fetch the proofs."""
    await registry.node.engine.tend()
    await registry.chain.dev.mine()
    await registry.node.headers.sync()
    await registry.node.engine.refresh_proofs()
