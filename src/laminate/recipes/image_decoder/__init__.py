"""Image decoders: latents or patch features to pixels, by reconstruction and an adversary."""
