#!/usr/bin/env python3
"""Trains the causal model that quantization is judged by, on text of corpus.py.

Writes DIR/tokenizer.json and DIR/checkpoint.pt. The learning rate rises and then
stays, so that a run that was stopped goes on where it was; `--decay N` makes a
finished model of a checkpoint: N more steps while the rate falls to zero, written
to DIR/decayed.pt, which leaves the checkpoint as it was.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import signal
import sys
import time

import numpy as np
import torch
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "examples" / "tiny-stories"))
import model as tiny_llama  # noqa: E402
from train import BOS_ID, EOS_ID, train_tokenizer  # noqa: E402

from corpus import SEPARATOR  # noqa: E402

# 11.1 M parameters in the matrices of the layers, 2.1 M in the embedding. All
# rows are multiples of 256 long, the blocks of llama.cpp's formats.
SHAPE = tiny_llama.ModelShape(vocabulary=4096, hidden=512, ffn=1024, layers=5, heads=8,
                              kv_heads=2, context=256)
RISE = 100  # steps
TOKENIZER_DOCUMENTS = 1500


class FusedAttention(tiny_llama.Attention):
    """The same attention by PyTorch's kernel, which keeps no scores."""

    def forward(self, x, cos, sin, mask) -> torch.Tensor:
        batch, sequence, _ = x.shape
        shape = self.shape

        def heads(value: torch.Tensor, count: int) -> torch.Tensor:
            return value.view(batch, sequence, count, shape.head_dim).transpose(1, 2)

        query = tiny_llama.rotate(heads(self.q_proj(x), shape.heads), cos, sin)
        key = tiny_llama.rotate(heads(self.k_proj(x), shape.kv_heads), cos, sin)
        value = heads(self.v_proj(x), shape.kv_heads)
        groups = shape.heads // shape.kv_heads
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
        mixed = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value,
                                               is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, sequence, shape.hidden))


def make_model() -> tiny_llama.TinyLlama:
    model = tiny_llama.TinyLlama(SHAPE)
    torch.nn.init.normal_(model.embed_tokens.weight, std=0.02)
    for layer in model.layers:
        layer.self_attn.__class__ = FusedAttention
    return model


def make_optimizers(model) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, which needs about half the tokens; AdamW for the rest."""
    matrices = [p for p in model.layers.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() != 2] + [model.embed_tokens.weight]
    return [torch.optim.Muon(matrices, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]


def tokens_of(tokenizer, text: str) -> np.ndarray:
    """All documents in a row, each with BOS before and EOS behind it."""
    pieces = [e.ids + [EOS_ID] for e in tokenizer.encode_batch(text.split(SEPARATOR))]
    return np.concatenate([np.asarray(p, np.uint16) for p in pieces])


def load_tokens(text: pathlib.Path, output: pathlib.Path) -> np.ndarray:
    from tokenizers import Tokenizer

    cache, tokenizer_file = output / "tokens.npy", output / "tokenizer.json"
    if cache.exists():
        return np.load(cache)
    documents = text.read_text().split(SEPARATOR)
    if not tokenizer_file.exists():
        chosen = np.random.default_rng(0).permutation(len(documents))[:TOKENIZER_DOCUMENTS]
        train_tokenizer([documents[i] for i in chosen], SHAPE.vocabulary, tokenizer_file)
    tokens = tokens_of(Tokenizer.from_file(str(tokenizer_file)), SEPARATOR.join(documents))
    np.save(cache, tokens)
    return tokens


class Windows:
    """Rows of BOS and the next context - 1 tokens; an epoch has other cuts and order."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens, self.epoch, self.width = tokens, -1, SHAPE.context

    def batch(self, step: int, size: int) -> torch.Tensor:
        per_epoch = (len(self.tokens) - self.width) // self.width // size
        if step // per_epoch != self.epoch:
            self.epoch = step // per_epoch
            random = np.random.default_rng(self.epoch)
            self.start = random.integers(self.width)
            self.order = random.permutation(per_epoch * size)
        chosen = self.order[step % per_epoch * size:][:size]
        rows = np.stack([self.tokens[self.start + i * self.width:][: self.width] for i in chosen])
        rows = np.concatenate([np.full((size, 1), BOS_ID), rows.astype(np.int64)], axis=1)
        return torch.from_numpy(rows)


def loss_of(model, rows: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(rows[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model, tokens: np.ndarray) -> float:
    count = min(128, len(tokens) // SHAPE.context)
    rows = tokens[: count * SHAPE.context].astype(np.int64).reshape(count, -1)
    rows = np.concatenate([np.full((count, 1), BOS_ID), rows], axis=1)
    return float(np.mean([loss_of(model, torch.from_numpy(part)).item()
                          for part in np.array_split(rows, 8)]))


class Trainer:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.step, self.stopped = args, 0, False
        self.model = make_model()
        self.optimizers = make_optimizers(self.model)
        self.loss = torch.compile(loss_of)
        self.checkpoint = args.output / "checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.step = state["step"]
            self.model.load_state_dict(state["model"])
            for optimizer, stored in zip(self.optimizers, state["optimizers"]):
                optimizer.load_state_dict(stored)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, *_) -> None:
        self.stopped = True

    def save(self, path: pathlib.Path) -> None:
        partial = path.with_suffix(".partial")
        state = {"step": self.step, "model": self.model.state_dict()}
        if path == self.checkpoint:
            state["optimizers"] = [o.state_dict() for o in self.optimizers]
        torch.save(state, partial)
        os.replace(partial, path)

    def one_step(self, rows: torch.Tensor, rate: float) -> float:
        for group in (g for o in self.optimizers for g in o.param_groups):
            group["lr"] = self.args.learning_rate * rate
        self.model.zero_grad()
        loss = self.loss(self.model, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def run(self, windows: Windows, held_out: np.ndarray) -> None:
        args, first, start = self.args, self.step, time.monotonic()
        steps = args.decay or args.steps
        saved, losses = start, []
        while self.step - first < steps and not self.stopped:
            done = self.step - first
            rate = 1 - done / steps if args.decay else min(1.0, (self.step + 1) / RISE)
            losses.append(self.one_step(windows.batch(self.step, args.batch), rate))
            self.step += 1
            now = time.monotonic()
            if self.step % args.report == 0:
                held = held_out_loss(self.model, held_out)
                print(f"step {self.step}: loss {np.mean(losses):.4f}, held out {held:.4f} "
                      f"(perplexity {math.exp(held):.2f}), {now - start:.0f} s, "
                      f"{(done + 1) * args.batch * SHAPE.context / (now - start):.0f} tokens/s",
                      flush=True)
                losses = []
            if not args.decay and now - saved > args.save_every:
                self.save(self.checkpoint)
                saved = now
        self.save(args.output / "decayed.pt" if args.decay else self.checkpoint)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  pretrain.py TEXT -o /tmp/trained\n"
               "  pretrain.py TEXT -o /tmp/trained --decay 200")
    parser.add_argument("text", metavar="TEXT", type=pathlib.Path,
                        help="folder with train.txt and eval.txt of corpus.py")
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=10**9, help="steps of this run")
    parser.add_argument("--decay", type=int, default=0, metavar="N",
                        help="make decayed.pt of the checkpoint in N steps")
    parser.add_argument("--batch", type=int, default=16, help="rows of 256 tokens a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=50, metavar="STEPS")
    parser.add_argument("--save-every", type=int, default=240, metavar="SECONDS")
    args = parser.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", str(args.threads))
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.output.mkdir(parents=True, exist_ok=True)
    windows = Windows(load_tokens(args.text / "train.txt", args.output))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(args.output / "tokenizer.json"))
    held_out = tokens_of(tokenizer, (args.text / "eval.txt").read_text())
    trainer = Trainer(args)
    layers = sum(p.numel() for p in trainer.model.layers.parameters())
    total = sum(p.numel() for p in trainer.model.parameters())
    print(f"{total} parameters, {layers} in layers; {len(windows.tokens)} tokens of text, "
          f"{len(held_out)} held out; from step {trainer.step}", flush=True)
    trainer.run(windows, held_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
