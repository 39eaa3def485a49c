#!/usr/bin/env python3
"""A session takes its cache and its scratch memory, and a step nothing.

count-allocations counts what the process asks for, to the call: eight sequences,
prompts as long as they fit, one thread and several.
"""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("NJU_BIN_DIR", ROOT / "build/bin"))
TARGET = os.environ.get("NJU_TEST_TARGET", "host")
MODELS = ["examples/tiny-stories/model.onnx",
          "test/fixtures/llama-gqa-torchscript-opset17-past-bf16.onnx",
          "test/fixtures/gpt2-torchscript-opset17-past-f16.onnx",
          "test/fixtures/qwen3moe-torchscript-opset17-past.onnx"]
PAGES = 64 << 20  # what a program takes whatever it does: code, stacks, libraries


class MemoryTest(unittest.TestCase):
    def compile(self, model: str, *options: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        output = pathlib.Path(folder.name, "model")
        subprocess.run([BIN / "nju-compile", ROOT / model, "-o", output, f"--target={TARGET}",
                        *options], check=True)
        return f"{output}.so"

    def test_steps_allocate_nothing(self):
        for model in MODELS:
            compiled = self.compile(model, "--max-batch-tokens=48")
            for threads in (1, 2, 3):
                with self.subTest(model=model, threads=threads):
                    result = subprocess.run(
                        [BIN / "count-allocations", compiled, str(threads)], text=True,
                        capture_output=True, env={**os.environ, "NJU_CORES": "3"}, check=False)
                    self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
                    self.assertIn("steps: 0 allocations", result.stdout)

    def test_a_session_stays_within_what_it_says(self):
        # Everything is used: sequences are full, pages are there.
        compiled = self.compile(MODELS[0])
        limit = json.loads(subprocess.run([BIN / "nju-run", "info", compiled, "--json"], text=True,
                                          capture_output=True, check=True).stdout)
        tokens = limit["lm"]["max_tokens"]
        for mode in ("map", "load"):
            with self.subTest(mode=mode):
                report = json.loads(subprocess.run(
                    [BIN / "nju-run", "bench", compiled, "--weights", mode, "--json",
                     "--sequences", "8", "--prefill", str(tokens - 8), "--decode", "8",
                     "--repetitions", "1"], text=True, capture_output=True, check=True).stdout)
                memory = report["memory"]
                self.assertLessEqual(
                    memory["peak_rss"],
                    1.05 * (memory["weights"] + memory["cache"]) + PAGES, memory)


if __name__ == "__main__":
    unittest.main()
