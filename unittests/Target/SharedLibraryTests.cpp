//===- SharedLibraryTests.cpp - From functions to a model ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModule.h"
#include "nju/Support/OutputFile.h"
#include "nju/Target/Emit.h"
#include "nju/Target/Signature.h"
#include "nju/abi.h"
#include "llvm/Support/JSON.h"
#include <cstdlib>
#include <dlfcn.h>

using namespace nju;
using namespace nju::test;

namespace {

class SharedLibraryTest : public TestModule {
protected:
  ~SharedLibraryTest() override {
    if (library)
      ::dlclose(library);
  }

  /// Compiles the parsed module and returns its descriptor.
  const nju_abi_descriptor *compile(llvm::StringRef signature = "{}") {
    CPUTarget target = llvm::cantFail(CPUTarget::get("host"));
    EXPECT_TRUE(succeeded(lowerToLLVM(*module)));
    llvm::LLVMContext llvmContext;
    std::vector<VariantCode> variants;
    for (int i = 0; i < numVariants; ++i)
      variants.push_back({"variant-" + std::to_string(i),
                          translateToLLVMIR(*module, llvmContext, target)});
    writeObject(std::move(variants), target, signature, "my-model");
    llvm::Error error =
        linkSharedLibrary(file("m.o"), file("m.so"), "my-model", {});
    if (error) {
      ADD_FAILURE() << llvm::toString(std::move(error));
      return nullptr;
    }
    EXPECT_TRUE(isEmptyBut({"m.o", "m.so"}));
    library = ::dlopen(file("m.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      ADD_FAILURE() << ::dlerror();
      return nullptr;
    }
    return static_cast<const nju_abi_descriptor *>(
        ::dlsym(library, NJU_ABI_DESCRIPTOR_SYMBOL));
  }

  void writeObject(std::vector<VariantCode> variants, const CPUTarget &target,
                   llvm::StringRef signature, llvm::StringRef stem) {
    auto code =
        llvm::cantFail(combineVariants(std::move(variants), signature, stem));
    llvm::SmallVector<char, 0> object;
    llvm::raw_svector_ostream out(object);
    llvm::cantFail(emitCode(*code, target, CodeKind::Object, out));
    llvm::cantFail(writeFile(file("m.o"), out.str()));
  }

  int numVariants = 1;
  void *library = nullptr;
};

/// A model whose step writes what it was given to its logits.
constexpr llvm::StringLiteral kStep = R"(
module attributes {nju.arena_bytes = 64 : i64, nju.weight_bytes = 128 : i64,
    nju.lm = {cache = [{heads = 2 : i64, head_dim = 8 : i64, type = "f32"}]}} {
  func.func @step(%worker: index, %workers: index, %tokens: memref<?xi32>,
      %positions: memref<?xi32>, %sequences: memref<?xi32>, %rows: memref<?xi32>,
      %logits: memref<?x4xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>,
      %arena: memref<?xi8>, %max_sequences: index, %cache_tokens: index) {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %n = memref.dim %rows, %c0 : memref<?xi32>
    scf.for %i = %worker to %n step %workers {
      %row32 = memref.load %rows[%i] : memref<?xi32>
      %row = arith.index_cast %row32 : i32 to index
      %t = memref.load %tokens[%row] : memref<?xi32>
      %p = memref.load %positions[%row] : memref<?xi32>
      %s = memref.load %sequences[%row] : memref<?xi32>
      %sum0 = arith.addi %t, %p : i32
      %sum = arith.addi %sum0, %s : i32
      %sumf = arith.sitofp %sum : i32 to f32
      memref.store %sumf, %logits[%i, %c0] : memref<?x4xf32>
      %w = memref.view %weights[%c0][] : memref<?xi8> to memref<4xf32>
      %w3 = memref.load %w[%c3] : memref<4xf32>
      memref.store %w3, %logits[%i, %c1] : memref<?x4xf32>
      %bytes = memref.dim %cache, %c0 : memref<?xi8>
      %b = arith.index_cast %bytes : index to i64
      %bf = arith.sitofp %b : i64 to f32
      memref.store %bf, %logits[%i, %c2] : memref<?x4xf32>
      %arena_bytes = memref.dim %arena, %c0 : memref<?xi8>
      %m0 = arith.muli %max_sequences, %cache_tokens : index
      %m1 = arith.addi %m0, %arena_bytes : index
      %m2 = arith.index_cast %m1 : index to i64
      %mf = arith.sitofp %m2 : i64 to f32
      memref.store %mf, %logits[%i, %c3] : memref<?x4xf32>
    }
    omp.barrier
    return
  }
})";

TEST_F(SharedLibraryTest, StepsUnpackTheirArguments) {
  parse(kStep);
  const nju_abi_descriptor *descriptor = compile("{\"abi\":1}");
  ASSERT_TRUE(descriptor);
  EXPECT_EQ(std::string(descriptor->magic, 8), NJU_ABI_MAGIC);
  EXPECT_EQ(descriptor->abi_version, uint32_t(NJU_ABI_VERSION));
  EXPECT_EQ(descriptor->descriptor_size, sizeof(nju_abi_descriptor));
  EXPECT_STREQ(descriptor->signature, "{\"abi\":1}");
  EXPECT_EQ(descriptor->signature_length, 9u);
  ASSERT_EQ(descriptor->num_variants, 1u);
  EXPECT_FALSE(descriptor->variants[0].run);
  ASSERT_TRUE(descriptor->variants[0].step);

  int32_t tokens[] = {10, 20, 30}, positions[] = {1, 2, 3},
          sequences[] = {100, 200, 300}, rows[] = {2, 0};
  float logits[9], weights[32] = {0, 0, 0, 7};
  logits[8] = -1;
  nju_abi_step_args args = {};
  args.num_tokens = 3;
  args.num_rows = 2;
  args.tokens = tokens;
  args.positions = positions;
  args.sequences = sequences;
  args.rows = rows;
  args.logits = logits;
  args.weights = reinterpret_cast<uint8_t *>(weights);
  args.max_sequences = 3;
  args.cache_tokens = 32;
  for (int threads : {1, 2, 5}) {
    std::fill_n(logits, 8, 0.0f);
    args.num_threads = threads;
    EXPECT_EQ(descriptor->variants[0].step(&args), 0);
    float cacheBytes = 2 * 3 * 32 * 2 * 8 * 4, other = 3 * 32 + 64;
    float expected[] = {333, 7,          cacheBytes, other, 111,
                        7,   cacheBytes, other,      -1};
    for (int i = 0; i < 9; ++i)
      EXPECT_EQ(logits[i], expected[i]) << i;
  }
}

TEST_F(SharedLibraryTest, ExportsTheDescriptorOnly) {
  parse(kStep);
  const nju_abi_descriptor *descriptor = compile();
  ASSERT_TRUE(descriptor);
  EXPECT_EQ(::dlsym(library, "nju_model_descriptor_my_model"), descriptor);
  for (const char *name : {"step", "nju_step_entry", "nju_model_signature"})
    EXPECT_FALSE(::dlsym(library, name)) << name;
}

TEST_F(SharedLibraryTest, HoldsSeveralVariants) {
  parse(kStep);
  numVariants = 3;
  const nju_abi_descriptor *descriptor = compile();
  ASSERT_TRUE(descriptor);
  ASSERT_EQ(descriptor->num_variants, 3u);
  std::set<nju_abi_step_function> steps;
  for (uint64_t i = 0; i < descriptor->num_variants; ++i) {
    EXPECT_FALSE(descriptor->variants[i].run);
    ASSERT_TRUE(descriptor->variants[i].step);
    steps.insert(descriptor->variants[i].step);
    nju_abi_step_args args = {};
    args.num_threads = 2;
    EXPECT_EQ(descriptor->variants[i].step(&args), 0);
  }
  EXPECT_EQ(steps.size(), 3u);
}

TEST_F(SharedLibraryTest, RefusesCodeWithoutAnEntry) {
  parse("func.func @helper() { return }");
  CPUTarget target = llvm::cantFail(CPUTarget::get("x86-64-v3"));
  ASSERT_TRUE(succeeded(lowerToLLVM(*module)));
  llvm::LLVMContext llvmContext;
  std::vector<VariantCode> variants;
  variants.push_back({"m", translateToLLVMIR(*module, llvmContext, target)});
  auto code = combineVariants(std::move(variants), "{}", "m");
  EXPECT_EQ(llvm::toString(code.takeError()),
            "the module has no lowered function 'step' or 'main'");
}

TEST_F(SharedLibraryTest, GraphsAllocateTheirOutputs) {
  parse(R"(
    func.func private @double(%worker: index, %workers: index,
        %x: memref<?x3xf32>, %y: memref<?x3xf32>) {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c3 = arith.constant 3 : index
      %n = memref.dim %x, %c0 : memref<?x3xf32>
      scf.for %i = %worker to %n step %workers {
        scf.for %j = %c0 to %c3 step %c1 {
          %v = memref.load %x[%i, %j] : memref<?x3xf32>
          %w = arith.addf %v, %v : f32
          memref.store %w, %y[%i, %j] : memref<?x3xf32>
        }
      }
      return
    }
    func.func @main(%threads: index, %x: memref<?x3xf32>, %k: memref<i64>,
        %weights: memref<?xi8>) -> (memref<?x3xf32>, memref<i64>) {
      %c0 = arith.constant 0 : index
      %n = memref.dim %x, %c0 : memref<?x3xf32>
      %y = memref.alloc(%n) {alignment = 64 : i64} : memref<?x3xf32>
      %z = memref.alloc() : memref<i64>
      %t = arith.index_cast %threads : index to i32
      omp.parallel num_threads(%t : i32) {
        %id = func.call @omp_get_thread_num() : () -> i32
        %count = func.call @omp_get_num_threads() : () -> i32
        %worker = arith.index_cast %id : i32 to index
        %workers = arith.index_cast %count : i32 to index
        func.call @double(%worker, %workers, %x, %y)
          : (index, index, memref<?x3xf32>, memref<?x3xf32>) -> ()
        omp.terminator
      }
      %v = memref.load %k[] : memref<i64>
      %w = arith.addi %v, %v : i64
      memref.store %w, %z[] : memref<i64>
      return %y, %z : memref<?x3xf32>, memref<i64>
    }
    func.func private @omp_get_thread_num() -> i32
    func.func private @omp_get_num_threads() -> i32
  )");
  const nju_abi_descriptor *descriptor = compile();
  ASSERT_TRUE(descriptor);
  ASSERT_EQ(descriptor->num_variants, 1u);
  EXPECT_FALSE(descriptor->variants[0].step);
  ASSERT_TRUE(descriptor->variants[0].run);
  float x[] = {1, 2, 3, 4, 5, 6};
  int64_t k = 21;
  nju_abi_tensor inputs[2] = {{x, {2, 3}}, {&k, {}}}, outputs[2] = {};
  nju_abi_run_args args = {inputs, outputs, nullptr, 2, nullptr, {}};
  EXPECT_EQ(descriptor->variants[0].run(&args), 0);
  EXPECT_EQ(outputs[0].shape[0], 2);
  EXPECT_EQ(outputs[0].shape[1], 3);
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(static_cast<float *>(outputs[0].data)[i], 2 * x[i]);
  EXPECT_EQ(*static_cast<int64_t *>(outputs[1].data), 42);
  // They are malloc's: this would crash otherwise.
  std::free(outputs[0].data);
  std::free(outputs[1].data);
}

TEST_F(SharedLibraryTest, RefusesOtherSteps) {
  parse("func.func @step(%x: memref<?xf32>) { return }");
  expectError([&] { return lowerToLLVM(*module); },
              "is not that of a lowered model");
}

TEST_F(SharedLibraryTest, ReportsWhatTheLinkerSays) {
  parse(R"(
    func.func private @missing_function()
    func.func @main(%threads: index, %weights: memref<?xi8>) {
      func.call @missing_function() : () -> ()
      return
    }
  )");
  CPUTarget target = llvm::cantFail(CPUTarget::get("x86-64-v3"));
  ASSERT_TRUE(succeeded(lowerToLLVM(*module)));
  llvm::LLVMContext llvmContext;
  std::vector<VariantCode> variants;
  variants.push_back({"m", translateToLLVMIR(*module, llvmContext, target)});
  ASSERT_TRUE(variants[0].module);
  writeObject(std::move(variants), target, "{}", "m");
  std::string error =
      llvm::toString(linkSharedLibrary(file("m.o"), file("m.so"), "m", {}));
  EXPECT_NE(error.find("undefined symbol: missing_function"), std::string::npos)
      << error;
  EXPECT_TRUE(isEmptyBut({"m.o"}));

  LinkOptions options;
  options.linker = "/nowhere/ld.lld";
  error = llvm::toString(
      linkSharedLibrary(file("m.o"), file("m.so"), "m", options));
  EXPECT_NE(error.find("/nowhere/ld.lld failed"), std::string::npos) << error;
  EXPECT_TRUE(isEmptyBut({"m.o"}));
}

TEST_F(SharedLibraryTest, ReportsAMissingRuntimeArchive) {
  LinkOptions options;
  options.embedRuntime = true;
  options.runtimeArchive = "/nowhere/libnju_runtime.a";
  std::string error = llvm::toString(
      linkSharedLibrary(file("m.o"), file("m.so"), "m", options));
  EXPECT_NE(error.find("cannot find '/nowhere/libnju_runtime.a'"),
            std::string::npos)
      << error;
}

} // namespace
