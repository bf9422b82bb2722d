#!/usr/bin/env python3
"""Attribution graphs and transcoder circuits from a folder of transcoders to the files of other programs."""
import array
import json
import os
import struct
import sys
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import DELTA, LLAMA, CliCase, call, error_of  # noqa: E402

D, D_SAE, LAYERS = 128, 96, 4


def write_transcoders(folder):
    """Random transcoders in SAELens's form, a folder a layer."""
    x = 7
    for layer in range(LAYERS):
        here = os.path.join(folder, f"layer_{layer}")
        os.makedirs(here)
        with open(os.path.join(here, "cfg.json"), "w") as f:
            json.dump({"architecture": "transcoder", "d_in": D, "d_sae": D_SAE, "d_out": D, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": False,
                       "normalize_activations": "none", "reshape_activations": "none",
                       "metadata": {"hook_name": f"blocks.{layer}.mlp.hook_in", "hook_name_out": f"blocks.{layer}.hook_mlp_out", "sae_lens_version": "6.54.12"}}, f)
        header, data = {}, array.array("f")
        for name, shape, scale, shift in (("W_enc", [D, D_SAE], 0.15, 0), ("b_enc", [D_SAE], 0.1, -1.0), ("W_dec", [D_SAE, D], 0.2, 0), ("b_dec", [D], 0.02, 0)):
            begin = len(data) * 4
            for _ in range(shape[0] * (shape[1] if len(shape) > 1 else 1)):
                x = (x * 1103515245 + 12345) % 2**31
                data.append((x / 2**30 - 1) * scale + shift)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data) * 4]}
        text = json.dumps(header).encode()
        with open(os.path.join(here, "sae_weights.safetensors"), "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + data.tobytes())
    return folder


class Attribution(CliCase):
    def setUp(self):
        super().setUp()
        self.transcoders = write_transcoders(self.path("transcoders"))
        self.project = self.path("p.microtome")

    def run_graph(self, model, *more):
        return call("run", "attribution_graph", "--model", model, "--task", "greater_than", "--prompts", 2, "--project", self.project,
                    "--transcoders", self.transcoders, "--device", "cpu", *more)

    def test_a_graph_and_its_exports(self):
        for n, model in ((1, LLAMA), (2, DELTA)):
            out, _ = self.run_graph(model, "--test_edges", 4, "--max_nodes", 300, "--node_threshold", 0.999)
            self.assertIn("replacement_score", out)
            path = self.path(f"graph{n}.json")
            call("export", n, "--project", self.project, "--format", "neuronpedia", "--out", path, "--slug", "my-slug", "--scan", "zoo")
            with open(path) as f:
                graph = json.load(f)
            self.assertEqual(graph["metadata"]["slug"], "my-slug")
            self.assertEqual(graph["metadata"]["scan"], "zoo")
            ids = [node["node_id"] for node in graph["nodes"]]
            self.assertEqual(len(ids), len(set(ids)))
            kinds = {node["feature_type"] for node in graph["nodes"]}
            self.assertEqual(kinds, {"embedding", "cross layer transcoder", "mlp reconstruction error", "logit"})
            for node in graph["nodes"]:
                if node["feature_type"] == "logit":
                    self.assertRegex(node["clerp"], r"\(p=0\.\d{3}\)$")
                    self.assertEqual(node["layer"], str(LAYERS + 1))
            self.assertEqual(sum(node["is_target_logit"] for node in graph["nodes"]), 1)
            for link in graph["links"]:
                self.assertIn(link["source"], ids)
                self.assertIn(link["target"], ids)
            self.assertGreater(len(graph["links"]), 50)
            small = self.path("small.json")
            _, err = call("export", n, "--project", self.project, "--format", "neuronpedia", "--out", small, "--max-size", "0.03")
            self.assertLessEqual(os.path.getsize(small), 30000)
            self.assertIn("left out to stay below --max-size", err)
        svg = self.path("graph.svg")
        call("export", 1, "--project", self.project, "--format", "svg", "--out", svg)
        ElementTree.parse(svg)
        call("export", 1, "--project", self.project, "--format", "graphml", "--out", self.path("graph.graphml"))
        ElementTree.parse(self.path("graph.graphml"))
        call("export", 1, "--project", self.project, "--format", "csv", "--out", self.path("csv"))
        self.assertIn("graph.csv", os.listdir(self.path("csv")))
        page = self.path("report.html")
        call("report", "--project", self.project, "--out", page)
        with open(page) as f:
            text = f.read()
        for words in ('class="ag"', "Replacement score", "Strongest edges", "tested by taking their source away"):
            self.assertIn(words, text)
        self.assertIn("number of megabytes", error_of("export", 1, "--project", self.project, "--format", "neuronpedia", "--out", small, "--max-size", "much"))

    def test_a_transcoder_circuit(self):
        for model in (LLAMA, DELTA):
            out, _ = call("run", "transcoder_circuit", "--model", model, "--task", "greater_than", "--prompts", 4, "--project", self.project, "--device", "cpu", "--transcoders", self.transcoders)
            self.assertIn("The strongest path is", out)
        call("export", 1, "--project", self.project, "--format", "mib", "--out", self.path("circuit.json"))
        with open(self.path("circuit.json")) as f:
            self.assertIn("logits", json.load(f)["nodes"])

    def test_what_is_said_of_bad_input(self):
        base = ["run", "attribution_graph", "--model", LLAMA, "--task", "greater_than", "--prompts", 1, "--device", "cpu"]
        self.assertIn("no transcoders are named", error_of(*base))
        self.assertIn("nowhere", error_of(*base, "--transcoders", self.path("nowhere")))
        self.assertIn("'3' is no edge", error_of(*base, "--transcoders", self.transcoders, "--edges", "3"))
        self.assertIn("has no edge '0.99999@3>4'", error_of(*base, "--transcoders", self.transcoders, "--edges", "0.99999@3>4"))
        os.rename(self.path("transcoders/layer_3"), self.path("layer_3"))
        with open(self.path("layer_3/cfg.json")) as f:
            cfg = json.load(f)
        cfg["metadata"]["hook_name"] = "blocks.9.mlp.hook_in"
        os.makedirs(self.path("transcoders/layer_9"))
        with open(self.path("transcoders/layer_9/cfg.json"), "w") as f:
            json.dump(cfg, f)
        os.rename(self.path("layer_3/sae_weights.safetensors"), self.path("transcoders/layer_9/sae_weights.safetensors"))
        self.assertIn("blocks.9.mlp.hook_in", error_of(*base, "--transcoders", self.transcoders))


if __name__ == "__main__":
    unittest.main()
