"""What becomes of images when their latents are disturbed: noise, masked tokens, ways from one to another."""

import numpy as np

from laminate.analysis.interpolation import back_and_forth, between, side_by_side, write_webp
from laminate.analysis.panels import Lines, image_page
from laminate.runs.analyses.subject import Finding, Seen, Subject, as_bytes, decibels

LEVELS = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
NOISY = 64
SHOWN = 8
STEPS = 9
FRAMES = 24


def noise(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Figures 9 and 10: reconstruction under noise on the latents, beside noise of the same strength on pixels."""
    rng = np.random.default_rng(seed)
    latents, images = seen.latents[:NOISY], seen.images[:NOISY]
    drawn = rng.standard_normal(latents.shape).astype(np.float32)
    pixel_noise = rng.standard_normal(images.shape).astype(np.float32) * images.std()
    rebuilt = [subject.pixels(subject.denormalised(latents + level * drawn)) for level in LEVELS]
    found = [decibels(one, images) for one in rebuilt]
    beside = [decibels(images + level * pixel_noise, images) for level in LEVELS]
    means, spread = (np.asarray([f(one) for one in found]) for f in (np.mean, np.std))
    on_pixels = np.asarray([one.mean() for one in beside])
    numbers = {
        "images": len(images),
        "levels": LEVELS,
        "psnr": means,
        "psnr_deviation": spread,
        "psnr_of_noise_on_pixels": on_pixels,
        "seed": seed,
    }
    lost = means[0] - means[LEVELS.index(0.4)]
    summary = f"noise of 0.4 of the latents' deviation costs {lost:.1f} dB of {means[0]:.1f} dB"
    levels = np.asarray(LEVELS)
    curve = Lines(
        "PSNR under noise",
        "noise, in deviations",
        "dB",
        [
            ("on latents, decoded", levels, means, spread),
            ("on pixels", levels[1:], on_pixels[1:], None),
        ],
    )
    some = min(SHOWN, len(images))
    rows = [("original", images[:some])] + [
        (f"noise {level:g}", one[:some]) for level, one in zip(LEVELS, rebuilt, strict=True)
    ]
    says = f"The same noise for every level, {len(images)} images. {subject.name}."
    page = lambda path: image_page(
        rows, path, title="Noise on the latents", says=says, panels=(curve,), tile=64
    )
    return Finding(numbers, summary, page)


def mask(subject: Subject, seen: Seen, seed: int) -> Finding:
    """Pictures without one token each (zero, which is the mean latent), and with one token alone."""
    few = seen.latents[:4]
    tokens = few.shape[1]
    whole = subject.pixels(subject.denormalised(few))
    shown = min(tokens, 16)
    without, alone, costs = [], [], []
    for token in range(tokens):
        keep = np.ones((1, tokens, 1), np.float32)
        keep[:, token] = 0.0
        removed = subject.pixels(subject.denormalised(few * keep))
        costs.append(decibels(removed, whole))
        if token < shown:
            without.append(removed)
            alone.append(subject.pixels(subject.denormalised(few * (1.0 - keep))))
    cost = np.stack(costs)
    numbers = {"images": len(few), "psnr_without_token": cost, "psnr_mean": cost.mean(axis=1)}
    least, most = int(cost.mean(axis=1).argmin()), int(cost.mean(axis=1).argmax())
    summary = (
        f"without token {least} pictures change most ({cost.mean(axis=1)[least]:.1f} dB to the whole), without "
        f"{most} least ({cost.mean(axis=1)[most]:.1f} dB)"
    )
    rows = []
    for i in range(len(few)):
        rows.append(
            (f"image {i}: without", np.stack([seen.images[i], whole[i], *(one[i] for one in without)]))
        )
        rows.append(("that token alone", np.stack([seen.images[i], whole[i], *(one[i] for one in alone)])))
    heads = ["original", "all tokens", *(f"token {token}" for token in range(shown))]
    says = f"A token is masked by the mean latent. {subject.name}."
    page = lambda path: image_page(rows, path, title="Masked tokens", says=says, heads=heads, tile=64)
    return Finding(numbers, summary, page)


def interpolate(subject: Subject, seen: Seen, seed: int, way: str) -> Finding:
    """From one image to another through latents, standing still and moving."""
    pairs = min(6, seen.count // 2)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(seen.count, 2 * pairs, replace=False)
    first, second = seen.latents[chosen[:pairs]], seen.latents[chosen[pairs:]]
    kind = "linear" if way == "linear" else "spherical"
    places = np.linspace(0.0, 1.0, FRAMES)
    latents = between(first, second, places, kind).astype(np.float32)
    frames = subject.pixels(subject.denormalised(latents.reshape(-1, *first.shape[1:])))
    frames = frames.reshape(pairs, FRAMES, *frames.shape[1:])
    steps = np.square(np.diff(frames, axis=1)).mean(axis=(0, 2, 3, 4)) ** 0.5
    numbers = {"pairs": chosen.reshape(2, pairs).T, "way": way, "step_rms": steps, "seed": seed}
    fastest = steps.max() / steps.mean()
    summary = f"{pairs} pairs, {way}: the fastest of {FRAMES - 1} steps moves pixels {fastest:.2f}x the mean"
    at = np.linspace(0, FRAMES - 1, STEPS).round().astype(int)
    rows = [
        (
            f"pair {i}",
            np.concatenate([seen.images[[chosen[i]]], frames[i, at], seen.images[[chosen[pairs + i]]]]),
        )
        for i in range(pairs)
    ]
    heads = ["image", *(f"{places[step]:.2f}" for step in at), "image"]
    says = f"The outer columns are images, the others decoded latents between them. {subject.name}."
    page = lambda path: image_page(rows, path, title=f"Interpolation, {way}", says=says, heads=heads, tile=64)
    moving = [side_by_side(as_bytes(frames[:, step])) for step in back_and_forth(FRAMES)]
    return Finding(numbers, summary, page, files={"interpolate.webp": lambda path: write_webp(moving, path)})
