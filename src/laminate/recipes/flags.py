"""The command line of a training: where it runs and what it keeps. What is trained is said by the recipe.

The few flags that change the recipe end up in the resolved recipe, which every run writes as `recipe.json` and can be
started from again. The flags of a family derive from `RunFlags`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from laminate.data.options import AS_IT_SAYS as AS_IT_SAYS
from laminate.data.options import MAX_BAD_IMAGES as MAX_BAD_IMAGES
from laminate.data.options import SourceOptions as SourceOptions
from laminate.recipes.checks import above, at_least
from laminate.recipes.network import AttentionKernel, Remat

Precision = Literal["auto", "float32", "bfloat16"]
AutoRemat = Literal["auto", Remat]
Resume = Literal["auto", "newest-good", "required"]


@dataclass(frozen=True)
class RunFlags:
    """What every training can be told."""

    experiment: str | None = None
    """Name of the experiment, such as long-32-bl-128 or ditxl; `python -m laminate.recipes explain NAME` says what
    it means. Without it: that of the run in --run-dir, else the small recipe of the emoji in the package."""
    recipe: Path | None = None
    """Start from this recipe.json (or the run folder that holds it) instead of a name."""
    steps: int | None = None
    """Length of the training in optimiser steps; warm-up and decay keep their share.
    Default: the recipe's."""
    global_batch_size: Annotated[int | None, tyro.conf.arg(aliases=["--batch-size"])] = None
    """Images per optimiser step over all devices. Default: the recipe's."""
    lr: float | None = None
    """Largest learning rate; those that the schedule starts from and ends with keep their share of it. Default: the
    recipe's."""
    image_size: int | None = None
    """Side of the square images that are trained on, in pixels. Default: the recipe's."""
    tokens: int | None = None
    """Latent tokens per image. Default: the recipe's."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH=VALUE")] = ()
    """Any other field of the recipe, as schedule.peak=3e-4 or bottleneck.kl_weight=1e-6, any number of times;
    `--set help` lists all of them."""
    seed: int = 0
    """Decides initial weights, order of the images, augmentation and sampling noise."""
    overfit: bool = False
    """Train on the first batch over and over: what cannot learn even that has a fault."""

    data: str | None = None
    """embedded, a prepared folder, a folder of images, tar files, tfds:NAME[@DIR] or parquet files, shards of the hub
    (hf://ORGANISATION/NAME/path-{0000..0099}.tar), or several of these with commas between; or features that
    experiments/encode.py wrote. Default: what the run that goes on, or the tokenizer, was trained on, else
    embedded."""
    reading: Annotated[SourceOptions, tyro.conf.arg(name="")] = AS_IT_SAYS
    """How the data are read, where they can be read in two ways."""
    data_workers: int | None = None
    """Threads that decode images. Default: one per core."""
    max_bad_images: int = MAX_BAD_IMAGES
    """Images that cannot be decoded and are skipped before the training stops."""
    data_timeout: float = 600.0
    """Seconds that a batch may take to be read before the training stops."""

    mesh: str = "auto"
    """Devices: auto, 8 (data), 4x8 (data x fsdp) or 2x4x8 (slices x data x fsdp). Simulated on a CPU."""
    coordinator: str | None = None
    """ADDRESS:PORT of host 0, when several processes train together and neither a TPU slice nor Slurm says so.
    On several machines all need the same secret in LAMINATE_JOB_TOKEN; tpu/launch.sh sees to it."""
    hosts: int | None = None
    """How many processes train together; 1 trains alone on one host of many. Default: what the TPU slice or the
    Slurm job says; else one."""
    host: int | None = None
    """The number of this process, from 0."""
    distributed: bool = False
    """Refuse to train alone: there must be a TPU slice, a Slurm job or --coordinator."""
    watchdog: float | None = None
    """Seconds without a step after which a process writes where it is stuck and ends; inf for never. Default: 900."""
    device_batch_size: int | None = None
    """Images per device at a time; gradients are accumulated up to the global batch. Default: all at once."""
    precision: Precision = "auto"
    """Number format of the computation; auto is float32 on a CPU and bfloat16 elsewhere. Parameters stay
    float32."""
    attention: AttentionKernel = "xla"
    """Attention kernel: XLA's own, cuDNN flash attention (NVIDIA GPUs, bfloat16), or pallas, which never writes a
    logit to memory (TPUs, up to 4096 tokens)."""
    remat: AutoRemat = "auto"
    """What the backward pass computes again to save memory: nothing, all but products, all but products with weights
    (dots), whole layers (block), or attention alone. auto is block on a CPU, where keeping more takes longer than
    computing it again, and elsewhere the first of dots and block, then of the same in parts of the batch, whose
    compiled step leaves a twentieth of the memory free."""

    run_dir: str | None = None
    """Folder of the run, gs://BUCKET/PATH too. Default: runs/NAME; on other data than the embedded ones
    runs/NAME-on-DATA-HASH, and of another tokenizer than the default one runs/NAME-of-TOKENIZER."""
    fresh: bool = False
    """Start over; an earlier run in the folder is moved to <run folder>.previous."""
    resume: Resume = "auto"
    """auto continues if there is a checkpoint; newest-good also steps back over damaged ones; required
    refuses to start anew."""
    restore: str | None = None
    """Begin with the newest checkpoint of this other run folder, or with the one at RUN/checkpoints/STEP. The
    schedule may be another, such as a longer one."""
    init_from: str | None = None
    """Begin with the weights of a run, a saved folder or a hub repository: for fine-tuning, with another number of
    tokens too. What does not fit is newly drawn; the optimiser, the schedule and the data begin anew."""
    stop_after: int | None = None
    """Save after this step and leave, as Ctrl-C does; the same command without it goes on."""
    checkpoint: bool = True
    """Save checkpoints."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. Default: as often as it validates."""
    keep: int = 2
    """Newest checkpoints that are kept, beside the best one and the one before the decay."""

    validate_every: int | None = None
    """Steps between validations. Default: the recipe's."""
    evaluate: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=N")] = ()
    """Measure NAME after every N optimiser steps, wherever the validations are, and at the end; any number of times. A
    measure by the network in the package (fd@embedded, kid@embedded), of single images (psnr, ssim), or a protocol
    (`evaluate.py protocols`), such as rfid@val50k or gfid@adm-256, which needs its network. It stands as val/NAME
    among the metrics, and how it was measured in evaluation/training/evaluation.json."""
    inception: str | None = None
    """FID's Inception-v3, file or folder, for --evaluate."""
    dino: str | None = None
    """A vision transformer by known name, file, folder or hub repository, for --evaluate fd@NAME."""
    clip: str | None = None
    """CLIP's vision transformer, file, folder or hub repository, for --evaluate cmmd@clip."""
    lpips: str | None = None
    """LPIPS, network and heads in one file, for --evaluate lpips."""
    best_by: str | None = None
    """Which validation figure chooses the weights that are exported: loss, or one that --evaluate asks for. Default:
    that of the experiment."""
    log_every: int = 20
    """Steps between lines of metrics."""
    wandb: bool = False
    """Log to Weights & Biases as well (extra `wandb`)."""
    wandb_project: str = "laminate"
    """Weights & Biases project."""
    wandb_name: str | None = None
    """Weights & Biases run name. Default: the name of the experiment."""
    tensorboard: bool = False
    """Log to TensorBoard as well (extra `tensorboard`)."""
    profile: tuple[int, int] | None = None
    """Record a profile from the first of these steps to the second."""

    FIGURES: ClassVar[tuple[str, ...]] = ("loss",)
    """What every validation measures that `--best-by` can name."""

    def __post_init__(self) -> None:
        for flag in (
            "steps",
            "global_batch_size",
            "image_size",
            "tokens",
            "data_workers",
            "device_batch_size",
        ):
            positive(flag, getattr(self, flag))
        for flag in ("keep", "validate_every", "log_every", "stop_after", "checkpoint_every"):
            positive(flag, getattr(self, flag))
        if self.lr is not None:
            above("--lr", self.lr, 0.0)
        at_least("--max-bad-images", self.max_bad_images, 0)
        above("--data-timeout", self.data_timeout, 0)
        if self.watchdog is not None:
            above("--watchdog", self.watchdog, 0)
        at_least("--seed", self.seed, 0)
        if self.profile is not None:
            first, last = self.profile
            at_least("--profile START", first, 0)
            above("--profile STOP", last, first)
        if self.fresh and (self.restore is not None or self.resume == "required"):
            raise ValueError("--fresh starts over, so it cannot stand beside --restore or --resume required.")
        if self.init_from is not None and self.restore is not None:
            raise ValueError(
                "--restore goes on with another run, --init-from begins a new one with its weights: give one of them."
            )
        if self.experiment is not None and self.recipe is not None:
            raise ValueError("Give --experiment or --recipe, not both: each of them is the whole recipe.")
        known = (*self.FIGURES, *self.asked)
        if self.best_by is not None and self.best_by not in known:
            raise ValueError(
                f"--best-by {self.best_by}: that is not measured. Take {' or '.join(known)}, or another one that "
                "--evaluate NAME=N asks for."
            )

    @property
    def asked(self) -> dict[str, int]:
        """Steps between measurements of what `--evaluate` asks for, by its name. Raises ValueError for what is no
        NAME=N."""
        found: dict[str, int] = {}
        for text in self.evaluate:
            name, _, number = text.rpartition("=")
            if not name or not number.isdecimal() or int(number) < 1:
                raise ValueError(
                    f"--evaluate {text}: give the name of a figure and the optimiser steps between its measurements, "
                    "such as fd@embedded=100."
                )
            if name in found:
                raise ValueError(f"--evaluate {text}: {name} is asked for twice.")
            found[name] = int(number)
        return found

    def networks(self) -> frozenset[str]:
        """Flags of networks that see images for `--evaluate`, as far as they are given."""
        return frozenset(
            flag for flag in ("inception", "dino", "clip", "lpips") if getattr(self, flag) is not None
        )

    @property
    def suffix(self) -> str:
        """What is added to the name of the recipe for that of its run folder."""
        return "-overfit" if self.overfit else ""


def positive(flag: str, value: int | None) -> None:
    """Raises ValueError, naming the flag, for a number below 1."""
    if value is not None:
        at_least(f"--{flag.replace('_', '-')}", value, 1)
