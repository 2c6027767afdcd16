"""The tables and figures of the papers, ours beside theirs: computed where that is possible here, or by which commands.

    python experiments/paper.py list                      every table and figure, and what can be computed of it
    python experiments/paper.py table7                    FLOPs, counted from the recipes
    python experiments/paper.py table3                    dimensions of features and pixels, after vae.py
    python experiments/paper.py figure5 --tokenizer RUN --data DATA
    python experiments/paper.py table1 --results FOLDER   what the paper's commands have left, and these

No figure of ours is copied from a paper: what is not measured is said so, with the command that measures it.
"""

from laminate.cli.command import flags_command
from laminate.cli.paper_flags import PaperFlags

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = flags_command(__doc__, PaperFlags)

from etils import epath

from laminate.parallel.hosts import is_first
from laminate.recipes.embedded import GENERATOR_NAME, TOKENIZER_NAME
from laminate.runs.analyses.latents import dimension
from laminate.runs.analyses.opening import open_subject
from laminate.runs.analyses.patches import ablation, redundancy_of_patches
from laminate.runs.analyses.pictures import mask, noise
from laminate.runs.analyses.results import plain
from laminate.runs.exit_codes import say, training_errors, user_errors
from laminate.runs.paper.exhibits import exhibit
from laminate.runs.paper.filling import beside, fill, looked_at
from laminate.runs.paper.showing import (
    console,
    draw,
    show_beside,
    show_cells,
    show_commands,
    show_list,
    write_json,
)
from laminate.runs.pretrained import exported
from laminate.storage.writing import make_folder

# 1. The questions of analyse.py that figures ask

QUESTIONS = {
    "dimension": dimension,
    "redundancy": redundancy_of_patches,
    "token-ablation": ablation,
    "mask": mask,
    "noise": noise,
}


# 2. What is here: the tokenizer that is given, or the one that vae.py left


def trained_tokenizer(flags):
    if flags.tokenizer is not None:
        return flags.tokenizer
    folder = f"runs/{TOKENIZER_NAME}"
    if exported(folder) == folder:
        raise FileNotFoundError(
            f"There is no tokenizer in {folder}: `python experiments/vae.py` trains it. --tokenizer takes another one, "
            "--no-measure does without."
        )
    return folder


def look(flags, wanted):
    """What the question of an exhibit finds, and on what."""
    place = trained_tokenizer(flags)
    subject, seen, images = open_subject(place, flags)
    found = QUESTIONS[wanted.question.name](subject, seen, flags.seed)
    teacher = subject.loaded.latent.teacher
    through = "" if teacher is None else f", features of {teacher.name}"
    return found, f"{place}{through}, {images}"


def stand_in(flags, wanted):
    """The evaluation of a small run that stands beside an exhibit, if it has one."""
    if wanted.beside is None or not flags.measure:
        return None
    given, usual = {
        "tokenizer": (flags.tokenizer, TOKENIZER_NAME),
        "generator": (flags.generator, GENERATOR_NAME),
    }[wanted.beside.kind]
    return beside(wanted.beside, given or f"runs/{usual}")


# 3. Ours beside theirs


def show(flags, wanted):
    filled, here, found = fill(wanted, flags.results), "", None
    if wanted.question is not None and flags.measure:
        found, here = look(flags, wanted)
        filled = looked_at(filled, plain(found.numbers))
    aside = stand_in(flags, wanted)
    if not is_first():
        return
    out, to = epath.Path(flags.out).expanduser(), console()
    make_folder(out)
    show_cells(to, wanted, filled, here)
    if found is not None:
        to.print(f"{wanted.question.name}: {found.summary}", soft_wrap=True)
        found.draw(out / f"{wanted.name}.png")
    if aside is not None:
        show_beside(to, *aside)
    show_commands(to, wanted, flags.results)
    picture = draw(out, wanted, filled) if found is None else out / f"{wanted.name}.png"
    file = write_json(out, wanted, filled, here=here, stands_in=aside, results=flags.results)
    say(f"{file}{'' if picture is None else f', {picture.name}'}", primary=True)


def main(flags):
    with training_errors("paper.py"), user_errors("paper.py"):
        if flags.what == "list":
            show_list(console())
        else:
            show(flags, exhibit(flags.what))


if __name__ == "__main__":
    main(FLAGS)
