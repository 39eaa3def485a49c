"""Stands in for nju-compile and nju-run in the tests of compare_ort.py.

It keeps to their command lines and computes with ONNX Runtime; the environment
variable FAKE_NJU_FAULT names one thing to do wrong.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

import numpy as np

from ort_reference import LanguageModel, make_session

FAULT = os.environ.get("FAKE_NJU_FAULT", "")


def compile_model(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("-o", dest="stem", type=pathlib.Path, required=True)
    parser.add_argument("--target", required=True)
    args = parser.parse_args(arguments)
    if FAULT == "no-target" and args.target != "host":
        print(f"error: unknown target '{args.target}'", file=sys.stderr)
        return 1
    if FAULT == "compile-error":
        print("error: node '/model/Add' has no type", file=sys.stderr)
        return 1
    args.stem.with_suffix(".so").write_text(str(args.model.resolve()))
    args.stem.with_suffix(".safetensors").touch()
    if FAULT != "no-header":
        args.stem.with_suffix(".h").touch()
    return 0


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def run_model(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    logits = commands.add_parser("logits")
    generate = commands.add_parser("generate")
    graph = commands.add_parser("run")
    for command in (logits, generate, graph):
        command.add_argument("library", type=pathlib.Path)
    for command in (logits, generate):
        command.add_argument("--tokens", type=numbers, required=True)
    logits.add_argument("-o", dest="output", type=pathlib.Path, required=True)
    generate.add_argument("--max-new-tokens", type=int, required=True)
    generate.add_argument("--ignore-eos", action="store_true", required=True)
    generate.add_argument("--print", choices=["tokens"], required=True)
    graph.add_argument("--input", action="append", required=True)
    graph.add_argument("--output-dir", type=pathlib.Path, required=True)
    args = parser.parse_args(arguments)
    model = pathlib.Path(args.library.read_text())
    return {"logits": run_logits, "generate": run_generate, "run": run_graph}[args.command](
        args, model)


def run_logits(args, model: pathlib.Path) -> int:
    logits = LanguageModel(model).logits(args.tokens)
    if FAULT == "logits":
        logits[-1, 0] += 1e-3 * np.abs(logits).max()
    elif FAULT == "shape":
        logits = logits[:-1]
    elif FAULT == "nan":
        logits[0, 0] = np.nan
    if FAULT != "no-logits":
        np.save(args.output, logits)
    return 0


def run_generate(args, model: pathlib.Path) -> int:
    tokens = LanguageModel(model).greedy(args.tokens, args.max_new_tokens)
    if FAULT == "token":
        tokens[5] += 1
    elif FAULT == "fewer-tokens":
        tokens.pop()
    print("a story" if FAULT == "text" else ",".join(map(str, tokens)))
    return 0


def run_graph(args, model: pathlib.Path) -> int:
    session = make_session(model)
    feeds = {name: np.load(path) for name, path in (pair.split("=", 1) for pair in args.input)}
    names = [output.name for output in session.get_outputs()]
    for name, value in zip(names, session.run(names, feeds)):
        np.save(args.output_dir / f"{name}.npy", value * 1.01 if FAULT == "outputs" else value)
    return 0
