"""Round-to-nearest, NormalFloat and GPTQ, as weights in f32 that have been quantized.

A matrix is [outputs, inputs]. A group is consecutive inputs of one output; the
last group of a row may be shorter. Scales are stored as f16, and zero points with
as many bits as the codes. Every function returns the dequantized matrix and the
number of bits that a file needs for it.
"""

from __future__ import annotations

import statistics

import numpy as np

SCALE_BITS = 16
DAMPING = 0.01  # of the mean second moment
# GPTQ's search: how far a range may shrink, in how many steps, under which norm.
LEAST_RANGE, RANGE_STEPS, RANGE_NORM = 0.2, 80, 2.4


def groups_of(inputs: int, group: int) -> list[slice]:
    return [slice(start, min(start + group, inputs)) for start in range(0, inputs, group)]


def storage_bits(shape: tuple[int, int], group: int, code_bits: int, group_bits: int) -> int:
    outputs, inputs = shape
    return outputs * (inputs * code_bits + len(groups_of(inputs, group)) * group_bits)


class UniformGrid:
    """Asymmetric levels s * (q - z), q = 0 ... 2^bits - 1, for a group of every row."""

    def __init__(self, values: np.ndarray, bits: int, clip: bool) -> None:
        self.last = 2**bits - 1
        low = np.minimum(values.min(1, keepdims=True), 0)
        high = np.maximum(values.max(1, keepdims=True), 0)
        empty = low == high
        low, high = np.where(empty, -1, low), np.where(empty, 1, high)
        self.scale, self.zero = self._levels(low, high)
        if clip:
            self._search(values, low, high)

    def _levels(self, low, high):
        scale = ((high - low) / self.last).astype(np.float16).astype(np.float32)
        scale = np.maximum(scale, np.finfo(np.float16).smallest_subnormal)
        return scale, np.clip(np.round(-low / scale), 0, self.last)

    def _round(self, values, scale, zero):
        return scale * (np.clip(np.round(values / scale) + zero, 0, self.last) - zero)

    def _search(self, values, low, high) -> None:
        """Keeps for each row the range, shrunk from both sides, of the least error."""
        least = np.full((len(values), 1), np.inf, np.float32)
        for factor in np.linspace(1, LEAST_RANGE, RANGE_STEPS, endpoint=False):
            scale, zero = self._levels(low * factor, high * factor)
            error = np.abs(self._round(values, scale, zero) - values)**RANGE_NORM
            error = error.sum(1, keepdims=True)
            better = error < least
            least = np.where(better, error, least)
            self.scale = np.where(better, scale, self.scale)
            self.zero = np.where(better, zero, self.zero)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return self._round(values, self.scale, self.zero)


def round_to_nearest(weight: np.ndarray, bits: int, group: int, clip: bool = False):
    result = np.empty_like(weight)
    for columns in groups_of(weight.shape[1], group):
        values = weight[:, columns]
        result[:, columns] = UniformGrid(values, bits, clip)(values)
    return result, storage_bits(weight.shape, group, bits, SCALE_BITS + bits)


def normal_float_levels(bits: int) -> np.ndarray:
    """QLoRA's table: quantiles of a normal distribution, with zero, scaled to [-1, 1]."""
    levels = 2**bits
    edge = 1 - (1 / (2 * levels) + 1 / (2 * (levels - 1))) / 2
    quantile = np.vectorize(statistics.NormalDist().inv_cdf)
    above = quantile(np.linspace(edge, 0.5, levels // 2 + 1)[:-1])
    below = -quantile(np.linspace(edge, 0.5, levels // 2)[:-1])
    table = np.sort(np.concatenate([below, [0.0], above]))
    return (table / table.max()).astype(np.float32)


def normal_float(weight: np.ndarray, bits: int, group: int):
    table = normal_float_levels(bits)
    middles = (table[1:] + table[:-1]) / 2
    result = np.empty_like(weight)
    for columns in groups_of(weight.shape[1], group):
        values = weight[:, columns]
        scale = np.abs(values).max(1, keepdims=True).astype(np.float16).astype(np.float32)
        codes = np.searchsorted(middles, values / np.where(scale > 0, scale, 1))
        result[:, columns] = table[codes] * scale
    return result, storage_bits(weight.shape, group, bits, SCALE_BITS)


def gptq(weight: np.ndarray, moments: np.ndarray, bits: int, group: int, clip: bool = False):
    """Column by column, with what is rounded away made up for in the columns to come.

    moments: the sum of x x' over the inputs of the matrix. A group's levels are
    chosen when the first of its columns is reached.
    """
    left, moments = weight.astype(np.float32), moments.astype(np.float64)
    unused = np.diag(moments) == 0
    left[:, unused] = 0
    mean = np.diag(moments).mean()
    moments = moments + np.diag(DAMPING * mean + np.where(unused, mean, 0))
    factor = np.linalg.cholesky(np.linalg.inv(moments)).T.astype(np.float32)
    result = np.empty_like(left)
    for columns in groups_of(weight.shape[1], group):
        grid = UniformGrid(left[:, columns], bits, clip)
        errors = np.empty_like(left[:, columns])
        for j in range(columns.start, columns.stop):
            result[:, j:j + 1] = grid(left[:, j:j + 1])
            error = (left[:, j] - result[:, j]) / factor[j, j]
            left[:, j:columns.stop] -= np.outer(error, factor[j, j:columns.stop])
            errors[:, j - columns.start] = error
        left[:, columns.stop:] -= errors @ factor[columns, columns.stop:]
    return result, storage_bits(weight.shape, group, bits, SCALE_BITS + bits)
