"""The embedded dev chain: `DevChain`, and the collections its store must have."""

from overlay.devchain.callbacks import Callbacks
from overlay.devchain.chain import DevChain
from overlay.devchain.faucet import Payment
from overlay.devchain.records import DEV_COLLECTIONS
from overlay.devchain.reorg import Reorg
from overlay.devchain.report import Callback, Refusal, Report
from overlay.devchain.rules import Policy

__all__ = [
    "DEV_COLLECTIONS",
    "Callback",
    "Callbacks",
    "DevChain",
    "Payment",
    "Policy",
    "Refusal",
    "Reorg",
    "Report",
]
