//===- TokenArray.h - Tokens in a NumPy array -------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_TOKENARRAY_H
#define NJU_DRIVER_TOKENARRAY_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <vector>

namespace nju {

/// Token numbers, row-major.
struct TokenArray {
  int64_t rows = 0, columns = 0;
  std::vector<int32_t> tokens;
};

/// Whether a file's content begins like a `.npy` array.
bool isTokenArray(llvm::StringRef bytes);

/// Reads the content of a `.npy` file: little-endian int32 or int64, C order,
/// [tokens] (one row) or [sequences, tokens]. `file` is for messages.
llvm::Expected<TokenArray> readTokenArray(llvm::StringRef bytes,
                                          llvm::StringRef file);

} // namespace nju

#endif // NJU_DRIVER_TOKENARRAY_H
