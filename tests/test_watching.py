"""`fanin.watch` on plain loops: what it sees, and that the training does not notice."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from watching_cases import (
    WIDTHS,
    Attention,
    Mixed,
    Plain,
    agree,
    count_hooks,
    draw_batches,
    make_layer,
    make_model,
    train,
)

import fanin
from fanin import seeds
from fanin.errors import FitError, OutputError, UsageError
from fanin.watching.layer_reading import ALL, STATISTICS, Reading
from fanin.watching.signal_log import read_log
from fanin.watching.signal_probe import SignalProbe


def read_values(reading: Reading, name: str) -> dict[str, float]:
    """The statistics of one layer."""
    (values,) = [layer.values for layer in reading.layers if layer.name == name]
    return dict(values)


def list_names(watch: fanin.Watch, place: int = 0) -> list[str]:
    return [layer.name for layer in watch.log.readings[place].layers]


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("every", [1, 3, None])
def test_a_training_is_the_same_bit_for_bit_with_and_without(
    kind: type[nn.Module], every: int | None, tmp_path: Path
) -> None:
    model, twin = make_model(kind), make_model(kind)
    watch = fanin.watch(model, every=every, path=tmp_path / "signals.jsonl")
    watched = train(
        model,
        WIDTHS[kind],
        watched=watch,
        after_step=lambda step, loss: watch.epoch(loss=loss) if step % 4 == 0 else None,
    )
    assert watch.log.readings
    assert agree(watched, train(twin, WIDTHS[kind]))


def test_the_test_of_sameness_fails_for_a_training_that_is_changed() -> None:
    model, twin = make_model(Plain), make_model(Plain)
    with torch.no_grad():
        twin.out.bias[0] += 1e-6
    assert not agree(train(model, 6), train(twin, 6))


def test_the_numbers_are_those_of_a_slow_obvious_computation() -> None:
    model = make_model(Plain)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (batch,) = draw_batches(6, 1)
    with fanin.watch(model) as watch:
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        before = {name: one.detach().clone() for name, one in model.named_parameters()}
        gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
        optimizer.step()
    (reading,) = watch.log.readings
    assert list_names(watch) == ["fc1", "fc1:relu", "fc2", "fc2:tanh", "out", ALL]

    hidden = F.linear(batch[0], before["fc1.weight"], before["fc1.bias"])
    first = read_values(reading, "fc1")
    assert first["mean"] == pytest.approx(hidden.mean().item(), rel=1e-5)
    assert first["std"] == pytest.approx(hidden.std(correction=0).item(), rel=1e-5)
    assert first["rms"] == pytest.approx(hidden.square().mean().sqrt().item(), rel=1e-5)
    active = hidden.relu()
    dead = (active == 0).all(0).float().mean().item()
    assert read_values(reading, "fc1:relu")["zero_units"] == dead
    squashed = torch.tanh(F.linear(active, before["fc2.weight"], before["fc2.bias"]))
    flat = (1 - squashed.square() < 0.02).float().mean().item()
    assert read_values(reading, "fc2:tanh")["saturated"] == pytest.approx(flat)

    def join(tensors: dict[str, Tensor], layer: str) -> Tensor:
        return torch.cat([one.flatten() for name, one in tensors.items() if layer in name])

    after = dict(model.named_parameters())
    for layer in ("fc1", "fc2", "out", ""):
        values = read_values(reading, layer or ALL)
        gradient, weights = join(gradients, layer), join(before, layer)
        change = join(after, layer).detach() - weights
        rms = gradient.square().mean().sqrt().item()
        assert values["gradient_rms"] == pytest.approx(rms, rel=1e-5)
        assert values["weight_norm"] == pytest.approx(weights.norm().item(), rel=1e-5)
        ratio = (change.norm() / weights.norm()).item()
        assert values["update_ratio"] == pytest.approx(ratio, rel=1e-4)
    assert {name for layer in reading.layers for name in layer.values} <= set(STATISTICS)


def test_a_dead_layer_that_was_planted_is_seen() -> None:
    model = make_model(Plain)
    with torch.no_grad():
        model.fc1.bias[:4] = -100
    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch)
    assert read_values(watch.log.readings[0], "fc1:relu")["zero_units"] >= 0.4
    assert "% of the units of fc1 are dead from the start: 0 after relu" in str(watch)


def test_units_that_die_during_training_are_told_with_their_step() -> None:
    model = make_model(Plain)

    def kill(step: int, loss: Tensor) -> None:
        if step == 5:
            with torch.no_grad():
                model.fc1.bias.fill_(-100)

    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch, after_step=kill)
    assert "100% of the units of fc1 died by step 6" in str(watch)


def test_a_vanishing_gradient_that_was_planted_is_seen() -> None:
    model = make_model(Plain)
    with torch.no_grad():
        model.fc2.weight.mul_(1e-6)
    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch, optimizer=torch.optim.SGD(model.parameters(), lr=1e-4))
    assert "Gradients of fc1 vanish: " in str(watch)
    assert "of those of out, the last layer, from step 1 on" in str(watch)


def test_an_exploding_gradient_that_was_planted_is_seen() -> None:
    model = make_model(Plain)
    with torch.no_grad():
        model.out.weight.mul_(1e5)
    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch, optimizer=torch.optim.SGD(model.parameters(), lr=1e-12))
    assert "explode" in str(watch)


def test_saturated_outputs_and_huge_steps_are_told() -> None:
    model = make_model(Plain)
    with torch.no_grad():
        model.fc2.weight.mul_(1000)
    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch, optimizer=torch.optim.SGD(model.out.parameters(), lr=100.0))
    assert "of the outputs of tanh after fc2 are saturated at step" in str(watch)
    assert "One step changes the weights of out by" in str(watch)


def test_numbers_that_are_not_finite_are_told_first() -> None:
    model = make_model(Plain)

    def spoil(step: int, loss: Tensor) -> None:
        if step == 2:
            with torch.no_grad():
                model.fc1.weight[0, 0] = math.nan

    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch, after_step=spoil)
    lines = str(watch).split("\n")
    assert lines[0] == "The output of fc1 is NaN or infinite at step 3."
    assert lines[1].startswith("The gradient of")
    assert read_values(watch.log.readings[2], "fc1")["rms"] == math.inf


def test_a_healthy_training_is_called_so() -> None:
    model = make_model(Plain)
    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch)
    assert str(watch).startswith("Nothing stands out: the first layer's gradient is ")


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_stays_installed_also_when_the_loop_raises(fails: bool, tmp_path: Path) -> None:
    model, path = make_model(Mixed), tmp_path / "signals.jsonl"

    def raise_error(step: int, loss: Tensor) -> None:
        if fails and step == 3:
            raise ValueError("the loop's own")

    watch = fanin.watch(model, every=1, path=path)
    before = count_hooks()
    with pytest.raises(ValueError, match="the loop's own") if fails else nullcontext():
        train(model, 36, watched=watch, after_step=raise_error)
    assert count_hooks() == before
    assert read_log(path).ending == ("ValueError: the loop's own" if fails else "finished")
    assert not watch.is_running


def test_an_error_inside_the_forward_pass_leaves_nothing_behind() -> None:
    model, before = make_model(Plain), count_hooks()
    with pytest.raises(RuntimeError), fanin.watch(model, every=1):
        model(torch.zeros(2, 5))
    assert count_hooks() == before


def test_nothing_is_installed_between_measured_steps() -> None:
    model, seen = make_model(Plain), list[int]()
    base = count_hooks()
    watch = fanin.watch(model, every=4)
    train(model, 6, watched=watch, after_step=lambda step, loss: seen.append(count_hooks() - base))
    # two hooks for the steps of all optimizers; two more for modules before a step that is due
    assert seen == [2, 2, 2, 4, 2, 2, 2, 4]


def test_the_model_carries_no_hooks_and_a_copy_of_it_is_not_watched() -> None:
    model = make_model(Plain)
    names = [name for name in vars(model) if "hook" in name]
    with fanin.watch(model, every=1) as watch:
        twin = copy.deepcopy(model)
        for module in model.modules():
            assert not any(getattr(module, name) for name in names if name.startswith("_f"))
        twin(torch.zeros(2, 6))
        assert watch._probe._forward is not None
        assert not watch._probe._forward.found


class CountedCalls(nn.Module):
    """Counts the passes through it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls = Plain(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x)


def test_no_further_forward_pass_is_run() -> None:
    model = make_model(CountedCalls)
    watch = fanin.watch(model, every=1)
    train(model, 6, steps=5, watched=watch)
    assert len(watch.log.readings) == 5
    assert model.calls == 6  # five steps and one evaluation


def test_every_and_epochs_choose_the_steps() -> None:
    model = make_model(Plain)
    watch = fanin.watch(model, every=4)
    train(
        model,
        6,
        steps=12,
        watched=watch,
        after_step=lambda step, loss: watch.epoch(loss=loss, score=step) if step == 6 else None,
    )
    assert [(one.step, one.epoch) for one in watch.log.readings] == [(1, 0), (5, 0), (7, 1), (9, 1)]
    (end,) = watch.log.epochs
    assert (end.epoch, end.step, end.metrics["score"]) == (1, 6, 6.0)


def test_an_evaluation_is_not_measured() -> None:
    model = make_model(Plain)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model) as watch:
        with torch.no_grad():
            model(torch.full((4, 6), 1e6))
        model.eval()
        model(torch.full((4, 6), 1e6))
        model.train()
        ((x, y),) = draw_batches(6, 1)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert read_values(watch.log.readings[0], "fc1")["rms"] < 100


def test_of_accumulated_gradients_the_first_pass_counts() -> None:
    model = make_model(Plain)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first, second = draw_batches(6, 2)
    with fanin.watch(model) as watch:
        for x, y in (first, (second[0] * 1000, second[1])):
            F.cross_entropy(model(x), y).backward()
        optimizer.step()
    alone = make_model(Plain)
    with fanin.watch(alone) as expected:
        F.cross_entropy(alone(first[0]), first[1]).backward()
        torch.optim.SGD(alone.parameters(), lr=0.1).step()
    assert list_names(watch) == list_names(expected)
    pair = (watch.log.readings[0], expected.log.readings[0])
    one, other = (read_values(reading, "fc1:relu") for reading in pair)
    assert one == other
    one, other = (read_values(reading, "fc1") for reading in pair)
    assert one["rms"] == other["rms"]
    assert one["gradient_rms"] != other["gradient_rms"]


class Reused(nn.Module):
    """One layer three times, under recomputation if it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.out, self.recomputes = nn.Linear(6, 3), False

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = checkpoint(self.block, x, use_reentrant=False) if self.recomputes else self.block(x)
        return self.out(x)


def test_a_layer_that_is_used_again_or_computed_again_is_read_once() -> None:
    readings = []
    for recomputes in (False, True):
        model = make_model(Reused)
        model.recomputes = recomputes
        watch = fanin.watch(model)
        train(model, 6, steps=1, watched=watch)
        assert list_names(watch) == ["block.0", "block.0:relu", "out", ALL]
        readings.append(watch.log.readings)
    assert readings[0] == readings[1]


def test_one_activation_module_may_serve_several_layers() -> None:
    model = make_model(Mixed)
    watch = fanin.watch(model)
    train(model, 36, steps=1, watched=watch)
    assert list_names(watch) == ["conv1", "conv1:relu", "conv2", "conv2:relu", "out", ALL]


def test_units_of_convolutions_are_channels() -> None:
    model = make_model(Mixed)
    with torch.no_grad():
        model.conv2.bias[:3] = -100
    watch = fanin.watch(model)
    train(model, 36, steps=1, watched=watch)
    assert read_values(watch.log.readings[0], "conv2:relu")["zero_units"] == 0.5


def test_a_step_that_takes_a_closure_is_measured() -> None:
    model = make_model(Plain)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    ((x, y),) = draw_batches(6, 1)

    def compute() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    with fanin.watch(model) as watch:
        optimizer.step(compute)
    values = read_values(watch.log.readings[0], "fc1")
    assert values.keys() == {"mean", "std", "rms", "gradient_rms", "weight_norm", "update_ratio"}
    assert values["update_ratio"] > 0


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_those_without_the_factor_of_a_scaler(fused: bool) -> None:
    found = []
    for scale in (1.0, 2.0**14):
        model = make_model(Plain)
        # a fused optimizer takes the factor out during its step, others have it taken out before
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        ((x, y),) = draw_batches(6, 1)
        with fanin.watch(model) as watch:
            scaler.scale(F.cross_entropy(model(x), y)).backward()
            scaler.step(optimizer)
        found.append(read_values(watch.log.readings[0], ALL)["gradient_rms"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_of_an_embedding_the_rows_that_were_used_count() -> None:
    for sparse in (False, True):
        table = make_model(lambda: nn.Embedding(100, 4, sparse=sparse))  # noqa: B023
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
        with fanin.watch(table) as watch:
            table(torch.tensor([3, 3, 7])).sum().backward()
            optimizer.step()
        (reading,) = watch.log.readings
        expected = math.sqrt((4 * 2**2 + 4 * 1**2) / 8)
        values = read_values(reading, "(model)")
        assert values["gradient_rms"] == pytest.approx(expected)


def test_frozen_layers_have_outputs_and_nothing_else() -> None:
    model = make_model(Plain)
    model.fc1.requires_grad_(False)
    watch = fanin.watch(model)
    train(model, 6, steps=1, watched=watch)
    assert read_values(watch.log.readings[0], "fc1").keys() == {"mean", "std", "rms"}


def test_a_layer_that_is_thawed_later_has_gradients_from_then_on() -> None:
    model = make_model(Plain)
    model.fc1.requires_grad_(False)

    def thaw(step: int, loss: Tensor) -> None:
        if step == 2:
            model.fc1.requires_grad_(True)
            watch.epoch()

    watch = fanin.watch(model, every=1)
    train(model, 6, watched=watch, steps=5, after_step=thaw)
    has_gradient = ["gradient_rms" in read_values(r, "fc1") for r in watch.log.readings]
    assert has_gradient == [False, False, False, True, True]


def test_a_lazy_layer_is_watched_from_the_second_step_on() -> None:
    model = make_model(lambda: nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3)))
    with seeds.preserve_torch_state(0):
        watch_lazy(model)


def watch_lazy(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with fanin.watch(model, every=1) as watch:
        for x, y in draw_batches(6, 3):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert [reading.step for reading in watch.log.readings] == [2, 3]
    assert list_names(watch) == ["0", "0:relu", "2", ALL]


def test_of_two_optimizers_the_steps_of_the_first_count() -> None:
    model, other = make_model(Plain), make_model(Plain)
    first = torch.optim.SGD(model.fc1.parameters(), lr=0.1)
    second = torch.optim.SGD(model.out.parameters(), lr=0.1)
    foreign = torch.optim.SGD(other.parameters(), lr=0.1)
    with fanin.watch(model, every=1) as watch:
        for x, y in draw_batches(6, 3):
            F.cross_entropy(other(x), y).backward()
            foreign.step()
            F.cross_entropy(model(x), y).backward()
            first.step()
            second.step()
    assert [reading.step for reading in watch.log.readings] == [1, 2, 3]


def test_wrapped_models_have_the_names_of_the_bare_ones(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(make_model(Plain))
        watch = fanin.watch(model, path=tmp_path / "signals.jsonl")
        course = train(model, 6, steps=2, watched=watch)
    finally:
        torch.distributed.destroy_process_group()
    assert list_names(watch) == ["fc1", "fc1:relu", "fc2", "fc2:tanh", "out", ALL]
    assert watch.log.model == "Plain"
    assert course.losses == train(make_model(Plain), 6, steps=2).losses


def test_of_a_compiled_model_gradients_and_updates_are_measured() -> None:
    model = torch.compile(make_model(Plain), backend="eager")
    watch = fanin.watch(model)
    train(model, 6, steps=1, watched=watch)
    (reading,) = watch.log.readings
    assert list_names(watch) == ["fc1", "fc2", "out", ALL]
    assert read_values(reading, "fc1").keys() == {"gradient_rms", "weight_norm", "update_ratio"}
    assert "The model is compiled" in str(watch)


def test_flat_pieces_of_parameters_are_refused_in_words() -> None:
    class FullyShardedDataParallel(nn.Sequential):
        """A class of that name, which is what is looked for."""

    with pytest.raises(FitError, match="fully_shard"):
        fanin.watch(FullyShardedDataParallel(make_model(make_layer)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a model", None, 1), "Expected a torch.nn.Module"),
        ((make_model(make_layer), "adam", 1), "Expected an optimizer of torch"),
        ((make_model(make_layer), None, 0), "every counts steps"),
        ((make_model(make_layer), None, True), "every counts steps"),
    ],
)
def test_what_cannot_be_watched_is_said_at_once(arguments: Any, words: str) -> None:
    model, optimizer, every = arguments
    with pytest.raises(UsageError, match=words):
        fanin.watch(model, optimizer, every=every)


def test_a_metric_that_is_no_number_is_an_error_in_words() -> None:
    with (
        fanin.watch(make_model(make_layer)) as watch,
        pytest.raises(UsageError, match="loss must be a"),
    ):
        watch.epoch(loss="low")


def test_a_measurement_that_fails_does_not_end_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("fanin.watching.forward_watch.measure_moments", fail)
    model, before = make_model(Plain), count_hooks()
    watch = fanin.watch(model, every=1)
    with pytest.warns(UserWarning, match="No measurement from step 1 on: RuntimeError: planted"):
        course = train(model, 6, watched=watch)
    assert agree(course, train(make_model(Plain), 6))
    assert count_hooks() == before
    assert "The training goes on" in str(watch)


def test_in_fanins_own_training_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("fanin.watching.forward_watch.measure_moments", fail)
    model = make_model(Plain)
    probe = SignalProbe(model)
    probe.open()
    model(torch.zeros(2, 6)).sum().backward()
    probe.prepare_step()
    with pytest.raises(RuntimeError, match="planted"):
        probe.close()


def test_a_file_is_read_as_it_was_written_nan_and_infinities_included(tmp_path: Path) -> None:
    path, model = tmp_path / "signals.jsonl", make_model(Plain)
    nn.init.zeros_(model.out.weight)
    nn.init.zeros_(model.out.bias)
    watch = fanin.watch(model, every=1, path=path)
    train(model, 6, watched=watch, after_step=lambda step, loss: watch.epoch(loss=math.nan))
    log = read_log(path)
    assert log.readings == watch.log.readings
    assert read_values(log.readings[0], "out")["update_ratio"] == math.inf
    assert math.isnan(log.epochs[0].metrics["loss"])
    assert [end.step for end in log.epochs] == list(range(1, 9))


def test_a_watch_continues_a_file_behind_a_line_that_a_crash_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    for part in range(2):
        model = make_model(Plain)
        watch = fanin.watch(model, every=1, path=path, append=True)
        train(
            model,
            6,
            steps=3,
            watched=watch,
            after_step=lambda step, loss, w=watch: w.epoch() if step == 3 else None,
        )
        if not part:
            content = path.read_bytes()
            path.write_bytes(content[: content.rindex(b'{"end"') + 4])
            assert len(read_log(path).readings) == 3
    log = read_log(path)
    assert [reading.step for reading in log.readings] == [1, 2, 3, 4, 5, 6]
    assert [end.epoch for end in log.epochs] == [1, 2]
    assert len(watch.log.readings) == 6


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("chapter one\n")
    with (
        pytest.raises(OutputError, match="holds something else"),
        fanin.watch(make_model(make_layer), path=path),
    ):
        pass
    assert path.read_text() == "chapter one\n"
    with pytest.raises(UsageError, match="holds no signals of fanin"):
        read_log(path)
    with pytest.raises(UsageError, match="Cannot read"):
        read_log(tmp_path / "missing.jsonl")


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path, model = tmp_path / "signals.jsonl", make_model(Plain)
    train(model, 6, steps=3, watched=fanin.watch(model, every=1, path=path))
    lines = path.read_text().split("\n")
    lines[2] = lines[2][:30]
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="line 3: expected a line that fanin has written"):
        read_log(path)


def test_a_full_disk_costs_the_file_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(Plain)
    watch = fanin.watch(model, every=1, path=tmp_path / "signals.jsonl")

    def fill(step: int, loss: Tensor) -> None:
        if step == 2:
            assert watch._file is not None
            watch._file.close()
            watch._file._stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115, PTH123

    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with pytest.warns(UserWarning, match="Not written from step"):
        course = train(model, 6, watched=watch, after_step=fill)
    assert agree(course, train(make_model(Plain), 6))
    assert len(watch.log.readings) == 8


def test_a_watch_that_saw_no_step_says_so() -> None:
    with fanin.watch(make_model(make_layer)) as watch:
        pass
    assert str(watch) == "Nothing was measured: no step of the optimizer was seen."


def test_the_layers_of_an_attention_block_are_named_by_their_paths() -> None:
    model = make_model(Attention)
    watch = fanin.watch(model)
    train(model, 36, steps=1, watched=watch)
    names = list_names(watch)
    assert names[0] == "encoder.self_attn"
    assert {"encoder.linear1", "encoder.linear1:relu", "encoder.linear2", "out"} < set(names)
