//===- SessionTests.cpp - Sessions ----------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <sched.h>
#include <thread>

using namespace nju;
using namespace nju::test;

namespace {
struct Session : testing::Test {
  void SetUp() override { session = create({}); }

  SessionHandle create(nju_session_options options) {
    nju_session *raw = nullptr;
    EXPECT_OK(nju_session_create(model.get(), &options, &raw));
    return SessionHandle(raw);
  }
  nju_status tryCreate(nju_session_options options) {
    nju_session *raw = nullptr;
    nju_status status = nju_session_create(model.get(), &options, &raw);
    nju_session_release(raw);
    return status;
  }

  /// Appends tokens to a sequence and returns what the model predicts after
  /// the last one.
  int append(std::vector<int32_t> tokens, int32_t sequence = 0) {
    std::vector<int32_t> sequences(tokens.size(), sequence);
    int32_t row = tokens.size() - 1;
    nju_batch batch = {};
    batch.num_tokens = tokens.size();
    batch.tokens = tokens.data();
    batch.sequences = sequences.data();
    batch.num_rows = 1;
    batch.rows = &row;
    std::vector<float> logits(fake::vocabulary);
    EXPECT_OK(nju_session_step(session.get(), &batch, logits.data()));
    return std::max_element(logits.begin(), logits.end()) - logits.begin();
  }

  nju_status step(const std::vector<int32_t> &tokens,
                  const int32_t *positions = nullptr,
                  const int32_t *sequences = nullptr,
                  std::vector<int32_t> rows = {}) {
    nju_batch batch = {};
    batch.num_tokens = tokens.size();
    batch.tokens = tokens.data();
    batch.positions = positions;
    batch.sequences = sequences;
    batch.num_rows = rows.size();
    batch.rows = rows.data();
    logits.assign(rows.size() * fake::vocabulary, 0);
    return nju_session_step(session.get(), &batch, logits.data());
  }

  int length(int32_t sequence = 0) {
    return nju_session_length(session.get(), sequence);
  }

  FakeLanguageModel fake;
  ModelHandle model = fake.open();
  SessionHandle session;
  std::vector<float> logits;
};
} // namespace

TEST_F(Session, TakesCompiledLimits) {
  nju_session_options limits = nju_session_limits(session.get());
  EXPECT_EQ(limits.max_tokens, fake::maxTokens);
  EXPECT_EQ(limits.max_sequences, fake::maxSequences);
  EXPECT_GE(limits.num_threads, 1);
  // 40 tokens are three blocks of 16.
  nju_memory memory = nju_session_memory(session.get());
  EXPECT_EQ(memory.cache, 48u * fake::maxSequences * 4 * 2 * (2 * 4 + 8));
  EXPECT_EQ(memory.arena, uint64_t(fake::arenaBytes));
  EXPECT_EQ(memory.weights, 256u);
}

TEST_F(Session, KeepsKeysAndValuesInBlocksOfTheSignature) {
  FakeLanguageModel half(replaced(fake::makeLanguageModelSignature(),
                                  R"("type":"f32","key_block_bytes":256,)"
                                  R"("value_block_bytes":256)",
                                  R"("type":"q4","key_block_bytes":96,)"
                                  R"("value_block_bytes":64)"));
  ModelHandle model = half.open();
  nju_session *created = nullptr;
  ASSERT_OK(nju_session_create(model.get(), nullptr, &created));
  SessionHandle owner(created);
  // Three blocks: two heads as the signature says, one of 8 elements in f32.
  EXPECT_EQ(nju_session_memory(created).cache,
            3u * fake::maxSequences * (2 * (96 + 64) + 2 * 512));
}

TEST_F(Session, TakesSmallerLimits) {
  setenv("NJU_CORES", "2", 1);
  session = create({17, 1, 2});
  unsetenv("NJU_CORES");
  nju_session_options limits = nju_session_limits(session.get());
  EXPECT_EQ(limits.max_tokens, 17);
  EXPECT_EQ(limits.max_sequences, 1);
  EXPECT_EQ(limits.num_threads, 2);
  std::vector<int32_t> tokens(17, 3);
  EXPECT_EQ(append(tokens), fake::predict({tokens.begin(), tokens.end()}));
}

TEST_F(Session, RefusesLimitsBeyondTheCompiledOnes) {
  EXPECT_FAILURE(tryCreate({41, 0, 0}), NJU_OUT_OF_RANGE,
                 "max_tokens is 41, the model was compiled for 1 to 40");
  EXPECT_FAILURE(tryCreate({-1, 0, 0}), NJU_OUT_OF_RANGE, "max_tokens is -1");
  EXPECT_FAILURE(tryCreate({0, 4, 0}), NJU_OUT_OF_RANGE,
                 "max_sequences is 4, the model was compiled for 1 to 3");
  EXPECT_FAILURE(tryCreate({0, 0, -1}), NJU_INVALID_ARGUMENT,
                 "number of threads is -1");
  EXPECT_FAILURE(tryCreate({0, 0, 5000}), NJU_INVALID_ARGUMENT,
                 "number of threads is 5000, expected 1 to ");
}

TEST_F(Session, TakesThreadsForTheCoresThatItMayUse) {
  setenv("NJU_CORES", "3", 1);
  EXPECT_EQ(nju_session_limits(create({}).get()).num_threads, 3);
  EXPECT_EQ(nju_session_limits(create({0, 0, 2}).get()).num_threads, 2);
  EXPECT_FAILURE(tryCreate({0, 0, 4}), NJU_INVALID_ARGUMENT,
                 "number of threads is 4, expected 1 to 3, the processors that "
                 "this process may use (its affinity and control group count; "
                 "NJU_CORES overrides them)");
  for (const char *value : {"", "0", "-1", "2x", "1025"}) {
    setenv("NJU_CORES", value, 1);
    EXPECT_FAILURE(tryCreate({}), NJU_INVALID_ARGUMENT,
                   "environment variable NJU_CORES is '" + std::string(value) +
                       "', expected a whole number from 1 to 1024");
  }
  unsetenv("NJU_CORES");

  cpu_set_t all, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(nju_session_limits(create({}).get()).num_threads, 1);
  EXPECT_FAILURE(tryCreate({0, 0, 2}), NJU_INVALID_ARGUMENT,
                 "number of threads is 2, expected 1 to 1");
  ASSERT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}

TEST_F(Session, SaysHowMuchMemoryIsMissing) {
  auto createHuge = [](const std::string &from, const std::string &to) {
    FakeLanguageModel huge(
        replaced(fake::makeLanguageModelSignature(), from, to));
    ModelHandle model = huge.open();
    nju_session *session = nullptr;
    nju_status status = nju_session_create(model.get(), nullptr, &session);
    EXPECT_EQ(session, nullptr);
    return status;
  };
  // 2^30 tokens, 3 sequences, 128 bytes each.
  EXPECT_FAILURE(createHuge("\"max_tokens\":40", "\"max_tokens\":1073741824"),
                 NJU_RESOURCE_EXHAUSTED,
                 "a session of model 'fake' with 3 sequences of 1073741824 "
                 "tokens needs 412316861440 bytes (412316860416 for the "
                 "cache, 1024 for scratch memory), ");
  // What would fit is a whole number of blocks, and of sequences.
  std::string message = nju_last_error_message();
  uint64_t missing, available;
  ASSERT_EQ(sscanf(message.c_str() + message.find("memory), "),
                   "memory), %" SCNu64 " more than the %" SCNu64, &missing,
                   &available),
            2)
      << message;
  EXPECT_EQ(missing, 412316861440 - available);
  std::string advice = "max_tokens of at most " +
                       std::to_string((available - 1024) / 384 / 16 * 16);
  if (uint64_t sequences = (available - 1024) / 137438953472)
    advice += " or max_sequences of at most " + std::to_string(sequences);
  EXPECT_NE(message.find(": " + advice + " would fit"), std::string::npos)
      << message;
  EXPECT_FAILURE(
      createHuge("\"arena_bytes\":1024", "\"arena_bytes\":1000000000000000"),
      NJU_RESOURCE_EXHAUSTED, "1000000000000000 for scratch");
  EXPECT_NE(std::string(nju_last_error_message())
                .find("compile the model with a smaller --max-batch-tokens"),
            std::string::npos);
  EXPECT_FAILURE(createHuge("\"max_tokens\":40,\"max_sequences\":3",
                            "\"max_tokens\":2000000000,"
                            "\"max_sequences\":1048576"),
                 NJU_RESOURCE_EXHAUSTED, "max_tokens of at most ");
}

TEST_F(Session, ContinuesASequence) {
  EXPECT_EQ(append({5, 9, 12}), fake::predict({5, 9, 12}));
  EXPECT_EQ(append({7}), fake::predict({5, 9, 12, 7}));
  EXPECT_EQ(length(), 4);
  EXPECT_EQ(length(1), 0);
  EXPECT_EQ(length(3), -1);
  EXPECT_EQ(length(-1), -1);
}

TEST_F(Session, CutsLargeBatchesIntoSteps) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 37; ++i)
    tokens.push_back(i * 5 % 61);
  ASSERT_GT(int(tokens.size()), 4 * fake::maxBatchTokens);
  std::vector<int32_t> rows = {0, 7, 8, 9, 23, 36};
  ASSERT_OK(step(tokens, nullptr, nullptr, rows));
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<int> prefix(tokens.begin(), tokens.begin() + rows[i] + 1);
    std::vector<float> expected = fake::makeLogits(fake::predict(prefix));
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                           logits.begin() + i * fake::vocabulary))
        << "row " << i;
  }
}

TEST_F(Session, KeepsInterleavedSequencesApart) {
  std::vector<std::vector<int>> texts(3);
  std::vector<int32_t> tokens, sequences, positions, rows;
  for (int i = 0; i < 30; ++i) {
    int32_t sequence = i * i % 3 == 1 ? 1 : i % 2 * 2;
    texts[sequence].push_back(i);
    tokens.push_back(i);
    sequences.push_back(sequence);
    positions.push_back(texts[sequence].size() - 1);
    rows.push_back(i);
  }
  ASSERT_OK(step(tokens, positions.data(), sequences.data(), rows));
  for (int i = 0; i < 30; ++i) {
    std::vector<int> prefix(texts[sequences[i]].begin(),
                            texts[sequences[i]].begin() + positions[i] + 1);
    std::vector<float> expected = fake::makeLogits(fake::predict(prefix));
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                           logits.begin() + i * fake::vocabulary))
        << "token " << i;
  }
  for (int sequence = 0; sequence < 3; ++sequence)
    EXPECT_EQ(length(sequence), int(texts[sequence].size()));
}

TEST_F(Session, RunsWithoutRows) {
  EXPECT_OK(step({1, 2, 3}));
  EXPECT_EQ(append({4}), fake::predict({1, 2, 3, 4}));
}

TEST_F(Session, RefusesBadBatches) {
  std::vector<int32_t> positions = {0, 2}, sequences = {0, 3};
  EXPECT_FAILURE(step({}), NJU_INVALID_ARGUMENT, "the batch has no tokens");
  EXPECT_FAILURE(step({1, 64}), NJU_OUT_OF_RANGE,
                 "token 1 of the batch is 64, the vocabulary of model 'fake' "
                 "is 0 to 63");
  EXPECT_FAILURE(step({-1}), NJU_OUT_OF_RANGE, "token 0 of the batch is -1");
  EXPECT_FAILURE(step({1, 1}, nullptr, sequences.data()), NJU_OUT_OF_RANGE,
                 "token 1 of the batch belongs to sequence 3, the session has "
                 "sequences 0 to 2");
  EXPECT_FAILURE(step({1, 1}, positions.data()), NJU_INVALID_ARGUMENT,
                 "token 1 of the batch has position 2 in sequence 0, expected "
                 "1");
  EXPECT_FAILURE(step({1, 1}, nullptr, nullptr, {2}), NJU_OUT_OF_RANGE,
                 "row 0 of the batch is token 2, the batch has 2 tokens");
  EXPECT_FAILURE(step({1, 1}, nullptr, nullptr, {1, 0}), NJU_INVALID_ARGUMENT,
                 "row 1 of the batch is token 0 after token 1, expected "
                 "ascending");
  EXPECT_FAILURE(step({1, 1}, nullptr, nullptr, {1, 1}), NJU_INVALID_ARGUMENT,
                 "expected ascending tokens");
  EXPECT_FAILURE(step(std::vector<int32_t>(41, 1)), NJU_OUT_OF_RANGE,
                 "token 40 of the batch does not fit: sequence 0 is full with "
                 "40 tokens");
  int32_t token = 1;
  nju_batch batch = {};
  batch.num_tokens = 1;
  EXPECT_FAILURE(nju_session_step(session.get(), &batch, nullptr),
                 NJU_INVALID_ARGUMENT, "the batch's tokens are NULL");
  batch.tokens = &token;
  batch.num_rows = 1;
  EXPECT_FAILURE(nju_session_step(session.get(), &batch, nullptr),
                 NJU_INVALID_ARGUMENT, "the batch's rows are NULL");
  int32_t row = 0;
  batch.rows = &row;
  EXPECT_FAILURE(nju_session_step(session.get(), &batch, nullptr),
                 NJU_INVALID_ARGUMENT, "out_logits is NULL");
  EXPECT_FAILURE(nju_session_step(session.get(), nullptr, nullptr),
                 NJU_INVALID_ARGUMENT, "batch is NULL");
  EXPECT_FAILURE(nju_session_step(nullptr, &batch, nullptr),
                 NJU_INVALID_ARGUMENT, "session is NULL");
  EXPECT_EQ(length(), 0);
}

TEST_F(Session, ChangesNoLengthWhenAStepFails) {
  append({1, 2, 3});
  // The failing token is in the third step of this batch.
  std::vector<int32_t> tokens(20, 4);
  tokens[18] = fake::failingToken;
  EXPECT_FAILURE(step(tokens), NJU_INTERNAL,
                 "the step of model 'fake' failed with code 7");
  EXPECT_EQ(length(), 3);
  EXPECT_EQ(append({9}), fake::predict({1, 2, 3, 9}));
}

TEST_F(Session, FillsUpAndTrims) {
  append(std::vector<int32_t>(40, 2));
  EXPECT_FAILURE(step({1}), NJU_OUT_OF_RANGE, "is full with 40 tokens");
  EXPECT_OK(nju_session_trim(session.get(), 0, 5));
  EXPECT_EQ(length(), 5);
  EXPECT_EQ(append({8}), fake::predict({2, 2, 2, 2, 2, 8}));
  EXPECT_OK(nju_session_trim(session.get(), 0, 0));
  EXPECT_EQ(append({8}), fake::predict({8}));
}

TEST_F(Session, ForksAPrefix) {
  std::vector<int> text;
  for (int i = 0; i < 21; ++i)
    text.push_back(i * 7 % 60);
  append({text.begin(), text.end()}, 1);
  append({50, 51, 52, 53}, 2);
  ASSERT_OK(nju_session_fork(session.get(), 1, 2, -1));
  EXPECT_EQ(length(2), 21);
  text.push_back(3);
  EXPECT_EQ(append({3}, 2), fake::predict(text));
  // The original goes its own way.
  text.back() = 4;
  EXPECT_EQ(append({4}, 1), fake::predict(text));
  ASSERT_OK(nju_session_fork(session.get(), 1, 0, 17));
  EXPECT_EQ(length(0), 17);
  text.resize(17);
  text.push_back(11);
  EXPECT_EQ(append({11}, 0), fake::predict(text));
  ASSERT_OK(nju_session_fork(session.get(), 0, 0, 2));
  EXPECT_EQ(append({1}, 0), fake::predict({text[0], text[1], 1}));
}

TEST_F(Session, RefusesBadForksAndTrims) {
  append({1, 2});
  EXPECT_FAILURE(nju_session_fork(session.get(), 3, 0, 0), NJU_NOT_FOUND,
                 "there is no sequence 3, the session has 0 to 2");
  EXPECT_FAILURE(nju_session_fork(session.get(), 0, -1, 0), NJU_NOT_FOUND,
                 "there is no sequence -1");
  EXPECT_FAILURE(nju_session_fork(session.get(), 0, 1, 3), NJU_OUT_OF_RANGE,
                 "length 3 of sequence 0 is out of range, it holds 2 tokens");
  EXPECT_FAILURE(nju_session_trim(session.get(), 0, 3), NJU_OUT_OF_RANGE,
                 "length 3 of sequence 0 is out of range");
  EXPECT_FAILURE(nju_session_trim(session.get(), 0, -1), NJU_OUT_OF_RANGE,
                 "length -1 of sequence 0");
  EXPECT_FAILURE(nju_session_trim(session.get(), 9, 0), NJU_NOT_FOUND,
                 "there is no sequence 9");
  EXPECT_FAILURE(nju_session_trim(nullptr, 0, 0), NJU_INVALID_ARGUMENT,
                 "session is NULL");
  EXPECT_FAILURE(nju_session_fork(nullptr, 0, 0, 0), NJU_INVALID_ARGUMENT,
                 "session is NULL");
}

TEST_F(Session, OutlivesTheModelsHandle) {
  model.reset();
  EXPECT_EQ(append({1, 2, 3}), fake::predict({1, 2, 3}));
}

TEST_F(Session, NeedsALanguageModel) {
  std::string signature = fake::makeGraphSignature();
  nju_abi_descriptor descriptor = fake::makeDescriptor(signature);
  nju_model *graph;
  ASSERT_OK(nju_model_open(&descriptor, nullptr, &graph));
  ModelHandle owner(graph);
  nju_session *raw;
  EXPECT_FAILURE(nju_session_create(graph, nullptr, &raw), NJU_INVALID_ARGUMENT,
                 "model 'fake-graph' is no language model");
  EXPECT_FAILURE(nju_session_create(nullptr, nullptr, &raw),
                 NJU_INVALID_ARGUMENT, "model is NULL");
  EXPECT_FAILURE(nju_session_create(graph, nullptr, nullptr),
                 NJU_INVALID_ARGUMENT, "out_session is NULL");
}

TEST_F(Session, SessionsRunInTheirOwnThreads) {
  std::vector<std::thread> threads;
  std::vector<int> results(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      nju_session_options options = {0, 1, 1};
      nju_session *own = nullptr;
      if (nju_session_create(model.get(), &options, &own))
        return;
      SessionHandle owner(own);
      for (int32_t t = 0; t < 30; ++t) {
        int32_t token = (t + i) % 60, row = 0;
        nju_batch batch = {1, &token, nullptr, nullptr, 1, &row};
        std::vector<float> row0(fake::vocabulary);
        if (nju_session_step(own, &batch, row0.data()))
          return;
        results[i] = std::max_element(row0.begin(), row0.end()) - row0.begin();
        // Messages belong to their thread.
        nju_session_trim(own, 100 + i, 0);
        if (!strstr(nju_last_error_message(),
                    ("no sequence " + std::to_string(100 + i)).c_str()))
          results[i] = -1;
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  for (int i = 0; i < 4; ++i) {
    std::vector<int> text;
    for (int t = 0; t < 30; ++t)
      text.push_back((t + i) % 60);
    EXPECT_EQ(results[i], fake::predict(text));
  }
}
