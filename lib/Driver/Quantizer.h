//===- Quantizer.h - Quantizes the weights of a model -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DRIVER_QUANTIZER_H
#define NJU_LIB_DRIVER_QUANTIZER_H

#include "QuantizationPlan.h"
#include "Report.h"
#include "nju/Driver/Compile.h"
#include "nju/Driver/Progress.h"
#include "nju/Execution/Calibration.h"
#include "nju/Quantization/MatrixStore.h"
#include "nju/Refinement/Refine.h"
#include "nju/Target/WeightFile.h"

namespace nju {

/// Quantizes the weights of a compilation. `rewrite` changes the module,
/// `quantize` computes what the module then says, and the writer of the weight
/// file gets it from here. Finished matrices lie in a folder beside the output
/// until `finish`, so that a run that was interrupted goes on with the next.
class Quantizer : public QuantizedWeights, CalibrationConsumer {
public:
  Quantizer(const CompileOptions &options, Progress &progress);

  /// Phases that quantizing shows as progress.
  static int countPhases(const CompileOptions &options);

  /// An error if options contradict each other or have values out of range;
  /// before anything else is done. Reads the plan.
  llvm::Error check();

  /// Chooses formats and replaces products and look-ups, after the graph
  /// pipeline. What came quantized stays so if the target `hasKernels`.
  mlir::LogicalResult rewrite(mlir::ModuleOp module, bool hasKernels);

  /// Quantizes every matrix of the module that is not in the folder yet.
  mlir::LogicalResult quantize(mlir::ModuleOp module);

  llvm::Expected<llvm::ArrayRef<char>> get(ParamOp param) override;

  /// What was quantized, for the report.
  llvm::ArrayRef<QuantizedWeightCosts> getCosts() const { return costs; }
  /// The loss before and after refinement, if there was any.
  std::optional<RefineLoss> getRefinement() const { return refinement; }

  /// Removes the folder.
  void finish() { store.remove(); }

private:
  /// A matrix to be quantized.
  struct Job {
    ParamOp codes;
    std::string key; ///< See MatrixStore.
    bool isDone = false;
  };

  static bool isDone(const Job &job);
  /// The job of the matrix of that name; null if there is none.
  Job *findJob(llvm::StringRef matrix);
  int64_t countTokens() const;
  mlir::LogicalResult keepExact(llvm::ArrayRef<QuantizableWeight> weights);
  void addExactCosts(mlir::ModuleOp module);
  mlir::LogicalResult makeJobs(mlir::ModuleOp module);
  bool needsMoments(llvm::ArrayRef<ExecutionListener::Weight> weights) override;
  llvm::Error
  consume(InputMoments &moments,
          llvm::MutableArrayRef<ExecutionListener::Weight> weights) override;
  llvm::Expected<lcq::QuantizedMatrix> calibrate(Job &job,
                                                 const InputMoments &moments);
  llvm::Error quantizeWithoutData(Job &job);
  mlir::LogicalResult readTokens(mlir::ModuleOp module);
  llvm::Error generateText(mlir::func::FuncOp step);
  llvm::Error
  chooseByBudget(mlir::ModuleOp module, llvm::ArrayRef<QuantizableWeight> all,
                 llvm::MutableArrayRef<QuantizationPlan::Format> formats);
  llvm::Error run();
  llvm::Error refineMatrices(ParamSource &source);
  llvm::Error save(Job &job, const lcq::QuantizedMatrix &matrix,
                   const lcq::QuantizationError &error,
                   std::optional<double> outputError = std::nullopt);
  llvm::Expected<lcq::StoredMatrix> load(const Job &job) const;
  llvm::Expected<lcq::QuantizedMatrix> loadMatrix(const Job &job) const;
  std::string describeMatrices() const;
  llvm::Expected<std::string> keyOf(ParamOp param) const;
  void addCosts(Job &job, const lcq::StoredMatrix &matrix);

  const CompileOptions &options;
  Progress &progress;
  QuantizationPlan plan;
  lcq::MatrixStore store;
  /// The module before `rewrite`, if it is to be run.
  mlir::OwningOpRef<mlir::ModuleOp> dense;
  TokenBatch tokens;
  /// What tokens there are, and what is done with them, for keys.
  std::string method;
  /// What waits to be refined.
  QuantizedParams matrices;
  llvm::SmallVector<Job, 0> jobs;
  uint64_t totalBytes = 0, doneBytes = 0;
  std::vector<QuantizedWeightCosts> costs;
  std::optional<RefineLoss> refinement;
  /// The matrix that `get` read last, and its name.
  lcq::StoredMatrix current;
  std::string currentName;
};

} // namespace nju

#endif // NJU_LIB_DRIVER_QUANTIZER_H
