"""Methods about the cluster itself: slots, epochs, blocks, blockhashes and fees."""

from __future__ import annotations

from typing import Any, Final

from solders.hash import Hash

from bridge.cluster.executed import Block
from bridge.cluster.refusals import Malformed
from bridge.cluster.rpc.context import API_VERSION, FEATURE_SET, Context, Methods, settled
from bridge.cluster.rpc.faults import RpcCode, RpcFault, invalid
from bridge.cluster.rpc.limits import ACCOUNTS_MOST, BLOCKS_MOST, LEADERS_MOST, TRANSACTION_MOST_BYTES
from bridge.cluster.rpc.params import Config, Params, address, binary, whole
from bridge.cluster.rpc.transaction_views import ENCODINGS, accounts_view, versioned_view

_SLOTS_IN_EPOCH: Final = 432_000
_DETAILS: Final = ("full", "accounts", "signatures", "none")


class LedgerMethods:
    """The cluster, as one validator tells of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cluster = context.cluster

    # Who and where

    def health(self, params: Params) -> str:
        return "ok"

    def version(self, params: Params) -> dict[str, Any]:
        return {"solana-core": API_VERSION, "feature-set": FEATURE_SET}

    def identity(self, params: Params) -> dict[str, str]:
        return {"identity": self._leader()}

    def genesis_hash(self, params: Params) -> str:
        return str(self._cluster.genesis_hash)

    def cluster_nodes(self, params: Params) -> list[dict[str, Any]]:
        unknown = dict.fromkeys(("gossip", "tpu", "tpuQuic", "rpc", "pubsub", "shredVersion"))
        return [{"pubkey": self._leader(), "version": API_VERSION, "featureSet": FEATURE_SET, **unknown}]

    def slot_leader(self, params: Params) -> str:
        return self._leader()

    def slot_leaders(self, params: Params) -> list[str]:
        params.integer(0)
        count = params.required(1, lambda value: whole(value, "limit", LEADERS_MOST))
        return [self._leader()] * count

    def _leader(self) -> str:
        """There is one validator, which has no key: it is called as the genesis is."""
        return str(self._cluster.genesis_hash)

    # Slots and epochs

    def slot(self, params: Params) -> int:
        config = params.config(0)
        return self._context.at(config.commitment, config)

    def block_height(self, params: Params) -> int:
        config = params.config(0)
        self._context.at(config.commitment, config)
        return self._cluster.block_height(config.commitment)

    def transaction_count(self, params: Params) -> int:
        config = params.config(0)
        self._context.at(config.commitment, config)
        return self._cluster.transaction_count

    def epoch_info(self, params: Params) -> dict[str, int]:
        config = params.config(0)
        slot = self._context.at(config.commitment, config)
        return {
            "absoluteSlot": slot,
            "blockHeight": self._cluster.block_height(config.commitment),
            "epoch": slot // _SLOTS_IN_EPOCH,
            "slotIndex": slot % _SLOTS_IN_EPOCH,
            "slotsInEpoch": _SLOTS_IN_EPOCH,
            "transactionCount": self._cluster.transaction_count,
        }

    def epoch_schedule(self, params: Params) -> dict[str, Any]:
        return {
            "slotsPerEpoch": _SLOTS_IN_EPOCH,
            "leaderScheduleSlotOffset": _SLOTS_IN_EPOCH,
            "warmup": False,
            "firstNormalEpoch": 0,
            "firstNormalSlot": 0,
        }

    # Blocks

    def first_available(self, params: Params) -> int:
        return self._cluster.first_available

    def blocks(self, params: Params) -> list[int]:
        """The last slot may be left out, with the configuration in its place or after it."""
        first = params.integer(0)
        has_last = isinstance(params.raw(1), int)
        config = params.config(2 if has_last or params.raw(1) is None else 1)
        commitment = settled(config, "getBlocks")
        last = params.integer(1) if has_last else self._cluster.slot(commitment)
        if last - first > BLOCKS_MOST:
            raise invalid(f"Slot range too large; max {BLOCKS_MOST}")
        return self._cluster.blocks(first, last, commitment) if last >= first else []

    def blocks_with_limit(self, params: Params) -> list[int]:
        first = params.integer(0)
        limit = params.required(1, lambda value: whole(value, "limit", BLOCKS_MOST))
        commitment = settled(params.config(2), "getBlocksWithLimit")
        last = min(self._cluster.slot(commitment), first + BLOCKS_MOST - 1)
        return self._cluster.blocks(first, last, commitment)[:limit] if last >= first else []

    async def block_time(self, params: Params) -> int:
        slot = params.integer(0)
        secs = await self._cluster.block_time(slot)
        if secs is None:
            raise self._missing(slot)
        return secs

    async def block(self, params: Params) -> dict[str, Any]:
        slot, config = params.integer(0), params.config(1)
        block = await self._cluster.block(slot, settled(config, "getBlock"))
        if block is None:
            raise self._missing(slot)
        return _block_view(block, config)

    def _missing(self, slot: int) -> RpcFault:
        """Why there is no block: it is yet to come, forgotten, or was never made."""
        first = self._cluster.first_available
        if slot < first:
            message = f"Block {slot} cleaned up, does not exist on node. First available block: {first}"
            return RpcFault(RpcCode.BLOCK_CLEANED_UP, message, {"firstAvailableBlock": first})
        if slot > self._cluster.slot("processed") or self._cluster.commitment_of(slot) is not None:
            return RpcFault(RpcCode.BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")
        return RpcFault(RpcCode.SLOT_SKIPPED, f"Slot {slot} was skipped, or missing in long-term storage")

    # Blockhashes and fees

    def latest_blockhash(self, params: Params) -> dict[str, Any]:
        config = params.config(0)
        slot = self._context.at(config.commitment, config)
        latest = self._cluster.latest_blockhash(config.commitment)
        value = {"blockhash": str(latest.value), "lastValidBlockHeight": latest.last_valid_block_height}
        return self._context.answer(slot, value)

    def is_blockhash_valid(self, params: Params) -> dict[str, Any]:
        blockhash, config = params.required(0, _hash), params.config(1)
        slot = self._context.at(config.commitment, config)
        return self._context.answer(slot, self._cluster.is_blockhash_valid(blockhash, config.commitment))

    def fee_for_message(self, params: Params) -> dict[str, Any]:
        message = params.required(0, lambda value: binary(value, "base64", TRANSACTION_MOST_BYTES))
        config = params.config(1)
        slot = self._context.at(config.commitment, config)
        try:
            fee = self._cluster.fee_for(message, config.commitment)
        except Malformed as error:
            raise invalid(error.message) from None
        return self._context.answer(slot, fee)

    def prioritization_fees(self, params: Params) -> list[dict[str, int]]:
        """No block is ever full here: nothing beyond the base fee is needed to land."""
        for each in params.listed(0, ACCOUNTS_MOST) if params.raw(0) is not None else ():
            address(each)
        slot = self._cluster.slot("processed")
        return [{"slot": slot, "prioritizationFee": 0}]

    def methods(self) -> Methods:
        return {
            "getHealth": self.health,
            "getVersion": self.version,
            "getIdentity": self.identity,
            "getGenesisHash": self.genesis_hash,
            "getClusterNodes": self.cluster_nodes,
            "getSlotLeader": self.slot_leader,
            "getSlotLeaders": self.slot_leaders,
            "getSlot": self.slot,
            "getBlockHeight": self.block_height,
            "getTransactionCount": self.transaction_count,
            "getEpochInfo": self.epoch_info,
            "getEpochSchedule": self.epoch_schedule,
            "getFirstAvailableBlock": self.first_available,
            "minimumLedgerSlot": self.first_available,
            "getBlocks": self.blocks,
            "getBlocksWithLimit": self.blocks_with_limit,
            "getBlockTime": self.block_time,
            "getBlock": self.block,
            "getLatestBlockhash": self.latest_blockhash,
            "isBlockhashValid": self.is_blockhash_valid,
            "getFeeForMessage": self.fee_for_message,
            "getRecentPrioritizationFees": self.prioritization_fees,
        }


def _block_view(block: Block, config: Config) -> dict[str, Any]:
    details = config.choice("transactionDetails", _DETAILS, "full")
    encoding = config.choice("encoding", ENCODINGS, "json")
    most_version = config.integer("maxSupportedTransactionVersion", most=255)
    shown: dict[str, Any] = {
        "previousBlockhash": str(block.previous_blockhash),
        "blockhash": str(block.blockhash),
        "parentSlot": block.parent,
        "blockTime": block.block_time,
        "blockHeight": block.height,
    }
    if details == "full":
        shown["transactions"] = [versioned_view(each, encoding, most_version) for each in block.transactions]
    elif details == "accounts":
        shown["transactions"] = [accounts_view(each, most_version) for each in block.transactions]
    elif details == "signatures":
        shown["signatures"] = [str(each.signature) for each in block.transactions]
    if config.raw("rewards") is not False:
        shown["rewards"] = []
    return shown


def _hash(value: Any) -> Hash:
    """A blockhash, which is written as an address is."""
    return Hash(bytes(address(value)))
