"""Prints what the innermost loops of x86 assembly (from stdin) do that multiply vectors by
numbers and add, at least four: a line a loop. Moves are copies between registers and, like
stores, signs of too few registers."""
import re
import sys

lines = sys.stdin.read().split("\n")
labels = {m.group(1): i for i, line in enumerate(lines) if (m := re.match(r"(\.L\w+):", line))}
for end, line in enumerate(lines):
    jump = re.match(r"\tj\w+\t(\.L\w+)", line)
    begin = labels.get(jump.group(1), end) if jump else end
    body = [other.split("#")[0].strip() for other in lines[begin + 1:end]]
    if begin >= end or any(re.match(r"\.L\w+:", other) for other in body):
        continue

    def count(pattern: str) -> int:
        return sum(bool(re.match(pattern, other)) for other in body)

    if count(r"vfmadd231ps") >= 4 and count("vbroadcastss") >= 1:
        print(f"loop fma={count(r'vfmadd231ps')} broadcasts={count(r'vbroadcastss')}",
              f"moves={count(r'vmov[au]ps.%[yz]mm[0-9]+, %[yz]mm')}",
              f"stores={count(r'vmov[au]ps.%[yz]mm[0-9]+, .*[(]')}")
