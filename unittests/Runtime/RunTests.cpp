//===- RunTests.cpp - Running whole graphs --------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include <cstring>
#include <thread>

using namespace nju;
using namespace nju::test;

namespace {
struct Run : testing::Test {
  void SetUp() override {
    nju_model *raw;
    ASSERT_OK(nju_model_open(&descriptor, nullptr, &raw));
    model.reset(raw);
    inputs[0] = makeTensor(a.data(), {kDLFloat, 32, 1}, shapeA, 2);
    inputs[1] = makeTensor(b.data(), {kDLInt, 32, 1}, shapeB, 1);
  }
  void TearDown() override { releaseOutputs(); }

  static DLTensor makeTensor(void *data, DLDataType type, int64_t *shape,
                             int rank) {
    DLTensor tensor = {};
    tensor.data = data;
    tensor.device = {kDLCPU, 0};
    tensor.dtype = type;
    tensor.shape = shape;
    tensor.ndim = rank;
    return tensor;
  }
  nju_status run() {
    releaseOutputs();
    return nju_model_run(model.get(), inputs, 2, 1, 2, outputs);
  }
  void releaseOutputs() {
    for (DLManagedTensor *&output : outputs)
      if (output) {
        output->deleter(output);
        output = nullptr;
      }
  }
  void expectSum(std::vector<float> expected) {
    ASSERT_NE(outputs[0], nullptr);
    const DLTensor &sum = outputs[0]->dl_tensor;
    ASSERT_EQ(sum.shape[0] * sum.shape[1], int64_t(expected.size()));
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_EQ(static_cast<float *>(sum.data)[i], expected[i]) << i;
  }

  std::string signature = fake::makeGraphSignature();
  nju_abi_descriptor descriptor = fake::makeDescriptor(signature);
  ModelHandle model;
  std::vector<float> a = {1, 2, 3, 4, 5, 6};
  std::vector<int32_t> b = {10, -20};
  int64_t shapeA[2] = {2, 3}, shapeB[1] = {2};
  DLTensor inputs[2];
  DLManagedTensor *outputs[2] = {};
};
} // namespace

TEST_F(Run, ComputesAndHandsOutputsOver) {
  ASSERT_OK(run());
  const DLTensor &sum = outputs[0]->dl_tensor;
  EXPECT_EQ(sum.ndim, 2);
  EXPECT_EQ(sum.shape[0], 2);
  EXPECT_EQ(sum.shape[1], 3);
  EXPECT_EQ(sum.dtype.code, kDLFloat);
  EXPECT_EQ(sum.device.device_type, kDLCPU);
  expectSum({11, 12, 13, -16, -15, -14});
  const DLTensor &positive = outputs[1]->dl_tensor;
  EXPECT_EQ(positive.dtype.code, NJU_DL_BOOL);
  EXPECT_EQ(positive.dtype.bits, 8);
  EXPECT_EQ(static_cast<uint8_t *>(positive.data)[0], 1);
  EXPECT_EQ(static_cast<uint8_t *>(positive.data)[1], 0);
  // Outputs do not need the model any more.
  model.reset();
  expectSum({11, 12, 13, -16, -15, -14});
}

TEST_F(Run, TakesStridedInputs) {
  // Column-major.
  std::vector<float> columns = {1, 4, 2, 5, 3, 6};
  int64_t strides[2] = {1, 2};
  inputs[0].data = columns.data();
  inputs[0].strides = strides;
  ASSERT_OK(run());
  expectSum({11, 12, 13, -16, -15, -14});
  // Every other element, from the end, with an offset.
  std::vector<int32_t> wide = {0, -20, 7, 10, 7};
  int64_t backwards[1] = {-2};
  inputs[1].data = wide.data();
  inputs[1].byte_offset = 3 * sizeof(int32_t);
  inputs[1].strides = backwards;
  ASSERT_OK(run());
  expectSum({11, 12, 13, -16, -15, -14});
  // A broadcast row.
  std::vector<float> row = {1, 2, 3};
  int64_t broadcast[2] = {0, 1};
  inputs[0].data = row.data();
  inputs[0].strides = broadcast;
  ASSERT_OK(run());
  expectSum({11, 12, 13, -19, -18, -17});
}

TEST_F(Run, TakesMisalignedInputs) {
  std::vector<char> bytes(a.size() * sizeof(float) + 1);
  memcpy(bytes.data() + 1, a.data(), a.size() * sizeof(float));
  inputs[0].data = bytes.data() + 1;
  ASSERT_OK(run());
  expectSum({11, 12, 13, -16, -15, -14});
}

TEST_F(Run, TakesEmptyInputs) {
  shapeA[0] = shapeB[0] = 0;
  inputs[0].data = inputs[1].data = nullptr;
  ASSERT_OK(run());
  EXPECT_EQ(outputs[0]->dl_tensor.shape[0], 0);
}

TEST_F(Run, RefusesWrongTensors) {
  DLTensor good = inputs[0];
  inputs[0].dtype = {kDLFloat, 64, 1};
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "input 'a' has elements of type f64, expected f32");
  inputs[0] = good;
  inputs[0].dtype.lanes = 4;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "elements of type vector of 4, expected f32");
  inputs[0] = good;
  inputs[0].device.device_type = kDLCUDA;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "input 'a' is on device type 2, expected the CPU (1)");
  inputs[0] = good;
  inputs[0].ndim = 1;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "input 'a' has 1 dimensions, expected 2: [n, 3]");
  inputs[0] = good;
  inputs[0].data = nullptr;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT, "input 'a' has no data");
  inputs[0] = good;
  inputs[0].shape = nullptr;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT, "input 'a' has no shape");
}

TEST_F(Run, RefusesWrongShapes) {
  shapeA[1] = 4;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "input 'a' has shape [2, 4], expected [n, 3]");
  shapeA[1] = 3;
  shapeB[0] = 3;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "input 'b' has shape [3], but dimension 'n' is 2 already");
  shapeB[0] = -2;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "input 'b' has the impossible shape [-2]");
  shapeA[0] = INT64_MAX / 2;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT, "has the impossible shape");
}

TEST_F(Run, RefusesWrongCounts) {
  EXPECT_FAILURE(nju_model_run(model.get(), inputs, 1, 1, 2, outputs),
                 NJU_INVALID_ARGUMENT,
                 "got 1 inputs, model 'fake-graph' has 2 of them");
  EXPECT_FAILURE(nju_model_run(model.get(), inputs, 2, 1, 1, outputs),
                 NJU_INVALID_ARGUMENT,
                 "got room for 1 outputs, model 'fake-graph' has 2 of them");
  EXPECT_FAILURE(nju_model_run(model.get(), nullptr, 2, 1, 2, outputs),
                 NJU_INVALID_ARGUMENT, "inputs are NULL");
  EXPECT_FAILURE(nju_model_run(model.get(), inputs, 2, 1, 2, nullptr),
                 NJU_INVALID_ARGUMENT, "out_outputs is NULL");
  EXPECT_FAILURE(nju_model_run(nullptr, inputs, 2, 1, 2, outputs),
                 NJU_INVALID_ARGUMENT, "model is NULL");
  EXPECT_FAILURE(nju_model_run(model.get(), inputs, 2, -1, 2, outputs),
                 NJU_INVALID_ARGUMENT, "number of threads is -1");
}

TEST_F(Run, RefusesLanguageModels) {
  FakeLanguageModel languageModel;
  ModelHandle handle = languageModel.open();
  EXPECT_FAILURE(nju_model_run(handle.get(), inputs, 2, 1, 2, outputs),
                 NJU_INVALID_ARGUMENT,
                 "model 'fake' is a language model: create a session");
}

TEST_F(Run, ReportsFailingCode) {
  b[1] = fake::failingToken;
  EXPECT_FAILURE(run(), NJU_INTERNAL,
                 "the run of model 'fake-graph' failed with code 7");
  EXPECT_EQ(outputs[0], nullptr);
  b[1] = fake::wrongShapeValue;
  EXPECT_FAILURE(run(), NJU_INTERNAL,
                 "made a wrong output: output 'sum' has shape [2, 4], expected "
                 "[n, 3]");
  EXPECT_EQ(outputs[0], nullptr);
}

TEST_F(Run, ReportsInputsThatContradictEachOther) {
  b[1] = fake::contradictingValue;
  EXPECT_FAILURE(run(), NJU_INVALID_ARGUMENT,
                 "the inputs of model 'fake-graph' contradict each other: node "
                 "'{0}': found a size of 3, expected -5");
  EXPECT_EQ(outputs[0], nullptr);
}

TEST_F(Run, RunsInManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::vector<int> good(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        DLManagedTensor *own[2];
        if (nju_model_run(model.get(), inputs, 2, 1, 2, own))
          return;
        good[i] += static_cast<float *>(own[0]->dl_tensor.data)[0] == 11;
        for (DLManagedTensor *tensor : own)
          tensor->deleter(tensor);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(good, std::vector<int>(4, 50));
}
