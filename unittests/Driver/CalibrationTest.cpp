//===- CalibrationTest.cpp - The tokens of calibration --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Calibration.h"
#include "TestModule.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace nju;

namespace {

const char *const kModel = NJU_SOURCE_DIR "/examples/tiny-stories/model.onnx";

class Calibration : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("calibration", folder));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string write(llvm::StringRef name, llvm::StringRef content) {
    llvm::SmallString<128> path(folder);
    llvm::sys::path::append(path, name);
    std::error_code error;
    llvm::raw_fd_ostream os(path, error);
    os << content;
    return path.str().str();
  }

  /// Reads for a step of sequences of 16 tokens, or for another graph.
  llvm::Expected<TokenBatch> read(CalibrationOptions options,
                                  bool isStep = true) {
    if (options.model.empty())
      options.model = kModel;
    TestModule test(isStep ? "module attributes {nju.lm = {max_tokens = 16 : "
                             "i64}} { func.func @step() { return } }"
                           : "module { func.func @main() { return } }");
    auto function = *test.module->getOps<func::FuncOp>().begin();
    return CalibrationData(std::move(options)).read(function);
  }

  TokenBatch expectTokens(CalibrationOptions options, bool isStep = true) {
    auto tokens = read(std::move(options), isStep);
    if (tokens)
      return *tokens;
    ADD_FAILURE() << llvm::toString(tokens.takeError());
    return {};
  }

  std::string expectError(CalibrationOptions options) {
    auto tokens = read(std::move(options));
    return tokens ? "no error" : llvm::toString(tokens.takeError());
  }

  /// What follows the name of the test's file in an error.
  std::string errorOf(llvm::StringRef name, llvm::StringRef content) {
    std::string file = write(name, content), quoted = "'" + file + "' ";
    std::string error = expectError({file});
    size_t at = error.find(quoted);
    return at == std::string::npos ? error : error.substr(at + quoted.size());
  }

  llvm::SmallString<128> folder;
};

std::string repeat(llvm::StringRef text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i)
    all += text;
  return all;
}

/// A `.npy` file as NumPy writes it.
std::string makeArray(llvm::StringRef type, llvm::StringRef shape,
                      llvm::ArrayRef<int64_t> values,
                      llvm::StringRef order = "False") {
  std::string header = ("{'descr': '" + type + "', 'fortran_order': " + order +
                        ", 'shape': " + shape + ", }\n")
                           .str();
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += char(header.size() & 255);
  bytes += char(header.size() >> 8);
  bytes += header;
  for (int64_t value : values)
    for (int i = 0; i < (type.ends_with("8") ? 8 : 4); ++i)
      bytes += char(value >> (8 * i));
  return bytes;
}

std::vector<int64_t> count(int64_t end) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < end; ++i)
    values.push_back(i);
  return values;
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

TEST_F(Calibration, CutsDocumentsInSequences) {
  std::string story = repeat("The cat sat on the mat. ", 10);
  TokenBatch one = expectTokens({write("one.txt", story)});
  ASSERT_GE(one.sequences.size(), 3u);
  int64_t tokens = one.countTokens();
  for (size_t i = 0; i + 1 < one.sequences.size(); ++i)
    EXPECT_EQ(one.sequences[i].size(), 16u);
  EXPECT_LE(one.sequences.back().size(), 16u);

  // A second document begins a sequence of its own.
  TokenBatch two =
      expectTokens({write("two.txt", story + "<|endoftext|>\n" + story)});
  ASSERT_EQ(two.sequences.size(), 2 * one.sequences.size());
  EXPECT_EQ(two.countTokens(), 2 * tokens);
  for (size_t i = 0; i < one.sequences.size(); ++i)
    EXPECT_EQ(two.sequences[i + one.sequences.size()], one.sequences[i]);
}

TEST_F(Calibration, UsesNoMoreTokensThanWanted) {
  std::string file = write("long.txt", repeat("The dog ran home. ", 20000));
  CalibrationOptions options{file};
  options.maxTokens = 100;
  TokenBatch tokens = expectTokens(options);
  EXPECT_EQ(tokens.countTokens(), 100);
  EXPECT_EQ(tokens.sequences.size(), 7u);
  options.maxSequence = 10;
  EXPECT_EQ(expectTokens(options).sequences.size(), 10u);
}

TEST_F(Calibration, ReadsLinesForOtherGraphs) {
  std::string text = repeat("The cat sat on the mat and looked at it.\n\n", 20);
  TokenBatch tokens =
      expectTokens({write("lines.txt", text)}, /*isStep=*/false);
  ASSERT_EQ(tokens.sequences.size(), 20u);
  for (auto &sequence : tokens.sequences)
    EXPECT_EQ(sequence, tokens.sequences[0]);
}

TEST_F(Calibration, RefusesTextThatIsNone) {
  EXPECT_EQ(errorOf("empty.txt", ""), "is empty");
  EXPECT_EQ(errorOf("bad.txt", repeat("good words ", 100) + "\xff"),
            "is not UTF-8: byte 1100 is no character");
  std::string few = errorOf("short.txt", "One word.");
  EXPECT_TRUE(llvm::StringRef(few).starts_with("gives ")) << few;
  EXPECT_TRUE(llvm::StringRef(few).ends_with(" tokens, expected at least 64"))
      << few;
  EXPECT_EQ(errorOf("blank.txt", "<|endoftext|>\n<|endoftext|>\n"),
            "gives 0 tokens, expected at least 64");
}

TEST_F(Calibration, RefusesFilesThatAreNotThere) {
  EXPECT_EQ(expectError({"/nowhere/text.txt"}),
            "cannot open calibration file '/nowhere/text.txt': No such file or "
            "directory");
  CalibrationOptions options{write("text.txt", "Some words.")};
  options.model = (folder + "/model.onnx").str();
  EXPECT_EQ(expectError(options),
            "there is no tokenizer beside model '" + options.model +
                "' for the calibration text; put tokenizer.json, "
                "tokenizer.model or tokenizer.bin there, or give the tokens as "
                "a .npy array");
}

//===----------------------------------------------------------------------===//
// Arrays
//===----------------------------------------------------------------------===//

TEST_F(Calibration, ReadsArrays) {
  auto values = count(120);
  for (llvm::StringRef type : {"<i4", "<i8"}) {
    TokenBatch flat =
        expectTokens({write("flat.npy", makeArray(type, "(120,)", values))});
    ASSERT_EQ(flat.sequences.size(), 8u);
    EXPECT_EQ(flat.sequences[7],
              (std::vector<int32_t>{112, 113, 114, 115, 116, 117, 118, 119}));
    TokenBatch rows =
        expectTokens({write("rows.npy", makeArray(type, "(6, 20)", values))});
    ASSERT_EQ(rows.sequences.size(), 12u);
    EXPECT_EQ(rows.sequences[11], (std::vector<int32_t>{116, 117, 118, 119}));
  }
}

TEST_F(Calibration, EndsSequencesAtNegativeNumbers) {
  auto values = count(120);
  for (int at : {0, 5, 6, 7, 27, 119})
    values[at] = -1 - at;
  for (llvm::StringRef type : {"<i4", "<i8"}) {
    TokenBatch flat =
        expectTokens({write("flat.npy", makeArray(type, "(120,)", values))});
    ASSERT_EQ(flat.sequences.size(), 9u);
    EXPECT_EQ(flat.sequences[0], (std::vector<int32_t>{1, 2, 3, 4}));
    // 19 tokens do not fit a sequence of 16.
    EXPECT_EQ(flat.sequences[1].front(), 8);
    EXPECT_EQ(flat.sequences[1].back(), 23);
    EXPECT_EQ(flat.sequences[2], (std::vector<int32_t>{24, 25, 26}));
    EXPECT_EQ(flat.sequences[3].front(), 28);
    EXPECT_EQ(flat.sequences.back().back(), 118);
    EXPECT_EQ(flat.countTokens(), 114);
  }
}

TEST_F(Calibration, FillsRowsUpWithNegativeNumbers) {
  // Rows of 12, 11, ... tokens; the same with one number after each.
  std::vector<int64_t> padded, flat;
  for (int row = 0; row < 12; ++row)
    for (int i = 0; i < 12; ++i) {
      bool isToken = i < 12 - row;
      padded.push_back(isToken ? 100 * row + i : -100);
      if (isToken)
        flat.push_back(padded.back());
      if (i + 1 == 12 - row)
        flat.push_back(-1);
    }
  std::string shape = "(" + std::to_string(flat.size()) + ",)";
  TokenBatch rows =
      expectTokens({write("rows.npy", makeArray("<i4", "(12, 12)", padded))});
  ASSERT_EQ(rows.sequences.size(), 12u);
  for (int row = 0; row < 12; ++row)
    EXPECT_EQ(rows.sequences[row].size(), 12u - row);
  EXPECT_EQ(rows.sequences,
            expectTokens({write("flat.npy", makeArray("<i8", shape, flat))})
                .sequences);
}

TEST_F(Calibration, RefusesEmptySequences) {
  std::vector<int64_t> values(120, 7);
  std::fill(values.begin() + 40, values.begin() + 60, -1);
  EXPECT_EQ(errorOf("row.npy", makeArray("<i8", "(6, 20)", values)),
            "have no token in row 2, expected one before the negative numbers");
  values.assign(120, -1);
  EXPECT_EQ(errorOf("none.npy", makeArray("<i4", "(120,)", values)),
            "have no token in row 0, expected one before the negative numbers");
  EXPECT_EQ(errorOf("zero.npy", makeArray("<i4", "(0,)", {})),
            "have no token in row 0, expected one before the negative numbers");
  for (int at : {0, 100, 119})
    values[at] = 3;
  EXPECT_EQ(errorOf("short.npy", makeArray("<i4", "(120,)", values)),
            "gives 3 tokens, expected at least 64");
}

TEST_F(Calibration, RefusesArraysThatAreNoTokens) {
  auto values = count(120);
  EXPECT_EQ(errorOf("type.npy", makeArray("<f4", "(120,)", values)),
            "have elements of NumPy type '<f4', expected '<i4' or '<i8'");
  EXPECT_EQ(errorOf("order.npy", makeArray("<i4", "(6, 20)", values, "True")),
            "are in Fortran order, expected C order");
  EXPECT_EQ(errorOf("rank.npy", makeArray("<i4", "(2, 3, 20)", values)),
            "have 3 dimensions, expected [tokens] or [sequences, tokens]");
  EXPECT_EQ(errorOf("scalar.npy", makeArray("<i4", "()", values)),
            "have 0 dimensions, expected [tokens] or [sequences, tokens]");
  EXPECT_EQ(errorOf("cut.npy", makeArray("<i4", "(121,)", values)),
            "are truncated");
  EXPECT_EQ(
      errorOf("many.npy", makeArray("<i4", "(4611686018427387904, 8)", values)),
      "are truncated");
  EXPECT_EQ(
      errorOf("head.npy", llvm::StringRef("\x93NUMPY\x01\x00\xff\xff", 10)),
      "have no header of a .npy file");
  values[5] = int64_t(1) << 31;
  EXPECT_EQ(errorOf("large.npy", makeArray("<i8", "(120,)", values)),
            "have 2147483648 at index 5, which is no token");
  EXPECT_EQ(errorOf("few.npy", makeArray("<i4", "(20,)", count(20))),
            "gives 20 tokens, expected at least 64");
}

} // namespace
