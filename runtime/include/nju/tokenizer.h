//===- tokenizer.h - C API of the tokenizers ----------------------*- C -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Text to token numbers and back, for sentencepiece models, tokenizer.json of
// Hugging Face (byte-level BPE, BPE with byte fallback, WordLevel), GPT-2's
// vocab.json with merges.txt, and tokenizer.bin of llama2.c.
//
// The conventions are those of nju.h. Texts are UTF-8 given by address and
// length and may contain NUL; ill-formed bytes are read as U+FFFD. Texts that
// come back are valid UTF-8.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TOKENIZER_H
#define NJU_TOKENIZER_H

#include "nju/nju.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A loaded tokenizer. Immutable: every function that takes a `const
/// nju_tokenizer *` may be called from any number of threads at once.
typedef struct nju_tokenizer nju_tokenizer;

/// Loads `path`: a tokenizer file, whose format is told by its content, or a
/// directory that has one (tokenizer.json, tokenizer.model, vocab.json or
/// tokenizer.bin, in this order). Beside the file are looked for: merges.txt
/// (of a vocab.json), tokenizer_config.json and generation_config.json (which
/// tokens begin and end a text).
/// NJU_NOT_FOUND: no such file. NJU_DATA_LOSS: not a tokenizer, or damaged.
/// NJU_INCOMPATIBLE: it has a component that is not supported, named in the
/// message. The caller releases `*out_tokenizer` with nju_tokenizer_release.
NJU_EXPORT nju_status nju_tokenizer_load(const char *path,
                                         nju_tokenizer **out_tokenizer);

/// The same for the content of a single file in memory, which may be freed
/// afterwards. `name` (a file name, or NULL) is used in messages and where the
/// content does not tell the format.
NJU_EXPORT nju_status nju_tokenizer_create(const void *data, size_t size,
                                           const char *name,
                                           nju_tokenizer **out_tokenizer);

/// Releases the tokenizer; NULL is allowed. No stream may be alive.
NJU_EXPORT void nju_tokenizer_release(nju_tokenizer *tokenizer);

/// Highest token number plus one. A model may have more: they are padding.
NJU_EXPORT int32_t nju_tokenizer_vocabulary(const nju_tokenizer *tokenizer);

/// The token that begins a text; -1 if there is none.
NJU_EXPORT int32_t nju_tokenizer_bos(const nju_tokenizer *tokenizer);

/// The tokens that end a text or a turn, the principal one first. Returns
/// their number (0: none); `*out_tokens`, unless `out_tokens` is NULL, points
/// to them and is owned by the tokenizer.
NJU_EXPORT size_t nju_tokenizer_eos(const nju_tokenizer *tokenizer,
                                    const int32_t **out_tokens);

/// 1 if `token` is a mark such as <s> and no text, else 0.
NJU_EXPORT int nju_tokenizer_is_special(const nju_tokenizer *tokenizer,
                                        int32_t token);

/// A token as its file writes it (such as "\u2581the" or "<0x0A>"), owned by
/// the tokenizer, not terminated; its length in `*out_size`. NULL with size 0
/// if no token has this number. For display: use decode for text.
NJU_EXPORT const char *nju_tokenizer_token(const nju_tokenizer *tokenizer,
                                           int32_t token, size_t *out_size);

/// The token that the file writes so; -1 if there is none.
NJU_EXPORT int32_t nju_tokenizer_find(const nju_tokenizer *tokenizer,
                                      const char *text, size_t size);

/// How to encode and decode; to be combined with |.
enum {
  /// Put before the text what the tokenizer defines to be there: <s> for
  /// Llama, nothing for GPT-2 and Qwen.
  NJU_TOKENIZER_ADD_BOS = 1,
  /// Put after the text what the tokenizer defines to be there.
  NJU_TOKENIZER_ADD_EOS = 2,
  /// Recognise the names of special tokens in the text. Not for text of
  /// unknown origin, which could then close its turn.
  NJU_TOKENIZER_PARSE_SPECIAL = 4,
  /// Decode: leave special tokens out. Otherwise they appear by name.
  NJU_TOKENIZER_SKIP_SPECIAL = 8
};

/// Encodes `size` bytes of text. `*out_count` is the number of tokens, also if
/// there are more than `capacity`: then the first `capacity` are written and
/// NJU_OUT_OF_RANGE is returned. `tokens` may be NULL with capacity 0. A text
/// has at most size + 8 tokens with nearly every tokenizer.
/// NJU_INVALID_ARGUMENT: a character has no token and the tokenizer no unknown
/// token. NJU_RESOURCE_EXHAUSTED: more than 256 MiB of text, or a pattern of
/// the tokenizer needs too many steps on it.
NJU_EXPORT nju_status nju_tokenizer_encode(const nju_tokenizer *tokenizer,
                                           const char *text, size_t size,
                                           uint32_t flags, size_t capacity,
                                           int32_t *tokens, size_t *out_count);

/// Decodes a whole sequence. `*out_size` is the number of bytes, also if there
/// are more than `capacity`: then the first `capacity` are written and
/// NJU_OUT_OF_RANGE is returned. No NUL is added. NJU_OUT_OF_RANGE is also the
/// answer to a token number that is negative or beyond the vocabulary;
/// `*out_size` is 0 then.
NJU_EXPORT nju_status nju_tokenizer_decode(const nju_tokenizer *tokenizer,
                                           const int32_t *tokens, size_t count,
                                           uint32_t flags, size_t capacity,
                                           char *text, size_t *out_size);

/// Decodes token by token, as they are generated. The texts put together are
/// what nju_tokenizer_decode makes of the same tokens; half characters are held
/// back until they are whole. One thread at a time.
typedef struct nju_token_stream nju_token_stream;

/// Creates a stream; `tokenizer` must outlive it. To go on after a prompt, push
/// the prompt's tokens first and drop the text: a leading space is then right.
/// `flags`: 0 or NJU_TOKENIZER_SKIP_SPECIAL. The caller releases `*out_stream`
/// with nju_token_stream_release.
NJU_EXPORT nju_status nju_token_stream_create(const nju_tokenizer *tokenizer,
                                              uint32_t flags,
                                              nju_token_stream **out_stream);
NJU_EXPORT void nju_token_stream_release(nju_token_stream *stream);

/// Adds a token. `*out_text` is the text that is certain now, terminated by NUL
/// and possibly empty; its length is `*out_size` (which may be NULL). Owned by
/// the stream and valid until its next call. NJU_OUT_OF_RANGE: no such token;
/// the stream is as it was.
NJU_EXPORT nju_status nju_token_stream_push(nju_token_stream *stream,
                                            int32_t token,
                                            const char **out_text,
                                            size_t *out_size);

/// The text that was held back; the stream begins anew afterwards.
NJU_EXPORT nju_status nju_token_stream_finish(nju_token_stream *stream,
                                              const char **out_text,
                                              size_t *out_size);

#ifdef __cplusplus
}
#endif

#endif // NJU_TOKENIZER_H
