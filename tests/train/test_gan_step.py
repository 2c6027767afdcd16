"""The step of two players is, on every mesh, the two plain gradient steps that the paper's equations say, and trains
what it is told to, from whatever is read."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from laminate.models.patchgan import PatchGan
from laminate.nn import Linear
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.parallel.sharding import batch_sharding, place
from laminate.recipes.image_decoder.family import IMAGE_DECODER
from laminate.train.gan_objectives import DecoderExample, DiscriminatorInputs, GanObjectives
from laminate.train.gan_step import make_gan_step
from laminate.train.state import GanState, init_gan_state, init_state
from laminate.types import Buffer
from tests.oracles.arrays import filled, normal

ROWS, TOKENS, WIDTH, SIDE, STEPS = 8, 5, 12, 4, 3
RATE, CRITIC_RATE, DECAY, WEIGHT = 0.2, 0.1, 0.75, 0.6
EPS = 1e-6


class Decoder(eqx.Module):
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

    def image(self, hidden: Array) -> Array:
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


def prepare(frozen: Any, example: dict[str, Array], *, step: Any, key: Any) -> DecoderExample:
    clean = frozen(example["z"])
    return DecoderExample(clean + 0.1 * jax.random.normal(key, clean.shape), clean, example["image"])


def rebuild(
    image: Array, hidden: Any, example: DecoderExample, frozen: Any, *, step: Array
) -> tuple[Array, dict[str, Array]]:
    error = jnp.mean(jnp.abs(image - example.target))
    return error + jnp.mean(jnp.square(image)), {"l1": error}


def views(image: Array, frozen: Any, *, key: Any) -> tuple[Array, ...]:
    return (image * jax.random.uniform(key, (), minval=0.5, maxval=1.5), image)


def judge(real: DiscriminatorInputs, fake: DiscriminatorInputs) -> tuple[Array, dict[str, Array]]:
    true, false = real.discriminator(real.views[0]), fake.discriminator(fake.views[0])
    gap = jnp.square(real.discriminator(real.views[1]) - true)
    loss = jnp.mean(jax.nn.relu(1.0 - true)) + jnp.mean(jax.nn.relu(1.0 + false)) + 0.1 * jnp.mean(gap)
    return loss, {"logit_gap": jnp.mean(true) - jnp.mean(false)}


def balance(norm: Array, adversarial: Array) -> Array:
    return norm / (adversarial + EPS)


def objectives(
    *, adversarial_start: int = 1, discriminator_start: int = 0, dtype: Any = jnp.float32
) -> GanObjectives:
    return GanObjectives(
        prepare=prepare,
        hidden=lambda model, frozen, latents, key: model.hidden(latents.astype(dtype), key=key),
        image=lambda model, hidden: model.image(hidden),
        last=lambda model: model.last.weight,
        reconstruct=rebuild,
        views=views,
        generator_loss=lambda logits: -jnp.mean(logits),
        discriminator_loss=judge,
        quantize=lambda image: jnp.round(image * 16.0) / 16.0,
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
        filled(lambda key: Decoder(key=key)), optax.sgd(RATE), averaged=True, key=jax.random.key(9)
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
    shape: tuple[int, int], *, micro: int = 1, told: GanObjectives | None = None, dtype: Any = jnp.float32
) -> Trained:
    mesh = build_mesh(MeshShape(*shape))
    state, frozen = place(start(), mesh), place(FROZEN, mesh)
    step = make_gan_step(
        told or objectives(dtype=dtype),
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
    state, told = start(), objectives()
    decoder, critic, average = state.model, state.discriminator.model, state.model
    states, metrics = [], []
    for number, batch in enumerate(BATCHES):
        keys = [
            jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, number), row), 5)
            for row in range(ROWS)
        ]
        examples = [{name: value[row] for name, value in batch.items()} for row in range(ROWS)]
        seen = [prepare(FROZEN, e, step=0, key=k[0]) for e, k in zip(examples, keys, strict=True)]

        def images_of(decoder: Any, seen: Any = seen, keys: Any = keys) -> list[Array]:
            return [
                decoder.image(decoder.hidden(p.inputs, key=k[1])) for p, k in zip(seen, keys, strict=True)
            ]

        def rebuilt(decoder: Any, seen: Any = seen) -> Array:
            return mean(
                [
                    rebuild(i, None, p, FROZEN, step=0)[0]
                    for i, p in zip(images_of(decoder), seen, strict=True)
                ]
            )

        def fooled(decoder: Any, keys: Any = keys, critic: Any = critic) -> Array:
            images = images_of(decoder)
            return mean(
                [
                    told.generator_loss(critic(views(i, FROZEN, key=k[2])[0]))
                    for i, k in zip(images, keys, strict=True)
                ]
            )

        loss, first = eqx.filter_value_and_grad(rebuilt)(decoder)
        fool, second = eqx.filter_value_and_grad(fooled)(decoder)
        norm = lambda grads: jnp.linalg.norm(grads.last.weight)
        weight = balance(norm(first), norm(second)) if number >= 1 else 0.0
        total = jax.tree.map(lambda a, b, w=weight: a + WEIGHT * w * b, first, second)
        decoder = jax.tree.map(lambda p, g: p - RATE * g, decoder, total)
        average = jax.tree.map(lambda a, p: DECAY * a + (1 - DECAY) * p, average, decoder)

        images = [told.quantize(decoder.image(decoder.hidden(p.clean))) for p in seen]
        fake = [views(i, FROZEN, key=k[3]) for i, k in zip(images, keys, strict=True)]
        real = [views(p.target, FROZEN, key=k[4]) for p, k in zip(seen, keys, strict=True)]

        def judged(critic: Any, fake: Any = fake, real: Any = real) -> Array:
            on_fake, after = critic.training(jnp.stack([f[0] for f in fake]))
            on_real, after = after.training(jnp.stack([r[0] for r in real]))
            each = [
                judge(DiscriminatorInputs(on_real, r), DiscriminatorInputs(on_fake, f))[0]
                for r, f in zip(real, fake, strict=True)
            ]
            return mean(each), after

        (verdict, after), grads = eqx.filter_value_and_grad(judged, has_aux=True)(critic)
        slopes = grads.map
        critic = eqx.tree_at(
            lambda c: c.map, after, jax.tree.map(lambda p, g: p - CRITIC_RATE * g, critic.map, slopes)
        )
        states.append((decoder, average, critic))
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
    for got, (decoder, average, critic), metrics, known in zip(
        trained.states, expected.states, trained.metrics, expected.metrics, strict=True
    ):
        for found, wanted in ((got.params, decoder), (got.ema, average), (got.discriminator.model, critic)):
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
    waiting = train((2, 1), told=objectives(adversarial_start=STEPS, discriminator_start=2))
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


# A stem in front of a frozen network: what is read is an image beside the features that it should have


class Stemmed(eqx.Module):
    """A linear stem whose tokens the frozen network of the step reads, and a decoder of what that gives."""

    stem: Linear
    decoder: Decoder

    def __init__(self, *, key: Any):
        k_stem, k_decoder = jax.random.split(key)
        self.stem = Linear(6, WIDTH, key=k_stem)
        self.decoder = Decoder(key=k_decoder)


def stemmed_hidden(model: Stemmed, frozen: Any, inputs: dict[str, Array], *, key: Any) -> dict[str, Array]:
    features = frozen(model.stem(inputs["pixels"]))
    return {"features": features, "tokens": model.decoder.hidden(features, key=key)}


def aligned(
    image: Array, hidden: dict[str, Array], example: DecoderExample, frozen: Any, *, step: Array
) -> tuple[Array, dict[str, Array]]:
    gap = jnp.mean(jnp.square(hidden["features"] - example.inputs["features"]))
    return jnp.mean(jnp.abs(image - example.target)) + 0.3 * gap, {"align": gap}


def of_stem(*, start: int = 1) -> GanObjectives:
    def prepare(frozen: Any, example: dict[str, Array], *, step: Any, key: Any) -> DecoderExample:
        inputs = {"pixels": example["pixels"], "features": frozen(example["z"])}
        return DecoderExample(inputs, inputs, example["image"])

    return dataclasses.replace(
        objectives(adversarial_start=start),
        prepare=prepare,
        hidden=stemmed_hidden,
        image=lambda model, hidden: model.decoder.image(hidden["tokens"]),
        last=lambda model: model.decoder.last.weight,
        reconstruct=aligned,
    )


STEMMED_BATCH = {**BATCHES[0], "pixels": normal(77, ROWS, TOKENS, 6)}
PARTS: dict[str, Callable[[Any], Any]] = {
    "stem": lambda model: model.stem,
    "decoder": lambda model: model.decoder,
    "both": lambda model: (model.stem, model.decoder),
}


class Once(NamedTuple):
    before: Any
    state: GanState
    metrics: dict[str, float]


def one_step(part: str, shape: tuple[int, int] = (1, 1), *, micro: int = 1, start: int = 0) -> Once:
    """A step of AdamW, whose decay would move what it was not meant to."""
    mesh, told = build_mesh(MeshShape(*shape)), of_stem(start=start)
    generator, critic = optax.adamw(RATE, weight_decay=0.1), optax.sgd(CRITIC_RATE)
    model = filled(lambda key: Stemmed(key=key))
    state = init_gan_state(
        init_state(model, generator, averaged=True, key=jax.random.key(9), trained=PARTS[part]),
        init_state(
            filled(lambda key: Critic(key=key), scale=0.3), critic, averaged=False, key=jax.random.key(3)
        ),
    )
    before = jax.device_get(state.model)
    state, frozen = place(state, mesh), place(FROZEN, mesh)
    step = make_gan_step(
        told, generator, critic, state, frozen, mesh=mesh, micro_batches=micro, ema_decay=DECAY
    )
    state, metrics = step(state, frozen, jax.device_put(STEMMED_BATCH, batch_sharding(mesh)))
    return Once(before, state, {name: float(value) for name, value in metrics.items()})


def changed(before: Any, after: Any) -> list[bool]:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(jax.device_get(after)), strict=True)
    return [not np.array_equal(a, b) for a, b in pairs]


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize(("shape", "micro"), [((1, 1), 1), ((1, 2), 2)], ids=str)
def test_what_is_not_trained_stays_bit_for_bit_and_costs_the_optimiser_nothing(
    part: str, shape: tuple[int, int], micro: int
) -> None:
    before, state, metrics = one_step(part, shape, micro=micro)
    for model in (state.model, state.averaged):
        assert all(changed(before.stem, model.stem)) is (part != "decoder")
        assert any(changed(before.stem, model.stem)) is (part != "decoder")
        assert all(changed(before.decoder, model.decoder)) is (part != "stem")
        assert any(changed(before.decoder, model.decoder)) is (part != "stem")
    sizes = {leaf.shape for leaf in jax.tree.leaves(state.opt_state)}
    assert ((WIDTH, 6) in sizes, (16, WIDTH) in sizes) == (part != "decoder", part != "stem")
    assert metrics["discriminator_grad_norm"] > 0.0 and metrics["adversarial_weight"] > 0.0


def test_the_losses_and_the_balance_do_not_ask_what_is_trained() -> None:
    whole = one_step("both").metrics
    for part in ("stem", "decoder"):
        for name in ("reconstruction_loss", "align", "adversarial_loss", "adversarial_weight", "loss"):
            assert one_step(part).metrics[name] == pytest.approx(whole[name], rel=1e-5), (part, name)


def test_the_stem_descends_both_the_image_and_what_its_features_should_be() -> None:
    """The gradient of the stem, through the frozen network, is that of the equations."""
    before, state, metrics = one_step("stem", start=STEPS)
    keys = [
        jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(9), 0), row), 5)
        for row in range(ROWS)
    ]

    def loss(stem: Any) -> Array:
        model = eqx.tree_at(lambda m: m.stem, before, stem)
        losses = []
        for row in range(ROWS):
            example = {name: value[row] for name, value in STEMMED_BATCH.items()}
            inputs = {"pixels": example["pixels"], "features": FROZEN(example["z"])}
            hidden = stemmed_hidden(model, FROZEN, inputs, key=keys[row][1])
            read = DecoderExample(inputs, inputs, example["image"])
            image = model.decoder.image(hidden["tokens"])
            losses.append(aligned(image, hidden, read, FROZEN, step=jnp.zeros((), jnp.int32))[0])
        return mean(losses)

    value, grads = eqx.filter_value_and_grad(loss)(before.stem)
    assert metrics["reconstruction_loss"] == pytest.approx(float(value), rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(float(optax.tree.norm(grads)), rel=1e-5)
    assert jax.tree.leaves(state.params) and not jax.tree.leaves(state.params.decoder)


def test_batch_norm_is_refused_a_batch_in_parts_whose_statistics_would_be_those_of_a_part() -> None:
    mesh = build_mesh(MeshShape(1, 1))
    critic = init_state(
        PatchGan(layers=1, width=4, norm="batch", key=jax.random.key(0)),
        optax.sgd(CRITIC_RATE),
        averaged=False,
        key=jax.random.key(3),
    )
    state = init_gan_state(start(), critic)

    def make(micro: int) -> Any:
        return make_gan_step(
            objectives(),
            optax.sgd(RATE),
            optax.sgd(CRITIC_RATE),
            state,
            FROZEN,
            mesh=mesh,
            micro_batches=micro,
        )

    make(1)
    with pytest.raises(ValueError, match=r"batch norm .* statistics of the global batch, .* in 2 parts"):
        make(2)
    for norm in ("group", "spectral", "none", "act"):
        assert IMAGE_DECODER.modules().whole_batch(_with_norm(norm)) == ""
    assert "--set adversary.patch_norm=group" in IMAGE_DECODER.modules().whole_batch(_with_norm("batch"))


def _with_norm(norm: Any, kind: Any = "patchgan") -> Any:
    recipe = IMAGE_DECODER.names.recipe("vit-s")
    adversary = dataclasses.replace(recipe.adversary, kind=kind, patch_norm=norm)
    return dataclasses.replace(recipe, adversary=adversary)
