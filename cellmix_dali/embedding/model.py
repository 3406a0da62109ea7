"""Models of all kinds as one: normalised images in, one vector for each tile out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ArgumentError, CellMixDaliError, needing
from ..training.configuration import ModelConfiguration
from ..training.models import own_model
from ..training.timm_models import timm_model
from .settings import ModelSettings

__all__ = ["FeatureModel", "open_model"]

_FILES = (".pt", ".ts", ".jit", ".torchscript", ".pt2")
_HEADS = ("head", "fc", "classifier", "_fc")  # layers of a classifier, which features do not need


class FeatureModel:
    """A model that makes features of tiles.

    Parameters
    ----------
    module : torch.nn.Module or callable
        Takes images float32 (n, 3, size, size), normalised. Returns (n, features), or tokens (n, tokens, features), or
        a map (n, features, rows, columns), whose mean over the places is taken.
    configuration : ModelConfiguration, optional
        What it takes; by default what the module says of itself: ``data_config``, ``pretrained_cfg`` or
        ``default_cfg``.
    settings : ModelSettings, optional
        How it is run.
    name : str, optional
        For reports.

    Raises
    ------
    ArgumentError
        If the device is not there, or the module has no such layers.

    Attributes
    ----------
    configuration : ModelConfiguration
    settings : ModelSettings
    name : str
    notes : tuple of str
        What a person should know.
    """

    def __init__(
        self,
        module: Any,
        configuration: ModelConfiguration | None = None,
        settings: ModelSettings | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.settings = settings or ModelSettings()
        self.name = type(module).__name__ if name is None else name
        self.configuration = configuration or ModelConfiguration.of_module(module)
        self.notes: tuple[str, ...] = ()
        try:
            self.device = torch.device(self.settings.device)
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ArgumentError(f"device={self.settings.device!r} cannot be used: {error}") from error
        if isinstance(module, nn.Module):
            with suppress(NotImplementedError):  # an exported program is as it was exported
                module = module.eval()
            form = torch.channels_last if self.settings.channels_last else torch.preserve_format
            module = module.to(device=self.device, memory_format=form)
        self.module = module
        self._outputs: Any = _Outputs(module, self.settings)
        if self.settings.compiled:
            self._outputs = torch.compile(self._outputs)
        mean, std = (np.array(of, np.float64) for of in (self.configuration.mean, self.configuration.std))
        self._scale, self._shift = (
            torch.tensor(of, dtype=torch.float32).view(1, 3, 1, 1) for of in (1 / (255 * std), mean / std)
        )

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Bring tiles to the device and normalise them.

        Parameters
        ----------
        images : uint8 array (n, size, size, 3)
            RGB.

        Returns
        -------
        float32 tensor (n, 3, size, size)
        """
        pixels = torch.from_numpy(images)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
            self._scale, self._shift = self._scale.to(self.device), self._shift.to(self.device)
        pixels = pixels.permute(0, 3, 1, 2)
        if not self.settings.channels_last:
            pixels = pixels.contiguous()  # of bytes this takes a quarter of the time
        return torch.mul(pixels, self._scale).sub_(self._shift)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features (n, numbers) of prepared images, float32, on the device."""
        kind = None if self.settings.amp == "off" else getattr(torch, self.settings.amp)
        cast: Any = nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind)
        with torch.inference_mode(), cast:
            found: Tensor = self._outputs(images)
        return found.float()

    def width(self, size: int) -> int:
        """Try the model on an image of a size, and return how many numbers a feature has.

        Raises
        ------
        ArgumentError
            If the model does not take such images, or returns no vectors.
        """
        try:
            found = self(self.prepare(np.full((2, size, size, 3), 255, np.uint8)))
        except CellMixDaliError:
            raise
        except Exception as error:  # a model may raise anything
            raise ArgumentError(
                f"The model {self.name} does not take 2 images of {size} x {size} pixels "
                f"({type(error).__name__}: {str(error)[:300]}). Give the tile size that it is made for."
            ) from error
        if found.ndim != 2 or len(found) != 2 or not found.shape[1]:
            raise ArgumentError(
                f"The model {self.name} makes {tuple(found.shape)} of 2 images: expected one vector for each. Choose "
                "tokens='cls' or 'mean', or layers."
            )
        return int(found.shape[1])

    def digest(self) -> str:
        """Return the SHA-256 of the weights, so that a job goes on with the same ones alone; empty if it has none."""
        if not isinstance(self.module, nn.Module):
            return ""
        found = hashlib.sha256()
        for name, value in self.module.state_dict().items():
            if not isinstance(value, Tensor):
                continue
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()


def open_model(name: str, settings: ModelSettings | None = None, *, size: int | None = None) -> FeatureModel:
    """Make a model by its name.

    Parameters
    ----------
    name : str
        ``timm:NAME``, ``hf-hub:ORG/NAME`` or a folder, see `cellmix_dali.training.timm_models.timm_model`;
        ``module:callable``, a function of yours without arguments that returns a module, or a module and
        a dict of its configuration (``mean``, ``std``, ``input_size``, ``mpp``); or a file of TorchScript (``.pt``,
        ``.ts``) or of `torch.export` (``.pt2``), with its configuration in a JSON file of its name, or in its own
        extra file ``config.json``.
    settings : ModelSettings, optional
        How it is run.
    size : int, optional
        Side of the images, of which timm's transformers are made; by default the model's own.

    Returns
    -------
    FeatureModel

    Raises
    ------
    ArgumentError
        If there is no such model, or its weights do not fit.
    MissingDependencyError
        If it is timm's, and timm is not installed.
    """
    settings = settings or ModelSettings()
    configuration: ModelConfiguration | None = None
    path, of_timm = Path(name).expanduser(), timm_model(name)
    if settings.pretrained and of_timm is None:
        raise ArgumentError(f"pretrained=True: the model {name!r} is not timm's. Give its weights as a file.")
    if path.suffix.lower() in _FILES:
        if not path.is_file():
            raise ArgumentError(f"There is no model at {path}. Check the path.")
        module, configuration = _from_file(path, settings.device)
        if settings.layers:
            raise ArgumentError(f"layers: the model in {path} shows none. Save one that returns them.")
    elif of_timm is not None:
        of_timm.check()
        if not (of_timm.has_weights or settings.pretrained or settings.weights):
            raise ArgumentError(
                f"The model {name} has no weights: its features would be of random numbers. Give them by "
                "--weights FILE (weights), or take timm's by --pretrained (pretrained=True)."
            )
        module = of_timm.make(0, size or of_timm.own_size(), pretrained=settings.pretrained)
    elif ":" in name:
        made = _made(name)
        module, told = made if isinstance(made, tuple) else (made, None)
        if told is not None:
            configuration = ModelConfiguration.of(told, f"the configuration of {name}")
    else:
        raise ArgumentError(
            f"The model {name!r} is not known: give timm:NAME, hf-hub:ORG/NAME, the folder of such a model, "
            f"module:callable, or a file ({', '.join(_FILES)})."
        )
    if not callable(module):
        raise ArgumentError(f"The model {name!r} makes a {type(module).__name__}: expected a torch.nn.Module.")
    notes = _load(module, settings.weights) if settings.weights is not None else ()
    model = FeatureModel(module, configuration, settings, name=name)
    model.notes = notes
    return model


class _Outputs(nn.Module):
    """What of a model's numbers is the feature of a tile."""

    def __init__(self, module: Any, settings: ModelSettings) -> None:
        super().__init__()
        self.of, self.settings = module, settings
        self._seen: dict[str, Any] = {}
        self._prefix = int(getattr(module, "num_prefix_tokens", 1))
        for layer in settings.layers:
            try:
                found = module.get_submodule(layer)
            except AttributeError as error:
                names = [name for name, _ in module.named_modules() if name] if isinstance(module, nn.Module) else []
                raise ArgumentError(
                    f"The model has no layer {layer!r}. Its layers: {', '.join(names[:40]) or 'none'}."
                ) from error
            found.register_forward_hook(lambda _m, _i, out, layer=layer: self._seen.__setitem__(layer, out))

    def forward(self, images: Tensor) -> Tensor:
        tokens, whole = self.settings.tokens, self.settings.tokens == "output" or bool(self.settings.layers)
        own = None if whole else getattr(self.of, "forward_features", None)
        out = self.of(images) if own is None else own(images)
        if not self.settings.layers:
            return self._pooled(out, tokens)
        found = [self._pooled(self._seen.pop(layer, None), tokens, of=layer) for layer in self.settings.layers]
        return torch.cat(found, dim=1)

    def _pooled(self, out: Any, tokens: str, of: str = "") -> Tensor:
        """One vector for each tile."""
        out = getattr(out, "last_hidden_state", out)
        if isinstance(out, tuple | list) and out:
            out = out[0]
        if not isinstance(out, Tensor):
            where = f"its layer {of}" if of else "the model"
            raise ArgumentError(f"The output of {where} is a {type(out).__name__}: expected a tensor.")
        if out.ndim == 4 and tokens in ("output", "mean"):
            return out.mean(dim=(2, 3))
        if out.ndim == 3 and tokens != "output":
            first, mean = out[:, 0], out[:, self._prefix :].mean(dim=1)
            return {"cls": first, "mean": mean}[tokens] if tokens in ("cls", "mean") else torch.cat([first, mean], 1)
        if out.ndim == 3 and of:
            return out[:, self._prefix :].mean(dim=1)
        if tokens != "output" and not of:
            raise ArgumentError(
                f"tokens={tokens!r}: the model has no tokens, its output is {tuple(out.shape)}. Use tokens='output'."
            )
        return out


def _made(name: str) -> Any:
    """What a user's function makes."""
    try:
        return own_model(name)()
    except CellMixDaliError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise ArgumentError(
            f"The model {name!r} cannot be made ({type(error).__name__}: {error}). It is called without arguments."
        ) from error


def _from_file(path: Path, device: str) -> tuple[Any, ModelConfiguration]:
    """A model that was saved with its code."""
    extra: dict[str, Any] = {"config.json": ""}
    try:
        if path.suffix.lower() == ".pt2":
            module: Any = torch.export.load(path, extra_files=extra).module()
        else:
            module = torch.jit.load(path, map_location=device, _extra_files=extra)  # type: ignore[no-untyped-call]
    except Exception as error:  # both raise nearly anything on a file of another kind
        raise ArgumentError(
            f"{path} cannot be loaded ({type(error).__name__}: {str(error)[:300]}). Expected TorchScript "
            "(torch.jit.save), or .pt2 of torch.export.save. A state dict goes with --weights (weights=...)."
        ) from error
    inside = extra["config.json"]
    return module, ModelConfiguration.beside(path, inside.decode() if isinstance(inside, bytes) else inside)


def _load(module: Any, path: Path) -> tuple[str, ...]:
    """Load weights; those of a classifier's head, which are not needed, are left out, and that is said."""
    if not isinstance(module, nn.Module):
        raise ArgumentError("weights: the model is a function, not a torch.nn.Module, and takes none.")
    load: Callable[[Path], Any] = partial(torch.load, map_location="cpu", weights_only=True)
    if path.suffix == ".safetensors":
        with needing(f"{path} needs safetensors", "Install it: pip install safetensors."):
            from safetensors.torch import load_file as load
    try:
        state = load(path)
    except Exception as error:  # of nearly any class
        raise ArgumentError(
            f"{path} cannot be read as weights ({type(error).__name__}: {str(error)[:300]})."
        ) from error
    for name in ("state_dict", "model", "teacher"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArgumentError(f"{path} is not a state dict: save model.state_dict().")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    try:
        missing, more = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ArgumentError(f"The weights in {path} do not fit the model: {str(error)[:500]}") from error
    wrong = [name for name in more if not name.startswith(_HEADS)]
    if missing or wrong:
        what = [f"{len(of)} {word}, such as {of[0]}" for of, word in ((missing, "missing"), (wrong, "unknown")) if of]
        raise ArgumentError(f"The weights in {path} do not fit the model: {'; '.join(what)}.")
    return (f"left out of the weights: {', '.join(more)}",) if more else ()
