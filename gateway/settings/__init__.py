"""The settings of one installation: read once by the doors, then handed on as values."""

from gateway.settings.fields import Settings, Spec, specs
from gateway.settings.secret_key import key_file, master_key
from gateway.settings.shown import describe, settings_table
from gateway.settings.sources import SettingsError
from gateway.settings.upstreams import ONLY, ModelSettings, UpstreamSettings
from gateway.settings.values import Address, NamedSecret, Secret, is_loopback

__all__ = [
    "ONLY",
    "Address",
    "ModelSettings",
    "NamedSecret",
    "Secret",
    "Settings",
    "SettingsError",
    "Spec",
    "UpstreamSettings",
    "describe",
    "is_loopback",
    "key_file",
    "master_key",
    "settings_table",
    "specs",
]
