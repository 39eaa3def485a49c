//===- UniformReaderTest.cpp - Values of weights that came quantized ------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/UniformReader.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/MLIRContext.h"
#include <gtest/gtest.h>

using namespace nju;

namespace {

class UniformReaderTest : public testing::Test {
protected:
  UniformReaderTest() { context.loadDialect<NJUDialect>(); }

  UniformReader open(const std::string &text) {
    auto data = mlir::dyn_cast_or_null<UniformDataAttr>(
        mlir::parseAttribute("#nju.uniform<" + text + ">", &context));
    EXPECT_TRUE(data) << text;
    return llvm::cantFail(UniformReader::open(data, "."));
  }

  static std::vector<float> read(const UniformReader &reader,
                                 const UniformReader::Region &region) {
    std::vector<float> values(region.getNumElements());
    EXPECT_FALSE(bool(reader.read(region, values)));
    return values;
  }

  mlir::MLIRContext context;
};

// Rows of five codes of 4 bits in three bytes; zero points in a byte a row.
const char *kBlocks =
    "codes = <data = dense<[16, 50, 4, 101, 135, 9]> : tensor<6xui8>, bits = "
    "4, row_bits = 24, is_signed = false>, scales = dense<[[1.0, 2.0], [0.5, "
    "-1.0]]> : tensor<2x2xf16>, zero_points = #nju.packed<data = dense<[33, "
    "8]> : tensor<2xui8>, bits = 4, row_bits = 8, is_signed = false>, block = "
    "[1, 3], type = tensor<2x5xf32>";

TEST_F(UniformReaderTest, ScalesAndZeroPointsBelongToBlocks) {
  UniformReader reader = open(kBlocks);
  EXPECT_EQ(reader.getZeroPoints().vec(), std::vector<float>({1, 2, 8, 0}));
  // Codes 0 1 2 | 3 4 and 5 6 7 | 8 9.
  std::vector<float> all = {-1, 0, 1, 2, 4, -1.5, -1, -0.5, -8, -9};
  EXPECT_EQ(read(reader, {0, 2, 0, 5}), all);
  for (int64_t row = 0; row <= 2; ++row)
    for (int64_t rowEnd = row; rowEnd <= 2; ++rowEnd)
      for (int64_t column = 0; column <= 5; ++column)
        for (int64_t end = column; end <= 5; ++end) {
          std::vector<float> expected;
          for (int64_t i = row; i < rowEnd; ++i)
            expected.insert(expected.end(), all.begin() + i * 5 + column,
                            all.begin() + i * 5 + end);
          EXPECT_EQ(read(reader, {row, rowEnd, column, end}), expected);
        }
}

TEST_F(UniformReaderTest, CodesCanHaveASign) {
  // Two rows of three codes of 2 bits, without a gap.
  UniformReader reader =
      open("codes = <data = dense<[228, 9]> : tensor<2xui8>, bits = 2, "
           "row_bits = 6, is_signed = true>, scales = dense<2.0> : "
           "tensor<1x3xf32>, zero_points = dense<[[0.5, 0.0, 1.0]]> : "
           "tensor<1x3xf32>, block = [2, 1], type = tensor<2x3xf32>");
  // 0 1 -2 | -1 1 -2
  EXPECT_EQ(read(reader, {0, 2, 0, 3}),
            std::vector<float>({-1, 2, -6, -3, 2, -6}));
  std::vector<uint8_t> codes(4);
  EXPECT_FALSE(bool(reader.readCodes({0, 2, 1, 3}, codes)));
  EXPECT_EQ(codes, std::vector<uint8_t>({1, 2, 1, 2}));
}

TEST_F(UniformReaderTest, ColumnsCanHaveAnOrder) {
  UniformReader reader =
      open("codes = <data = dense<[1, 2, 3, 4]> : tensor<4xui8>, bits = 8, "
           "row_bits = 32, is_signed = false>, scales = dense<[[1.0, 10.0]]> : "
           "tensor<1x2xf32>, zero_point = 1, block = [1, 2], column_order = "
           "[3, 0, 2, 1], type = tensor<1x4xf32>");
  EXPECT_EQ(read(reader, {0, 1, 0, 4}), std::vector<float>({3, 0, 20, 10}));
  EXPECT_EQ(read(reader, {0, 1, 2, 3}), std::vector<float>({20}));
}

TEST_F(UniformReaderTest, FilesThatAreMissing) {
  auto data = mlir::cast<UniformDataAttr>(mlir::parseAttribute(
      "#nju.uniform<codes = <data = dense<1> : tensor<2xui8>, bits = 8, "
      "row_bits = 16, is_signed = false>, scales = #nju.file<\"none\", 0, "
      "tensor<1x2xf32>>, block = [1, 1], type = tensor<1x2xf32>>",
      &context));
  llvm::Expected<UniformReader> reader = UniformReader::open(data, "/tmp/nju");
  ASSERT_FALSE(bool(reader));
  EXPECT_EQ(llvm::toString(reader.takeError()),
            "cannot open '/tmp/nju/none': No such file or directory");
}

} // namespace
