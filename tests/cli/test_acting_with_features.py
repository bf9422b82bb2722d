#!/usr/bin/env python3
"""Dictionaries put into a model, features ablated and steered with, probes and observables, from the command line."""
import array
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import DELTA, LLAMA, CliCase, call, error_of, read_tensors, write_ids  # noqa: E402

WIDTH = 128
POINT = "blocks.1.hook_resid_post"


def write_sae(folder, decoder_scale=1.0):
    """x = relu(x) - relu(-x) in SAELens's layout, its decoder times a factor."""
    os.makedirs(folder)
    enc, dec = array.array("f", bytes(4 * WIDTH * 2 * WIDTH)), array.array("f", bytes(4 * WIDTH * 2 * WIDTH))
    for i in range(WIDTH):
        enc[i * 2 * WIDTH + i], enc[i * 2 * WIDTH + WIDTH + i] = 1, -1
        dec[i * WIDTH + i], dec[(WIDTH + i) * WIDTH + i] = decoder_scale, -decoder_scale
    parts = {"W_enc": ([WIDTH, 2 * WIDTH], enc), "W_dec": ([2 * WIDTH, WIDTH], dec), "b_enc": ([2 * WIDTH], array.array("f", bytes(8 * WIDTH))),
             "b_dec": ([WIDTH], array.array("f", bytes(4 * WIDTH)))}
    header, blob = {}, b""
    for name, (shape, values) in parts.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(blob), len(blob) + 4 * len(values)]}
        blob += values.tobytes()
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "sae_weights.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + blob)
    with open(os.path.join(folder, "cfg.json"), "w") as f:
        json.dump({"architecture": "standard", "d_in": WIDTH, "d_sae": 2 * WIDTH, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": False,
                   "normalize_activations": "none", "reshape_activations": "none", "metadata": {"hook_name": POINT, "sae_lens_version": "6.54.12"}}, f)
    return folder


def summary(out):
    return {s["name"]: s["value"] for s in json.loads(out)["summary"]}


class ActingWithFeatures(CliCase):
    def test_evaluation_in_place(self):
        good, shrunk = write_sae(self.path("good")), write_sae(self.path("shrunk"), 0.8)
        write_ids(self.path("ids.json"), [[(7 * i + 3 * t) % 500 for t in range(24)] for i in range(4)])
        for model in (LLAMA, DELTA):
            s = summary(call("run", "dictionary_eval", "--model", model, "--dictionary", good, "--corpus", self.path("ids.json"), "--length", 24, "--json")[0])
            self.assertAlmostEqual(s["ce_recovered"], 1, places=4)
            self.assertAlmostEqual(s["fvu"], 0, places=6)
            self.assertAlmostEqual(s["bias"], 1, places=5)
        s = summary(call("run", "dictionary_eval", "--model", LLAMA, "--dictionary", shrunk, "--task", "ioi", "--prompts", 6, "--json")[0])
        self.assertAlmostEqual(s["bias"], 0.8, places=5)
        self.assertAlmostEqual(s["cosine"], 1, places=5)
        self.assertGreater(s["kl_spliced"], 0)
        self.assertLess(s["kl_recovered"], 1)
        error = error_of("run", "dictionary_eval", "--model", LLAMA, "--dictionary", good)
        self.assertIn("neither a corpus nor prompts", error)
        self.assertIn("no dictionary is named", error_of("run", "dictionary_eval", "--model", LLAMA, "--task", "ioi", "--prompts", 2))

    def test_features_ablated_and_steered(self):
        sae = write_sae(self.path("sae"))
        out = self.path("out")
        call("run", "feature_ablation", "--model", LLAMA, "--dictionary", sae, "--n", 4, "--task", "greater_than", "--prompts", 4, "--out", out)
        tensors, _ = read_tensors(os.path.join(out, "tensors.safetensors"))
        shape, effect = tensors["effect"]
        self.assertEqual(shape, [4])
        self.assertGreater(max(abs(x) for x in effect), 0)
        # The decoder row of feature 3 is a unit vector: adding it is adding to one number of the residual.
        call("run", "steering", "--model", LLAMA, "--direction", "feature", "--dictionary", sae, "--feature", 3, "--coefficients", "2", "--max_new", 0, "--task", "greater_than",
             "--prompts", 2, "--out", self.path("steered"))
        tensors, _ = read_tensors(os.path.join(self.path("steered"), "tensors.safetensors"))
        shape, direction = tensors["direction"]
        self.assertEqual(shape, [1, WIDTH])
        self.assertEqual([i for i, x in enumerate(direction) if x], [3])
        self.assertIn("features go from 0 to 255", error_of("run", "feature_ablation", "--model", LLAMA, "--dictionary", sae, "--features", "256", "--task", "greater_than", "--prompts", 2))

    def test_probes_and_observables(self):
        out = self.path("probe")
        call("run", "linear_probe", "--model", DELTA, "--task", "ioi", "--prompts", 16, "--position", "last", "--out", out)
        tensors, _ = read_tensors(os.path.join(out, "tensors.safetensors"))
        layers = tensors["accuracy"][0][0]
        self.assertEqual(tensors["direction"][0], [layers, WIDTH])
        self.assertGreaterEqual(max(tensors["accuracy"][1]), 0.5)
        # The probe's direction can be steered along.
        call("run", "steering", "--model", DELTA, "--direction", "file", "--file", os.path.join(out, "tensors.safetensors"), "--tensor", f"direction[{layers - 1}]", "--layer", layers - 1,
             "--coefficients", "1", "--max_new", 0, "--task", "ioi", "--prompts", 2)
        s = json.loads(call("run", "observable_propagation", "--model", LLAMA, "--task", "ioi", "--prompts", 4, "--tokens", "#40>#41", "--other", "#40>#42", "--json")[0])
        self.assertTrue({"heads", "paths"} <= {t["name"] for t in s["tables"]})
        self.assertIn("correlate", " ".join(s["findings"]))
        self.assertIn("is not one token", error_of("run", "observable_propagation", "--model", LLAMA, "--task", "ioi", "--prompts", 2, "--tokens", "surely several tokens here"))


if __name__ == "__main__":
    unittest.main()
