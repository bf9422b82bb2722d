"""Training from a file: what comes out is read back, a second call goes on or answers, mistakes cost nothing."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

from cli_case import LLAMA, PROGRAM, call, error_of, read_tensors

TEXT = "When Mary and John went to the store, John gave a drink to Mary. The old cat sat by the door and looked at the rain.\n"


class Training(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        with open(self.path("text.txt"), "w") as f:
            f.write(TEXT * 120)
        self.spec = {"model": LLAMA, "corpus": "text.txt", "tokens": 1500, "batch": 100, "length": 32, "expansion": 1, "k": 8, "buffer": 4,
                     "checkpoint_every": 5, "eval_tokens": 100, "device": "cpu", "threads": 1}

    def tearDown(self):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, **more):
        spec = {**self.spec, **more}
        with open(self.path(name), "w") as f:
            json.dump(spec, f)
        return self.path(name)

    def test_a_file_is_trained_and_answered_again(self):
        spec = self.write("small.json", hook="blocks.1.hook_resid_post")
        out = call("train", "sae", spec)[0]
        self.assertIn("active features a token explain", out)
        shown = json.loads(call("dictionary", "show", self.path("small-dictionaries"), "--model", LLAMA, "--json")[0])
        self.assertIn("topk", json.dumps(shown))
        self.assertIn("answered from the project", call("train", "sae", spec)[0])
        result = json.loads(call("show", "1", "--project", self.path("small.microtome"), "--json")[0])
        self.assertEqual({s["name"] for s in result["summary"]}, {"l0", "fvu", "ce_recovered", "kl_recovered", "dead", "dense", "bias"})
        self.assertEqual([s["value"] for s in result["summary"] if s["name"] == "l0"], [8])

    def test_transcoders_are_written_in_a_form_that_holds_them(self):
        out = call("train", "transcoder", self.write("t.json", variant="skip", layers="0-1", out="made", project="t.microtome"))[0]
        self.assertIn("sparsify", out)
        self.assertTrue(os.path.isdir(self.path("made")))
        out = call("train", "transcoder", self.write("j.json", kind="jumprelu", layers="0,2", sparsity="tanh"))[0]
        self.assertTrue(os.path.isdir(self.path("j-dictionaries")))

    def test_mistakes_cost_nothing(self):
        for change, words in (({"corpus": "no.txt"}, "no.txt"), ({"colour": 3}, "colour"), ({"batch": 100000}, "a batch takes"),
                              ({"hook": "blocks.9.hook_resid_post"}, "blocks.9"), ({"k": 100000}, "k"), ({"format": "gemma_scope"}, "only read"),
                              ({"sweep": "1,x"}, "not a number")):
            self.assertIn(words, error_of("train", "sae", self.write("bad.json", **change)))
            self.assertFalse(os.path.exists(self.path("bad-dictionaries")))
        self.assertIn("no layers", error_of("train", "transcoder", self.write("bad.json", layers="0-9")))
        error = error_of("train", "sae", self.write("wild.json", lr=10, warmup=0, kind="gated", log_every=1, tokens=3000), code=1)
        self.assertIn("at step", error)

    def test_a_failed_run_exports_its_last_checkpoint(self):
        # Without schedules a shorter training is the beginning of a longer one.
        wild = dict(hook="blocks.1.hook_resid_post", kind="gated", lr=0.22, warmup=0, decay=0, sparsity_warmup=0, log_every=1, checkpoint_every=1)
        self.assertIn("at step", error_of("train", "sae", self.write("wild.json", tokens=6000, **wild), code=1))
        project = self.path("wild.microtome")
        said = call("export", 1, "--project", project, "--format", "saelens", "--out", self.path("kept"))[1]
        kept = re.search(r"run 1 is not done \(failed: .*at step (\d+) .*\): these are the dictionaries of its last checkpoint, step (\d+) of 60\n", said)
        self.assertTrue(kept, said)
        self.assertEqual(int(kept[1]), int(kept[2]) + 1)
        call("train", "sae", self.write("short.json", tokens=100 * int(kept[2]), **wild))
        self.assertEqual(read_tensors(self.path("kept/sae_weights.safetensors"))[0], read_tensors(self.path("short-dictionaries/sae_weights.safetensors"))[0])
        self.assertIn("is not finished", error_of("export", 1, "--project", project, "--format", "json", "--out", self.path("no")))

    def test_a_paused_run_exports_its_last_checkpoint(self):
        spec = self.write("long.json", layers="0-1", variant="cross_layer", kind="jumprelu", sparsity="tanh", tokens=10000000, checkpoint_every=2)
        p = subprocess.Popen([PROGRAM, "train", "transcoder", spec], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        project = self.path("long.microtome")
        for _ in range(600):
            time.sleep(0.1)
            if os.path.exists(project) and "0/" not in call("runs", "--project", project)[0].replace("10/", ""):
                break
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=120)
        self.assertEqual(p.returncode, 130)
        said = call("export", 1, "--project", project, "--format", "circuit_tracer", "--out", self.path("kept"))[1]
        self.assertRegex(said, r"run 1 is not done \(paused\): these are the dictionaries of its last checkpoint, step [1-9]\d* of 100000\n")
        shown = json.loads(call("dictionary", "show", self.path("kept"), "--model", LLAMA, "--json")[0])["dictionaries"]
        self.assertEqual([d["fits_model"] for d in shown], [True, True])


if __name__ == "__main__":
    unittest.main()
