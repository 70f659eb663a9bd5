#!/usr/bin/env python3
"""Runs an example and compares what it prints with the `// Prints:` block of its source.

    check_output.py SOURCE PROGRAM
"""
import difflib
import subprocess
import sys


def promised_lines(source):
    lines = []
    inside = False
    with open(source, encoding="utf-8") as file:
        for line in file:
            if line.startswith("// Prints:"):
                inside = True
            elif inside and line.startswith("//   "):
                lines.append(line[len("//   "):].rstrip("\n"))
            elif inside:
                break
    return lines


def main():
    source, program = sys.argv[1:3]
    promised = promised_lines(source)
    if not promised:
        sys.exit(f"{source}: no '// Prints:' block; tell the reader what the example prints")
    run = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    if run.returncode != 0:
        sys.exit(f"{program}: exit code {run.returncode}")
    printed = run.stdout.splitlines()
    if printed != promised:
        sys.stdout.write("\n".join(difflib.unified_diff(promised, printed, "promised", "printed", lineterm="")) + "\n")
        sys.exit(1)


main()
