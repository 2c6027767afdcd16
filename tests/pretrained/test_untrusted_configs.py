"""A `config.json` and pins that somebody changed are a ValueError with the field, before JAX sees a shape."""

import json

import equinox as eqx
import jax
import pytest

from laminate.pretrained.files import read_json
from laminate.pretrained.pins import PINS_FILE, read_pins
from laminate.pretrained.published import READERS
from laminate.pretrained.rae import encoder_config
from laminate.pretrained.tensors import WeightsError

STRANGE = (None, -1, 0, 10**18, 2**70, "8", [], [8], {}, True, 1.5, -0.5, 1e300)


@pytest.mark.parametrize("name", READERS)
def test_every_field_of_a_teacher_is_of_its_kind_and_of_a_sensible_size(name):
    reader = READERS[name]
    for field in reader.defaults:
        for value in STRANGE:
            try:
                eqx.filter_eval_shape(
                    lambda key, f=field, v=value: reader.make({**reader.defaults, f: v}, key=key),
                    jax.random.key(0),
                )
            except ValueError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("field", ["hidden_size", "patch_size", "num_hidden_layers", "num_attention_heads"])
@pytest.mark.parametrize("value", [-1, 0, 10**18, "8", None, [8], True])
def test_the_field_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        READERS["dinov2"].facts({field: value})
    assert READERS["dinov2"].facts({field: 7})[field] == 7


@pytest.mark.parametrize("kind", [None, [], {}, 7, "dinov9"])
def test_an_autoencoder_of_another_encoder_is_refused(kind):
    with pytest.raises(ValueError, match="encoder_type"):
        encoder_config({"encoder_type": kind}, {})


@pytest.mark.parametrize("width", ["768", None, -64, [768], 10**12])
def test_an_encoder_of_no_size_is_refused(width):
    with pytest.raises(ValueError, match="encoder_hidden_size"):
        encoder_config({"encoder_type": "dinov2", "encoder_hidden_size": width}, {})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "[" * 9000, '{"a": NaN}', '{"a": 1e999}', '{"a":1,"a":2}', "\udcff"]
)
def test_a_config_that_is_no_plain_object_is_damaged(tmp_path, text):
    from etils import epath

    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError, match=r"config.json is damaged"):
        read_json(epath.Path(tmp_path / "config.json"))


SOUND = {"repository": "somebody/tiny", "commit": "0" * 40, "sha256": {"model.safetensors": "1" * 64}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"repository": 7}, "a.repository"),
        ({"commit": None}, "a.commit"),
        ({"commit": "../../x"}, "no repository and commit"),
        ({"repository": "/etc"}, "no repository and commit"),
        ({"repository": "a/../b"}, "no repository and commit"),
        ({"sha256": []}, "a.sha256"),
        ({"sha256": {"model.safetensors": 1}}, "a.sha256.model.safetensors"),
    ],
)
def test_a_pin_that_was_changed_is_named(tmp_path, change, field):
    (tmp_path / PINS_FILE).write_text(json.dumps({"a": SOUND}))
    assert read_pins(tmp_path)["a"].repository == "somebody/tiny"
    (tmp_path / PINS_FILE).write_text(json.dumps({"a": SOUND | change}))
    with pytest.raises(ValueError, match=rf"{PINS_FILE} is damaged .*{field}"):
        read_pins(tmp_path)
