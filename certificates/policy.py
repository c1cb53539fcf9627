"""What a node believes: its trusted issuers, its bridges, its margins. Settings, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from certificates.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Issuer:
    """A trusted issuing body: identity key (33 bytes), name for people, and the countries (capitals) that
    it may issue for; none for all."""

    identity_key: bytes
    name: str
    regions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What part of all certificates a topic takes: an energy source (as `source_word` spells it), a country
    (capitals), both or, when None, all."""

    source: str | None = None
    region: str | None = None

    @property
    def is_everything(self) -> bool:
        return self.source is None and self.region is None

    def includes(self, bundle: Bundle) -> bool:
        if self.region is not None and bundle.country != self.region:
            return False
        return self.source is None or bundle.source == self.source


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything besides the transaction that admission depends on, the same for every judgement.

    `bridge_keys` are identity keys. Margins are factors on capacity × hours, exact, by technology.
    `accept_unissued` admits the first, two-field tokens where a topic takes every certificate.
    """

    issuers: tuple[Issuer, ...] = ()
    bridge_keys: frozenset[bytes] = frozenset()
    accept_unissued: bool = False
    capacity_margin: Fraction = Fraction(11, 10)
    technology_margins: Mapping[str, Fraction] = field(default_factory=dict)

    def trusts(self, issuer_key: bytes, region: str | None) -> bool:
        """Whether an issuer is trusted for a country (capitals), or, when None, for any."""
        for issuer in self.issuers:
            everywhere = region is None or not issuer.regions
            if issuer.identity_key == issuer_key and (everywhere or region in issuer.regions):
                return True
        return False

    def margin(self, technology: str) -> Fraction:
        return self.technology_margins.get(technology, self.capacity_margin)
