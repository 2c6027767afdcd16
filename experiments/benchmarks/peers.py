"""A LightningDiT's training step beside the same network in PyTorch, piece by piece, both sides timed in turn.

`ratio` is our time over the peer's, the median of the turns, with the least and the largest; below 1 we are ahead, and
`says` puts that in words. `of_matmul` is the same ratio with either side's time counted in large matrix products of its
own: below `ratio` where XLA's product takes longer than the peer's, which is a part of `ratio` that no code of ours can
change. The line of `matmul` says how long either product takes.

`grad_over_forward` is the time of a layer's loss and gradient (in weights and input) over that of its forward pass, of
which the operations make 3, and `grad_page_faults` are those of one such call. XLA's temporaries are one array, new at
each call, which glibc maps anew above 32 MiB, with a page fault for every 4 KiB. Commands have huge pages instead
(`parallel/huge_pages.py`); here a virtual machine would take them away while a side waits for its turn.

The `memory` line sets the update beside the time that its bytes take at the speed of an array that is scaled in place.
They are 32 for a parameter: clipping to the global norm reads every gradient before the first one is used. XLA's CPU
moves 44, as a fusion of its loops has one result: both moments read the gradient, and the weights read both moments
again. A ratio of 1.4 is those bytes at the full speed of the memory.
"""

import os
import resource
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from benchmarks.peer import Peer, in_turn, ratio
from laminate.flow import flow_matching_loss
from laminate.models import Dit, FlatLatent, Trunk
from laminate.nn import Attention, Linear, RMSNorm, Rotary
from laminate.nn.rotary import sequence_angles
from laminate.parallel.mesh import MeshShape, build_mesh
from laminate.recipes.sizes import SIZES
from laminate.train.optim import adamw
from laminate.train.schedules import constant
from laminate.train.state import init_state
from laminate.train.step import make_step, update

CHANNELS, CLASSES, MATMUL = 128, 1000, 2048
SCALED = 2**25  # numbers in the array whose scaling tells the speed of the memory
UPDATE_BYTES = 8 * 4  # a parameter: weight, both moments and twice the gradient read, the first three written
FAULTED = 3  # calls whose page faults are counted


def measure(
    *, peer_python: str, size: str, depth: int, tokens: tuple[int, ...], images: int, turns: int
) -> Iterator[dict[str, object]]:
    """The lines for each number of tokens."""
    shape = SIZES[size]
    for count in tokens:
        spec = {
            "dim": shape.dim,
            "depth": depth,
            "heads": shape.heads,
            "hidden": shape.matched_hidden,
            "tokens": count,
            "channels": CHANNELS,
            "classes": CLASSES,
            "batch": images,
            "matmul": MATMUL,
            "threads": len(os.sched_getaffinity(0)),
        }
        peer = Peer(peer_python, "peer_torch.py", spec, ["torch"])
        try:
            yield from compared(peer, spec, turns)
        finally:
            peer.close()


def compared(peer: Peer, spec: dict[str, int], turns: int) -> Iterator[dict[str, object]]:
    work, parameters = pieces(spec)
    if parameters != peer.facts["parameters"]:
        raise ValueError(
            f"The networks differ: {parameters} parameters here, not {peer.facts['parameters']}."
        )
    others = {name: (name,) for name in work} | {"step": ("step", "compiled_step"), "scaled": ()}
    for name, call in work.items():
        jax.block_until_ready(call())
        for other in others[name]:  # torch compiles at its first two calls, and grows its arenas
            peer.seconds(other), peer.seconds(other)
    ours, theirs = (each.passed for each in in_turn(work, others, peer, turns))
    about = {"tokens": spec["tokens"], "torch": peer.facts["version"]}
    for name, beside in (("step", "step"), ("step", "compiled_step"), ("update", "update")):
        normal = [a / m for a, m in zip(ours[name], ours["matmul"], strict=True)]
        peers_normal = [a / m for a, m in zip(theirs[beside], theirs["matmul"], strict=True)]
        found = ratio(ours[name], theirs[beside], f"torch {beside}")
        own = ratio(normal, peers_normal, "")["ratio"]
        yield {
            **about,
            "piece": name,
            **found,
            "of_matmul": own,
            "says": f"{in_words(found)}; each counted in products of its own library, {own} of it",
        }
    bytes_a_second = [8 * SCALED / seconds for seconds in ours["scaled"]]
    memory = [UPDATE_BYTES * parameters / speed for speed in bytes_a_second]
    found = ratio(ours["update"], memory, "memory")
    says = f"our update takes {found['ratio']} of the time in which memory moves its {UPDATE_BYTES} bytes a parameter"
    yield {**about, "piece": "update", **found, "says": says}
    for name in ("linear", "attention"):
        found = ratio(ours[name], theirs[name], f"torch {name}")
        over = [ratio(side[f"{name}_grad"], side[name], "")["ratio"] for side in (ours, theirs)]
        faults = page_faults(work[f"{name}_grad"])
        yield {
            **about,
            "piece": name,
            **found,
            "grad_over_forward": over[0],
            "peers_grad_over_forward": over[1],
            "grad_page_faults": faults,
            "says": f"{in_words(found)}; with its gradient ours takes {over[0]} forward passes and torch's {over[1]}, "
            f"where operations make 3; {faults} page faults are in ours",
        }
    found = ratio(ours["matmul"], theirs["matmul"], "torch matmul")
    yield {**about, "piece": "matmul", **found, "says": f"{in_words(found)}: XLA's product over torch's"}


def in_words(found: dict[str, object]) -> str:
    """The median ratio of `ratio` as who is ahead."""
    ahead = "ahead" if float(str(found["ratio"])) < 1 else "behind"
    return f"ours takes {found['ratio']} of the time of {found['beside']} ({ahead})"


def page_faults(call: Callable[[], object]) -> int:
    """Of one call, on average."""
    count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    before = count()
    for _ in range(FAULTED):
        jax.block_until_ready(call())
    return round((count() - before) / FAULTED)


def pieces(spec: dict[str, int]) -> tuple[dict[str, Callable[[], object]], int]:
    """Every piece of our work by the name of the peer's, and the number of trained parameters."""
    dim, tokens, heads = spec["dim"], spec["tokens"], spec["heads"]
    trunk = Trunk(dim, spec["depth"], heads, spec["hidden"], norm=RMSNorm, qk_norm=RMSNorm)
    mesh, optimizer = build_mesh(MeshShape(1)), adamw(constant(1e-4), clip_norm=1.0)
    build = lambda key: Dit(trunk, FlatLatent(tokens, CHANNELS), classes=CLASSES, key=key)
    fresh = lambda seed: init_state(
        build(jax.random.key(seed)), optimizer, averaged=False, key=jax.random.key(seed)
    )
    state, updated = fresh(0), fresh(1)
    k_data, k_hidden = jax.random.split(jax.random.key(2))
    batch = {
        "latents": jax.random.normal(k_data, (spec["batch"], tokens, CHANNELS)),
        "label": jnp.arange(spec["batch"], dtype=jnp.int32),
    }

    def objective(network, frozen, example, *, step, key):
        k_time, k_noise = jax.random.split(key)
        z, t = example["latents"], jax.random.uniform(k_time)
        noise = jax.random.normal(k_noise, z.shape)
        velocity = lambda x, t: network(x, t, example["label"])
        return flow_matching_loss(velocity, z, t=t, noise=noise), {}

    step = make_step(objective, optimizer, state, (), mesh=mesh)
    apply = jax.jit(lambda state, grads: update(state, grads, optimizer, None), donate_argnums=0)
    grads = jax.tree.map(lambda p: jnp.full_like(p, 1e-3), updated.params)

    def one_step() -> object:
        nonlocal state
        state, metrics = step(state, (), batch)
        return state, metrics

    def one_update() -> object:
        nonlocal updated
        updated = apply(updated, grads)
        return updated

    scaled, square = jnp.ones(SCALED), jnp.ones((MATMUL, MATMUL))
    scale = jax.jit(lambda x: 1.0001 * x, donate_argnums=0)

    def one_scaling() -> object:
        nonlocal scaled
        scaled = scale(scaled)
        return scaled

    product = jax.jit(jnp.matmul)
    hidden = jax.random.normal(k_hidden, (spec["batch"], tokens, dim))
    k_linear, k_attention = jax.random.split(jax.random.key(3))
    rotary = Rotary(sequence_angles(dim // heads, tokens))
    layers = {
        "linear": Linear(dim, spec["hidden"], key=k_linear),
        "attention": Attention(dim, heads, qk_norm=RMSNorm, key=k_attention),
    }
    calls = {"linear": lambda layer, x: layer(x), "attention": lambda layer, x: layer(x, None, rotary)}
    work: dict[str, Callable[[], object]] = {"step": one_step, "update": one_update}
    for name, layer in layers.items():
        forward = jax.jit(lambda layer, x, f=calls[name]: jax.vmap(lambda x: f(layer, x))(x))
        loss = lambda both, f=forward: jnp.mean(jnp.square(f(*both)))
        grad = jax.jit(jax.value_and_grad(loss))
        work[name] = lambda f=forward, layer=layer: f(layer, hidden)
        work[f"{name}_grad"] = lambda g=grad, layer=layer: g((layer, hidden))
    work["matmul"] = lambda: product(square, square)
    work["scaled"] = one_scaling
    return work, sum(leaf.size for leaf in jax.tree.leaves(updated.params))
