//===- HuggingFace.h - reading tokenizer.json -------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_HUGGINGFACE_H
#define NJU_RUNTIME_TOKENIZER_HUGGINGFACE_H

#include "Parts.h"
#include "TokenizerDocument.h"

namespace nju::tokenizer {

/// Read one component of tokenizer.json; `path` is its place in the document.
/// Components that are not supported fail with NJU_INCOMPATIBLE.
Status readNormalizer(const Json &json, const std::string &path,
                      Normalizer &normalizer, int depth = 0);
Status readPreTokenizer(const Json &json, const std::string &path,
                        PreTokenizer &preTokenizer, int depth = 0);
Status readDecoder(const Json &json, const std::string &path, Decoder &decoder,
                   int depth = 0);

/// Sets bos and eos from the configuration files that lie beside
/// tokenizer.json, else from the names that such tokens usually have.
Status readSpecialTokens(const TokenizerFiles &files, Parts &parts);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_HUGGINGFACE_H
