//===- Compile.cpp - From a model file to a shared library -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Driver/Compile.h"

#include "Quantizer.h"
#include "Report.h"
#include "StagedOutputs.h"
#include "Tokenizer.h"
#include "Variants.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "nju/Conversion/BufferizableOpInterfaceImpl.h"
#include "nju/Conversion/Pipelines.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Driver/Progress.h"
#include "nju/Import/ONNX/Import.h"
#include "nju/Support/OutputFile.h"
#include "nju/Target/Emit.h"
#include "nju/Target/Signature.h"
#include "nju/Target/ToLLVM.h"
#include "nju/Target/WeightFile.h"
#include "nju/Transforms/Pipelines.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace nju;

namespace {

/// One run of the compiler; each step is a phase of docs/architecture.md.
class Compilation {
public:
  Compilation(const CompileOptions &options, MLIRContext &context)
      : options(options), context(context),
        progress(options.quiet,
                 countPhases(options.emit) + Quantizer::countPhases(options)),
        outputs(options.output), quantizer(options, progress) {}

  LogicalResult run();

private:
  static int countPhases(EmitKind emit);
  LogicalResult checkOptions();
  LogicalResult import();
  LogicalResult checkCacheType();
  LogicalResult recognize();
  LogicalResult writeWeights();
  LogicalResult lower();
  LogicalResult toLLVM();
  LogicalResult link();
  LogicalResult writeCompanions();
  LogicalResult emitText();
  LogicalResult emitMachineCode(CodeKind kind, StringRef path);
  LogicalResult finish(LogicalResult result);
  std::string stemName() const;
  LogicalResult runPasses(llvm::function_ref<void(OpPassManager &)> build);
  LogicalResult fail(llvm::Error error);
  InFlightDiagnostic error() { return emitError(UnknownLoc::get(&context)); }

  const CompileOptions &options;
  MLIRContext &context;
  Progress progress;
  std::vector<CPUTarget> targets;
  OwningOpRef<ModuleOp> module;
  std::vector<LoweredVariant> variants;
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> code;
  FailureOr<ModelSignature> signature = failure();
  ModelCosts costs;
  LinkOptions linking;
  StagedOutputs outputs;
  Quantizer quantizer;
};

} // namespace

int Compilation::countPhases(EmitKind emit) {
  switch (emit) {
  case EmitKind::Import:
    return 1;
  case EmitKind::NJU:
    return 2;
  case EmitKind::Linalg:
    return 3;
  case EmitKind::LLVM:
  case EmitKind::Asm:
  case EmitKind::Obj:
    return 4;
  case EmitKind::So:
    return 6;
  }
  return 0;
}

LogicalResult Compilation::fail(llvm::Error failure) {
  return error() << llvm::toString(std::move(failure));
}

/// What is written beside STEM, but for the tokenizer.
static constexpr StringRef kOutputSuffixes[] = {".so", ".safetensors", ".h"};

LogicalResult Compilation::checkOptions() {
  auto positive = [&](StringRef name, int64_t value,
                      int64_t least) -> LogicalResult {
    if (value >= least && value <= (int64_t(1) << 30))
      return success();
    return error() << "--" << name << "=" << value << " is out of range, "
                   << "expected " << std::max<int64_t>(least, 1)
                   << " to 1073741824";
  };
  if (failed(positive("max-tokens", options.maxTokens, 0)) ||
      failed(positive("max-sequences", options.maxSequences, 1)) ||
      failed(positive("calibration-tokens", options.calibrationTokens, 0)) ||
      failed(positive("max-batch-tokens", options.maxBatchTokens, 1)))
    return failure();
  if (options.output == "-" && (options.emit == EmitKind::So))
    return error() << "cannot write a shared library to stdout; give -o STEM";
  llvm::ArrayRef<StringRef> suffixes = {};
  if (options.emit == EmitKind::So)
    suffixes = kOutputSuffixes;
  if (options.output != "-")
    if (llvm::Error failed = outputs.check(suffixes))
      return fail(std::move(failed));
  if (llvm::Error failed = quantizer.check())
    return fail(std::move(failed));
  auto found = CPUTarget::getVariants(options.target);
  if (!found)
    return fail(found.takeError());
  targets = std::move(*found);
  if (llvm::Error failed = checkCompute(options.compute, targets))
    return fail(std::move(failed));
  linking.embedRuntime = options.linkStatic;
  linking.triple = targets.front().getTriple().str();
  linking.sysroot = options.sysroot;
  if (options.emit == EmitKind::So)
    if (llvm::Error failed = checkLinking(linking))
      return fail(std::move(failed));
  return success();
}

LogicalResult
Compilation::runPasses(llvm::function_ref<void(OpPassManager &)> build) {
  PassManager manager(&context);
  build(manager);
  return manager.run(*module);
}

LogicalResult Compilation::import() {
  progress.begin("import " + llvm::sys::path::filename(options.input).str());
  module = importONNX(options.input, &context);
  return success(static_cast<bool>(module));
}

/// What the option says must be of something that there is.
LogicalResult Compilation::checkCacheType() {
  ArrayAttr layers = getCacheLayers(*module);
  if (options.cacheType == CacheType::F32 || (layers && !layers.empty()))
    return success();
  return error() << "--kv is " << stringifyCacheType(options.cacheType)
                 << ", but '" << options.input
                 << "' has no key/value cache: leave --kv out";
}

/// Graph passes: the imported graph becomes @step, or stays @main.
LogicalResult Compilation::recognize() {
  progress.begin("recognise the model");
  if (failed(runPasses([&](OpPassManager &manager) {
        GraphPipelineOptions graph;
        graph.maxTokens = options.maxTokens;
        graph.maxSequences = options.maxSequences;
        graph.maxBatchTokens = options.maxBatchTokens;
        graph.cacheType = stringifyCacheType(options.cacheType).str();
        buildGraphPipeline(manager, graph);
      })))
    return failure();
  if (failed(checkCacheType()))
    return failure();
  if (failed(quantizer.rewrite(*module, targets.front().isX86())))
    return failure();
  assignWeightOffsets(*module);
  costs = computeCosts(*module);
  signature = readSignature(*module, stemName());
  return success(succeeded(signature));
}

/// One module, of which then each variant makes its own.
LogicalResult Compilation::lower() {
  progress.begin("lower to loops");
  if (failed(runPasses(buildLinalgPipeline)))
    return failure();
  if (options.emit == EmitKind::Linalg)
    return success();
  if (failed(runPasses(buildBufferizationPipeline)))
    return failure();
  auto lowered =
      lowerVariants(*module, targets, options.compute, options.activations);
  if (failed(lowered))
    return failure();
  variants = std::move(*lowered);
  variants.front().costs.processors = listProcessors(variants);
  // Pages that a variant does not use never become real.
  if (signature->lm)
    for (const LoweredVariant &variant : variants)
      signature->lm->arenaBytes =
          std::max(signature->lm->arenaBytes, variant.costs.arenaBytes);
  return success();
}

/// Writes the module as text. nju-opt reads all of it again; on a terminal,
/// which a person reads, the elements of large tables are left out.
LogicalResult Compilation::emitText() {
  OpPrintingFlags flags;
  if (options.output == "-" && llvm::outs().is_displayed())
    flags.elideLargeElementsAttrs(64).elideLargeResourceString(64);
  std::string text;
  llvm::raw_string_ostream os(text);
  module->print(os, flags);
  os << "\n";
  progress.finish();
  if (options.output == "-") {
    llvm::outs() << text;
    return success();
  }
  llvm::Error written = writeFile(options.output, text);
  return written ? fail(std::move(written)) : success();
}

/// LLVM IR, assembly or an object file of all variants.
LogicalResult Compilation::emitMachineCode(CodeKind kind, StringRef path) {
  llvm::SmallVector<char> bytes;
  llvm::raw_svector_ostream os(bytes);
  if (llvm::Error failed = emitCode(*code, targets.front(), kind, os))
    return fail(std::move(failed));
  StringRef text(bytes.data(), bytes.size());
  if (path == "-") {
    llvm::outs() << text;
    return success();
  }
  llvm::Error written = writeFile(path, text);
  return written ? fail(std::move(written)) : success();
}

/// LLVM IR, with entry points and descriptor.
LogicalResult Compilation::toLLVM() {
  progress.begin("generate code for " + listProcessors(variants));
  StringRef targetName = targets.size() > 1 ? StringRef(options.target)
                                            : targets[0].getVariantName();
  std::vector<CPUTarget> kept;
  for (const LoweredVariant &variant : variants)
    kept.push_back(variant.target);
  code =
      translateVariants(variants, llvmContext,
                        signature->toJSON(targetName, kept), signature->name);
  return success(code != nullptr);
}

/// Weights first: the signature holds their checksum.
LogicalResult Compilation::writeWeights() {
  if (options.quantizes() && failed(quantizer.quantize(*module)))
    return failure();
  progress.begin("write the weights");
  if (getWeightFileBytes(*module) == 0)
    return success();
  std::string path = outputs.add(".safetensors");
  FailureOr<WeightFileInfo> info = writeWeightFile(
      *module, path,
      [&](uint64_t done, uint64_t total) { progress.update(done, total); },
      &quantizer);
  if (failed(info))
    return failure();
  signature->weights = *info;
  signature->weightsFile = stemName() + ".safetensors";
  return success();
}

LogicalResult Compilation::link() {
  llvm::Expected<TemporaryFile> object = TemporaryFile::create("o");
  if (!object)
    return fail(object.takeError());
  if (failed(emitMachineCode(CodeKind::Object, object->getPath())))
    return failure();
  progress.begin("link");
  if (llvm::Error failed = linkSharedLibrary(
          object->getPath(), outputs.add(".so"), signature->name, linking))
    return fail(std::move(failed));
  return success();
}

/// The header, and the tokenizer if one lies beside the model.
LogicalResult Compilation::writeCompanions() {
  if (llvm::Error failed =
          writeFile(outputs.add(".h"), generateHeader(*signature)))
    return fail(std::move(failed));
  if (std::optional<std::string> tokenizer = findTokenizer(options.input)) {
    std::string copy = outputs.add(tokenizerSuffix(*tokenizer));
    if (llvm::Error failed = copyFile(*tokenizer, copy))
      return fail(std::move(failed));
  }
  if (llvm::Error failed = outputs.commit())
    return fail(std::move(failed));
  if (options.quantizes())
    quantizer.finish();
  return success();
}

/// The model's name, in the signature and in C names.
std::string Compilation::stemName() const {
  return llvm::sys::path::filename(options.output == "-" ? options.input
                                                         : options.output)
      .str();
}

LogicalResult Compilation::run() {
  if (failed(checkOptions()) || failed(import()))
    return failure();
  if (options.emit == EmitKind::Import)
    return emitText();
  if (failed(recognize()))
    return failure();
  if (options.emit == EmitKind::NJU)
    return finish(emitText());
  if (options.emit == EmitKind::So && failed(writeWeights()))
    return failure();
  if (failed(lower()))
    return failure();
  if (options.emit == EmitKind::Linalg)
    return finish(emitText());
  if (failed(toLLVM()))
    return failure();
  switch (options.emit) {
  case EmitKind::LLVM:
    return finish(emitMachineCode(CodeKind::LLVM, options.output));
  case EmitKind::Asm:
    return finish(emitMachineCode(CodeKind::Assembly, options.output));
  case EmitKind::Obj:
    return finish(emitMachineCode(CodeKind::Object, options.output));
  default:
    break;
  }
  if (failed(link()))
    return failure();
  return finish(writeCompanions());
}

/// Ends the progress and prints the report.
LogicalResult Compilation::finish(LogicalResult result) {
  progress.finish();
  if (succeeded(result) && options.report)
    printReport(costs, variants.empty() ? LoweredCosts() : variants[0].costs,
                quantizer.getCosts(), quantizer.getRefinement(),
                options.bitsPerWeight.has_value(),
                options.output == "-" ? llvm::errs() : llvm::outs());
  return result;
}

void nju::registerCompilerDialects(DialectRegistry &registry) {
  registry.insert<NJUDialect, exec::ExecDialect>();
  registerBufferizationModels(registry);
  registerTargetInterfaces(registry);
}

LogicalResult nju::compile(const CompileOptions &options,
                           MLIRContext &context) {
  return Compilation(options, context).run();
}
