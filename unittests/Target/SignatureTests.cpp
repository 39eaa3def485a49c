//===- SignatureTests.cpp - What a model says about itself ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModule.h"
#include "nju/Target/Signature.h"
#include "llvm/Support/JSON.h"

using namespace nju;
using namespace nju::test;

namespace {

class SignatureTest : public TestModule {
protected:
  ModelSignature read(llvm::StringRef name = "m") {
    auto signature = readSignature(*module, name);
    EXPECT_TRUE(succeeded(signature));
    return succeeded(signature) ? *signature : ModelSignature();
  }
  llvm::json::Value toJSON(const ModelSignature &signature) {
    CPUTarget target = llvm::cantFail(CPUTarget::get("x86-64-v3"));
    return llvm::cantFail(
        llvm::json::parse(signature.toJSON("x86-64-v3", target)));
  }
};

constexpr llvm::StringLiteral kStep = R"(
module attributes {nju.lm = {vocabulary = 100 : i64, max_tokens = 64 : i64,
    max_sequences = 4 : i64, max_batch_tokens = 32 : i64,
    cache = [{heads = 2 : i64, head_dim = 8 : i64, type = "f16"}]}} {
  nju.param @embedding : tensor<100x16xf16> = #nju.file<"m", 0, tensor<100x16xf16>>
  nju.param @head : tensor<4x16x32xf16> = #nju.file<"m", 0, tensor<16x100xf16>> {panels = 32 : i64}
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>,
      %sequences: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x100xf32> {
    %e = nju.param_ref @embedding : tensor<100x16xf16>
    %h = nju.gather %e, %tokens {axis = 0 : i64} : (tensor<100x16xf16>, tensor<?xi32>) -> tensor<?x16xf16>
    %x = nju.cast %h : (tensor<?x16xf16>) -> tensor<?x16xf32>
    %w = nju.param_ref @head : tensor<4x16x32xf16>
    %y = nju.linear %x, %w : (tensor<?x16xf32>, tensor<4x16x32xf16>) -> tensor<?x100xf32>
    return %y : tensor<?x100xf32>
  }
})";

TEST_F(SignatureTest, CountsTheWorkOfAToken) {
  parse(kStep);
  ModelSignature signature = read();
  ASSERT_TRUE(signature.lm);
  // A row of the table and all four panels.
  EXPECT_EQ(signature.lm->bytesPerToken, 16 * 2 + 4 * 16 * 32 * 2);
  EXPECT_EQ(signature.lm->flopsPerToken, 2 * 16 * 100);
}

TEST_F(SignatureTest, CountsATiedEmbeddingOnce) {
  parse(R"(
module attributes {nju.lm = {vocabulary = 100 : i64, max_tokens = 64 : i64,
    max_sequences = 4 : i64, max_batch_tokens = 32 : i64, cache = []}} {
  nju.param @e : tensor<4x16x32xf16> = #nju.file<"m", 0, tensor<16x100xf16>> {panels = 32 : i64}
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>,
      %sequences: tensor<?xi32>, %rows: tensor<?xi32>) -> tensor<?x100xf32> {
    %e = nju.param_ref @e : tensor<4x16x32xf16>
    %h = nju.embedding %e, %tokens {columns = 100 : i64} : (tensor<4x16x32xf16>, tensor<?xi32>) -> tensor<?x16xf16>
    %x = nju.cast %h : (tensor<?x16xf16>) -> tensor<?x16xf32>
    %y = nju.linear %x, %e : (tensor<?x16xf32>, tensor<4x16x32xf16>) -> tensor<?x100xf32>
    return %y : tensor<?x100xf32>
  }
})");
  ModelSignature signature = read();
  ASSERT_TRUE(signature.lm);
  EXPECT_EQ(signature.lm->bytesPerToken, 4 * 16 * 32 * 2);
}

TEST_F(SignatureTest, WritesLanguageModels) {
  parse(kStep);
  ModelSignature signature = read("tiny \"stories\"");
  signature.lm->arenaBytes = 4096;
  signature.weightsFile = "m.safetensors";
  signature.weights = {128, "0123456789abcdef"};
  llvm::json::Value json = toJSON(signature);
  llvm::json::Object &root = *json.getAsObject();
  EXPECT_EQ(root.getInteger("abi"), 4);
  EXPECT_EQ(root.getString("kind"), "lm");
  EXPECT_EQ(root.getString("name"), "tiny \"stories\"");
  llvm::json::Object &target = *root.getObject("target");
  EXPECT_EQ(target.getString("name"), "x86-64-v3");
  ASSERT_EQ(target.getArray("variants")->size(), 1u);
  llvm::json::Object &variant =
      *(*target.getArray("variants"))[0].getAsObject();
  EXPECT_EQ(variant.getString("name"), "x86-64-v3");
  EXPECT_EQ(variant.getString("cpu"), "x86-64-v3");
  EXPECT_FALSE(variant.getArray("features")->empty());
  EXPECT_EQ(root.getObject("weights")->getInteger("bytes"), 128);
  EXPECT_EQ(root.getObject("weights")->getString("hash"), "0123456789abcdef");
  llvm::json::Object &lm = *root.getObject("lm");
  EXPECT_EQ(lm.getInteger("vocabulary"), 100);
  EXPECT_EQ(lm.getInteger("max_batch_tokens"), 32);
  EXPECT_EQ(lm.getInteger("arena_bytes"), 4096);
  EXPECT_EQ((*lm.getArray("cache"))[0].getAsObject()->getInteger("head_dim"),
            8);
  const llvm::json::Object &layer = *(*lm.getArray("cache"))[0].getAsObject();
  EXPECT_EQ(layer.getString("type"), "f16");
  EXPECT_EQ(layer.getInteger("key_block_bytes"), 16 * 8 * 2);
  EXPECT_EQ(layer.getInteger("value_block_bytes"), 16 * 8 * 2);
  EXPECT_EQ(root.getArray("outputs")->size(), 1u);
}

TEST_F(SignatureTest, WritesGraphs) {
  parse(R"(
    func.func @main(%a: tensor<?x3xi64> {nju.name = "ids", nju.dims = ["batch", ""]},
        %b: tensor<?x?xbf16> {nju.name = "mask", nju.dims = ["", ""]})
        -> (tensor<?xui8> {nju.name = "out", nju.dims = ["batch"]}) {
      %0 = ub.poison : tensor<?xui8>
      return %0 : tensor<?xui8>
    }
  )");
  llvm::json::Value json = toJSON(read());
  llvm::json::Object &root = *json.getAsObject();
  EXPECT_EQ(root.getString("kind"), "graph");
  EXPECT_FALSE(root.getObject("lm"));
  EXPECT_TRUE(root.get("weights")->getAsNull());
  llvm::json::Object &a = *(*root.getArray("inputs"))[0].getAsObject();
  EXPECT_EQ(a.getString("name"), "ids");
  EXPECT_EQ(a.getString("type"), "i64");
  EXPECT_EQ(*a.getArray("shape"), (llvm::json::Array{"batch", 3}));
  // Dimensions without a name get different ones.
  llvm::json::Object &b = *(*root.getArray("inputs"))[1].getAsObject();
  EXPECT_NE((*b.getArray("shape"))[0], (*b.getArray("shape"))[1]);
  llvm::json::Object &out = *(*root.getArray("outputs"))[0].getAsObject();
  EXPECT_EQ(out.getString("type"), "u8");
}

TEST_F(SignatureTest, RefusesTypesWithoutAName) {
  parse("func.func @main(%a: tensor<3xi4>) { return }");
  expectError([&] { return readSignature(*module, "m"); },
              "'input0' has type 'tensor<3xi4>', expected a tensor of numbers");
}

TEST_F(SignatureTest, RefusesIncompleteLanguageModels) {
  parse("func.func private @step()");
  expectError([&] { return readSignature(*module, "m"); },
              "no complete attribute 'nju.lm'");
}

TEST_F(SignatureTest, RefusesModulesWithoutFunctions) {
  parse("module {}");
  expectError([&] { return readSignature(*module, "m"); },
              "has no function 'step' or 'main'");
}

TEST_F(SignatureTest, HeadersCompileAsCAndCpp) {
  parse(kStep);
  ModelSignature signature = read("7b-chat.v2");
  signature.weightsFile = "7b-chat.v2.safetensors";
  std::string header = generateHeader(signature);
  EXPECT_NE(header.find("#define NJU_7B_CHAT_V2_VOCABULARY 100\n"),
            std::string::npos);
  EXPECT_NE(header.find("nju_7b_chat_v2_descriptor(void)"), std::string::npos);
  header += "int main(void) { return NJU_7B_CHAT_V2_MAX_TOKENS != 64 || "
            "!nju_7b_chat_v2_descriptor(); }\n"
            "const char nju_model_descriptor_7b_chat_v2[] = \"x\";\n";
  for (std::string name : {"a.c", "a.cpp"}) {
    // C++ gives constants internal linkage unless they were declared extern
    // before, as the header does.
    writeBytes(name, header.data(), header.size());
    std::string command = std::string(NJU_CXX_COMPILER) +
                          " -Wall -Wextra -Werror -x " +
                          (name == "a.c" ? "c" : "c++") + " " + file(name) +
                          " -o " + file("a") + " && " + file("a");
    EXPECT_EQ(std::system(command.c_str()), 0) << header;
  }
}

TEST_F(SignatureTest, HeadersOfGraphsNumberTheTensors) {
  parse(R"(
    func.func @main(%a: tensor<?x3xi64> {nju.name = "input.ids"}, %b: tensor<f32> {nju.name = "b"}) {
      return
    }
  )");
  std::string header = generateHeader(read());
  EXPECT_NE(header.find("#define NJU_M_INPUT_COUNT 2\n"), std::string::npos);
  EXPECT_NE(header.find("#define NJU_M_INPUT_INPUT_IDS 0 /* i64 ["),
            std::string::npos);
  EXPECT_NE(header.find("#define NJU_M_INPUT_B 1 /* f32 [] */"),
            std::string::npos);
}

} // namespace
