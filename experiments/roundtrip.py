"""Images to tokens and back: what a trained tokenizer keeps of your own pictures.

    python experiments/roundtrip.py cat.jpg                           through the tokenizer that vae.py left
    python experiments/roundtrip.py ~/photos '*.png' --tokenizer runs/photos
    python experiments/roundtrip.py cat.jpg --tokenizer RUN --format json
                                                                      RUN of fsq.py: whole numbers, as text
    python experiments/roundtrip.py wall.jpg --tokenizer flux --tile 512
                                                      through a published autoencoder, a large picture in tiles
    python experiments/roundtrip.py --decode roundtrip/tokens.npz     from the tokens alone

Leaves contact.png (originals above, rebuilt pictures below, PSNR under each), pictures/ and the tokens. Nothing is
overwritten.
"""

from laminate.cli.command import flags_command
from laminate.cli.roundtrip_flags import RoundtripFlags

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, RoundtripFlags)

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from laminate.analysis.figures import reconstruction_grid
from laminate.analysis.gallery import Pair, pair_gallery
from laminate.analysis.sample_files import picture_names, write_png
from laminate.data.faults import BAD_IMAGE
from laminate.data.image_files import find_images
from laminate.data.left_out import in_one_line
from laminate.evals.psnr import psnr
from laminate.recipes.flatdino.family import VAE
from laminate.runs.exit_codes import FAILED, say, user_errors
from laminate.runs.experiment import trained_first
from laminate.runs.from_pretrained import from_pretrained
from laminate.runs.new_folder import new_folder
from laminate.runs.pretrained_tokenizer import AT_ONCE
from laminate.runs.tiled_tokenizer import TiledTokenizer
from laminate.runs.token_file import read_tokens, token_file, write_tokens
from laminate.runs.waiting import progress_bar
from laminate.train.progress import RunHeader

SHOWN = 48  # pairs in the contact picture


# 1. Through which tokenizer


def open_tokenizer(flags, place=None):
    if flags.tokenizer is None and place is None:
        place = trained_first(None, VAE, VAE.flags(), beside=__file__, what="tokenizer")
    return from_pretrained(
        flags.tokenizer or place, decoder=flags.decoder, precision=flags.precision, stored=flags.stored
    )


def tiling(flags, tokenizer):
    if flags.tile is None:
        return {}
    if not isinstance(tokenizer, TiledTokenizer):
        raise ValueError(
            f"--tile {flags.tile} is for published autoencoders, which see images of any size: {tokenizer.source} is "
            "none, leave it out."
        )
    return {"tile": flags.tile}


def header(tokenizer, *rows):
    facts = (
        ("tokenizer", f"{tokenizer.source}: {tokenizer.identity}"),
        ("sees", f"images {tokenizer.view}; transparency on white"),
        ("tokens", tokenizer.kind),
        ("pictures by", tokenizer.decoder),
    )
    RunHeader("Images to tokens and back", (*facts, *rows)).show()


# 2. There and back, batch by batch; what cannot be read is named and left out


@dataclass
class Found:
    """What the images became; pairs of what was seen and rebuilt are kept for the contact picture alone."""

    names: list = field(default_factory=list)
    tokens: list = field(default_factory=list)
    decibels: list = field(default_factory=list)
    pairs: list = field(default_factory=list)
    bad: list = field(default_factory=list)


def counted(count, what):
    return f"{count} {what}{'' if count == 1 else 's'}"


def in_batches(items):
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


def decibels(one, other):
    return float(psnr(*(jnp.asarray(np.asarray(each), jnp.float32) / 255.0 for each in (one, other))))


def there_and_back(tokenizer, files, out, tiles):
    found, pictures = Found(), iter(picture_names([file.name for file in files]))
    with progress_bar() as bar:
        for some in bar.track(in_batches(files), description="encoding"):
            seen = []
            for file in some:
                picture = next(pictures)
                try:
                    seen.append((file, picture, tokenizer.seen(file.path, name=file.name)))
                except BAD_IMAGE as error:
                    found.bad.append(file.name)
                    bar.console.print(f"left out {error}", markup=False, highlight=False, soft_wrap=True)
            if seen:
                add(found, tokenizer, seen, out, tiles)
    return found


def add(found, tokenizer, seen, out, tiles):
    tokens = tokenizer.encode_image([original for _, _, original in seen], **tiles)
    for (file, picture, original), rebuilt in zip(seen, tokenizer.decode_image(tokens, **tiles), strict=True):
        write_png(np.asarray(rebuilt), out / "pictures" / f"{picture}.png")
        found.names.append(file.name)
        found.decibels.append(decibels(original, rebuilt))
        if len(found.pairs) < SHOWN:
            found.pairs.append((np.asarray(original), np.asarray(rebuilt)))
    found.tokens.extend(tokens)


# 3. Files


def write_contact(found, out):
    captions = [
        f"{name if len(name) <= 15 else name[:6] + '...' + name[-6:]}\n{value:.1f} dB"
        for name, value in zip(found.names, found.decibels, strict=True)
    ]
    if len({original.shape for original, _ in found.pairs}) > 1:
        named = zip(found.pairs, captions[: len(found.pairs)], strict=True)
        pair_gallery([Pair(*pair, caption) for pair, caption in named], out / "contact.png")
        return
    originals, rebuilt = (np.stack(images) for images in zip(*found.pairs, strict=True))
    columns = min(8, max(1, 1024 // originals.shape[2]))
    reconstruction_grid(
        originals, rebuilt, out / "contact.png", captions=captions[: len(originals)], columns=columns
    )


def encode(flags):
    with user_errors("roundtrip.py"):
        images = find_images(flags.images)
        tokenizer = open_tokenizer(flags)
        if flags.format == "json" and tokenizer.codebook_size is None:
            raise ValueError(
                f"--format json is for whole numbers, and {tokenizer.identity.name} has real ones: take --format npz, "
                "or the tokenizer that fsq.py trains."
            )
        tiles = tiling(flags, tokenizer)
        out = new_folder(flags.out, "roundtrip")
        left_out = (("left out", in_one_line(images.left_out)),) if images.left_out else ()
        header(tokenizer, ("images", f"{len(images.files)}"), *left_out, ("folder", f"{out}"))
        found = there_and_back(tokenizer, images.files, out, tiles)
        if not found.names:
            say("roundtrip.py: none of the images can be read", primary=True)
            raise SystemExit(FAILED)
        made = token_file(found.tokens, tuple(found.names), tokenizer)
        tokens = write_tokens(made, out, flags.format)
        write_contact(found, out)
    if found.bad:
        few = ", ".join(found.bad[:5]) + (", ..." if len(found.bad) > 5 else "")
        say(f"left out: {len(found.bad)} of {len(images.files)} images cannot be read ({few})", primary=True)
    more = f" (of the first {SHOWN})" if len(found.names) > SHOWN else ""
    say(
        f"{counted(len(found.names), 'image')} at {np.mean(found.decibels):.1f} dB: {out}/contact.png{more}, "
        f"pictures/; tokens: {tokens}",
        primary=True,
    )
    say(f"back again: python experiments/roundtrip.py --decode {tokens}", primary=True)


def decode(flags):
    with user_errors("roundtrip.py"):
        held = read_tokens(flags.decode.expanduser())
        tokenizer = open_tokenizer(flags, held.place)
        held.require_tokenizer(tokenizer)
        tiles = tiling(flags, tokenizer)
        out = new_folder(flags.out, "decoded")
        header(tokenizer, ("images", f"{len(held.names)} of {flags.decode}"), ("folder", f"{out}"))
        rows = in_batches(list(zip(picture_names(held.names), held.each(), strict=True)))
        with progress_bar() as bar:
            for some in bar.track(rows, description="decoding"):
                for (name, _), picture in zip(
                    some, tokenizer.decode_image([row for _, row in some], **tiles), strict=True
                ):
                    write_png(np.asarray(picture), out / f"{name}.png")
    say(f"{counted(len(held.names), 'picture')}: {out}", primary=True)


def main(flags):
    try:
        (encode if flags.decode is None else decode)(flags)
    except KeyboardInterrupt:
        say("roundtrip.py: interrupted", primary=True)
        raise SystemExit(0) from None


if __name__ == "__main__":
    main(FLAGS)
