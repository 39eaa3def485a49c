//===- Session.cpp - A running language model -----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Session.h"

#include <algorithm>
#include <cstring>

using namespace nju;

/// Regions of the cache smaller than this get small pages: with large ones a
/// short sequence would commit the memory of long ones.
static constexpr uint64_t hugePageSize = 2 << 20;

//===----------------------------------------------------------------------===//
// Creation
//===----------------------------------------------------------------------===//

static nju_status resolveLimit(const char *name, int32_t requested,
                               int64_t compiled, int32_t &limit) {
  if (requested < 0 || requested > compiled)
    return fail(NJU_OUT_OF_RANGE,
                "%s is %" PRId32 ", the model was compiled for 1 to %" PRId64,
                name, requested, compiled);
  limit = requested ? requested : compiled;
  return NJU_OK;
}

nju_status Session::resolveLimits(const nju_session_options &options) {
  const Signature &signature = model->getSignature();
  if (nju_status status = resolveLimit("max_tokens", options.max_tokens,
                                       signature.maxTokens, limits.max_tokens))
    return status;
  if (nju_status status =
          resolveLimit("max_sequences", options.max_sequences,
                       signature.maxSequences, limits.max_sequences))
    return status;
  return resolveThreads(options.num_threads, limits.num_threads);
}

/// Which smaller limits would fit into `room` bytes of cache, as a sentence.
static std::string suggestLimits(const nju_session_options &limits,
                                 uint64_t cache, int64_t cacheTokens,
                                 uint64_t room) {
  if (cache == 0)
    return "free some memory";
  uint64_t ofToken = cache / cacheTokens,
           ofSequence = cache / limits.max_sequences;
  uint64_t tokens = room / ofToken / NJU_ABI_CACHE_BLOCK * NJU_ABI_CACHE_BLOCK;
  uint64_t sequences = room / ofSequence;
  std::string text;
  if (tokens)
    text = "max_tokens of at most " + std::to_string(tokens);
  if (sequences)
    text += (tokens ? " or max_sequences of at most "
                    : "max_sequences of at most ") +
            std::to_string(sequences);
  if (text.empty())
    return "lower max_tokens and max_sequences";
  return text + " would fit";
}

static nju_status tooMuch(const Signature &signature,
                          const nju_session_options &limits, uint64_t cache,
                          int64_t cacheTokens, uint64_t available) {
  uint64_t arena = signature.arenaBytes;
  std::string advice =
      arena >= available
          ? "compile the model with a smaller --max-batch-tokens"
          : suggestLimits(limits, cache, cacheTokens, available - arena);
  return fail(NJU_RESOURCE_EXHAUSTED,
              "a session of model '%s' with %" PRId32 " sequences of %" PRId32
              " tokens needs %" PRIu64 " bytes (%" PRIu64
              " for the cache, %" PRIu64 " for scratch memory), %" PRIu64
              " more than the %" PRIu64 " bytes available: %s",
              signature.name.c_str(), limits.max_sequences, limits.max_tokens,
              cache + arena, cache, arena,
              cache + arena - std::min(cache + arena, available), available,
              advice.c_str());
}

nju_status Session::reserve() {
  const Signature &signature = model->getSignature();
  cacheTokens = (int64_t(limits.max_tokens) + NJU_ABI_CACHE_BLOCK - 1) /
                NJU_ABI_CACHE_BLOCK * NJU_ABI_CACHE_BLOCK;
  uint64_t cacheBytes = 0;
  uint64_t smallestHead = hugePageSize;
  for (const CacheLayer &layer : signature.cache) {
    uint64_t keyBytes = layer.getHeadBytes(0, cacheTokens),
             valueBytes = layer.getHeadBytes(1, cacheTokens), bytes;
    if (__builtin_mul_overflow(keyBytes + valueBytes, uint64_t(layer.heads),
                               &bytes) ||
        __builtin_mul_overflow(bytes, uint64_t(limits.max_sequences), &bytes) ||
        __builtin_add_overflow(cacheBytes, bytes, &cacheBytes) ||
        cacheBytes > uint64_t(1) << 62)
      return fail(NJU_RESOURCE_EXHAUSTED,
                  "the cache of model '%s' with %" PRId32
                  " sequences of %" PRId32 " tokens needs more bytes than 64 "
                  "bits can count: lower max_tokens or max_sequences",
                  signature.name.c_str(), limits.max_sequences,
                  limits.max_tokens);
    smallestHead = std::min({smallestHead, keyBytes, valueBytes});
  }
  uint64_t arenaBytes = signature.arenaBytes;
  uint64_t available = getAvailableMemory();
  if (cacheBytes + arenaBytes > available ||
      !cache.reserve(cacheBytes, smallestHead >= hugePageSize) ||
      !arena.reserve(arenaBytes, arenaBytes >= hugePageSize))
    return tooMuch(signature, limits, cacheBytes, cacheTokens, available);
  return NJU_OK;
}

nju_status Session::create(const nju_session_options &options) {
  const Signature &signature = model->getSignature();
  if (!signature.isLanguageModel)
    return fail(NJU_INVALID_ARGUMENT,
                "model '%s' is no language model: call nju_model_run",
                signature.name.c_str());
  if (nju_status status = resolveLimits(options))
    return status;
  if (nju_status status = reserve())
    return status;
  lengths.assign(limits.max_sequences, 0);
  nextLengths.assign(limits.max_sequences, 0);
  positions.resize(signature.maxBatchTokens);
  sequences.resize(signature.maxBatchTokens);
  rows.resize(signature.maxBatchTokens);
  return NJU_OK;
}

//===----------------------------------------------------------------------===//
// Step
//===----------------------------------------------------------------------===//

/// Checks token `index` of the batch and counts it in `nextLengths`.
nju_status Session::checkToken(const nju_batch &batch, size_t index) {
  const Signature &signature = model->getSignature();
  int32_t token = batch.tokens[index];
  int32_t sequence = batch.sequences ? batch.sequences[index] : 0;
  if (token < 0 || token >= signature.vocabulary)
    return fail(NJU_OUT_OF_RANGE,
                "token %zu of the batch is %" PRId32
                ", the vocabulary of model '%s' is 0 to %" PRId64,
                index, token, signature.name.c_str(), signature.vocabulary - 1);
  if (!isSequence(sequence))
    return fail(NJU_OUT_OF_RANGE,
                "token %zu of the batch belongs to sequence %" PRId32
                ", the session has sequences 0 to %" PRId32,
                index, sequence, limits.max_sequences - 1);
  int32_t expected = nextLengths[sequence];
  if (batch.positions && batch.positions[index] != expected)
    return fail(NJU_INVALID_ARGUMENT,
                "token %zu of the batch has position %" PRId32
                " in sequence %" PRId32 ", expected %" PRId32
                ": positions continue the sequence one by one",
                index, batch.positions[index], sequence, expected);
  if (expected >= limits.max_tokens)
    return fail(NJU_OUT_OF_RANGE,
                "token %zu of the batch does not fit: sequence %" PRId32
                " is full with %" PRId32
                " tokens; trim it or create the session with more max_tokens",
                index, sequence, limits.max_tokens);
  nextLengths[sequence] = expected + 1;
  return NJU_OK;
}

nju_status Session::checkBatch(const nju_batch &batch, const float *logits) {
  if (batch.num_tokens == 0)
    return fail(NJU_INVALID_ARGUMENT, "the batch has no tokens");
  if (!batch.tokens)
    return fail(NJU_INVALID_ARGUMENT, "the batch's tokens are NULL");
  if (batch.num_rows && !batch.rows)
    return fail(NJU_INVALID_ARGUMENT,
                "the batch's rows are NULL, expected %zu of them",
                batch.num_rows);
  if (batch.num_rows && !logits)
    return fail(NJU_INVALID_ARGUMENT,
                "out_logits is NULL, the batch asks for %zu rows",
                batch.num_rows);
  for (size_t i = 0; i < batch.num_rows; ++i) {
    int32_t row = batch.rows[i];
    if (row < 0 || size_t(row) >= batch.num_tokens)
      return fail(NJU_OUT_OF_RANGE,
                  "row %zu of the batch is token %" PRId32
                  ", the batch has %zu tokens",
                  i, row, batch.num_tokens);
    if (i && row <= batch.rows[i - 1])
      return fail(NJU_INVALID_ARGUMENT,
                  "row %zu of the batch is token %" PRId32
                  " after token %" PRId32 ", expected ascending tokens",
                  i, row, batch.rows[i - 1]);
  }
  std::copy(lengths.begin(), lengths.end(), nextLengths.begin());
  for (size_t i = 0; i < batch.num_tokens; ++i)
    if (nju_status status = checkToken(batch, i))
      return status;
  return NJU_OK;
}

/// Runs the tokens [begin, end) and their rows [firstRow, lastRow).
nju_status Session::runChunk(const nju_batch &batch, size_t begin, size_t end,
                             size_t firstRow, size_t lastRow, float *logits) {
  for (size_t i = begin; i < end; ++i) {
    int32_t sequence = batch.sequences ? batch.sequences[i] : 0;
    sequences[i - begin] = sequence;
    positions[i - begin] = nextLengths[sequence]++;
  }
  for (size_t i = firstRow; i < lastRow; ++i)
    rows[i - firstRow] = batch.rows[i] - int32_t(begin);

  const Signature &signature = model->getSignature();
  nju_abi_step_args args = {};
  args.num_tokens = end - begin;
  args.num_rows = lastRow - firstRow;
  args.tokens = batch.tokens + begin;
  args.positions = positions.data();
  args.sequences = sequences.data();
  args.rows = rows.data();
  args.logits = logits ? logits + firstRow * signature.vocabulary : nullptr;
  args.weights = model->getWeights();
  args.cache = cache.getData();
  args.arena = arena.getData();
  args.max_sequences = limits.max_sequences;
  args.cache_tokens = cacheTokens;
  args.num_threads = limits.num_threads;
  if (int32_t code = model->getCode().step(&args))
    return fail(NJU_INTERNAL,
                "the step of model '%s' failed with code %" PRId32,
                signature.name.c_str(), code);
  return NJU_OK;
}

nju_status Session::step(const nju_batch &batch, float *logits) {
  if (nju_status status = checkBatch(batch, logits))
    return status;
  std::copy(lengths.begin(), lengths.end(), nextLengths.begin());
  size_t maxBatch = model->getSignature().maxBatchTokens;
  size_t row = 0;
  for (size_t begin = 0; begin < batch.num_tokens; begin += maxBatch) {
    size_t end = std::min(begin + maxBatch, batch.num_tokens);
    size_t firstRow = row;
    while (row < batch.num_rows && size_t(batch.rows[row]) < end)
      ++row;
    if (nju_status status = runChunk(batch, begin, end, firstRow, row, logits))
      return status;
  }
  // Only now: what a failed step wrote lies beyond the end of every sequence.
  lengths.swap(nextLengths);
  return NJU_OK;
}

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

nju_status Session::checkSequence(int32_t sequence) const {
  if (isSequence(sequence))
    return NJU_OK;
  return fail(NJU_NOT_FOUND,
              "there is no sequence %" PRId32 ", the session has 0 to %" PRId32,
              sequence, limits.max_sequences - 1);
}

static nju_status checkLength(int32_t sequence, int32_t length,
                              int32_t present) {
  if (length >= 0 && length <= present)
    return NJU_OK;
  return fail(NJU_OUT_OF_RANGE,
              "length %" PRId32 " of sequence %" PRId32
              " is out of range, it holds %" PRId32 " tokens",
              length, sequence, present);
}

nju_status Session::fork(int32_t from, int32_t to, int32_t length) {
  if (nju_status status = checkSequence(from))
    return status;
  if (nju_status status = checkSequence(to))
    return status;
  if (length < 0)
    length = lengths[from];
  if (nju_status status = checkLength(from, length, lengths[from]))
    return status;
  if (from != to) {
    // Positions lie in blocks, so whole blocks are copied.
    int64_t blocks =
        (int64_t(length) + NJU_ABI_CACHE_BLOCK - 1) / NJU_ABI_CACHE_BLOCK;
    uint8_t *region = cache.getData();
    for (const CacheLayer &layer : model->getSignature().cache) {
      for (int part = 0; part < 2; ++part) { // keys, values
        size_t headBytes = layer.getHeadBytes(part, cacheTokens);
        size_t usedBytes =
            layer.getHeadBytes(part, blocks * NJU_ABI_CACHE_BLOCK);
        size_t sequenceBytes = headBytes * layer.heads;
        for (int64_t head = 0; head < layer.heads; ++head)
          memcpy(region + to * sequenceBytes + head * headBytes,
                 region + from * sequenceBytes + head * headBytes, usedBytes);
        region += sequenceBytes * limits.max_sequences;
      }
    }
  }
  lengths[to] = length;
  return NJU_OK;
}

nju_status Session::trim(int32_t sequence, int32_t length) {
  if (nju_status status = checkSequence(sequence))
    return status;
  if (nju_status status = checkLength(sequence, length, lengths[sequence]))
    return status;
  lengths[sequence] = length;
  return NJU_OK;
}

int32_t Session::getLength(int32_t sequence) const {
  return isSequence(sequence) ? lengths[sequence] : -1;
}

nju_memory Session::getMemory() const {
  return {model->getSignature().weightsBytes, cache.getSize(), arena.getSize()};
}

//===----------------------------------------------------------------------===//
// C API
//===----------------------------------------------------------------------===//

nju_status nju_session_create(const nju_model *model,
                              const nju_session_options *options,
                              nju_session **out_session) {
  if (!out_session)
    return fail(NJU_INVALID_ARGUMENT, "out_session is NULL");
  *out_session = nullptr;
  if (!model)
    return fail(NJU_INVALID_ARGUMENT, "model is NULL");
  return guard([&] {
    std::unique_ptr<nju_session> session(
        new nju_session{Session(model->model)});
    if (nju_status status =
            session->session.create(options ? *options : nju_session_options{}))
      return status;
    *out_session = session.release();
    return NJU_OK;
  });
}

void nju_session_release(nju_session *session) { delete session; }

nju_status nju_session_step(nju_session *session, const nju_batch *batch,
                            float *out_logits) {
  if (!session || !batch)
    return fail(NJU_INVALID_ARGUMENT, "%s is NULL",
                session ? "batch" : "session");
  return guard([&] { return session->session.step(*batch, out_logits); });
}

nju_status nju_session_fork(nju_session *session, int32_t from, int32_t to,
                            int32_t length) {
  if (!session)
    return fail(NJU_INVALID_ARGUMENT, "session is NULL");
  return guard([&] { return session->session.fork(from, to, length); });
}

nju_status nju_session_trim(nju_session *session, int32_t sequence,
                            int32_t length) {
  if (!session)
    return fail(NJU_INVALID_ARGUMENT, "session is NULL");
  return guard([&] { return session->session.trim(sequence, length); });
}

int32_t nju_session_length(const nju_session *session, int32_t sequence) {
  return session ? session->session.getLength(sequence) : -1;
}

nju_session_options nju_session_limits(const nju_session *session) {
  return session ? session->session.getLimits() : nju_session_options{};
}

nju_memory nju_session_memory(const nju_session *session) {
  return session ? session->session.getMemory() : nju_memory{};
}
