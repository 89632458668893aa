#!/usr/bin/env python3
"""test_sql2h.py - what the build makes of .sql files, and what it refuses."""
import os
import subprocess
import sys
import tempfile
import unittest

TOOL = sys.argv.pop()

GOOD = [
    ("a plain query", "-- name: a\nSELECT 1", ["SQL_A", '.nparams = 0', '.reads = true', '"SELECT 1"']),
    ("comments and the last semicolon are not sent", "-- name: a\n-- words; 'and more\nSELECT $1::int;\n",
     ['.nparams = 1', '.text = "SELECT $1::int"']),
    ("a parameter used twice counts once", "-- name: a\nSELECT $1::int, $1, $2::text", ['.nparams = 2']),
    ("what looks like a parameter in a string is none", "-- name: a\nSELECT '$7', $$ $8 $$, \"$9\", $1::int",
     ['.nparams = 1']),
    ("quotes, backslashes and UTF-8", "-- name: a\nSELECT E'\\n', '\"', 'محور'",
     [r"E'\\n'", r"'\"'", r"\331\205"]),
    ("INSERT writes", "-- name: a\nINSERT INTO t VALUES ($1)", ['.reads = false']),
    ("a writing CTE writes", "-- name: a\nWITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x", ['.reads = false']),
    ("a lock writes", "-- name: a\nSELECT 1 FROM t FOR NO KEY\n UPDATE SKIP LOCKED", ['.reads = false']),
    ("a reading CTE reads", "-- name: a\nWITH x AS (SELECT 1) SELECT * FROM x", ['.reads = true']),
    ("a sequence writes", "-- name: a\nSELECT nextval('s')", ['.reads = false']),
    ("an advisory lock writes", "-- name: a\nSELECT pg_try_advisory_lock(1)", ['.reads = false']),
    ("a word that only contains one reads", "-- name: a\nSELECT updated_at, deleted FROM t", ['.reads = true']),
    ("two queries", "-- name: a\nSELECT 1;\n\n-- name: b_2\nSELECT 2;", ["SQL_A", "SQL_B_2"]),
]
BAD = [
    ("two statements", "-- name: a\nSELECT 1; SELECT 2", "more than one statement"),
    ("a gap in the parameters", "-- name: a\nSELECT $1::int, $3::int", "skips $2"),
    ("no statement", "-- name: a\n-- nothing\n", "has no statement"),
    ("text before the first name", "SELECT 1\n-- name: a\nSELECT 1", "before the first"),
    ("a name in capitals", "-- name: A\nSELECT 1", "is no name"),
]


def run(mode, files):
    with tempfile.TemporaryDirectory() as d:
        paths = []
        for name, text in files:
            paths.append(os.path.join(d, name))
            with open(paths[-1], "w", encoding="utf-8") as f:
                f.write(text)
        out = os.path.join(d, "out")
        p = subprocess.run([sys.executable, TOOL, mode, out] + paths, capture_output=True, text=True)
        text = None
        if os.path.exists(out):
            with open(out) as f:
                text = f.read()
        return p.returncode, p.stderr, text


class Sql2h(unittest.TestCase):
    def test_good(self):
        for title, text, wants in GOOD:
            with self.subTest(title):
                status, words, out = run("header", [("q.sql", text)])
                self.assertEqual(status, 0, words)
                for want in wants:
                    self.assertIn(want, out)

    def test_bad(self):
        for title, text, want in BAD:
            with self.subTest(title):
                status, words, out = run("header", [("q.sql", text)])
                self.assertEqual((status, out), (1, None))
                self.assertIn(want, words)

    def test_a_name_is_unique_in_the_house(self):
        files = [("a.sql", "-- name: x\nSELECT 1"), ("b.sql", "-- name: x\nSELECT 2")]
        status, words, _ = run("registry", files)
        self.assertEqual(status, 1)
        self.assertIn("already", words)
        status, words, out = run("registry", files[:1])
        self.assertIn("ALL_QUERIES = 1", out)

    def test_steps(self):
        one, two = ("0001_a.sql", "CREATE TABLE a ();"), ("0002_b.sql", "CREATE TABLE b ();")
        status, words, out = run("steps", [two, one])
        self.assertEqual(status, 0, words)
        self.assertLess(out.index('"a"'), out.index('"b"'))
        for files, want in (([two], "0001 was expected"), ([one, ("0003_c.sql", "")], "0002 was expected"),
                            ([("0001_a.sql", "BEGIN;\nSELECT 1;\nCOMMIT;")], "transaction")):
            status, words, _ = run("steps", files)
            self.assertEqual(status, 1)
            self.assertIn(want, words)
        # a function's own BEGIN is not a transaction's
        status, words, _ = run("steps", [("0001_a.sql", "CREATE FUNCTION f() AS $$ BEGIN; COMMIT; $$;")])
        self.assertEqual(status, 0, words)


if __name__ == "__main__":
    unittest.main()
