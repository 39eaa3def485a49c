//===- ModelTests.cpp - Loading models ------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include "CpuFeatures.h"

#include <elf.h>
#include <sys/stat.h>

using namespace nju;
using namespace nju::test;

static const std::string modelFolder = NJU_TEST_MODELS;

//===----------------------------------------------------------------------===//
// Shared libraries
//===----------------------------------------------------------------------===//

static nju_status load(const std::string &path) {
  nju_model *model = reinterpret_cast<nju_model *>(1);
  nju_status status = nju_model_load(path.c_str(), nullptr, &model);
  EXPECT_EQ(model == nullptr, status != NJU_OK);
  nju_model_release(status == NJU_OK ? model : nullptr);
  return status;
}

TEST(Model, LoadsALibraryAndItsWeights) {
  nju_model *model;
  nju_model_options options = {};
  options.verify_weights = 1;
  ASSERT_OK(
      nju_model_load((modelFolder + "/fake.so").c_str(), &options, &model));
  EXPECT_EQ(nju_model_vocabulary(model), fake::vocabulary);
  EXPECT_EQ(std::string(nju_model_signature(model)),
            fake::makeLanguageModelSignature());
  nju_model_release(model);
}

TEST(Model, LoadsARelativePathWithoutSlash) {
  TemporaryFolder folder;
  folder.write("m.so", readFile(modelFolder + "/fake-graph.so"));
  char *old = getcwd(nullptr, 0);
  ASSERT_EQ(chdir(folder.get("").c_str()), 0);
  EXPECT_OK(load("m.so"));
  ASSERT_EQ(chdir(old), 0);
  free(old);
}

TEST(Model, FindsWeightsOfRenamedModels) {
  TemporaryFolder folder;
  std::string path =
      folder.write("renamed.so", readFile(modelFolder + "/fake.so"));
  EXPECT_FAILURE(load(path), NJU_NOT_FOUND, "fake.safetensors");
  folder.write("renamed.safetensors", fake::makeWeightFile());
  EXPECT_OK(load(path));
}

TEST(Model, RefusesWhatIsNoModel) {
  TemporaryFolder folder;
  EXPECT_FAILURE(load(folder.get("none.so")), NJU_NOT_FOUND,
                 "cannot open model '" + folder.get("none.so") + "'");
  EXPECT_FAILURE(load(folder.write("empty.so", "")), NJU_DATA_LOSS, "is empty");
  EXPECT_FAILURE(load(folder.get("")), NJU_INVALID_ARGUMENT,
                 "is not a regular file");
  EXPECT_FAILURE(load(folder.write("text.so", std::string(100, 'x'))),
                 NJU_INVALID_ARGUMENT,
                 "is not a shared library made by nju-compile");
  EXPECT_FAILURE(load(folder.write("short.so", "\x7f"
                                               "ELF")),
                 NJU_INVALID_ARGUMENT, "is not a shared library");
  EXPECT_FAILURE(load(NJU_TEST_PLAIN_LIBRARY), NJU_INVALID_ARGUMENT,
                 "it has no symbol 'nju_model_descriptor'");
  EXPECT_FAILURE(nju_model_load(nullptr, nullptr, nullptr),
                 NJU_INVALID_ARGUMENT, "out_model is NULL");
  nju_model *model;
  EXPECT_FAILURE(nju_model_load(nullptr, nullptr, &model), NJU_INVALID_ARGUMENT,
                 "path is NULL");
  EXPECT_FAILURE(nju_model_open(nullptr, nullptr, &model), NJU_INVALID_ARGUMENT,
                 "descriptor is NULL");
}

TEST(Model, RefusesAFifoWithoutWaiting) {
  TemporaryFolder folder;
  ASSERT_EQ(mkfifo(folder.get("fifo.so").c_str(), 0600), 0);
  EXPECT_FAILURE(load(folder.get("fifo.so")), NJU_INVALID_ARGUMENT,
                 "is not a regular file");
}

TEST(Model, RefusesOtherElfFiles) {
  TemporaryFolder folder;
  std::string bytes = readFile(modelFolder + "/fake-graph.so");
  std::string other = bytes;
  other[offsetof(Elf64_Ehdr, e_machine)] = char(EM_RISCV);
  other[offsetof(Elf64_Ehdr, e_machine) + 1] = 0;
  EXPECT_FAILURE(load(folder.write("riscv.so", other)), NJU_INCOMPATIBLE,
                 "was compiled for another machine (ELF machine 243), this");
  bool arm = bytes[offsetof(Elf64_Ehdr, e_machine)] == char(EM_AARCH64);
  other[offsetof(Elf64_Ehdr, e_machine)] = char(arm ? EM_X86_64 : EM_AARCH64);
  EXPECT_FAILURE(load(folder.write("other.so", other)), NJU_INCOMPATIBLE,
                 arm ? "was compiled for another machine (x86-64), this one is "
                       "aarch64: compile it for this machine with "
                       "--target=aarch64"
                     : "was compiled for another machine (aarch64), this one "
                       "is x86-64: compile it for this machine with "
                       "--target=x86-64");
  other = bytes;
  other[offsetof(Elf64_Ehdr, e_type)] = ET_REL;
  EXPECT_FAILURE(load(folder.write("object.so", other)), NJU_INVALID_ARGUMENT,
                 "is an ELF file but no shared library");
  other = bytes;
  other[offsetof(Elf64_Ehdr, e_phoff) + 6] = 1;
  EXPECT_FAILURE(load(folder.write("headers.so", other)), NJU_DATA_LOSS,
                 "its program headers lie outside the file");
}

TEST(Model, RefusesTruncatedLibraries) {
  TemporaryFolder folder;
  std::string bytes = readFile(modelFolder + "/fake-graph.so");
  // What follows the last segment is for debuggers alone and may be missing.
  Elf64_Ehdr header;
  memcpy(&header, bytes.data(), sizeof(header));
  size_t needed = 0;
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    memcpy(&segment, bytes.data() + header.e_phoff + i * sizeof(segment),
           sizeof(segment));
    needed = std::max<size_t>(needed, segment.p_offset + segment.p_filesz);
  }
  for (size_t size = 1; size < needed; size += needed / 50)
    EXPECT_NE(load(folder.write("short.so", bytes.substr(0, size))), NJU_OK)
        << size << " bytes of " << needed;
  EXPECT_FAILURE(load(folder.write("short.so", bytes.substr(0, needed - 1))),
                 NJU_DATA_LOSS, "is truncated: segment");
}

TEST(Model, NamesBothSidesWhenTheCpuLacksFeatures) {
  ASSERT_EQ(getCpuFeature("tbm"), FeatureState::Missing);
  EXPECT_FAILURE(load(modelFolder + "/fake-cpu.so"), NJU_INCOMPATIBLE,
                 "model 'fake' was compiled for fake-cpu, this machine (" +
                     getCpuName() + ") lacks tbm, lwp");
}

/// The variants `best`, which no machine can run, `good` and `base`.
static FakeLanguageModel makeVariants() {
  return FakeLanguageModel(fake::makeLanguageModelSignature(fake::makeVariants(
      {{"best", R"(["no-such-feature"])"}, {"good", "[]"}, {"base", "[]"}})));
}

TEST(Model, RunsTheFirstVariantThatTheMachineCan) {
  FakeLanguageModel fake = makeVariants();
  EXPECT_STREQ(nju_model_variant(fake.open().get()), "good");
  EXPECT_STREQ(nju_model_variant(nullptr), "");
}

TEST(Model, RunsTheVariantThatIsAskedFor) {
  FakeLanguageModel fake = makeVariants();
  nju_model_options options = {};
  options.weights_path = fake.weights.c_str();
  options.variant = "base";
  nju_model *model;
  ASSERT_OK(nju_model_open(&fake.descriptor, &options, &model));
  EXPECT_STREQ(nju_model_variant(model), "base");
  nju_model_release(model);
  options.variant = "best";
  EXPECT_FAILURE(nju_model_open(&fake.descriptor, &options, &model),
                 NJU_INCOMPATIBLE,
                 "variant 'best' of model 'fake' cannot run here: this machine "
                 "(" +
                     getCpuName() +
                     ") lacks no-such-feature (which this runtime does not "
                     "know)");
  options.variant = "worst";
  EXPECT_FAILURE(nju_model_open(&fake.descriptor, &options, &model),
                 NJU_INVALID_ARGUMENT,
                 "model 'fake' has no variant 'worst', expected one of: best, "
                 "good, base");
}

TEST(Model, SaysWhatEachVariantLacks) {
  FakeLanguageModel fake(fake::makeLanguageModelSignature(fake::makeVariants(
      {{"best", R"(["tbm","lwp"])"}, {"good", R"(["tbm"])"}})));
  ASSERT_NE(getCpuFeature("tbm"), FeatureState::Present);
  nju_model *model;
  EXPECT_FAILURE(fake.open(&model), NJU_INCOMPATIBLE, "lacks for best tbm");
  EXPECT_FAILURE(fake.open(&model), NJU_INCOMPATIBLE, "; for good tbm");
}

//===----------------------------------------------------------------------===//
// Descriptors and signatures
//===----------------------------------------------------------------------===//

TEST(Model, RefusesForeignDescriptors) {
  nju_model *model;
  FakeLanguageModel fake;
  nju_abi_descriptor good = fake.descriptor;
  fake.descriptor.magic[0] = 'X';
  EXPECT_FAILURE(fake.open(&model), NJU_INVALID_ARGUMENT,
                 "does not begin with 'NJUMODEL'");
  fake.descriptor = good;
  fake.descriptor.abi_version = 77;
  EXPECT_FAILURE(fake.open(&model), NJU_INCOMPATIBLE,
                 "has ABI version 77, this runtime has 4");
  fake.descriptor = good;
  fake.descriptor.descriptor_size -= 8;
  EXPECT_FAILURE(fake.open(&model), NJU_INCOMPATIBLE,
                 "descriptor has 40 bytes, this runtime expects 48");
  fake.descriptor = good;
  fake.descriptor.signature = nullptr;
  EXPECT_FAILURE(fake.open(&model), NJU_DATA_LOSS, "has no signature");
  fake.descriptor = good;
  fake.descriptor.signature_length -= 2;
  EXPECT_FAILURE(fake.open(&model), NJU_DATA_LOSS,
                 "signature does not end after");
  fake.descriptor = good;
  const nju_abi_variant empty = {};
  fake.descriptor.variants = &empty;
  EXPECT_FAILURE(fake.open(&model), NJU_DATA_LOSS, "has no function 'step'");
  fake.descriptor = good;
  fake.descriptor.num_variants = 2;
  EXPECT_FAILURE(fake.open(&model), NJU_DATA_LOSS,
                 "has code for 2 variants, its signature lists 1");
}

TEST(Model, RefusesBadSignatures) {
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"{", "[", "it is not a JSON object"},
      {R"("abi":4)", R"("abi":5)", "ABI version 5, this runtime has 4"},
      {R"("abi":4)", R"("abi":"1")", "field 'abi' is not an integer in range"},
      {R"("kind":"lm")", R"("kind":"lx")", "'kind' is not 'lm' or 'graph'"},
      {R"("name":"fake")", R"("name":5)", "'name' is not a string"},
      {R"("target")", R"("tarjet")", "'target' is not an object"},
      {R"("name":"fake-cpu","v)", R"("name":1,"v)", "'name' is not a string"},
      {R"("name":"fake-cpu","c)", R"("name":1,"c)", "'name' is not a string"},
      {R"("variants":[)", R"("variants":[],"others":[)",
       "'target.variants' is not a list of objects"},
      {R"("features":[])", R"("features":[1])",
       "'features' is not a list of strings"},
      {R"("features":[])", R"("features":["sse9"])",
       "lacks sse9 (which this runtime does not know)"},
      {R"("weights":{)", R"("weightz":{)", "'weights' is not an object"},
      {"fake.safetensors", "../fake.safetensors",
       "'weights.file' is not a plain file name"},
      {R"("bytes":256)", R"("bytes":-1)", "'bytes' is not an integer"},
      {R"("lm":{)", R"("ml":{)", "'lm' is not an object"},
      {R"("vocabulary":64)", R"("vocabulary":0)",
       "'vocabulary' is not an integer in range"},
      {R"("max_tokens":40)", R"("max_tokens":18446744073709551615)",
       "'max_tokens' is not an integer in range"},
      {R"("arena_bytes":1024)", R"("arena_bytes":1.5)",
       "'arena_bytes' is not an integer in range"},
      {R"("cache":[)", R"("cache":[7,)", "'heads' is not an integer"},
      {R"("cache":[)", R"("cashe":[)", "'lm.cache' is not a list"},
      {R"("head_dim":4)", R"("head_dim":0)", "'head_dim' is not an integer"},
      {R"("head_dim":4,"type":"f32")", R"("head_dim":4)",
       "'type' is not a string"},
      {R"("head_dim":4,"type":"f32")", R"("head_dim":4,"type":"f8")",
       "'lm.cache.type' is not f32, f16, q8 or q4"},
      {R"("key_block_bytes":256)", R"("key_block_bytes":0)",
       "'key_block_bytes' is not an integer in range"},
      {R"("value_block_bytes":512)", R"("value":512)",
       "'value_block_bytes' is not an integer in range"},
      {R"("inputs":[)", R"("input":[)", "'inputs' is not a list of tensors"},
      {R"("type":"i64")", R"("type":"i65")", "'type' is not a type this"},
      {R"(["b","s"])", R"(["b",-1])", "'shape' is not a list of sizes"},
      {R"(["b","s"])", R"([1,1,1,1,1,1,1,1,1])",
       "'shape' is not a list of at most 8 dimensions"},
  };
  for (const auto &entry : cases) {
    FakeLanguageModel fake(
        replaced(fake::makeLanguageModelSignature(), entry.from, entry.to));
    nju_model *model = nullptr;
    EXPECT_NE(fake.open(&model), NJU_OK) << entry.to;
    EXPECT_NE(std::string(nju_last_error_message()).find(entry.message),
              std::string::npos)
        << entry.to << ": " << nju_last_error_message();
    nju_model_release(model);
  }
}

TEST(Model, SurvivesDamagedSignatures) {
  FakeLanguageModel fake;
  std::string good = fake.signature;
  for (size_t i = 0; i < good.size(); ++i)
    for (char c : {'\0', '"', '{', '9', '\xff'}) {
      fake.signature = good;
      fake.signature[i] = c;
      fake.descriptor = fake::makeDescriptor(fake.signature);
      nju_model *model = nullptr;
      // Some changes, such as of a name, are harmless.
      if (fake.open(&model) == NJU_OK)
        nju_model_release(model);
      else
        EXPECT_STRNE(nju_last_error_message(), "");
    }
}

TEST(Model, AsksForWeightsOfALinkedModel) {
  FakeLanguageModel fake;
  nju_model *model;
  EXPECT_FAILURE(nju_model_open(&fake.descriptor, nullptr, &model),
                 NJU_INVALID_ARGUMENT,
                 "model 'fake' needs its weight file 'fake.safetensors': set "
                 "weights_path");
}

TEST(Model, KnowsTheFeaturesEveryMachineHas) {
  EXPECT_EQ(getCpuFeature("sse2"), FeatureState::Present);
  EXPECT_EQ(getCpuFeature("no-such-feature"), FeatureState::Unknown);
  // The compiler's own view of this machine.
  for (const std::string &name : getCpuFeatures())
    EXPECT_EQ(getCpuFeature(name), FeatureState::Present);
  EXPECT_EQ(getCpuFeature("avx2") == FeatureState::Present,
            bool(__builtin_cpu_supports("avx2")));
  EXPECT_EQ(getCpuFeature("fma") == FeatureState::Present,
            bool(__builtin_cpu_supports("fma")));
  EXPECT_EQ(getCpuFeature("avx512f") == FeatureState::Present,
            bool(__builtin_cpu_supports("avx512f")));
  EXPECT_EQ(getCpuFeature("avx512vnni") == FeatureState::Present,
            bool(__builtin_cpu_supports("avx512vnni")));
  EXPECT_EQ(getCpuFeature("avx512bf16") == FeatureState::Present,
            bool(__builtin_cpu_supports("avx512bf16")));
}
