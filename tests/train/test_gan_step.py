"""The step of two players is, on every mesh, the two plain gradient steps that the paper's equations say."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from laminate.nn import Linear
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, place
from laminate.train.gan_step import make_gan_step
from laminate.train.players import Players, Prepared, Seen
from laminate.train.state import GanState, init_gan_state, init_state
from laminate.types import Buffer
from tests.oracles.arrays import filled, normal

ROWS, TOKENS, WIDTH, SIDE, STEPS = 8, 5, 12, 4, 3
RATE, CRITIC_RATE, DECAY, WEIGHT = 0.2, 0.1, 0.75, 0.6
EPS = 1e-6


class Painter(eqx.Module):
    """A hidden layer, then an image of 4 x 4 x 3 from the mean over the tokens."""

    inner: Linear
    last: Linear

    def __init__(self, *, key: Any):
        k_inner, k_last = jax.random.split(key)
        self.inner = Linear(WIDTH, 16, key=k_inner)
        self.last = Linear(16, SIDE * SIDE * 3, key=k_last)

    def hidden(self, latents: Array, *, key: Any = None) -> Array:
        noise = 0.0 if key is None else 0.1 * jax.random.normal(key, (TOKENS, 16), latents.dtype)
        return jnp.tanh(self.inner(latents)) + noise

    def paint(self, hidden: Array) -> Array:
        return jnp.mean(self.last(hidden.astype(jnp.float32)), axis=0).reshape(SIDE, SIDE, 3)


class Critic(eqx.Module):
    """A linear map, scaled by a running size of its own weight, that also keeps the mean of what it has seen."""

    map: Linear
    size: Buffer
    mean: Buffer

    def __init__(self, *, key: Any):
        self.map = Linear(SIDE * SIDE * 3, 4, key=key)
        self.size = Buffer(jnp.ones((), jnp.float32))
        self.mean = Buffer(jnp.zeros(SIDE * SIDE * 3, jnp.float32))

    def __call__(self, features: Array) -> Array:
        return self.map(features.reshape(-1)) / self.size.value

    def training(
        self, features: Array, *, average: Callable[[Array], Array] = lambda x: x, parts: int = 1
    ) -> tuple["Critic", "Critic"]:
        seen = average(jnp.mean(features.reshape(features.shape[0], -1), axis=0))
        size = 0.5 * self.size.value + 0.5 * jnp.linalg.norm(self.map.weight)
        values = jax.lax.stop_gradient((size, 0.5 * self.mean.value + 0.5 * seen))
        kept = eqx.tree_at(lambda c: (c.size.value, c.mean.value), self, values)
        return kept, kept


def prepare(frozen: Any, example: dict[str, Array], *, key: Any) -> Prepared:
    clean = frozen(example["z"])
    return Prepared(clean + 0.1 * jax.random.normal(key, clean.shape), clean, example["image"])


def rebuild(image: Array, prepared: Prepared, frozen: Any, *, step: Array) -> tuple[Array, dict[str, Array]]:
    error = jnp.mean(jnp.abs(image - prepared.target))
    return error + jnp.mean(jnp.square(image)), {"l1": error}


def views(image: Array, frozen: Any, *, key: Any) -> tuple[Array, ...]:
    return (image * jax.random.uniform(key, (), minval=0.5, maxval=1.5), image)


def judge(real: Seen, fake: Seen) -> tuple[Array, dict[str, Array]]:
    true, false = real.discriminator(real.views[0]), fake.discriminator(fake.views[0])
    gap = jnp.square(real.discriminator(real.views[1]) - true)
    loss = jnp.mean(jax.nn.relu(1.0 - true)) + jnp.mean(jax.nn.relu(1.0 + false)) + 0.1 * jnp.mean(gap)
    return loss, {"logit_gap": jnp.mean(true) - jnp.mean(false)}


def balance(norm: Array, adversarial: Array) -> Array:
    return norm / (adversarial + EPS)


def players(*, adversarial_start: int = 1, discriminator_start: int = 0) -> Players:
    return Players(
        prepare=prepare,
        reconstruct=rebuild,
        views=views,
        fool=lambda logits: -jnp.mean(logits),
        discriminate=judge,
        stored=lambda image: jnp.round(image * 16.0) / 16.0,
        balance=balance,
        weight=WEIGHT,
        adversarial_start=adversarial_start,
        discriminator_start=discriminator_start,
    )


FROZEN = filled(lambda key: Linear(WIDTH, WIDTH, key=key), scale=0.5)
BATCHES = [
    {"z": normal(seed, ROWS, TOKENS, WIDTH), "image": normal(seed + 50, ROWS, SIDE, SIDE, 3)}
    for seed in range(STEPS)
]


def start() -> GanState:
    generator = init_state(
        filled(lambda key: Painter(key=key)), optax.sgd(RATE), averaged=True, key=jax.random.key(9)
    )
    critic = init_state(
        filled(lambda key: Critic(key=key), scale=0.3),
        optax.sgd(CRITIC_RATE),
        averaged=False,
        key=jax.random.key(3),
    )
    return init_gan_state(generator, critic)


def mean(values: list[Array]) -> Array:
    return jnp.mean(jnp.stack(values))


class Trained(NamedTuple):
    states: list[GanState]
    metrics: list[dict[str, float]]


def train(
    shape: tuple[int, int], *, micro: int = 1, who: Players | None = None, dtype: Any = jnp.float32
) -> Trained:
    mesh = build_mesh(MeshShape(*shape))
    state, frozen = place(start(), mesh), place(FROZEN, mesh)
    step = make_gan_step(
        who or players(),
        optax.sgd(RATE),
        optax.sgd(CRITIC_RATE),
        state,
        frozen,
        mesh=mesh,
        micro_batches=micro,
        ema_decay=DECAY,
        compute_dtype=jnp.dtype(dtype),
    )
    states, metrics = [], []
    for batch in BATCHES:
        state, values = step(state, frozen, jax.device_put(batch, batch_sharding(mesh)))
        metrics.append({name: float(value) for name, value in values.items()})
        states.append(jax.device_get(eqx.tree_at(lambda s: (s.key, s.discriminator.key), state, (0, 0))))
    return Trained(states, metrics)


def plain() -> Trained:
    """Both updates written down without mesh, parts or pulling back in pieces."""
    state, who = start(), players()
    painter, critic, average = state.model, state.discriminator.model, state.model
    states, metrics = [], []
    for number, batch in enumerate(BATCHES):
        keys = [
            jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, number), row), 5)
            for row in range(ROWS)
        ]
        examples = [{name: value[row] for name, value in batch.items()} for row in range(ROWS)]
        seen = [prepare(FROZEN, e, key=k[0]) for e, k in zip(examples, keys, strict=True)]

        def paint(painter: Any, seen: Any = seen, keys: Any = keys) -> list[Array]:
            return [
                painter.paint(painter.hidden(p.latents, key=k[1])) for p, k in zip(seen, keys, strict=True)
            ]

        def rebuilt(painter: Any, seen: Any = seen) -> Array:
            return mean([rebuild(i, p, FROZEN, step=0)[0] for i, p in zip(paint(painter), seen, strict=True)])

        def fooled(painter: Any, keys: Any = keys, critic: Any = critic) -> Array:
            images = paint(painter)
            return mean(
                [who.fool(critic(views(i, FROZEN, key=k[2])[0])) for i, k in zip(images, keys, strict=True)]
            )

        loss, first = eqx.filter_value_and_grad(rebuilt)(painter)
        fool, second = eqx.filter_value_and_grad(fooled)(painter)
        norm = lambda grads: jnp.linalg.norm(grads.last.weight)
        weight = balance(norm(first), norm(second)) if number >= 1 else 0.0
        total = jax.tree.map(lambda a, b, w=weight: a + WEIGHT * w * b, first, second)
        painter = jax.tree.map(lambda p, g: p - RATE * g, painter, total)
        average = jax.tree.map(lambda a, p: DECAY * a + (1 - DECAY) * p, average, painter)

        images = [who.stored(painter.paint(painter.hidden(p.clean))) for p in seen]
        fake = [views(i, FROZEN, key=k[3]) for i, k in zip(images, keys, strict=True)]
        real = [views(p.target, FROZEN, key=k[4]) for p, k in zip(seen, keys, strict=True)]

        def judged(critic: Any, fake: Any = fake, real: Any = real) -> Array:
            on_fake, after = critic.training(jnp.stack([f[0] for f in fake]))
            on_real, after = after.training(jnp.stack([r[0] for r in real]))
            each = [judge(Seen(on_real, r), Seen(on_fake, f))[0] for r, f in zip(real, fake, strict=True)]
            return mean(each), after

        (verdict, after), grads = eqx.filter_value_and_grad(judged, has_aux=True)(critic)
        slopes = grads.map
        critic = eqx.tree_at(
            lambda c: c.map, after, jax.tree.map(lambda p, g: p - CRITIC_RATE * g, critic.map, slopes)
        )
        states.append((painter, average, critic))
        values = {
            "reconstruction_loss": loss,
            "adversarial_loss": fool if number >= 1 else 0.0,
            "adversarial_weight": weight,
        }
        metrics.append({name: float(v) for name, v in {**values, "discriminator_loss": verdict}.items()})
    return Trained(states, metrics)


@pytest.fixture(scope="module")
def expected() -> Trained:
    return plain()


@pytest.mark.parametrize(("shape", "micro"), [((1, 1), 1), ((4, 1), 1), ((1, 4), 2), ((2, 2), 1)], ids=str)
def test_both_players_move_as_the_equations_say(
    shape: tuple[int, int], micro: int, expected: Trained
) -> None:
    trained = train(shape, micro=micro)
    for got, (painter, average, critic), metrics, known in zip(
        trained.states, expected.states, trained.metrics, expected.metrics, strict=True
    ):
        for found, wanted in ((got.params, painter), (got.ema, average), (got.discriminator.model, critic)):
            for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * max(1.0, float(np.abs(b).max())))
        for name, value in known.items():
            assert metrics[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name


def test_in_bfloat16_both_players_move_nearly_so(expected: Trained) -> None:
    trained = train((2, 1), dtype=jnp.bfloat16)
    for metrics, known in zip(trained.metrics, expected.metrics, strict=True):
        for name, value in known.items():
            assert metrics[name] == pytest.approx(value, rel=0.05, abs=0.02), name
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(trained.states[-1].params))


def test_a_player_that_does_not_act_yet_changes_nothing() -> None:
    waiting = train((2, 1), who=players(adversarial_start=STEPS, discriminator_start=2))
    first = start().discriminator
    for state, metrics in zip(waiting.states[:2], waiting.metrics[:2], strict=True):
        assert int(state.discriminator.step) == 0
        assert (
            metrics["discriminator_loss"]
            == metrics["discriminator_grad_norm"]
            == metrics["adversarial_weight"]
            == 0.0
        )
        for found, wanted in zip(
            jax.tree.leaves(state.discriminator.model), jax.tree.leaves(first.model), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
        assert metrics["loss"] == metrics["reconstruction_loss"]
    assert int(waiting.states[2].discriminator.step) == 1
    assert waiting.metrics[2]["discriminator_loss"] > 0.0
