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


class Chains(Dataset):
    """Sequences in which each token is one of two that may follow the token before, so that a model
    which has learnt them has a loss of at most ln 2 = 0.69.
    """

    def __init__(self, n: int, seed: int, steps: int = 16) -> None:
        rule = torch.Generator().manual_seed(0)
        followers = torch.stack([torch.randperm(TOKENS, generator=rule) for _ in range(2)], dim=1)
        chance = torch.Generator().manual_seed(seed)
        steps_taken = [torch.randint(TOKENS, (n,), generator=chance)]
        while len(steps_taken) < steps:
            choice = torch.randint(2, (n,), generator=chance)
            steps_taken.append(followers[steps_taken[-1], choice])
        self.tokens = torch.stack(steps_taken, dim=1)

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
    config = GPT2Config(
        vocab_size=TOKENS,
        n_positions=16,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)
    initialize(model, only=nn.Embedding, embeddings=initialize.initializer)
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
            train_dataset=Chains(samples, seed=1),
            eval_dataset=Chains(250, seed=2),
            callbacks=[Reporter(report)],
        )
        trainer.train()
        trainer.pop_callback(Reporter)
        test_loss = trainer.evaluate(Chains(250, seed=3))["eval_loss"]
    return {"test_loss": test_loss, "test_perplexity": math.exp(min(test_loss, 700))}
