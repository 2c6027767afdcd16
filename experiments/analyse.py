"""Questions about a trained tokenizer: each answered by one JSON, one picture and one line.

python experiments/analyse.py                         all of them, about the tokenizer that vae.py left
python experiments/analyse.py token-ablation --tokenizer runs/NAME
python experiments/analyse.py total-correlation --images 20000
python experiments/analyse.py interpolate --interpolation linear
python experiments/analyse.py --html                  and all of them on one page
"""

from laminate.cli.analyse_flags import AnalyseFlags
from laminate.cli.command import flags_command

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, AnalyseFlags)

import sys
from functools import partial

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from laminate.parallel.hosts import is_first
from laminate.recipes.flatdino.family import VAE
from laminate.runs.analyses.latents import dimension, latent_statistics, mutual_information, total_correlation
from laminate.runs.analyses.opening import open_subject
from laminate.runs.analyses.patches import ablation, attention, diffusability, redundancy_of_patches
from laminate.runs.analyses.pictures import interpolate, mask, noise
from laminate.runs.analyses.results import default_folder, write_finding, write_page
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.runs.experiment import trained_first

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
}


# 2. Of which tokenizer, on which images


def open_trained(flags):
    place = trained_first(flags.tokenizer, VAE, flags, beside=__file__, what="tokenizer")
    subject, seen, _ = open_subject(place, flags)
    return subject, seen


# 3. Answers


def main(flags):
    with training_errors("analyse.py"), user_errors("analyse.py"):
        subject, seen = open_trained(flags)
        out = default_folder(flags.out, subject.name)
        chosen = list(QUESTIONS) if flags.what == "all" else [flags.what]
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            disable=not sys.stderr.isatty(),
        )
        with bar:
            for name in bar.track(chosen, description="analyses"):
                ask = QUESTIONS[name]
                if ask is interpolate:
                    ask = partial(interpolate, way=flags.interpolation)
                found = ask(subject, seen, flags.seed)
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
