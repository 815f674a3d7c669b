"""The published methods, one file each: frozen config, network, user class with fit, embed or predict, save, load."""

from histoweave.models._load import load
from histoweave.models._spamask import SpaMask
from histoweave.models._spamask_config import SpaMaskConfig

__all__ = ["SpaMask", "SpaMaskConfig", "load"]
