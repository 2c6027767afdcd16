"""Losses: each is one equation, one example in, one float32 scalar out."""
