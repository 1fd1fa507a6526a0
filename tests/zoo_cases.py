"""Real architectures from configurations, made small: models of transformers, and of timm."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fanin import seeds

_SMALL: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "emb_dim", "embedding_size"), 32
    ),
    **dict.fromkeys(
        (
            "intermediate_size",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
            "d_ff",
            "hidden_dim",
            "ffn_dim",
            "d_inner",
        ),
        48,
    ),
    **dict.fromkeys(
        (
            "num_hidden_layers",
            "n_layer",
            "num_layers",
            "encoder_layers",
            "decoder_layers",
            "num_decoder_layers",
            "n_layers",
            "num_key_value_heads",
            "num_experts_per_tok",
            "expand",
        ),
        2,
    ),
    **dict.fromkeys(
        (
            "num_attention_heads",
            "n_head",
            "num_heads",
            "encoder_attention_heads",
            "decoder_attention_heads",
            "n_heads",
            "num_experts",
            "num_local_experts",
            "n_routed_experts",
            "rotary_dim",
        ),
        4,
    ),
    **dict.fromkeys(("head_dim", "d_kv", "patch_size", "state_size"), 8),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "n_ctx"), 64),
    **dict.fromkeys(("image_size", "max_source_positions", "max_target_positions"), 32),
    **dict.fromkeys(("num_mel_bins", "projection_dim"), 16),
    **dict.fromkeys(("n_group", "topk_group", "bos_token_id"), 1),
    "moe_intermediate_size": 24,
    "pad_token_id": 0,
    "eos_token_id": 2,
}

TEN = ("gpt2", "bert", "llama", "mixtral", "t5", "vit", "convnext", "mamba", "bloom", "gpt_neox")
"""Types that `make test` builds."""

_OTHER_TYPES = """
albert bart beit bigbird_pegasus biogpt blenderbot camembert codegen convbert convnextv2
data2vec-text deberta deberta-v2 deit dinov2 distilbert electra ernie flaubert fnet gemma
gemma2 git glm gpt_bigcode gpt_oss gptj granite granitemoe hubert ibert jamba jetmoe led levit
lxmert marian mbart megatron-bert mistral mobilebert mobilenet_v2 mobilevit mpnet mpt mt5
nystromformer olmo olmo2 olmoe opt pegasus persimmon phi phimoe plbart poolformer pvt qwen2
qwen2_moe qwen3 qwen3_moe recurrent_gemma regnet rembert resnet roberta roc_bert roformer rwkv
segformer sew speech_to_text squeezebert stablelm starcoder2 swin switch_transformers
tapas umt5 unispeech vit_mae vit_msn vivit wav2vec2 wavlm whisper xglm xlm xlm-roberta xmod
"""
TYPES = (*TEN, *_OTHER_TYPES.split())
"""Types of transformers; those that the installed release lacks are left out."""

_TIMM_NAMES = """
beit_base_patch16_224 botnet26t_256 cait_xxs24_224 coat_tiny coatnet_0_rw_224 convit_tiny
convmixer_768_32 convnext_atto convnextv2_atto crossvit_tiny_240 cspresnet50 darknet53
davit_tiny deit_tiny_patch16_224 densenet121 dla34 dpn48b edgenext_xx_small efficientformer_l1
efficientnet_b0 eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gernet_s
ghostnet_100 gmlp_ti16_224 hardcorenas_a hgnet_tiny hrnet_w18_small inception_v3 levit_128s
maxvit_tiny_rw_224 mixer_s32_224 mobilenetv3_small_100 mobilevit_xxs nfnet_l0 nest_tiny
pit_ti_224 poolformer_s12 pvt_v2_b0 regnetx_002 repvgg_a0 res2net50_26w_4s resmlp_12_224
resnest14d resnet18 resnetv2_50 rexnet_100 sequencer2d_s skresnet18
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 tinynet_e tnt_s_patch16_224
twins_svt_small vgg11 visformer_tiny vit_tiny_patch16_224 volo_d1_224 xception41
xcit_nano_12_p16_224
"""
TIMM = tuple(_TIMM_NAMES.split())
"""Families of timm, one model each."""

_MORE_TIMM_NAMES = """
cpubone_nano csatv2 cspnext_tiny deepseek_vit_412m efficientformerv2_s0 efficientvim_m1
efficientvit_b0 efficientvit_m0 fasternet_t0 gemma4_vit_167m hiera_tiny_224 sam2_hiera_tiny
iformer_t inception_next_atto inception_resnet_v2 inception_v4 lcnetv2_small lowformer_b0
mambaout_femto mobilenetv5_300m mvitv2_tiny naflexvit_base_patch16_gap nasnetalarge nextvit_small
pnasnet5large qwen3_vit_88m rdnet_tiny repghostnet_050 repvit_m0_9 selecsls42 legacy_seresnet18
shvit_s1 starnet_s050 swiftformer_xs swinv2_cr_tiny_224 tiny_vit_5m_224 tresnet_m
vit_small_r26_s32_224 vit_relpos_small_patch16_224 samvit_base_patch16_224 vitamin_small_224
ese_vovnet19b_slim legacy_xception
"""
MORE_TIMM = tuple(_MORE_TIMM_NAMES.split())
"""Those of its other modules: together at least one model of each."""

MOST_NUMBERS = 30_000_000
"""What does not become this small is left out."""


def build(kind: str) -> nn.Module | None:
    """A small model of transformers of this type; None if this release has none."""
    if importlib.util.find_spec("torchvision") is not None:
        _VISION.define_once()  # transformers imports it too
    import transformers

    if kind not in transformers.CONFIG_MAPPING:
        return None
    config_class = transformers.CONFIG_MAPPING[kind]
    if config_class not in transformers.MODEL_MAPPING:
        return None
    config = config_class(**_choose_small(config_class()))
    model_class: Any = transformers.MODEL_MAPPING[config_class]
    make: Callable[[Any], nn.Module] = (
        model_class[0] if isinstance(model_class, tuple) else model_class
    )
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in make(config).parameters())
    if size > MOST_NUMBERS:
        return None
    with seeds.preserve_torch_state(0):
        return make(config).eval()


def _choose_small(default: Any) -> dict[str, Any]:
    """The small values for the options that the type has, if they are of the same kind there, and
    lists of stages that fit them.
    """
    chosen = {
        key: value for key, value in _SMALL.items() if type(getattr(default, key, None)) is int
    }
    stages = chosen.get("num_hidden_layers", 0) if hasattr(default, "num_stages") else 0
    for key in ("hidden_sizes", "depths") if stages else ():
        listed = getattr(default, key, None)
        if isinstance(listed, (list, tuple)) and len(listed) > stages:
            chosen[key] = listed[:stages]
    heads = getattr(default, "num_heads", None)
    if isinstance(heads, (list, tuple)) and "embed_dim" in chosen:
        chosen["num_heads"] = [2] * len(heads)
    return chosen


def make_batch(model: nn.Module) -> dict[str, Tensor] | None:
    """Keyword arguments that the model may take; None if its main input is of another kind."""
    config: Any = model.config
    accepted = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 60, (2, 16), generator=generator)
    name = getattr(model, "main_input_name", "input_ids")
    if name == "pixel_values":
        size = getattr(config, "image_size", 64)
        sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        channels = getattr(config, "num_channels", 3)
        return {name: torch.randn(2, channels, *sides[:2], generator=generator)}
    if name == "input_ids":
        batch = {name: tokens}
        if "decoder_input_ids" in accepted:
            batch["decoder_input_ids"] = tokens[:, :8]
        return batch
    if name == "input_features":
        frames = 2 * getattr(config, "max_source_positions", 32)
        return {
            name: torch.randn(2, getattr(config, "num_mel_bins", 16), frames, generator=generator),
            "decoder_input_ids": tokens[:, :8],
        }
    if name == "input_values":
        # 24 frames: in train mode stretches of ten are masked.
        return {name: torch.randn(2, 8000, generator=generator)}
    return None


def import_beside_torchvision(name: str) -> Any:
    """A package that imports torchvision where that is installed, or None if it is not there.

    torchvision registers operators that a torch without CUDA does not define; their signatures are
    enough for its import.
    """
    _VISION.define_once()
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class _VisionOperators:
    """The signatures of torchvision's operators, defined when they are first needed."""

    def __init__(self) -> None:
        self._library: torch.library.Library | None = None

    def define_once(self) -> None:
        """Define them unless that was done."""
        if self._library is None:
            self._library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                self._library.define(
                    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


_VISION = _VisionOperators()
