//===- LCQOptions.h - How a matrix is to be quantized -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_LCQOPTIONS_H
#define NJU_QUANTIZATION_LCQOPTIONS_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace nju::lcq {

/// The least and the most bits of a code, and the most ranks of a codebook.
constexpr unsigned kMinBits = 2, kMaxBits = 4, kMaxRank = 3;
/// The largest magnitude of an element of an int8 basis.
constexpr int kBasisMax = 127;

/// The format of a matrix quantized by LCQ ("Low-Rank Codebook based
/// Quantization for Large Language Models", Cai and Li, arXiv 2405.20973): a
/// weight is one of 2^bits codewords; the codewords of a group of consecutive
/// columns of a row are C = S^T V - B, where the basis V is shared by the whole
/// matrix, and the scales S and the offset B belong to the group.
struct LCQOptions {
  /// Bits of a code, 2 to 4.
  unsigned bits = 4;
  /// Columns of a group. The last group of a row is shorter where the group
  /// does not divide the row.
  int64_t group = 32;
  /// Rows of the basis, and scales of a group: 1 to 3, at most 2^bits.
  unsigned rank = 1;
  /// Bits of a stored scale or offset. 8: int8 with one f32 for each row and
  /// rank (double quantization with the row as super-group); 16: f16.
  unsigned scaleBits = 8;
  /// Whether groups have an offset B.
  bool offset = false;

  /// Codewords of a group.
  unsigned getLevels() const { return 1u << bits; }
  /// Groups of a row of `columns` elements.
  int64_t getGroups(int64_t columns) const {
    return (columns + group - 1) / group;
  }

  /// The default format of a width of 2 to 4 bits: that of the members above
  /// (docs/rationale-quantization.md says why).
  static LCQOptions getDefault(unsigned bits);

  /// Reads `lcq4`, `lcq3`, `lcq2` (the default formats) or a list such as
  /// `lcq:bits=3,group=64,rank=2,double-quant=8,offset`. Keys may come in any
  /// order; those left out are as in the default format of the bits, which are
  /// 4 if left out. `double-quant` is 8 or 16 (none: scales in f16).
  static llvm::Expected<LCQOptions> parse(llvm::StringRef text);

  /// The list form of all values; `parse` reads it back.
  std::string str() const;

  /// An error that names the first value out of range.
  llvm::Error verify() const;
};

inline bool operator==(const LCQOptions &a, const LCQOptions &b) {
  return a.bits == b.bits && a.group == b.group && a.rank == b.rank &&
         a.scaleBits == b.scaleBits && a.offset == b.offset;
}

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_LCQOPTIONS_H
