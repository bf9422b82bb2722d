#!/usr/bin/env python3
"""bench: JSON that says what was measured where, and the README's table made of it."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(__file__))
from cli_case import CliCase, call, error_of  # noqa: E402


class Bench(CliCase):
    def test_json_and_table(self):
        out = self.path("bench.json")
        call("bench", "forward", "decode", "--small", "--device", "cpu", "--out", out)
        with open(out) as f:
            all = json.load(f)
        for key in ("device", "dtype", "tf32", "threads", "libtorch", "microtome"):
            self.assertIn(key, all)
        rows = all["forward"]["table"] + all["decode"]["table"]
        self.assertGreaterEqual(len(rows), 4)
        for row in rows:
            self.assertGreater(row["median_s"], 0)
            self.assertGreater(row["bytes"] if "bytes" in row else row["flop"], 0)
        self.assertGreater(all["forward"]["bytes_cached"], 1000000)
        self.assertLess(all["decode"]["delta rule"]["max_abs_difference_to_plain"], 1e-3)
        table = call("bench", "--table", out)[0].splitlines()
        self.assertTrue(table[0].startswith("| workload |"))
        self.assertEqual(len(table), 2 + len(rows))
        self.assertIn("tokens/s", table[-1])
        readme = self.path("README.md")
        with open(readme, "w") as f:
            f.write("# Speed\n<!-- speed -->\n| old |\n<!-- /speed -->\nEnd.\n")
        call("bench", "--table", out, "--out", readme)
        with open(readme) as f:
            self.assertEqual(f.read().splitlines(), ["# Speed", "<!-- speed -->", *table, "<!-- /speed -->", "End."])
        self.assertIn("no lines", error_of("bench", "--table", out, "--out", out))

    def test_mistakes_are_told(self):
        self.assertIn("there is no benchmark", error_of("bench", "nothing", "--device", "cpu"))
        broken = self.path("broken.json")
        with open(broken, "w") as f:
            f.write("{}")
        self.assertIn("no result of", error_of("bench", "--table", broken))


if __name__ == "__main__":
    unittest.main()
