"""The option ``--device``, of all commands that run a network."""

import re

from histoquilt.cli._errors import CommandError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(device: str) -> None:
    """Raise for what is no device anywhere; whether it is there is asked once torch is loaded."""
    if not _DEVICE.fullmatch(device):
        raise CommandError(f"unknown --device {device!r}. Use auto, cpu, mps, cuda, or cuda:0, cuda:1 ...")
