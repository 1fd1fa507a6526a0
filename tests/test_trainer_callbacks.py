"""Callbacks in the real trainers of Lightning and of transformers (with accelerate)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching_cases import count_hooks

import fanin
from fanin import seeds
from fanin.errors import UsageError
from fanin.watching.layer_reading import ALL
from fanin.watching.signal_log import read_log

pytestmark = [
    pytest.mark.usefixtures("draws_globally"),
    pytest.mark.filterwarnings("ignore"),  # of the packages themselves
]

LABELS = 3


def draw_data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 4, generator=generator)
    return list(zip(x, torch.randint(0, LABELS, (64,), generator=generator), strict=True))


def fit_lightning(callbacks: Sequence[Any], *, fails: bool = False) -> list[Tensor]:
    lightning = pytest.importorskip("lightning.pytorch", reason="make test installs lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, LABELS))

        def training_step(self, batch: Any, index: int) -> Tensor:
            if fails and index == 2:
                raise ValueError("planted")
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.01)

    with seeds.preserve_global_state(1):
        module = Module()
        loader: Any = torch.utils.data.DataLoader(draw_data(), batch_size=16)  # type: ignore[arg-type]
        trainer = lightning.Trainer(
            max_epochs=3,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            callbacks=list(callbacks),
        )
        trainer.fit(module, loader, loader)
    return [one.detach().clone() for one in module.parameters()]


def test_a_training_of_lightning_is_the_same_and_is_watched(tmp_path: Path) -> None:
    path, before = tmp_path / "signals.jsonl", count_hooks()
    callback = fanin.watch_lightning(every=3, path=path)
    watched, plain = fit_lightning([callback]), fit_lightning([])
    assert all(map(torch.equal, watched, plain))
    log = read_log(path)
    assert [(one.step, one.epoch) for one in log.readings] == [
        (1, 0),
        (4, 0),
        (5, 1),
        (7, 1),
        (9, 2),
        (10, 2),
    ]
    assert [layer.name for layer in log.readings[0].layers] == ["net.0", "net.0:relu", "net.2", ALL]
    assert all("gradient_rms" in layer.values for layer in log.readings[0].layers[::2])
    assert [end.step for end in log.epochs] == [4, 8, 12]
    assert set(log.epochs[0].metrics) == {"loss", "val_loss"}
    assert log.ending == "finished"
    assert log.model == "Module"
    assert count_hooks() == before


def test_a_training_of_lightning_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path, before = tmp_path / "signals.jsonl", count_hooks()
    with pytest.raises(ValueError, match="planted"):
        fit_lightning([fanin.watch_lightning(every=1, path=path)], fails=True)
    assert count_hooks() == before
    assert read_log(path).ending == "ValueError: planted"


def fit_transformers(
    callbacks: Sequence[Any], folder: Path, *, fails: bool = False
) -> list[Tensor]:
    pytest.importorskip("accelerate", reason="make test installs accelerate")
    transformers = pytest.importorskip("transformers")
    with seeds.preserve_global_state(1):
        config = transformers.GPT2Config(
            vocab_size=50,
            n_positions=16,
            n_embd=16,
            n_layer=2,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = transformers.GPT2LMHeadModel(config)
        tokens = torch.randint(0, 50, (32, 16), generator=torch.Generator().manual_seed(0))
        data: list[Any] = [{"input_ids": row, "labels": row} for row in tokens]
        if fails:
            data[20] = {"input_ids": tokens[0], "labels": tokens[0][:3]}
        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=2,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=data, callbacks=list(callbacks)
        )
        trainer.train()
    return [one.detach().clone() for one in model.parameters()]


def test_a_training_of_transformers_is_the_same_and_is_watched(tmp_path: Path) -> None:
    path, before = tmp_path / "signals.jsonl", count_hooks()
    callback = fanin.watch_transformers(every=10, path=path)
    watched, plain = fit_transformers([callback], tmp_path), fit_transformers([], tmp_path)
    assert all(map(torch.equal, watched, plain))
    log = read_log(path)
    assert [(one.step, one.epoch) for one in log.readings] == [(1, 0), (3, 1)]
    names = [layer.name for layer in log.readings[0].layers]
    assert names[:3] == ["transformer.wte", "transformer.wpe", "transformer.h.0.attn.c_attn"]
    assert names[-1] == ALL
    assert [end.step for end in log.epochs] == [2, 4]
    assert "loss" in log.epochs[0].metrics
    assert log.ending == "finished"
    assert count_hooks() == before


def test_a_training_of_transformers_that_fails_can_be_stopped(tmp_path: Path) -> None:
    path, before = tmp_path / "signals.jsonl", count_hooks()
    callback = fanin.watch_transformers(path=path)
    with pytest.raises(Exception, match=r"."):
        fit_transformers([callback], tmp_path, fails=True)
    callback.stop()
    assert count_hooks() == before


@pytest.mark.parametrize("name", ["watch_lightning", "watch_transformers"])
def test_a_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr("fanin.watching.trainer_callbacks.import_module", refuse)
    with pytest.raises(UsageError, match="which is not installed: pip install"):
        getattr(fanin, name)()
