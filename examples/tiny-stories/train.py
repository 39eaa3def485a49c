#!/usr/bin/env python3
"""Trains the tokenizer and the model on stories of grammar.py.

Writes DIR/tokenizer.json and DIR/checkpoint.pt; export.py turns the latter into
ONNX. The run is seeded and takes about half an hour on one CPU core.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import sys
import time

import torch
from torch.nn import functional as F

from grammar import make_stories
from model import ModelShape, TinyLlama

UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
BOS_ID, EOS_ID = 1, 2
TRAIN_SEED, HELD_OUT_SEED = 1, 2


def train_tokenizer(stories: list[str], vocabulary: int, path: pathlib.Path):
    """A byte-level BPE tokenizer that puts BOS before a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[UNKNOWN, BOS, EOS],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(stories, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, BOS_ID)])
    tokenizer.save(str(path))
    return tokenizer


def encode(tokenizer, stories: list[str], context: int) -> torch.Tensor:
    """[stories, longest] token numbers: BOS, the story, EOS, then -1."""
    rows = [e.ids[: context - 1] + [EOS_ID] for e in tokenizer.encode_batch(stories)]
    longest = max(map(len, rows))
    return torch.tensor([row + [-1] * (longest - len(row)) for row in rows])


def loss_of(model: TinyLlama, rows: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of the next token, nats."""
    longest = int((rows >= 0).sum(1).max())
    inputs, targets = rows[:, : longest - 1].clamp(min=0), rows[:, 1:longest]
    logits = model(inputs)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A short linear rise, then half a cosine to a hundredth of the peak."""
    rise = 100
    if step < rise:
        return peak * (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(args: argparse.Namespace) -> None:
    shape = ModelShape()
    stories = make_stories(TRAIN_SEED, args.stories)
    tokenizer = train_tokenizer(stories[:20000], shape.vocabulary, args.output / "tokenizer.json")
    rows = encode(tokenizer, stories, shape.context)
    held_out = encode(tokenizer, make_stories(HELD_OUT_SEED, 200), shape.context)
    # Stories of like lengths share a batch, so that little is padding.
    order = (rows >= 0).sum(1).argsort()
    batches = list(order[: len(order) // args.batch * args.batch].view(-1, args.batch))

    model = TinyLlama(shape)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters} parameters, {len(rows)} stories, longest {rows.shape[1]} tokens, "
          f"{int((rows >= 0).sum())} tokens", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, betas=(0.9, 0.98),
                                  weight_decay=0.01)
    start = time.monotonic()
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.learning_rate)
        loss = loss_of(model, rows[batches[int(torch.randint(len(batches), ()))]])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == args.steps - 1:
            with torch.no_grad():
                held = loss_of(model, held_out).item()
            print(f"step {step}: loss {loss.item():.4f}, held out {held:.4f}, "
                  f"{time.monotonic() - start:.0f} s", flush=True)
            torch.save(model.state_dict(), args.output / "checkpoint.pt")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  train.py -o /tmp/tiny-stories")
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True)
    parser.add_argument("--stories", type=int, default=60000, help="stories to train on")
    parser.add_argument("--steps", type=int, default=3500, help="batches to train on")
    parser.add_argument("--batch", type=int, default=32, help="stories a batch")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", str(args.threads))
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    train(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
