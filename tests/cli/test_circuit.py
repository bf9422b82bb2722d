#!/usr/bin/env python3
"""Circuits as files and pictures: `circuit` and `export`."""
import csv
import json
import os
import sqlite3
import sys
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import DELTA, CliCase, call, error_of  # noqa: E402

NODES = ["input", "a0.h0", "a0.h1", "m0", "a1.h0", "logits"]
EDGES = [("input", "a0.h0<q>", 0.5), ("a0.h0", "m0", -0.9), ("m0", "a1.h0<k>", 0.3), ("a1.h0", "logits", 0.25), ("input", "a0.h1<beta>", 0.8), ("input", "logits", 0.01)]


def mib(edges=EDGES, inside=lambda e: True, **more):
    return {"cfg": {"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8}, "nodes": {n: True for n in NODES},
            "edges": {f"{a}->{b}": {"score": s, "in_graph": inside((a, b, s))} for a, b, s in edges}, **more}


def inside(path):
    with open(path) as f:
        return {k for k, e in json.load(f)["edges"].items() if e["in_graph"]}


class Circuits(CliCase):
    def put(self, name, content):
        with open(self.path(name), "w") as f:
            json.dump(content, f)
        return self.path(name)

    def test_choosing_edges(self):
        a, out = self.put("a.json", mib()), self.path("out.json")
        call("circuit", "top", a, "--n", 3, "--out", out)
        self.assertEqual(inside(out), {"a0.h0->m0", "input->a0.h1<beta>", "input->a0.h0<q>"})
        call("circuit", "top", a, "--n", 2, "--by", "score", "--out", out)
        self.assertEqual(inside(out), {"input->a0.h1<beta>", "input->a0.h0<q>"})
        call("circuit", "top", a, "--percent", 50, "--out", out)
        self.assertEqual(len(inside(out)), 3)
        call("circuit", "threshold", a, "--at", 0.3, "--out", out)
        self.assertEqual(inside(out), {"a0.h0->m0", "input->a0.h1<beta>", "input->a0.h0<q>", "m0->a1.h0<k>"})
        call("circuit", "top", out, "--n", 1, "--within", "--out", out)
        self.assertEqual(inside(out), {"a0.h0->m0"})
        _, err = call("circuit", "prune", a, "--out", out)
        self.assertIn("pruned: 1 edge and 1 node", err)
        self.assertEqual(inside(out), {f"{f}->{t}" for f, t, _ in EDGES} - {"input->a0.h1<beta>"})
        _, err = call("circuit", "threshold", a, "--at", 0.3, "--prune", "--out", out)
        self.assertEqual(inside(out), set())                     # the way ends at a1.h0
        with open(out) as f:
            self.assertEqual(json.load(f)["cfg"]["extensions"], ["<beta>"])

    def test_sets_and_comparison(self):
        a = self.put("a.json", mib(inside=lambda e: e[2] > 0.2))
        b = self.put("b.json", mib(inside=lambda e: e[2] < 0.4))
        in_a, in_b = inside(a), inside(b)
        for operation, want in (("union", in_a | in_b), ("intersection", in_a & in_b), ("difference", in_a - in_b)):
            call("circuit", operation, a, b, "--out", self.path("o.json"))
            self.assertEqual(inside(self.path("o.json")), want, operation)
        call("circuit", "difference", a, b, a, "--out", self.path("o.json"))
        self.assertEqual(inside(self.path("o.json")), set())
        j = json.loads(call("circuit", "compare", a, b, "--json")[0])
        self.assertEqual(j["edges"]["both"], len(in_a & in_b))
        self.assertAlmostEqual(j["edges"]["jaccard"], len(in_a & in_b) / len(in_a | in_b))
        self.assertIn("Jaccard", call("circuit", "compare", a, b)[0])

    def test_groups_and_show(self):
        a = self.put("a.json", mib())
        call("circuit", "group", a, "--name", "name movers", "--nodes", "a0.h0, a1.h0", "--out", self.path("g.json"))
        j = json.loads(call("circuit", "show", self.path("g.json"), "--json")[0])
        self.assertEqual(j["groups"], [{"name": "name movers", "nodes": ["a0.h0", "a1.h0"]}])
        self.assertEqual(j["counts"]["edges"], 6)
        self.assertEqual(j["counts"]["heads"], 3)
        self.assertEqual(j["ports"]["beta"], 1)
        self.assertEqual(j["edges"][0], {"from": "a0.h0", "to": "m0", "score": -0.9})
        out, _ = call("circuit", "show", self.path("g.json"), "--edges", 2)
        self.assertIn("6 of 6 edges", out)
        self.assertIn("name movers", out)
        self.assertIn("and 4 weaker edges", out)
        self.assertIn("'a7.h0'", error_of("circuit", "group", a, "--name", "x", "--nodes", "a7.h0", "--out", self.path("x.json")))

    def test_pictures_by_the_ending(self):
        a = self.put("a.json", mib(inside=lambda e: e[2] > 0.2))
        call("circuit", "prune", self.put("all.json", mib()), "--out", self.path("c.svg"))
        svg = ElementTree.parse(self.path("c.svg")).getroot()
        self.assertTrue(svg.tag.endswith("svg"))
        self.assertIn("a0.h0 → m0: −0.9", "".join(svg.itertext()))
        call("circuit", "threshold", a, "--at", 0.2, "--out", self.path("c.graphml"))
        ns = "{http://graphml.graphdrawing.org/xmlns}"
        self.assertEqual(len(ElementTree.parse(self.path("c.graphml")).getroot().findall(f".//{ns}edge")), 5)
        call("circuit", "threshold", a, "--at", 0.2, "--all-edges", "--out", self.path("c.graphml"))
        self.assertEqual(len(ElementTree.parse(self.path("c.graphml")).getroot().findall(f".//{ns}edge")), 6)
        call("circuit", "threshold", a, "--at", 0.2, "--format", "dot", "--out", self.path("c.txt"))
        with open(self.path("c.txt")) as f:
            self.assertIn("digraph", f.read())
        call("circuit", "threshold", a, "--at", 0.2, "--out", self.path("c.csv"))
        with open(self.path("c.csv"), newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(rows[0], {"from": "input", "to": "a0.h0", "port": "q", "score": "0.5", "in_graph": "true"})
        self.assertEqual(len(rows), 6)

    def test_bad_use_says_what_to_do(self):
        a = self.put("a.json", mib())
        self.assertIn("--out", error_of("circuit", "prune", a))
        self.assertIn("--n or --percent", error_of("circuit", "top", a, "--out", self.path("o.json")))
        self.assertIn("two or more circuits", error_of("circuit", "union", a, "--out", self.path("o.json")))
        self.assertIn("two circuits", error_of("circuit", "compare", a))
        self.assertIn("--project", error_of("circuit", "show", "3"))
        error_of("circuit", "show", self.path("none.json"))
        error_of("circuit", "melt", a)
        error_of("circuit", "top", a, "--n", "many", "--out", self.path("o.json"))
        bad = mib()
        bad["edges"]["m0->a0.h0<q>"] = True
        self.assertIn("'m0->a0.h0<q>'", error_of("circuit", "show", self.put("bad.json", bad)))
        self.assertFalse(os.path.exists(self.path("o.json")))
        self.assertIn("circuit top", call("circuit", "--help")[0])

    def project(self, *names):
        """A project whose run holds circuits, put there as a store keeps them."""
        p = self.path("p.microtome")
        call("run", "dla", "--model", DELTA, "--task", "ioi", "--prompts", "4", "--device", "cpu", "--project", p)
        db = sqlite3.connect(p)
        (last,) = db.execute("SELECT max(position) FROM artifacts WHERE run_id = 1").fetchone()
        for i, name in enumerate(names):
            body = {"name": name, "title": "", "n_layers": 2, "n_heads": 2, "d_model": 8, "parallel_attn_mlp": False,
                    "nodes": [[n, True, 0] for n in NODES], "edges": [[a, b, True, s] for a, b, s in EDGES]}
            db.execute("INSERT INTO artifacts VALUES (1, ?, 'circuit', ?, ?)", (last + 1 + i, name, json.dumps(body)))
        db.commit()
        db.close()
        return ["--project", p]

    def test_runs_of_a_project(self):
        p = self.project("eap")
        call("export", 1, *p, "--format", "mib", "--out", self.path("c.json"))
        self.assertEqual(inside(self.path("c.json")), {f"{f}->{t}" for f, t, _ in EDGES})
        call("export", 1, *p, "--format", "svg", "--out", self.path("c.svg"))
        with open(self.path("c.svg")) as f:
            self.assertIn("recurrent layer", f.read())           # the run knows its model
        for form in ("dot", "graphml"):
            call("export", 1, *p, "--format", form, "--out", self.path("c." + form))
            self.assertGreater(os.path.getsize(self.path("c." + form)), 500)
        call("export", 1, *p, "--format", "csv", "--out", self.path("csv"))
        self.assertIn("eap.csv", os.listdir(self.path("csv")))
        call("circuit", "top", 1, *p, "--n", 2, "--out", self.path("top.json"))
        self.assertEqual(len(inside(self.path("top.json"))), 2)
        j = json.loads(call("circuit", "compare", 1, self.path("top.json"), *p, "--json")[0])
        self.assertEqual(j["edges"], {"a": 6, "b": 2, "both": 2, "jaccard": 2 / 6})
        self.assertIn("6 of 6 edges", call("show", 1, *p)[0])
        call("report", *p, "--out", self.path("r.html"))
        with open(self.path("r.html")) as f:
            self.assertIn('<svg class="cg"', f.read())

    def test_several_circuits_in_a_run(self):
        p = self.project("eap", "eap/ig")
        self.assertIn("'eap', 'eap/ig'", error_of("circuit", "show", 1, *p))
        self.assertIn("6 of 6", call("circuit", "show", "1:eap", *p)[0])
        self.assertIn("6 of 6", call("circuit", "show", 1, "--artifact", "eap/ig", *p)[0])
        self.assertIn("'nope'", error_of("circuit", "show", "1:nope", *p))
        call("export", 1, *p, "--format", "mib", "--out", self.path("all"))
        self.assertEqual(sorted(os.listdir(self.path("all"))), ["eap.json", "eap_ig.json"])
        call("export", 1, *p, "--format", "mib", "--artifact", "eap", "--out", self.path("one.json"))
        self.assertTrue(os.path.isfile(self.path("one.json")))
        self.assertIn("'nope'", error_of("export", 1, *p, "--format", "mib", "--artifact", "nope", "--out", self.path("x.json")))


class FromModelToVerdict(CliCase):
    """A circuit found in a model, exported, cut down, evaluated and reported."""

    def result(self, *args):
        out, err = call("run", *args, "--device", "cpu", "--out", self.path("out"))
        with open(os.path.join(self.path("out"), "result.json")) as f:
            return json.load(f), err

    def number(self, result, name):
        return next(s["value"] for s in result["summary"] if s["name"] == name)

    def test_found_exported_cut_evaluated_reported(self):
        task = ["--model", DELTA, "--task", "ioi", "--prompts", 12, "--project", self.path("p.microtome")]
        self.result("eap_ig", *task)
        call("export", 1, "--project", self.path("p.microtome"), "--format", "mib", "--out", self.path("c.json"))
        call("circuit", "top", self.path("c.json"), "--percent", 5, "--prune", "--out", self.path("small.json"))
        kept = len(inside(self.path("small.json")))
        self.assertGreater(kept, 0)
        r, _ = self.result("circuit_eval", *task, "--circuit", self.path("small.json"), "--reference", self.path("c.json"), "--subsets", 2)
        self.assertEqual(self.number(r, "circuit_edges"), kept)
        self.assertGreater(self.number(r, "faithfulness"), 0.5)
        self.assertGreater(self.number(r, "CPR"), 0.8)
        # The reference is the best 10 % by the same scores, so scores tell its edges from others all but perfectly.
        self.assertGreater(self.number(r, "roc_area_edges"), 0.95)
        # Another content under the same name is another run.
        call("circuit", "top", self.path("c.json"), "--percent", 1, "--out", self.path("small.json"))
        again, _ = self.result("circuit_eval", *task, "--circuit", self.path("small.json"), "--subsets", 2)
        self.assertNotEqual(self.number(again, "circuit_edges"), kept)
        call("report", "--project", self.path("p.microtome"), "--out", self.path("r.html"))
        with open(self.path("r.html")) as f:
            self.assertIn("<svg", f.read())

    def test_circuits_that_do_not_fit_are_named(self):
        task = ["--model", DELTA, "--task", "ioi", "--prompts", 4, "--device", "cpu"]
        for name, content, says in (("other", mib(), "a0.h0<q>"), ("none", mib(inside=lambda e: False), "no edge"), ("bare", {"edges": {}}, "")):
            path = os.path.join(self.path(name + ".json"))
            if name == "other":
                content["edges"]["a0.h0->a7.h9<q>"] = {"score": 1.0, "in_graph": True}
                content["cfg"] = {}
                content["nodes"]["a7.h9"] = True
                says = "a7.h9"
            with open(path, "w") as f:
                json.dump(content, f)
            e = error_of("run", "circuit_eval", *task, "--circuit", path)
            self.assertIn(says, e)
        self.assertIn("missing.json", error_of("run", "circuit_eval", *task, "--circuit", self.path("missing.json")))

    def test_a_task_that_the_model_fails_is_said_first(self):
        call("tasks", "ioi", "--model", DELTA, "--generate", 12, "--out", self.path("t.jsonl"))
        with open(self.path("t.jsonl")) as f:
            lines = [json.loads(l) for l in f]
        with open(self.path("t.jsonl"), "w") as f:
            for l in lines:
                wrong = l["wrong_answers"][0]
                f.write(json.dumps({"clean": l["clean"], "corrupted": l["corrupted"], "answer": wrong, "wrong_answers": [l["answer"]]}) + "\n")
        r, err = self.result("eap", "--model", DELTA, "--dataset", self.path("t.jsonl"))
        self.assertRegex(err, r"warning: the model fails this task: of 12 prompts [0-9.]+ % are answered right")
        self.assertTrue(any("fails this task" in w for w in r["warnings"]))
        self.assertTrue(any(t["name"] == "metric_distribution" for t in r["tables"]))
        _, err = self.result("eap", "--model", DELTA, "--task", "ioi", "--prompts", 12)
        self.assertNotIn("warning", err)


if __name__ == "__main__":
    unittest.main(verbosity=1)
