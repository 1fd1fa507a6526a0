"""Starts for what is added to a trained model: a head's bias, new tokens, adapters, width, depth.

- `logit_bias`: the bias of a head from the shares of its labels;
- `resize_embedding`: new tokens that are drawn like the old ones;
- `initialize_lora`: the start of LoRA's pairs;
- `widen` and `deepen`: a larger model that computes the same function.
"""

from fanin.additions.deepening import deepen
from fanin.additions.growth import GrownModel, LayerGrowth
from fanin.additions.label_bias import logit_bias
from fanin.additions.lora_pairs import LoraPair
from fanin.additions.lora_start import LoraRecord, PairChange, initialize_lora
from fanin.additions.vocabulary import TableChange, VocabularyChange, resize_embedding
from fanin.additions.widening import widen

__all__ = [
    "GrownModel",
    "LayerGrowth",
    "LoraPair",
    "LoraRecord",
    "PairChange",
    "TableChange",
    "VocabularyChange",
    "deepen",
    "initialize_lora",
    "logit_bias",
    "resize_embedding",
    "widen",
]
