"""What recipes say of the parts that they share, as text."""

from laminate.recipes.augment import FramedConfig, ViewConfig
from laminate.recipes.network import TeacherConfig, VitConfig
from laminate.recipes.training import Optimizer, Schedule

Row = tuple[str, str]

IMAGENET_IMAGES = 1_281_167
_RULES = {"adamw": "AdamW", "muon": "Muon", "schedule-free": "schedule-free AdamW"}


def transformer_text(vit: VitConfig) -> str:
    """Sizes of a transformer."""
    return (
        f"{vit.dim} wide, {vit.depth} layers, {vit.heads} heads, {vit.mlp} MLP of {vit.hidden}, "
        f"positions {vit.positions}"
    )


def view_rows(view: ViewConfig | FramedConfig) -> tuple[Row, ...]:
    """What training and validation see of an image."""
    return (("augmentation", view.text), ("validation", view.still().text))


def teacher_text(teacher: TeacherConfig) -> str:
    """A frozen network and what it gives for an image."""
    return f"{teacher.name}: {teacher.patches} patches of {teacher.dim} numbers"


def teacher_identity_text(teacher: TeacherConfig) -> str:
    """What tells a frozen network from another one, inside a sentence."""
    weights = teacher.weights[:12] or "none"
    return f"{teacher.name} ({teacher.patches} patches of {teacher.dim} numbers, weights {weights})"


def optimizer_text(optimizer: Optimizer) -> str:
    """The update rule and its numbers."""
    clip = "not clipped" if optimizer.clip_norm is None else f"clip {optimizer.clip_norm:g}"
    average = "no EMA" if optimizer.ema_decay is None else f"EMA {optimizer.ema_decay:g}"
    betas = ", ".join(f"{beta:g}" for beta in optimizer.betas)
    return (
        f"{_RULES[optimizer.kind]}, betas {betas}, weight decay {optimizer.weight_decay:g}, {clip}, {average}"
    )


def training_rows(schedule: Schedule, global_batch_size: int) -> tuple[Row, ...]:
    """Length, learning rate and batch of a training; of one in epochs, its steps on ImageNet too."""
    shape = f" ({schedule.decay_shape} decay)" if schedule.kind == "wsd" else ""
    phases = f"{schedule.length} {schedule.unit}: warm-up {schedule.warmup}, decay {schedule.decay}"
    rates = f"{schedule.start:g} to {schedule.peak:g} to {schedule.final:g}"
    rows: list[Row] = [
        ("schedule", f"{schedule.kind}{shape}, {phases}"),
        ("learning rate", f"{schedule.peak:g}" if schedule.kind == "constant" else rates),
        ("global batch", f"{global_batch_size} images"),
    ]
    if schedule.unit == "epochs":
        counts = schedule.counts(examples=IMAGENET_IMAGES, global_batch_size=global_batch_size)
        steps = f"{counts.total:,} on ImageNet, warm-up {counts.warmup:,}, decay from {counts.decay_start:,}"
        rows.append(("steps", steps))
    return tuple(rows)


def shape_text(*sides: int) -> str:
    """The shape of an array, `[16, 128]`."""
    return f"[{', '.join(map(str, sides))}]"
