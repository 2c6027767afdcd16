"""The first lines of a run, and of its report: what is trained, on what, where, and how long."""

from laminate.data.left_out import in_one_line, together
from laminate.recipes.family import Facts
from laminate.runs.setup import Run

SMALL = 64  # pixels along a side: that of the embedded images


def header_facts(run: Run, first: int = 0) -> Facts:
    """(what, value) of a run that begins at the step `first`: its recipe, data, devices, length and folder."""
    recipe, manifest = run.recipe, run.training.manifest
    parts = "" if run.micro_batches == 1 else f" in {run.micro_batches} parts"
    share = recipe.global_batch_size // run.shape.devices
    steps = f"{run.counts.total} steps of {recipe.global_batch_size} images"
    return (
        *run.family.text(recipe).header,
        ("data", f"{manifest.source}: {len(run.training)} to train on, {len(run.validation)} to validate on"),
        *_remembered(run),
        *_small_images(run),
        *_left_out(run),
        ("devices", f"mesh {run.shape} (data x fsdp), {run.devices}; {run.dtype.name} compute"),
        ("length", steps if first == 0 else f"{steps}, resumed at step {first}"),
        ("batch", f"{share} images per device{parts}"),
        *((("weights", str(run.start)),) if first == 0 and run.start is not None else ()),
        ("folder", str(run.folder.path)),
    )


def _left_out(run: Run) -> Facts:
    """What the data hold beside the images, by reason, and how they were read where that is worth a word."""
    manifests = (run.training.manifest, run.validation.manifest)
    entries = together(entry for manifest in manifests for entry in manifest.left_out)
    locked = [folder for manifest in manifests for folder in manifest.locked]
    notes = [note for manifest in manifests for note in manifest.notes]
    rows: list[tuple[str, str]] = []
    if entries:
        rows.append(("left out", in_one_line(entries)))
    if locked:
        rows.append(("not read", f"folders that may not be read: {', '.join(locked)}"))
    return (*rows, *(("note", note) for note in notes))


def _remembered(run: Run) -> Facts:
    """Where the data were found, if no flag named them, and whether they are those of then."""
    if run.data is None:
        return ()
    same = run.data.fingerprint == run.training.manifest.fingerprint
    if same and not run.data_label:
        return ()
    changed = "" if same else ", which have changed since: images were added, taken away or replaced"
    return (("", f"the data of {run.data.run}{changed}"),)


def _small_images(run: Run) -> Facts:
    """At which size one's own images are trained on where that is the small one of the embedded images, and what else
    there is."""
    side, larger = run.recipe.augment.image_size, run.family.names.photographs
    if not run.data_label or not larger or side > SMALL or run.training.manifest.arrays is not None:
        return ()
    offered = "; ".join(f"--experiment {name} ({said})" for name, said in larger.items())
    return (
        (
            "image size",
            f"{side} x {side} pixels, which is small for photographs. Larger: --image-size 128 or 256; {offered}",
        ),
    )
