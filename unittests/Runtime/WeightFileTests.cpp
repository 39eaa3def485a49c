//===- WeightFileTests.cpp - Weight files ---------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include "nju/checksum.h"

using namespace nju;
using namespace nju::test;

namespace {
struct WeightFile : testing::Test {
  /// Opens the fake model with these bytes as its weight file, mapped and
  /// loaded: both must come to the same.
  nju_status open(const std::string &bytes, bool verify = false) {
    std::string path = fake.folder.write("w.safetensors", bytes);
    nju_model_options options = {};
    options.weights_path = path.c_str();
    options.verify_weights = verify;
    options.weights_mode = NJU_WEIGHTS_MAP;
    nju_status mapped = tryOpen(options);
    std::string message = mapped ? nju_last_error_message() : "";
    options.weights_mode = NJU_WEIGHTS_LOAD;
    nju_status loaded = tryOpen(options);
    EXPECT_EQ(mapped, loaded);
    EXPECT_EQ(message, loaded ? nju_last_error_message() : "");
    return loaded;
  }
  nju_status tryOpen(const nju_model_options &options) {
    nju_model *model = nullptr;
    nju_status status = nju_model_open(&fake.descriptor, &options, &model);
    EXPECT_EQ(model == nullptr, status != NJU_OK);
    nju_model_release(model);
    return status;
  }
  /// The good file with `from` replaced in the header, the length kept.
  std::string change(const std::string &from, std::string to) {
    to.resize(std::max(to.size(), from.size()), ' ');
    EXPECT_EQ(to.size(), from.size());
    return replaced(good, from, to);
  }

  FakeLanguageModel fake;
  std::string good = fake::makeWeightFile();
};
} // namespace

TEST_F(WeightFile, OpensAndVerifies) {
  EXPECT_OK(open(good));
  EXPECT_OK(open(good, /*verify=*/true));
}

TEST_F(WeightFile, RefusesAnotherFile) {
  EXPECT_FAILURE(open(fake::makeWeightFile("0123456789abcdef")),
                 NJU_INCOMPATIBLE,
                 "is not the one compiled with model 'fake': its hash is "
                 "0123456789abcdef, the model expects ");
  EXPECT_FAILURE(open(change("nju.hash", "nju.hush")), NJU_INCOMPATIBLE,
                 "was not written by nju-compile");
  // A header that is one byte longer.
  std::string shifted = good;
  shifted.insert(good.size() - 256, " ");
  ++shifted[0];
  EXPECT_FAILURE(open(shifted), NJU_INCOMPATIBLE,
                 "which is not a multiple of 64");
}

TEST_F(WeightFile, FindsChangedBytesWhenAsked) {
  std::string bad = good;
  bad[bad.size() - 100] ^= 1;
  EXPECT_OK(open(bad));
  EXPECT_FAILURE(open(bad, /*verify=*/true), NJU_DATA_LOSS,
                 "its data has the checksum ");
}

TEST_F(WeightFile, SaysWhatIsWrongWithTheHeader) {
  EXPECT_FAILURE(open(""), NJU_DATA_LOSS, "is empty");
  EXPECT_FAILURE(open("abc"), NJU_DATA_LOSS, "shorter than a safetensors");
  EXPECT_FAILURE(open(std::string(64, '\xff')), NJU_DATA_LOSS,
                 "its header is longer than the file");
  EXPECT_FAILURE(open(change("{\"__", "[\"__")), NJU_DATA_LOSS,
                 "its header is not a JSON object");
  EXPECT_FAILURE(open(change("{\"dtype\":\"F32\",\"shape\":[2,8],"
                             "\"data_offsets\":[0,64]}",
                             "7")),
                 NJU_DATA_LOSS, "tensor 'a' is not described by an object");
  EXPECT_FAILURE(open(change("\"dtype\":\"F32\"", "\"dtype\":\"F33\"")),
                 NJU_DATA_LOSS, "tensor 'a' has no valid 'dtype' and 'shape'");
  EXPECT_FAILURE(open(change("[2,8]", "[2,9]")), NJU_DATA_LOSS,
                 "tensor 'a' has 'data_offsets' that do not match its shape");
  EXPECT_FAILURE(open(change("[2,8]", "[-9]")), NJU_DATA_LOSS,
                 "tensor 'a' has no valid 'dtype' and 'shape'");
  EXPECT_FAILURE(open(change("[64,256]", "[64,257]")), NJU_DATA_LOSS,
                 "tensor 'b' lies outside the file");
  EXPECT_FAILURE(open(change("[64,256]", "[64,-1]")), NJU_DATA_LOSS,
                 "tensor 'b' has no valid 'data_offsets'");
  EXPECT_FAILURE(open(change("[64,256]", "[256,64]")), NJU_DATA_LOSS,
                 "tensor 'b' lies outside the file");
  EXPECT_FAILURE(open(replaced(change("[96]", "[95]"), "[64,256]", "[66,256]")),
                 NJU_DATA_LOSS, "tensor 'b' leaves a hole before it");
  EXPECT_FAILURE(open(replaced(change("[96]", "[97]"), "[64,256]", "[62,256]")),
                 NJU_DATA_LOSS, "tensor 'b' overlaps the one before it");
  EXPECT_FAILURE(open(good + std::string(64, 0)), NJU_DATA_LOSS,
                 "its tensors end at byte 256 of a data section of 320 bytes");
  FakeLanguageModel larger(replaced(fake.signature, "256", "320"));
  nju_model *model;
  EXPECT_FAILURE(larger.open(&model), NJU_DATA_LOSS,
                 "has 256 bytes of data, model 'fake' expects 320");
  EXPECT_FAILURE(open(change("\"b\":{", "\"b\":5")), NJU_DATA_LOSS,
                 "is damaged");
}

TEST_F(WeightFile, GivesTheSameResultsMappedAndLoaded) {
  for (nju_weights_mode mode :
       {NJU_WEIGHTS_DEFAULT, NJU_WEIGHTS_MAP, NJU_WEIGHTS_LOAD}) {
    nju_model_options options = {};
    options.weights_path = fake.weights.c_str();
    options.weights_mode = mode;
    nju_model *model = nullptr;
    ASSERT_OK(nju_model_open(&fake.descriptor, &options, &model));
    ModelHandle owner(model);
    nju_session *raw = nullptr;
    ASSERT_OK(nju_session_create(model, nullptr, &raw));
    SessionHandle session(raw);
    int32_t tokens[] = {5, 9, 12}, row = 2;
    nju_batch batch = {3, tokens, nullptr, nullptr, 1, &row};
    std::vector<float> logits(fake::vocabulary);
    ASSERT_OK(nju_session_step(raw, &batch, logits.data()));
    EXPECT_EQ(logits, fake::makeLogits(fake::predict({5, 9, 12})));
    EXPECT_EQ(nju_session_memory(raw).weights, 256u);
  }
}

TEST_F(WeightFile, MapsByDefaultWhatDoesNotFitIntoMemory) {
  // 4 TB on paper; nothing of it is written.
  const std::string size = "4398046511104";
  std::string bytes =
      replaced(good,
               R"("a":{"dtype":"F32","shape":[2,8],"data_offsets":[0,64]},)"
               R"("b":{"dtype":"BF16","shape":[96],"data_offsets":[64,256]}})",
               R"("a":{"dtype":"U8","shape":[4398046511104],)"
               R"("data_offsets":[0,4398046511104]}})" +
                   std::string(38, ' '));
  ASSERT_EQ(bytes.size(), good.size());
  size_t headerEnd = good.size() - 256;
  std::string path = fake.folder.write("huge.safetensors", bytes);
  ASSERT_EQ(truncate(path.c_str(), off_t(headerEnd) + (off_t(1) << 42)), 0);
  std::string signature =
      replaced(fake.signature, "\"bytes\":256", "\"bytes\":" + size);
  nju_abi_descriptor descriptor = fake::makeDescriptor(signature);
  nju_model_options options = {};
  options.weights_path = path.c_str();
  nju_model *model = nullptr;
  EXPECT_OK(nju_model_open(&descriptor, &options, &model));
  nju_model_release(model);
  options.weights_mode = NJU_WEIGHTS_LOAD;
  EXPECT_FAILURE(nju_model_open(&descriptor, &options, &model),
                 NJU_RESOURCE_EXHAUSTED, "map it instead");
}

TEST_F(WeightFile, RefusesUnknownModes) {
  nju_model_options options = {};
  options.weights_path = fake.weights.c_str();
  options.weights_mode = static_cast<nju_weights_mode>(3);
  EXPECT_FAILURE(tryOpen(options), NJU_INVALID_ARGUMENT,
                 "weights_mode is 3, expected a nju_weights_mode of 0 to 2");
}

TEST_F(WeightFile, LoadingCanBeCancelled) {
  nju_model_options options = {};
  options.weights_path = fake.weights.c_str();
  options.weights_mode = NJU_WEIGHTS_LOAD;
  options.progress = [](void *context, uint64_t done, uint64_t total) {
    *static_cast<uint64_t *>(context) = total;
    return int(done == total);
  };
  uint64_t total = 0;
  options.progress_context = &total;
  EXPECT_FAILURE(tryOpen(options), NJU_CANCELLED, "was cancelled");
  EXPECT_EQ(total, good.size());
}

TEST_F(WeightFile, SurvivesTruncation) {
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_NE(open(good.substr(0, size)), NJU_OK) << size;
}

TEST_F(WeightFile, SurvivesChangedBytes) {
  size_t accepted = 0;
  size_t headerEnd = good.size() - 256;
  for (size_t i = 0; i < headerEnd; ++i)
    for (int flip : {1, 4, 0x10, 0x80, 0xff}) {
      std::string bad = good;
      bad[i] ^= flip;
      if (open(bad) == NJU_OK)
        ++accepted;
    }
  // Names of tensors and the unused metadata may change, little else.
  EXPECT_LT(accepted, headerEnd * 5 / 10);
}

TEST_F(WeightFile, SurvivesRandomHeaders) {
  uint64_t state = 42;
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005 + 1442695040888963407;
      bad[8 + (state >> 33) % (bad.size() - 264)] =
          "{}[]\",:0123456789-.eE"[(state >> 20) % 21];
    }
    open(bad, /*verify=*/true);
  }
}

//===----------------------------------------------------------------------===//
// Checksum
//===----------------------------------------------------------------------===//

static uint64_t hash(const std::string &bytes) {
  Checksum checksum;
  checksum.update(bytes.data(), bytes.size());
  return checksum.digest();
}

/// docs/abi.md, word by word.
static uint64_t hashByDefinition(std::string bytes) {
  const uint64_t prime = 0x9e3779b97f4a7c55;
  auto take = [&](uint64_t lane, uint64_t word) {
    lane ^= word;
    return (lane << 29 | lane >> 35) * prime;
  };
  uint64_t size = bytes.size();
  bytes.resize((size + 31) / 32 * 32, 0);
  uint64_t lanes[4] = {prime, 2 * prime, 3 * prime, 4 * prime};
  for (size_t i = 0; i < bytes.size() / 8; ++i) {
    uint64_t word = 0;
    for (int byte = 7; byte >= 0; --byte)
      word = word << 8 | static_cast<unsigned char>(bytes[8 * i + byte]);
    lanes[i % 4] = take(lanes[i % 4], word);
  }
  uint64_t h = 0;
  for (uint64_t lane : lanes)
    h = take(h, lane);
  h = take(h, size);
  h ^= h >> 32;
  h *= prime;
  return h ^ h >> 29;
}

TEST(Checksum, IsWhatTheDocumentDefines) {
  for (size_t size : {0, 1, 7, 8, 31, 32, 33, 64, 100, 1000}) {
    std::string bytes(size, 0);
    for (size_t i = 0; i < size; ++i)
      bytes[i] = i * 31 + 7;
    EXPECT_EQ(hash(bytes), hashByDefinition(bytes)) << size;
  }
  Checksum empty;
  EXPECT_EQ(empty.hex().size(), 16u);
  EXPECT_EQ(std::stoull(empty.hex(), nullptr, 16), empty.digest());
}

TEST(Checksum, DoesNotDependOnHowItIsFed) {
  std::string bytes(1000, 0);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = i * i;
  for (size_t piece : {1, 3, 8, 31, 32, 33, 500}) {
    Checksum checksum;
    for (size_t begin = 0; begin < bytes.size(); begin += piece)
      checksum.update(bytes.data() + begin,
                      std::min(piece, bytes.size() - begin));
    EXPECT_EQ(checksum.digest(), hash(bytes)) << piece;
  }
}

TEST(Checksum, SeesEveryBitAndTheLength) {
  std::string bytes(100, 'a');
  uint64_t expected = hash(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string changed = bytes;
    changed[bit / 8] ^= 1 << bit % 8;
    EXPECT_NE(hash(changed), expected) << bit;
  }
  EXPECT_NE(hash(std::string(10, 0)), hash(std::string(11, 0)));
}
