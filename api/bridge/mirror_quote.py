"""`/api/bridge/quote` and `/api/bridge/deposit`: what a crossing takes, and how it is asked for."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from api.bridge.mirror_headroom import headroom_shown, wait_secs
from api.bridge.mirror_part import PUBLIC_BASE, asset_of, bridge_route, mirror_of
from api.bridge.mirror_schemas import DepositQuestion, DepositShown, QuoteQuestion, QuoteShown
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Route
from bridge.mirror.books.limits import Headroom
from bridge.mirror.from_bsv.burial import confirmations_needed
from bridge.mirror.from_solana.memos import PREFIX
from bridge.mirror.from_solana.recipients import parsed
from bridge.mirror.ground import Asset
from bridge.mirror.message import UNITS_PER_WH, Reason
from bridge.mirror.mirror import Mirror
from bridge.mirror.origin import chain_name
from bridge.mirror.states import Direction
from bridge.programs.marker import MARKER_RENT_LAMPORTS
from certificates.token import OWNER_PROTOCOL
from config.errors import BadRequest, ErrorCode, NotFound
from config.settings import Settings
from energytag.draft import is_there
from energytag.records import ACCOUNTS

LEAST_WH: Final = 1
_SIGNATURE_LAMPORTS: Final = 5_000
_TOKEN_ACCOUNT_LAMPORTS: Final = 2_039_280
"""The rent of a token account of 165 bytes, paid where the recipient has none."""
_CERTIFICATE_BYTES: Final = 2_500
"""What a certificate adds to a transaction, with its input where it has one: a little more than most."""
_FINAL_SLOTS: Final = 32
_SLOT_SECS: Final = 0.4
_BLOCK_SECS: Final = 600
"""Of a chain whose blocks come as they do; on the dev network they may be told to come at an interval."""


class QuoteHandler:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def quote(self, request: web.Request) -> web.Response:
        asked = question_of(request, QuoteQuestion)
        mirror = mirror_of(self._node)
        asset = asset_of(mirror)
        room = await mirror.limits.headroom(asked.direction)
        paused = await mirror.pauses.paused(asked.direction)
        is_large = asked.wh >= mirror.settings.bridge.large_wh
        return json_reply(
            {
                "direction": asked.direction,
                "wh": asked.wh,
                "least_wh": LEAST_WH,
                "is_paused": paused is not None,
                "is_large": is_large,
                "fits_now": paused is None and wait_secs(room, asked.wh) == 0,
                "fees": _fees(asked.direction, mirror.settings),
                "delay": _delay(asked.direction, asked.wh, room, mirror.settings),
                "headroom": headroom_shown(room),
                "how": _how(asked.direction, mirror, asset),
            }
        )

    async def deposit(self, request: web.Request) -> web.Response:
        asked = question_of(request, DepositQuestion)
        mirror = mirror_of(self._node)
        asset = asset_of(mirror)
        recipient = await self._recipient(asked)
        return json_reply(
            {
                "genesis_hash": str(asset.genesis),
                "mint": asset.name,
                "token_program": str(asset.token_program),
                "decimals": asset.decimals,
                "mode": asset.mode,
                "custody_wallet": str(asset.owner),
                "custody_account": str(asset.custody) if asset.mode == "lock" else None,
                "memo": PREFIX + recipient,
                "units_per_wh": UNITS_PER_WH,
                "least_units": LEAST_WH * UNITS_PER_WH,
            }
        )

    async def _recipient(self, asked: DepositQuestion) -> str:
        """As a memo names it: what would be held later is refused here."""
        if asked.identity_key is not None:
            found = parsed(asked.identity_key)
            if isinstance(found, Reason):
                raise BadRequest(found.text, ErrorCode.KEY_INVALID)
            return asked.identity_key.lower()
        account_id = asked.account_id or ""
        if not is_there(await self._node.store.get(ACCOUNTS, account_id)):
            raise NotFound(f"There is no account {account_id}", ErrorCode.ACCOUNT_UNKNOWN)
        return account_id

    def routes(self) -> tuple[Route, ...]:
        return (
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/quote",
                "quoteBridge",
                "What a crossing takes: fees, time, limits, and how it is asked for",
                self.quote,
                QuoteShown,
                parameters=parameters_of(QuoteQuestion),
            ),
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/deposit",
                "readDepositInstructions",
                "Where tokens are sent to become certificates, and with which memo",
                self.deposit,
                DepositShown,
                parameters=parameters_of(DepositQuestion),
            ),
        )


def _fees(direction: Direction, settings: Settings) -> dict[str, int]:
    """Of a message that is alone in its transactions, without priority fees; with others it is less."""
    signatures = 1 + len(settings.bridge.member_key_files)
    lamports = MARKER_RENT_LAMPORTS + _TOKEN_ACCOUNT_LAMPORTS + signatures * _SIGNATURE_LAMPORTS
    return {
        "bridge_wh": 0,
        "lamports": lamports if direction is Direction.OUT else 0,
        "satoshis": 1 + -(-_CERTIFICATE_BYTES * settings.wallet.fee_rate // 1000),
    }


def _delay(direction: Direction, wh: int, room: Headroom, settings: Settings) -> dict[str, int]:
    bridge = settings.bridge
    confirmations = confirmations_needed(wh, bridge) if direction is Direction.OUT else bridge.confirmations
    source = final_secs(settings) if direction is Direction.IN else confirmations * block_secs(settings)
    waits = wait_secs(room, wh)
    return {
        "source_secs": round(source),
        "wait_secs": waits,
        "confirmations": confirmations,
        "arrival_secs": round(source) + waits,
    }


def _how(direction: Direction, mirror: Mirror, asset: Asset) -> dict[str, Any]:
    if direction is Direction.IN:
        return {
            "memo": f"{PREFIX}<account id or identity key>",
            "mint": asset.name,
            "mode": asset.mode,
            "custody_account": str(asset.custody) if asset.mode == "lock" else None,
            "instructions": f"{PUBLIC_BASE}/deposit",
        }
    return {
        "bridge_key": mirror.identity.hex(),
        "protocol": list(OWNER_PROTOCOL),
        "counterparty": "anyone",
        "exit": {"chain": chain_name(asset.genesis), "address": "<wallet, base58>", "key_id": "<of your choice>"},
    }


def final_secs(settings: Settings) -> float:
    """From a transaction on Solana to its finality, usually."""
    is_embedded = settings.node.network == "dev" and settings.solana.rpc_url is None
    return _FINAL_SLOTS * (settings.solana.embedded_slot_ms / 1000 if is_embedded else _SLOT_SECS)


def block_secs(settings: Settings) -> float:
    """Between blocks on BSV, on the average."""
    interval_secs = settings.dev.mine_interval_secs
    return interval_secs if settings.node.network == "dev" and interval_secs > 0 else _BLOCK_SECS
