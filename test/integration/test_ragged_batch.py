#!/usr/bin/env python3
"""What a token's logits are does not depend, to the bit, on what else is in the batch.

Drives a compiled model through the C API: eight sequences of different lengths,
prefill and decode interleaved at random, against each sequence alone; with one
thread and with several; whole and token by token; forked and trimmed.
"""
import ctypes
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("NJU_BIN_DIR", ROOT / "build/bin"))
TARGET = os.environ.get("NJU_TEST_TARGET", "host")
MODELS = ["examples/tiny-stories/model.onnx",
          "test/fixtures/mistral-window6-torchscript-opset17.onnx",
          "test/fixtures/gpt2-torchscript-opset17-past-f16.onnx",
          "test/fixtures/llama-gqa-torchscript-opset17-past-bf16.onnx",
          "test/fixtures/qwen3moe-torchscript-opset17-past.onnx"]
INT32_P = ctypes.POINTER(ctypes.c_int32)
os.environ["NJU_CORES"] = "5"  # five threads, wherever the test runs


class Options(ctypes.Structure):
    _fields_ = [("max_tokens", ctypes.c_int32), ("max_sequences", ctypes.c_int32),
                ("num_threads", ctypes.c_int32)]


class Batch(ctypes.Structure):
    _fields_ = [("num_tokens", ctypes.c_size_t), ("tokens", INT32_P), ("positions", INT32_P),
                ("sequences", INT32_P), ("num_rows", ctypes.c_size_t), ("rows", INT32_P)]


class Runtime:
    """The C API, as far as the test needs it."""

    def __init__(self):
        self.api = ctypes.CDLL(str(BIN.parent / "lib/libnju_runtime.so"))
        self.api.nju_last_error_message.restype = ctypes.c_char_p
        self.api.nju_model_vocabulary.restype = ctypes.c_int64
        for name in ("nju_model_release", "nju_session_release"):
            getattr(self.api, name).argtypes = [ctypes.c_void_p]

    def check(self, status):
        if status != 0:
            raise AssertionError(self.api.nju_last_error_message().decode())

    def load(self, path):
        model = ctypes.c_void_p()
        self.check(self.api.nju_model_load(str(path).encode(), None, ctypes.byref(model)))
        return model

    def session(self, model, threads, sequences=8, tokens=64):
        session = ctypes.c_void_p()
        options = Options(max_tokens=tokens, max_sequences=sequences, num_threads=threads)
        self.check(self.api.nju_session_create(model, ctypes.byref(options), ctypes.byref(session)))
        return session

    def step(self, session, vocabulary, tokens, sequences):
        """Logits of every token, [tokens, vocabulary]."""
        arrays = [np.ascontiguousarray(a, np.int32) for a in (tokens, sequences, np.arange(len(tokens)))]
        pointers = [a.ctypes.data_as(INT32_P) for a in arrays]
        batch = Batch(len(tokens), pointers[0], None, pointers[1], len(tokens), pointers[2])
        logits = np.full((len(tokens), vocabulary), np.nan, np.float32)
        self.check(self.api.nju_session_step(session, ctypes.byref(batch),
                                             logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float))))
        return logits


class RaggedBatch(unittest.TestCase):
    def setUp(self):
        self.runtime = Runtime()
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def compile(self, model, *options, tokens=64):
        stem = pathlib.Path(self.folder.name) / "model"
        subprocess.run([BIN / "nju-compile", ROOT / model, "-o", stem, "--quiet", f"--max-tokens={tokens}",
                        "--max-batch-tokens=24", f"--target={TARGET}", *options], check=True, capture_output=True)
        handle = self.runtime.load(stem.with_suffix(".so"))
        return handle, int(self.runtime.api.nju_model_vocabulary(handle))

    def alone(self, model, vocabulary, sequences, threads):
        """Each sequence in a session of its own, in one call."""
        result = []
        for tokens in sequences:
            session = self.runtime.session(model, threads, 1)
            result.append(self.runtime.step(session, vocabulary, tokens, np.zeros(len(tokens))))
            self.runtime.api.nju_session_release(session)
        return result

    def interleaved(self, model, vocabulary, sequences, threads, rng):
        """All at once: calls that take random pieces of random sequences."""
        session = self.runtime.session(model, threads)
        done, result = [0] * len(sequences), [[] for _ in sequences]
        while any(done[i] < len(s) for i, s in enumerate(sequences)):
            owners = []
            for i in rng.permutation(len(sequences)):
                left = len(sequences[i]) - done[i]
                owners += [i] * min(left, int(rng.choice([0, 1, 1, 5, 17])))
            if not owners:
                continue
            owners = rng.permutation(owners)
            tokens = np.empty(len(owners), np.int32)
            position = list(done)
            for j, i in enumerate(owners):
                tokens[j] = sequences[i][position[i]]
                position[i] += 1
            logits = self.runtime.step(session, vocabulary, tokens, owners)
            for j, i in enumerate(owners):
                result[i].append(logits[j])
            done = position
        self.runtime.api.nju_session_release(session)
        return [np.stack(r) for r in result]

    def test_equals_one_at_a_time(self):
        rng = np.random.default_rng(7)
        for name, kv in [*((m, "f32") for m in MODELS), *((m, kv) for m in MODELS[:2] for kv in ("f16", "q8", "q4"))]:
            with self.subTest(model=name, kv=kv):
                model, vocabulary = self.compile(name, f"--kv={kv}")
                sequences = [rng.integers(3, min(vocabulary, 90), n) for n in (1, 2, 3, 9, 16, 17, 33, 48)]
                expected = self.alone(model, vocabulary, sequences, 1)
                for threads in (1, 2, 3):
                    actual = self.interleaved(model, vocabulary, sequences, threads, rng)
                    for a, e in zip(actual, expected):
                        self.assertTrue(np.isfinite(e).all())
                        np.testing.assert_array_equal(a.view(np.uint32), e.view(np.uint32))
                self.runtime.api.nju_model_release(model)

    def test_threads_share_long_sequences(self):
        # Keys of several chunks of 128, which threads share where tokens are few.
        rng = np.random.default_rng(9)
        model, vocabulary = self.compile(MODELS[0], tokens=512)
        prompts = [rng.integers(3, 90, n) for n in (400, 131)]
        batches = [(part, np.full(len(part), owner)) for owner, tokens in enumerate(prompts)
                   for part in np.array_split(tokens, 17)]
        batches += [(rng.integers(3, 90, 2), np.arange(2)) for _ in range(12)]

        def run(threads):
            session = self.runtime.session(model, threads, 2, 512)
            logits = [self.runtime.step(session, vocabulary, *batch) for batch in batches]
            self.runtime.api.nju_session_release(session)
            return np.concatenate(logits)

        expected = run(1)
        self.assertTrue(np.isfinite(expected).all())
        for threads in (2, 3, 4, 5):
            np.testing.assert_array_equal(run(threads).view(np.uint32), expected.view(np.uint32))
        self.runtime.api.nju_model_release(model)

    def test_fork_and_trim(self):
        for kv in ("f32", "f16", "q8", "q4"):
            with self.subTest(kv=kv):
                self.check_fork_and_trim(kv)

    def test_quantized_cache_is_near_full_precision(self):
        rng = np.random.default_rng(10)
        tokens = [rng.integers(3, 90, 60)]
        for weights in ([], ["--quantize=lcq4"]):
            logits = {}
            for kv in ("f32", "q8", "q4"):
                model, vocabulary = self.compile(MODELS[0], f"--kv={kv}", *weights)
                logits[kv] = self.alone(model, vocabulary, tokens, 2)[0]
                self.runtime.api.nju_model_release(model)
            for kv, most in (("q8", 0.04), ("q4", 0.15)):
                with self.subTest(kv=kv, weights=weights):
                    error = np.linalg.norm(logits[kv] - logits["f32"]) / np.linalg.norm(logits["f32"])
                    self.assertLess(error, most)
                    self.assertGreater(error, 0)

    def check_fork_and_trim(self, kv):
        rng = np.random.default_rng(8)
        model, vocabulary = self.compile(MODELS[0], f"--kv={kv}")
        prefix, left, right = (rng.integers(3, 90, n) for n in (21, 6, 9))
        expected = self.alone(model, vocabulary, [np.concatenate([prefix, t]) for t in (left, right)], 2)
        session = self.runtime.session(model, 2)
        api = self.runtime.api
        self.runtime.step(session, vocabulary, np.concatenate([prefix, left]), np.zeros(27))
        self.runtime.check(api.nju_session_fork(session, 0, 3, 21))
        forked = self.runtime.step(session, vocabulary, right, np.full(9, 3))
        np.testing.assert_array_equal(forked.view(np.uint32), expected[1][21:].view(np.uint32))
        self.runtime.check(api.nju_session_trim(session, 0, 21))
        again = self.runtime.step(session, vocabulary, left, np.zeros(6))
        np.testing.assert_array_equal(again.view(np.uint32), expected[0][21:].view(np.uint32))
        api.nju_session_release(session)
        api.nju_model_release(model)


if __name__ == "__main__":
    unittest.main()
