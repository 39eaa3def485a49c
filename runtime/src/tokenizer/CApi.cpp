//===- CApi.cpp - C API of the tokenizers ---------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Status.h"
#include "Tokenizer.h"
#include "nju/tokenizer.h"
#include <cstring>

using namespace nju;

/// The C object is the C++ one; the cast is the only thing between them.
static const Tokenizer &unwrap(const nju_tokenizer *tokenizer) {
  return *reinterpret_cast<const Tokenizer *>(tokenizer);
}

static nju_status report(const tokenizer::Status &status) {
  if (status.ok())
    return NJU_OK;
  return fail(status.code, "%s", status.message.c_str());
}

static nju_status nullArgument(const char *name) {
  return fail(NJU_INVALID_ARGUMENT, "%s is NULL", name);
}

static nju_status give(tokenizer::Result<std::unique_ptr<Tokenizer>> loaded,
                       nju_tokenizer **out_tokenizer) {
  if (!loaded.ok())
    return report(loaded.status());
  *out_tokenizer = reinterpret_cast<nju_tokenizer *>(loaded->release());
  return NJU_OK;
}

static nju_status checkFlags(uint32_t flags, uint32_t allowed) {
  if (flags & ~allowed)
    return fail(NJU_INVALID_ARGUMENT,
                "flags are 0x%x, expected only those of 0x%x", flags, allowed);
  return NJU_OK;
}

nju_status nju_tokenizer_load(const char *path, nju_tokenizer **out_tokenizer) {
  return guard([&] {
    if (!out_tokenizer)
      return nullArgument("out_tokenizer");
    *out_tokenizer = nullptr;
    if (!path)
      return nullArgument("path");
    return give(Tokenizer::fromFile(path), out_tokenizer);
  });
}

nju_status nju_tokenizer_create(const void *data, size_t size, const char *name,
                                nju_tokenizer **out_tokenizer) {
  return guard([&] {
    if (!out_tokenizer)
      return nullArgument("out_tokenizer");
    *out_tokenizer = nullptr;
    if (!data && size)
      return nullArgument("data");
    std::string_view bytes(static_cast<const char *>(data), size);
    return give(Tokenizer::fromBytes(bytes, name ? name : ""), out_tokenizer);
  });
}

void nju_tokenizer_release(nju_tokenizer *tokenizer) {
  delete reinterpret_cast<Tokenizer *>(tokenizer);
}

int32_t nju_tokenizer_vocabulary(const nju_tokenizer *tokenizer) {
  return unwrap(tokenizer).vocabularySize();
}

int32_t nju_tokenizer_bos(const nju_tokenizer *tokenizer) {
  return unwrap(tokenizer).bos();
}

size_t nju_tokenizer_eos(const nju_tokenizer *tokenizer,
                         const int32_t **out_tokens) {
  const std::vector<int32_t> &eos = unwrap(tokenizer).eos();
  if (out_tokens)
    *out_tokens = eos.data();
  return eos.size();
}

int nju_tokenizer_is_special(const nju_tokenizer *tokenizer, int32_t token) {
  return unwrap(tokenizer).isSpecial(token);
}

const char *nju_tokenizer_token(const nju_tokenizer *tokenizer, int32_t token,
                                size_t *out_size) {
  std::string_view text = unwrap(tokenizer).text(token);
  if (out_size)
    *out_size = text.size();
  return text.data();
}

int32_t nju_tokenizer_find(const nju_tokenizer *tokenizer, const char *text,
                           size_t size) {
  return text || !size ? unwrap(tokenizer).find({text, size}) : -1;
}

nju_status nju_tokenizer_encode(const nju_tokenizer *tokenizer,
                                const char *text, size_t size, uint32_t flags,
                                size_t capacity, int32_t *tokens,
                                size_t *out_count) {
  return guard([&]() -> nju_status {
    if (!out_count)
      return nullArgument("out_count");
    *out_count = 0;
    if (!tokenizer || (!text && size) || (!tokens && capacity))
      return nullArgument(!tokenizer ? "tokenizer" : !text ? "text" : "tokens");
    constexpr uint32_t allowed = NJU_TOKENIZER_ADD_BOS | NJU_TOKENIZER_ADD_EOS |
                                 NJU_TOKENIZER_PARSE_SPECIAL;
    if (nju_status status = checkFlags(flags, allowed))
      return status;
    TokenizerEncodeOptions options;
    options.addBos = flags & NJU_TOKENIZER_ADD_BOS;
    options.addEos = flags & NJU_TOKENIZER_ADD_EOS;
    options.parseSpecial = flags & NJU_TOKENIZER_PARSE_SPECIAL;
    auto encoded = unwrap(tokenizer).encode({text, size}, options);
    if (!encoded.ok())
      return report(encoded.status());
    *out_count = encoded->size();
    size_t written = std::min(capacity, encoded->size());
    if (written)
      std::memcpy(tokens, encoded->data(), written * sizeof(int32_t));
    if (written < encoded->size())
      return fail(NJU_OUT_OF_RANGE, "the text has %zu tokens, the buffer %zu",
                  encoded->size(), capacity);
    return NJU_OK;
  });
}

nju_status nju_tokenizer_decode(const nju_tokenizer *tokenizer,
                                const int32_t *tokens, size_t count,
                                uint32_t flags, size_t capacity, char *text,
                                size_t *out_size) {
  return guard([&]() -> nju_status {
    if (!out_size)
      return nullArgument("out_size");
    *out_size = 0;
    if (!tokenizer || (!tokens && count) || (!text && capacity))
      return nullArgument(!tokenizer           ? "tokenizer"
                          : (!tokens && count) ? "tokens"
                                               : "text");
    if (nju_status status = checkFlags(flags, NJU_TOKENIZER_SKIP_SPECIAL))
      return status;
    auto decoded = unwrap(tokenizer).decode(tokens, count,
                                            flags & NJU_TOKENIZER_SKIP_SPECIAL);
    if (!decoded.ok())
      return report(decoded.status());
    *out_size = decoded->size();
    size_t written = std::min(capacity, decoded->size());
    if (written)
      std::memcpy(text, decoded->data(), written);
    if (written < decoded->size())
      return fail(NJU_OUT_OF_RANGE, "the text has %zu bytes, the buffer %zu",
                  decoded->size(), capacity);
    return NJU_OK;
  });
}

struct nju_token_stream {
  TokenStream stream;
};

nju_status nju_token_stream_create(const nju_tokenizer *tokenizer,
                                   uint32_t flags,
                                   nju_token_stream **out_stream) {
  return guard([&]() -> nju_status {
    if (!out_stream)
      return nullArgument("out_stream");
    *out_stream = nullptr;
    if (!tokenizer)
      return nullArgument("tokenizer");
    if (nju_status status = checkFlags(flags, NJU_TOKENIZER_SKIP_SPECIAL))
      return status;
    *out_stream = new nju_token_stream{
        TokenStream(unwrap(tokenizer), flags & NJU_TOKENIZER_SKIP_SPECIAL)};
    return NJU_OK;
  });
}

void nju_token_stream_release(nju_token_stream *stream) { delete stream; }

/// Clears the outputs, runs `work` and hands out its text.
template <typename Work>
static nju_status handOut(nju_token_stream *stream, const char **out_text,
                          size_t *out_size, Work &&work) {
  return guard([&]() -> nju_status {
    if (!out_text)
      return nullArgument("out_text");
    *out_text = "";
    if (out_size)
      *out_size = 0;
    if (!stream)
      return nullArgument("stream");
    tokenizer::Result<std::string_view> text = work(stream->stream);
    if (!text.ok())
      return report(text.status());
    *out_text = text->data(); // Of a std::string, so terminated.
    if (out_size)
      *out_size = text->size();
    return NJU_OK;
  });
}

nju_status nju_token_stream_push(nju_token_stream *stream, int32_t token,
                                 const char **out_text, size_t *out_size) {
  return handOut(stream, out_text, out_size,
                 [&](TokenStream &it) { return it.push(token); });
}

nju_status nju_token_stream_finish(nju_token_stream *stream,
                                   const char **out_text, size_t *out_size) {
  return handOut(stream, out_text, out_size,
                 [](TokenStream &it) { return it.finish(); });
}
