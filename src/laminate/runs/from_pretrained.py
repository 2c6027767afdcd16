"""`laminate.from_pretrained`: a trained tokenizer by its place, with its teacher, decoder and statistics."""

import os
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from laminate.recipes.families import families, family_of
from laminate.recipes.flags import Precision
from laminate.recipes.latent import LoadedTokenizer
from laminate.recipes.network import AttentionKernel, HeldDtype, Remat
from laminate.runs.any_size_tokenizer import AnySizeTokenizer
from laminate.runs.devices import compute_dtype
from laminate.runs.load_decoder import NONE, find_decoder
from laminate.runs.load_tokenizer import load_tokenizer
from laminate.runs.pretrained import recipe_at, require_there
from laminate.runs.pretrained_tokenizer import PretrainedTokenizer
from laminate.runs.tiled_tokenizer import TiledTokenizer
from laminate.tokenizers.autoencoder import AutoencoderTokenizer


def from_pretrained(
    source: str | os.PathLike[str],
    *,
    decoder: str | os.PathLike[str] | None = None,
    precision: Precision = "auto",
    stored: HeldDtype = "float32",
    kernel: AttentionKernel = "xla",
    remat: Remat = "none",
    cache: Path | None = None,
) -> PretrainedTokenizer:
    """A trained tokenizer: images to tokens, and tokens to images.

        tokenizer = laminate.from_pretrained("runs/embedded-vae")
        tokens = tokenizer.encode_image("cat.jpg")
        tokenizer.decode_image(tokens).save("again.png")

    Args:
        source: The folder of a finished run, a folder that `save_pretrained` wrote, published weights (sd, sdxl, sd3,
            flux, flux2, flux2-small-decoder, qwen, vavae, dc-ae-f32, dc-ae-f64, 350M-f16x64 and its like, or a folder
            as diffusers has them), or a repository ORGANISATION/NAME[@REVISION] of the Hugging Face hub.
        decoder: What makes images of its latents: the run of an image decoder, a saved folder, a hub repository, the
            decoder of a published autoencoder on its teacher, the run of a teacher with the same encoder, or "none" for
            the tokenizer itself. By default the image decoder that was trained on this very tokenizer, if its run lies
            beside that of the tokenizer, else the tokenizer itself.
        precision: Number format of the computation: float32, bfloat16, or auto, which is float32 on a CPU and bfloat16
            elsewhere.
        stored: Number format in which its weights are held: bfloat16 for half the memory, int8 for a quarter of that of
            a transformer's layers, whose products are then those of whole numbers. What all else computes in is
            `precision`.
        kernel: How attention is computed: XLA's own, cuDNN flash attention (NVIDIA GPUs, bfloat16), or pallas (TPUs).
        remat: What a backward pass through it computes again.
        cache: Where files of the hub are kept; the hub's own place by default.

    Returns:
        The tokenizer, whose `model` is the network that was trained; an `AnySizeTokenizer` where it reads images of any
        size, a `TiledTokenizer` of a published autoencoder, which also takes large ones in tiles. Generators and image
        decoders are refused with what reads them; `load_pretrained(source).model` is their network.

    Raises:
        ValueError: what is there is no tokenizer, is damaged or of a later format, or the decoder is of another one.
        OSError: there is nothing of that name, or it cannot be fetched.
    """
    where = os.fspath(source)
    require_there(where)
    _require_tokenizer(where, recipe_at(where))
    loaded = load_tokenizer(where, codes=True, kernel=kernel, remat=remat, stored=stored, cache=cache)
    if loaded.latent.patch is not None:
        return _of_any_size(loaded, decoder, dtype=compute_dtype(precision))
    chosen = find_decoder(None if decoder is None else os.fspath(decoder), loaded, kernel=kernel)
    return PretrainedTokenizer(loaded, chosen, dtype=compute_dtype(precision))


def _of_any_size(
    loaded: LoadedTokenizer, decoder: str | os.PathLike[str] | None, *, dtype: jnp.dtype
) -> AnySizeTokenizer:
    """Raises ValueError for an image decoder, which makes squares alone."""
    if decoder not in (None, NONE):
        raise ValueError(
            f"{loaded.source} has tokens of images of any size, which it decodes itself, and an image decoder makes "
            "squares: leave the decoder out, or draw through it with sample.py."
        )
    kind = TiledTokenizer if isinstance(loaded.model, AutoencoderTokenizer) else AnySizeTokenizer
    return kind(loaded, find_decoder(NONE, loaded), dtype=dtype)


def _require_tokenizer(where: str, recipe: Any) -> None:
    """Raises ValueError for a generator or an image decoder, with what each is for."""
    if recipe is None or family_of(recipe).kind == "tokenizer":
        return
    family = family_of(recipe)
    trainer = next(other.script for other in families() if other.kind == "tokenizer")
    if family.kind == "teacher":
        raise ValueError(
            f"{where} holds what {family.script} trains, a frozen network and no tokenizer: `python "
            f"experiments/{trainer} --teacher {where}` compresses its features, and "
            f"`laminate.load_pretrained({where!r}).model` is the network."
        )
    reads = getattr(recipe, "tokenizer", None)
    on = f"the tokenizer {reads}" if reads is not None else f"a tokenizer, such as {trainer} trains"
    if family.kind == "generator":
        use = f"`python experiments/sample.py --generator {where}` draws images with it"
    else:
        use = f"`laminate.from_pretrained(TOKENIZER, decoder={where!r})` decodes images through it"
    raise ValueError(
        f"{where} holds what {family.script} trains, which belongs to {on}, and no tokenizer: {use}, and "
        f"`laminate.load_pretrained({where!r}).model` is its network."
    )
