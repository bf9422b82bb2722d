#!/usr/bin/env python3
"""The command line on a model folder of microtome's own model_type, written here from nothing."""
import array
import json
import os
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import LLAMA, CliCase, call, error_of, read_tensors, write_ids  # noqa: E402

with open(os.path.join(LLAMA, "config.json")) as f:
    V, D = json.load(f)["vocab_size"], 16                    # its tokenizer is borrowed
CONFIG = {
    "model_type": "microtome", "vocab_size": V, "d_model": D, "loops": 2, "tied_unembedding": True,
    "layers": [
        {"mixer": {"kind": "gla", "num_heads": 2, "head_k": 4, "head_v": 8, "gate_low_rank": 4}},
        {"mixer": {"kind": "softmax_attention", "num_heads": 2, "head_dim": 8}, "channel": {"d_mlp": 24}},
    ],
}
SHAPES = {
    "embed.weight": [V, D], "ln_final.weight": [D],
    "blocks.0.ln1.weight": [D], "blocks.0.attn.q_proj.weight": [8, D], "blocks.0.attn.k_proj.weight": [8, D],
    "blocks.0.attn.v_proj.weight": [D, D], "blocks.0.attn.o_proj.weight": [D, D], "blocks.0.attn.g_proj.weight": [D, D],
    "blocks.0.attn.g_norm_swish_gate.weight": [8], "blocks.0.attn.gk_proj.0.weight": [4, D],
    "blocks.0.attn.gk_proj.1.weight": [8, 4],
    "blocks.1.ln1.weight": [D], "blocks.1.attn.q_proj.weight": [D, D], "blocks.1.attn.k_proj.weight": [D, D],
    "blocks.1.attn.v_proj.weight": [D, D], "blocks.1.attn.o_proj.weight": [D, D], "blocks.1.ln2.weight": [D],
    "blocks.1.mlp.gate.weight": [24, D], "blocks.1.mlp.up.weight": [24, D], "blocks.1.mlp.down.weight": [D, 24],
}


def write_model(folder, config=CONFIG):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    shutil.copy(os.path.join(LLAMA, "tokenizer.json"), folder)
    header, data, x = {}, array.array("f"), 1
    for name, shape in SHAPES.items():
        begin = len(data) * 4
        for _ in range(shape[0] * (shape[1] if len(shape) > 1 else 1)):
            x = (x * 1103515245 + 12345) % 2**31
            data.append((x / 2**30 - 1) * 0.4 + (1 if len(shape) == 1 else 0))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data) * 4]}
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data.tobytes())


class OwnModels(CliCase):
    def setUp(self):
        super().setUp()
        self.model = self.path("own")
        write_model(self.model)

    def test_inspect_counts_shared_weights_once(self):
        out = json.loads(call("inspect", self.model, "--json")[0])
        count = 0
        for shape in SHAPES.values():
            count += shape[0] * (shape[1] if len(shape) > 1 else 1)
        self.assertEqual(out["parameters"], count)
        self.assertEqual([l["kind"] for l in out["layers"]], ["recurrent", "softmax"] * 2)
        names = [h["name"] for h in out["hooks"]]
        self.assertIn("blocks.2.attn.hook_state", names)
        self.assertNotIn("blocks.2.hook_mlp_out", names)

    def test_forward_in_both_forms_agrees(self):
        write_ids(self.path("ids.json"), [[1, 5, 9, 13, 2, 28, 0]])
        logits = []
        for form in ("naive", "chunk"):
            out = self.path(form + ".safetensors")
            call("forward", "--model", self.model, "--ids", self.path("ids.json"), "--form", form, "--device", "cpu", "--out", out)
            tensors, _ = read_tensors(out)
            self.assertEqual(tensors["logits"][0], [1, 7, V])
            logits.append(tensors["logits"][1])
        self.assertLess(max(abs(a - b) for a, b in zip(*logits)), 1e-4)
        self.assertGreater(max(logits[0]) - min(logits[0]), 0.5)

    def test_generate_goes_on(self):
        args = ["generate", "--model", self.model, "--prompt", "Then, Jacob and Laura", "--max-new", 5, "--device", "cpu", "--json"]
        ids = json.loads(call(*args)[0])["ids"]
        self.assertEqual(len(ids), 5)
        self.assertTrue(all(0 <= i < V for i in ids), ids)
        self.assertEqual(json.loads(call(*args, "--form", "naive")[0])["ids"], ids)

    def test_an_unknown_key_is_named(self):
        write_model(self.model, dict(CONFIG, dropout=0.1))
        self.assertIn("'dropout' is unknown", error_of("inspect", self.model))


if __name__ == "__main__":
    unittest.main()
