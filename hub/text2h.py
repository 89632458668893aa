#!/usr/bin/env python3
"""text2h.py INPUT OUTPUT NAME: a text file as a C string constant."""
import sys

source, target, name = sys.argv[1:]
with open(source, encoding="utf-8") as f, open(target, "w", encoding="utf-8") as out:
    out.write(f"/* made from {source.rsplit('/', 1)[-1]}; do not edit */\n#pragma once\n")
    out.write(f"static const char {name}[] =\n")
    for line in f:
        text = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"')
        out.write(f'    "{text}\\n"\n')
    out.write("    ;\n")
