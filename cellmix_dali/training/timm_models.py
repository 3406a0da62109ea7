"""Models that timm makes: its own by name, those of a hub, and those in a folder of such a hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, CellMixDaliError, needing

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HUB", "TIMM", "TimmModel", "timm_model"]

#: How the names begin.
TIMM, HUB = "timm:", "hf-hub:"
_FOLDER, _CONFIG = "local-dir:", "config.json"


@dataclass(frozen=True)
class TimmModel:
    """A model as `timm.create_model` makes it.

    Attributes
    ----------
    name : str
        What timm calls it: its own name, ``hf-hub:ORG/NAME`` or ``local-dir:FOLDER``.
    has_weights : bool
        Whether the name stands for weights, too; timm's own names stand for an architecture.
    """

    name: str
    has_weights: bool = False

    def check(self) -> None:
        """Refuse a model that cannot be made; a hub is asked only when it is.

        Raises
        ------
        ArgumentError
            If there is no such model.
        MissingDependencyError
            If timm is not installed.
        """
        timm = _timm()
        if self.has_weights or timm.is_model(self.name):
            return
        near = timm.list_models(f"*{self.name}*")[:5]
        hint = f" Some that are like it: {', '.join(near)}." if near else " timm.list_models() tells all."
        raise ArgumentError(f"timm has no model {self.name!r}.{hint}")

    def make(self, num_classes: int, image_size: int | None, *, pretrained: bool = False) -> nn.Module:
        """Make it.

        Parameters
        ----------
        num_classes : int
            Outputs; 0 for features.
        image_size : int, optional
            Side of the images in pixels, of which transformers are made; by default the model's own.
        pretrained : bool, default False
            Whether a model of timm's own begins with timm's weights, which it downloads.

        Raises
        ------
        CellMixDaliError
            If it cannot be made, or its weights cannot be fetched or read.
        """
        options: dict[str, Any] = {"pretrained": pretrained or self.has_weights, "num_classes": num_classes}
        sized = options if image_size is None else {"img_size": image_size} | options
        try:
            return self._made(sized)
        except TypeError:  # convolutional networks take any size, and no such argument
            return self._made(options)

    def own_size(self) -> int | None:
        """Return the side of images that a model of timm's own is made for; None where timm does not know."""
        timm = _timm()
        told = timm.get_pretrained_cfg(self.name) if not self.has_weights and timm.is_model(self.name) else None
        return None if told is None else int(told.input_size[-1])

    def _made(self, options: dict[str, Any]) -> nn.Module:
        try:
            model: nn.Module = _timm().create_model(self.name, **options)
        except TypeError:
            raise
        except Exception as error:  # hubs and files of weights have errors of their own
            if not options["pretrained"]:
                raise
            do = "See that the folder is whole, and made by this version of timm or an older one."
            if not self.name.startswith(_FOLDER):
                do = (
                    "It is downloaded where it is not in the cache of huggingface_hub (HF_HOME): for models that ask "
                    "for a login set HF_TOKEN. Without a network copy the model's folder, and give that."
                )
            raise CellMixDaliError(
                f"The model {self.name} cannot be loaded ({type(error).__name__}: {str(error)[:300]}). {do}"
            ) from error
        return model


def timm_model(name: str) -> TimmModel | None:
    """Return what timm makes of a ``--model``; None where the name is of another kind.

    Parameters
    ----------
    name : str
        ``timm:NAME``; ``hf-hub:ORG/NAME``, a model of the Hugging Face hub; or a folder with such a model's
        ``config.json`` and weights.
    """
    if name.startswith(TIMM):
        return timm_model(name.removeprefix(TIMM)) or TimmModel(name.removeprefix(TIMM))
    if name.startswith(HUB):
        return TimmModel(name, has_weights=True)
    folder = Path(name.removeprefix(_FOLDER)).expanduser()
    if not folder.is_dir():
        return None
    try:
        told = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        if not isinstance(told, dict) or "architecture" not in told:
            raise ValueError('it has no "architecture"')
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"The folder {folder} holds no model of timm ({_CONFIG}: {error}). Give a folder as the hub has it, with "
            f"{_CONFIG} and the weights."
        ) from error
    return TimmModel(f"{_FOLDER}{folder.absolute()}", has_weights=True)


def _timm() -> Any:
    with needing("This model needs timm", "Install it (pip install timm), or use another kind of model."):
        return import_module("timm")
