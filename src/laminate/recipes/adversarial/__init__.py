"""What makes images look right, for every family that makes some: a perceptual distance, and a discriminator."""
