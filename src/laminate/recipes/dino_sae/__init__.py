"""DINO-SAE: a convolutional stem before a frozen DINOv3 and a convolutional decoder, trained in stages."""
