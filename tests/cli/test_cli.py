#!/usr/bin/env python3
"""The command line as its contract says: every command that runs a model or looks at one."""
import json
import os
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import DELTA, LLAMA, CliCase, call, error_of, golden, read_tensors, write_ids  # noqa: E402


class Looking(CliCase):
    def test_version_is_quick_and_loads_no_core(self):
        best = 9
        for _ in range(5):
            t = time.monotonic()
            out, _ = call("--version")
            best = min(best, time.monotonic() - t)
        self.assertRegex(out, r"microtome \d+\.\d+\.\d+")
        self.assertLess(best, 0.3)

    def test_every_command_has_help_with_an_example(self):
        out, _ = call("--help")
        for c in "doctor inspect tokenize forward mixer generate analyses run tasks runs show explain diff gc export report bench demo".split():
            self.assertIn(c, out)
            text, _ = call(c, "--help")
            self.assertIn("Example:", text, c)

    def test_doctor_tests_every_mixer(self):
        out = json.loads(call("doctor", "--json")[0])
        self.assertTrue(out["self_test"])
        self.assertTrue(all(t["ok"] for t in out["self_test"]))
        self.assertIn("gated_delta_rule", [t["mixer"] for t in out["self_test"]])

    def test_inspect_tells_layers_and_hooks(self):
        out = json.loads(call("inspect", DELTA, "--json")[0])
        self.assertEqual([l["kind"] for l in out["layers"]], ["recurrent"] * 4)
        hooks = {h["name"]: h for h in out["hooks"]}
        self.assertEqual(hooks["blocks.3.attn.hook_state"]["axes"], ["batch", "pos", "head", "d_k", "d_v"])
        self.assertEqual(hooks["blocks.3.attn.hook_state"]["sizes"], [-1, -1, 4, 32, 32])
        soft = json.loads(call("inspect", LLAMA, "--json")[0])
        self.assertEqual(soft["parameters"], 1311872)
        self.assertIn("layer", call("inspect", LLAMA)[0])

    def test_tokenize_both_ways(self):
        text = "Then, Jacob and Laura had a lot of fun at the market."
        out = json.loads(call("tokenize", "--model", LLAMA, text, "--json")[0])
        self.assertEqual(out["ids"][:6], [1314, 12, 1023, 328, 1051, 779])
        back = json.loads(call("tokenize", "--model", LLAMA, "--decode", *map(str, out["ids"]), "--json")[0])
        self.assertEqual(back["text"], text)
        with open(self.path("t.json"), "w") as f:
            json.dump([text, ""], f)
        self.assertEqual(json.loads(call("tokenize", "--model", LLAMA, "--texts", self.path("t.json"), "--json")[0])[0]["ids"], out["ids"])

    def test_analyses_and_tasks_are_listed(self):
        names = [a["name"] for a in json.loads(call("analyses", "--json")[0])]
        self.assertEqual(names, sorted(names))
        self.assertLessEqual(set("ablation activation_patching attention attribution_patching dla head_probes logit_lens state_lens states".split()), set(names))
        for n in names:
            self.assertIn("--", call("analyses", n)[0])
        tasks = [t["name"] for t in json.loads(call("tasks", "--json")[0])]
        self.assertEqual(len(tasks), 11)
        call("tasks", "recall", "--model", LLAMA, "--generate", 3, "--out", self.path("r.jsonl"))
        with open(self.path("r.jsonl")) as f:
            self.assertEqual(len([json.loads(l) for l in f]), 3)


class Running(CliCase):
    def test_forward_matches_the_reference(self):
        for model in (LLAMA, DELTA):
            for form in ("naive", "chunk", "auto"):
                call("forward", "--model", model, "--ids-from", model + "/expected.safetensors:input_ids", "--form", form, "--device", "cpu",
                     "--capture", "blocks.*.hook_resid_pre", "--capture", "blocks.3.attn.hook_z@0,-1", "--out", self.path("o.safetensors"))
                got, meta = read_tensors(self.path("o.safetensors"))
                want, _ = read_tensors(model + "/expected.safetensors")
                self.assert_close(got["logits"], want["logits"], 1e-4, 1e-3, model)
                for i in range(4):
                    self.assert_close(got[f"blocks.{i}.hook_resid_pre"], want[f"hidden_states.{i}"], 1e-4, 1e-4)
                self.assertEqual(got["blocks.3.attn.hook_z"][0], [1, 2, 4, 32])
                self.assertEqual(json.loads(meta["positions"])["blocks.3.attn.hook_z"], [0, want["logits"][0][1] - 1])
                self.assertEqual(json.loads(meta["axes"])["logits"], ["batch", "pos", "vocab"])

    def test_captures_are_kept_in_the_type_that_is_asked_for(self):
        write_ids(self.path("ids.json"), [[0, 5, 9, 14, 7, 9, 14]])
        base = ["forward", "--model", LLAMA, "--ids", self.path("ids.json"), "--device", "cpu", "--out", self.path("o.safetensors"),
                "--capture", "blocks.1.attn.hook_pattern", "--capture", "blocks.0.hook_resid_post"]
        call(*base)
        plain, _ = read_tensors(self.path("o.safetensors"))
        call(*base, "--keep-as", "bfloat16")
        got, _ = read_tensors(self.path("o.safetensors"))
        self.assertEqual(got["logits"], plain["logits"])
        for name in ("blocks.1.attn.hook_pattern", "blocks.0.hook_resid_post"):
            self.assertEqual(got[name][0], plain[name][0])
            for bits, x in zip(got[name][1], plain[name][1]):
                (y,) = struct.unpack("<f", struct.pack("<I", bits << 16))
                self.assertLessEqual(abs(x - y), 2**-8 * abs(x))
        self.assertIn("--keep-as", error_of(*base, "--keep-as", "int8"))

    def test_intervention_changes_the_run_and_run_source_restores_it(self):
        write_ids(self.path("ids.json"), [[0, 5, 9, 14, 7, 9, 14]])
        base = ["forward", "--model", DELTA, "--ids", self.path("ids.json"), "--device", "cpu", "--out", self.path("o.safetensors")]
        call(*base)
        plain, _ = read_tensors(self.path("o.safetensors"))
        for source, same in (({"zero": True}, False), ({"run": "clean"}, True)):
            with open(self.path("i.json"), "w") as f:
                json.dump([{"hook": "blocks.1.attn.hook_state", "where": {"pos": [3], "head": [0]}, "operation": "set", "source": source}], f)
            call(*base, "--intervene", self.path("i.json"))
            got, _ = read_tensors(self.path("o.safetensors"))
            worst = max(abs(a - b) for a, b in zip(got["logits"][1], plain["logits"][1]))
            before = max(abs(a - b) for a, b in zip(got["logits"][1][: 3 * 2048], plain["logits"][1][: 3 * 2048]))
            self.assertLess(before, 1e-4)
            (self.assertLess if same else self.assertGreater)(worst, 1e-3)

    def test_mixers_match_their_reference_files(self):
        for name in "linear_attn retention simple_gla gla delta_rule gated_delta_rule softmax_attention".split():
            path = golden(f"golden/mixers/{name}.safetensors")
            want, meta = read_tensors(path)
            cases = json.loads(meta["cases"])
            self.assertTrue(cases)
            for case, about in cases.items():
                flags = [f for f, o in (("--states", "states"), ("--implied", "A")) if o in about["outputs"]]
                call("mixer", name, "--inputs", f"{path}:{case}", *flags, "--device", "cpu", "--out", self.path("o.safetensors"))
                got, _ = read_tensors(self.path("o.safetensors"))
                for o in about["outputs"]:
                    w = want[f"{case}.{o}"]
                    self.assertIn(o, got, f"{name} {case}")
                    scale = max(abs(x) for x in w[1])
                    self.assert_close(got[o], w, 1e-6 + 5e-6 * scale, 0, f"{name} {case} {o}")

    def test_weights_may_stay_in_the_file(self):
        ids = self.path("ids.json")
        write_ids(ids, [[1, 5, 9, 20, 7, 3]])
        model, seen = golden("golden/models/hf-gpt2-bf16"), {}
        for keep in ("resident", "stored", "stream", "auto"):
            out = self.path(keep + ".safetensors")
            call("forward", "--model", model, "--ids", ids, "--device", "cpu", "--weights", keep, "--out", out)
            seen[keep] = read_tensors(out)[0]["logits"]
        for keep in seen:
            self.assertEqual(seen[keep], seen["resident"], keep)
        self.assertIn("--weights", error_of("forward", "--model", model, "--ids", ids, "--weights", "disk", "--out", self.path("x")))

    def test_generate_is_deterministic_and_uses_the_state(self):
        prompt = "Then, Jacob and Laura had a lot of fun at the market. Laura gave a coin to"
        for model in (LLAMA, DELTA):
            out = json.loads(call("generate", "--model", model, "--prompt", prompt, "--max-new", 3, "--device", "cpu", "--json")[0])
            self.assertEqual(out["ids"][0], 1023)      # " Jacob"
            a = call("generate", "--model", model, "--prompt", prompt, "--max-new", 8, "--temperature", 1, "--seed", 3, "--device", "cpu", "--json")[0]
            b = call("generate", "--model", model, "--prompt", prompt, "--max-new", 8, "--temperature", 1, "--seed", 3, "--device", "cpu", "--json")[0]
            self.assertEqual(a, b)

    def test_run_writes_result_and_tensors(self):
        call("run", "activation_patching", "--model", LLAMA, "--task", "ioi", "--prompts", 8, "--site", "resid_pre", "--device", "cpu", "--out", self.path("d"))
        with open(self.path("d/result.json")) as f:
            j = json.load(f)
        got, _ = read_tensors(self.path("d/tensors.safetensors"))
        self.assertIn("effect", got)
        self.assertEqual(got["effect"][0][0], 4)
        text = json.dumps(j)
        self.assertIn("clean_logit_diff", text)
        self.assertIn("resid_pre", text)


class Errors(CliCase):
    def ids(self, rows):
        write_ids(self.path("ids.json"), rows)
        return ["forward", "--model", LLAMA, "--ids", self.path("ids.json"), "--device", "cpu", "--out", self.path("o.safetensors")]

    def test_each_is_one_clear_sentence(self):
        self.assertIn("2048", error_of(*self.ids([[0, 2048]])))
        self.assertIn("-1", error_of(*self.ids([[0, -1]])))
        self.assertIn("256", error_of(*self.ids([[1] * 257])))
        e = error_of(*self.ids([[0, 1]]), "--capture", "blocks.0.attn.hook_zz")
        self.assertIn("hook_zz", e)
        self.assertIn("blocks.0.attn.hook_z", e)
        self.assertIn("position", error_of(*self.ids([[0, 1]]), "--capture", "hook_embed@7"))
        self.assertIn("nosuch", error_of("run", "nosuch", "--model", LLAMA))
        self.assertIn("site", error_of("run", "activation_patching", "--model", LLAMA, "--task", "ioi", "--set", "site=nosuch"))
        self.assertIn("recurrent", error_of("run", "states", "--model", LLAMA, "--task", "ioi", "--prompts", 4, "--device", "cpu"))
        self.assertIn("beta", error_of("run", "activation_patching", "--model", LLAMA, "--task", "ioi", "--prompts", 4, "--site", "beta", "--device", "cpu"))
        self.assertIn("nosuch", error_of("run", "dla", "--model", LLAMA, "--task", "nosuch"))
        self.assertIn("prompts", error_of("run", "dla", "--model", LLAMA))
        self.assertIn("cuda:99", error_of("forward", "--model", LLAMA, "--prompt", "a", "--out", self.path("o"), "--device", "cuda:99"))
        self.assertIn("config.json", error_of("inspect", self.dir))
        error_of("frobnicate")
        error_of("forward")
        self.assertFalse(os.path.exists(self.path("o.safetensors")))

    def test_dataset_lines_are_named(self):
        with open(self.path("d.jsonl"), "w") as f:
            f.write('{"clean": "Then, Jacob gave", "corrupted": "Then, Laura gave", "answer": " a", "wrong_answers": [" the"]}\n')
            f.write('{"clean": "Then, Jacob gave", "corrupted": "Then, Laura and Jacob gave", "answer": " a", "wrong_answers": [" the"]}\n')
        e = error_of("run", "activation_patching", "--model", LLAMA, "--dataset", self.path("d.jsonl"), "--device", "cpu")
        self.assertIn("line 2", e)
        _, err = call("run", "activation_patching", "--model", LLAMA, "--dataset", self.path("d.jsonl"), "--drop-unequal", "--device", "cpu")
        self.assertIn("warning", err)

    def test_broken_files_have_the_expected_outcome(self):
        index = golden("golden/bad/index.json")
        root = os.path.dirname(index)
        with open(index) as f:
            cases = json.load(f)
        seen = 0
        for c in cases:
            folder = os.path.join(root, c["name"])
            if c["kind"] != "config" and not os.path.exists(folder):
                continue
            if not os.path.exists(folder):
                continue
            seen += 1
            with self.subTest(c["name"]):
                if c["kind"] == "container":
                    args = ["inspect", os.path.join(folder, "model.safetensors")]
                elif c["kind"] == "tokenizer":
                    args = ["tokenize", "--tokenizer", os.path.join(folder, "tokenizer.json"), "text"]
                else:
                    write_ids(self.path("ids.json"), [[1, 2, 3]])
                    args = ["forward", "--model", folder, "--ids", self.path("ids.json"), "--device", "cpu", "--out", self.path("o.safetensors")]
                if c["expect"] == "error":
                    e = error_of(*args)
                    self.assertLess(len(e), 1000)
                    self.assertNotIn("\n", e)
                    if c["kind"] in ("config", "index", "model", "pickle"):
                        error_of("inspect", folder)
                elif c["expect"] == "warn":
                    self.assertIn("warning", call(*args)[1])
                else:
                    call(*args)
        self.assertGreaterEqual(seen, 40)

    def test_named_remedies(self):
        for case, words in {"unknown-model-type": ["frobnicator", "gated_deltanet", "llama"], "missing-tensor": ["transformer.h.1.ln_2.bias"],
                            "wrong-shape": ["[64,63]", "[64,64]"], "lfs-pointer": ["LFS"], "int-weights": ["I32"]}.items():
            folder = golden("golden/bad/" + case)
            if folder is None:
                continue
            target = folder if os.path.exists(os.path.join(folder, "config.json")) else os.path.join(folder, "model.safetensors")
            e = error_of("inspect", target)
            for w in words:
                self.assertIn(w, e)


if __name__ == "__main__":
    unittest.main(verbosity=1)
