//===- WeightFile.cpp - Writes the packed weights of a model ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each tensor is made in pieces along its outermost dimension: a piece is read
// (a strip of the source), converted, rearranged, and given to a second thread
// that checks it off and writes it.
//
//===----------------------------------------------------------------------===//

#include "nju/Target/WeightFile.h"
#include "WeightConversion.h"
#include "WeightSource.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Support/OutputFile.h"
#include "nju/abi.h"
#include "nju/checksum.h"
#include "llvm/Support/JSON.h"
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <thread>

using namespace mlir;
using namespace nju;

static_assert(kWeightAlignment == NJU_ABI_ALIGNMENT);

/// Bytes of a piece, as a guide.
static constexpr int64_t kPieceBytes = int64_t(32) << 20;
/// From this size on files bypass the page cache. Smaller ones are probably run
/// at once and better found there.
static constexpr int64_t kBypassBytes = int64_t(4) << 30;
/// Stands for the hash until it is known.
static constexpr llvm::StringLiteral kNoHash = "0000000000000000";

using Bytes = std::vector<char>;

//===----------------------------------------------------------------------===//
// Header
//===----------------------------------------------------------------------===//

/// The params that have a place in the file, in its order.
static SmallVector<ParamOp> placedParams(ModuleOp module) {
  SmallVector<ParamOp> params;
  for (auto param : module.getOps<ParamOp>())
    if (getWeightOffset(param))
      params.push_back(param);
  llvm::sort(params, [](ParamOp a, ParamOp b) {
    return *getWeightOffset(a) < *getWeightOffset(b);
  });
  return params;
}

static RankedTensorType typeOf(ParamOp param) {
  return cast<RankedTensorType>(param.getType());
}

/// safetensors' name of an element type; empty if it has none.
static StringRef storedType(Type type) {
  if (type.isInteger(1))
    return "BOOL";
  if (type.isF64())
    return "F64";
  if (type.isF32())
    return "F32";
  if (type.isF16())
    return "F16";
  if (type.isBF16())
    return "BF16";
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer)
    return "";
  bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 8:
    return isUnsigned ? "U8" : "I8";
  case 16:
    return isUnsigned ? "U16" : "I16";
  case 32:
    return isUnsigned ? "U32" : "I32";
  case 64:
    return isUnsigned ? "U64" : "I64";
  default:
    return "";
  }
}

/// What was done to the stored tensors: {"wq": {"shape": [..], ...}, ...}.
static std::string layoutText(ArrayRef<ParamOp> params) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out);
  json.object([&] {
    for (ParamOp param : params) {
      if (param.getFormat() || (!param.getPermutation() && !param.getPanels()))
        continue;
      json.attributeObject(param.getSymName(), [&] {
        json.attributeArray("shape", [&] {
          for (int64_t size : param.getDataType().getShape())
            json.value(size);
        });
        if (auto permutation = param.getPermutation())
          json.attributeArray("permutation", [&] {
            for (int64_t dimension : *permutation)
              json.value(dimension);
          });
        if (auto panels = param.getPanels())
          json.attribute("panels", static_cast<int64_t>(*panels));
      });
    }
  });
  return text;
}

/// How quantized tensors are to be read: {"wq": {"format": "lcq", ...}, ...},
/// each under the name of its codes.
static std::string quantizationText(ArrayRef<ParamOp> params) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out);
  json.object([&] {
    for (ParamOp param : params) {
      if (param.getPart() != LCQPart::Codes)
        continue;
      LCQAttr format = *param.getFormat();
      SmallVector<int64_t> shape = param.getMatrixShape();
      json.attributeObject(param.getSymName(), [&] {
        json.attribute("format", "lcq");
        json.attributeArray("shape", [&] {
          for (int64_t size : shape)
            json.value(size);
        });
        json.attribute("bits", format.getBits());
        json.attribute("group", format.getGroup());
        json.attribute("rank", format.getRank());
        json.attribute("scale_bits", format.getScaleBits());
        json.attribute("offset", format.getOffset());
        if (format.getZeroBits())
          json.attribute("zero_bits", format.getZeroBits());
        for (LCQPart part : {LCQPart::Basis, LCQPart::Factors})
          json.attribute(stringifyLCQPart(part),
                         param.getSymName().str() + "." +
                             stringifyLCQPart(part).str());
      });
    }
  });
  return text;
}

static void addTensor(llvm::json::OStream &json, StringRef name, StringRef type,
                      ArrayRef<int64_t> shape, int64_t begin, int64_t end) {
  json.attributeObject(name, [&] {
    json.attribute("dtype", type);
    json.attributeArray("shape", [&] {
      for (int64_t size : shape)
        json.value(size);
    });
    json.attributeArray("data_offsets", [&] {
      json.value(begin);
      json.value(end);
    });
  });
}

/// The header, without its length: a JSON object filled up with spaces so that
/// the data section starts at a multiple of the alignment.
static std::string headerText(ModuleOp module, ArrayRef<ParamOp> params) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream json(out);
  int64_t end = 0, paddings = 0;
  auto padTo = [&](int64_t offset) {
    if (offset == end)
      return;
    std::string name = llvm::formatv("padding.{0}", paddings++).str();
    addTensor(json, name, "U8", {offset - end}, end, offset);
    end = offset;
  };
  json.object([&] {
    json.attributeObject("__metadata__", [&] {
      json.attribute("nju.hash", kNoHash);
      json.attribute("nju.abi", std::to_string(NJU_ABI_VERSION));
      json.attribute("nju.layout", layoutText(params));
      if (llvm::any_of(params, [](ParamOp param) { return param.getFormat(); }))
        json.attribute("nju.quantization", quantizationText(params));
    });
    for (ParamOp param : params) {
      padTo(*getWeightOffset(param));
      int64_t begin = end;
      end += getWeightBytes(typeOf(param));
      StringRef type = param.getPart() == LCQPart::Codes
                           ? "U8"
                           : storedType(typeOf(param).getElementType());
      addTensor(json, param.getSymName(), type, typeOf(param).getShape(), begin,
                end);
    }
    padTo(getWeightFileBytes(module));
  });
  text.resize(llvm::alignTo(text.size() + 8, kWeightAlignment) - 8, ' ');
  return text;
}

//===----------------------------------------------------------------------===//
// Writing thread
//===----------------------------------------------------------------------===//

namespace {

/// Writes and checksums the data section on a thread of its own, one piece
/// behind the one that makes the pieces.
class DataWriter {
public:
  explicit DataWriter(OutputFile &file)
      : file(file), thread([this] { run(); }) {}
  ~DataWriter() { finish(); }

  /// A buffer to fill, of any size; waits until there is one.
  Bytes takeBuffer() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return !spare.empty(); });
    Bytes buffer = std::move(spare.back());
    spare.pop_back();
    return buffer;
  }
  /// Queues a piece; waits until the one before is written.
  void put(Bytes piece) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return !full; });
    next = std::move(piece);
    full = true;
    changed.notify_all();
  }
  /// Waits for everything; the hash is valid then.
  void finish() {
    {
      std::unique_lock<std::mutex> lock(mutex);
      changed.wait(lock, [&] { return !full; });
      stop = true;
      changed.notify_all();
    }
    if (thread.joinable())
      thread.join();
  }
  bool hasFailed() {
    std::lock_guard<std::mutex> lock(mutex);
    return !failure.empty();
  }
  /// What went wrong; to be read after `finish`.
  std::string failure;
  Checksum checksum;

private:
  void run() {
    while (true) {
      Bytes piece;
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return full || stop; });
        if (!full)
          return;
        piece = std::move(next);
      }
      checksum.update(piece.data(), piece.size());
      llvm::Error error = file.write(piece.data(), piece.size());
      std::lock_guard<std::mutex> lock(mutex);
      if (error)
        failure = llvm::toString(std::move(error));
      spare.push_back(std::move(piece));
      full = false;
      changed.notify_all();
    }
  }

  OutputFile &file;
  std::mutex mutex;
  std::condition_variable changed;
  Bytes next;
  std::vector<Bytes> spare{2};
  bool full = false, stop = false;
  std::thread thread; // Last: it uses the others.
};

/// Makes the pieces of params and hands them to the writer.
class WeightWriter {
public:
  WeightWriter(ModuleOp module, OutputFile &file, WeightProgress progress,
               QuantizedWeights *quantized)
      : files(getModelFolder(module)), progress(progress), quantized(quantized),
        total(getWeightFileBytes(module)), writer(file) {}

  LogicalResult writeParam(ParamOp param);
  void padTo(int64_t offset);
  DataWriter &getWriter() { return writer; }

private:
  llvm::Error writeParts(ParamOp param);
  llvm::Error writeDense(ParamOp param);
  llvm::Error writeFlat(WeightSource &source, Type type);
  llvm::Error writePermuted(WeightSource &source, RankedTensorType type,
                            ArrayRef<int64_t> permutation);
  llvm::Error writePanels(WeightSource &source, Type type, int64_t panel,
                          bool transposed);
  llvm::Error readConverted(WeightSource &source, int64_t dimension,
                            int64_t begin, int64_t end, Type type,
                            Bytes &strip);
  void put(Bytes piece);

  SourceFiles files;
  WeightProgress progress;
  QuantizedWeights *quantized;
  int64_t written = 0, total;
  Bytes raw;
  DataWriter writer;
};

} // namespace

//===----------------------------------------------------------------------===//
// Pieces
//===----------------------------------------------------------------------===//

void WeightWriter::put(Bytes piece) {
  written += piece.size();
  writer.put(std::move(piece));
  progress(written, total);
}

void WeightWriter::padTo(int64_t offset) {
  if (offset <= written)
    return;
  Bytes zeros = writer.takeBuffer();
  zeros.assign(offset - written, 0);
  put(std::move(zeros));
}

static int64_t widthOf(Type type) {
  return llvm::divideCeil(type.getIntOrFloatBitWidth(), 8);
}

/// Reads the strip [begin, end) of `dimension` and converts it to `type`.
llvm::Error WeightWriter::readConverted(WeightSource &source, int64_t dimension,
                                        int64_t begin, int64_t end, Type type,
                                        Bytes &strip) {
  RankedTensorType from = source.getType();
  int64_t count =
      from.getNumElements() / from.getDimSize(dimension) * (end - begin);
  strip.resize(count * widthOf(type));
  if (from.getElementType() == type)
    return source.readSlab(dimension, begin, end, strip.data());
  raw.resize(count * source.getWidth());
  if (llvm::Error error = source.readSlab(dimension, begin, end, raw.data()))
    return error;
  if (!convertElements(raw.data(), from.getElementType(), strip.data(), type,
                       count)) {
    std::string text;
    llvm::raw_string_ostream(text) << "cannot convert weights of "
                                   << from.getElementType() << " to " << type;
    return llvm::createStringError(text);
  }
  return llvm::Error::success();
}

/// A tensor in the order of its source. The shape does not matter then.
llvm::Error WeightWriter::writeFlat(WeightSource &source, Type type) {
  int64_t count = source.getType().getNumElements();
  int64_t step = kPieceBytes / widthOf(type);
  for (int64_t begin = 0; begin < count && !writer.hasFailed(); begin += step) {
    int64_t size = std::min(step, count - begin);
    Bytes piece = writer.takeBuffer();
    piece.resize(size * widthOf(type));
    Bytes &target = source.getType().getElementType() == type ? piece : raw;
    target.resize(size * source.getWidth());
    if (llvm::Error error = source.readFlat(begin, size, target.data()))
      return error;
    if (&target == &raw &&
        !convertElements(raw.data(), source.getType().getElementType(),
                         piece.data(), type, size))
      return llvm::createStringError("cannot convert between these types");
    put(std::move(piece));
  }
  return llvm::Error::success();
}

llvm::Error WeightWriter::writePermuted(WeightSource &source,
                                        RankedTensorType type,
                                        ArrayRef<int64_t> permutation) {
  Type element = type.getElementType();
  int64_t dimension = permutation[0], extent = type.getDimSize(0);
  int64_t bytes = getWeightBytes(type);
  int64_t step =
      std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, bytes / extent));
  Bytes strip;
  for (int64_t begin = 0; begin < extent && !writer.hasFailed();
       begin += step) {
    int64_t end = std::min(extent, begin + step);
    if (llvm::Error error =
            readConverted(source, dimension, begin, end, element, strip))
      return error;
    SmallVector<int64_t> shape(source.getType().getShape());
    shape[dimension] = end - begin;
    Bytes piece = writer.takeBuffer();
    piece.resize(strip.size());
    permute(strip.data(), shape, permutation, piece.data(), widthOf(element));
    put(std::move(piece));
  }
  return llvm::Error::success();
}

/// A matrix [depth, columns] (or its transpose, in the source) in panels.
llvm::Error WeightWriter::writePanels(WeightSource &source, Type type,
                                      int64_t panel, bool transposed) {
  int64_t dimension = transposed ? 0 : 1;
  int64_t columns = source.getType().getDimSize(dimension);
  int64_t depth = source.getType().getDimSize(1 - dimension);
  int64_t width = widthOf(type);
  int64_t panels = std::max<int64_t>(
      1, kPieceBytes / std::max<int64_t>(1, depth * panel * width));
  Bytes strip;
  for (int64_t begin = 0; begin < columns && !writer.hasFailed();
       begin += panels * panel) {
    int64_t end = std::min(columns, begin + panels * panel);
    if (llvm::Error error =
            readConverted(source, dimension, begin, end, type, strip))
      return error;
    Bytes piece = writer.takeBuffer();
    piece.resize(llvm::divideCeil(end - begin, panel) * depth * panel * width);
    packPanels(strip.data(), depth, end - begin, transposed ? 1 : end - begin,
               transposed ? depth : 1, panel, piece.data(), width);
    put(std::move(piece));
  }
  return llvm::Error::success();
}

/// A part of a quantized matrix.
llvm::Error WeightWriter::writeParts(ParamOp param) {
  if (!quantized)
    return llvm::createStringError("it is quantized, and nobody did that");
  llvm::Expected<llvm::ArrayRef<char>> bytes = quantized->get(param);
  if (!bytes)
    return bytes.takeError();
  llvm::ArrayRef<char> rest = *bytes;
  assert(int64_t(rest.size()) == getWeightBytes(typeOf(param)) &&
         "a part has the size of its type");
  while (!rest.empty() && !writer.hasFailed()) {
    size_t size = std::min<size_t>(rest.size(), kPieceBytes);
    Bytes piece = writer.takeBuffer();
    piece.assign(rest.begin(), rest.begin() + size);
    rest = rest.drop_front(size);
    put(std::move(piece));
  }
  return llvm::Error::success();
}

llvm::Error WeightWriter::writeDense(ParamOp param) {
  RankedTensorType type = typeOf(param);
  WeightSource source(param, files);
  SmallVector<int64_t> permutation =
      llvm::to_vector(llvm::seq<int64_t>(0, source.getType().getRank()));
  bool identity = true;
  if (auto given = param.getPermutation()) {
    identity = ArrayRef<int64_t>(permutation) == *given;
    permutation.assign(given->begin(), given->end());
  }
  if (param.getPanels())
    return writePanels(source, type.getElementType(), *param.getPanels(),
                       !identity);
  if (identity)
    return writeFlat(source, type.getElementType());
  return writePermuted(source, type, permutation);
}

LogicalResult WeightWriter::writeParam(ParamOp param) {
  padTo(*getWeightOffset(param));
  RankedTensorType type = typeOf(param);
  if (storedType(type.getElementType()).empty())
    return param.emitError()
           << "cannot store weights of type " << type.getElementType();
  if (type.getNumElements() == 0)
    return success();
  llvm::Error error = param.getFormat() ? writeParts(param) : writeDense(param);
  if (error)
    return param.emitError() << "cannot read weight '" << param.getSymName()
                             << "': " << llvm::toString(std::move(error));
  return success();
}

static LogicalResult reportError(ModuleOp module, llvm::Error error) {
  return module.emitError() << llvm::toString(std::move(error));
}

FailureOr<WeightFileInfo> nju::writeWeightFile(ModuleOp module, StringRef path,
                                               WeightProgress progress,
                                               QuantizedWeights *quantized) {
  auto file = OutputFile::create(path);
  if (!file)
    return reportError(module, file.takeError());
  SmallVector<ParamOp> params = placedParams(module);
  std::string header = headerText(module, params);
  uint64_t length = header.size();
  int64_t bytes = getWeightFileBytes(module);
  if (llvm::Error error = (*file)->reserve(8 + length + bytes))
    return reportError(module, std::move(error));
  if (bytes >= kBypassBytes)
    (*file)->bypassCache();
  if (llvm::Error error = (*file)->write(&length, sizeof(length)))
    return reportError(module, std::move(error));
  if (llvm::Error error = (*file)->write(header))
    return reportError(module, std::move(error));

  WeightWriter weights(module, **file, progress, quantized);
  for (ParamOp param : params) {
    if (failed(weights.writeParam(param)))
      return failure();
    if (weights.getWriter().hasFailed())
      break;
  }
  weights.padTo(bytes);
  weights.getWriter().finish();
  if (weights.getWriter().hasFailed())
    return module.emitError() << weights.getWriter().failure;
  std::string hash = weights.getWriter().checksum.hex();
  size_t at = header.find(kNoHash);
  if (llvm::Error error = (*file)->writeAt(8 + at, hash.data(), hash.size()))
    return reportError(module, std::move(error));
  if (llvm::Error error = (*file)->commit())
    return reportError(module, std::move(error));
  return WeightFileInfo{static_cast<uint64_t>(bytes), hash};
}
