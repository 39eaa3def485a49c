//===- Tokenizer.h - The tokenizer beside a model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_TOKENIZER_H
#define NJU_DRIVER_TOKENIZER_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>

namespace nju {

/// The tokenizer that lies beside the model file `model`: tokenizer.json,
/// tokenizer.model or tokenizer.bin, the first that exists.
std::optional<std::string> findTokenizer(llvm::StringRef model);

/// What follows the stem in the name that nju-run looks for:
/// ".tokenizer.<ext>".
std::string tokenizerSuffix(llvm::StringRef tokenizer);

/// Copies a file; `to` appears complete or not at all.
llvm::Error copyFile(llvm::StringRef from, llvm::StringRef to);

} // namespace nju

#endif // NJU_DRIVER_TOKENIZER_H
