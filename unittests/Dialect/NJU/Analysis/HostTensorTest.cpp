//===- HostTensorTest.cpp - Tests of host tensors and the reader of params -*-
// C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "TestModule.h"
#include "mlir/IR/Builders.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <unistd.h>

using namespace mlir;
using namespace nju;

namespace {

struct HostTensorTest : testing::Test {
  MLIRContext context;
  Builder builder{&context};
  Type f16 = builder.getF16Type(), bf16 = builder.getBF16Type(),
       f32 = builder.getF32Type(), f64 = builder.getF64Type(),
       i1 = builder.getI1Type(), i8 = builder.getI8Type(),
       i64 = builder.getI64Type(), ui8 = builder.getIntegerType(8, false);

  double through(double value, Type type) {
    return HostTensor::fromFloats(f64, {}, value).converted(type).getFloat(0);
  }
};

TEST_F(HostTensorTest, RoundsToNearestEven) {
  EXPECT_EQ(through(2049.0, f16), 2048.0);
  EXPECT_EQ(through(2051.0, f16), 2052.0);
  EXPECT_EQ(through(65519.0, f16), 65504.0);
  EXPECT_EQ(through(65520.0, f16), std::numeric_limits<double>::infinity());
  EXPECT_EQ(through(0x1p-24, f16), 0x1p-24);
  EXPECT_EQ(through(0x1p-25, f16), 0.0);
  EXPECT_EQ(through(0x1.8p-25, f16), 0x1p-24);
  EXPECT_EQ(through(257.0, bf16), 256.0);
  EXPECT_EQ(through(259.0, bf16), 260.0);
  EXPECT_TRUE(std::isnan(through(std::nan(""), f16)));
  EXPECT_TRUE(std::isnan(through(std::nan(""), bf16)));
  // Above the middle of 1 and the next f16, but f32 rounds it to the middle.
  EXPECT_EQ(through(1.0 + 0x1p-11 + 0x1p-40, f16), 1.0 + 0x1p-10);
  EXPECT_EQ(through(1.0 + 0x1p-8 + 0x1p-40, bf16), 1.0 + 0x1p-7);
}

TEST_F(HostTensorTest, EveryHalfSurvives) {
  HostTensor all = HostTensor::uninitialized(f16, {65536});
  for (int i = 0; i < 65536; ++i)
    all.mutableElements<uint16_t>()[i] = i;
  HostTensor back = all.converted(f32).converted(f16);
  for (int i = 0; i < 65536; ++i)
    if (!std::isnan(all.getFloat(i)))
      ASSERT_EQ(back.elements<uint16_t>()[i], i);
    else
      ASSERT_TRUE(std::isnan(back.getFloat(i)));
}

TEST_F(HostTensorTest, ConvertsToIntegers) {
  EXPECT_EQ(through(-2.9, i64), -2.0);
  EXPECT_EQ(through(300.0, i8), 127.0);
  EXPECT_EQ(through(-1.0, ui8), 0.0);
  EXPECT_EQ(through(std::nan(""), i64), 0.0);
  EXPECT_EQ(through(std::nan(""), i1), 1.0);
  EXPECT_EQ(through(-0.0, i1), 0.0);
  EXPECT_EQ(HostTensor::fromInts(i64, {}, 300).converted(i8).getInt(0), 44);
  EXPECT_EQ(HostTensor::fromInts(i64, {}, -1).converted(ui8).getInt(0), 255);
}

TEST_F(HostTensorTest, AttributesComeBack) {
  for (Type type : {f16, bf16, f32, f64, i1, i8, i64, ui8})
    for (llvm::SmallVector<int64_t> shape :
         {llvm::SmallVector<int64_t>{}, {3}, {2, 2}, {0, 4}}) {
      llvm::SmallVector<int64_t> values;
      for (int64_t i = 0, n = *countElements(shape); i < n; ++i)
        values.push_back(i % 2);
      HostTensor tensor = HostTensor::fromInts(type, shape, values);
      DenseElementsAttr attr = tensor.toAttr();
      EXPECT_EQ(attr.getType(), tensor.getType());
      FailureOr<HostTensor> back = HostTensor::fromAttr(attr);
      ASSERT_TRUE(succeeded(back));
      EXPECT_EQ(back->getInts(), values);
      // Elements equal: a splat.
      EXPECT_TRUE(HostTensor(type, {3}).toAttr().isSplat());
      EXPECT_EQ(HostTensor::fromAttr(HostTensor(type, {3}).toAttr())->getInts(),
                (llvm::SmallVector<int64_t>{0, 0, 0}));
    }
}

TEST_F(HostTensorTest, RefusesTypesItCannotHold) {
  Type i4 = builder.getIntegerType(4);
  EXPECT_EQ(getHostElementSize(i4), 0);
  EXPECT_TRUE(failed(HostTensor::fromAttr(
      DenseElementsAttr::get(RankedTensorType::get({1}, i4), APInt(4, 1)))));
  EXPECT_EQ(countElements({int64_t(1) << 40, int64_t(1) << 40}), std::nullopt);
  EXPECT_EQ(countElements({int64_t(1) << 40, int64_t(1) << 40, 0}), 0);
}

//===----------------------------------------------------------------------===//
// Params
//===----------------------------------------------------------------------===//

struct ParamReaderTest : testing::Test {
  ParamReaderTest() {
    std::string name = testing::TempDir() + "nju-param-XXXXXX";
    folder = mkdtemp(name.data());
    std::ofstream file(folder + "/w.bin", std::ios::binary);
    for (float value : {0.f, 1.f, 2.f, 3.f, 4.f, 5.f, 6.f})
      file.write(reinterpret_cast<const char *>(&value), 4);
  }
  ~ParamReaderTest() override {
    unlink((folder + "/w.bin").c_str());
    rmdir(folder.c_str());
  }

  /// Elements of `nju.param @w`, or why they cannot be read.
  std::string read(llvm::StringRef param, int64_t maxBytes = 1000) {
    TestModule test(("nju.param @w : " + param).str());
    ParamReader reader(folder);
    FailureOr<HostTensor> tensor =
        reader.read(test.module->lookupSymbol<ParamOp>("w"), maxBytes);
    if (failed(tensor))
      return reader.reason().str();
    std::string text;
    for (int64_t value : tensor->getInts())
      text += std::to_string(value) + " ";
    return text;
  }

  std::string folder;
};

TEST_F(ParamReaderTest, AppliesTheLayout) {
  EXPECT_EQ(read("tensor<2x3xf32> = #nju.file<\"w.bin\", 4, tensor<2x3xf32>>"),
            "1 2 3 4 5 6 ");
  EXPECT_EQ(read("tensor<3x2xf16> = #nju.file<\"w.bin\", 4, tensor<2x3xf32>> "
                 "{permutation = array<i64: 1, 0>}"),
            "1 4 2 5 3 6 ");
  EXPECT_EQ(read("tensor<1x3x2xf32> = #nju.file<\"w.bin\", 4, "
                 "tensor<2x3xf32>> {permutation = array<i64: 1, 0>, "
                 "panels = 2 : i64}"),
            "1 4 2 5 3 6 ");
}

TEST_F(ParamReaderTest, FillsTheLastPanel) {
  EXPECT_EQ(read("tensor<2x2x2xf32> = #nju.file<\"w.bin\", 4, "
                 "tensor<2x3xf32>> {panels = 2 : i64}"),
            "1 2 4 5 3 0 6 0 ");
}

TEST_F(ParamReaderTest, ReadsSlabs) {
  TestModule test("nju.param @w : tensor<2x3xf32> = #nju.file<\"w.bin\", 4, "
                  "tensor<2x3xf32>>\nnju.param @v : tensor<9xf32> = "
                  "#nju.file<\"w.bin\", 0, tensor<9xf32>>");
  auto fileOf = [&](llvm::StringRef name) {
    auto param = test.module->lookupSymbol<ParamOp>(name);
    return cast<FileDataAttr>(param.getData());
  };
  ParamReader reader(folder);
  auto slab = [&](int64_t dimension, int64_t begin, int64_t end) {
    FailureOr<HostTensor> tensor =
        reader.readSlab(fileOf("w"), dimension, begin, end);
    return succeeded(tensor) ? tensor->getInts() : llvm::SmallVector<int64_t>();
  };
  EXPECT_EQ(slab(0, 1, 2), (llvm::SmallVector<int64_t>{4, 5, 6}));
  EXPECT_EQ(slab(1, 1, 3), (llvm::SmallVector<int64_t>{2, 3, 5, 6}));
  EXPECT_EQ(slab(1, 0, 3), (llvm::SmallVector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(slab(1, 2, 2).empty());
  EXPECT_TRUE(failed(reader.readSlab(fileOf("v"), 0, 0, 1)));
  EXPECT_EQ(reader.reason(), "a tensor of 36 bytes at offset 0 ends beyond "
                             "'w.bin' of 28 bytes");
}

TEST_F(ParamReaderTest, ReadsElementsOfTheIR) {
  EXPECT_EQ(read("tensor<2xi32> = dense<[7, 8]> : tensor<2xi32>"), "7 8 ");
}

TEST_F(ParamReaderTest, SaysWhatIsWrong) {
  EXPECT_EQ(read("tensor<8xf32> = #nju.file<\"w.bin\", 0, tensor<8xf32>>"),
            "a tensor of 32 bytes at offset 0 ends beyond 'w.bin' of 28 bytes");
  EXPECT_EQ(read("tensor<1xf32> = #nju.file<\"w.bin\", 18446744073709551615, "
                 "tensor<1xf32>>"),
            "a tensor of 4 bytes at offset 18446744073709551615 ends beyond "
            "'w.bin' of 28 bytes");
  EXPECT_EQ(read("tensor<1xf32> = #nju.file<\"../w.bin\", 0, tensor<1xf32>>"),
            "path '../w.bin' leaves the model's folder");
  EXPECT_EQ(read("tensor<1xf32> = #nju.file<\"/etc/passwd\", 0, "
                 "tensor<1xf32>>"),
            "path '/etc/passwd' leaves the model's folder");
  EXPECT_EQ(read("tensor<1xf32> = #nju.file<\"none\", 0, tensor<1xf32>>"),
            "cannot open '" + folder + "/none': No such file or directory");
  EXPECT_EQ(read("tensor<1xf32> = #nju.file<\".\", 0, tensor<1xf32>>"),
            "'.' is no regular file");
  EXPECT_EQ(read("tensor<7xf32> = #nju.file<\"w.bin\", 0, tensor<7xf32>>", 27),
            "param 'w' of 28 bytes is larger than 27 bytes");
}

} // namespace
