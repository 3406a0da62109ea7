"""Names of devices: DALI's, and PyTorch's for the same."""

from __future__ import annotations

import torch

from cellmix_dali.errors import unknown_name

__all__ = ["DEVICES", "device_name"]

DEVICES = ("cpu", "gpu")


def device_name(device: str | torch.device) -> str:
    """Return DALI's name of a device, "cpu" or "gpu", for it or PyTorch's: "cuda", "cuda:1", `torch.device`.

    Raises
    ------
    ArgumentError
        If the device is unknown.
    """
    if isinstance(device, str) and device in DEVICES:
        return device
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError):
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise unknown_name("device", device, DEVICES)
    return "gpu" if kind == "cuda" else "cpu"
