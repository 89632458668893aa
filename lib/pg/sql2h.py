#!/usr/bin/env python3
"""Named queries of .sql files -> C.

    sql2h.py header   OUT FILE.sql        FILE.sql.h: static const struct sql SQL_ORDER_GET = {...}; for each query
    sql2h.py registry OUT FILE.sql ...    every query of the house in one table, for the test that prepares them all
    sql2h.py steps    OUT NNNN_name.sql ... the migrations as migrations[] (lib/pg/migrate.h)

A file is a row of blocks:

    -- name: order_get
    -- Comment lines may follow; they are for the reader and are not sent.
    SELECT id, status FROM product_orders WHERE id = $1;

Refused here, not in production: a name used twice (statements are prepared by name), a second statement in a block,
a gap in the parameters ($1 and $3 without $2), text outside a block."""
import hashlib
import os
import re
import sys

NAME = re.compile(r"^--\s*name:\s*(\S+)\s*$")
# What a statement may hold that is not its own words: strings, quoted names, dollar quotes, comments.
OPAQUE = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$([A-Za-z_]*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.S)
WRITES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|INTO|FOR\s+(NO\s+KEY\s+)?(UPDATE|SHARE)|FOR\s+KEY\s+SHARE"
    r"|nextval|setval|set_config|pg_notify|pg_(try_)?advisory\w*|pg_(cancel|terminate)_backend|dblink\w*|command_history_partition|workflow_cancel|workflow_retry)\b", re.I)


class Wrong(Exception):
    pass


def queries(path):
    """[(name, text, nparams, reads)] of one file."""
    blocks = []
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        m = NAME.match(line)
        if m:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", m[1]):
                raise Wrong(f"{path}:{number}: {m[1]!r} is no name (a-z, 0-9, _; at most 63)")
            blocks.append((m[1], number, []))
        elif re.match(r"^\s*(--.*)?$", line):
            continue
        elif not blocks:
            raise Wrong(f"{path}:{number}: text before the first '-- name:'")
        else:
            blocks[-1][2].append(line.rstrip())
    return [statement(path, *b) for b in blocks]


def statement(path, name, line, lines):
    text = "\n".join(lines).strip()
    if text.endswith(";"):
        text = text[:-1].rstrip()
    bare = OPAQUE.sub("''", text)
    if not text:
        raise Wrong(f"{path}:{line}: {name} has no statement")
    if ";" in bare:
        raise Wrong(f"{path}:{line}: {name} holds more than one statement")
    used = {int(n) for n in re.findall(r"\$(\d+)", bare)}
    missing = set(range(1, max(used, default=0) + 1)) - used
    if missing or 0 in used:
        raise Wrong(f"{path}:{line}: {name} skips ${min(missing, default=0)}")
    reads = bool(re.match(r"(SELECT|WITH|VALUES|TABLE|\()", bare, re.I)) and not WRITES.search(bare)
    return name, text, max(used, default=0), reads


def quoted(text, indent):
    """A C string literal, one line of it for each line of text."""
    out = []
    lines = text.split("\n")
    for i, line in enumerate(lines):
        raw = (line + ("\n" if i + 1 < len(lines) else "")).encode()
        out.append('"' + "".join(
            {34: '\\"', 92: "\\\\", 10: "\\n", 63: "\\?"}.get(b) or
            (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in raw) + '"')
    return ("\n" + " " * indent).join(out)


def row(q):
    name, text, nparams, reads = q
    return ("{.name = \"%s\", .nparams = %d, .reads = %s,\n     .text = %s}"
            % (name, nparams, "true" if reads else "false", quoted(text, 13)))


def header(files):
    [path] = files
    out = f"/* Made from {os.path.basename(path)} by lib/pg/sql2h.py. */\n#pragma once\n#include \"pg/pg.h\"\n"
    for q in queries(path):
        out += f"\nstatic const struct sql SQL_{q[0].upper()} =\n    {row(q)};\n"
    return out


def registry(files):
    seen = {}
    out = ("/* Every named query, made by lib/pg/sql2h.py. */\n#pragma once\n#include \"pg/pg.h\"\n\n"
           "static const struct {\n    const char *file;\n    struct sql q;\n} all_queries[] = {\n")
    for path in files:
        room = os.path.basename(os.path.dirname(path)) + "/" + os.path.basename(path)
        for q in queries(path):
            if q[0] in seen:
                raise Wrong(f"{path}: {q[0]} is the name of a query in {seen[q[0]]} already")
            seen[q[0]] = path
            out += f"    {{\"{room}\",\n     {row(q)}}},\n"
    if not seen:
        out += "    {0},\n"
    return out + f"}};\nenum {{ ALL_QUERIES = {len(seen)} }};\n"


def steps(files):
    out = "/* Made from schema/ by lib/pg/sql2h.py. */\n#include \"pg/migrate.h\"\n\nconst struct migration migrations[] = {\n"
    for number, path in enumerate(sorted(files, key=os.path.basename), 1):
        m = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.sql", os.path.basename(path))
        if not m or int(m[1]) != number:
            raise Wrong(f"{path}: the step with number {number:04d} was expected here")
        text = open(path, encoding="utf-8").read()
        if re.search(r"(^|;)\s*(BEGIN|COMMIT|ROLLBACK|START\s+TRANSACTION)\s*(TRANSACTION|WORK)?\s*;",
                     OPAQUE.sub("''", text), re.I):
            raise Wrong(f"{path}: a step runs inside the runner's transaction and has none of its own")
        out += (f"    {{{number}, \"{m[2]}\",\n     {quoted(text, 5)},\n"
                f"     \"{hashlib.sha256(text.encode()).hexdigest()}\"}},\n")
    if not files:
        out += "    {0},\n"
    return out + f"}};\nconst size_t migration_count = {len(files)};\n"


def main():
    make = {"header": header, "registry": registry, "steps": steps}[sys.argv[1]]
    try:
        text = make(sys.argv[3:])
    except Wrong as e:
        sys.exit(f"sql2h.py: {e}")
    with open(sys.argv[2], "w", encoding="ascii") as f:
        f.write(text)


if __name__ == "__main__":
    main()
