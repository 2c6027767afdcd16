"""What one core of this machine delivers: ImageNet-sized JPEGs to training crops."""

import time

import numpy as np
import simplejpeg

from laminate.data.augment import RandomResizedCrop

HEIGHT, WIDTH, QUALITY = 375, 500, 90
IMAGES = 24


def images_per_second(image_size: int, *, repeats: int = 3) -> float:
    """Images per second and core that the training view makes from 500 x 375 JPEGs, the best of `repeats` rounds.

    The pictures are noise whose amplitude falls as 1 / frequency, like that of photographs.
    """
    rng = np.random.default_rng(0)
    encoded = [_jpeg(rng) for _ in range(IMAGES)]
    view = RandomResizedCrop(image_size)
    best = float("inf")
    for _ in range(repeats):
        began = time.thread_time()
        for data in encoded:
            view(data, rng)
        best = min(best, time.thread_time() - began)
    return IMAGES / best


def _jpeg(rng: np.random.Generator) -> bytes:
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None, None], np.fft.rfftfreq(WIDTH)[None, :, None]
    spectrum = 1 / np.maximum(np.hypot(fy, fx), 1 / WIDTH)
    noise = np.fft.rfft2(rng.standard_normal((HEIGHT, WIDTH, 3)), axes=(0, 1)) * spectrum
    channels = np.fft.irfft2(noise, s=(HEIGHT, WIDTH), axes=(0, 1))
    pixels = (128 + 50 * channels / channels.std()).clip(0, 255).astype(np.uint8)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=QUALITY, colorsubsampling="420")
