"""Autoencoders of images that others generate in: Stable Diffusion's, FLUX's, Qwen-Image's, DC-AE."""

from typing import Literal

from laminate.pretrained.family import APACHE, CONFIG, UNSTATED, FileLayout, KnownWeights, PublishedFamily

Architecture = Literal[
    "AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderKLQwenImage", "AutoencoderDC", "LatentDiffusion"
]
"""diffusers' classes, and the autoencoder of latent diffusion's own code, with which VA-VAE was trained."""

DIFFUSERS = "diffusion_pytorch_model.safetensors"
"""What diffusers calls the weights of a part of a pipeline."""
PART = "vae"
"""The folder of a pipeline in which its autoencoder lies."""
_IN = f"{PART}/"
_KL, _QWEN, _DC = "autoencoder-kl", "autoencoder-qwen", "autoencoder-dc"


def _known(
    name: str, repository: str, folder: str, licence: str, source: str, layout: str = _KL
) -> KnownWeights:
    """The autoencoder of a repository, at its root or in a `folder` of it."""
    files = (f"{folder}{DIFFUSERS}",)
    return KnownWeights(name, repository, files, licence, source, layout, config=f"{folder}{CONFIG}")


_STABILITY, _LABS, _HAN = "Stability AI", "Black Forest Labs", "MIT Han Lab, DC-AE"
_WEIGHTS = (
    _known("sd", "stabilityai/sd-vae-ft-mse", "", "MIT", f"{_STABILITY}, Stable Diffusion 1 and 2"),
    _known("sdxl", "stabilityai/sdxl-vae", "", "MIT", f"{_STABILITY}, SDXL"),
    _known("sd3", "stabilityai/stable-diffusion-3.5-medium", _IN, UNSTATED, f"{_STABILITY}, SD 3.5"),
    _known("flux", "black-forest-labs/FLUX.1-schnell", _IN, APACHE, f"{_LABS}, FLUX.1"),
    _known("flux2", "black-forest-labs/FLUX.2-dev", _IN, UNSTATED, f"{_LABS}, FLUX.2"),
    _known("flux2-small-decoder", "black-forest-labs/FLUX.2-small-decoder", "", UNSTATED, f"{_LABS}, FLUX.2"),
    _known("dc-ae-f32", "mit-han-lab/dc-ae-f32c32-sana-1.0-diffusers", "", UNSTATED, f"{_HAN}, SANA's", _DC),
    _known("dc-ae-f64", "mit-han-lab/dc-ae-f64c128-in-1.0-diffusers", "", UNSTATED, _HAN, _DC),
    _known("qwen", "Qwen/Qwen-Image", _IN, APACHE, "Qwen team, Qwen-Image", _QWEN),
)


AUTOENCODERS = PublishedFamily(
    layouts=(
        FileLayout(
            _QWEN,
            "Qwen-Image's autoencoder in diffusers' layout",
            (r"encoder\.mid_block\.attentions\.0\.to_qkv\.weight$", r"decoder\.conv_out\.weight$"),
            (r"encoder\.conv_in\.bias$", 0),
            r"^$()",
        ),
        FileLayout(
            _DC,
            "a DC-AE in diffusers' layout",
            (
                r"encoder\.down_blocks\.\d+\.\d+\.conv",
                r"decoder\.up_blocks\.\d+\.\d+\.conv",
                r"decoder\.norm_out\.weight$",
            ),
            (r"encoder\.conv_out\.bias$", 0),
            r"^$()",
        ),
        FileLayout(
            _KL,
            "an AutoencoderKL in diffusers' layout",
            (r"encoder\.mid_block\.resnets\.0\.conv1\.weight$", r"decoder\.conv_out\.weight$"),
            (r"encoder\.conv_in\.bias$", 0),
            r"^$()",
        ),
    ),
    weights=_WEIGHTS,
)
