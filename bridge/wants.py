"""What a listener wants to hear, and where a notice looks for those who may want it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from bridge.notices import Notice, NoticeKind

Place: TypeAlias = tuple[str, str]

ALL_KINDS: Final = frozenset(NoticeKind)
EVERYWHERE: Final[Place] = ("", "")


@dataclass(frozen=True, slots=True)
class Wants:
    """Notices of these kinds that are about one of these meters and one of these wallets; None stands for all.
    `may` are the meters that the listener may hear of at all. A notice about no reading in particular (a batch's)
    has a right kind or not; nothing else decides."""

    kinds: frozenset[NoticeKind] = ALL_KINDS
    meters: frozenset[str] | None = None
    wallets: frozenset[str] | None = None
    may: frozenset[str] | None = None

    def takes(self, notice: Notice) -> bool:
        if notice.kind not in self.kinds:
            return False
        if is_general(notice):
            return True
        return (
            (self.may is None or notice.meter in self.may)
            and (self.meters is None or notice.meter in self.meters)
            and (self.wallets is None or notice.wallet in self.wallets)
        )

    def places(self) -> Iterator[Place]:
        """Where the listener is to be found: by the meters or the wallets that it named, else by those it may
        hear of. Places of one kind only, so that no notice finds it twice."""
        if self.meters is not None:
            yield from (("meter", meter) for meter in self.meters)
        elif self.wallets is not None:
            yield from (("wallet", wallet) for wallet in self.wallets)
        elif self.may is not None:
            yield from (("meter", meter) for meter in self.may)
        else:
            yield EVERYWHERE


def is_general(notice: Notice) -> bool:
    """Whether it is about no reading in particular."""
    return notice.meter is None and notice.wallet is None


def places_of(notice: Notice) -> Iterator[Place]:
    """Where those are to be found who may want this notice."""
    yield EVERYWHERE
    if notice.meter is not None:
        yield "meter", notice.meter
    if notice.wallet is not None:
        yield "wallet", notice.wallet
