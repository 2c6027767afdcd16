"""What the recipes of the no-flag default share: photographs that ship with the package, in 16 tokens of 128 numbers.

The recipes themselves are presets of their families (`embedded_vae`, `embedded_fsq`, `embedded_dit`,
`embedded_decoder`).
"""

from laminate.recipes.augment import RandomResizedCropConfig
from laminate.recipes.latent import LatentSpec
from laminate.recipes.network import patch_teacher

IMAGE_SIZE = 64
PATCH_SIZE = 16
GLOBAL_BATCH_SIZE = 32

TEACHER = patch_teacher(IMAGE_SIZE, PATCH_SIZE)
AUGMENT = RandomResizedCropConfig(image_size=IMAGE_SIZE, crop_area=(0.85, 1.0), kernel="linear")
LATENT = LatentSpec(tokens=16, latent_dim=128, image_size=IMAGE_SIZE, posterior=True, teacher=TEACHER)

TOKENIZER_NAME = "embedded-16-128"
GENERATOR_NAME = "embedded-dit"
DECODER_NAME = "embedded-decoder"
