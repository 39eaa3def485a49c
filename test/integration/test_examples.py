#!/usr/bin/env python3
"""Compiles the trained models and checks what they say.

NJU_BIN_DIR names the folder of nju-compile and nju-run (default: build/bin of
the repository), NJU_SHARED the folder with the reference data of stories260K,
NJU_TEST_TARGET the processor to compile for (default: host).
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TARGET = os.environ.get("NJU_TEST_TARGET", "host")
BIN_DIR = pathlib.Path(os.environ.get("NJU_BIN_DIR", REPOSITORY / "build/bin"))
SHARED = pathlib.Path(os.environ.get("NJU_SHARED", REPOSITORY.parent / "shared"))
STORIES_260K = SHARED / "data/stories260K"
TINY_STORIES = REPOSITORY / "examples/tiny-stories"


def run(*command) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            check=False, timeout=600, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise AssertionError(f"{command[0]} exited with {result.returncode}: {result.stderr}")
    return result.stdout


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.strip().split(",")]


class CompiledModel(unittest.TestCase):
    """A model compiled once for all tests of a class; it brings its tokenizer."""

    @classmethod
    def compile(cls, model: pathlib.Path) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.library = pathlib.Path(folder.name) / "model.so"
        run(BIN_DIR / "nju-compile", model, "-o", cls.library.with_suffix(""),
            f"--target={TARGET}")

    def generate(self, *options) -> str:
        return run(BIN_DIR / "nju-run", "generate", self.library, *options)


@unittest.skipUnless(STORIES_260K.exists(), f"{STORIES_260K} is absent")
class Stories260KTest(CompiledModel):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        run(sys.executable, REPOSITORY / "examples/stories260K/convert.py", STORIES_260K,
            "-o", folder.name)
        cls.compile(pathlib.Path(folder.name) / "model.onnx")

    def test_says_the_reference_story(self) -> None:
        tokens = self.generate("--tokens", 1, "--max-new-tokens", 200, "--ignore-eos",
                               "--print", "tokens")
        expected = (STORIES_260K / "greedy-200.tokens").read_text()
        self.assertEqual(numbers(tokens), numbers(expected))

    def test_perplexity(self) -> None:
        text = SHARED / "data/text/tinystories-eval-ascii.txt"
        output = run(BIN_DIR / "nju-run", "ppl", self.library, text)
        perplexity = re.search(r"perplexity\D*(\d+\.\d+)", output)
        self.assertIsNotNone(perplexity, output)
        self.assertAlmostEqual(float(perplexity[1]), 4.142, delta=0.005)
        self.assertRegex(output, r"\b43,?527\b")


class TinyStoriesTest(CompiledModel):
    @classmethod
    def setUpClass(cls) -> None:
        cls.compile(TINY_STORIES / "model.onnx")
        cls.reference = json.loads((TINY_STORIES / "reference.json").read_text())

    def test_continues_tokens_like_the_reference(self) -> None:
        for entry in self.reference:
            prompt = ",".join(map(str, entry["prompt_tokens"]))
            tokens = self.generate("--tokens", prompt, "--max-new-tokens", len(entry["tokens"]),
                                   "--ignore-eos", "--print", "tokens")
            self.assertEqual(numbers(tokens), entry["tokens"])

    def test_continues_text_like_the_reference(self) -> None:
        for entry in self.reference:
            if entry["prompt"]:
                text = self.generate("--prompt", entry["prompt"], "--max-new-tokens", 250,
                                     "--print", "text")
                self.assertIn(entry["text"].strip(), text)


if __name__ == "__main__":
    unittest.main()
