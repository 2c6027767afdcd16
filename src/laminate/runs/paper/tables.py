"""FlatDINO's tables of results and of settings: 1 to 6, and 10."""

from laminate.runs.paper.answers import components
from laminate.runs.paper.exhibit import (
    Analysed,
    Beside,
    Cell,
    Command,
    Counted,
    Evaluated,
    Exhibit,
    Question,
)
from laminate.runs.paper.trainings import (
    IMAGENET,
    NEEDS_DINO,
    NEEDS_IMAGENET,
    NEEDS_INCEPTION,
    NEEDS_RAE,
    NEEDS_REFERENCE,
    PREPARE,
    asked,
    drawn,
    generator,
    rebuilt,
    recipe_of,
    run_of,
    tokenizer,
)

WORK = "FlatDINO"
BASE = "long-32-bl-128"
GENERATOR = "ditxl-kappa3"
EPOCHS = 800
NO_RAE_RUN = "no command here draws from RAE's own generators or decodes its features without a tokenizer"
_QUOTED = (
    ("VAR, 350 epochs", "1.92", "0.82", "0.59", "1.73", "0.82", "0.60"),
    ("MAR, 800 epochs", "2.35", "0.79", "0.62", "1.55", "0.81", "0.62"),
    ("ADM, 400 epochs", "10.94", "0.69", "0.63", "3.94", "0.83", "0.53"),
    ("DiT, 1400 epochs", "9.62", "0.67", "0.67", "2.27", "0.83", "0.57"),
    ("SiT, 1400 epochs", "8.61", "0.68", "0.67", "2.06", "0.82", "0.59"),
    ("VA-VAE, 800 epochs", "2.17", "0.77", "0.65", "1.35", "0.79", "0.65"),
    ("REPA, 800 epochs", "5.78", "0.70", "0.68", "1.29", "0.79", "0.64"),
    ("REPA-E, 800 epochs", "1.70", "0.77", "0.66", "1.15", "0.79", "0.66"),
    ("DDT, 400 epochs", "6.27", "0.68", "0.69", "1.26", "0.79", "0.65"),
    ("RAE, DiT-XL (DINOv2-S), 800 epochs", "1.87", "0.80", "0.63", "1.41", "0.80", "0.63"),
    ("RAE, DiT^DH-XL (DINOv2-B), 800 epochs", "1.51", "0.79", "0.63", "1.13", "0.78", "0.67"),
)
_OWN = {
    600: ("3.34", "0.77", "0.61", "1.85", "0.78", "0.63"),
    800: ("3.21", "0.77", "0.62", "1.80", "0.78", "0.62"),
}
_MEASURES = (
    ("gFID", "fid", "gfid@adm-256"),
    ("precision", "precision@inception", "prc@adm-256"),
    ("recall", "recall@inception", "prc@adm-256"),
)


def _table1() -> Exhibit:
    cells: list[Cell] = []
    run, steps = (
        run_of(GENERATOR),
        {epochs: generator(GENERATOR, run_of(BASE), epochs=epochs, of=EPOCHS) for epochs in _OWN},
    )
    commands: list[Command] = [PREPARE, tokenizer(BASE)]
    for epochs, printed in _OWN.items():
        training = steps[epochs]
        assert training.cost is not None
        place = f"{run}/checkpoints/{training.cost.steps}"
        keys = {"unguided": f"table1-{epochs}-unguided", "guided": f"table1-{epochs}-guided"}
        commands += [
            training,
            drawn(keys["unguided"], place, "--scale 1"),
            drawn(keys["guided"], place, "--scale 4.5 --interval 0.225 1"),
        ]
        for side, values in (("unguided", printed[:3]), ("guided", printed[3:])):
            cells += [
                Cell(
                    f"FlatDINO, DiT-XL (32x128), {epochs} epochs",
                    f"{name}, {side}",
                    value,
                    Evaluated(keys[side], measure, protocol),
                    form=".2f",
                )
                for (name, measure, protocol), value in zip(_MEASURES, values, strict=True)
            ]
    quoted = [
        Cell(row, f"{name}, {side}", value, None, "quoted by the paper from others")
        for row, *printed in _QUOTED
        for side, values in (("unguided", printed[:3]), ("guided", printed[3:]))
        for (name, _, _), value in zip(_MEASURES, values, strict=True)
    ]
    return Exhibit(
        "table1",
        WORK,
        "generation on ImageNet 256x256: gFID, precision and recall, beside other methods",
        (*cells, *quoted),
        tuple(commands),
        (NEEDS_IMAGENET, NEEDS_DINO, NEEDS_RAE, NEEDS_INCEPTION, NEEDS_REFERENCE),
        beside=Beside(
            "generator",
            "generate",
            "python experiments/evaluate.py generate",
            (
                ("fd@embedded", "where Table 1 has gFID"),
                ("precision@embedded", "precision"),
                ("recall@embedded", "recall"),
            ),
        ),
        notes=(
            "The two lengths are one training of a constant rate: its checkpoint after 600 epochs, and its end.",
            "Command 6 goes on where command 3 stopped: what that cost is counted in both, and in the sum.",
            "xAR, PixelFlow, PixNerd, MaskDiT, MDTv2 and shorter trainings of others stand in the paper too.",
        ),
    )


def _table2() -> Exhibit:
    names = {"32x128": BASE, "32x64": "long-32-bl-64"}
    printed = {"32x128": ("48x", "0.77"), "32x64": ("96x", "0.87")}
    cells = [
        Cell("RAE (baseline)", "compression", "1x", Counted("1x")),
        Cell("RAE (baseline)", "rFID", "0.62", None, NO_RAE_RUN),
    ]
    commands: list[Command] = [PREPARE]
    for shape, experiment in names.items():
        recipe = recipe_of(experiment)
        fewer = recipe.teacher.numbers / (recipe.tokens * recipe.bottleneck.width)
        key = f"table2-{shape}"
        commands += [tokenizer(experiment), rebuilt(key, run_of(experiment))]
        cells += [
            Cell(f"FlatDINO {shape}", "compression", printed[shape][0], Counted(f"{fewer:.0f}x")),
            Cell(
                f"FlatDINO {shape}",
                "rFID",
                printed[shape][1],
                Evaluated(key, "fid", "rfid@val50k"),
                form=".2f",
            ),
        ]
    return Exhibit(
        "table2",
        WORK,
        "reconstruction (rFID of RAE-decoded images) and compression of 32x128 and 32x64",
        tuple(cells),
        tuple(commands),
        (NEEDS_IMAGENET, NEEDS_DINO, NEEDS_RAE, NEEDS_INCEPTION),
        beside=Beside(
            "tokenizer",
            "reconstruct",
            "python experiments/evaluate.py reconstruct",
            (
                ("fd@embedded", "where Table 2 has rFID"),
                ("fd@embedded/teacher-decoder", "where it has RAE's"),
                ("psnr", "dB, which the paper does not print"),
            ),
        ),
        notes=(
            "Which images the paper's rFID is against, and which crop they have, is not stated: deviations from "
            "rfid@val50k are named beside ours.",
        ),
    )


def _table3() -> Exhibit:
    key = "table3"
    rows = (
        ("feature dimension", "numbers", ("768", "588"), ".0f"),
        ("dimensions for 95 % of the variance", "pca_95", ("594", "21"), ".0f"),
        ("compression at 95 %", "ratio", ("1.3", "28.0"), ".1f"),
    )
    kinds = (("features of the teacher", "patches"), ("pixels of its patches", "pixel patches"))
    cells = tuple(
        Cell(said, quantity, printed[place], Analysed(components(kind, of), key), form=form)
        for place, (said, kind) in enumerate(kinds)
        for quantity, of, printed, form in rows
    )
    return Exhibit(
        "table3",
        WORK,
        "how far a linear map compresses DINO features and pixel patches (PCA of 2.57 million patches)",
        cells,
        (
            PREPARE,
            tokenizer("fast-32-bl-128"),
            asked(key, "dimension", run_of("fast-32-bl-128"), images=10_048),
        ),
        (NEEDS_IMAGENET, NEEDS_DINO, NEEDS_RAE),
        question=Question("dimension"),
        notes=(
            "The tokenizer only says which teacher is looked through: any tokenizer of DINOv2-B gives this table.",
        ),
    )


def _table4() -> Exhibit:
    printed = {256: "2e-06", 512: "1e-06", 1024: "5e-07", 2048: "2.5e-07", 4096: "1.25e-07"}
    experiments = ("fast-16-bl-16", "fast-32-bl-16", "fast-32-bl-32", "fast-32-bl-64", "fast-32-bl-128")
    cells: list[Cell] = []
    for (numbers, value), experiment in zip(printed.items(), experiments, strict=True):
        recipe = recipe_of(experiment)
        assert recipe.tokens * recipe.bottleneck.width == numbers
        weight = recipe.bottleneck.resolved_kl_weight(recipe.tokens)
        cells.append(
            Cell(
                f"latent of {numbers} numbers ({experiment})", "KL weight", value, Counted(weight), form=".3g"
            )
        )
    return Exhibit("table4", WORK, "weight of the KL divergence for each size of the latent", tuple(cells))


def _table5() -> Exhibit:
    recipe = recipe_of(BASE)
    halves = {"encoder": recipe.encoder, "decoder": recipe.decoder}
    rates, update = recipe.schedule, recipe.optimizer
    size = {name: f"{one.dim} dim, {one.depth} layers, {one.heads} heads" for name, one in halves.items()}
    rows: tuple[tuple[str, str, str], ...] = (
        ("encoder (ViT-B)", "768 dim, 12 layers, 12 heads", size["encoder"]),
        ("decoder (ViT-L)", "1024 dim, 24 layers, 16 heads", size["decoder"]),
        ("activation", "SwiGLU", _SAID.get(recipe.encoder.mlp, f"{recipe.encoder.mlp}")),
        ("normalisation", "LayerNorm", _SAID.get(recipe.encoder.norm, f"{recipe.encoder.norm}")),
        (
            "optimiser",
            "AdamW, betas 0.9, 0.999",
            f"{_SAID[update.kind]}, betas {update.betas[0]}, {update.betas[1]}",
        ),
        ("weight decay (2D weights only)", "0.02", f"{update.weight_decay:g}"),
        ("batch size", "512", f"{recipe.global_batch_size}"),
        ("peak learning rate", "0.0001", f"{rates.peak:g}"),
        ("least learning rate", "1e-08", f"{rates.final:g}"),
        ("warm-up learning rate", "1e-06", f"{rates.start:g}"),
        ("schedule", "wsd", rates.kind),
        ("reconstruction", "mse", recipe.reconstruction),
        (
            "KL weight",
            "normalised by the latent",
            "normalised by the latent" if recipe.bottleneck.kl_weight is None else "",
        ),
    )
    cells = tuple(Cell(row, "setting", paper, Counted(ours)) for row, paper, ours in rows)
    return Exhibit(
        "table5",
        WORK,
        "architecture and optimisation of FlatDINO's training",
        cells,
        notes=(
            "bfloat16 in the computation and float32 parameters are --precision, and the default but on a CPU.",
        ),
    )


_SAID = {
    "swiglu": "SwiGLU",
    "layer": "LayerNorm",
    "adamw": "AdamW",
    "muon": "Muon",
    "schedule-free": "schedule-free AdamW",
}


def _table6() -> Exhibit:
    printed = {"fast-32-bl-128": ("50", "5", "40", "5"), BASE: ("150", "5", "123", "22")}
    cells: list[Cell] = []
    for experiment, values in printed.items():
        one = recipe_of(experiment).schedule
        ours = (one.length, one.warmup, one.length - one.warmup - one.decay, one.decay)
        for quantity, paper, mine in zip(("total", "warm-up", "stable", "decay"), values, ours, strict=True):
            cells.append(Cell(experiment, f"{quantity}, {one.unit}", paper, Counted(float(mine)), form=".0f"))
    return Exhibit("table6", WORK, "phases of the WSD schedule of 50 and 150 epochs", tuple(cells))


_SETS = ("ImageNet-1k", "CIFAR-10", "CIFAR-100", "Caltech-101", "Flowers", "Pets", "Food-101", "DTD")
_SOURCES = (
    IMAGENET,
    "tfds:cifar10",
    "tfds:cifar100",
    "tfds:caltech101",
    "tfds:oxford_flowers102",
    "tfds:oxford_iiit_pet",
    "tfds:food101",
    "tfds:dtd",
)
_KNN = {
    "DINOv2 CLS": ("81.92", "97.92", "87.56", "85.89", "99.69", "94.52", "88.65", "76.75"),
    "DINOv2 patches": ("74.34", "97.69", "87.13", "89.46", "99.41", "76.06", "82.52", "77.12"),
    "FlatDINO 32x768": ("77.20", "98.08", "88.94", "88.19", "99.63", "87.16", "84.23", "76.65"),
    "FlatDINO 32x128": ("65.11", "89.86", "71.01", "85.68", "95.67", "69.07", "78.33", "76.60"),
    "FlatDINO 32x64": ("46.36", "80.77", "60.15", "81.77", "74.70", "47.10", "59.81", "72.13"),
}


def _table10() -> Exhibit:
    experiments = {width: f"long-32-bl-{width}" for width in (768, 128, 64)}
    commands: list[Command] = [PREPARE]
    for width, experiment in experiments.items():
        commands.append(tokenizer(experiment))
        for name, source in zip(_SETS, _SOURCES, strict=True):
            key = f"table10-{width}-{name.lower()}"
            run = run_of(experiment)
            text = f"python experiments/evaluate.py probe --tokenizer {run} --data {source} --out {{out}}"
            commands.append(Command(key, text, f"{run}/evaluation/{key}"))
    cells: list[Cell] = []
    for row, values in _KNN.items():
        width = row.rpartition("x")[2] if row.startswith("FlatDINO") else "128"
        kind = "latents" if row.startswith("FlatDINO") else "teacher's features"
        for name, value in zip(_SETS, values, strict=True):
            ours = Evaluated(f"table10-{width}-{name.lower()}", f"knn-20/{kind}")
            why = "no command here takes the CLS token of a teacher"
            cells.append(
                Cell(row, name, value, None, why)
                if row.endswith("CLS")
                else Cell(row, name, value, ours, form=".2f")
            )
    return Exhibit(
        "table10",
        WORK,
        "k-NN (top-1, %) by DINOv2 and FlatDINO features on eight data sets",
        tuple(cells),
        tuple(commands),
        (NEEDS_IMAGENET, NEEDS_DINO, "the seven further data sets, prepared by TFDS"),
        beside=Beside(
            "tokenizer",
            "probe",
            "python experiments/evaluate.py probe",
            (
                ("knn-20/teacher's features", "% of held-out images, where Table 10 has DINOv2 patches"),
                ("knn-20/latents", "%, where it has FlatDINO"),
                ("knn-20/pixels at 8 x 8", "%, by what needs no network"),
            ),
        ),
        notes=(
            "How many neighbours vote is not stated in the paper; ours are 20 (DINO's), temperature 0.07.",
        ),
    )


TABLES = (_table1(), _table2(), _table3(), _table4(), _table5(), _table6())
LAST = (_table10(),)
