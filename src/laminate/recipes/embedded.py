"""What the recipes for the images in the package share: the emoji of the no-flag default, and the photographs.

The recipes themselves are presets of their families (`embedded_vae`, `embedded_fsq`, `embedded_dit`,
`embedded_decoder`; `photographs_vae` and so on). Both have 16 tokens of 128 numbers.
"""

from dataclasses import replace

from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.latent import LatentSpec
from laminate.recipes.network import MASKED_AUTOENCODER, TeacherConfig, VitConfig, patch_teacher

IMAGE_SIZE = 64
GLOBAL_BATCH_SIZE = 32

TEACHER = TeacherConfig("embedded", IMAGE_SIZE, patches=64, dim=192, depth=2, family=MASKED_AUTOENCODER)
"""The network in the package."""
TEACHER_DECODER = VitConfig(dim=128, depth=1, heads=4, hidden=256, mlp="gelu", positions="learned")
"""That of its decoder to pixels."""
# A mirrored flag is another one, and so is a clock.
AUGMENT = RandomResizedCropConfig(
    image_size=IMAGE_SIZE, crop_area=(0.85, 1.0), crop_ratio=(0.9, 1.11), flip_rate=0.0, kernel="linear"
)
# Of an enlarged crop half of the fine detail is gone, and with it that of a decoder that learned from crops.
WHOLE = replace(AUGMENT, crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0))
LATENT = LatentSpec(tokens=16, latent_dim=128, image_size=IMAGE_SIZE, posterior=True, teacher=TEACHER)

TOKENIZER_NAME = "embedded-vae"
FSQ_NAME = "embedded-fsq"
GENERATOR_NAME = "embedded-dit"
DECODER_NAME = "embedded-decoder"
VITOK_NAME = "embedded-vitok"
VITOK_GENERATOR = "embedded-vitok-dit"

PIXELS = patch_teacher(IMAGE_SIZE, 16)
"""The teacher of the photographs, which need no network."""
CROPS = RandomResizedCropConfig(image_size=IMAGE_SIZE, crop_area=(0.85, 1.0), kernel="linear")

PHOTOGRAPHS_VAE = "embedded-16-128"
PHOTOGRAPHS_FSQ = "embedded-32-L88888888"
PHOTOGRAPHS_GENERATOR = "photographs-dit"
PHOTOGRAPHS_DECODER = "photographs-decoder"
