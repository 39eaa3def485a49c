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

/// Whether a file's content begins like a `.npy` array.
bool isTokenArray(llvm::StringRef bytes);

/// The sequences in the content of a `.npy` file: little-endian int32 or int64,
/// C order, [tokens] or [sequences, tokens]. A negative number, and the end of
/// a row, ends a sequence; more of them fill up. An error if a row is filled up
/// from its begin to its end. `file` is for messages.
llvm::Expected<std::vector<std::vector<int32_t>>>
readTokenArray(llvm::StringRef bytes, llvm::StringRef file);

} // namespace nju

#endif // NJU_DRIVER_TOKENARRAY_H
