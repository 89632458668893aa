"""scripts/bench says what it can do, refuses what it cannot, and writes its figures in the form that others read.

Nothing is measured here: figures do not belong into a test.
"""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "scripts", "bench")


def run(*args):
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, timeout=30)


def load():
    spec = importlib.util.spec_from_loader("bench", importlib.machinery.SourceFileLoader("bench", SCRIPT))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load()

# case, value, unit, against, what the other reached -> ratio, met
FIGURES = [
    ("a limit, met",             ("drain", 80.0, "jobs/s", "limit", 100.0), 0.8, True),
    ("a limit, missed",          ("drain", 79.0, "jobs/s", "limit", 100.0), 0.79, False),
    ("ahead of a peer",          ("drain", 2.0, "jobs/s", "beanstalkd", 1.0), 2.0, True),
    ("a peer without a bar",     ("enqueue", 1.0, "jobs/s", "celery", 4.0), 0.25, None),
    ("alone, with a bar",        ("latency_p99", 3.1, "ms"), None, False),
    ("alone, without",           ("command_p50", 0.2, "ms"), None, None),
]


class Bench(unittest.TestCase):
    def test_help_names_every_case(self):
        r = run("--help")
        self.assertEqual(r.returncode, 0, r.stderr)
        for word in bench.CASES + ["--json", "--peers DIR", "--quick", "--all"]:
            self.assertIn(word, r.stdout)

    def test_unknown_case_is_a_usage_error(self):
        r = run("drain", "speed")
        self.assertEqual(r.returncode, 2)
        self.assertIn("no such case: speed", r.stderr)

    def test_every_case_is_measured_by_one_group(self):
        self.assertEqual(sorted(c for group, _ in bench.GROUPS for c in group), sorted(bench.CASES))

    def test_json_lines(self):
        for title, args, ratio, met in FIGURES:
            with self.subTest(title):
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    bench.Report(as_json=True).figure(*args)
                self.assertEqual(out.getvalue().count("\n"), 1)
                line = json.loads(out.getvalue())
                self.assertEqual(list(line)[:5], ["case", "value", "unit", "against", "ratio"])
                self.assertEqual((line["case"], line["value"], line["unit"]), args[:3])
                self.assertEqual(line["against"], args[3] if len(args) > 3 else None)
                self.assertEqual(line["ratio"], ratio)
                self.assertEqual(line.get("met"), met)

    def test_medians(self):
        rows = [{"rate": 3, "p99": 1}, {"rate": 1, "p99": 9}, {"rate": 2}]
        self.assertEqual(bench.cases.median(rows), {"rate": 2})


if __name__ == "__main__":
    unittest.main(verbosity=2)
