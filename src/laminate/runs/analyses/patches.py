"""What tokens have to do with places of the image: ablation, attention, redundancy of patches, frequencies."""

import jax
import jax.numpy as jnp
import numpy as np

from laminate.analysis.attention import rollout
from laminate.analysis.figures import ablation_map
from laminate.analysis.interpolation import flat_slerp
from laminate.analysis.panels import Lines, image_page, panel_page
from laminate.analysis.redundancy import bin_edges, decay, redundancy
from laminate.analysis.spectra import normalised, radial_spectrum, token_spectrum
from laminate.analysis.token_ablation import spatial_entropy, token_ablation, token_importance
from laminate.evals.fid import fid_of_few
from laminate.evals.ifid import nearest_latents, neighbour_weights
from laminate.runs.analyses.subject import Finding, Seen, Subject
from laminate.tokenizers.flatdino import FlatDino

ABLATED = 64
"""Images whose tokens are zeroed one by one: each costs as many decodings as there are tokens."""
ATTENDED = 8
FARTHEST = 10.0
TOP = 10


def ablation(subject: Subject, seen: Seen, seed: int) -> Finding:
    """How far features and pixels move when a token is zeroed, and over how much of the image."""
    model = require_flatdino(subject, "token-ablation")
    z = jnp.asarray(seen.latents[:ABLATED])
    heat = np.asarray(token_ablation(model.decode, z), np.float32)
    entropy, importance = (np.asarray(f(jnp.asarray(heat))) for f in (spatial_entropy, token_importance))
    pixels = _pixel_heat(subject, seen)
    side = subject.grid
    numbers = {
        "images": len(z),
        "heat": heat,
        "importance": importance,
        "spatial_entropy_nats": entropy,
        "entropy_of_everywhere_nats": float(np.log(heat.shape[1])),
        "pixel_importance": pixels.mean(axis=(1, 2)),
    }
    reach = float(np.exp(entropy.mean()))
    summary = (
        f"a token acts on {reach:.0f} of {heat.shape[1]} patches on average (e^entropy); the strongest moves features "
        f"{importance.max() / max(importance.min(), 1e-12):.1f}x as far as the weakest"
    )
    pixel_map = lambda path: ablation_map(pixels, path, unit="mean colour")
    return Finding(
        numbers,
        summary,
        lambda path: ablation_map(heat.reshape(-1, side, side), path),
        files={"token-ablation-pixels.png": pixel_map},
    )


def attention(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Where the latents look in the encoder, and which latents the patches read in the decoder, rolled out."""
    model = require_flatdino(subject, "attention")
    assert seen.features is not None
    features = jnp.asarray(seen.features[:ATTENDED])

    @jax.jit
    def run(model: FlatDino, features: jax.Array, latents: jax.Array) -> tuple[jax.Array, ...]:
        encoder = jax.vmap(model.encoder.attention_weights)(features)
        decoder = jax.vmap(model.decoder.attention_weights)(latents)
        return encoder, decoder, jax.vmap(rollout)(encoder), jax.vmap(rollout)(decoder)

    if model.nested is not None:
        raise ValueError(
            "attention: a tokenizer with nested dropout masks its encoder, and its maps are not drawn."
        )
    found = run(model, features, jnp.asarray(seen.raw[:ATTENDED]))
    encoder, decoder, rolled, read = (np.asarray(each) for each in found)
    latents = slice(model.encoder_disposable, model.encoder.prefix)
    patches = slice(model.decoder_disposable, model.decoder.prefix)
    looks = rolled[:, latents, model.encoder.prefix :].mean(axis=0)
    reads = read[:, patches, model.decoder.prefix :].mean(axis=0)
    side = subject.grid
    maps = looks.reshape(-1, side, side)
    back = reads.T.reshape(-1, side, side)
    numbers = {
        "images": len(features),
        "encoder_rollout": looks,
        "decoder_rollout": reads,
        "encoder_patches_per_latent": _reach(looks),
        "decoder_latents_per_patch": _reach(reads),
        "encoder_last_layer_heads": encoder[:, -1, :, latents, model.encoder.prefix :].mean(axis=0),
        "decoder_last_layer_heads": decoder[:, -1, :, patches, model.decoder.prefix :].mean(axis=0),
    }
    summary = (
        f"a latent looks at {numbers['encoder_patches_per_latent']:.0f} of {side * side} patches, a patch reads "
        f"{numbers['decoder_latents_per_patch']:.1f} of {looks.shape[0]} latents (e^entropy of the rollout)"
    )
    count = min(16, len(maps))
    rows = [
        ("encoder: looks at", np.stack([_tinted(one) for one in maps[:count]])),
        ("decoder: is read by", np.stack([_tinted(one) for one in back[:count]])),
    ]
    says = f"Rollout over all layers on the grid of patches; mean of {len(features)} images. {subject.name}"
    heads = [f"latent {token}" for token in range(count)]
    page = lambda path: image_page(rows, path, title="Attention", says=says, heads=heads, tile=64)
    return Finding(numbers, summary, page)


def redundancy_of_patches(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Figure 5: the cosine of features by their distance on the grid, of the teacher's and of what is given back."""
    if seen.features is None:
        raise ValueError(
            "redundancy is of a teacher's features, and this tokenizer compresses images themselves."
        )
    grid = (subject.grid, subject.grid)
    edges = bin_edges(grid, bins=50, max_distance=FARTHEST)
    rebuilt = subject.features(seen.raw[:512])
    sets = {"teacher's features": seen.features[:512], "rebuilt features": rebuilt}
    centred = {f"{name}, mean taken out": one - one.mean(axis=(0, 1)) for name, one in sets.items()}
    found = {name: redundancy(one, grid, edges) for name, one in (sets | centred).items()}
    series = [(name, one.centres, one.mean, one.std) for name, one in found.items()]
    losses = {name: decay(one, FARTHEST) for name, one in found.items()}
    numbers = {
        name: {
            "distance": one.centres,
            "mean": one.mean,
            "deviation": one.std,
            "pairs": one.pairs,
            "drop": losses[name].drop,
            "half_distance": losses[name].half_distance,
        }
        for name, one in found.items()
    }
    first = losses["teacher's features"]
    summary = (
        f"likeness of patches falls by {first.drop:.2f} over the image, half of it within {first.half_distance:.1f} "
        f"patches; rebuilt {losses['rebuilt features'].drop:.2f}"
    )
    panels = [
        Lines(
            "Likeness of two patches by their distance",
            "distance in patches",
            "cosine (band: deviation)",
            series[:2],
        ),
        Lines("The same without the mean of all features", "distance in patches", "cosine", series[2:]),
    ]
    says = f"{len(rebuilt)} images, {subject.name}. A high, flat curve: patches repeat each other."
    return Finding(
        numbers, summary, lambda path: panel_page(panels, path, title="Redundancy of patches", says=says)
    )


def diffusability(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Spectra of images, features and latents, and how far interpolants of latents are from images (iFID's measure)."""
    curves = {"images": normalised(radial_spectrum(seen.images[:256]))}
    if seen.features is not None:
        side = subject.grid
        for name, rows in (
            ("features", seen.features),
            ("rebuilt features", subject.features(seen.raw[:256])),
        ):
            curves[name] = normalised(radial_spectrum(rows[:256].reshape(-1, side, side, rows.shape[-1])))
    along = normalised(token_spectrum(seen.latents))
    count = min(seen.count, 512)
    flat = seen.latents[:count].reshape(count, -1)
    top = min(TOP, count - 1)
    near = nearest_latents(flat, flat, top=top, itself=True)
    weights = neighbour_weights(flat, flat, near)
    rng = np.random.default_rng(seed)
    chosen = np.asarray([near[i, rng.choice(top, p=weights[i])] for i in range(count)])
    between = flat_slerp(seen.latents[:count], seen.latents[chosen], np.asarray([0.5]))[:, 0].astype(
        np.float32
    )
    halfway = subject.pixels(subject.denormalised(between))
    rebuilt = subject.pixels(seen.raw[:count])
    from_images = lambda images: fid_of_few(_small(images), _small(seen.images[:count]))
    numbers = {
        "images": count,
        "radial_spectra": curves,
        "token_spectrum": along,
        "ifd_pixels": from_images(halfway),
        "rfd_pixels": from_images(rebuilt),
        "seed": seed,
    }
    summary = (
        f"halfway between neighbours images are {numbers['ifd_pixels']:.3g} from real ones (Fréchet, pixels at 8 x 8), "
        f"reconstructions {numbers['rfd_pixels']:.3g}"
    )
    shown = np.linspace(0, count - 1, 8).astype(int)
    rows = [
        ("an image", seen.images[shown]),
        ("a near one", seen.images[chosen[shown]]),
        ("halfway in latents", halfway[shown]),
    ]
    spectra = Lines(
        "Magnitude by frequency",
        "share of the largest frequency",
        "of the largest",
        [
            (name, np.linspace(0, 1, len(curve)), curve, None)
            for name, curve in (*curves.items(), ("tokens", along))
        ][:4],
        log_y=True,
    )
    says = f"{subject.name}: latents that a generator can learn decode to images between images too."
    page = lambda path: image_page(rows, path, title="Diffusability", says=says, panels=(spectra,))
    return Finding(numbers, summary, page)


def require_flatdino(subject: Subject, what: str) -> FlatDino:
    """The network, for questions about its registers. Raises ValueError for another kind."""
    model = subject.loaded.model
    if not isinstance(model, FlatDino):
        raise ValueError(
            f"{what} looks into FlatDINO's registers, and {subject.name} is a {type(model).__name__}: give the run of "
            "vae.py or fsq.py."
        )
    return model


def _pixel_heat(subject: Subject, seen: Seen) -> np.ndarray:
    """Mean change of colour at every pixel when a token is zeroed, over a few images."""
    few = seen.latents[:8]
    whole = subject.pixels(subject.denormalised(few))
    found: list[np.ndarray] = []
    for token in range(few.shape[1]):
        zeroed = few.copy()
        zeroed[:, token] = 0.0
        change = subject.pixels(subject.denormalised(zeroed)) - whole
        found.append(np.abs(change).mean(axis=(0, 3)))
    return np.stack(found)


def _reach(rows: np.ndarray) -> float:
    """Over how many columns rows are spread: the exponential of their mean entropy."""
    share = rows / rows.sum(axis=-1, keepdims=True)
    return float(np.exp(-(share * np.log(share + 1e-12)).sum(axis=-1).mean()))


def _small(images: np.ndarray) -> np.ndarray:
    """Images at 8 x 8, by the means of squares."""
    high, wide = (side // 8 for side in images.shape[1:3])
    cut = images[:, : 8 * high, : 8 * wide]
    return cut.reshape(len(cut), 8, high, 8, wide, 3).mean(axis=(2, 4)).reshape(len(cut), -1)


def _tinted(one: np.ndarray) -> np.ndarray:
    """A map as an image from white to dark blue."""
    share = (one - one.min()) / max(float(one.max() - one.min()), 1e-12)
    white, dark = np.asarray([246, 248, 251]) / 255.0, np.asarray([8, 29, 73]) / 255.0
    return white + share[..., None] * (dark - white)
