"""What is known of published weights, a value for each family: `FAMILIES` lists them, and every table is made of it."""

from laminate.pretrained.families.autoencoders import AUTOENCODERS
from laminate.pretrained.families.clip import CLIP
from laminate.pretrained.families.dino import DINO
from laminate.pretrained.families.dino_sae import DINO_SAE
from laminate.pretrained.families.dinov2 import DINOV2
from laminate.pretrained.families.dinov3 import DINOV3
from laminate.pretrained.families.discriminators import DISCRIMINATORS
from laminate.pretrained.families.flatdino import FLATDINO
from laminate.pretrained.families.lightningdit import LIGHTNINGDIT
from laminate.pretrained.families.mae import MAE
from laminate.pretrained.families.metrics import METRICS
from laminate.pretrained.families.rae import RAE
from laminate.pretrained.families.siglip2 import SIGLIP2
from laminate.pretrained.families.vitok import VITOK
from laminate.pretrained.family import PublishedFamily

# The order of `python -m laminate.pretrained list`. Of two layouts that fit a file the first is taken, so the
# particular stands in front of the general: ViT-MAE before the plain ViT, and before RAE's decoder, which is named like
# its own, CLIP before SigLIP2, whose tower lacks its class token, and diffusers' autoencoders before those of latent
# diffusion, whose outermost names are the same.
FAMILIES: tuple[PublishedFamily, ...] = (
    DINOV2,
    DINOV3,
    MAE,
    CLIP,
    SIGLIP2,
    DINO,
    METRICS,
    DINO_SAE,
    RAE,
    VITOK,
    AUTOENCODERS,
    LIGHTNINGDIT,
    FLATDINO,
    DISCRIMINATORS,
)
