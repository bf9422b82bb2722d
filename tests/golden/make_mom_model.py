"""Makes the reference checkpoint tiny-mom (mixture of memories): float64 recomputation from its formulas, token by token.

    python tests/golden/make_mom_model.py tests/golden/models [FLA_MOM_FOLDER]

Why not the library's own output: flash-linear-attention 0.6.0 sorts the tokens of each memory by an argsort that is not
stable, which on a CPU leaves them out of time order, and fla-mom was made so. Given that folder, this script first shows
that its formulas give the file's hidden states, logits and states to 2e-5 with the tokens sorted as there (torch 2.11 on a
CPU with AVX2), and then writes tiny-mom with the tokens in time order. Needs torch and safetensors.
"""
import json
import os
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

CONFIG = dict(architectures=["MomForCausalLM"], model_type="mom", vocab_size=61, hidden_size=32, intermediate_size=48,
              num_hidden_layers=2, num_heads=2, head_dim=8, expand_v=1.5, num_memories=3, topk=2, shared_mem=True,
              single_kv_proj=False, capacity=1.0, mom_backend="gated_deltanet", use_output_gate=True, use_short_conv=True,
              conv_size=4, norm_eps=1e-6, hidden_act="swish", hidden_ratio=4, max_position_embeddings=256, attn=None,
              tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, dtype="float32")


def rms(x, gain, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def conv(x, weight):
    padded = F.pad(x.T[None], (weight.shape[-1] - 1, 0))
    return F.silu(F.conv1d(padded, weight, groups=x.shape[1])[0].T)


def unit(x):
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


def gated_delta_rule(q, k, v, g, beta):
    state, out = torch.zeros(k.shape[1], k.shape[2], v.shape[2], dtype=torch.float64), []
    for t in range(len(q)):
        state = state * g[t].exp()[:, None, None]
        value = (v[t] - torch.einsum("hkv,hk->hv", state, k[t])) * beta[t][:, None]
        state = state + torch.einsum("hk,hv->hkv", k[t], value)
        out.append(torch.einsum("hkv,hk->hv", state, q[t]) * k.shape[2] ** -0.5)
    return torch.stack(out), state


def attention(w, c, x, stable):
    """x [batch, pos, d_model], normalised; returns the output and, a memory and row, its state and last inputs."""
    batch, length, _ = x.shape
    heads, memories = c["num_heads"], c["num_memories"]
    score, chosen = F.softmax(x @ w["gate.weight"].T, -1).topk(c["topk"], -1)
    score = score / score.sum(-1, keepdim=True)
    key = (torch.arange(batch)[:, None] * memories + chosen.reshape(batch, -1)).reshape(-1)
    order = key.argsort(stable=stable)
    out, kept = [], {}
    for b in range(batch):
        def one(tokens, k, v, a, beta):
            y = x[b, tokens]
            raw = [y @ w[n].T for n in ("q_proj.weight", k, v)]
            q, k, v = (conv(r, w[n + "_conv1d.weight"]).view(len(y), heads, -1) for r, n in zip(raw, "qkv"))
            g = -w["A_log"].exp() * F.softplus(y @ w[a].T + w["dt_bias"])
            o, state = gated_delta_rule(unit(q), unit(k), v, g, torch.sigmoid(y @ w[beta].T))
            return o, (state, raw)
        o, kept[memories, b] = one(torch.arange(length), *(f"shared_{n}.weight" for n in "kvab"))
        for m in range(memories):
            slots = order[key[order] == b * memories + m]
            if len(slots):
                z, kept[m, b] = one(slots // c["topk"] - b * length, *(f"{n}_proj.{m}.weight" for n in "kvab"))
                o = o.index_add(0, slots // c["topk"] - b * length, z * score.reshape(-1)[slots][:, None, None])
        gate = F.silu(x[b] @ w["g_proj.weight"].T).view(o.shape)
        out.append((rms(o, w["o_norm.weight"], c["norm_eps"]) * gate).flatten(1) @ w["o_proj.weight"].T)
    return torch.stack(out), kept


def run(w, c, ids, stable):
    x, hidden, kept = w["model.embeddings.weight"][ids], [], []
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        hidden.append(x)
        below = {n[len(p + "attn."):]: t for n, t in w.items() if n.startswith(p + "attn.")}
        y, states = attention(below, c, rms(x, w[p + "attn_norm.weight"], c["norm_eps"]), stable)
        kept.append(states)
        x = x + y
        y = rms(x, w[p + "mlp_norm.weight"], c["norm_eps"])
        y = F.silu(y @ w[p + "mlp.gate_proj.weight"].T) * (y @ w[p + "mlp.up_proj.weight"].T)
        x = x + y @ w[p + "mlp.down_proj.weight"].T
    x = rms(x, w["model.norm.weight"], c["norm_eps"])
    return hidden + [x], x @ w["lm_head.weight"].T, kept


def check(folder):
    c = json.load(open(os.path.join(folder, "config.json")))
    w = {n: t.double() for n, t in load_file(os.path.join(folder, "model.safetensors")).items()}
    want, worst = load_file(os.path.join(folder, "expected.safetensors")), 0.0
    for case in "ab":
        ids = want[case + ".input_ids"]
        hidden, logits, kept = run(w, c, ids, stable=False)
        pairs = [(logits, want[case + ".logits"])]
        pairs += [(h, want[f"{case}.hidden_states.{i}"]) for i, h in enumerate(hidden)]
        for i, states in enumerate(kept):
            for (m, b), (state, _) in states.items():
                routed = m < c["num_memories"]
                file = want[f"{case}.layer{i}.recurrent_state.{0 if routed else 1}"]
                pairs.append((state.transpose(1, 2), file[m * len(ids) + b if routed else b]))
        worst = max([worst] + [(a - b).abs().max().item() for a, b in pairs])
    print(f"{folder}: largest difference {worst:.2g}")
    assert worst < 2e-5


def shapes(c):
    d, keys, values = c["hidden_size"], c["num_heads"] * c["head_dim"], int(c["num_heads"] * c["head_dim"] * c["expand_v"])
    out = {"model.embeddings.weight": (c["vocab_size"], d), "lm_head.weight": (c["vocab_size"], d), "model.norm.weight": (d,)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        a = {"q_proj.weight": (keys, d), "gate.weight": (c["num_memories"], d), "g_proj.weight": (values, d),
             "o_proj.weight": (d, values), "o_norm.weight": (values // c["num_heads"],), "A_log": (c["num_heads"],),
             "dt_bias": (c["num_heads"],)}
        for name in [f"{{}}_proj.{m}.weight" for m in range(c["num_memories"])] + ["shared_{}.weight"]:
            a.update({name.format(n): (rows, d) for n, rows in zip("kvab", (keys, values, c["num_heads"], c["num_heads"]))})
        a.update({f"{n}_conv1d.weight": (rows, 1, c["conv_size"]) for n, rows in zip("qkv", (keys, keys, values))})
        out.update({p + "attn." + n: s for n, s in a.items()})
        out.update({p + "attn_norm.weight": (d,), p + "mlp_norm.weight": (d,)})
        out.update({p + f"mlp.{n}_proj.weight": (c["intermediate_size"], d) for n in ("gate", "up")})
        out[p + "mlp.down_proj.weight"] = (d, c["intermediate_size"])
    return out


def make(folder):
    torch.manual_seed(1913)
    os.makedirs(folder, exist_ok=True)
    weights = {}
    for name, shape in shapes(CONFIG).items():
        start = 1.0 if name.endswith("norm.weight") else 0.0
        scale = 0.4 if "conv1d" in name or len(shape) == 1 else 0.25
        weights[name] = start + torch.randn(shape) * scale
    json.dump(CONFIG, open(os.path.join(folder, "config.json"), "w"), indent=2)
    save_file(weights, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    w, tensors, width, memories = {n: t.double() for n, t in weights.items()}, {}, CONFIG["conv_size"], CONFIG["num_memories"]
    for case, shape in (("a", (2, 24)), ("b", (1, 75))):
        ids = torch.randint(3, CONFIG["vocab_size"], shape)
        hidden, logits, kept = run(w, CONFIG, ids, stable=True)
        tensors[case + ".input_ids"], tensors[case + ".logits"] = ids, logits
        if case == "b":
            continue
        tensors.update({f"a.hidden_states.{i}": h for i, h in enumerate(hidden)})
        for i, states in enumerate(kept):
            rows = [[states[m, b] for m in range(memories + 1)] for b in range(len(ids))]
            tensors[f"a.layer{i}.recurrent_state"] = torch.stack([torch.cat([s for s, _ in row]) for row in rows])
            for part in range(3):
                last = [[F.pad(raw[part].T, (width, 0))[:, -width:] for _, raw in row] for row in rows]
                tensors[f"a.layer{i}.conv_state.{part}"] = torch.stack([torch.cat(row) for row in last])
    about = {"reference": "float64 recomputation from the formulas (make_mom_model.py), checked against fla-mom",
             "layout": "hidden_states.0: embeddings, i: output of layer i, last: after the final norm; layerN.recurrent_state "
                       "[B, memory * head, K, V] and conv_state.j [B, memory * channels, width], the shared memory last"}
    save_file({n: t.float().contiguous() if t.is_floating_point() else t for n, t in tensors.items()},
              os.path.join(folder, "expected.safetensors"), about)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if len(sys.argv) > 2:
        check(sys.argv[2])
    make(os.path.join(sys.argv[1], "tiny-mom"))
