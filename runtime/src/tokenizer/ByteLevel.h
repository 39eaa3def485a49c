//===- ByteLevel.h - bytes as printable characters --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GPT-2's vocabulary writes every byte as one printable character: those of
// Latin-1 that print stand for themselves, the other 68 bytes are, in order,
// U+0100 and up.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_BYTELEVEL_H
#define NJU_RUNTIME_TOKENIZER_BYTELEVEL_H

#include <string>
#include <string_view>

namespace nju::tokenizer {

/// The split pattern of GPT-2, which byte-level tokenizers use if they do not
/// bring their own.
extern const char *const gpt2Pattern;

/// Writes every byte of `text` as its character.
std::string bytesToCharacters(std::string_view text);

/// The bytes behind `text`; `text` itself if one of its characters stands for
/// no byte, as in special tokens.
std::string charactersToBytes(std::string_view text);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_BYTELEVEL_H
