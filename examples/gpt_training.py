"""A tiny GPT-2 made from a configuration, trained by the Trainer of transformers.

In a study:

    trainer = "examples/gpt_training.py:train(layers=2)"
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

TOKENS = 17


class Progressions(Dataset):
    """Arithmetic progressions modulo 17, whose next term a model can learn to predict."""

    def __init__(self, n: int, seed: int, steps: int = 16) -> None:
        generator = torch.Generator().manual_seed(seed)
        start, difference = torch.randint(TOKENS, (2, n, 1), generator=generator)
        self.tokens = (start + difference * torch.arange(steps)) % TOKENS

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


class Reporter(TrainerCallback):
    """Tells the study the loss of each evaluation."""

    def __init__(self, report: Callable[[Mapping[str, float]], None]) -> None:
        self.report = report

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **rest: Any
    ) -> None:
        self.report({"val_loss": metrics["eval_loss"]})


def train(
    initialize: Any,
    *,
    seed: int,
    learning_rate: float = 0.003,
    batch_size: int = 32,
    epochs: int = 5,
    report: Callable[[Mapping[str, float]], None],
    layers: int = 2,
    width: int = 32,
    samples: int = 1000,
) -> dict[str, float]:
    """Report the loss after each epoch, and return that of the test set.

    GPT-2 starts as transformers starts it, the same for all cells of a replicate. Then the study's
    initializer draws the embeddings, and nothing else.
    """
    set_seed(seed)
    config = GPT2Config(vocab_size=TOKENS, n_positions=16, n_embd=width, n_layer=layers, n_head=2)
    model = GPT2LMHeadModel(config)
    initialize(model, include=nn.Embedding, embeddings=initialize.initializer)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=250,
            num_train_epochs=epochs,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=Progressions(samples, seed=0),
            eval_dataset=Progressions(250, seed=1),
            callbacks=[Reporter(report)],
        )
        trainer.train()
        trainer.pop_callback(Reporter)
        test_loss = trainer.evaluate(Progressions(250, seed=2))["eval_loss"]
    return {"test_loss": test_loss, "test_perplexity": math.exp(min(test_loss, 700))}
