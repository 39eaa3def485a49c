#!/usr/bin/env python3
"""What matrices are calibrated on: the outputs of those before them."""
import json
import pathlib
import resource
import subprocess
import tempfile
import unittest

import numpy as np

from test_quantized import WeightFile
from test_ragged_batch import BIN, ROOT

SOURCE = ROOT / "test/fixtures/llama-gqa-dynamo-opset18-past.onnx"
# The embedding is the head, too: one matrix.
TIED = ROOT / "test/fixtures/gpt2-dynamo-opset18-past.onnx"
FIRST, LAST = "val_102", "val_408"  # the queries of block 0, the end of block 1


LIMIT = 100_000  # Bytes of a file: more than a matrix has, less than the model.


class Calibrated(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        tokens = np.random.default_rng(3).integers(0, 100, (4, 32)).astype(np.int32)
        np.save(self.folder / "tokens.npy", tokens)

    def quantize(self, formats: dict, source=SOURCE, name="calibrated", check=True, **kwargs):
        plan = {"default": "none", "head": "none", "embedding": "none", "tensors": formats}
        (self.folder / "plan.json").write_text(json.dumps(plan))
        return subprocess.run(
            [BIN / "nju-compile", source, "-o", self.folder / name, "--quiet", "--max-tokens=64",
             f"--quantize-plan={self.folder}/plan.json", f"--calibration={self.folder}/tokens.npy"],
            check=check, capture_output=True, text=True, **kwargs)

    def stored(self, name: str, formats: dict, source=SOURCE) -> list[bytes]:
        self.quantize(formats, source)
        file = WeightFile(self.folder / "calibrated.safetensors")
        parts = file.quantized[name]
        return [file.tensor(n).tobytes() for n in (name, parts["basis"], parts["factors"])]

    def test_inputs_are_those_of_matrices_before(self):
        alone = self.stored(LAST, {LAST: "lcq4"})
        for bits in (2, 3, 4):
            with self.subTest(bits=bits):
                after = self.stored(LAST, {FIRST: f"lcq{bits}", LAST: "lcq4"})
                self.assertNotEqual(after, alone)
        first = self.stored(FIRST, {FIRST: "lcq4"})
        self.assertEqual(self.stored(FIRST, {FIRST: "lcq4", LAST: "lcq2"}), first)

    def interrupt(self, formats: dict) -> list:
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))

        failed = self.quantize(formats, check=False, preexec_fn=limit)
        self.assertEqual(failed.returncode, 1, failed.stderr)
        return sorted((self.folder / "calibrated.quantizing").iterdir())

    def test_goes_on_with_the_same_inputs(self):
        formats = {"*": "lcq2"}
        self.quantize(formats, name="whole")
        whole = (self.folder / "whole.safetensors").read_bytes()
        files = self.interrupt(formats)
        self.assertGreater(len(files), 10)
        for file in files[1::2]:
            file.unlink()
        self.quantize(formats)
        self.assertEqual((self.folder / "calibrated.safetensors").read_bytes(), whole)
        # Other formats before a matrix are other inputs.
        self.interrupt({FIRST: "lcq4", LAST: "lcq4"})
        after = self.stored(LAST, {FIRST: "lcq2", LAST: "lcq4"})
        self.assertNotEqual(after, self.stored(LAST, {LAST: "lcq4"}))
        self.interrupt({FIRST: "lcq4", LAST: "lcq4"})
        self.assertEqual(self.stored(LAST, {FIRST: "lcq2", LAST: "lcq4"}), after)

    def logits(self, source: pathlib.Path, *options) -> np.ndarray:
        """Of tokens that the model was not calibrated on."""
        name = self.folder / "model"
        subprocess.run([BIN / "nju-compile", source, "-o", name, "--quiet", "--max-tokens=64",
                        *options], check=True)
        tokens = np.random.default_rng(4).integers(0, 100, 60)
        path = self.folder / "logits.npy"
        subprocess.run([BIN / "nju-run", "logits", f"{name}.so", "--tokens",
                        ",".join(map(str, tokens)), "-o", path], check=True)
        return np.load(path)

    def test_budget_knows_what_errors_cost(self):
        """Gradients pass tables of rotary embeddings, which are looked up."""
        done = subprocess.run(
            [BIN / "nju-compile", SOURCE, "-o", self.folder / "model", "--max-tokens=64",
             "--bits-per-weight=3.5", f"--calibration={self.folder}/tokens.npy"],
            check=True, capture_output=True, text=True)
        self.assertNotIn("remark", done.stderr)

    def test_outputs_are_nearer(self):
        tokens = np.random.default_rng(5).integers(0, 100, (64, 64)).astype(np.int32)
        np.save(self.folder / "tokens.npy", tokens)
        calibration = f"--calibration={self.folder}/tokens.npy"
        for source in (SOURCE, TIED):
            exact = self.logits(source)

            def error(*options) -> float:
                logits = self.logits(source, "--activations=f32", *options)
                return np.linalg.norm(logits - exact)

            for form in ("--quantize=lcq3", "--bits-per-weight=3.5"):
                with self.subTest(source=source.name, form=form):
                    without = error(form)
                    self.assertLess(without, np.linalg.norm(exact))
                    self.assertLess(error(form, calibration), 0.95 * without)


if __name__ == "__main__":
    unittest.main()
