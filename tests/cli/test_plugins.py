#!/usr/bin/env python3
"""A plug-in's analysis on the command line: listed, run with flags, kept, resumed, reported; and what is said of bad ones."""
import hashlib
import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import DELTA, LLAMA, CliCase, call, error_of, read_tensors  # noqa: E402

EXAMPLES = os.environ["MICROTOME_EXAMPLES"]
LIBRARY = os.path.join(EXAMPLES, "token_surprisal.so")


def env(path=EXAMPLES, **more):
    out = {k: v for k, v in os.environ.items() if k not in ("MICROTOME_PLUGIN_PATH", "XDG_DATA_HOME")}
    out["XDG_DATA_HOME"] = "/nonexistent"
    if path:
        out["MICROTOME_PLUGIN_PATH"] = path
    out.update(more)
    return out


class Plugins(CliCase):
    def test_listed_with_their_file(self):
        names = {a["name"]: a["plugin"] for a in json.loads(call("analyses", "--json", env=env())[0])}
        self.assertEqual(os.path.basename(names["token_surprisal"]), "token_surprisal.so")
        self.assertEqual(names["ablation"], "")
        without = [a["name"] for a in json.loads(call("analyses", "--json", env=env(None))[0])]
        self.assertNotIn("token_surprisal", without)
        self.assertEqual(sorted(names), sorted(without + ["token_surprisal", "shared_prefix"]))
        text, _ = call("analyses", "token_surprisal", env=env())
        for part in ("--unit", "nats|bits", "Levy 2008", "[prompt,pos]", "token_surprisal.so"):
            self.assertIn(part, text)

    def test_doctor_lists_plugins_and_problems(self):
        with open(self.path("broken.so"), "w") as f:
            f.write("nothing")
        out = json.loads(call("doctor", "--json", env=env(EXAMPLES + ":" + self.dir))[0])
        found = {p["name"]: p for p in out["plugins"]}
        self.assertEqual(found["token surprisal (example)"]["analyses"], ["token_surprisal"])
        with open(LIBRARY, "rb") as f:
            self.assertEqual(found["token surprisal (example)"]["hash"], hashlib.sha256(f.read()).hexdigest())
        self.assertEqual(len(out["plugin_problems"]), 1)
        self.assertIn("broken.so", out["plugin_problems"][0])
        text, _ = call("doctor", env=env(EXAMPLES + ":" + self.dir))
        self.assertIn("token surprisal (example) 1.0, token_surprisal", text)
        self.assertIn("Plug-in problem: ", text)
        self.assertIn("none found (looked into ", call("doctor", env=env(None))[0])

    def test_runs_with_flags_store_resume_and_report(self):
        project = self.path("p.microtome")
        args = ("run", "token_surprisal", "--model", LLAMA, "--task", "ioi", "--prompts", 12, "--unit", "bits", "--set", "top=4", "--project", project)
        out, _ = call(*args, "--out", self.path("out"), env=env())
        self.assertIn("bits a token", out)
        with open(self.path("out/result.json")) as f:
            result = json.load(f)
        with open(LIBRARY, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        self.assertIn(digest, json.dumps(result))
        tensors, _ = read_tensors(self.path("out/tensors.safetensors"))
        self.assertEqual(tensors["surprisal"][0][0], 12)
        self.assertIn("answered from the project", call(*args, env=env())[0])
        nats, _ = call(*args, "--unit=nats", env=env())
        self.assertNotIn("answered from the project", nats)
        # What is stored is read without the plug-in.
        self.assertIn("token_surprisal", call("runs", "--project", project, env=env(None))[0])
        self.assertIn("Least expected", call("show", 1, "--project", project, env=env(None))[0])
        self.assertIn(digest, call("explain", 1, "--project", project, env=env(None))[0])
        call("report", "--project", project, "--out", self.path("r.html"), env=env(None))
        with open(self.path("r.html")) as f:
            page = f.read()
        self.assertIn("Least expected tokens", page)
        self.assertIn("Levy 2008", page)
        call("export", 1, "--project", project, "--format", "csv", "--out", self.path("csv"), env=env(None))
        call("run", "shared_prefix", "--model", DELTA, "--task", "induction", "--prompts", 5, env=env())

    def test_wrong_use_is_named(self):
        run = ("run", "token_surprisal", "--model", LLAMA)
        self.assertIn("needs prompts", error_of(*run, env=env()))
        self.assertIn("this analysis has --top, --unit, --batch_size", error_of(*run, "--task", "ioi", "--units", "bits", env=env()))
        self.assertIn("nats, bits", error_of(*run, "--task", "ioi", "--unit", "hartley", env=env()))
        with open(self.path("broken.so"), "w") as f:
            f.write("nothing")
        text = error_of(*run, "--task", "ioi", env=env(self.dir))
        self.assertIn("there is no analysis 'token_surprisal'", text)
        self.assertIn("1 plug-in problem (`microtome doctor` lists them)", text)
        _, err = call("analyses", env=env("/nonexistent/folder"))
        self.assertIn("warning: the plug-in folder does not exist (/nonexistent/folder)", err)

    def test_found_in_the_users_folder(self):
        folder = self.path("data/microtome/plugins")
        os.makedirs(folder)
        shutil.copy(LIBRARY, folder)
        out = json.loads(call("analyses", "token_surprisal", "--json", env=env(None, XDG_DATA_HOME=self.path("data")))[0])
        self.assertTrue(os.path.samefile(out["plugin"], os.path.join(folder, "token_surprisal.so")))


if __name__ == "__main__":
    unittest.main()
