"""Bottlenecks: from the encoder's tokens to the latents that the decoder sees."""
