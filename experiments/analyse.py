"""Questions about a trained tokenizer: each answered by one JSON, one picture and one line.

    python experiments/analyse.py                         all of them, about the tokenizer that vae.py left
    python experiments/analyse.py token-ablation --tokenizer runs/NAME
    python experiments/analyse.py total-correlation --images 20000
    python experiments/analyse.py interpolate --interpolation linear
    python experiments/analyse.py guidance-sweep          about the generator that generator.py left, too
    python experiments/analyse.py throughput --network ditxl --batches 1 16 256
    python experiments/analyse.py --html                  and all of them on one page

Answers lie in analysis/ in the run of the tokenizer, or where --out says.
"""

from laminate.cli.analyse_flags import AnalyseFlags
from laminate.cli.command import flags_command

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, AnalyseFlags)

from functools import partial

from laminate.parallel.hosts import is_first
from laminate.recipes.flatdino.family import VAE
from laminate.recipes.generator.family import GENERATOR
from laminate.runs.analyses.generating import guidance_sweep, noise_recovery
from laminate.runs.analyses.inverted import inversion
from laminate.runs.analyses.latents import dimension, latent_statistics, mutual_information, total_correlation
from laminate.runs.analyses.opening import open_subject
from laminate.runs.analyses.patches import ablation, attention, diffusability, redundancy_of_patches
from laminate.runs.analyses.pictures import interpolate, mask, noise
from laminate.runs.analyses.results import default_folder, write_finding, write_page
from laminate.runs.analyses.speed import throughput
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.runs.experiment import trained_first
from laminate.runs.pretrained import exported
from laminate.runs.waiting import progress_bar

EMBEDDED = GENERATOR.names.default

# 1. Questions, in the order in which one reads their answers

QUESTIONS = {
    "latent-statistics": latent_statistics,
    "dimension": dimension,
    "total-correlation": total_correlation,
    "mutual-information": mutual_information,
    "token-ablation": ablation,
    "attention": attention,
    "mask": mask,
    "redundancy": redundancy_of_patches,
    "noise": noise,
    "interpolate": interpolate,
    "diffusability": diffusability,
    "inversion": inversion,
    "noise-recovery": noise_recovery,
    "guidance-sweep": guidance_sweep,
    "throughput": throughput,
}
OF_A_GENERATOR = ("noise-recovery", "guidance-sweep")


def question(name, flags, subject):
    """`ask(subject, seen, seed)`, with what the flags say of this question alone."""
    ask = QUESTIONS[name]
    if ask is interpolate:
        return partial(ask, way=flags.interpolation)
    if ask is inversion:
        return partial(ask, images=flags.inverted, iterations=flags.iterations)
    if ask is guidance_sweep:
        return partial(ask, scales=flags.scales, starts=flags.starts, samples=flags.samples)
    if ask is throughput:
        there = subject.generator if flags.network is None else None
        recipe = GENERATOR.names.recipe(flags.network or EMBEDDED) if there is None else there.recipe
        return partial(ask, recipe=recipe, batches=flags.batches)
    return ask


# 2. Of which tokenizer, on which images


def find_generator(flags):
    """The generator that is asked too: the one that is given, or what generator.py left where its questions are."""
    if flags.generator is not None or flags.what in OF_A_GENERATOR:
        return trained_first(
            flags.generator, GENERATOR, flags, beside=__file__, what="generator", unfinished_will_do=True
        )
    folder = f"runs/{EMBEDDED}"
    return folder if flags.what == "all" and flags.tokenizer is None and exported(folder) != folder else None


def open_trained(flags):
    generator, place = find_generator(flags), flags.tokenizer
    if generator is None:
        place = trained_first(flags.tokenizer, VAE, flags, beside=__file__, what="tokenizer")
    subject, seen, _ = open_subject(place, flags, generator)
    return subject, seen


# 3. Answers


def track(bar, steps, what, count):
    """The steps of one question below the questions."""
    task = bar.add_task(f"  {what}", total=count)
    yield from bar.track(steps, task_id=task)
    bar.remove_task(task)


def main(flags):
    with training_errors("analyse.py"), user_errors("analyse.py"):
        subject, seen = open_trained(flags)
        out = default_folder(flags.out, subject.name)
        chosen = [flags.what]
        if flags.what == "all":
            chosen = [name for name in QUESTIONS if subject.generator or name not in OF_A_GENERATOR]
        if flags.what == "all" and subject.generator is None:
            say(f"without --generator: {', '.join(OF_A_GENERATOR)} are left out", primary=is_first())
        with progress_bar() as bar:
            subject.track = partial(track, bar)
            for name in bar.track(chosen, description="analyses"):
                try:
                    found = question(name, flags, subject)(subject, seen, flags.seed)
                except ValueError as error:
                    if flags.what != "all":
                        raise ValueError(str(error) if name in str(error) else f"{name}: {error}") from error
                    say(f"{name}: left out: {error}", primary=is_first())
                    continue
                if is_first():
                    write_finding(out, name, found, subject, seen)
                say(f"{name}: {found.summary}", primary=is_first())
                for remark in found.remarks:
                    say(f"  {remark}", primary=is_first())
        if is_first():
            page = write_page(out, subject, tuple(QUESTIONS)) if flags.html else None
            say(f"analysis: {page or out}", primary=True)


if __name__ == "__main__":
    main(FLAGS)
