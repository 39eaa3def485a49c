"""Prints what the innermost loops of x86 assembly (from stdin) do that make dot products of
int8, at least four: a line a loop. Embedded are those that broadcast x from memory by
themselves; stack are vectors moved to or from the stack, signs of too few registers."""
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
        return sum(bool(re.search(pattern, other)) for other in body)

    dots = count(r"^vpdpbusd|^vpmaddubsw")
    if dots >= 4:
        print(f"loop dots={dots} embedded={count(r'^vpdpbusd.*1to')} look-ups={count(r'^vpshufb|^vpermb')}",
              f"masks={count(r'^vpand')} converted={count(r'^vcvtdq2ps')}",
              f"stack={count(r'mm[0-9]+, .*[(]%r[sb]p[)]|[(]%r[sb]p[)].*, %[xyz]mm')}")
