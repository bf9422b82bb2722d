"""Makes the tiny-* reference checkpoints: variants of families that the larger reference files do not cover.

    python tests/golden/make_tiny_models.py tests/golden/models [NAME...]

Needs torch 2.11 and transformers 5.23. Random weights, every parameter moved away from its initial value; logits, the
first block's output and the attention of eager mode, in float32 on the CPU.
"""
import json
import os
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

BASE = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None,
            tie_word_embeddings=False)
ROPE = dict(rope_theta=10000.0)
LONG = dict(rope_type="longrope", short_factor=[1.0, 1.1, 1.3, 1.4], long_factor=[1.0, 2.0, 5.0, 9.0],
            original_max_position_embeddings=16, **ROPE)

# name: (model_type, changes to BASE)
MODELS = {
    "tiny-llama-linear": ("llama", dict(rope_parameters=dict(rope_type="linear", factor=4.0, **ROPE))),
    "tiny-llama-dynamic": ("llama", dict(max_position_embeddings=16, rope_parameters=dict(rope_type="dynamic", factor=4.0, **ROPE))),
    "tiny-llama-yarn": ("llama", dict(rope_parameters=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, **ROPE))),
    "tiny-llama-yarn-mscale": ("llama", dict(head_dim=16, rope_parameters=dict(
        rope_type="yarn", factor=8.0, original_max_position_embeddings=8, beta_fast=16.0, beta_slow=2.0, mscale=1.0,
        mscale_all_dim=0.7, truncate=False, **ROPE), attention_bias=True, mlp_bias=True)),
    "tiny-phi3-longrope": ("phi3", dict(rope_parameters=LONG, original_max_position_embeddings=16, sliding_window=20)),
    "tiny-stablelm-parallel": ("stablelm", dict(use_parallel_residual=True, qk_layernorm=True, use_qkv_bias=True)),
    "tiny-phi-qknorm": ("phi", dict(qk_layernorm=True)),
    "tiny-neox-sequential": ("gpt_neox", dict(use_parallel_residual=False, rotary_pct=1.0)),
    "tiny-olmo-clip": ("olmo", dict(clip_qkv=0.7)),
    "tiny-opt-postnorm": ("opt", dict(do_layer_norm_before=False, ffn_dim=48, word_embed_proj_dim=32, tie_word_embeddings=True)),
    "tiny-bigcode-mha": ("gpt_bigcode", dict(multi_query=False, n_embd=32, n_head=4, n_layer=2, n_inner=48, n_positions=64,
                                             tie_word_embeddings=True)),
    "tiny-qwen2-windows": ("qwen2", dict(use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "tiny-opt": ("opt", dict(ffn_dim=48, word_embed_proj_dim=32, tie_word_embeddings=True)),
    "tiny-qwen3": ("qwen3", dict(head_dim=16)),
    "tiny-mistral": ("mistral", dict(sliding_window=7)),
    "tiny-gemma": ("gemma", dict(head_dim=16, tie_word_embeddings=True)),
    "tiny-gemma2": ("gemma2", dict(head_dim=16, tie_word_embeddings=True, sliding_window=7, query_pre_attn_scalar=24,
                                   attn_logit_softcapping=5.0, final_logit_softcapping=8.0)),
    "tiny-gemma3": ("gemma3_text", dict(head_dim=16, tie_word_embeddings=True, sliding_window=7, query_pre_attn_scalar=24,
                                        layer_types=["sliding_attention", "full_attention"])),
    "tiny-bloom": ("bloom", dict(n_head=6, hidden_size=36, n_layer=2, tie_word_embeddings=True)),
    "tiny-gptj": ("gptj", dict(n_embd=32, n_head=2, n_layer=2, n_inner=48, n_positions=64, rotary_dim=8)),
    "tiny-gpt_neo": ("gpt_neo", dict(num_layers=2, num_heads=4, window_size=7, attention_types=[[["global", "local"], 1]],
                                     tie_word_embeddings=True)),
    "tiny-olmo2": ("olmo2", {}),
    "tiny-llama3scaled": ("llama", dict(tie_word_embeddings=True, rope_parameters=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16,
        rope_theta=500000.0))),
    "tiny-mixtral": ("mixtral", dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None)),
    "tiny-qwen3_moe": ("qwen3_moe", dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24, head_dim=8,
                                         norm_topk_prob=True, num_hidden_layers=3, mlp_only_layers=[1], decoder_sparse_step=1)),
    "tiny-qwen3_moe-raw": ("qwen3_moe", dict(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24, head_dim=8,
                                             norm_topk_prob=False, decoder_sparse_step=2)),
    "tiny-olmoe": ("olmoe", dict(num_experts=5, num_experts_per_tok=2, norm_topk_prob=False, clip_qkv=None)),
    "tiny-jamba-moe": ("jamba", dict(num_experts=4, num_experts_per_tok=2, num_hidden_layers=3, attn_layer_period=3,
                                     attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=0, mamba_d_state=4,
                                     mamba_dt_rank=3, use_mamba_kernels=False)),
    "tiny-qwen3_next-moe": ("qwen3_next", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24,
                                               shared_expert_intermediate_size=20, head_dim=8, linear_num_key_heads=2,
                                               linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12,
                                               layer_types=["linear_attention", "full_attention"], norm_topk_prob=True,
                                               decoder_sparse_step=1, mlp_only_layers=[])),
    "tiny-kimi_linear-moe": ("kimi_linear", dict(
        num_experts=4, num_experts_per_token=2, num_shared_experts=1, moe_intermediate_size=24, moe_renormalize=True,
        routed_scaling_factor=1.7, num_expert_group=2, topk_group=1, kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4,
        v_head_dim=8, num_key_value_heads=4, linear_num_heads=4, linear_head_dim=8, head_dim=8,
        layer_types=["linear_attention", "full_attention"], mlp_layer_types=["dense", "sparse"])),
    "tiny-falcon_h1-mup": ("falcon_h1", dict(
        mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=2, mamba_d_state=8, mamba_d_conv=4, mamba_rms_norm=True,
        mamba_norm_before_gate=False, mamba_chunk_size=8, embedding_multiplier=1.3, lm_head_multiplier=0.4,
        attention_in_multiplier=0.9, attention_out_multiplier=1.2, ssm_in_multiplier=1.1, ssm_out_multiplier=0.8,
        key_multiplier=0.7, mlp_multipliers=[0.9, 1.1], ssm_multipliers=[0.9, 1.1, 0.8, 1.2, 0.7], head_dim=8)),
    "tiny-minimax-scaled": ("minimax", dict(
        num_local_experts=3, num_experts_per_tok=2, head_dim=8, layer_types=["linear_attention", "full_attention"], block_size=8,
        full_attn_alpha_factor=2.5, full_attn_beta_factor=0.8, linear_attn_alpha_factor=1.7, linear_attn_beta_factor=1.2,
        mlp_alpha_factor=1.9, mlp_beta_factor=0.7)),
    "tiny-qwen3_5": ("qwen3_5_text", dict(
        head_dim=8, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12,
        layer_types=["linear_attention", "full_attention"],
        rope_parameters=dict(rope_type="default", partial_rotary_factor=0.5, mrope_section=[1, 1, 0], **ROPE))),
    "tiny-olmo_hybrid": ("olmo_hybrid", dict(
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6, linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"], rope_parameters=dict(rope_type="default", **ROPE))),
    "tiny-recurrent_gemma": ("recurrent_gemma", dict(
        num_hidden_layers=3, lru_width=40, attention_window_size=7, block_types=["recurrent", "recurrent", "attention"],
        num_key_value_heads=1, intermediate_size=64, logits_soft_cap=10.0, tie_word_embeddings=True, head_dim=8)),
    "tiny-xlstm": ("xlstm", dict(num_heads=2, num_blocks=2, chunk_size=8, ffn_round_up_to_multiple_of=8, mode="inference",
                                 use_bias=True, autocast_kernel_dtype="float32")),
    "tiny-zamba2": ("zamba2", dict(
        num_hidden_layers=5, layers_block_type=["mamba", "hybrid", "mamba", "hybrid", "hybrid"], num_mem_blocks=2,
        adapter_rank=4, mamba_d_state=8, mamba_headdim=8, n_mamba_heads=8, mamba_ngroups=2, mamba_expand=2, chunk_size=8,
        num_key_value_heads=4, use_shared_attention_adapter=True, use_mem_rope=True, attention_head_dim=16, tie_word_embeddings=True)),
    "tiny-bamba-rope": ("bamba", dict(
        num_hidden_layers=3, attn_layer_indices=[1], attn_rotary_emb=4, mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=2,
        mamba_d_state=8, mamba_d_conv=3, mamba_expand=2, mamba_chunk_size=8, mamba_conv_bias=True, mamba_proj_bias=True)),
}
# Where attention is only in some layers, the library lists theirs alone.
ATTENTION_LAYERS = {"tiny-jamba-moe": [1], "tiny-qwen3_next-moe": [1], "tiny-kimi_linear-moe": [1], "tiny-bamba-rope": [1],
                    "tiny-qwen3_5": [1], "tiny-olmo_hybrid": [1], "tiny-recurrent_gemma": [2], "tiny-zamba2": [1, 3, 4]}


def make(name, folder):
    kind, changes = MODELS[name]
    torch.manual_seed(sum(map(ord, name)))
    config = AutoConfig.for_model(kind, **{**BASE, **changes})
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * (0.3 if p.dim() == 1 else 0.15))
    out = os.path.join(folder, name)
    model.save_pretrained(out)
    generation = os.path.join(out, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    model = AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager", dtype=torch.float32).eval()
    inner = getattr(model, model.base_model_prefix)
    inner = getattr(inner, "decoder", inner)
    first = next(getattr(inner, n) for n in ("layers", "h", "blocks") if hasattr(inner, n))[0]
    seen = {}
    first.register_forward_hook(lambda m, args, y: seen.update(y=y[0] if isinstance(y, tuple) else y))
    tensors = {}
    for case, shape in (("a", (1, 24)), ("b", (1, 37))):
        ids = torch.randint(3, BASE["vocab_size"], shape)
        with torch.no_grad():
            y = model(ids, output_attentions=True, use_cache=False)
        tensors[case + ".input_ids"] = ids
        tensors[case + ".logits"] = y.logits.float()
        if case == "a":
            tensors["a.hidden_states.1"] = seen["y"].float()
            for i, a in enumerate(getattr(y, "attentions", None) or ()):
                if a is not None and a.dim() == 4 and a.shape[-1] == shape[1]:
                    tensors[f"a.attentions.{ATTENTION_LAYERS.get(name, range(9))[i]}"] = a.float()
    about = {"transformers": transformers.__version__, "torch": torch.__version__, "model_type": kind,
             "hidden_states": "0: input of block 0; 1: output of block 0", "changes": json.dumps(changes)}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, os.path.join(out, "expected.safetensors"), about)
    print(name, sum(p.numel() for p in model.parameters()), sorted(tensors))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for n in sys.argv[2:] or MODELS:
        make(n, sys.argv[1])
