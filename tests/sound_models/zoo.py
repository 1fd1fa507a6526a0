"""Models of transformers and of timm, from small configurations; both are imported when used."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import zoo_cases
from sound_models.entry import Case, add
from torch import nn


class NotInstalled(Exception):
    """The package, or the type of model, is not there."""


_FAMILIES = """
gpt2 bert llama mixtral t5 vit convnext mamba bloom gpt_neox albert bart beit biogpt convnextv2
deberta-v2 deit dinov2 distilbert electra fnet gemma gptj hubert mistral mobilenet_v2 mpnet opt
phi poolformer qwen2 qwen2_moe qwen3 regnet resnet roberta roformer rwkv segformer stablelm
switch_transformers wav2vec2 whisper xglm olmo2 granite mobilevit
"""
FAMILIES = tuple(_FAMILIES.split())
"""Types of transformers without a head: what comes back is given a random gradient."""

HEADS = {
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForMaskedLM",
    "llama": "LlamaForCausalLM",
    "t5": "T5ForConditionalGeneration",
    "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
    "opt": "OPTForCausalLM",
    "distilbert": "DistilBertForMaskedLM",
    "mamba": "MambaForCausalLM",
}
"""Models with a language head, which give their own loss."""


def build_family(kind: str) -> Case:
    """The type without a head."""
    model = _build_small(kind)
    batch = zoo_cases.make_batch(model)
    if batch is None:
        raise NotInstalled(f"no batch is known for {kind}")
    return Case(model, batch)


def build_head(kind: str) -> Case:
    """The type with a language head: labels are in the batch."""
    import transformers

    config = _build_small(kind).config
    config.decoder_start_token_id = 0  # which a decoder that shifts labels begins with
    model: nn.Module = getattr(transformers, HEADS[kind])(config)
    batch: Any = {"input_ids": torch.randint(3, 60, (4, 16))}
    batch["labels"] = batch["input_ids"].clone()
    return Case(model, batch)


def _build_small(kind: str) -> Any:
    try:
        model = zoo_cases.build(kind)
    except ImportError as error:
        raise NotInstalled(str(error)) from error
    if model is None:
        raise NotInstalled(f"this release of transformers has no small {kind}")
    return model


SIDES = (128, 160, 192, 224, 256, 299)
"""Of images, from the smallest: a pyramid of five halvings leaves 4 × 4 of the first."""
LARGE, SHALLOW = 40_000_000, 2
"""A model of more parameters is made of so many blocks, if it has an option for that."""


def build_timm(name: str) -> Case:
    """A family of timm, with ten classes, and the smallest images that it takes."""
    timm = zoo_cases.import_beside_torchvision("timm")
    if timm is None or not timm.list_models(name):
        raise NotInstalled(f"timm's {name}")
    for side in SIDES:
        images = torch.randn(4, 3, side, side)
        for options in ({"img_size": side}, {}):
            model = _try_timm(timm, name, options, images)
            if model is not None:
                return Case(model, images, torch.arange(4))
    raise NotInstalled(f"{name} takes none of these images")


def _try_timm(
    timm: Any, name: str, options: dict[str, int], images: torch.Tensor
) -> nn.Module | None:
    """The model, if it can be made so and takes the images."""
    try:
        model: nn.Module = timm.create_model(name, num_classes=10, **options)
        if sum(one.numel() for one in model.parameters()) > LARGE:
            model = _make_shallow(timm, name, options) or model
        with torch.no_grad():
            made = model.eval()(images[:2])
    except Exception:  # what a model says of sizes that do not fit it, or options that it has not
        return None
    return model.train() if isinstance(made, torch.Tensor) and made.shape == (2, 10) else None


def _make_shallow(timm: Any, name: str, options: dict[str, int]) -> nn.Module | None:
    try:
        made: nn.Module = timm.create_model(name, num_classes=10, depth=SHALLOW, **options)
    except TypeError:
        return None
    return made


for _kind in FAMILIES:
    add(f"transformers_{_kind}", partial(build_family, _kind), slow=True)
for _kind in HEADS:
    add(f"transformers_{_kind}_head", partial(build_head, _kind), slow=True)
for _name in (*zoo_cases.TIMM, *zoo_cases.MORE_TIMM):
    add(f"timm_{_name}", partial(build_timm, _name), slow=True)
