"""An opened run: train it, continue it, and leave a report."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from etils import epath

from laminate.analysis.curves import read_metrics
from laminate.analysis.report import REPORT_FILE, RunReport
from laminate.data.loader import BatchView
from laminate.data.records import spread
from laminate.evals.figure_names import HIGHER, figure_name
from laminate.parallel.feeding import feed
from laminate.parallel.hosts import check, is_first, of_first, watched
from laminate.parallel.sharding import initialize
from laminate.recipes.families import to_tree
from laminate.recipes.flags import RunFlags
from laminate.runs.duration import Duration
from laminate.runs.evaluations import Evaluation, ask_all
from laminate.runs.exit_codes import leave_now, say
from laminate.runs.fitting import out_of_memory
from laminate.runs.header import header_facts
from laminate.runs.model_card import Card
from laminate.runs.next_command import next_commands
from laminate.runs.pretrained import save_pretrained
from laminate.runs.provenance import provenance
from laminate.runs.setup import Run
from laminate.runs.task import GanTask, Task, learning_rate
from laminate.runs.transforms import statistics_view
from laminate.train.loop import LoopPlan, Sinks, fit
from laminate.train.progress import Progress, RunHeader
from laminate.train.signals import StopRequest, stop_requests
from laminate.train.state import TrainState
from laminate.train.trackers import TensorBoard, Tracker, Trackers, Wandb, start_tracker

STATISTICS_IMAGES = 50_000  # training images, spread over all, that the latent statistics are measured on
SHOWN_IMAGES = 64  # validation images that are looked at one by one


@dataclasses.dataclass(frozen=True)
class Best:
    """Which validation figure chooses the best checkpoint: that of the lowest, or the `highest`."""

    metric: str = "val/loss"
    highest: bool = False


def best_of(flags: RunFlags, best: Best) -> Best:
    """What `--best-by` names, else `best`."""
    name = flags.best_by
    if name is None:
        return best
    return Best(
        f"val/{name}", highest=bool(figure_name(name).highest if name in flags.asked else name in HIGHER)
    )


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training leaves: its last state, None if nothing had to be done, whether it reached the end, and the
    seconds that this process took."""

    state: TrainState | None
    finished: bool
    note: str
    seconds: float = 0.0


def train(
    run: Run,
    task: Task | GanTask,
    *,
    evaluations: tuple[Evaluation, ...],
    progress_metrics: tuple[str, ...],
    best: Best = Best(),
) -> Trained:
    """Do `task` and put `evaluations` to it at every validation; continue where the run folder left off.

    `progress_metrics` stand beside the progress bar.
    """
    complete = f"complete: all {run.counts.total} steps are in {run.folder.path}"
    reported = of_first("report", "yes" if (run.folder.path / REPORT_FILE).exists() else "no") == "yes"
    if run.saved_step() >= run.counts.total and reported:
        return Trained(None, True, complete)
    schedule = learning_rate(run.recipe.schedule, run.counts)
    optimizer: Any = task.optimizer(schedule, run.counts)
    init_key, run_key = jax.random.split(jax.random.key(run.flags.seed))
    state: Any = run.restored(initialize(task.init_state(optimizer), run.mesh, init_key, run_key))
    first = int(state.step)
    RunHeader(title(run), header_facts(run, first)).show(primary=is_first())
    expected = Duration(run.family, run.recipe, left=run.counts.total - first, say=_say_first)
    expected.estimated()
    run.folder.rewind_metrics(first)
    began = time.monotonic()
    step = run.step or task.step(
        optimizer,
        state,
        mesh=run.mesh,
        micro_batches=run.micro_batches,
        compute_dtype=run.dtype,
    )
    progress = Progress(
        run.counts.total,
        start_step=first,
        global_batch_size=run.recipe.global_batch_size,
        shown=progress_metrics,
        primary=is_first(),
    )
    trackers = Trackers(_trackers(run), progress.note)
    sinks = Sinks(run.folder, run.checkpoints, progress, trackers)
    stopping = stop_requests(
        check, unsaved=False, interruption=partial(_interrupted, run), leave=partial(_leave_now, progress)
    )
    with stopping as stop, progress, watched(run.flags.watchdog):
        every = run.flags.validate_every or run.counts.validate_every
        validate = ask_all(evaluations, run, state, task.frozen, stop, every)
        # Where batches have several shapes, the second step may compile as well, and tells nothing.
        timed = _untimed if isinstance(run.loader.augment, BatchView) else expected.timed
        due = lambda step: any(one.due(step, every) for one in evaluations)
        plan = _plan(run, schedule, validate, every, due, best_of(run.flags, best), timed)
        if first >= run.counts.total and not _is_validated(run, first):
            sinks.write(first, validate(state) or {})
        start = 0 if run.flags.overfit else first * run.recipe.global_batch_size
        with run.loader.batches(start) as batches:
            try:
                fed = repeat(next(feed(batches, run.mesh))) if run.flags.overfit else feed(batches, run.mesh)
                state = fit(step, state, task.frozen, fed, plan=plan, sinks=sinks, stop=stop)
            except jax.errors.JaxRuntimeError as error:
                raise out_of_memory(run, error) or error from error
            finally:
                trackers.close()
        stop.poll()
    done = int(state.step)
    if stop.requested or done < run.counts.total:
        return Trained(state, False, _stopped(run, done, stop))
    note = complete if first == done else f"trained {done} steps"
    return Trained(state, True, note, time.monotonic() - began)


def _untimed(seconds: float) -> None:
    """Nothing is said of a time."""


def title(run: Run) -> str:
    """Heading of a run and of its report."""
    said, label = run.family.text(run.recipe).title, run.data_label
    return said if label in said else f"{said} on {label}"


def _is_validated(run: Run, step: int) -> bool:
    """Whether the metrics hold a validation of `step`: a run may have been stopped in its last one."""
    entries = read_metrics(run.folder.metrics_path) if run.folder.metrics_path.exists() else []
    mine = any(entry["step"] == step and any(name.startswith("val/") for name in entry) for entry in entries)
    return of_first("validated", str(mine)) == "True"


def _stopped(run: Run, done: int, stop: StopRequest) -> str:
    cause = f"stopped by {stop.signal}" if stop.requested else "stopped"
    if run.checkpoints is None:
        return f"{cause} after step {done}; without checkpoints nothing is saved, and the same command starts anew"
    return f"{cause} after step {done}, which is saved; the same command goes on"


def _interrupted(run: Run, name: str) -> str:
    """What is said of a signal that does not wait for the end of a step; from any thread."""
    latest = None if run.checkpoints is None else run.checkpoints.latest()
    if latest is None:
        saved = "nothing is saved yet, and the same command starts anew"
    else:
        saved = f"step {latest} is saved in {run.folder.path}, and the same command goes on"
    return f"stopped by {name} at once; {saved}: {_command(sys.argv)}"


def _leave_now(progress: Progress, text: str) -> None:
    progress.close()
    leave_now(Path(sys.argv[0]).name, text)


def _say_first(text: str) -> None:
    say(text, primary=is_first())


def conclude(
    run: Run,
    trained: Trained,
    write_report: Callable[[RunReport, Any], epath.Path],
    *,
    best: bool = True,
) -> None:
    """Write the report of a finished training, and say where everything lies; of an unfinished one, how to go on.

    The report, and what is saved with it, is of the weights that the validations call best, if `best` or `--best-by`
    asks for it, else of the last ones. `write_report(report, model)` returns its path; all hosts call it.
    """
    command = _command(sys.argv)
    if not trained.finished:
        say(f"{trained.note}: {command}", primary=is_first())
        return
    if trained.state is None:
        say(f"{trained.note}; --fresh starts over", primary=is_first())
        _say_where(run, run.folder.path / REPORT_FILE)
        _say_next(run)
        return
    say(f"{trained.note}; measuring and drawing the report", primary=is_first())
    measured = spread(run.training, STATISTICS_IMAGES)
    view, seen = statistics_view(run.recipe, run.training)
    statistics = f"spread over all {len(run.training):,}; {seen}"
    last = (trained.state.averaged, int(trained.state.step))
    model, step = run.best(trained.state) if best or run.flags.best_by is not None else last
    report = RunReport(
        folder=run.folder.path,
        mesh=run.mesh,
        dtype=run.dtype,
        training=lambda: run.evaluation_batches(measured, view),
        statistics=statistics,
        visualised=lambda: run.evaluation_batches(spread(run.validation, SHOWN_IMAGES)),
        known=lambda count: run.evaluation_batches(spread(run.training, count)),
        title=title(run),
        summary=run.family.text(run.recipe).summary,
        facts=(*header_facts(run), *provenance(trained.seconds)),
        following=next_commands(run),
        command=command,
        step=step,
        save=lambda folder, model, metrics: _share(run, folder, model, metrics, command),
    )
    _say_where(run, write_report(report, model))
    _say_next(run)


def _share(run: Run, folder: epath.Path, model: Any, metrics: dict[str, float], command: str) -> None:
    """What the training leaves for others: weights, recipe and model card."""
    manifest = run.training.manifest
    card = Card(
        data=manifest.source,
        data_label=run.data_label,
        data_licence=manifest.licence,
        metrics=metrics,
        command=command,
    )
    save_pretrained(model, folder, recipe=run.recipe, card=card)


def _command(argv: list[str]) -> str:
    """The command that goes on with this run: without the flags that would start over or stop it."""
    kept: list[str] = []
    value_follows = False
    for argument in argv:
        flag = argument.replace("_", "-")
        if not value_follows and flag != "--fresh" and not flag.startswith("--stop-after"):
            kept.append(argument)
        value_follows = flag == "--stop-after"
    return f"python {shlex.join(kept)}"


def _say_where(run: Run, report: epath.Path) -> None:
    if not is_first():
        return
    pictures = ", ".join(
        sorted(path.name for path in run.folder.path.iterdir() if path.name.endswith(".png"))
    )
    say(f"report: {report} (with {pictures})", primary=True)


def _say_next(run: Run) -> None:
    for number, (purpose, command) in enumerate(next_commands(run)):
        say(f"{'next' if number == 0 else 'or'}: {command}  # {purpose}", primary=is_first())


def _plan(
    run: Run,
    schedule: optax.Schedule,
    validate: Callable[[TrainState], Any],
    every: int,
    due: Callable[[int], bool],
    best: Best,
    timed: Callable[[float], None],
) -> LoopPlan:
    batch = run.recipe.global_batch_size
    decay = (run.counts.decay_start,) if run.counts.decay else ()
    chosen = run.flags.asked.get(run.flags.best_by or "")  # only a checkpoint can be the best one
    return LoopPlan(
        steps=run.counts.total,
        log_every=run.flags.log_every,
        validate_every=every,
        checkpoint_every=run.flags.checkpoint_every or every,
        validate=validate,
        position=lambda step: run.loader.position(step * batch),
        metric=best.metric,
        highest=best.highest,
        learning_rate=lambda step: float(np.asarray(schedule(np.asarray(step, np.int32)))),
        extra_saves=frozenset({*decay, *(() if chosen is None else range(0, run.counts.total, chosen))}),
        profile=run.flags.profile,
        stop_after=run.flags.stop_after,
        also_validate=due,
        timed=timed,
    )


def _trackers(run: Run) -> list[Tracker]:
    if not is_first():
        return []
    trackers: list[Tracker] = []
    if run.flags.tensorboard:
        events = run.folder.path / "tensorboard"
        trackers.append(start_tracker("TensorBoard", "--tensorboard", lambda: TensorBoard(events)))
    if run.flags.wandb:
        wandb = partial(
            Wandb,
            run.folder.path,
            project=run.flags.wandb_project,
            name=run.flags.wandb_name or run.recipe.name,
            config=to_tree(run.recipe),
        )
        trackers.append(start_tracker("Weights & Biases", "--wandb", wandb))
    return trackers
