#!/usr/bin/env python3
"""lua2h.py - a room's .lua files become one header of struct script constants.

    lua2h.py --depfile OUT.d OUT.h ack.lua claim.lua ...

Each NAME.lua gives SCRIPT_NAME (dashes and dots become _): name, body, SHA-1 in hex (what EVALSHA wants) and the number
of keys, read from a comment in the file's head:

    -- ack.lua: finish leased jobs.
    -- KEYS: 3
    -- include: lease

"-- include: lease" is replaced by lease.lua of the same folder ("../lease", "shape/lease": of another), once per script; pieces
may include pieces. A piece has no KEYS line and is not given on the command line. Refused, so that it fails the build and not a
job: a script without a KEYS line, one that names a KEYS[n] beyond its count, a piece that is missing, pieces that include each other.
"""
import argparse
import hashlib
import os
import re
import sys

KEYS = re.compile(r"^--\s*KEYS:\s*(\d+)\s*$", re.M)
INCLUDE = re.compile(r"^--\s*include:\s*([A-Za-z0-9_./-]+)\s*$")
USED = re.compile(r"\bKEYS\[(\d+)\]")
HEAD_LINES = 40


class Bad(Exception):
    pass


def expand(path, seen, stack, deps):
    """The lines of path with its pieces in place; `seen` makes each piece appear once."""
    if path in stack:
        raise Bad(f"{path}: includes itself through {' -> '.join(map(os.path.basename, stack))}")
    deps.append(path)
    try:
        with open(path, encoding="utf-8") as f:
            lines = f.read().rstrip("\n").split("\n")
    except OSError as e:
        where = f"{stack[-1]}: " if stack else ""
        raise Bad(f"{where}cannot read {path}: {e.strerror}") from e
    out = []
    for line in lines:
        m = INCLUDE.match(line)
        if not m:
            out.append(line)
            continue
        piece = os.path.normpath(os.path.join(os.path.dirname(path), m.group(1) + ".lua"))
        if piece not in seen:
            seen.add(piece)
            out += expand(piece, seen, stack + [path], deps)
    return out


def key_count(path, body):
    found = KEYS.findall("\n".join(body.split("\n")[:HEAD_LINES]))
    if len(found) != 1:
        raise Bad(f"{path}: wants exactly one line '-- KEYS: n' in its first {HEAD_LINES} lines, has {len(found)}")
    keys = int(found[0])
    code = re.sub(r"--[^\n]*", "", body)
    used = max((int(n) for n in USED.findall(code)), default=0)
    if used > keys:
        raise Bad(f"{path}: uses KEYS[{used}] but says KEYS: {keys}")
    return keys


def c_string(text):
    def line(s):
        s = s.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("??", "?\\?")
        return f'    "{s}\\n"'
    return "\n".join(line(s) for s in text.rstrip("\n").split("\n"))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--depfile", required=True)
    p.add_argument("out")
    p.add_argument("lua", nargs="+")
    a = p.parse_args()

    deps, blocks, names = [], [], []
    for path in a.lua:
        body = "\n".join(expand(path, set(), [], deps)).rstrip("\n") + "\n"
        name = os.path.splitext(os.path.basename(path))[0]
        symbol = "SCRIPT_" + re.sub(r"[-.]", "_", name).upper()
        if symbol in names:
            raise Bad(f"{path}: a second {symbol}")
        names.append(symbol)
        blocks.append(
            f"static const struct script {symbol} _unused_ = {{\n"
            f'    .name = "{name}",\n'
            f'    .sha1 = "{hashlib.sha1(body.encode()).hexdigest()}",\n'
            f"    .keys = {key_count(path, body)},\n"
            f"    .body =\n{c_string(body)},\n}};\n")

    room = re.sub(r"\W", "_", os.path.basename(a.out).split(".")[0]).upper()
    with open(a.out, "w", encoding="utf-8") as f:
        f.write(f"/* {os.path.basename(a.out)} - made by lua2h.py; edit the .lua files. */\n#pragma once\n")
        f.write('#include "redis/redis.h"\n\n' + "\n".join(blocks) + "\n")
        f.write(f"/* Every script of this header, for tests and tools. */\nstatic const struct script *const SCRIPTS_{room}[] _unused_ = {{")
        f.write("".join(f"\n    &{n}," for n in names) + "\n};\n")
    with open(a.depfile, "w", encoding="utf-8") as f:
        f.write(f"{a.out}: {' '.join(sorted(set(deps)))}\n")


if __name__ == "__main__":
    try:
        main()
    except Bad as e:
        sys.exit(f"lua2h: {e}")
