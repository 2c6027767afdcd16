"""What is said of a perceptual distance and of a discriminator."""

from laminate.recipes.adversarial.recipe import Adversary, Perceptual

_KINDS = {
    "dino": "heads on frozen features of",
    "windows": "heads on windows of pixels, which need no weights",
    "patchgan": "PatchGAN",
    "details": "PatchGAN on the fine detail of images, which needs no weights",
    "none": "none",
}


def perceptual_text(perceptual: Perceptual) -> str:
    """The distance, after its weight."""
    names = {
        "lpips": "LPIPS",
        "embedded": "distance in the features of the embedded network (in place of LPIPS, which needs weights)",
        "pyramid": "Laplacian pyramids (in place of LPIPS, which needs weights)",
        "none": "no perceptual loss",
    }
    weight = "" if perceptual.kind == "none" else f"{perceptual.weight:g} x "
    return weight + names[perceptual.kind]


def adversary_text(adversary: Adversary, unit: str) -> str:
    """The discriminator, its loss, and when both begin."""
    what = _KINDS[adversary.kind]
    if adversary.kind == "none":
        return what
    source = f" {adversary.source}" if adversary.kind == "dino" else ""
    starts = f"from {adversary.discriminator_start} {unit}, on the decoder from {adversary.adversarial_start}"
    return f"{what}{source}; {adversary.discriminator_loss} loss {starts}, weight {adversary.weight:g}"
