#!/usr/bin/env python3
"""Feature dashboards from the command line: made, searched, labelled, written as pages."""
import glob
import json
import os
import random
import re
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import LLAMA, CliCase, call, error_of, write_ids  # noqa: E402

D_MODEL, D_SAE = 128, 40


def write_sae(folder):
    """A random ReLU autoencoder in SAELens's layout."""
    os.makedirs(folder)
    rng = random.Random(3)
    tensors = {"W_enc": ([D_MODEL, D_SAE], 0.1, 0), "b_enc": ([D_SAE], 0.1, -1), "W_dec": ([D_SAE, D_MODEL], 1, 0), "b_dec": ([D_MODEL], 0.1, 0)}
    header, body = {}, b""
    for name, (shape, scale, shift) in tensors.items():
        n = 1
        for s in shape:
            n *= s
        blob = struct.pack(f"<{n}f", *(rng.gauss(shift, scale) for _ in range(n)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(blob)]}
        body += blob
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "sae_weights.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)
    with open(os.path.join(folder, "cfg.json"), "w") as f:
        json.dump({"architecture": "standard", "d_in": D_MODEL, "d_sae": D_SAE, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": "none",
                   "reshape_activations": "none", "metadata": {"hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.54.12"}}, f)


class Features(CliCase):
    def make(self):
        write_sae(self.path("sae"))
        with open(self.path("corpus.txt"), "w") as f:
            for i in range(60):
                f.write(f"When Mary and John went to the store number {i}, John gave a drink to Mary. Then they had a long <b>argument</b>.\n")
        self.project = self.path("p.microtome")
        call("run", "features", "--model", LLAMA, "--project", self.project, "--dictionary", self.path("sae"), "--corpus", self.path("corpus.txt"), "--length", 32, "--examples", 4)

    def listed(self, *args):
        out, _ = call("features", 1, "--project", self.project, "--json", *args)
        return json.loads(out)

    def test_dashboards(self):
        self.make()
        everything = self.listed("--limit", 1000)
        self.assertEqual(everything["d_sae"], D_SAE)
        self.assertEqual(everything["found"], D_SAE)
        self.assertEqual([f["index"] for f in everything["features"]], list(range(D_SAE)))
        alive = [f for f in everything["features"] if f["density"] > 0]
        self.assertGreater(len(alive), 5)

        # Search agrees with the dashboards themselves.
        fired = self.listed("--search", "density>0 max<1e9", "--sort", "max", "--limit", 3)
        self.assertEqual(fired["found"], len(alive))
        self.assertEqual([f["index"] for f in fired["features"]], [f["index"] for f in sorted(alive, key=lambda f: -f["max"])[:3]])
        best = fired["features"][0]
        one = self.listed("--feature", best["index"])["feature"]
        self.assertEqual(one["max"], best["max"])
        self.assertEqual(len(one["top_logits"]), 10)
        self.assertEqual(sum(one["histogram"]), round(one["density"] * everything["tokens_seen"]))
        strongest = one["examples"][0]
        self.assertAlmostEqual(max(strongest["activations"]), one["max"], places=5)
        token = strongest["tokens"][strongest["strongest"]]
        self.assertEqual(token, best["token"])
        found = self.listed("--search", f'token:"{token}"', "--limit", 1000)
        self.assertIn(best["index"], [f["index"] for f in found["features"]])
        self.assertEqual(self.listed("--search", '"no such stretch of text"')["found"], 0)

        # In words.
        out, _ = call("features", 1, "--project", self.project, "--feature", best["index"])
        self.assertIn("strongest examples", out)
        self.assertIn("raises", out)
        self.assertRegex(out, "[▁▂▃▄▅▆▇█]")
        out, _ = call("features", 1, "--project", self.project, "--search", "mary", "--limit", 2)
        self.assertIn("strongest on", out)

        # Labels are found again and taken away.
        call("features", 1, "--project", self.project, "--label", f"{best['index']}=the strongest", "--label", "1=other")
        self.assertEqual([f["index"] for f in self.listed("--search", "label:strongest")["features"]], [best["index"]])
        call("features", 1, "--project", self.project, "--label", "1=")
        self.assertEqual(self.listed("--search", 'label:""')["found"], 1)

        # Pages: one a feature and an index; nothing from elsewhere, no markup from the text.
        call("features", 1, "--project", self.project, "--html", self.path("pages"), "--search", "density>0")
        pages = glob.glob(self.path("pages/feature-*.html"))
        self.assertEqual(len(pages), len(alive))
        names = {os.path.basename(p) for p in pages} | {"index.html"}
        for page in pages + [self.path("pages/index.html")]:
            with open(page) as f:
                text = f.read()
            self.assertNotIn("<b>argument", text)
            self.assertNotRegex(text, r'(src|href)="(https?:)?//')
            self.assertTrue({h for h in re.findall(r'href="([^"#]+)"', text)} <= names)
        call("features", 1, "--project", self.project, "--html", self.path("one.html"), "--feature", best["index"])
        self.assertTrue(os.path.exists(self.path("one.html")))

        # And in the report.
        call("report", "--project", self.project, "--out", self.path("r.html"))
        with open(self.path("r.html")) as f:
            self.assertIn('<article class="feat"', f.read())

    def test_mistakes_are_named(self):
        self.make()
        self.assertIn("no feature 4000", error_of("features", 1, "--project", self.project, "--feature", 4000))
        self.assertIn("not a number", error_of("features", 1, "--project", self.project, "--search", "density>x"))
        self.assertIn("cannot be sorted", error_of("features", 1, "--project", self.project, "--sort", "size"))
        self.assertIn("has no =", error_of("features", 1, "--project", self.project, "--label", "12"))
        write_ids(self.path("ids.json"), [[1, 2, 3, 4, 5, 6, 7, 8]] * 3)
        self.assertIn("hook_resid_post", error_of("run", "features", "--model", LLAMA, "--project", self.project, "--dictionary", self.path("sae"), "--corpus", self.path("ids.json"), "--hook", "blocks.1.hook_resid_pos"))
        call("run", "logit_lens", "--model", LLAMA, "--project", self.project, "--prompt", "When Mary")
        self.assertIn("holds no features", error_of("features", 3, "--project", self.project))


if __name__ == "__main__":
    unittest.main()
