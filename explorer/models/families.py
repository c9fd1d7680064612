"""From a Hugging Face model to a `Decoder`: one reader a family, chosen by architecture name.

`read_decoder` gives the reason in words where a configuration is not covered; the bridge then serves the model.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from explorer.models.decoder import Activation, Block, Decoder, Linear, Mlp, Norm, NormKind, Rotary

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
            mlp=Mlp(up=conv1d(block.mlp.c_fc), down=conv1d(block.mlp.c_proj)),
        )
        for block in body.h
    )
    return Decoder(
        n_heads=config.n_head,
        n_kv_heads=config.n_head,
        d_head=d_model // config.n_head,
        activation=activation(config.activation_function),
        attention_scale=(d_model // config.n_head) ** -0.5,
        embed=body.wte.weight.detach(),
        embed_positions=body.wpe.weight.detach(),
        rotary=None,
        blocks=blocks,
        norm_final=norm(body.ln_f, "layer", eps),
        unembed=linear(model.lm_head),
    )


def read_neox(model: Any) -> Decoder:
    """GPT-NeoX (Black et al. 2022; Pythia): parallel blocks, partial rotary, q, k and v fused head by head."""
    config, body = model.config, model.gpt_neox
    n_heads, eps = config.num_attention_heads, config.layer_norm_eps
    d_head = config.hidden_size // n_heads
    blocks = []
    for block in body.layers:
        q, k, v = per_head(block.attention.query_key_value, n_heads, d_head)
        blocks.append(
            Block(
                norm_attention=norm(block.input_layernorm, "layer", eps),
                q=q,
                k=k,
                v=v,
                o=linear(block.attention.dense),
                norm_mlp=norm(block.post_attention_layernorm, "layer", eps),
                mlp=Mlp(up=linear(block.mlp.dense_h_to_4h), down=linear(block.mlp.dense_4h_to_h)),
            )
        )
    return Decoder(
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_head=d_head,
        activation=activation(config.hidden_act),
        attention_scale=d_head**-0.5,
        embed=body.embed_in.weight.detach(),
        embed_positions=None,
        rotary=rotary(config, body.rotary_emb),
        blocks=tuple(blocks),
        norm_final=norm(body.final_layer_norm, "layer", eps),
        unembed=linear(model.get_output_embeddings()),
        parallel=config.use_parallel_residual,
    )


def per_head(module: Any, n_heads: int, d_head: int) -> list[Linear]:
    """Views of q, k and v in a matrix that holds them head by head: [head, (q, k, v), d_head, in]."""
    weight = module.weight.detach().view(n_heads, 3, d_head, -1)
    bias = None if module.bias is None else module.bias.detach().view(n_heads, 3, d_head)
    return [Linear(weight[:, part], None if bias is None else bias[:, part]) for part in range(3)]


def rotary(config: Any, module: Any) -> Rotary:
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPE_TYPES:
        raise UnsupportedError(f"rotary type {rope!r} is not covered")
    return Rotary(module.inv_freq.detach(), float(module.attention_scaling))


def window_of(config: Any, block: Any) -> int | None:
    """A layer's sliding window, where its configuration switches it on and the context is longer."""
    window = getattr(block.self_attn, "sliding_window", getattr(config, "sliding_window", None))
    return window if window and window < config.max_position_embeddings else None


def read_llama(model: Any) -> Decoder:
    """Llama (Touvron et al. 2023) and its kin: RMSNorm, rotary, grouped-query attention, gated MLP; Qwen3 norms q and k."""
    config, body = model.config, model.model
    eps = config.rms_norm_eps
    d_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    blocks = tuple(
        Block(
            norm_attention=norm(block.input_layernorm, "rms", eps),
            q=linear(block.self_attn.q_proj),
            k=linear(block.self_attn.k_proj),
            v=linear(block.self_attn.v_proj),
            o=linear(block.self_attn.o_proj),
            norm_mlp=norm(block.post_attention_layernorm, "rms", eps),
            mlp=Mlp(up=linear(block.mlp.up_proj), gate=linear(block.mlp.gate_proj), down=linear(block.mlp.down_proj)),
            norm_q=optional_norm(block.self_attn, "q_norm", eps),
            norm_k=optional_norm(block.self_attn, "k_norm", eps),
            window=window_of(config, block),
        )
        for block in body.layers
    )
    return Decoder(
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        d_head=d_head,
        activation=activation(config.hidden_act),
        attention_scale=d_head**-0.5,
        embed=body.embed_tokens.weight.detach(),
        embed_positions=None,
        rotary=rotary(config, body.rotary_emb),
        blocks=blocks,
        norm_final=norm(body.norm, "rms", eps),
        unembed=linear(model.lm_head),
    )


def optional_norm(module: Any, name: str, eps: float) -> Norm | None:
    found = getattr(module, name, None)
    return None if found is None else norm(found, "rms", eps)


def read_gemma2(model: Any) -> Decoder:
    """Gemma-2 (Riviere et al. 2024): norms before and after each part, soft caps, scaled embeddings, every other layer local."""
    config, body = model.config, model.model
    eps = config.rms_norm_eps
    blocks = tuple(
        Block(
            norm_attention=unit_norm(block.input_layernorm, eps),
            q=linear(block.self_attn.q_proj),
            k=linear(block.self_attn.k_proj),
            v=linear(block.self_attn.v_proj),
            o=linear(block.self_attn.o_proj),
            norm_mlp=unit_norm(block.pre_feedforward_layernorm, eps),
            mlp=Mlp(up=linear(block.mlp.up_proj), gate=linear(block.mlp.gate_proj), down=linear(block.mlp.down_proj)),
            norm_attn_out=unit_norm(block.post_attention_layernorm, eps),
            norm_mlp_out=unit_norm(block.post_feedforward_layernorm, eps),
            window=window_of(config, block),
        )
        for block in body.layers
    )
    return Decoder(
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        d_head=config.head_dim,
        activation=activation(config.hidden_activation),
        attention_scale=config.query_pre_attn_scalar**-0.5,
        embed=body.embed_tokens.weight.detach(),
        embed_positions=None,
        rotary=rotary(config, body.rotary_emb),
        blocks=blocks,
        norm_final=unit_norm(body.norm, eps),
        unembed=linear(model.lm_head),
        embed_scale=config.hidden_size**0.5,
        attention_softcap=config.attn_logit_softcapping,
        logit_softcap=config.final_logit_softcapping,
    )


def unit_norm(module: Any, eps: float) -> Norm:
    """Gemma keeps a norm's weight as its distance from 1; the sum is a vector of its own, a few kilobytes a layer."""
    return Norm("rms", eps, 1 + module.weight.detach())


def read_native(model: Any) -> Decoder:
    """TransformerLens' own small models: learned positions; LayerNorm or no norm at all; with or without MLPs."""
    config = model.cfg
    if model.pos is None or not config.attention_dir == "causal":
        raise UnsupportedError("a native model without learned positions or causal attention is not covered")
    return Decoder(
        n_heads=config.n_heads,
        n_kv_heads=config.n_key_value_heads or config.n_heads,
        d_head=config.d_head,
        activation=activation(config.act_fn or "gelu"),
        attention_scale=1 / model.layers[0].attn.scale,
        embed=model.tok_embed.weight.detach(),
        embed_positions=model.pos.weight.detach(),
        rotary=None,
        blocks=tuple(
            Block(
                norm_attention=native_norm(block.ln1),
                q=linear(block.attn.q),
                k=linear(block.attn.k),
                v=linear(block.attn.v),
                o=linear(block.attn.o),
                norm_mlp=None if config.attn_only else native_norm(block.ln2),
                mlp=None if config.attn_only else native_mlp(block.mlp),
            )
            for block in model.layers
        ),
        norm_final=native_norm(model.ln_out),
        unembed=linear(model.head),
        attention_softcap=config.attn_scores_soft_cap if config.attn_scores_soft_cap > 0 else None,
        logit_softcap=config.output_logits_soft_cap if config.output_logits_soft_cap > 0 else None,
    )


def native_norm(module: Any) -> Norm | None:
    match type(module).__name__:
        case "Identity":
            return None
        case "LayerNorm":
            return norm(module, "layer", module.eps)
        case name:
            raise UnsupportedError(f"norm {name} of a native model is not covered")


def native_mlp(module: Any) -> Mlp:
    if hasattr(module, "gate"):
        return Mlp(up=linear(getattr(module, "in")), gate=linear(module.gate), down=linear(module.out))
    return Mlp(up=linear(module.fc_in), down=linear(module.fc_out))


FAMILIES: dict[str, Callable[[Any], Decoder]] = {
    "GPT2LMHeadModel": read_gpt2,
    "GPTNeoXForCausalLM": read_neox,
    "LlamaForCausalLM": read_llama,
    "MistralForCausalLM": read_llama,
    "Qwen2ForCausalLM": read_llama,
    "Qwen3ForCausalLM": read_llama,
    "Gemma2ForCausalLM": read_gemma2,
    "NativeModel": read_native,
}
