//===- bench-calibration.cpp - How fast a model is calibrated -------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Calibrates a model on random tokens, and drops the moments; without a model
// measures the products that this is made of.
//
//   bench-calibration [MODEL.onnx] [--tokens=N] [--sequence=N] [--vocabulary=N]
//
//===----------------------------------------------------------------------===//

#include "mlir/Pass/PassManager.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Execution/Calibration.h"
#include "nju/Import/ONNX/Import.h"
#include "nju/Support/MatrixProduct.h"
#include "nju/Transforms/Pipelines.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include <chrono>
#include <random>
#include <sys/resource.h>

using namespace mlir;
using namespace nju;
namespace cl = llvm::cl;

static cl::opt<std::string> model(cl::Positional, cl::desc("[MODEL.onnx]"));
static cl::opt<int> tokens("tokens", cl::init(512), cl::desc("tokens (512)"));
static cl::opt<int> sequence("sequence", cl::init(512),
                             cl::desc("tokens of a sequence (512)"));
static cl::opt<int> vocabulary("vocabulary", cl::init(32000),
                               cl::desc("numbers of random tokens (32000)"));

static double now() {
  auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(time).count();
}

/// Seconds that the threads of this process have had a core.
static double coreSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_utime.tv_sec) + 1e-6 * double(usage.ru_utime.tv_usec);
}

/// The best of three runs, in billions of operations for each second of a core:
/// what else the machine does matters little then.
template <typename Function>
static double measure(double operations, Function function) {
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    double start = coreSeconds();
    function();
    best = std::max(best, operations / (coreSeconds() - start) / 1e9);
  }
  return best;
}

/// Products of a model's sizes and the moments of its inputs.
static void measureProducts() {
  llvm::outs() << "rows depth columns   A B, X'X: GFLOP/s of a core\n";
  for (const auto &size : {std::array<int64_t, 3>{64, 2048, 2048},
                           {512, 2048, 2048},
                           {2048, 2048, 5632},
                           {2048, 5632, 2048},
                           {8192, 64, 172}}) {
    int64_t rows = size[0], depth = size[1], columns = size[2];
    std::vector<float> a(rows * depth, 1), b(depth * columns, 1),
        c(rows * columns), h(depth * depth);
    double product = measure(2. * rows * depth * columns, [&] {
      multiplyMatrices(rows, columns, depth, {a.data(), depth},
                       {b.data(), columns}, c.data(), columns);
    });
    double moments = measure(double(rows) * depth * depth, [&] {
      multiplyTransposed(rows, depth, a.data(), depth, h.data());
    });
    llvm::outs() << llvm::formatv("{0,5} {1,5} {2,7} {3,10:F0} {4,10:F0}\n",
                                  rows, depth, columns, product, moments);
  }
}

namespace {
/// Drops the moments.
class Dropper : public CalibrationConsumer {
public:
  llvm::Error
  consume(InputMoments &moments,
          llvm::MutableArrayRef<ExecutionListener::Weight> weights) override {
    // What the last input feeds is not computed.
    operations += announced;
    announced = 0;
    for (auto &weight : weights)
      announced += 2. * moments.numRows * weight.matrix.getDepth() *
                   weight.matrix.getColumns();
    momentOperations +=
        double(moments.numRows) * moments.columns * moments.columns;
    return llvm::Error::success();
  }
  double operations = 0, momentOperations = 0, announced = 0;
};
} // namespace

static TokenBatch makeTokens() {
  std::mt19937 generator(1);
  TokenBatch batch;
  for (int left = tokens; left > 0; left -= sequence) {
    batch.sequences.emplace_back(std::min<int>(left, sequence));
    for (int32_t &token : batch.sequences.back())
      token = generator() % vocabulary;
  }
  return batch;
}

static int measureModel() {
  DialectRegistry registry;
  registry.insert<NJUDialect, func::FuncDialect>();
  MLIRContext context(registry);
  OwningOpRef<ModuleOp> module = importONNX(model, &context);
  if (!module)
    return 1;
  PassManager manager(&context);
  buildGraphPipeline(manager, GraphPipelineOptions());
  if (failed(manager.run(*module)))
    return 1;
  auto function = module->lookupSymbol<func::FuncOp>("step");
  if (!function)
    function = module->lookupSymbol<func::FuncOp>("main");
  FileParamSource params(*module);
  Dropper consumer;
  ExecutionStatistics statistics;
  double start = now(), coreStart = coreSeconds();
  llvm::Error failed =
      runCalibration(function, makeTokens(), params, consumer, &statistics);
  if (failed) {
    llvm::errs() << llvm::toString(std::move(failed)) << "\n";
    return 1;
  }
  double seconds = now() - start, cores = coreSeconds() - coreStart;
  llvm::outs() << llvm::formatv(
      "{0} tokens in {1:F1} s: {2:F0} tokens/s; {3:F1} s of a core, {4:F0} "
      "GFLOP/s of it for products ({5:F0}) and moments ({6:F0} GFLOP); peak "
      "{7} "
      "MB, weights {8} MB\n",
      int(tokens), seconds, tokens / seconds, cores,
      (consumer.operations + consumer.momentOperations) / cores / 1e9,
      consumer.operations / 1e9, consumer.momentOperations / 1e9,
      statistics.peakBytes >> 20, statistics.weightBytes >> 20);
  return 0;
}

int main(int argc, char **argv) {
  llvm::InitLLVM initialize(argc, argv);
  cl::ParseCommandLineOptions(
      argc, argv, "measures calibration of a model, or products of matrices\n");
  if (!model.empty())
    return measureModel();
  measureProducts();
  return 0;
}
