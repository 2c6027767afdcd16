"""Masked autoencoders: frozen networks of one's own, with the decoder that shows their features as images."""
