"""ViTok-v2: autoencoders of images of any size and shape, as patches."""
