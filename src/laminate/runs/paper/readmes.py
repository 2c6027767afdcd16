"""The tables of results of DINO-SAE's README, and of ViTok-v2's README and project page."""

from laminate.runs.paper.exhibit import Beside, Cell, Command, Counted, Evaluated, Exhibit
from laminate.runs.paper.trainings import (
    IMAGENET,
    INCEPTION,
    LPIPS,
    NEEDS_DINOV3,
    NEEDS_IMAGENET,
    NEEDS_INCEPTION,
    NEEDS_LPIPS,
    NEEDS_REFERENCE,
    PREPARE,
    drawn,
    generator,
    rebuilt,
    recipe_of,
)

DINO_SAE, VITOK = "DINO-SAE", "ViTok-v2"
RUN = "runs/dino-sae-v1"
_OTHERS = "read as published weights (python -m laminate.pretrained list), and no command measures them"


def _chain() -> Command:
    """All four stages of the README's schedule, whose lengths it does not state."""
    text = f"python experiments/dino_sae.py --stages v1 --data {IMAGENET} --lpips {LPIPS} --mesh 4x8 --run-dir {RUN}"
    return Command("dino-sae-v1", text, RUN)


def _reconstruction() -> Exhibit:
    key = "dino-sae-reconstruction"
    others = {"SD-VAE": ("0.62", "26.04"), "VAVAE": ("0.28", "27.96"), "RAE": ("0.59", "18.94")}
    cells = [
        Cell(row, quantity, value, None, _OTHERS)
        for row, values in others.items()
        for quantity, value in zip(("rFID", "PSNR, dB"), values, strict=True)
    ]
    cells += [
        Cell("DINO-SAE", "rFID", "0.37", Evaluated(key, "fid", "rfid@val50k"), form=".2f"),
        Cell("DINO-SAE", "PSNR, dB", "26.20", Evaluated(key, "psnr"), form=".2f"),
    ]
    return Exhibit(
        "dino-sae-reconstruction",
        DINO_SAE,
        "reconstruction on ImageNet 256x256: rFID and PSNR of four autoencoders",
        tuple(cells),
        (PREPARE, _chain(), rebuilt(key, RUN, decoder="")),
        (NEEDS_IMAGENET, NEEDS_DINOV3, NEEDS_LPIPS, NEEDS_INCEPTION),
        beside=Beside(
            "tokenizer",
            "reconstruct",
            "python experiments/evaluate.py reconstruct",
            (("psnr", "dB"), ("fd@embedded", "where the README has rFID")),
        ),
        notes=(
            "With --tokenizer runs/embedded-sae the last lines are of what dino_sae.py leaves without flags.",
            "Lengths of the four stages are not stated by the authors; the recipes take 20 epochs each. No plan says "
            "what they cost.",
        ),
    )


def _generation() -> Exhibit:
    printed = {
        "DINO-SAE + LightningDiT-XL": ("ditxl-sphere", "3.47", "202.1"),
        "DINO-SAE + DiTDH-XL": ("ditxl-dh-sphere", "3.07", "209.7"),
    }
    why = "no command here draws from RAE's own generators"
    cells = [
        Cell("RAE + LightningDiT-XL", "gFID, 80 epochs", "4.28", None, why),
        Cell("RAE + LightningDiT-XL", "inception score", "214.8", None, why),
    ]
    commands: list[Command] = [PREPARE, _chain()]
    for row, (experiment, fid, score) in printed.items():
        key = f"dino-sae-{experiment}"
        run = f"runs/{key}"
        commands += [
            generator(experiment, RUN, epochs=80, of=80, run=run, decoder="", plan=experiment),
            drawn(key, run, "--scale 1", decoder="", plan=experiment),
        ]
        cells += [
            Cell(row, "gFID, 80 epochs", fid, Evaluated(key, "fid", "gfid@adm-256"), form=".2f"),
            Cell(row, "inception score", score, Evaluated(key, "inception-score"), form=".1f"),
        ]
    return Exhibit(
        "dino-sae-generation",
        DINO_SAE,
        "generation after 80 epochs: gFID and inception score",
        tuple(cells),
        tuple(commands),
        (NEEDS_IMAGENET, NEEDS_DINOV3, NEEDS_LPIPS, NEEDS_INCEPTION, NEEDS_REFERENCE),
        notes=(
            "plan.py plans generators over 32 tokens: over 256, as here, a pass is about eight times the work.",
            "ADM takes its inception score of splits in file order, evaluate.py of shuffled ones.",
        ),
    )


_MILLION = 1e6


def _vitok_models() -> Exhibit:
    cells: list[Cell] = []
    for row, experiment, encoder, decoder in (
        ("350M (Ld4-Ld24/1x16x64)", "350M-f16x64", "51", "303"),
        ("5B (Td4-T/1x16x64)", "5B-f16x64", "463", "4500"),
    ):
        found = recipe_of(experiment).parameters
        for half, paper, value in zip(("encoder", "decoder"), (encoder, decoder), found, strict=True):
            cells.append(
                Cell(row, f"{half}, million parameters", paper, Counted(value / _MILLION), form=".0f")
            )
    return Exhibit("vitok-models", VITOK, "sizes of the two families of published autoencoders", tuple(cells))


_VITOK = {
    "350M-f16x64": (
        ("3.73", "5.62", "32.83", ".918"),
        ("0.48", "1.35", "34.64", ".927"),
        ("0.44", "1.30", "32.78", ".918"),
    ),
    "350M-f16x32": (
        ("6.60", "8.35", "30.41", ".866"),
        ("1.49", "3.14", "32.15", ".877"),
        ("1.63", "3.62", "30.32", ".861"),
    ),
    "350M-f16x16": (
        ("10.06", "11.79", "27.92", ".795"),
        ("4.20", "7.00", "29.77", ".815"),
        ("4.83", "6.96", "28.11", ".788"),
    ),
    "5B-f16x64": (
        ("2.98", "4.28", "34.05", ".930"),
        ("0.41", "1.02", "35.91", ".938"),
        ("0.35", "0.89", "33.99", ".932"),
    ),
    "5B-f32x128": (
        ("8.93", "10.08", "29.01", ".838"),
        ("1.96", "2.42", "30.75", ".853"),
        ("1.68", "3.13", "29.05", ".834"),
    ),
    "FLUX.2 VAE": (
        ("1.12", "1.46", "31.48", ".900"),
        ("0.45", "0.45", "33.21", ".914"),
        ("0.90", "0.44", "31.44", ".908"),
    ),
}
_MEASURES = (("rFID", "", ".2f"), ("rFDD", "", ".2f"), ("PSNR, dB", "psnr", ".2f"), ("SSIM", "ssim", ".3f"))
_COCO = "coco"


def _vitok_reconstruction() -> Exhibit:
    """COCO at 256 alone is measured by a command here: squares of that size are what a tokenizer's view gives."""
    cells: list[Cell] = []
    commands: list[Command] = []
    for model, places in _VITOK.items():
        run, key = f"runs/{model}", f"vitok-{model}"
        if not model.startswith("FLUX"):
            train = (
                f"python experiments/vitok.py --experiment {model} --data 'hf://timm/imagenet-22k-wds/"
                f"imagenet22k-train-{{0000..1023}}.tar' --mesh 4x8 --run-dir {run}"
            )
            measure = (
                f"python experiments/evaluate.py reconstruct --tokenizer {run} --data {_COCO} "
                f"--inception {INCEPTION} --out {{out}}"
            )
            commands += [Command(model, train, run), Command(key, measure, f"{run}/evaluation/{key}")]
        for data, values in zip(("COCO at 256", "COCO at 512", "DIV8K at 1024"), places, strict=True):
            for (quantity, measure, form), value in zip(_MEASURES, values, strict=True):
                known = bool(measure) and data == "COCO at 256" and not model.startswith("FLUX")
                why = (
                    _OTHERS
                    if model.startswith("FLUX")
                    else (
                        "ViTok's protocol shows [0, 1] to its Inception, which no command here does"
                        if not measure
                        else "no command here measures it at this size"
                    )
                )
                ours = Evaluated(key, measure) if known else None
                cells.append(Cell(model, f"{quantity}, {data}", value, ours, "" if known else why, form))
    return Exhibit(
        "vitok-reconstruction",
        VITOK,
        "reconstruction of COCO and DIV8K (from the project's page: the README has no results)",
        tuple(cells),
        tuple(commands),
        ("ImageNet-22k shards of the hub", f"COCO's 5,000 validation images as `{_COCO}`", NEEDS_INCEPTION),
        notes=("No plan says what the trainings cost. Upstream figures are of networks in 8-bit floats.",),
    )


README_TABLES = (_reconstruction(), _generation(), _vitok_models(), _vitok_reconstruction())
