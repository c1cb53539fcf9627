"""The page of a cancellation statement: for reading, and for printing on A4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Any, Final

from api.pages import Pages
from energytag.models.matching import CancellationStatement, Retirement

_WH_IN_MWH: Final = 10**6
_NARROW_SPACE: Final = "\u202f"
_DASH: Final = "–"


@dataclass(frozen=True, slots=True)
class Stamped:
    """A transaction as the page shows it; `mark` is what lines refer to it by, the block is None when it is
    not proven yet."""

    mark: str
    txid_hex: str
    height: int | None
    time: str | None

    @classmethod
    def of(cls, number: int, txid_hex: str, proof: Mapping[str, Any]) -> Stamped:
        time = proof.get("block_time")
        return cls(f"T{number}", txid_hex, proof.get("block_height"), None if time is None else moment_text(time))


@dataclass(frozen=True, slots=True)
class Described:
    """A device as the page describes it once: the first line that has it tells what there is to tell."""

    mark: str
    line: Retirement


def device_of(line: Retirement) -> tuple[str, ...]:
    """What tells devices apart, and one device before and after it was registered anew."""
    return (
        line.device_id,
        line.device_name,
        line.energy_source,
        line.zone,
        line.country,
        line.issuing_body,
        line.issuer_key,
    )


class StatementPage:
    """Renders statements; one for a node."""

    def __init__(self, name: str, network: str) -> None:
        self._pages = Pages(name=name, network=network, version=installed_version("metawatt"))

    def render(self, told: CancellationStatement) -> str:
        transactions = {
            txid_hex: Stamped.of(number, txid_hex, told.timestamp_proofs.get(txid_hex, {}))
            for number, txid_hex in enumerate(dict.fromkeys(each.tx_id for each in told.statement.retirements), 1)
        }
        lines: dict[tuple[str, ...], Retirement] = {}
        for line in told.statement.retirements:
            lines.setdefault(device_of(line), line)
        devices = {key: Described(f"D{number}", line) for number, (key, line) in enumerate(lines.items(), 1)}
        return self._pages.render(
            "statement.html",
            told=told,
            statement=told.statement,
            transactions=transactions,
            devices=devices,
            device_of=device_of,
            has_many=len(told.statement.beneficiaries) > 1,
            mwh=mwh_text,
            whole=whole_text,
            moment=moment_text,
            interval=interval_text,
        )


def whole_text(number: int) -> str:
    """An integer in groups of three digits."""
    return f"{number:,}".replace(",", _NARROW_SPACE)


def mwh_text(energy_wh: int) -> str:
    """Energy in MWh, exact: no digit is rounded away."""
    whole, rest = divmod(energy_wh, _WH_IN_MWH)
    return f"{whole_text(whole)}.{rest:06d}"


def moment_text(moment: str) -> str:
    """A moment in UTC for reading, without seconds that are zero."""
    day, _, clock = moment.partition("T")
    return f"{day} {_clock(clock)}"


def interval_text(start: str, end: str) -> str:
    """An interval for reading; its day is told once when it has only one."""
    day, _, clock = end.partition("T")
    return f"{moment_text(start)}{_DASH}{_clock(clock) if start.startswith(day) else moment_text(end)}"


def _clock(clock: str) -> str:
    return clock.removesuffix("Z").removesuffix("+00:00").removesuffix(":00")
