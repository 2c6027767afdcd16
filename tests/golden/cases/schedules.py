"""Learning-rate schedules, running latent statistics, and the default KL weight."""

import numpy as np

from laminate.losses.divergence import kl_weight
from laminate.tokenizers.statistics import RunningStatistics
from laminate.train.schedules import Schedule, constant, linear_decay, warmup_cosine, wsd

from ..options import Options
from ..reader import Golden


def produce(golden: Golden) -> dict[str, np.ndarray]:
    options = Options("config", golden.config)
    total, epochs, warm_epochs = (int(options.take(name)) for name in ("total", "epochs", "warm"))
    rates = tuple(float(options.take(name)) for name in ("peak", "start", "final"))
    wover, dover = options.take("wover"), options.take("dover")
    options.ignore("steps", "note", "tolerance")
    options.none_left()
    warmup_steps = total // epochs * warm_epochs
    plain = _schedules(total, rates, warmup_steps, None)
    over = _schedules(total, rates, warmup_steps if wover is None else wover, dover or None)
    named = plain | {f"{name}_over": schedule for name, schedule in over.items()}
    steps = [int(step) for step in golden.input("step")]
    produced = {
        name: np.asarray([np.float64(schedule(step)) for step in steps]) for name, schedule in named.items()
    }
    return produced | _statistics(golden) | _default_weights(golden)


def _schedules(
    total: int, rates: tuple[float, ...], warmup_steps: int, decay_steps: int | None
) -> dict[str, Schedule]:
    """The four of the released code; only its WSD heeds a given decay, and decays linearly."""
    peak, start, final = rates
    return {
        "constant": constant(peak),
        "warmup_cosine": warmup_cosine(total, peak, start, final, warmup_steps=warmup_steps),
        "linear_decay": linear_decay(total, peak, start, final, warmup_steps=warmup_steps),
        "wsd": wsd(
            total, peak, start, final, warmup_steps=warmup_steps, decay_steps=decay_steps, shape="linear"
        ),
    }


def _statistics(golden: Golden) -> dict[str, np.ndarray]:
    names = sorted(
        (n for n in golden.inputs if n.startswith("batch")), key=lambda n: int(n.removeprefix("batch"))
    )
    if not names:
        return {}
    statistics = RunningStatistics(*golden.inputs[names[0]].shape[1:])
    for name in names:
        statistics.update(golden.inputs[name])
    return {"running_mean": statistics.mean, "running_var": statistics.variance}


def _default_weights(golden: Golden) -> dict[str, np.ndarray]:
    if "kl_tokens_features" not in golden.inputs:
        return {}
    sizes = golden.inputs["kl_tokens_features"]
    return {"default_kl_weight": np.asarray([kl_weight(int(tokens), int(width)) for tokens, width in sizes])}
