#!/usr/bin/env python3
"""Tests examples/stories260K/convert.py, bench/make-model, bench/compare, bench/decode-steps and
the story grammar."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx

from ort_reference import LanguageModel

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CONVERT = REPOSITORY / "examples/stories260K/convert.py"
MAKE_MODEL = REPOSITORY / "bench/make-model"
COMPARE = REPOSITORY / "bench/compare"
DECODE_STEPS = REPOSITORY / "bench/decode-steps"
GRAMMAR = REPOSITORY / "examples/tiny-stories/grammar.py"
SHARED = pathlib.Path(os.environ.get("NJU_SHARED", REPOSITORY.parent / "shared"))
STORIES_260K = SHARED / "data/stories260K"


def run(*command) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True,
                          check=False)


class FolderTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class TinyCheckpoint:
    """A llama2.c checkpoint of random weights, and what it computes."""

    dim, ffn, layers, heads, kv_heads, vocabulary, sequence = 12, 20, 2, 3, 1, 11, 16

    def __init__(self, tied: bool) -> None:
        rng = np.random.default_rng(3)
        d, f, n, v, width = self.dim, self.ffn, self.layers, self.vocabulary, 4 * self.kv_heads
        shapes = {"embedding": (v, d), "norm1": (n, d), "wq": (n, d, d), "wk": (n, width, d),
                  "wv": (n, width, d), "wo": (n, d, d), "norm2": (n, d), "w1": (n, f, d),
                  "w2": (n, d, f), "w3": (n, f, d), "norm": (d,), "rope": (2, self.sequence, 2)}
        if not tied:
            shapes["classifier"] = (v, d)
        self.w = {name: rng.normal(0, 0.5, shape).astype("<f4") for name, shape in shapes.items()}
        self.header = struct.pack("<7i", d, f, n, self.heads, self.kv_heads, v if tied else -v,
                                  self.sequence)
        self.classifier = self.w["embedding" if tied else "classifier"]

    def write(self, folder: pathlib.Path) -> None:
        data = self.header + b"".join(array.tobytes() for array in self.w.values())
        (folder / "stories260K.bin").write_bytes(data)
        pieces = [bytes([97 + i]) * (i % 3 + 1) for i in range(self.vocabulary)]
        records = [struct.pack("<fi", -float(i), len(p)) + p for i, p in enumerate(pieces)]
        (folder / "tok512.bin").write_bytes(struct.pack("<i", 3) + b"".join(records))

    def logits(self, tokens: list[int]) -> np.ndarray:
        """llama2.c's forward pass in float64, a token at a time."""
        w = {name: array.astype(np.float64) for name, array in self.w.items()}
        head_dim = self.dim // self.heads

        def norm(x, weight):
            return weight * x / np.sqrt(np.mean(x * x) + 1e-5)

        def rotate(x, position):
            x = x.reshape(-1, head_dim // 2, 2)
            angle = position * 10000.0 ** (-np.arange(0, head_dim, 2) / head_dim)
            turned = (x[..., 0] + 1j * x[..., 1]) * np.exp(1j * angle)
            return np.stack([turned.real, turned.imag], -1).reshape(-1, head_dim)

        keys = [[] for _ in range(self.layers)]
        values = [[] for _ in range(self.layers)]
        rows = []
        for position, token in enumerate(tokens):
            x = w["embedding"][token]
            for n in range(self.layers):
                h = norm(x, w["norm1"][n])
                query = rotate(w["wq"][n] @ h, position)
                keys[n].append(rotate(w["wk"][n] @ h, position)[0])
                values[n].append(w["wv"][n] @ h)
                scores = query @ np.array(keys[n]).T / np.sqrt(head_dim)
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                weights /= weights.sum(-1, keepdims=True)
                x = x + w["wo"][n] @ (weights @ np.array(values[n])).ravel()
                h = norm(x, w["norm2"][n])
                gate = w["w1"][n] @ h
                x = x + w["w2"][n] @ (gate / (1 + np.exp(-gate)) * (w["w3"][n] @ h))
            rows.append(self.classifier.astype(np.float64) @ norm(x, w["norm"]))
        return np.array(rows)


class ConvertTest(FolderTest):
    def convert(self, source: pathlib.Path) -> subprocess.CompletedProcess:
        return run(CONVERT, source, "-o", self.folder / "out")

    def test_computes_what_the_checkpoint_computes(self) -> None:
        for tied in (True, False):
            checkpoint = TinyCheckpoint(tied)
            checkpoint.write(self.folder)
            result = self.convert(self.folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            tokens = [1, 5, 9, 2, 7, 7, 0, 10]
            actual = LanguageModel(self.folder / "out/model.onnx").logits(tokens)
            np.testing.assert_allclose(actual, checkpoint.logits(tokens), rtol=1e-4, atol=1e-5)
            self.assertEqual((self.folder / "out/tokenizer.bin").read_bytes(),
                             (self.folder / "tok512.bin").read_bytes())

    def expect_error(self, message: str) -> None:
        result = self.convert(self.folder)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, f"^error: {message}")
        self.assertEqual(result.stderr.count("\n"), 1)
        self.assertFalse((self.folder / "out").exists())

    def test_refuses_missing_checkpoint(self) -> None:
        self.expect_error(r"cannot read '.*stories260K\.bin': no such file or directory")

    def test_refuses_missing_tokenizer(self) -> None:
        TinyCheckpoint(True).write(self.folder)
        (self.folder / "tok512.bin").unlink()
        self.expect_error(r"cannot read '.*tok512\.bin': no such file or directory")

    def edit(self, name: str, change) -> None:
        TinyCheckpoint(True).write(self.folder)
        path = self.folder / name
        path.write_bytes(change(path.read_bytes()))

    def test_refuses_truncated_header(self) -> None:
        self.edit("stories260K.bin", lambda data: data[:20])
        self.expect_error(r".* is truncated: 20 bytes, expected a header of 28")

    def test_refuses_truncated_weights(self) -> None:
        self.edit("stories260K.bin", lambda data: data[:-4])
        self.expect_error(r".* is truncated: \d+ bytes, expected \d+")

    def test_refuses_bytes_after_the_weights(self) -> None:
        self.edit("stories260K.bin", lambda data: data + b"1234")
        self.expect_error(r".* is too long: \d+ bytes, expected \d+")

    def test_refuses_a_file_of_another_kind(self) -> None:
        self.edit("stories260K.bin", lambda data: b"\x7fELF" + data[4:])
        self.expect_error(r".* is not a llama2\.c checkpoint")

    def test_refuses_truncated_tokenizer(self) -> None:
        self.edit("tok512.bin", lambda data: data[:-1])
        self.expect_error(r".*tok512\.bin' is truncated: token 10 has 2 bytes, 1 are left")

    def test_refuses_tokenizer_of_another_vocabulary(self) -> None:
        self.edit("tok512.bin", lambda data: data + struct.pack("<fi", 0.0, 0))
        self.expect_error(r".*tok512\.bin' holds more than 11 tokens")

    @unittest.skipUnless(STORIES_260K.exists(), f"{STORIES_260K} is absent")
    def test_stories260k_says_its_story(self) -> None:
        result = self.convert(STORIES_260K)
        self.assertEqual(result.returncode, 0, result.stderr)
        expected = [int(t) for t in (STORIES_260K / "greedy-200.tokens").read_text().split(",")]
        model = LanguageModel(self.folder / "out/model.onnx")
        self.assertEqual(model.greedy([1], 200), expected)


class MakeModelTest(FolderTest):
    def make(self, name: str, *options: str) -> pathlib.Path:
        folder = self.folder / name
        result = run(MAKE_MODEL, "--shape", "tiny", "-o", folder, *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return folder

    def test_writes_a_language_model_with_past(self) -> None:
        folder = self.make("f32", "--type", "f32")
        onnx.checker.check_model(str(folder / "model.onnx"))
        model = LanguageModel(folder / "model.onnx")
        self.assertEqual(len(model.past_names), 4)
        tokens = [1, 300, 5, 9, 44]
        whole = model.logits(tokens)
        first, cache = model.step(tokens[:2], 0, model.empty_cache())
        rest, _ = model.step(tokens[2:], 2, cache)
        np.testing.assert_allclose(np.concatenate([first, rest]), whole, atol=1e-5)

    def test_types_hold_the_same_weights(self) -> None:
        expected = LanguageModel(self.make("f32", "--type", "f32") / "model.onnx").logits([1, 2, 3])
        f16 = LanguageModel(self.make("f16") / "model.onnx").logits([1, 2, 3])
        np.testing.assert_allclose(f16, expected, atol=5e-3)
        bf16 = LanguageModel(self.make("bf16", "--type", "bf16") / "model.onnx", widen=True)
        np.testing.assert_allclose(bf16.logits([1, 2, 3]), expected, atol=2e-2)

    def test_a_tied_head_multiplies_with_the_embedding(self) -> None:
        own, tied = self.make("own", "--type", "f32"), self.make("tied", "--type", "f32", "--tied")
        table = 4 * 512 * 64
        sizes = [(folder / "model.onnx.data").stat().st_size for folder in (own, tied)]
        self.assertIn(sizes[0] - sizes[1] - table, range(4096))
        graph = onnx.load(tied / "model.onnx", load_external_data=False).graph
        self.assertEqual(sum(512 in tensor.dims for tensor in graph.initializer), 1)
        self.assertEqual(LanguageModel(tied / "model.onnx").logits([1, 300, 5]).shape, (3, 512))

    def test_weights_lie_in_one_file_and_follow_the_seed(self) -> None:
        first, second = self.make("first", "--seed", "4"), self.make("second", "--seed", "4")
        other = self.make("other", "--seed", "5")
        data = [(folder / "model.onnx.data").read_bytes() for folder in (first, second, other)]
        self.assertEqual(data[0], data[1])
        self.assertNotEqual(data[0], data[2])
        model = onnx.load(first / "model.onnx", load_external_data=False)
        for tensor in model.graph.initializer:
            location = {e.key: e.value for e in tensor.external_data}
            self.assertEqual(location["location"], "model.onnx.data")
            self.assertLessEqual(int(location["offset"]) + int(location["length"]), len(data[0]))
        self.assertEqual(sorted(p.name for p in first.iterdir()),
                         ["model.onnx", "model.onnx.data", "tokenizer.json"])

    def test_refuses_unwritable_folder(self) -> None:
        (self.folder / "file").touch()
        result = run(MAKE_MODEL, "--shape", "tiny", "-o", self.folder / "file")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^error: cannot write to '.*file': file exists$")


class ProgramTest(FolderTest):
    def write(self, name: str, program: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{program}\n")
        path.chmod(0o755)


class CompareTest(ProgramTest):
    """With programs that print what a measurement would."""

    def setUp(self) -> None:
        super().setUp()
        roofs = {"threads": 1, "read_bytes_per_second": 100.0, "f32_flops_per_second": 1000.0,
                 "read_streams_bytes_per_second": 110.0, "int8_vnni_ops_per_second": 2000.0,
                 "int8_amx_ops_per_second": None, "bf16_amx_flops_per_second": None}
        # 8 sequences decode 6.4 times as fast as one.
        bench = """import json, sys
a = sys.argv
n = lambda o, d: int(a[a.index(o) + 1]) if o in a else d
s = n("--sequences", 1)
print(json.dumps({"context_tokens": n("--context", 0), "prefill_tokens": n("--prefill", 0),
    "decode_tokens": n("--decode", 0), "bytes_per_token": 9, "flops_per_token": 40,
    "sequences": s, "memory": {"cache": 0},
    "prefill_seconds": [999, n("--prefill", 0) / 20],
    "decode_seconds": [n("--decode", 0) / (10 if s == 1 else 8), 999]}))"""
        peer = """import json, sys
print("converting")
print(json.dumps({"peer": "p " + sys.argv[3], "threads": 1, "prefill512_tokens_per_s": 10,
    "decode_tokens_per_s": 8, "bytes_per_token": 10}))"""
        self.write("bin/bench-roofs", f"import json; print(json.dumps({roofs!r}))")
        self.write("bin/nju-run", bench)
        for script in ("llama_cpp_bench.py", "ort_genai.py", "openvino_bench.py"):
            self.write(f"peers/{script}", peer)
        self.write("model.so", "")

    def compare(self, *options) -> subprocess.CompletedProcess:
        return run(COMPARE, self.folder / "model.so", "--bin", self.folder / "bin", "--threads",
                   "1", "-o", self.folder / "result", *options)

    def peers(self) -> tuple:
        return ("--peers", self.folder / "peers", "--checkpoint", self.folder)

    def test_compares(self) -> None:
        result = self.compare("--rounds", "2", *self.peers())
        self.assertEqual(result.returncode, 0, result.stderr)
        data = json.loads((self.folder / "result.json").read_text())
        self.assertEqual(len(data["samples"]), 2 * (5 + 3 * 2))
        first, second = ([s["who"] for s in data["samples"] if s["round"] == i] for i in (0, 1))
        self.assertEqual((first[0], second[0]), ("nju", "llama"))
        table = result.stdout
        self.assertEqual(table, (self.folder / "result.md").read_text())
        for line in ("| decode | 1 | NJU | 10.00 | 10.00 to 10.00 | 0.90 |  | 2 |",
                     "| decode | 1 | llama.cpp f16 | 8.00 | 8.00 to 8.00 | 0.80 | 1.25 | 2 |",
                     "| prefill 512 | 1 | NJU | 20.00 | 20.00 to 20.00 | 0.80 |  | 2 |",
                     "| NJU | decode | 1 | the limit | 0.95 | 0.90 | missed |",
                     "| NJU | prefill 512 | 1 | ONNX Runtime GenAI fp32 | 1.10 | 2.00 | reached |",
                     "| NJU | 8 sequences at once | 1 | decode | 6.00 | 6.40 | reached |"):
            self.assertIn(line, table)

    def test_compares_quantized_models(self) -> None:
        model = self.folder / "model.so"
        result = run(COMPARE, f"lcq4={model}", f"lcq2={model}", "--bin", self.folder / "bin",
                     "--threads", "1", "-o", self.folder / "result", "--rounds", "1",
                     "--rows", "decode,prefill512", *self.peers())
        self.assertEqual(result.returncode, 0, result.stderr)
        data = json.loads((self.folder / "result.json").read_text())
        self.assertEqual({s["who"] for s in data["samples"]},
                         {"lcq4", "lcq2", "llama-q4_0", "llama-q4_k_m", "ort-int4",
                          "openvino-int4"})
        for line in ("| prefill 512 | 1 | NJU lcq4 | 20.00 | 20.00 to 20.00 | 0.40 |  |  | 1 |",
                     "| decode | 1 | llama.cpp Q4_0 | 8.00 | 8.00 to 8.00 | 0.80 | 1.25 | 1.25 | 1 |",
                     "| NJU lcq4 | decode | 1 | the limit | 0.90 | 0.90 | reached |",
                     "| NJU lcq2 | decode | 1 | the best 4-bit peer | 3.00 | 1.25 | missed |",
                     "| NJU lcq4 | prefill 512 | 1 | the limit | 0.50 | 0.40 | missed |",
                     "| NJU lcq4 | prefill 512 | 1 | the best 4-bit peer | 1.50 | 2.00 | reached |"):
            self.assertIn(line, result.stdout)

    def test_adds_to_what_is_there(self) -> None:
        for number in (1, 2):
            result = self.compare("--rounds", "1", "--rows", "decode")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"| 0.90 |  | {number} |", result.stdout)

    def test_runs_under_a_command(self) -> None:
        result = self.compare("--rounds", "1", "--rows", "decode", "--wrap",
                              f"sh -c 'echo x >> {self.folder}/count; exec \"$@\"' -")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual((self.folder / "count").read_text().count("x"), 3)

    def test_says_what_is_wrong(self) -> None:
        self.write("bin/nju-run", "import sys; sys.exit('nju-run: error: no such model')")
        result = self.compare()
        self.assertEqual(result.returncode, 1)
        self.assertIn("failed with exit code 1: nju-run: error: no such model", result.stderr)
        (self.folder / "model.so").unlink()
        self.assertIn("error: there is no model '", self.compare().stderr)
        for options, message in ((("--rows", "x"), "'x' is none of decode, prefill512"),
                                 (("--rounds", "0"), "'0' is not a whole number of at least 1"),
                                 (("--python", "x=y"), "'x=y' is not of the form NAME=PATH"),
                                 (("nju=y.so",), "two models have the same name"),
                                 (("llama=y.so",), "'llama' is the name of a peer"),
                                 (("--peers", "x"), "--peers needs --checkpoint")):
            self.assertIn(message, self.compare(*options).stderr)


class DecodeStepsTest(ProgramTest):
    """With programs that answer as workers do."""

    WORKER = """import sys
print({0}, flush=True)
for line in sys.stdin:
    print({1}, flush=True)"""

    def setUp(self) -> None:
        super().setUp()
        self.write("bin/bench-roofs", self.WORKER.format(2000, 20))
        self.write("ours", self.WORKER.format(90, 1.0))
        self.write("theirs", self.WORKER.format(100, 1.5))
        self.write("model", "")

    def measure(self, *options) -> subprocess.CompletedProcess:
        model = self.folder / "model"
        return run(DECODE_STEPS, f"a=nju:{model}", f"b=llama:{model}", *(options or
                   ("--rounds", "2")), "--tools", self.folder / "bin",
                   "--python", f"nju={self.folder / 'ours'}",
                   "--python", f"llama={self.folder / 'theirs'}")

    def test_prints_medians_of_ratios(self) -> None:
        result = self.measure()
        self.assertEqual(result.returncode, 0, result.stderr)
        for line in ("| a | 0 | 1.0 | 0.90 | 1.00 |", "| b | 0 | 0.7 | 0.67 | 1.50 |"):
            self.assertIn(line, result.stdout)

    def test_says_what_is_wrong(self) -> None:
        self.write("theirs", "")
        self.assertIn("error: b ended early", self.measure().stderr)
        for options, message in ((("x",), "'x' is not of the form NAME=KIND:MODEL"),
                                 (("x=y:z",), "'y' is none of nju, llama, ort, openvino"),
                                 (("x=nju:z",), "there is no model 'z'"),
                                 (("--python", "x=y"), "'x=y' is not of the form KIND=PATH"),
                                 (("--steps", "0"), "'0' is not a whole number of at least 1"),
                                 (("--rounds", "300"), "expected at most 251")):
            self.assertIn(message, self.measure(*options).stderr)


class PythonTest(FolderTest):
    """A Python without the packages starts the project's own, or says what to do."""

    def make(self, script: pathlib.Path) -> subprocess.CompletedProcess:
        bare = [getattr(sys, "_base_executable", sys.executable), "-I", "-S"]
        return subprocess.run([*bare, script, "--shape", "tiny", "-o", self.folder / "model"],
                              capture_output=True, text=True, check=False)

    def test_starts_the_projects_python(self) -> None:
        if not (REPOSITORY / ".venv/bin/python").exists():
            self.skipTest("no .venv")
        result = self.make(MAKE_MODEL)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue((self.folder / "model/model.onnx").exists())

    def test_says_what_lacks(self) -> None:
        for name in ("bench/make-model", "examples/common"):
            copy = self.folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
        result = self.make(self.folder / "bench/make-model")
        self.assertEqual(result.returncode, 1)
        self.assertIn("lacks numpy, onnx: run scripts/setup.sh", result.stderr)


class GrammarTest(unittest.TestCase):
    def test_stories_follow_the_seed(self) -> None:
        first, again, other = (run(GRAMMAR, "--seed", seed, "--count", 300).stdout
                               for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_stories_are_whole(self) -> None:
        for story in run(GRAMMAR, "--count", 2000).stdout.splitlines():
            self.assertNotRegex(story, r"[{}\[\]|]|  | [.,!?]|\b[Aa] [aeiou]")
            self.assertRegex(story, r"^[A-Z].*[.!?\"]$")
            sentences = len(re.findall(r"[.!?]", story))
            self.assertTrue(6 <= sentences <= 14, story)


if __name__ == "__main__":
    unittest.main()
