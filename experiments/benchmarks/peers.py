"""A LightningDiT's training step beside the same network in PyTorch, piece by piece, both sides timed in turn.

`ratio` is our time over the peer's, the median of the turns, with the least and the largest; below 1 we are ahead.
`of_matmul` counts either side's time in large matrix products of its own first, which takes out the difference between
the two libraries that multiply. `grad_over_forward` is the time of a layer's loss and gradient (in weights and input)
over that of its forward pass, of which the operations make 3. The `memory` line sets the update beside the time that
its bytes take at the speed of an array that is scaled in place.
"""

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp

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

PEER = Path(__file__).with_name("peer_torch.py")
CHANNELS, CLASSES, MATMUL = 128, 1000, 2048
SCALED = 2**25  # numbers in the array whose scaling tells the speed of the memory
UPDATE_BYTES = 7 * 4  # a parameter: weight, gradient and two moments are read, all but the gradient written
NEEDED = (
    "--peer-python is the interpreter of an environment with PyTorch: 'python -m venv peer', 'peer/bin/pip install "
    "torch', then --peer-python peer/bin/python."
)
PAUSE_S = 0.05  # in which the threads of the side that worked last stop waiting for more


class Peer:
    """The other side: a process that works when it is asked to, and not otherwise."""

    def __init__(self, python: str, spec: dict[str, int]):
        if shutil.which(python) is None:
            raise ValueError(f"{NEEDED} {python!r} is no program.")
        self._process = subprocess.Popen(
            [python, PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        facts = json.loads(self._ask(json.dumps(spec)))
        self.parameters, self.version = facts["parameters"], facts["version"]

    def seconds(self, name: str) -> float:
        return float(self._ask(name))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its output ends as well
        answer = self._process.stdout.readline()
        if not answer:
            raise ValueError(f"{NEEDED} The one given ended with {self._process.wait()}.")
        return answer


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
        peer = Peer(peer_python, spec)
        try:
            yield from compared(peer, spec, turns)
        finally:
            peer.close()


def compared(peer: Peer, spec: dict[str, int], turns: int) -> Iterator[dict[str, object]]:
    work, parameters = pieces(spec)
    if parameters != peer.parameters:
        raise ValueError(f"The networks differ: {parameters} parameters here, {peer.parameters} in PyTorch.")
    ours, theirs = in_turn(work, peer, turns)
    about = {"tokens": spec["tokens"], "torch": peer.version}
    for name, beside in (("step", "step"), ("step", "compiled_step"), ("update", "update")):
        normal = [a / m for a, m in zip(ours[name], ours["matmul"], strict=True)]
        peers_normal = [a / m for a, m in zip(theirs[beside], theirs["matmul"], strict=True)]
        yield {
            **about,
            "piece": name,
            **ratio(ours[name], theirs[beside], f"torch {beside}"),
            "of_matmul": ratio(normal, peers_normal, "")["ratio"],
        }
    bytes_a_second = [8 * SCALED / seconds for seconds in ours["scaled"]]
    memory = [UPDATE_BYTES * parameters / speed for speed in bytes_a_second]
    yield {**about, "piece": "update", **ratio(ours["update"], memory, "memory")}
    for name in ("linear", "attention"):
        yield {
            **about,
            "piece": name,
            **ratio(ours[name], theirs[name], f"torch {name}"),
            "grad_over_forward": ratio(ours[f"{name}_grad"], ours[name], "")["ratio"],
            "peers_grad_over_forward": ratio(theirs[f"{name}_grad"], theirs[name], "")["ratio"],
        }
    yield {**about, "piece": "matmul", **ratio(ours["matmul"], theirs["matmul"], "torch matmul")}


def ratio(ours: list[float], theirs: list[float], beside: str) -> dict[str, object]:
    """Median times and median, least and largest ratio."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "beside": beside,
        "ms": round(1e3 * statistics.median(ours), 2),
        "beside_ms": round(1e3 * statistics.median(theirs), 2),
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def in_turn(
    work: dict[str, Callable[[], object]], peer: Peer, turns: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The seconds of every piece on either side in every turn, each right beside its counterpart's."""
    # torch compiles at its first two calls, and grows its arenas
    extra = ("compiled_step",)
    for call in work.values():
        jax.block_until_ready(call())
    for name in (*work, *extra):
        if name != "scaled":
            peer.seconds(name), peer.seconds(name)
    ours: dict[str, list[float]] = {name: [] for name in work}
    theirs: dict[str, list[float]] = {name: [] for name in (*work, *extra)}
    for _ in range(turns):
        for name, call in work.items():
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            jax.block_until_ready(call())
            ours[name].append(time.perf_counter() - began)
            time.sleep(PAUSE_S)
            if name != "scaled":
                theirs[name].append(peer.seconds(name))
        theirs["compiled_step"].append(peer.seconds("compiled_step"))
    return ours, theirs


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
