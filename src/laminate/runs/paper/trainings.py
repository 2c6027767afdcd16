"""The commands that lead to the papers' models, and those that measure them, from the recipes that are here."""

from typing import Any

from laminate.recipes.describe import IMAGENET_IMAGES
from laminate.recipes.families import find_family
from laminate.runs.paper.exhibit import Command, Training

IMAGENET = "imagenet"
"""The folder that the commands take the images from."""
RAE_DECODER = "rae-decoder-dinov2-b"
INCEPTION = "inception.safetensors"
LPIPS = "lpips.safetensors"
REFERENCE = "VIRTUAL_imagenet256_labeled.npz"
SAMPLES = 50_000

NEEDS_IMAGENET = (
    f"ImageNet-1k as `{IMAGENET}` (prepared from what you may download: TFDS's imagenet2012, class folders or tar "
    "files)"
)
NEEDS_DINO = "DINOv2-B with registers (fetched once by its known name, dinov2-b)"
NEEDS_RAE = f"RAE's ViT-XL decoder on it ({RAE_DECODER}; a .pt file wants its .safetensors copy)"
NEEDS_INCEPTION = f"FID's Inception-v3 as `{INCEPTION}` (pt_inception-2015-12-05)"
NEEDS_REFERENCE = f"ADM's reference file `{REFERENCE}`"
NEEDS_DINOV3 = "DINOv3-L (dinov3-l: its licence has to be accepted on the hub)"
NEEDS_LPIPS = f"LPIPS with VGG-16 as `{LPIPS}`"

PREPARE = Command("imagenet", f"python -m laminate.data prepare tfds:imagenet2012 {IMAGENET}")


def recipe_of(experiment: str) -> Any:
    """The recipe of a name, of whichever family."""
    return find_family(experiment).names.recipe(experiment)


def training_of(experiment: str, plan: str, *, exact: bool = False, epochs: int | None = None) -> Training:
    """Steps and images of an experiment on ImageNet, or of its first `epochs` of a constant schedule."""
    recipe = recipe_of(experiment)
    size = recipe.global_batch_size
    counts = recipe.schedule.counts(examples=IMAGENET_IMAGES, global_batch_size=size)
    steps = counts.total if epochs is None else IMAGENET_IMAGES * epochs // size
    return Training(steps, steps * size, plan, exact)


def run_of(experiment: str) -> str:
    """The run folder of an experiment in these commands."""
    return f"runs/{experiment.replace('/', '-')}"


def tokenizer(experiment: str) -> Command:
    """The training of a FlatDINO tokenizer of the paper's size."""
    cost = training_of(experiment, "long-32-bl-128", exact=experiment == "long-32-bl-128")
    run = run_of(experiment)
    return Command(
        experiment,
        f"python experiments/vae.py --experiment {experiment} --data {IMAGENET} --mesh 4x8 --remat dots "
        f"--run-dir {run}",
        run,
        cost,
    )


def generator(
    experiment: str,
    tokenizer_run: str,
    *,
    epochs: int,
    of: int,
    run: str = "",
    decoder: str = RAE_DECODER,
    plan: str = "ditxl",
) -> Command:
    """The training of a generator up to an epoch; the same run goes on where `epochs` is less than `of`."""
    place = run or run_of(experiment)
    cost = training_of(experiment, plan, exact=plan == experiment, epochs=epochs)
    stop = f" --stop-after {cost.steps}" if epochs < of else ""
    shown = f" --decoder {decoder}" if decoder else ""
    return Command(
        f"{experiment}-{epochs}",
        f"python experiments/generator.py --experiment {experiment} --tokenizer {tokenizer_run} --data {IMAGENET}"
        f"{shown} --set schedule.length={of} --mesh 4x8 --run-dir {place}{stop}",
        place,
        cost,
    )


def drawn(
    key: str,
    run: str,
    options: str,
    *,
    total: int = SAMPLES,
    decoder: str = RAE_DECODER,
    plan: str = "ditxl",
) -> Command:
    """Samples of a generator, measured by ADM's protocol."""
    shown = f" --decoder {decoder}" if decoder else ""
    return Command(
        key,
        f"python experiments/evaluate.py generate --generator {run}{shown} --data {IMAGENET} --total {total} "
        f"{options} --inception {INCEPTION} --reference {REFERENCE} --protocol gfid@adm-256 --inexact --mesh 4x8 "
        "--out {out}",
        f"{run.split('/checkpoints/')[0]}/evaluation/{key}",
        Training(0, total, f"{plan} --draw", False),
    )


def rebuilt(key: str, run: str, *, decoder: str = RAE_DECODER, more: str = "") -> Command:
    """Reconstructions of the validation images, measured against these."""
    shown = f" --decoder {decoder}" if decoder else ""
    return Command(
        key,
        f"python experiments/evaluate.py reconstruct --tokenizer {run}{shown} --data {IMAGENET} --rounding down "
        f"--inception {INCEPTION}{more} --protocol rfid@val50k --inexact --out {{out}}",
        f"{run}/evaluation/{key}",
    )


def asked(key: str, question: str, run: str, *, images: int, decoder: str = RAE_DECODER) -> Command:
    """A question of `analyse.py` about a tokenizer of the paper's size."""
    return Command(
        key,
        f"python experiments/analyse.py {question} --tokenizer {run} --decoder {decoder} --data {IMAGENET} "
        f"--images {images} --out {{out}}",
        f"{run}/analysis/{key}",
    )
