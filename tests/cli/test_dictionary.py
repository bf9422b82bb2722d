#!/usr/bin/env python3
"""Sparse dictionaries in files: `dictionary show`, `dictionary convert`, `export`."""
import array
import json
import math
import os
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import LLAMA, CliCase, call, error_of, golden, read_tensors  # noqa: E402


def write_tensors(path, tensors):
    header, blob = {}, b""
    for name, (shape, values) in tensors.items():
        data = array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + blob)


def transposed(tensor):
    (rows, columns), v = tensor
    return [columns, rows], [v[r * columns + c] for c in range(columns) for r in range(rows)]


class Dictionaries(CliCase):
    def sae(self, d_in=128, hook="blocks.1.hook_resid_post", name="sae", **own):
        """A standard SAE of three features in SAELens's layout."""
        folder = self.path(name)
        os.makedirs(folder)
        write_tensors(os.path.join(folder, "sae_weights.safetensors"),
                      {"W_enc": ([d_in, 3], [0.5] * (3 * d_in)), "b_enc": ([3], [0.0] * 3), "W_dec": ([3, d_in], [0.25] * (3 * d_in)), "b_dec": ([d_in], [1.0] * d_in)})
        with open(os.path.join(folder, "cfg.json"), "w") as f:
            json.dump({"architecture": "standard", "d_in": d_in, "d_sae": 3, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
                       "reshape_activations": "none", "metadata": {"sae_lens_version": "6.54.12", "hook_name": hook, "model_name": "zoo-llama", "microtome": own}}, f)
        return folder

    def test_show(self):
        folder = golden("golden/analyses/sae-jumprelu-step")
        out, _ = call("dictionary", "show", folder)
        for part in ("saelens, 1 dictionary", "jumprelu", "64", "160", "thresholds", "decoder norms"):
            self.assertIn(part, out)
        d = json.loads(call("dictionary", "show", folder, "--json")[0])["dictionaries"][0]
        weights, _ = read_tensors(os.path.join(folder, "sae_weights.safetensors"))
        rows = weights["W_dec"][1]
        norms = sorted(math.sqrt(sum(v * v for v in rows[i * 64:(i + 1) * 64])) for i in range(160))
        self.assertAlmostEqual(d["decoder_norm"]["min"], norms[0], 5)
        self.assertAlmostEqual(d["decoder_norm"]["max"], norms[-1], 5)
        self.assertAlmostEqual(d["decoder_norm"]["mean"], sum(norms) / 160, 5)
        thresholds = sorted(weights["threshold"][1])
        self.assertAlmostEqual(d["threshold"]["min"], thresholds[0], 6)
        self.assertAlmostEqual(d["threshold"]["median"], thresholds[79], 6)
        self.assertEqual((d["d_in"], d["d_sae"], d["kind"], d["parameters"]), (64, 160, "jumprelu", 2 * 64 * 160 + 2 * 160 + 64))

    def test_show_against_a_model(self):
        fits = json.loads(call("dictionary", "show", self.sae(), "--model", LLAMA, "--json")[0])["dictionaries"][0]
        self.assertTrue(fits["fits_model"])
        self.assertNotIn("note", fits)
        narrow = json.loads(call("dictionary", "show", self.sae(64, name="narrow"), "--model", LLAMA, "--json")[0])["dictionaries"][0]
        self.assertFalse(narrow["fits_model"])
        self.assertIn("reads 64 numbers a token, and blocks.1.hook_resid_post of model 'zoo-llama' has 128", narrow["note"])
        absent, _ = call("dictionary", "show", self.sae(hook="blocks.77.hook_resid_post", name="absent"), "--model", LLAMA)
        self.assertIn("does not fit the model", absent)
        other = json.loads(call("dictionary", "show", self.sae(name="other", weights_hash="sha256:1234"), "--model", LLAMA, "--json")[0])["dictionaries"][0]
        self.assertTrue(other["fits_model"])
        self.assertIn("was trained on weights sha256:1234", other["note"])

    def test_convert(self):
        folder = golden("golden/analyses/sae-topk")
        _, err = call("dictionary", "convert", folder, "--to", "sparsify", "--out", self.path("sparsify"))
        self.assertIn("saelens to sparsify", err)
        was, _ = read_tensors(os.path.join(folder, "sae_weights.safetensors"))
        now, _ = read_tensors(self.path("sparsify/sae.safetensors"))
        self.assertEqual(now["encoder.weight"], transposed(was["W_enc"]))
        self.assertEqual(now["encoder.bias"], was["b_enc"])
        self.assertEqual(now["W_dec"], was["W_dec"])
        with open(self.path("sparsify/cfg.json")) as f:
            cfg = json.load(f)
        self.assertEqual((cfg["k"], cfg["num_latents"], cfg["d_in"], cfg["transcode"]), (12, 160, 64, False))
        call("dictionary", "convert", self.path("sparsify"), "--to", "saelens", "--out", self.path("back"))
        back, _ = read_tensors(self.path("back/sae_weights.safetensors"))
        self.assertEqual(back, was)

    def test_a_transcoder_becomes_a_set_and_back(self):
        folder = self.path("set/first")
        shutil.copytree(golden("golden/analyses/transcoder-skip"), folder)
        for name in ("expected.safetensors", "inputs.json"):
            os.remove(os.path.join(folder, name))
        with open(os.path.join(folder, "cfg.json")) as f:
            cfg = json.load(f)
        cfg["metadata"].update(hook_name="blocks.0.ln2.hook_normalized", hook_name_out="blocks.0.hook_mlp_out", model_name="stories260K")
        os.chmod(os.path.join(folder, "cfg.json"), 0o644)
        with open(os.path.join(folder, "cfg.json"), "w") as f:
            json.dump(cfg, f)
        call("dictionary", "convert", self.path("set"), "--to", "circuit_tracer", "--out", self.path("ct"))
        with open(self.path("ct/config.yaml")) as f:
            lines = f.read().splitlines()
        for line in ("model_kind: transcoder_set", "feature_input_hook: ln2.hook_normalized", "feature_output_hook: hook_mlp_out", "model_name: stories260K"):
            self.assertIn(line, lines)
        was, _ = read_tensors(os.path.join(folder, "sae_weights.safetensors"))
        now, _ = read_tensors(self.path("ct/layer_0.safetensors"))
        self.assertEqual(set(now), {"W_enc", "W_dec", "b_enc", "b_dec", "W_skip"})
        self.assertEqual(now["W_enc"], transposed(was["W_enc"]))
        self.assertEqual(now["W_skip"], was["W_skip"])
        call("dictionary", "convert", self.path("ct"), "--to", "saelens", "--out", self.path("back"))
        self.assertEqual(read_tensors(self.path("back/sae_weights.safetensors"))[0], was)

    def test_refusals(self):
        gated = golden("golden/analyses/sae-gated")
        self.assertIn("is no transcoder, and circuit-tracer puts transcoders in place of MLPs", error_of("dictionary", "convert", gated, "--to", "circuit_tracer", "--out", self.path("o")))
        self.assertIn("sparsify has TopK only", error_of("dictionary", "convert", gated, "--to", "sparsify", "--out", self.path("o")))
        self.assertFalse(os.path.exists(self.path("o")))
        self.assertEqual(os.listdir(self.dir), [])
        os.makedirs(self.path("full/x"))
        self.assertIn("is not an empty folder", error_of("dictionary", "convert", gated, "--to", "saelens", "--out", self.path("full")))
        self.assertIn("no dictionary of a known format", error_of("dictionary", "show", self.path("full")))
        self.assertIn("no such file or folder", error_of("dictionary", "show", self.path("none")))
        self.assertIn("'convert' needs --to", error_of("dictionary", "convert", gated))
        self.assertIn("--out belongs to 'convert'", error_of("dictionary", "show", gated, "--out", self.path("o")))
        self.assertIn("takes one path", error_of("dictionary", "show", gated, gated))
        self.assertIn("dictionary show", call("dictionary", "--help")[0])

    def test_a_run_exports_what_it_trained(self):
        with open(self.path("ids.json"), "w") as f:
            json.dump([[(7 * i + 3 * t) % 500 for t in range(32)] for i in range(40)], f)
        project = self.path("p.microtome")
        for hook, kind in (("blocks.1.hook_resid_post", "topk"), ("blocks.0.hook_resid_post", "batchtopk")):
            call("run", "sae", "--model", LLAMA, "--corpus", self.path("ids.json"), "--project", project, "--hook", hook, "--kind", kind, "--d_sae", 48, "--k", 4, "--tokens", 2560,
                 "--batch", 128, "--length", 32, "--buffer", 4, "--eval_tokens", 640)
        for run, name in ((1, "topk"), (2, "jumprelu")):
            call("export", run, "--project", project, "--format", "saelens", "--out", self.path(name))
            d = json.loads(call("dictionary", "show", self.path(name), "--model", LLAMA, "--json")[0])["dictionaries"][0]
            self.assertEqual((d["kind"], d["d_in"], d["d_sae"], d["normalize"], d["fits_model"]), (name, 128, 48, "none", True))
            self.assertNotIn("note", d)                          # the same weights: no hash speaks against it
            self.assertTrue(d["weights_hash"])
        call("export", 1, "--project", project, "--format", "sparsify", "--out", self.path("sparsify"))
        a, b = read_tensors(self.path("topk/sae_weights.safetensors"))[0], read_tensors(self.path("sparsify/sae.safetensors"))[0]
        # The same function: sparsify has no decoder norms, so the encoder may have taken them in; rows point the same way.
        rows = lambda t, n: [t[1][i * n:(i + 1) * n] for i in range(48)]  # noqa: E731
        for u, v in zip(rows(a["W_dec"], 128), rows(b["W_dec"], 128)):
            dot, uu, vv = (sum(x * y for x, y in zip(p, q)) for p, q in ((u, v), (u, u), (v, v)))
            self.assertAlmostEqual(dot / math.sqrt(uu * vv), 1, 4)
        self.assertIn("sparsify has TopK only", error_of("export", 2, "--project", project, "--format", "sparsify", "--out", self.path("no")))
        self.assertIn("is no transcoder", error_of("export", 1, "--project", project, "--format", "circuit_tracer", "--out", self.path("no")))
        self.assertFalse(os.path.exists(self.path("no")))

    def test_a_run_without_dictionaries_exports_none(self):
        project = self.path("p.microtome")
        call("run", "logit_lens", "--model", LLAMA, "--prompt", "When Mary and John", "--project", project)
        for name in ("saelens", "circuit_tracer", "sparsify"):
            self.assertIn(f"holds no dictionary, which '{name}' describes", error_of("export", 1, "--project", project, "--format", name, "--out", self.path("o")))


if __name__ == "__main__":
    unittest.main()
