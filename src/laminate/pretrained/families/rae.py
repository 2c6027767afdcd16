"""Representation autoencoders (Zheng et al. 2025): encoders with decoders, statistics, and generators."""

from laminate.pretrained.family import UNSTATED, FileLayout, KnownWeights, PublishedFamily


def _weights() -> list[KnownWeights]:
    source = "NYU VISIONx, representation autoencoders"
    raw = "nyu-visionx/RAE-collections"
    found: list[KnownWeights] = []
    for name, folder, converted in (
        ("dinov2-b", "dinov2/wReg_base/ViTXL_n08", "dinov2-wReg-base-ViTXL-n08"),
        ("dinov2-b-512", "dinov2/wReg_base/ViTXL_n08_i512", "dinov2-wReg-base-ViTXL-n08-i512"),
        ("dinov2-s", "dinov2/wReg_small/ViTXL_n08", "dinov2-wReg-small-ViTXL-n08"),
        ("dinov2-l", "dinov2/wReg_large/ViTXL_n08", "dinov2-wReg-large-ViTXL-n08"),
        ("mae-b", "mae/base_p16/ViTXL_n08", "mae-base-p16-ViTXL-n08"),
        ("siglip2-b", "siglip2/base_p16_i256/ViTXL_n08", "siglip2-base-p16-i256-ViTXL-n08"),
    ):
        files = (f"decoders/{folder}/model.pt",)
        found.append(
            KnownWeights(
                f"rae-decoder-{name}", raw, files, UNSTATED, source, "rae-decoder", config=None, width=1152
            )
        )
        found.append(
            KnownWeights(
                f"rae-{name}-diffusers",
                f"nyu-visionx/RAE-{converted}",
                ("diffusion_pytorch_model.safetensors",),
                UNSTATED,
                f"{source}, converted for diffusers: encoder, decoder and statistics in one file",
                "",
            )
        )
    for name, folder in (
        ("dinov2-b", "dinov2/wReg_base/imagenet1k"),
        ("dinov2-b-512", "dinov2/wReg_base/imagenet1k_512"),
        ("mae-b", "mae/base_p16/ImageNet1k"),
        ("siglip2-b", "siglip2/base_p16_i256/ImageNet1k"),
    ):
        files = (f"stats/{folder}/stat.pt",)
        found.append(KnownWeights(f"rae-stats-{name}", raw, files, UNSTATED, source, "", 1, config=None))
    for name, folder in (
        ("xl", "ImageNet256/DiTDH-XL"),
        ("s", "ImageNet256/DiTDH-S_ep14"),
        ("xl-512", "ImageNet512/DiTDH-XL_ep400"),
        ("s-512", "ImageNet512/DiTDH-S_ep20"),
    ):
        files = (f"DiTs/Dinov2/wReg_base/{folder}/stage2_model.pt",)
        found.append(KnownWeights(f"dit-dh-{name}", raw, files, UNSTATED, source, "dit-dh", config=None))
    return found


RAE = PublishedFamily(
    layouts=(
        FileLayout(
            "rae",
            "a whole representation autoencoder",
            (r"^encoder\.(?:encoder|model)\.", r"^decoder\.decoder_embed\.weight$"),
            (r"^decoder\.decoder_embed\.bias$", 0),
            r"^decoder\.decoder_layers\.(\d+)\.",
            whole=True,
        ),
        FileLayout(
            "rae-decoder",
            "an RAE decoder as diffusers stores it",
            (r"decoder_embed\.weight$", r"decoder_layers\.0\..*to_q\.weight$"),
            (r"decoder_embed\.bias$", 0),
            r"decoder_layers\.(\d+)\.",
        ),
        FileLayout(
            "rae-decoder",
            "an RAE decoder",
            (
                r"decoder_embed\.weight$",
                r"decoder_layers\.0\.attention\.attention\.query\.weight$",
                r"decoder_pred\.",
            ),
            (r"decoder_embed\.bias$", 0),
            r"decoder_layers\.(\d+)\.",
        ),
        FileLayout(
            "dit-dh",
            "DiT^DH",
            (r"s_embedder[./](?:proj[./])?(?:weight|kernel)$", r"x_embedder[./]"),
            (r"s_embedder[./](?:proj[./])?bias$", 0),
            r"(?:^|encoder_)blocks[./](\d+)[./]",
        ),
    ),
    weights=tuple(_weights()),
)
