"""What was loaded stays: transformers' flags, a state dict, `only`; and the record says which."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from apply_cases import Everything, built, everything, mlp, state, unchanged
from torch import Tensor, nn

from fanin.apply import Record, initialize
from fanin.errors import FitError, UnfilledWarning, UnknownName, UsageError
from fanin.seeds import preserve_torch_state

# --- a state dict
# -----------------------------------------------------------------------------


def without(model: nn.Module, start: str) -> dict[str, Tensor]:
    return {name: value for name, value in state(model).items() if not name.startswith(start)}


def test_what_the_state_dict_has_stays_and_what_it_lacks_is_initialized() -> None:
    model = everything()
    loaded = without(model, "attention")
    record = initialize(model, "he_normal", seed=0, loaded=loaded)
    assert {one.name for one in record.touched} == {
        "attention.in_proj_weight",
        "attention.in_proj_bias",
        "attention.out_proj.weight",
        "attention.out_proj.bias",
    }
    assert record["conv.weight"].reason == "loaded"
    assert all(torch.equal(model.state_dict()[name], value) for name, value in loaded.items())
    alone = everything()
    initialize(alone, "he_normal", seed=0)
    assert torch.equal(model.attention.in_proj_weight, alone.attention.in_proj_weight)


def test_a_pattern_does_not_reach_what_was_loaded() -> None:
    model = mlp()
    loaded = {"0.weight": model[0].weight.detach().clone()}
    record = initialize(model, {"*.weight": "zero"}, default="keep", seed=0, loaded=loaded)
    assert (record["0.weight"].reason, record["2.weight"].rule) == ("loaded", "zero")


def test_a_tied_parameter_stays_under_whichever_name_it_was_loaded() -> None:
    model = everything()
    loaded = {"head.weight": model.head.weight.detach().clone()}
    record = initialize(model, "he_normal", seed=0, loaded=loaded)
    assert record["table.weight"].reason == "loaded"
    assert torch.equal(model.table.weight, loaded["head.weight"])


def test_a_reparametrized_weight_stays_if_what_is_behind_it_was_loaded() -> None:
    model = built(
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2)
        )
    )
    loaded = without(model, "1")
    record = initialize(model, "he_normal", seed=0, loaded=loaded)
    assert record["0.weight"].reason == "loaded"
    assert record["1.weight"].rule == "he_normal"
    assert all(torch.equal(model.state_dict()[name], value) for name, value in loaded.items())


def test_names_under_a_wrapper_and_without_it_both_do() -> None:
    bare = mlp()
    wrapped = nn.DataParallel(bare)
    for loaded in (without(bare, "2"), without(wrapped, "module.2")):
        record = initialize(wrapped, "he_normal", seed=0, loaded=loaded)
        assert record["module.0.weight"].reason == "loaded"
        assert record["module.2.weight"].rule == "he_normal"


def test_buffers_of_a_state_dict_are_no_mistake() -> None:
    model = built(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    record = initialize(model, "he_normal", seed=0, loaded=state(model))
    assert record.touched == ()


def test_a_state_dict_in_another_dtype_is_compared_after_the_cast() -> None:
    model = mlp()
    loaded = state(model)
    model.to(torch.bfloat16)
    assert initialize(model, "he_normal", seed=0, loaded=loaded).touched == ()


@pytest.mark.parametrize(
    ("loaded", "error", "match"),
    [
        ({"0.wieght": torch.zeros(30, 20)}, UnknownName, r"Did you mean 0\.weight.*state dict"),
        ({"0.weight": torch.zeros(3)}, FitError, r"0\.weight: 3 in loaded, 30×20 in the model"),
        ({"0.weight": torch.zeros(30, 20)}, FitError, r"0\.weight holds other.*load_state_dict"),
        ({"0.weight": 3}, UsageError, r"no tensor: 3"),
        (["0.weight"], UsageError, r"takes a state dict.*0\.weight"),
        ({1: torch.zeros(2)}, UsageError, r"takes a state dict"),
    ],
    ids=["name", "shape", "values", "number", "list", "key"],
)
def test_a_state_dict_that_was_not_loaded_is_an_error_and_changes_nothing(
    loaded: Any, error: type[Exception], match: str
) -> None:
    model = mlp()
    before = state(model)
    with pytest.raises(error, match=match):
        initialize(model, "he_normal", seed=0, loaded=loaded)
    assert unchanged(model, before)


def test_on_the_device_meta_the_state_dict_must_be_loaded_first() -> None:
    loaded = without(everything(), "attention")
    with torch.device("meta"):
        model = Everything()
    with pytest.raises(FitError, match=r"no memory.*assign=True\) first"):
        initialize(model, "he_normal", seed=0, loaded=loaded, device="cpu")
    model.load_state_dict(loaded, strict=False, assign=True)
    record = initialize(model, "he_normal", seed=0, loaded=loaded, device="cpu")
    assert [one.name.partition(".")[0] for one in record.touched] == ["attention"] * 4
    assert not any(parameter.is_meta for parameter in model.parameters())


# --- only
# -----------------------------------------------------------------------------


def test_only_says_what_may_be_touched() -> None:
    model = everything()
    before = state(model)
    record = initialize(model, "he_normal", seed=0, only=["conv.weight", "up.*"])
    assert {one.name for one in record.touched} == {"conv.weight", "up.weight", "up.bias"}
    changed = {name for name, value in state(model).items() if not torch.equal(value, before[name])}
    assert changed <= {"conv.weight", "up.weight", "up.bias"}
    assert record["norms.0.weight"].reason == "outside of only"


# --- the record
# -----------------------------------------------------------------------------


def mixed() -> Record:
    model = everything()
    loaded = {"conv.weight": model.conv.weight.detach().clone()}
    return initialize(
        model, "he_normal", seed=0, loaded=loaded, exclude="up.*", norms="keep", strict=False
    )


def test_touched_and_kept_are_all_parameters_each_once() -> None:
    record = mixed()
    names = [one.name for one in (*record.touched, *record.kept)]
    assert len(names) == len(set(names)) == len(list(everything().parameters()))
    assert {"loaded", "excluded"} <= {one.reason for one in record.kept}
    assert all(one.changed for one in record.touched)
    assert not any(one.changed for one in record.kept)


def test_a_preview_tells_what_would_be_touched() -> None:
    record = initialize(mlp(), "he_normal", seed=0, exclude="0.*", preview=True)
    assert [one.name for one in record.touched] == ["2.weight", "2.bias"]


def test_the_table_counts_what_is_kept_by_why() -> None:
    text = str(mixed())
    assert "15 kept: 9 by rule, 2 excluded, 2 frozen, 1 loaded, 1 of unknown use" in " ".join(
        text.split()
    )


def test_json_and_frame_separate_touched_from_kept() -> None:
    record = mixed()
    plain = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert plain["touched"] == [one.name for one in record.touched]
    assert plain["kept"] == [one.name for one in record.kept]
    assert plain["waiting"] == []
    pytest.importorskip("pandas", reason='needs the extra "study"')
    frame = record.to_frame()
    whole = frame[frame["part"] == ""].set_index("name")["treatment"]
    assert whole["attention.in_proj_weight"] == "touched"
    assert whole["conv.weight"] == "kept"
    assert whole["head.weight"] == "tied"


# --- transformers
# -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that lacks one weight."""
    transformers = pytest.importorskip("transformers", reason='needs the extra "peers"')
    numbers = pytest.importorskip("safetensors.torch", reason='needs the extra "study"')
    folder = tmp_path_factory.mktemp("bert")
    with preserve_torch_state(0):
        transformers.BertModel(make_config(transformers)).save_pretrained(folder)
    file = folder / "model.safetensors"
    saved = numbers.load_file(file)
    del saved["encoder.layer.1.output.dense.weight"]
    numbers.save_file(saved, file, metadata={"format": "pt"})
    return folder


def make_config(transformers: Any) -> Any:
    return transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )


def load(checkpoint: Path, kind: str) -> nn.Module:
    import transformers

    with preserve_torch_state(0):
        model: nn.Module = getattr(transformers, kind).from_pretrained(
            checkpoint, local_files_only=True
        )
    return model


MISSING = "bert.encoder.layer.1.output.dense.weight"


def test_what_transformers_has_loaded_stays_and_missing_keys_are_initialized(
    checkpoint: Path,
) -> None:
    model = load(checkpoint, "BertForSequenceClassification")
    before = state(model)
    record = initialize(model, "he_normal", seed=0)
    touched = {one.name for one in record.touched}
    assert touched == {MISSING, "classifier.weight", "classifier.bias"}
    assert record["bert.pooler.dense.weight"].reason.startswith("loaded by transformers")
    assert all(
        torch.equal(value, before[name])
        for name, value in state(model).items()
        if name not in touched
    )
    assert not torch.equal(state(model)[MISSING], before[MISSING])


def test_an_empty_state_dict_says_that_nothing_was_loaded(checkpoint: Path) -> None:
    model = load(checkpoint, "BertModel")
    record = initialize(model, "he_normal", seed=0, loaded={})
    assert not any(one.reason.startswith("loaded") for one in record)
    # What fanin has filled since is no longer what transformers loaded.
    assert initialize(model, "he_normal", seed=1)["pooler.dense.weight"].changed


def test_a_model_that_transformers_built_at_random_is_initialized_as_before() -> None:
    """Its modules have flags, its parameters have none."""
    transformers = pytest.importorskip("transformers", reason='needs the extra "peers"')
    with preserve_torch_state(0):
        model = transformers.BertModel(make_config(transformers))
    assert all(getattr(module, "_is_hf_initialized", False) for module in model.modules())
    assert initialize(model, "he_normal", seed=0).kept == ()


def test_a_model_of_which_all_is_loaded_is_warned_of(checkpoint: Path) -> None:
    model = load(checkpoint, "BertModel")
    with pytest.warns(UnfilledWarning, match=r"loaded 38 parameters.*loaded=\{\}"):
        initialize(model, "he_normal", seed=0, exclude="encoder.layer.1.output.dense.weight")


def test_a_deep_copy_has_lost_the_flags(checkpoint: Path) -> None:
    """torch copies no attributes of a parameter; docs/use.md says so."""
    model = copy.deepcopy(load(checkpoint, "BertModel"))
    assert initialize(model, "he_normal", seed=0).kept == ()
