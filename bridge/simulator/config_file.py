"""The simulator's `config.yaml`, in the shape that GridTokenX's simulator has it:

    api_gateway:
      url: http://localhost:8080
      endpoint: /api/meters/submit-reading
    meter:
      id: METER-001
      wallet_address: <base58>
      reading_interval_seconds: 300
    signing:
      private_key_path: ./keys/meter_private_key.json

Every section and field may be left out. Fields of others are passed over: the file may serve other programs too.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import ErrorCode, MetawattError


class SimulatorConfigInvalid(MetawattError):
    """The simulator's configuration cannot be used."""

    default_code = ErrorCode.SETTINGS_INVALID


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class GatewayPart(_Part):
    url: str | None = None
    endpoint: str | None = Field(None, pattern=r"^/")


class MeterPart(_Part):
    id: str | None = None
    wallet_address: str | None = None
    reading_interval_seconds: int | None = Field(None, ge=1, le=3600)


class SigningPart(_Part):
    private_key_path: Path | None = None


class SimulatorConfig(_Part):
    """What the file says; None where it says nothing."""

    api_gateway: GatewayPart = GatewayPart()
    meter: MeterPart = MeterPart()
    signing: SigningPart = SigningPart()


def read_config(path: Path) -> SimulatorConfig:
    """The file's configuration; a relative key path is beside the file. Raises `SimulatorConfigInvalid`."""
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
        config = SimulatorConfig.model_validate(value or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SimulatorConfigInvalid(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise SimulatorConfigInvalid(f"{path}: {_told(error)}") from error
    return _beside(config, path.parent)


def _beside(config: SimulatorConfig, folder: Path) -> SimulatorConfig:
    path = config.signing.private_key_path
    if path is None:
        return config
    return config.model_copy(update={"signing": SigningPart(private_key_path=folder / path)})


def _told(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in faults)
