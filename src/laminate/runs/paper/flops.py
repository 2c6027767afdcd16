"""FlatDINO's tables of FLOPs, 7 to 9 (appendix H), counted from the recipes: one multiply-add is one FLOP.

The paper gives the gated MLP 8 D / 3 numbers exactly, and counts neither embeddings nor modulation; nor do these.
"""

from dataclasses import dataclass
from typing import Any

from laminate.recipes.costs import layer_flops, training_flops, vit_flops
from laminate.recipes.network import VitConfig
from laminate.runs.paper.exhibit import Cell, Counted, Evaluated, Exhibit
from laminate.runs.paper.tables import BASE, EPOCHS, GENERATOR, WORK
from laminate.runs.paper.trainings import (
    NEEDS_DINO,
    NEEDS_IMAGENET,
    NEEDS_INCEPTION,
    NEEDS_RAE,
    NEEDS_REFERENCE,
    PREPARE,
    drawn,
    generator,
    recipe_of,
    run_of,
    tokenizer,
)

GIGA = 1e9
SHORT, LONG = 32, 256
REGISTERS = 5
"""Of DINOv2: the CLS token and four more, which the teacher reads beside its patches."""
MODELS = {"DiT-L": "ditl", "DiT-XL": "ditxl", "DiT^DH-XL": "ditxl-dh"}
LATENTS = {"RAE": LONG, "FlatDINO": SHORT}


@dataclass(frozen=True)
class Layer:
    """Multiply-adds of one layer: of its matrices, and of queries with keys and weights with values."""

    linear: int
    attention: int


def layer(network: VitConfig, tokens: int) -> Layer:
    """Of one layer over so many tokens."""
    attention = 2 * tokens**2 * network.dim
    return Layer(layer_flops(network, tokens) - attention, attention)


def stacks(recipe: Any) -> list[VitConfig]:
    """The transformers of a generator, one behind the other."""
    return [recipe.network] if recipe.head is None else [recipe.network, recipe.head]


def forward(experiment: str, tokens: int) -> int:
    """Multiply-adds of one pass of a generator over so many tokens."""
    return sum(vit_flops(one, tokens) for one in stacks(recipe_of(experiment)))


def encoding(latent: str) -> int:
    """Multiply-adds of what stands before the generator in its training: the teacher, and FlatDINO's encoder."""
    recipe = recipe_of(BASE)
    teacher = recipe.teacher
    plain = VitConfig(teacher.dim, teacher.depth, 1, 4 * teacher.dim, mlp="gelu")
    found = vit_flops(plain, teacher.patches + REGISTERS)
    if latent == "FlatDINO":
        found += vit_flops(recipe.encoder, teacher.patches + recipe.encoder_registers)
    return found


def _giga(row: str, quantity: str, paper: str, value: int, form: str = ".1f") -> Cell:
    return Cell(row, quantity, paper, Counted(value / GIGA), form=form)


_TABLE7 = {
    ("DiT-L", "RAE"): (("3.22",), ("0.13",), "80.5"),
    ("DiT-L", "FlatDINO"): (("0.40",), ("0.002",), "9.7"),
    ("DiT-XL", "RAE"): (("4.08",), ("0.15",), "118.4"),
    ("DiT-XL", "FlatDINO"): (("0.51",), ("0.002",), "14.3"),
    ("DiT^DH-XL", "RAE"): (("4.08", "12.88"), ("0.15", "0.27"), "144.7"),
    ("DiT^DH-XL", "FlatDINO"): (("0.51", "1.61"), ("0.002", "0.004"), "17.5"),
}
_DIGITS = {"RAE": ".2f", "FlatDINO": ".3f"}


def _table7() -> Exhibit:
    cells: list[Cell] = []
    for (model, latent), (linear, attention, total) in _TABLE7.items():
        row, tokens = f"{model} on {latent}, {LATENTS[latent]} tokens", LATENTS[latent]
        found = [layer(one, tokens) for one in stacks(recipe_of(MODELS[model]))]
        names = ("a layer", "a layer of the head")
        for name, one, paper in zip(names, found, linear, strict=False):
            cells.append(_giga(row, f"linear, {name}", paper, one.linear, ".2f"))
        for name, one, paper in zip(names, found, attention, strict=False):
            cells.append(_giga(row, f"attention, {name}", paper, one.attention, _DIGITS[latent]))
        cells.append(_giga(row, "total", total, forward(MODELS[model], tokens)))
    return Exhibit(
        "table7",
        WORK,
        "GFLOPs of a forward pass of DiT-L, DiT-XL and DiT^DH-XL over 256 and over 32 tokens",
        tuple(cells),
        bars=("total", "GFLOPs, forward"),
        notes=("17.5 is 14.3 and two layers of 1.61, each rounded before; the sum is 17.55.",),
    )


_TABLE8 = {
    ("DiT-L", "RAE"): ("80.5", "161.0", "241.5"),
    ("DiT-L", "FlatDINO"): ("9.7", "19.4", "29.1"),
    ("DiT-XL", "RAE"): ("118.4", "236.8", "355.2"),
    ("DiT-XL", "FlatDINO"): ("14.3", "28.6", "42.9"),
    ("DiT^DH-XL", "RAE"): ("144.7", "289.4", "434.1"),
    ("DiT^DH-XL", "FlatDINO"): ("17.5", "35.0", "52.5"),
}


def _table8() -> Exhibit:
    cells: list[Cell] = []
    for (model, latent), printed in _TABLE8.items():
        once = forward(MODELS[model], LATENTS[latent])
        whole = training_flops(once)
        row = f"{model} on {latent}"
        for quantity, paper, value in zip(
            ("forward", "backward", "total"), printed, (once, whole - once, whole), strict=True
        ):
            cells.append(_giga(row, quantity, paper, value))
    return Exhibit(
        "table8",
        WORK,
        "GFLOPs of a training step of the generator alone: forward and backward",
        tuple(cells),
        bars=("total", "GFLOPs, forward and backward"),
        notes=(
            "The paper multiplies its rounded forward figures, ours are rounded once: 0.1 may lie between them.",
        ),
    )


_TABLE9 = {
    ("DiT-L", "RAE"): ("23.4", "241.5", "264.9", ""),
    ("DiT-L", "FlatDINO"): ("49.4", "29.1", "78.5", "3.4"),
    ("DiT-XL", "RAE"): ("23.4", "355.2", "378.6", ""),
    ("DiT-XL", "FlatDINO"): ("49.4", "42.9", "92.3", "4.1"),
    ("DiT^DH-XL", "RAE"): ("23.4", "434.1", "457.5", ""),
    ("DiT^DH-XL", "FlatDINO"): ("49.4", "52.5", "101.9", "4.5"),
}


def _table9() -> Exhibit:
    cells: list[Cell] = []
    for (model, latent), (before, trained, total, reduction) in _TABLE9.items():
        parts = {
            one: (encoding(one), training_flops(forward(MODELS[model], LATENTS[one]))) for one in LATENTS
        }
        row = f"{model} on {latent}"
        cells.append(_giga(row, "encoding", before, parts[latent][0]))
        cells.append(_giga(row, "training of the DiT", trained, parts[latent][1]))
        cells.append(_giga(row, "total", total, sum(parts[latent])))
        if reduction:
            fewer = sum(parts["RAE"]) / sum(parts[latent])
            cells.append(Cell(row, "reduction, x", reduction, Counted(fewer), form=".1f"))
    return Exhibit(
        "table9",
        WORK,
        "GFLOPs of a training step with the encoding: what FlatDINO's encoder costs, and what it saves",
        tuple(cells),
        bars=("total", "GFLOPs of a training step"),
        notes=("The paper adds rounded figures, ours are rounded once: 0.2 may lie between them.",),
    )


def _figure1() -> Exhibit:
    run = f"{run_of(GENERATOR)}/checkpoints"
    training = generator(GENERATOR, run_of(BASE), epochs=600, of=EPOCHS)
    assert training.cost is not None
    key = "figure1-unguided"
    flops = {
        ("RAE, DiT-XL", "ditxl", LONG): ("118.4", "1.87"),
        ("RAE, DiT^DH-XL", "ditxl-dh", LONG): ("144.7", "1.51"),
        ("FlatDINO, DiT-XL, 600 epochs", "ditxl", SHORT): ("14.3", "3.34"),
    }
    cells: list[Cell] = []
    for (row, experiment, tokens), (giga, fid) in flops.items():
        cells.append(_giga(row, "GFLOPs forward", giga, forward(experiment, tokens)))
        mine = row.startswith("FlatDINO")
        ours = Evaluated(key, "fid", "gfid@adm-256") if mine else None
        why = "" if mine else "no command here draws from RAE's own generators"
        cells.append(Cell(row, "gFID, unguided", fid, ours, why, form=".2f"))
    return Exhibit(
        "figure1",
        WORK,
        "GFLOPs of a forward pass against gFID without guidance",
        tuple(cells),
        (PREPARE, tokenizer(BASE), training, drawn(key, f"{run}/{training.cost.steps}", "--scale 1")),
        (NEEDS_IMAGENET, NEEDS_DINO, NEEDS_RAE, NEEDS_INCEPTION, NEEDS_REFERENCE),
        bars=("GFLOPs forward", "GFLOPs, forward"),
        notes=("The coordinates are those of Tables 1 and 7; the plot prints no numbers.",),
    )


TABLES = (_table7(), _table8(), _table9())
FIGURE = _figure1()
