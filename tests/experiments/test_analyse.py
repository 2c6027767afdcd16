"""`analyse.py` on a whole tokenizer: what needs its registers, and what cannot be asked in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from laminate.cli.analyse_flags import AnalyseFlags
from tests.experiments.jobs import TINY_FSQ, experiment, one_line, write_generator, write_tokenizer


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def analyse(what: str, tokenizer: Path, photos: Path, **flags: object) -> None:
    experiment("analyse").main(
        AnalyseFlags(
            what=what,
            tokenizer=str(tokenizer),
            data=str(photos),
            out=Path("out"),
            device_batch_size=1,
            **flags,
        )
    )


def test_registers_are_ablated_and_their_attention_is_drawn(tokenizer, photos, here, capsys):
    analyse("token-ablation", tokenizer, photos)
    analyse("attention", tokenizer, photos, html=True)
    ablation, attention = (
        json.loads((here / "out" / f"{name}.json").read_text())["numbers"]
        for name in ("token-ablation", "attention")
    )
    heat = np.asarray(ablation["heat"])
    assert heat.shape == (3, 16) and (heat > 0).all()
    assert len(ablation["pixel_importance"]) == 3
    looks, reads = (np.asarray(attention[f"{part}_rollout"]) for part in ("encoder", "decoder"))
    assert looks.shape == (3, 16) and reads.shape == (16, 3)
    assert (
        1 <= attention["encoder_patches_per_latent"] <= 16
        and 1 <= attention["decoder_latents_per_patch"] <= 3
    )
    assert (here / "out" / "token-ablation-pixels.png").exists() and (here / "out" / "attention.png").exists()
    page = (here / "out" / "report.html").read_text()
    assert "Token ablation" in page and "Attention" in page
    assert "attention: a latent looks at " in capsys.readouterr().err


def test_a_generator_is_asked_what_it_recovers_how_guidance_acts_and_how_fast_it_is(
    tokenizer, photos, here, capsys
):
    generator = str(write_generator(here / "generator", tokenizer))
    asked = {
        "noise-recovery": {},
        "guidance-sweep": {"scales": (1.0, 2.0), "starts": (0.0, 0.5), "samples": 6},
        "throughput": {"batches": (2,)},
    }
    numbers = {}
    for what, flags in asked.items():
        analyse(what, tokenizer, photos, generator=generator, **flags)
        numbers[what] = json.loads((here / "out" / f"{what}.json").read_text())["numbers"]
        assert (here / "out" / f"{what}.png").exists()
    recovery, sweep, speed = numbers.values()
    assert recovery["times"][0] == 0.0 and len(recovery["error_by_token"][0]) == 3
    distances = np.asarray(sweep["fd@embedded"])
    assert distances.shape == (2, 2) and (distances > 0).all()
    assert distances[0, 0] == distances[1, 0]  # unguided, wherever guidance would begin
    assert distances[0, 1] != distances[1, 1] and sweep["samples"] == 6
    assert speed["tokens"] == [3, 16] and min(speed["images_per_second_of_a_pass"]["16"]) > 0
    unconditional = str(write_generator(here / "unconditional", tokenizer, classes=0))
    with pytest.raises(SystemExit) as left:
        analyse("guidance-sweep", tokenizer, photos, generator=unconditional)
    assert left.value.code == 2 and "has 0 classes" in capsys.readouterr().err


def test_an_image_is_found_from_its_tokens_its_features_and_their_mean(tokenizer, photos, here):
    analyse("inversion", tokenizer, photos, inverted=1, iterations=10)
    numbers = json.loads((here / "out" / "inversion.json").read_text())["numbers"]
    assert numbers["targets"] == ["all 3 tokens", "all 16 features", "mean of features"]
    assert np.asarray(numbers["loss"]).shape == (3, 10) and np.isfinite(numbers["psnr"]).all()


def test_what_cannot_be_asked_is_one_line(tmp_path, photos, capsys):
    nested = write_tokenizer(tmp_path / "nested", recipe=TINY_FSQ)
    with pytest.raises(SystemExit) as left:
        analyse("attention", nested, photos)
    assert left.value.code == 2
    assert "nested dropout masks its encoder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        analyse("noise", nested, tmp_path / "nowhere")
    assert "no data at" in one_line(capsys.readouterr().err)
