"""Who calls, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """EnergyTag's roles, in the words of its API."""

    GC_ISSUER = "GC Issuer"
    PRODUCTION_REGISTRAR = "Production Registrar"
    MEASUREMENT_BODY = "Measurement Body"
    ACCOUNT_HOLDER = "Account Holder"
    REGISTRY_ADMINISTRATOR = "Registry Administrator"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `user_id` is None for the bearer of the node's admin token, who is registry administrator."""

    user_id: str | None
    roles: frozenset[Role]
    organisation_id: str | None = None

    @property
    def is_administrator(self) -> bool:
        return Role.REGISTRY_ADMINISTRATOR in self.roles
