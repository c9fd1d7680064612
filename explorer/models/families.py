"""From a Hugging Face model to a `Decoder`: one reader a family, chosen by architecture name.

`read_decoder` gives the reason in words where a configuration is not covered; the bridge then serves the model.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from explorer.models.decoder import Activation, Block, Decoder, Linear, Norm, NormKind, Rotary

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
ROPE_TYPES = ("default", "linear", "llama3", "yarn")  # those whose frequencies do not change with the prompt's length


class UnsupportedError(Exception):
    """The engine does not cover this configuration; the message is the reason."""


def read_decoder(model: Any) -> Decoder:
    """Views of the weights of a Hugging Face causal language model; `UnsupportedError` with the reason if not covered."""
    name = type(model).__name__
    if name not in FAMILIES:
        raise UnsupportedError(f"the engine has no forward pass for {name} (it covers {', '.join(FAMILIES)})")
    return FAMILIES[name](model)


def activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"activation {name!r} is not covered")
    return ACTIVATIONS[name]


def detached(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()


def linear(module: Any) -> Linear:
    return Linear(module.weight.detach(), detached(module.bias))


def norm(module: Any, kind: NormKind, eps: float) -> Norm:
    return Norm(kind, eps, module.weight.detach(), detached(getattr(module, "bias", None)))


def conv1d(module: Any, start: int = 0, stop: int | None = None) -> Linear:
    """GPT-2 stores `W` as [in, out]; the transpose is a view.  `start:stop` cuts a span of outputs."""
    return Linear(module.weight.detach().t()[start:stop], module.bias.detach()[start:stop])


def read_gpt2(model: Any) -> Decoder:
    """GPT-2 (Radford et al. 2019): LayerNorm before each part, learned positions, one matrix for q, k and v."""
    config, body = model.config, model.transformer
    for option in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if getattr(config, option, False):
            raise UnsupportedError(f"option {option} is not covered")
    if not config.scale_attn_weights:
        raise UnsupportedError("unscaled attention is not covered")
    d_model, eps = config.n_embd, config.layer_norm_epsilon
    blocks = tuple(
        Block(
            norm_attention=norm(block.ln_1, "layer", eps),
            q=conv1d(block.attn.c_attn, 0, d_model),
            k=conv1d(block.attn.c_attn, d_model, 2 * d_model),
            v=conv1d(block.attn.c_attn, 2 * d_model, 3 * d_model),
            o=conv1d(block.attn.c_proj),
            norm_mlp=norm(block.ln_2, "layer", eps),
            up=conv1d(block.mlp.c_fc),
            gate=None,
            down=conv1d(block.mlp.c_proj),
        )
        for block in body.h
    )
    return Decoder(
        n_heads=config.n_head,
        n_kv_heads=config.n_head,
        d_head=d_model // config.n_head,
        activation=activation(config.activation_function),
        embed=body.wte.weight.detach(),
        embed_positions=body.wpe.weight.detach(),
        rotary=None,
        blocks=blocks,
        norm_final=norm(body.ln_f, "layer", eps),
        unembed=linear(model.lm_head),
    )


def read_llama(model: Any) -> Decoder:
    """Llama (Touvron et al. 2023) and its kin: RMSNorm, rotary, grouped-query attention, gated MLP."""
    config, body = model.config, model.model
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPE_TYPES:
        raise UnsupportedError(f"rotary type {rope!r} is not covered")
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) and window and window < config.max_position_embeddings:
        raise UnsupportedError(f"sliding-window attention (window {window}) is not covered")
    eps = config.rms_norm_eps
    blocks = tuple(
        Block(
            norm_attention=norm(block.input_layernorm, "rms", eps),
            q=linear(block.self_attn.q_proj),
            k=linear(block.self_attn.k_proj),
            v=linear(block.self_attn.v_proj),
            o=linear(block.self_attn.o_proj),
            norm_mlp=norm(block.post_attention_layernorm, "rms", eps),
            up=linear(block.mlp.up_proj),
            gate=linear(block.mlp.gate_proj),
            down=linear(block.mlp.down_proj),
        )
        for block in body.layers
    )
    return Decoder(
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        d_head=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        activation=activation(config.hidden_act),
        embed=body.embed_tokens.weight.detach(),
        embed_positions=None,
        rotary=Rotary(body.rotary_emb.inv_freq.detach(), float(body.rotary_emb.attention_scaling)),
        blocks=blocks,
        norm_final=norm(body.norm, "rms", eps),
        unembed=linear(model.lm_head),
    )


FAMILIES: dict[str, Callable[[Any], Decoder]] = {
    "GPT2LMHeadModel": read_gpt2,
    "LlamaForCausalLM": read_llama,
    "MistralForCausalLM": read_llama,
    "Qwen2ForCausalLM": read_llama,
}
