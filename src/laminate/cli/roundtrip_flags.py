"""The command line of `roundtrip.py`: which images, through which tokenizer, and where to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from laminate.recipes.checks import at_least
from laminate.recipes.flags import Precision
from laminate.recipes.network import HeldDtype


@dataclass(frozen=True)
class RoundtripFlags:
    """Images to tokens and back to pictures, by a trained tokenizer."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE ...")] = ()
    """Image files, folders that hold some, and globs: JPEG, PNG, WebP, GIF (the first frame), BMP or TIFF, of any size.
    They are turned upright as EXIF says, gray, palette and 16-bit images become 8-bit colours, transparency is laid
    over white, and all of it is resized as the tokenizer's validation does it."""
    tokenizer: str | None = None
    """Run, saved folder or hub repository of the tokenizer, or a published autoencoder: sd, sdxl, sd3, flux, flux2,
    flux2-small-decoder, qwen, vavae, or a folder as diffusers has them. Default: what vae.py leaves, trained first if
    need be; of --decode, the one that the tokens are of."""
    decoder: str | None = None
    """What makes pictures of tokens, as in sample.py: a run of decoder.py, a saved folder or hub repository, a
    published decoder, a run of teacher.py, or none. Default: the image decoder beside the tokenizer that was trained on
    it, else the tokenizer itself."""
    format: Literal["npz", "json"] = "npz"
    """File of the tokens: NumPy's, or JSON, which is for the whole numbers of an FSQ tokenizer."""
    decode: Path | None = None
    """Make pictures of this file of tokens instead, which an earlier call wrote."""
    tile: int | None = None
    """Side in pixels of the tiles that a published autoencoder is to see of larger images, which share a quarter of it
    with their neighbours; a multiple of its patch. Default: it sees every image whole."""
    out: Path | None = None
    """Folder to write, which must be new or empty. Default: roundtrip (decoded, of --decode) here, or the next free
    roundtrip-2, roundtrip-3, ..."""
    precision: Precision = "auto"
    """Number format of the networks, as in training."""
    stored: HeldDtype = "float32"
    """Number format in which the weights of the tokenizer are held: bfloat16 for half the memory, or int8 for a quarter
    of that of a transformer's layers, which then multiply whole numbers."""

    def __post_init__(self) -> None:
        if self.tile is not None:
            at_least("--tile", self.tile, 1)
        if bool(self.images) == (self.decode is not None):
            raise ValueError(
                "Give images, such as `roundtrip.py cat.jpg`, or --decode TOKENS, and not both."
                if self.images
                else "Give images, such as `roundtrip.py cat.jpg`, or the tokens of some: --decode TOKENS."
            )
        if self.decode is not None and self.format != "npz":
            raise ValueError(
                "--format is of the tokens that are written, and --decode reads some: leave it out."
            )
