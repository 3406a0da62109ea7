"""FMix (arXiv 2002.12047): pairs of samples joined along masks of a low-frequency image."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from .._arguments import number, tile_shape
from .action import Action
from .blend_plan import BlendPlan
from .mixer import TileMixer

__all__ = ["FMix", "low_frequency_image"]


class FMix(TileMixer):
    """Draws FMix plans: Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation".

    The batch is mixed with probability `p` (the paper: always): lambda is drawn from Beta(alpha, alpha), the partners
    from the permutations of the batch, and a grey image in Fourier space, complex Gaussian noise over frequency to the
    power of `decay`. Its highest lambda share of pixels (rounded up or down by a fair coin) keep the sample's own, the
    others take the partner's. As in the paper's implementation, one mask serves the batch. Label weight of the sample:
    the mask's true mean. (The implementation takes two rows of the noise for its real and imaginary part; here, as the
    paper has it, both are drawn for all frequencies.)

    Parameters
    ----------
    alpha : float, default 1.0
        Of the Beta distribution, the paper's.
    decay : float, default 3.0
        Power by which frequencies fall off, the paper's.
    p, seed, rank
        See `cellmix_dali.mixing.mixer.Mixer`.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    method = "FMix"
    does = "a mask of low frequencies takes pixels of another sample"
    paper = "2002.12047"
    label_weight = "the mask's mean, and the rest"

    def __init__(self, *, p: float = 1.0, seed: int = 0, rank: int = 0, alpha: float = 1.0, decay: float = 3.0) -> None:
        super().__init__(p=p, seed=seed, rank=rank)
        self.alpha = number("alpha", alpha, low=0.0, above_low=True)
        self.decay = number("decay", decay, low=0.0)

    @property
    def action(self) -> Action:
        """See `Mixer.action`."""
        return Action("mask")

    def draw(self, batch_size: int, tile_size: int | tuple[int, int], *, epoch: int, iteration: int) -> BlendPlan:
        """Draw the plan of one batch; see `cellmix_dali.mixing.mixer.TileMixer.draw`."""
        self.check_batch_size(batch_size)
        tile = tile_shape(tile_size)
        random = self._random(epoch, iteration)
        if random.random() >= self.p:
            return BlendPlan.identity(batch_size)
        share = random.beta(self.alpha, self.alpha)
        partner = random.permutation(batch_size)
        exact = share * tile[0] * tile[1]
        own = int(np.ceil(exact) if random.random() < 0.5 else np.floor(exact))
        image = low_frequency_image(random, tile, self.decay).ravel()
        mask = np.zeros(image.size, np.uint8)
        if own:
            mask[np.argpartition(image, image.size - own)[image.size - own :]] = 1
        return BlendPlan.masked(partner, mask.reshape(tile))


def low_frequency_image(random: np.random.Generator, size: tuple[int, int], decay: float) -> NDArray[np.float64]:
    """Draw a grey image whose frequencies fall off as 1 / f**decay.

    Parameters
    ----------
    random : numpy.random.Generator
        Gives the noise.
    size : tuple of int
        Height and width in pixels.
    decay : float
        Power of the fall.

    Returns
    -------
    float64 array (height, width)
    """
    fall = _fall(size, decay)
    noise = random.standard_normal((2, *fall.shape))
    spectrum = np.empty(fall.shape, np.complex128)
    np.multiply(noise[0], fall, out=spectrum.real)
    np.multiply(noise[1], fall, out=spectrum.imag)
    return np.fft.irfft2(spectrum, size)


@functools.lru_cache(maxsize=8)
def _fall(size: tuple[int, int], decay: float) -> NDArray[np.float64]:
    """How much there is of each frequency; not to be written to. Frequency 0 counts as the lowest that can be shown."""
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None, :])
    fall: NDArray[np.float64] = 1.0 / np.maximum(frequency, 1.0 / max(size)) ** decay
    return fall
