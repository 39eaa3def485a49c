//===- nju-compile.cpp - Compiles an ONNX model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "nju/Driver/Compile.h"
#include "nju/Support/Interrupt.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Signals.h"
#include <cmath>
#include <csignal>

namespace cl = llvm::cl;

/// What is wrong with an option's value; LLVM would say it in its own words.
static std::string mistake;

static bool refuseValue(llvm::StringRef option, llvm::StringRef value,
                        const llvm::Twine &expected) {
  mistake = llvm::formatv("--{0} is '{1}', expected {2}", option, value,
                          expected.str());
  return true;
}

namespace {
/// One of several words.
template <typename Value>
struct WordParser : cl::parser<Value> {
  using cl::parser<Value>::parser;

  bool parse(cl::Option &, llvm::StringRef option, llvm::StringRef text,
             Value &value) {
    std::string words;
    for (const auto &[i, known] : llvm::enumerate(this->Values)) {
      if (known.Name == text) {
        value = known.V.getValue();
        return false;
      }
      bool last = i + 1 == this->Values.size();
      words += (i == 0 ? "" : last ? " or " : ", ") + known.Name.str();
    }
    return refuseValue(option, text, words);
  }
};

struct NumberParser : cl::parser<long long> {
  using parser::parser;

  bool parse(cl::Option &, llvm::StringRef option, llvm::StringRef text,
             long long &value) {
    return text.getAsInteger(10, value) &&
           refuseValue(option, text, "a whole number");
  }
};

struct FractionParser : cl::parser<double> {
  using parser::parser;

  bool parse(cl::Option &, llvm::StringRef option, llvm::StringRef text,
             double &value) {
    return (text.getAsDouble(value) || !std::isfinite(value) || value <= 0) &&
           refuseValue(option, text, "a number above 0");
  }
};

struct FlagParser : cl::parser<bool> {
  using parser::parser;

  bool parse(cl::Option &, llvm::StringRef option, llvm::StringRef text,
             bool &value) {
    value = true;
    return !text.empty() && refuseValue(option, text, "no value");
  }
};
} // namespace

template <typename Value>
using WordOption = cl::opt<Value, /*ExternalStorage=*/false, WordParser<Value>>;
using NumberOption =
    cl::opt<long long, /*ExternalStorage=*/false, NumberParser>;
using FractionOption =
    cl::opt<double, /*ExternalStorage=*/false, FractionParser>;
using Flag = cl::opt<bool, /*ExternalStorage=*/false, FlagParser>;

static cl::OptionCategory category("nju-compile options");

static cl::opt<std::string> input(cl::Positional, cl::desc("MODEL.onnx"),
                                  cl::cat(category));
static cl::opt<std::string>
    output("o", cl::value_desc("STEM"), cl::cat(category),
           cl::desc("write STEM.so, STEM.safetensors and STEM.h; with another "
                    "--emit the one file to write ('-': stdout; on a terminal "
                    "without the elements of large tables)"));
static cl::opt<std::string>
    target("target", cl::init("host"), cl::value_desc("NAME"),
           cl::cat(category),
           cl::desc("host (default); x86-64: code for x86-64-v3, x86-64-v4, "
                    "x86-64-v4-vnni, x86-64-v4-bf16 and x86-64-v4-amx in one "
                    "library, which picks when it is loaded; one of these; "
                    "aarch64; or a CPU name as LLVM knows it, such as "
                    "cascadelake or apple-m1"));
static cl::opt<std::string> sysroot(
    "sysroot", cl::value_desc("DIR"), cl::cat(category),
    cl::desc("root of a system that the library is for, with its libc and "
             "libomp (default: this one, and for another processor where "
             "Debian's packages for cross compilation are)"));
static cl::opt<std::string> compute(
    "compute", cl::init("auto"), cl::value_desc("TYPE"), cl::cat(category),
    cl::desc(
        "what products are computed in: f32; bf16: with f16 and bf16 "
        "weights, by AMX or AVX512-BF16, weights and activations rounded "
        "to bf16 (in a library for x86-64, where the processor has one of "
        "them); auto (default): bf16 with bf16 weights where that is "
        "faster, by AMX or on AMD's Zen 4 and later, and with more than "
        "24 tokens at once and quantized weights by AMX, else f32; where AMX "
        "multiplies more than 24 tokens, their attention, too"));
static cl::opt<std::string> quantize(
    "quantize", cl::value_desc("FORMAT"), cl::cat(category),
    cl::desc("quantize the weights of products and embeddings by LCQ: lcq4, "
             "lcq3 or lcq2 (codes of 4, 3, 2 bits in the format that is best "
             "for them), or all of a format, such as "
             "lcq:bits=3,group=64,rank=2,double-quant=8,offset; embeddings and "
             "the head keep at least 4 bits unless the plan says otherwise"));
static cl::opt<std::string> quantizePlan(
    "quantize-plan", cl::value_desc("FILE"), cl::cat(category),
    cl::desc("formats by weights, in JSON: {\"default\": \"lcq3\", \"head\": "
             "\"lcq4\", \"embedding\": \"none\", \"tensors\": "
             "{\"*.mlp.down*\": \"lcq4\"}}; a name goes before a pattern, a "
             "long pattern before a short one"));
static FractionOption bitsPerWeight(
    "bits-per-weight", cl::value_desc("B"), cl::cat(category),
    cl::desc("quantize each matrix, embeddings and the head too, to 2, 3 or 4 "
             "bits in groups of 32 to 128, so that all together take no more "
             "than B bits a weight, everything counted, and lose least; by "
             "what the outputs lose with --calibration (much better), else by "
             "the weights; what a --quantize-plan without \"default\" names is "
             "as it says, and not counted"));
static cl::opt<std::string>
    savePlan("save-plan", cl::value_desc("FILE"), cl::cat(category),
             cl::desc("write the format of each weight to a file, which "
                      "--quantize-plan reads ('-': stdout)"));
static cl::opt<std::string> calibration(
    "calibration", cl::value_desc("FILE|self"), cl::cat(category),
    cl::desc("quantize with regard to what the model computes on these data, "
             "which takes longer and loses less: a text in UTF-8 (documents "
             "as for nju-run ppl), or tokens in a .npy array, in which a "
             "negative number ends a sequence; self: a text that the language "
             "model says itself"));
static NumberOption calibrationTokens(
    "calibration-tokens", cl::init(0), cl::value_desc("N"), cl::cat(category),
    cl::desc("tokens that are taken from the begin of the calibration data, at "
             "most (default: 8192, with --refine 40960)"));
static Flag refine(
    "refine", cl::cat(category),
    cl::desc("train the quantized weights until the model's outputs are as in "
             "full precision, on the calibration data or, without them, on "
             "what the model says itself; takes the time of some hundred "
             "training steps, and gives most at 2 and 3 bits"));
static NumberOption refineSteps(
    "refine-steps", cl::init(0), cl::value_desc("N"), cl::cat(category),
    cl::desc("steps that --refine trains the whole model for, after a fifth as "
             "many for each block by itself (default: 300)"));
enum class Activations { Int8, Int16, F32 };
static WordOption<Activations> activations(
    "activations", cl::init(Activations::Int8), cl::cat(category),
    cl::desc("what products with quantized weights round their input to"),
    cl::values(clEnumValN(Activations::Int8, "int8",
                          "integers of 8 bits with a scale for each group of "
                          "weights: fastest (default)"),
               clEnumValN(Activations::Int16, "int16",
                          "two such integers: nearly exact"),
               clEnumValN(Activations::F32, "f32", "not at all")));
static WordOption<nju::EmitKind> emit(
    "emit", cl::init(nju::EmitKind::So), cl::cat(category),
    cl::desc("stop early and write"),
    cl::values(clEnumValN(nju::EmitKind::Import, "import",
                          "the nju dialect as imported"),
               clEnumValN(nju::EmitKind::NJU, "nju",
                          "the nju dialect, recognised and in LM form"),
               clEnumValN(nju::EmitKind::Linalg, "linalg", "linalg on tensors"),
               clEnumValN(nju::EmitKind::LLVM, "llvm",
                          "LLVM IR, optimised; with several variants all of "
                          "them, each with its suffix to the names"),
               clEnumValN(nju::EmitKind::Asm, "asm",
                          "assembly, variants as in llvm"),
               clEnumValN(nju::EmitKind::Obj, "obj",
                          "an object file, variants as in llvm"),
               clEnumValN(nju::EmitKind::So, "so",
                          "the shared library, the weights and the header "
                          "(default)")));
static Flag
    report("report", cl::cat(category),
           cl::desc("print what was recognised, bytes, memory by kind and the "
                    "floor times on this machine"));
static NumberOption maxTokens(
    "max-tokens", cl::init(0), cl::value_desc("N"), cl::cat(category),
    cl::desc("longest sequence, in tokens (default: what the model's position "
             "tables allow, at most 2048)"));
static NumberOption
    maxSequences("max-sequences", cl::init(8), cl::value_desc("N"),
                 cl::cat(category),
                 cl::desc("sequences alive at once in a session (default: 8)"));
static NumberOption maxBatchTokens(
    "max-batch-tokens", cl::init(512), cl::value_desc("N"), cl::cat(category),
    cl::desc("tokens of one step; longer batches are cut (default: 512)"));
static WordOption<nju::CacheType> cacheType(
    "kv", cl::init(nju::CacheType::F32), cl::cat(category),
    cl::desc("what keys and values of earlier tokens are kept as"),
    cl::values(clEnumValN(nju::CacheType::F32, "f32", "as computed (default)"),
               clEnumValN(nju::CacheType::F16, "f16",
                          "half the memory, rounded to 11 bits, limited to "
                          "+-65504"),
               clEnumValN(nju::CacheType::Q8, "q8",
                          "8 bits, with a scale and an offset for 64 elements"),
               clEnumValN(nju::CacheType::Q4, "q4",
                          "4 bits; keys as differences from each sixteenth")));
enum class LinkKind { Shared, Static };
static WordOption<LinkKind> linkKind(
    "link", cl::init(LinkKind::Shared), cl::cat(category),
    cl::desc("how the .so gets the runtime"),
    cl::values(clEnumValN(LinkKind::Shared, "shared",
                          "from libnju_runtime.so, which opens it (default)"),
               clEnumValN(LinkKind::Static, "static",
                          "embedded: the .so exports the C API itself")));
static Flag quiet("quiet", cl::cat(category), cl::desc("print no progress"));

static cl::extrahelp examples(R"(
EXAMPLES:
  nju-compile model.onnx -o model                  model.so, model.safetensors, model.h
  nju-compile model.onnx -o model --report         and what it costs
  nju-compile model.onnx -o model --target=x86-64  for every x86-64 machine with AVX2
  nju-compile model.onnx -o model --target=x86-64-v3 --max-tokens=4096
  nju-compile model.onnx -o model --quantize=lcq4  weights of 4.3 bits
  nju-compile model.onnx -o model --quantize=lcq3 --calibration=text.txt
  nju-compile model.onnx -o model --bits-per-weight=3.2 --calibration=self --report
  nju-compile model.onnx -o model --kv=q8          a cache of a fourth of the size
  nju-compile model.onnx -o - --emit=nju           the graph as the compiler sees it
)");

static constexpr const char *activationNames[] = {"int8", "int16", "f32"};

/// One line a diagnostic: "nju-compile: error: ...".
static llvm::LogicalResult printDiagnostic(mlir::Diagnostic &diagnostic) {
  llvm::StringRef kind = "error: ";
  if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Warning)
    kind = "warning: ";
  if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Remark)
    kind = "remark: ";
  if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Note)
    kind = "note: ";
  llvm::errs() << "nju-compile: " << kind;
  if (auto name = mlir::dyn_cast<mlir::NameLoc>(diagnostic.getLocation()))
    llvm::errs() << name.getName().getValue() << ": ";
  llvm::errs() << diagnostic.str() << "\n";
  return llvm::success();
}

static bool reportUsage(llvm::StringRef message) {
  llvm::errs() << "nju-compile: error: " << message
               << " (see nju-compile --help)\n";
  return false;
}

/// Reads the command line; a mistake is one line like every other error.
static bool parseOptions(int argc, char **argv) {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (!cl::ParseCommandLineOptions(
          argc, argv, "nju-compile: from an ONNX model to a shared library\n",
          &os)) {
    if (!mistake.empty())
      return reportUsage(mistake);
    // That a value lacks, LLVM has said itself.
    if (text.empty())
      return false;
    llvm::StringRef line = llvm::StringRef(text).trim().split('\n').first;
    line.consume_front("nju-compile: ");
    std::string words = line.split(".  Try:").first.str();
    words[0] = llvm::toLower(words[0]);
    return reportUsage(words);
  }
  if (input.empty())
    return reportUsage("no model is given, expected MODEL.onnx");
  if (output.empty())
    return reportUsage("no output is given, expected -o STEM");
  return true;
}

int main(int argc, char **argv) {
  nju::handleInterrupts("nju-compile");
  llvm::InitLLVM initialize(argc, argv);
  // A file that grows too large is an error of writing, not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  llvm::setBugReportMsg("nju-compile: this is a bug in NJU: please report it "
                        "with the model and the lines below\n");
  cl::HideUnrelatedOptions(category);
  if (!parseOptions(argc, argv))
    return 1;

  nju::CompileOptions options;
  options.input = input;
  options.output = output;
  options.target = target;
  options.sysroot = sysroot;
  options.compute = compute;
  options.quantize = quantize;
  options.quantizePlan = quantizePlan;
  if (bitsPerWeight.getNumOccurrences())
    options.bitsPerWeight = bitsPerWeight;
  options.savePlan = savePlan;
  options.calibration = calibration;
  options.calibrationTokens = calibrationTokens;
  options.refine = refine;
  options.refineSteps = refineSteps;
  options.activations = activationNames[int(activations.getValue())];
  options.emit = emit;
  options.report = report;
  options.quiet = quiet;
  options.linkStatic = linkKind == LinkKind::Static;
  options.maxTokens = maxTokens;
  options.maxSequences = maxSequences;
  options.maxBatchTokens = maxBatchTokens;
  options.cacheType = cacheType;

  mlir::DialectRegistry registry;
  nju::registerCompilerDialects(registry);
  mlir::MLIRContext context(registry);
  context.printOpOnDiagnostic(false);
  context.getDiagEngine().registerHandler(printDiagnostic);
  return llvm::succeeded(nju::compile(options, context)) ? 0 : 1;
}
