#!/usr/bin/env python3
"""A matrix that is both embedding and output head is stored once.

Against the same model whose head is a matrix of its own, which differs in its last
element: what is looked up, and all logits but those of the last token, are the same
to the bit.
"""
import json
import pathlib
import struct
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
from onnx import numpy_helper

from test_ragged_batch import BIN, ROOT, TARGET, Runtime

# The last panel of their vocabularies is not full. Those of torch.onnx.export hold
# the transpose of the table as a matrix of its own.
MODELS = ["llama3-tied-optimum-opset18-past", "llama3-tied-dynamo-opset18",
          "gpt2-torchscript-opset17-past-f16", "opt-optimum-opset18-f16"]


def folded_head(model: onnx.ModelProto, table: np.ndarray):
    """The initializer that is the table's transpose, or None."""
    for tensor in model.graph.initializer:
        if tuple(tensor.dims) == table.shape[::-1]:
            if np.array_equal(numpy_helper.to_array(tensor), table.T):
                return tensor
    return None


def separate(model: onnx.ModelProto) -> str:
    """Gives the output head a matrix of its own; returns the name of the table."""
    tables = {t.name: t for t in model.graph.initializer}
    looked_up = {n.input[0] for n in model.graph.node if n.op_type == "Gather"}
    for name in sorted(looked_up & tables.keys()):
        head = folded_head(model, numpy_helper.to_array(tables[name]))
        if head is not None:
            values = numpy_helper.to_array(head).copy()
            values[-1, -1] += 1
            head.CopyFrom(numpy_helper.from_array(values, head.name))
            return name
    transpose = next(n for n in model.graph.node
                     if n.op_type == "Transpose" and n.input[0] in looked_up & tables.keys())
    table = tables[transpose.input[0]]
    head = numpy_helper.to_array(table).copy()
    head[-1, -1] += 1
    model.graph.initializer.append(numpy_helper.from_array(head, "separate_head"))
    transpose.input[0] = "separate_head"
    return table.name


def stored_tensors(path: pathlib.Path) -> dict:
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return {name: tensor["shape"] for name, tensor in header.items()
            if name != "__metadata__" and not name.startswith("padding.")}


class TiedEmbedding(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.runtime = Runtime()

    def compile(self, source: pathlib.Path, name: str) -> str:
        stem = self.folder / name
        result = subprocess.run(
            [BIN / "nju-compile", source, "-o", stem, "--report", "--quiet", "--max-tokens=64",
             f"--target={TARGET}"], check=True, capture_output=True, text=True)
        return result.stdout + result.stderr

    def logits(self, name: str, tokens, threads: int):
        model = self.runtime.load(self.folder / f"{name}.so")
        vocabulary = int(self.runtime.api.nju_model_vocabulary(model))
        session = self.runtime.session(model, threads, 1)
        try:
            return self.runtime.step(session, vocabulary, tokens, np.zeros(len(tokens)))
        finally:
            self.runtime.api.nju_session_release(session)
            self.runtime.api.nju_model_release(model)

    def check(self, name: str):
        source = ROOT / f"test/fixtures/{name}.onnx"
        model = onnx.load(source)
        table = separate(model)
        onnx.save(model, self.folder / "separate.onnx")
        self.assertIn("tied embeddings", self.compile(source, "tied"))
        self.assertNotIn("tied embeddings", self.compile(self.folder / "separate.onnx", "separate"))

        tied, own = (stored_tensors(self.folder / f"{n}.safetensors") for n in ("tied", "separate"))
        vocabulary, hidden = own[table]
        panels = [-(-vocabulary // 32), hidden, 32]
        self.assertEqual(tied[table], panels)
        self.assertEqual(sorted([*tied.values(), [vocabulary, hidden]]), sorted(own.values()))
        sizes = [(self.folder / f"{n}.safetensors").stat().st_size for n in ("tied", "separate")]
        width = 2 if name.endswith("f16") else 4
        self.assertGreaterEqual(sizes[1] - sizes[0], vocabulary * hidden * width)

        rng = np.random.default_rng(3)
        tokens = rng.permutation(vocabulary)
        for part in (tokens[:1], tokens[:50], tokens[50:100], tokens[100:]):
            expected = self.logits("separate", part, 1)[:, :-1]
            for threads in (1, 3):
                actual = self.logits("tied", part, threads)[:, :-1]
                np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))

    def test_gives_what_two_matrices_give(self):
        for name in MODELS:
            with self.subTest(model=name):
                self.check(name)

    def test_padding_is_no_token(self):
        self.compile(ROOT / f"test/fixtures/{MODELS[0]}.onnx", "tied")
        vocabulary = 131
        for token in (vocabulary, -1):
            with self.assertRaisesRegex(AssertionError, f"is {token}, .* 0 to {vocabulary - 1}"):
                self.logits("tied", [1, token], 1)


if __name__ == "__main__":
    unittest.main()
