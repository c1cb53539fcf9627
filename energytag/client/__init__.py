"""The registry's client for Python: asynchronous, typed.

    async with RegistryClient("http://127.0.0.1:8080", token=token) as registry:
        me = await registry.users.me()
        async for bundle in registry.certificates.query(GranularCertificateQuery(…)):
            print(bundle.issuance_id, bundle.bundle_quantity)

Bodies and answers are the models of `energytag.models`. What the registry refuses is raised as the exception that
it is within the registry, a `MetawattError` with its code.
"""

from energytag.client.actions import Actions, Recurring
from energytag.client.certificates import Certificates
from energytag.client.connection import Connection, NotFinished
from energytag.client.directory import Accounts, Devices, Organisations, Users
from energytag.client.login import Signer, wallet_login
from energytag.client.metering import Matching, Measurements
from energytag.client.registry import RegistryClient
from energytag.client.storage import Storage

__all__ = [
    "Accounts",
    "Actions",
    "Certificates",
    "Connection",
    "Devices",
    "Matching",
    "Measurements",
    "NotFinished",
    "Organisations",
    "Recurring",
    "RegistryClient",
    "Signer",
    "Storage",
    "Users",
    "wallet_login",
]
