"""What an image decoder is trained with: its discriminator, and the frozen networks beside it."""
