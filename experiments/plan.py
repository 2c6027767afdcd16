"""What a training will cost on a TPU slice, before it is rented: compiled here, on a CPU, for devices that are not.

    python experiments/plan.py --experiment long-32-bl-128 --topology v5e:4x8 --mesh 4x8 --top 20
    python experiments/plan.py --experiment long-32-bl-128 --topology v5e:4x8 --mesh 32x1 --suggest
    python experiments/plan.py --experiment vit-xl --topology v5e:4x8 --mesh 4x8                  an image decoder's
    python experiments/plan.py --experiment ditxl-kappa3 --topology v5e:4x8 --mesh 4x8            a generator's training
    python experiments/plan.py --experiment ditxl-kappa3 --topology v5e:4x8 --mesh 4x8 --draw     drawing images from it
    python experiments/plan.py --plans tpu/PLANS.md                                               every table there

It compiles the very step that training runs. Needs the TPU compiler, no TPU: pip install -e '.[tpu]'.
"""

import os

from laminate.cli.plan_flags import plan_command

if __name__ == "__main__":  # before the imports below, which --help need not wait for
    FLAGS = plan_command(__doc__)
    os.environ["JAX_PLATFORMS"] = "cpu"  # no device of this machine is looked for, a TPU least of all

import json
from pathlib import Path

from rich.console import Console

from laminate.planning.figure import draw_plan
from laminate.planning.loader_speed import images_per_second
from laminate.planning.table import markdown, show, show_top
from laminate.recipes.resolve import resolve_recipe
from laminate.runs.exit_codes import say, user_errors
from laminate.runs.plan_columns import write_plans
from laminate.runs.planned import planned
from laminate.storage.writing import make_folder, write_bytes


def main(flags):
    with user_errors("plan.py"):
        if flags.plans is not None:
            write_plans(flags.plans, Path("plans") / "columns", Path(__file__))
            return
        plan = planned(flags, beside=__file__)
        rate = images_per_second(resolve_recipe(flags.training, flags.family).augment.image_size)
    show(plan, Console(), loader_rate=rate)
    show_top(plan, Console())
    name = f"{plan.name}-{flags.topology}-{plan.setting.mesh}".replace(":", "-").replace("*", "x")
    out = flags.out or Path("plans") / name
    make_folder(out)
    stated = json.dumps({**plan.as_dict(), "loader_images_per_second": rate}, indent=2)
    write_bytes(out / "plan.json", stated.encode())
    write_bytes(out / "plan.md", markdown(plan, loader_rate=rate).encode())
    draw_plan(plan, out / "plan.png")
    say(f"{out}/plan.json, plan.md, plan.png", primary=True)


if __name__ == "__main__":
    main(FLAGS)
