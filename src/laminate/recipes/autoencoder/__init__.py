"""Autoencoders of images that others published."""
