//===- ExternalDataTest.cpp - Weights in files -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <gtest/gtest.h>

using namespace nju::test;
using onnx::TensorProto;
namespace fs = llvm::sys::fs;

namespace {
/// A model whose output is the external tensor 'w', f32[64], in a folder of its
/// own with a file 'data' of 1000 bytes.
class ExternalData : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(fs::createUniqueDirectory("nju-external", folder));
    write("data", std::string(1000, 'x'));
    b.output("w");
    w = b.initializer("w", TensorProto::FLOAT, {64});
    w->set_data_location(TensorProto::EXTERNAL);
  }
  void TearDown() override { fs::remove_directories(folder); }

  std::string path(const std::string &name) {
    llvm::SmallString<128> full(folder);
    llvm::sys::path::append(full, name);
    return full.str().str();
  }
  void write(const std::string &name, const std::string &bytes) {
    std::error_code error;
    llvm::raw_fd_ostream file(path(name), error);
    ASSERT_FALSE(error);
    file << bytes;
  }
  void set(const std::string &key, const std::string &value) {
    auto *entry = w->add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  ImportResult load() {
    write("model.onnx", b.model.SerializeAsString());
    return collect([&](mlir::MLIRContext *context) {
      return nju::importONNX(path("model.onnx"), context);
    });
  }
  void expectError(const std::string &message) {
    ImportResult result = load();
    EXPECT_EQ(result.ir, "");
    EXPECT_EQ(result.diagnostics,
              path("model.onnx") + ": initializer 'w' has " + message + "\n");
  }
  void expectParam(const std::string &data) {
    ImportResult result = load();
    EXPECT_EQ(result.diagnostics, "");
    EXPECT_NE(result.ir.find("nju.param @w : tensor<64xf32> = #nju.file<" +
                             data + ", tensor<64xf32>>"),
              std::string::npos)
        << result.ir;
  }

  llvm::SmallString<128> folder;
  ModelBuilder b;
  TensorProto *w = nullptr;
};
} // namespace

TEST_F(ExternalData, RefersToAFile) {
  set("location", "data");
  expectParam("\"data\", 0");
}

TEST_F(ExternalData, MayBeUnaligned) {
  set("location", "data");
  set("offset", "743");
  set("length", "256");
  expectParam("\"data\", 743");
  set("length", "257");
  w->mutable_external_data()->Clear();
  set("location", "data");
  set("offset", "744");
  expectParam("\"data\", 744");
}

TEST_F(ExternalData, MayLieInASubfolder) {
  ASSERT_FALSE(fs::create_directory(path("weights")));
  write("weights/data", std::string(256, 'x'));
  set("location", "weights/data");
  expectParam("\"weights/data\", 0");
}

TEST_F(ExternalData, SmallTensorsBecomeConstants) {
  w->clear_dims();
  w->add_dims(2);
  w->set_data_type(TensorProto::INT64);
  write("data", std::string("\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0", 16));
  set("location", "data");
  EXPECT_NE(load().ir.find("nju.constant dense<[1, 2]> : tensor<2xi64>"),
            std::string::npos);
}

TEST_F(ExternalData, MissingFile) {
  set("location", "nothing");
  expectError("external data in 'nothing', which cannot be opened: No such "
              "file or directory");
}

TEST_F(ExternalData, MissingLocation) {
  expectError("external data without a location");
}

TEST_F(ExternalData, Folder) {
  ASSERT_FALSE(fs::create_directory(path("weights")));
  set("location", "weights");
  expectError("external data in 'weights', which is not a regular file");
}

TEST_F(ExternalData, PathsThatLeaveTheFolder) {
  for (const char *location :
       {"../../etc/passwd", "/etc/passwd", "a/../../data", ".."}) {
    w->mutable_external_data()->Clear();
    set("location", location);
    expectError("external data in '" + std::string(location) +
                "', which leaves the folder of the model; expected a relative "
                "path to a file in it");
  }
}

TEST_F(ExternalData, LinksThatLeaveTheFolder) {
  ASSERT_FALSE(fs::create_link("/etc/passwd", path("link")));
  set("location", "link");
  expectError("external data in 'link', which leaves the folder of the model; "
              "expected a relative path to a file in it");
  // The folder itself is left by a link as well.
  ASSERT_FALSE(fs::create_link("/etc", path("folder")));
  w->mutable_external_data()->Clear();
  set("location", "folder/passwd");
  expectError("external data in 'folder/passwd', which leaves the folder of "
              "the model; expected a relative path to a file in it");
}

TEST_F(ExternalData, LinksWithinTheFolder) {
  ASSERT_FALSE(fs::create_link(path("data"), path("link")));
  set("location", "link");
  expectParam("\"link\", 0");
}

/// The cache of the Hugging Face hub has links to the model and its data, which
/// lie in another folder.
TEST_F(ExternalData, ModelAndDataAreLinks) {
  ASSERT_FALSE(fs::create_directory(path("blobs")));
  ASSERT_FALSE(fs::create_directory(path("snapshot")));
  write("blobs/1", std::string(256, 'x'));
  set("location", "model.data");
  write("blobs/2", b.model.SerializeAsString());
  ASSERT_FALSE(fs::create_link(path("blobs/1"), path("snapshot/model.data")));
  ASSERT_FALSE(fs::create_link(path("blobs/2"), path("snapshot/model.onnx")));
  ImportResult result = collect([&](mlir::MLIRContext *context) {
    return nju::importONNX(path("snapshot/model.onnx"), context);
  });
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_NE(result.ir.find("#nju.file<\"model.data\", 0"), std::string::npos);
}

TEST_F(ExternalData, BeyondTheEnd) {
  set("location", "data");
  set("offset", "745");
  expectError("data at bytes 745 to 1001 of 'data', which has 1000 bytes");
  w->mutable_external_data()->Clear();
  set("location", "data");
  set("offset", "18446744073709551615");
  expectError("data at bytes 18446744073709551615 to 18446744073709551615 of "
              "'data', which has 1000 bytes");
}

TEST_F(ExternalData, LengthThatDoesNotFitTheType) {
  set("location", "data");
  set("length", "255");
  expectError("255 bytes of data, but its type 'tensor<64xf32>' needs 256");
}

TEST_F(ExternalData, NumbersThatAreNone) {
  set("location", "data");
  set("offset", "-1");
  expectError("external data with offset '-1', expected a number of bytes");
  w->mutable_external_data()->Clear();
  set("location", "data");
  set("length", "1e3");
  expectError("external data with length '1e3', expected a number of bytes");
}

TEST_F(ExternalData, InlineWeightsReferToTheModelFile) {
  w->clear_data_location();
  std::string bytes(256, 'q');
  w->set_raw_data(bytes);
  std::string model = b.model.SerializeAsString();
  expectParam("\"model.onnx\", " + std::to_string(model.find(bytes)));
}

TEST_F(ExternalData, PackedFloatsReferToTheModelFile) {
  w->clear_data_location();
  for (int i = 0; i < 64; ++i)
    w->add_float_data(-1.0f);
  std::string model = b.model.SerializeAsString();
  float minusOne = -1.0f;
  std::string bytes(reinterpret_cast<char *>(&minusOne), 4);
  expectParam("\"model.onnx\", " + std::to_string(model.find(bytes + bytes)));
}

TEST_F(ExternalData, OtherFieldsBecomeElements) {
  w->clear_data_location();
  w->set_data_type(TensorProto::FLOAT16);
  for (int i = 0; i < 64; ++i)
    w->add_int32_data(0x3c00); // 1.0
  ImportResult result = load();
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_NE(result.ir.find("nju.param @w : tensor<64xf16> = "
                           "dense<1.000000e+00> : tensor<64xf16>"),
            std::string::npos)
      << result.ir;
}
