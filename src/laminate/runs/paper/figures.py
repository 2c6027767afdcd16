"""FlatDINO's figures, 2 to 18: most of them are answers of `analyse.py` about some tokenizer."""

from collections.abc import Mapping

from laminate.runs.paper.answers import DIFFUSE, likeness, lost, monotone, reach, weakest, wide_tokens
from laminate.runs.paper.exhibit import (
    FIGURE_ONLY,
    Analysed,
    Beside,
    Cell,
    Command,
    Counted,
    Evaluated,
    Exhibit,
    Question,
)
from laminate.runs.paper.tables import BASE, EPOCHS, GENERATOR, WORK
from laminate.runs.paper.trainings import (
    NEEDS_DINO,
    NEEDS_IMAGENET,
    NEEDS_INCEPTION,
    NEEDS_RAE,
    NEEDS_REFERENCE,
    PREPARE,
    RAE_DECODER,
    asked,
    drawn,
    generator,
    rebuilt,
    recipe_of,
    run_of,
    tokenizer,
)

_NEEDS = (NEEDS_IMAGENET, NEEDS_DINO, NEEDS_RAE)
_GENERATES = (*_NEEDS, NEEDS_INCEPTION, NEEDS_REFERENCE)


def _figure2() -> Exhibit:
    recipe = recipe_of(BASE)
    numbers = (
        ("patches of the teacher", "256 x 768", f"{recipe.teacher.patches} x {recipe.teacher.dim}"),
        ("latent tokens", "32", f"{recipe.tokens}"),
        ("fewer tokens", "8x", f"{recipe.teacher.patches / recipe.tokens:.0f}x"),
    )
    return Exhibit(
        "figure2",
        WORK,
        "diagram: teacher, encoder with registers, latent, decoder (python -m laminate.recipes explain NAME)",
        tuple(Cell(row, "shape", paper, Counted(ours)) for row, paper, ours in numbers),
    )


def _figure3() -> Exhibit:
    run = run_of(GENERATOR)
    training = generator(GENERATOR, run_of(BASE), epochs=600, of=EPOCHS)
    assert training.cost is not None
    text = (
        f"python experiments/sample.py --generator {run}/checkpoints/{training.cost.steps} --decoder {RAE_DECODER} "
        "--scale 4.5 --interval 0.225 1 --out {out}"
    )
    commands = (PREPARE, tokenizer(BASE), training, Command("figure3", text, f"{run}/drawn/figure3"))
    return Exhibit(
        "figure3",
        WORK,
        "chosen samples of DiT-XL, guided, 50 Euler steps (here: python experiments/sample.py)",
        (
            Cell(
                "samples", "picture", "chosen by hand", None, "a picture: sample.py draws grid.png, unchosen"
            ),
        ),
        commands,
        _NEEDS,
    )


def _figure4() -> Exhibit:
    stated = {(64, 32): "0.96", (32, 64): "0.97", (16, 128): "1.19"}
    cells: list[Cell] = []
    commands: list[Command] = [PREPARE]
    for tokens in (16, 32, 64):
        for width in (16, 32, 64, 128):
            experiment, key = f"fast-{tokens}-bl-{width}", f"figure4-{tokens}x{width}"
            commands += [tokenizer(experiment), rebuilt(key, run_of(experiment))]
            row = f"{tokens} x {width} = {tokens * width} numbers"
            paper = stated.get((tokens, width), FIGURE_ONLY)
            cells.append(Cell(row, "rFID", paper, Evaluated(key, "fid", "rfid@val50k"), form=".2f"))
    return Exhibit(
        "figure4",
        WORK,
        "rFID against the size of the latent, for 16, 32 and 64 tokens, 50 epochs each",
        tuple(cells),
        tuple(commands),
        (*_NEEDS, NEEDS_INCEPTION),
        beside=Beside(
            "tokenizer",
            "reconstruct",
            "python experiments/evaluate.py reconstruct",
            (("fd@embedded", "where Figure 4 has rFID, of the one size that was trained"),),
        ),
    )


def _figure5() -> Exhibit:
    key, features = "figure5", "teacher's features"
    cells = (
        Cell("patches", "likeness over distance", "falls monotonically", Analysed(monotone, key)),
        Cell(
            "patches",
            "fall of the cosine over the image",
            FIGURE_ONLY,
            Analysed(likeness(features, "drop"), key),
            form=".2f",
        ),
        Cell(
            "patches",
            "half of it within, patches",
            FIGURE_ONLY,
            Analysed(likeness(features, "half_distance"), key),
            form=".1f",
        ),
        Cell(
            "rebuilt patches",
            "fall of the cosine over the image",
            "not shown",
            Analysed(likeness("rebuilt features", "drop"), key),
            form=".2f",
        ),
    )
    return Exhibit(
        "figure5",
        WORK,
        "likeness of DINOv2 patches by how far apart they lie",
        cells,
        (
            PREPARE,
            tokenizer("fast-32-bl-128"),
            asked(key, "redundancy", run_of("fast-32-bl-128"), images=5000),
        ),
        _NEEDS,
        question=Question("redundancy"),
    )


def _ablation(
    name: str, shows: str, said: Mapping[str, tuple[str, str]], notes: tuple[str, ...] = ()
) -> Exhibit:
    cells: list[Cell] = []
    commands: list[Command] = [PREPARE]
    for row, (experiment, paper) in said.items():
        key = f"{name}-{experiment}"
        commands += [tokenizer(experiment), asked(key, "token-ablation", run_of(experiment), images=10_000)]
        cells += [
            Cell(row, "tokens that act on most of the image", paper, Analysed(wide_tokens, key)),
            Cell(row, "patches that a token acts on, %", FIGURE_ONLY, Analysed(reach, key), form=".0f"),
        ]
    of = (
        f"More than {DIFFUSE:.0%} of the patches (e to the entropy of a token's map) count as most of the image; the "
        "paper goes by the eye."
    )
    few = "analyse.py zeroes the tokens of its first 64 images, where the paper averages over 10,000."
    return Exhibit(
        name,
        WORK,
        shows,
        tuple(cells),
        tuple(commands),
        _NEEDS,
        Question("token-ablation"),
        notes=(of, few, *notes),
    )


def _figure7() -> Exhibit:
    key = "figure7"
    cells = (
        Cell(
            "token 26",
            "acts on",
            "the background, everywhere",
            None,
            "a picture: see what the analysis draws",
        ),
        Cell("worst single token", "dB to the whole", "not stated", Analysed(weakest, key), form=".1f"),
    )
    return Exhibit(
        "figure7",
        WORK,
        "pictures of images without one token each",
        cells,
        (PREPARE, tokenizer(BASE), asked(key, "mask", run_of(BASE), images=64)),
        _NEEDS,
        question=Question("mask"),
    )


def _figure8() -> Exhibit:
    text = f"python experiments/roundtrip.py pusht --tokenizer {run_of(BASE)} --decoder {RAE_DECODER} --out {{out}}"
    return Exhibit(
        "figure8",
        WORK,
        "frames of PushT through DINOv2 and RAE: shapes stay, colours shift (here: python experiments/roundtrip.py)",
        (
            Cell(
                "frames",
                "picture",
                "colours are inaccurate",
                None,
                "a picture: roundtrip.py leaves contact.png",
            ),
        ),
        (PREPARE, tokenizer(BASE), Command("figure8", text, "roundtrip-pusht")),
        (*_NEEDS, "frames of PushT as images in `pusht`"),
        notes=("The paper's frames skip FlatDINO; these commands go through its tokens as well.",),
    )


def _noise(name: str, experiment: str, shape: str) -> Exhibit:
    cells = (
        Cell(shape, "noise that is not seen", "below 0.2", None, "a picture: see what the analysis draws"),
        Cell(shape, "dB lost at noise 0.2", FIGURE_ONLY, Analysed(lost(0.2), name), form=".1f"),
        Cell(shape, "dB lost at noise 1", FIGURE_ONLY, Analysed(lost(1.0), name), form=".1f"),
    )
    return Exhibit(
        name,
        WORK,
        f"reconstruction under noise on the latents of {shape}",
        cells,
        (PREPARE, tokenizer(experiment), asked(name, "noise", run_of(experiment), images=1024)),
        _NEEDS,
        question=Question("noise"),
        notes=(
            "Noise here is in deviations of the normalised latents, in the paper of the latents as they are.",
        ),
    )


def _figure14() -> Exhibit:
    run = run_of(GENERATOR)
    commands: list[Command] = [
        PREPARE,
        tokenizer(BASE),
        generator(GENERATOR, run_of(BASE), epochs=EPOCHS, of=EPOCHS),
    ]
    cells: list[Cell] = []
    for scale in (3.0, 4.5, 6.0):
        for start in (0.1, 0.225, 0.35):
            key = f"figure14-{scale:g}-{start:g}"
            commands.append(drawn(key, run, f"--scale {scale:g} --interval {start:g} 1", total=10_000))
            paper = "the least of the sweep" if (scale, start) == (4.5, 0.225) else FIGURE_ONLY
            cells.append(
                Cell(f"weight {scale:g}, from {start:g} on", "gFID", paper, Evaluated(key, "fid"), form=".2f")
            )
    return Exhibit(
        "figure14",
        WORK,
        "gFID by guidance weight and by the time from which on it guides",
        tuple(cells),
        tuple(commands),
        _GENERATES,
        notes=(
            "The paper's grid and its number of samples are not stated; these are nine points of 10,000 samples.",
            "In small, by the network in the package: python experiments/analyse.py guidance-sweep.",
        ),
    )


def _throughput(name: str, device: str) -> Exhibit:
    text = (
        "python experiments/bench.py generate --size xl --depth 0 --batches 1 8 64 512 --precision bfloat16"
    )
    why = "a measurement of this device: bench.py prints it as JSON lines"
    return Exhibit(
        name,
        WORK,
        f"passes a second of DiT-XL over 32 and 256 tokens on an {device}",
        (
            Cell(
                f"DiT-XL on {device}", "speed at 32 tokens over 256", "towards 8x in large batches", None, why
            ),
        ),
        (Command(name, text),),
        (f"an {device}; on another device the ratio is that device's",),
        notes=("On a laptop, of a small network: python experiments/analyse.py throughput.",),
    )


FIGURES = (
    _figure2(),
    _figure3(),
    _figure4(),
    _figure5(),
    _ablation(
        "figure6",
        "which places each of 32 tokens acts on",
        {"32 tokens": ("long-32-bl-64", "1 of 32 (token 26)")},
        ("The paper's caption says 32x64 and its text 32x128, of which Figure 12 shows the other.",),
    ),
    _figure7(),
    _figure8(),
    _noise("figure9", BASE, "32x128"),
    _noise("figure10", "long-32-bl-64", "32x64"),
    _ablation(
        "figure11",
        "the same with 64 and with 16 tokens",
        {
            "64 tokens": ("fast-64-bl-128", "4 of 64 (16, 25, 43, 54)"),
            "16 tokens": ("fast-16-bl-128", "horizontal stripes"),
        },
        ("How wide the tokens of these two models are is not stated: 128 is taken.",),
    ),
    _ablation(
        "figure12",
        "the same with 32 tokens of 64 numbers",
        {"32x64": ("long-32-bl-64", "5 of 32 (0, 4, 10, 17, 24)")},
    ),
    _ablation(
        "figure13",
        "the same with four more registers in encoder and decoder, which are thrown away",
        {"32x128, 4 registers": ("long-32-bl-128-er4-dr4", "some still do")},
    ),
    _figure14(),
    _throughput("figure15", "NVIDIA H100 NVL"),
    _throughput("figure16", "NVIDIA A100 80GB PCIe"),
    _throughput("figure17", "NVIDIA RTX 4090"),
    Exhibit(
        "figure18",
        WORK,
        "images with the CLS token and the registers of DINOv2 (deep image prior)",
        (
            Cell(
                "inversion",
                "picture",
                "layout is lost",
                None,
                "a picture, which analyse.py inversion makes",
            ),
        ),
        (PREPARE, tokenizer(BASE), asked("figure18", "inversion", run_of(BASE), images=8)),
        _NEEDS,
        notes=("The paper's images take --iterations 20000.",),
    ),
)
