"""Image tokenizers: encoder, bottleneck, decoder and the statistics of their latents."""

from laminate.tokenizers.flatdino import FeatureReconstruction as FeatureReconstruction
from laminate.tokenizers.flatdino import FlatDino as FlatDino
from laminate.tokenizers.flatdino import NestedLatents as NestedLatents
from laminate.tokenizers.normalization import Normalization as Normalization
