"""LightningDiT, and the KL autoencoders that it and other latent diffusion work on."""

from laminate.pretrained.family import FileLayout, KnownWeights, PublishedFamily


def _weights() -> list[KnownWeights]:
    source = "HUST Vision Lab, LightningDiT and VA-VAE (arXiv:2501.01423)"
    return [
        KnownWeights(name, f"hustvl/{repository}", (file,), "MIT", source, family, megabytes, config=None)
        for name, repository, file, family, megabytes in (
            *(
                (
                    name,
                    "vavae-imagenet256-f16d32-dinov2",
                    "vavae-imagenet256-f16d32-dinov2.pt",
                    "vavae",
                    2150,
                )
                for name in ("vavae", "vavae-f16d32")
            ),
            *(
                (
                    f"lightningdit-xl-{epochs}ep",
                    f"lightningdit-xl-imagenet256-{epochs}ep",
                    f"lightningdit-xl-imagenet256-{epochs}ep.pt",
                    "lightningdit",
                    None,
                )
                for epochs in (64, 800)
            ),
        )
    ]


LIGHTNINGDIT = PublishedFamily(
    layouts=(
        FileLayout(
            "lightningdit",
            "LightningDiT",
            (r"x_embedder[./]", r"t_embedder[./]", r"blocks[./]0[./]adaLN_modulation[./]"),
            (r"x_embedder[./](?:proj[./])?bias$", 0),
            r"blocks[./](\d+)[./]",
        ),
        FileLayout(
            "vavae",
            "VA-VAE or another KL autoencoder of latent diffusion",
            (r"encoder\.conv_in\.weight$", r"decoder\.conv_out\.weight$"),
            (r"encoder\.conv_in\.bias$", 0),
            r"^$()",
        ),
    ),
    weights=tuple(_weights()),
)
