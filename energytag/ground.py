"""What the parts of one registry have in common."""

from __future__ import annotations

from dataclasses import dataclass

from basket.keyring import Keyring
from certificates.policy import Policy
from config.settings import Settings
from overlay.clock import NowMs
from overlay.engine import Engine
from overlay.headers import HeaderChain
from store.port import Store


@dataclass(frozen=True, slots=True)
class RegistryGround:
    """One store and engine, the node's keys, what it believes of certificates, and one sense of time."""

    store: Store
    engine: Engine
    headers: HeaderChain
    keyring: Keyring
    policy: Policy
    settings: Settings
    now_ms: NowMs
