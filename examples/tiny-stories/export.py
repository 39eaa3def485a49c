#!/usr/bin/env python3
"""Exports the trained model to ONNX and writes what it should say.

Reads DIR/checkpoint.pt and DIR/tokenizer.json (train.py wrote them), writes
model.onnx, tokenizer.json and reference.json beside this script or to --output.
reference.json holds greedy continuations of a few prompts by ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from tokenizers import Tokenizer

from model import ModelShape, TinyLlama
from train import BOS_ID, EOS_ID

HERE = pathlib.Path(__file__).resolve().parent
OPSET = 17
LARGEST_FILE = 2_000_000
# Distance of the two best logits that a greedy token must have.
LEAST_MARGIN = 0.003
PROMPTS = ["", "Once upon a time", "Once there was a mouse called Emma who lived",
           "Finn was a brave little boy. He loved to beat his drum. One windy day,",
           "There once was an owl named Ruby. One cold morning, Ruby found"]


def export_model(checkpoint: pathlib.Path, path: pathlib.Path) -> TinyLlama:
    model = TinyLlama(ModelShape()).eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    axes = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "logits")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.ones(2, 5, dtype=torch.int64),), str(path), dynamo=False,
            opset_version=OPSET, input_names=["input_ids"], output_names=["logits"],
            dynamic_axes=axes)
    onnx.save(share_embedding(onnx.load(path)), path)
    onnx.checker.check_model(str(path))
    if path.stat().st_size > LARGEST_FILE:
        raise SystemExit(f"error: '{path}' has {path.stat().st_size} bytes, "
                         f"at most {LARGEST_FILE} are wanted")
    return model


def share_embedding(exported: onnx.ModelProto) -> onnx.ModelProto:
    """Lets the classifier transpose the embedding; torch stored a transposed copy."""
    graph = exported.graph
    embedding = next(i for i in graph.initializer if i.name == "embed_tokens.weight")
    transposed = numpy_helper.to_array(embedding).T
    for copy in list(graph.initializer):
        if list(copy.dims) == list(transposed.shape) and np.array_equal(
                numpy_helper.to_array(copy), transposed):
            graph.initializer.remove(copy)
            graph.node.insert(0, helper.make_node("Transpose", [embedding.name], [copy.name],
                                                  name="/lm_head/Transpose", perm=[1, 0]))
    return exported


def greedy(session: onnxruntime.InferenceSession, tokens: list[int], context: int) -> list[int]:
    """The tokens up to and with EOS that greedy decoding adds."""
    tokens, start = list(tokens), len(tokens)
    while tokens[-1] != EOS_ID and len(tokens) < context:
        (logits,) = session.run(["logits"], {"input_ids": np.array([tokens])})
        best = np.sort(logits[0, -1])[-2:]
        if best[1] - best[0] < LEAST_MARGIN:
            raise SystemExit("error: greedy tokens are nearly ties: take other prompts")
        tokens.append(int(logits[0, -1].argmax()))
    return tokens[start:]


def write_reference(model: TinyLlama, folder: pathlib.Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    entries = []
    for text in PROMPTS:
        prompt = tokenizer.encode(text).ids
        assert prompt[0] == BOS_ID
        tokens = greedy(session, prompt, model.shape.context)
        ids = torch.tensor([prompt + tokens])
        with torch.no_grad():
            expected = model(ids).numpy()
        (actual,) = session.run(["logits"], {"input_ids": ids.numpy()})
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        if not error < 1e-4:
            raise SystemExit(f"error: ONNX Runtime and PyTorch differ by {error:.1e}")
        story = tokenizer.decode(tokens)
        print(text + story)
        entries.append({"prompt": text, "prompt_tokens": prompt, "tokens": tokens, "text": story})
    (folder / "reference.json").write_text(json.dumps(entries, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  export.py /tmp/tiny-stories")
    parser.add_argument("trained", metavar="DIR", type=pathlib.Path)
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    model = export_model(args.trained / "checkpoint.pt", args.output / "model.onnx")
    shutil.copyfile(args.trained / "tokenizer.json", args.output / "tokenizer.json")
    write_reference(model, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
