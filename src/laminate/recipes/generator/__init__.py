"""Generators: diffusion transformers on the latents of a tokenizer, trained by flow matching."""
