"""Writes rows of judge.py as JSON and as tables."""

from __future__ import annotations

import json
import pathlib

TITLES = {"stories260K": "stories260K (35 matrices of the layers; perplexity)",
          "minilm": "all-MiniLM-L6-v2 (36 matrices of the encoder; cosine with full precision)",
          "trained": "The model of `bench/quality/pretrain.py` (35 matrices of the layers; "
                     "perplexity)"}


def table(rows: list[dict]) -> list[str]:
    """The rows of a model, the largest first."""
    lines = [f"| format | bits | {rows[0]['measure']} | weight error |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: -r["bits"]):
        digits = 4 if row["measure"] == "cosine" or row["quality"] < 100 else 1
        error = "" if row["error"] is None else f"{row['error']:.4f}"
        note = f" ({row['note']})" if row["note"] else ""
        lines.append(f"| {row['format']}{note} | {row['bits']:.2f} | "
                     f"{row['quality']:.{digits}f} | {error} |")
    return lines


def write(rows: list[dict], output: pathlib.Path) -> None:
    """FILE.json, and FILE.md from the line of its tables on."""
    output.with_suffix(".json").write_text(
        "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    page, marker = output.with_suffix(".md"), "<!-- tables -->"
    text = page.read_text() if page.exists() else f"# Quality per bit\n\n{marker}\n"
    lines = [text.partition(marker)[0] + marker]
    for model in dict.fromkeys(row["model"] for row in rows):
        lines += ["", f"## {TITLES[model]}", ""]
        lines += table([row for row in rows if row["model"] == model])
    page.write_text("\n".join(lines) + "\n")
