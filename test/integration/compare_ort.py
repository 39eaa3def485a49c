#!/usr/bin/env python3
"""Compiles ONNX models with nju-compile and compares them with ONNX Runtime.

A causal language model must give the same logits and the same 64 greedy tokens;
any other graph the same outputs. What a model is, and the prompt to use, is read
from manifest.json beside it. Prints one line a model; exits 1 if one differs.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

from ort_reference import LanguageModel, make_session, random_inputs

# Largest allowed difference, as a fraction of the largest value.
TOLERANCE = {"f32": 1e-4, "f16": 1e-2, "bf16": 1e-2}
NEW_TOKENS = 64
TIMEOUT_SECONDS = 300


class Difference(Exception):
    """Why a model fails, in one line."""


class Tools:
    """The programs under test; every call leaves its files in one folder."""

    def __init__(self, compiler: pathlib.Path, runner: pathlib.Path, options: list[str],
                 folder: pathlib.Path) -> None:
        self.compiler, self.runner = compiler, runner
        self.options = options
        self.folder = folder
        self.library = folder / "model.so"

    def compile(self, model: pathlib.Path) -> None:
        stem = self.folder / "model"
        self._run([self.compiler, model, "-o", stem, *self.options])
        for suffix in (".so", ".safetensors", ".h"):
            if not stem.with_suffix(suffix).exists():
                raise Difference(f"nju-compile did not write '{stem.with_suffix(suffix)}'")

    def logits(self, tokens: list[int]) -> np.ndarray:
        path = self.folder / "logits.npy"
        self._run([self.runner, "logits", self.library, "--tokens", listed(tokens), "-o", path])
        return load(path)

    def generate(self, tokens: list[int], count: int) -> list[int]:
        output = self._run([self.runner, "generate", self.library, "--tokens", listed(tokens),
                            "--max-new-tokens", count, "--ignore-eos", "--print", "tokens"])
        if not re.fullmatch(r"\d+(,\d+)*", output.strip()):
            raise Difference(f"nju-run generate printed {output.strip()[:200]!r}, expected "
                             "comma-separated tokens")
        return [int(token) for token in output.strip().split(",")]

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        out_dir = self.folder / "outputs"
        out_dir.mkdir()
        arguments = []
        for i, (name, value) in enumerate(inputs.items()):
            path = self.folder / f"input-{i}.npy"
            np.save(path, value)
            arguments += ["--input", f"{name}={path}"]
        self._run([self.runner, "run", self.library, *arguments, "--output-dir", out_dir])
        return [load(out_dir / f"{name}.npy") for name in outputs]

    def _run(self, command: list) -> str:
        command = [str(part) for part in command]
        name = pathlib.Path(command[0]).name
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False,
                                    timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise Difference(f"cannot run '{command[0]}': {error.strerror.lower()}") from error
        except subprocess.TimeoutExpired as error:
            raise Difference(f"{name} ran longer than {TIMEOUT_SECONDS} s") from error
        if result.returncode != 0:
            message = result.stderr.strip().splitlines() or ["no message"]
            raise Difference(f"{name} exited with {result.returncode}: {message[-1]}")
        return result.stdout


def listed(tokens: list[int]) -> str:
    return ",".join(map(str, tokens))


def load(path: pathlib.Path) -> np.ndarray:
    if not path.exists():
        raise Difference(f"'{path}' was not written")
    array = np.load(path)
    if array.dtype == np.dtype("V2"):  # bf16, the upper half of f32
        array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return array


def relative_error(what: str, actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest expected value."""
    if actual.shape != expected.shape:
        raise Difference(f"{what} has shape {list(actual.shape)}, expected {list(expected.shape)}")
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(actual).all():
        raise Difference(f"{what} has values that are not finite")
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30))


def require_close(what: str, actual: np.ndarray, expected: np.ndarray, dtype: str) -> float:
    error = relative_error(what, actual, expected)
    if error > TOLERANCE[dtype]:
        raise Difference(f"{what} differs by {error:.2e} of its largest value, allowed is "
                         f"{TOLERANCE[dtype]:.0e}")
    return error


def compare_language_model(entry: dict, path: pathlib.Path, tools: Tools) -> str:
    widen = not entry.get("onnxruntime", True)
    reference = LanguageModel(path, widen, entry.get("dims"))
    expected_tokens = reference.greedy(entry["prompt"], NEW_TOKENS)
    sequence = entry["prompt"] + expected_tokens
    error = require_close("output 'logits'", tools.logits(sequence), reference.logits(sequence),
                          entry["dtype"])
    tokens = tools.generate(entry["prompt"], NEW_TOKENS)
    if tokens != expected_tokens:
        raise Difference(describe_token_difference(tokens, expected_tokens))
    return f"logits within {error:.1e}, {len(tokens)} greedy tokens equal"


def describe_token_difference(tokens: list[int], expected: list[int]) -> str:
    if len(tokens) != len(expected):
        return f"{len(tokens)} greedy tokens, expected {len(expected)}"
    at = next(i for i, (a, b) in enumerate(zip(tokens, expected)) if a != b)
    return f"greedy token {at} is {tokens[at]}, expected {expected[at]}"


def compare_graph(entry: dict, path: pathlib.Path, tools: Tools) -> str:
    session = make_session(path, widen=not entry.get("onnxruntime", True))
    inputs = random_inputs(session, entry.get("dims", {}))
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for name, actual, expected in zip(names, tools.run(inputs, names), session.run(names, inputs)):
        if np.issubdtype(expected.dtype, np.floating):
            worst = max(worst, require_close(f"output '{name}'", actual, expected, entry["dtype"]))
        elif not np.array_equal(actual, expected):
            raise Difference(f"output '{name}' is not equal")
    return f"{len(names)} outputs within {worst:.1e}"


def entry_of(path: pathlib.Path) -> dict:
    manifest = path.with_name("manifest.json")
    if not manifest.exists():
        raise Difference(f"'{manifest}' is missing")
    for entry in json.loads(manifest.read_text()):
        if entry["file"] == path.name:
            return entry
    raise Difference(f"'{manifest}' does not name '{path.name}'")


def compare(path: pathlib.Path, args: argparse.Namespace, folder: pathlib.Path) -> str:
    """Returns what was found equal, or raises Difference."""
    if not path.exists():
        raise Difference(f"'{path}' is missing")
    entry = entry_of(path)
    options = [f"--target={args.target}", *entry.get("options", []), *args.compile_option]
    tools = Tools(args.nju_compile, args.nju_run, options, folder)
    tools.compile(path)
    if entry["kind"] == "graph":
        return compare_graph(entry, path, tools)
    return compare_language_model(entry, path, tools)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  compare_ort.py --bin-dir build/bin test/fixtures/gpt2-*.onnx")
    parser.add_argument("models", metavar="MODEL.onnx", nargs="+", type=pathlib.Path)
    parser.add_argument("--bin-dir", metavar="DIR", type=pathlib.Path,
                        default=pathlib.Path("build/bin"),
                        help="folder of nju-compile and nju-run (default: build/bin)")
    parser.add_argument("--nju-compile", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--nju-run", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--target", metavar="NAME", default=os.environ.get("NJU_TEST_TARGET", "host"),
                        help="--target of nju-compile (default: NJU_TEST_TARGET, or host)")
    parser.add_argument("--compile-option", metavar="OPTION", action="append", default=[],
                        help="an option for nju-compile; may be repeated")
    args = parser.parse_args()
    args.nju_compile = args.nju_compile or args.bin_dir / "nju-compile"
    args.nju_run = args.nju_run or args.bin_dir / "nju-run"

    failed = 0
    for path in args.models:
        try:
            with tempfile.TemporaryDirectory(prefix="nju-compare-") as folder:
                print(f"PASS {path.stem}: {compare(path, args, pathlib.Path(folder))}", flush=True)
        except Difference as difference:
            failed += 1
            print(f"FAIL {path.stem}: {difference}", flush=True)
    if len(args.models) > 1:
        print(f"{len(args.models) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
