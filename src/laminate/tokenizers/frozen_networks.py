"""The frozen networks beside an image decoder."""

from typing import Any, NamedTuple

from laminate.tokenizers.base import ImageTokenizer


class FrozenNetworks(NamedTuple):
    """What a decoder reads through, and what it is judged by; what it does not need is None."""

    tokenizer: ImageTokenizer
    perceptual: Any
    backbone: Any
