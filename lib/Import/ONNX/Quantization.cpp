//===- Quantization.cpp - Quantized weights of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A weight that came quantized becomes a param of f32 whose data are an
// #nju.uniform: to the graph it is a weight as any other.
//
//===----------------------------------------------------------------------===//

#include "Quantization.h"
#include "BlockMatrix.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include <numeric>

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

//===----------------------------------------------------------------------===//
// Stored tensors
//===----------------------------------------------------------------------===//

static int64_t productOf(ArrayRef<int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t(1),
                         std::multiplies<int64_t>());
}

/// The data with another shape of as many elements, or another element type of
/// the same size.
static Attribute viewAs(Attribute data, ArrayRef<int64_t> shape, Type element) {
  auto type = RankedTensorType::get(shape, element);
  if (auto file = dyn_cast<FileDataAttr>(data))
    return FileDataAttr::get(data.getContext(), file.getPath(),
                             file.getOffset(), type);
  FailureOr<HostTensor> values = HostTensor::fromAttr(cast<ElementsAttr>(data));
  assert(succeeded(values) && "constants of the importer can be read");
  return DenseElementsAttr::getFromRawBuffer(
      type, llvm::ArrayRef(values->bytes(), values->getNumBytes()));
}

/// Integers of the tensor as rows of `rowBits` bits.
static PackedIntegersAttr packedAttr(NodeImporter &node,
                                     const StoredTensor &tensor,
                                     PackedType type, int64_t rowBits) {
  Type byte = node.attrs().getIntegerType(8, /*isSigned=*/false);
  int64_t elementBits = tensor.packed->bits;
  int64_t bytes =
      llvm::divideCeilSigned(productOf(tensor.shape) * elementBits, 8);
  return PackedIntegersAttr::get(node.graph().getContext(),
                                 viewAs(tensor.data, {bytes}, byte), type.bits,
                                 rowBits, type.isSigned);
}

std::optional<StoredTensor> onnx_import::requireStored(NodeImporter &node,
                                                       int index,
                                                       llvm::StringRef what) {
  std::optional<StoredTensor> tensor = node.storedInput(index);
  if (!tensor && !node.hasFailed())
    node.emitError() << "input " << index << " (" << what << ") is computed by "
                     << "the graph, expected a constant";
  return tensor;
}

/// Error unless the tensor has this shape, or another with the same rows.
static bool checkShape(NodeImporter &node, const StoredTensor &tensor,
                       llvm::StringRef what, ArrayRef<int64_t> shape) {
  SmallVector<int64_t> flat{productOf(shape)},
      rows{shape[0], productOf(shape.drop_front())};
  if (tensor.shape == shape || tensor.shape == flat || tensor.shape == rows)
    return true;
  node.emitError() << what << " have shape [" << tensor.shape << "], expected ["
                   << shape << "]";
  return false;
}

StoredTensor onnx_import::takePart(const StoredTensor &tensor, int64_t index) {
  StoredTensor part = tensor;
  part.name += "." + std::to_string(index);
  part.shape.erase(part.shape.begin());
  int64_t bytes = productOf(part.shape) * part.type.getIntOrFloatBitWidth() / 8;
  auto type = RankedTensorType::get(part.shape, part.type);
  if (auto file = dyn_cast<FileDataAttr>(tensor.data)) {
    part.data = FileDataAttr::get(file.getContext(), file.getPath(),
                                  file.getOffset() + index * bytes, type);
    return part;
  }
  FailureOr<HostTensor> values =
      HostTensor::fromAttr(cast<ElementsAttr>(tensor.data));
  assert(succeeded(values) && "constants of the importer can be read");
  part.data = DenseElementsAttr::getFromRawBuffer(
      type, llvm::ArrayRef(values->bytes() + index * bytes, bytes));
  return part;
}

static bool isFloat(Type type) {
  return type && isa<Float32Type, Float16Type, BFloat16Type>(type);
}

bool onnx_import::checkIsFloat(NodeImporter &node, const StoredTensor &tensor,
                               llvm::StringRef what) {
  if (isFloat(tensor.type))
    return true;
  node.emitError() << what << " are no floats, expected FLOAT, FLOAT16 or "
                   << "BFLOAT16";
  return false;
}

/// The values of a tensor of integers.
static std::optional<SmallVector<int64_t>>
readInts(NodeImporter &node, const StoredTensor &tensor) {
  if (auto elements = dyn_cast<ElementsAttr>(tensor.data)) {
    FailureOr<HostTensor> values = HostTensor::fromAttr(elements);
    assert(succeeded(values) && "constants of the importer can be read");
    return values->getInts();
  }
  ParamReader reader(node.graph().getSource().folder);
  FailureOr<HostTensor> values = reader.readSlab(
      cast<FileDataAttr>(tensor.data), 0, 0, tensor.shape.front());
  if (succeeded(values))
    return values->getInts();
  node.emitError() << "input '" << tensor.name << "': " << reader.reason();
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Matrices in the form of MatMulNBits
//===----------------------------------------------------------------------===//

static bool checkBlockSize(NodeImporter &node, int64_t size) {
  if (size >= 16 && llvm::isPowerOf2_64(size) && size <= (int64_t(1) << 30))
    return true;
  node.emitError() << "attribute 'block_size' is " << size
                   << ", expected a power of two of at least 16";
  return false;
}

/// Reads the zero points: floats, or integers that are packed row by row, which
/// begin with a byte each if `rowsOfBytes`.
static bool readZeroPoints(NodeImporter &node, int index, bool rowsOfBytes,
                           BlockMatrix &matrix) {
  std::optional<StoredTensor> stored =
      requireStored(node, index, "zero points");
  if (!stored)
    return false;
  int64_t blocks = matrix.getBlocks(), bits = matrix.type.bits;
  if (isFloat(stored->type)) {
    if (!checkShape(node, *stored, "zero points", {matrix.rows, blocks}))
      return false;
    matrix.zeroPoints =
        viewAs(stored->data, {matrix.rows, blocks}, stored->type);
    return true;
  }
  int64_t width =
      rowsOfBytes ? llvm::divideCeilSigned(blocks * bits, 8) : blocks;
  bool fits = stored->packed &&
              stored->packed->bits == (rowsOfBytes ? 8 : bits) &&
              stored->packed->isSigned == matrix.type.isSigned;
  if (!fits) {
    node.emitError() << "zero points have another type than the codes, "
                     << "expected packed integers or floats";
    return false;
  }
  if (!checkShape(node, *stored, "zero points", {matrix.rows, width}))
    return false;
  matrix.zeroPoints = packedAttr(node, *stored, matrix.type,
                                 rowsOfBytes ? width * 8 : width * bits);
  return true;
}

Value onnx_import::importMatrix(NodeImporter &node, const BlockMatrix &matrix) {
  SmallVector<int64_t> shape{matrix.rows, matrix.columns};
  MLIRContext *context = node.graph().getContext();
  auto data = UniformDataAttr::get(
      context, packedAttr(node, matrix.codes, matrix.type, matrix.rowBits),
      viewAs(matrix.scales.data, {matrix.rows, matrix.getBlocks()},
             matrix.scales.type),
      matrix.zeroPoints, matrix.zeroPoint,
      node.attrs().getDenseI64ArrayAttr({1, matrix.blockSize}),
      matrix.columnOrder,
      RankedTensorType::get(shape, node.attrs().getF32Type()));
  return node.graph().importUniform(data, matrix.codes.name, node.getLoc());
}

//===----------------------------------------------------------------------===//
// MatMulNBits
//===----------------------------------------------------------------------===//

/// The order of columns in which those of a block follow each other, where
/// `groups` says which block a column belongs to; empty if they do already.
static std::optional<SmallVector<int64_t>>
sortColumns(NodeImporter &node, ArrayRef<int64_t> groups,
            const BlockMatrix &matrix) {
  SmallVector<SmallVector<int64_t>> columns(matrix.getBlocks());
  bool sorted = true;
  for (auto [column, group] : llvm::enumerate(groups)) {
    if (group < 0 || group >= matrix.getBlocks()) {
      node.emitError() << "g_idx has block " << group << ", expected 0 to "
                       << matrix.getBlocks() - 1;
      return std::nullopt;
    }
    columns[group].push_back(column);
    sorted &= group == int64_t(column) / matrix.blockSize;
  }
  SmallVector<int64_t> order;
  if (sorted)
    return order;
  for (auto [block, own] : llvm::enumerate(columns)) {
    int64_t size =
        std::min(matrix.blockSize, matrix.columns - int64_t(order.size()));
    if (int64_t(own.size()) != size) {
      node.emitError() << "g_idx has " << own.size() << " columns in block "
                       << block << ", expected " << size;
      return std::nullopt;
    }
    llvm::append_range(order, own);
  }
  return order;
}

/// Takes the columns of blocks together, where g_idx scatters them, and those
/// of the input with them.
static Value orderColumns(NodeImporter &node, Value input,
                          BlockMatrix &matrix) {
  std::optional<StoredTensor> stored = requireStored(node, 4, "g_idx");
  if (!stored)
    return {};
  if (!stored->type || !stored->type.isSignlessInteger(32)) {
    node.emitError() << "g_idx is no tensor of INT32, expected one";
    return {};
  }
  if (!checkShape(node, *stored, "g_idx", {matrix.columns}))
    return {};
  auto groups = readInts(node, *stored);
  auto order = groups ? sortColumns(node, *groups, matrix) : std::nullopt;
  if (!order || order->empty())
    return order ? input : Value();
  matrix.columnOrder = node.attrs().getDenseI64ArrayAttr(*order);
  return node.create<GatherOp>({input, node.constant(*order)},
                               node.i64("axis", node.rank(input) - 1));
}

/// An attribute of 1 to 2^30.
static int64_t sizeAttr(NodeImporter &node, llvm::StringRef name) {
  int64_t size = node.intAttr(name, 0);
  if (size < 1 || size > (int64_t(1) << 30))
    node.emitError() << "attribute '" << name << "' is " << size
                     << ", expected 1 to 1073741824";
  return size;
}

/// B, scales and zero points.
static bool readMatMulNBits(NodeImporter &node, BlockMatrix &matrix) {
  int64_t blobs = matrix.getBlocks(),
          blob = matrix.blockSize * matrix.type.bits / 8;
  matrix.rowBits = blobs * blob * 8;
  std::optional<StoredTensor> codes = requireStored(node, 1, "B");
  if (!codes)
    return false;
  if (!codes->type || !codes->type.isUnsignedInteger(8)) {
    node.emitError() << "B is no tensor of UINT8, expected one";
    return false;
  }
  if (!checkShape(node, *codes, "codes", {matrix.rows, blobs, blob}))
    return false;
  std::optional<StoredTensor> scales = requireStored(node, 2, "scales");
  if (!scales || !checkIsFloat(node, *scales, "scales") ||
      !checkShape(node, *scales, "scales", {matrix.rows, blobs}))
    return false;
  matrix.codes = *codes;
  matrix.scales = *scales;
  matrix.zeroPoint = int64_t(1) << (matrix.type.bits - 1);
  return !node.hasInput(3) || readZeroPoints(node, 3, true, matrix);
}

static void importMatMulNBits(NodeImporter &node) {
  BlockMatrix matrix;
  matrix.columns = sizeAttr(node, "K");
  matrix.rows = sizeAttr(node, "N");
  matrix.blockSize = node.intAttr("block_size", 0);
  matrix.type = {node.intAttr("bits", 4), false};
  // What the input is rounded to is the user's choice (--activations).
  node.ignoreAttr("accuracy_level");
  if (node.intAttr("weight_prepacked", 0) != 0 && !node.hasFailed())
    node.emitError() << "has weights in the layout of a device, expected "
                     << "weight_prepacked = 0";
  Value input = node.input(0);
  if (node.hasFailed() || !checkBlockSize(node, matrix.blockSize))
    return;
  if (!llvm::is_contained({2, 4, 8}, matrix.type.bits)) {
    node.emitError() << "attribute 'bits' is " << matrix.type.bits
                     << ", expected 2, 4 or 8";
    return;
  }
  if (!node.checkFloat(input, "input 0") || !readMatMulNBits(node, matrix))
    return;
  if (node.rank(input) < 1 ||
      node.staticDim(input, node.rank(input) - 1) != matrix.columns) {
    node.emitError() << "multiplies " << input.getType()
                     << ", expected K = " << matrix.columns << " columns";
    return;
  }
  if (node.hasInput(4))
    input = orderColumns(node, input, matrix);
  if (node.hasFailed())
    return;
  Type type = node.elementType(input);
  Value weight =
      node.cast(node.transpose(importMatrix(node, matrix), {1, 0}), type);
  Value result = node.create<MatMulOp>({input, weight});
  Value bias = node.input(5);
  if (bias && node.checkSameType({input, bias}))
    result = node.create<AddOp>({result, bias});
  node.setOutput(result);
}

//===----------------------------------------------------------------------===//
// GatherBlockQuantized
//===----------------------------------------------------------------------===//

/// Error unless an attribute is this axis of a matrix.
static bool checkAxis(NodeImporter &node, llvm::StringRef name, int64_t axis) {
  int64_t given = node.intAttr(name, axis);
  if (given == axis || given == axis - 2)
    return true;
  node.emitError() << "attribute '" << name << "' is " << given << ", expected "
                   << axis;
  return false;
}

/// What rows of an embedding are looked up in. Codes in UINT8 are packed as
/// those of MatMulNBits.
static bool readTable(NodeImporter &node, int64_t bits, BlockMatrix &matrix) {
  std::optional<StoredTensor> codes = requireStored(node, 0, "data");
  if (!codes)
    return false;
  if (codes->shape.size() != 2 || !codes->packed ||
      (codes->packed->bits == 8 && codes->packed->isSigned)) {
    node.emitError() << "data have shape [" << codes->shape << "] or another "
                     << "type than expected, which is a matrix of UINT8, INT4 "
                     << "or UINT4";
    return false;
  }
  bool isBytes = codes->packed->bits == 8;
  if (isBytes && !llvm::is_contained({2, 4, 8}, bits)) {
    node.emitError() << "attribute 'bits' is " << bits
                     << ", expected 2, 4 or 8";
    return false;
  }
  matrix.type = isBytes ? PackedType{bits, false} : *codes->packed;
  matrix.zeroPoint = isBytes ? int64_t(1) << (bits - 1) : 0;
  matrix.rows = codes->shape[0];
  matrix.columns = codes->shape[1] * codes->packed->bits / matrix.type.bits;
  matrix.rowBits = codes->shape[1] * codes->packed->bits;
  std::optional<StoredTensor> scales = requireStored(node, 2, "scales");
  if (!scales || !checkIsFloat(node, *scales, "scales") ||
      !checkShape(node, *scales, "scales", {matrix.rows, matrix.getBlocks()}))
    return false;
  matrix.codes = *codes;
  matrix.scales = *scales;
  return !node.hasInput(3) || readZeroPoints(node, 3, isBytes, matrix);
}

static void importGatherBlockQuantized(NodeImporter &node) {
  BlockMatrix matrix;
  matrix.blockSize = node.intAttr("block_size", 128);
  int64_t bits = node.intAttr("bits", 4);
  if (!checkAxis(node, "gather_axis", 0) ||
      !checkAxis(node, "quantize_axis", 1) ||
      !checkBlockSize(node, matrix.blockSize) || !readTable(node, bits, matrix))
    return;
  Value indices = node.input(1);
  Type index = node.elementType(indices);
  if (!indices ||
      !(index.isSignlessInteger(32) || index.isSignlessInteger(64))) {
    if (!node.hasFailed())
      node.emitError() << "input 1 is " << indices.getType()
                       << ", expected a tensor of INT32 or INT64";
    return;
  }
  Value rows = node.create<GatherOp>({importMatrix(node, matrix), indices},
                                     node.i64("axis", 0));
  node.setOutput(node.cast(rows, matrix.scales.type));
}

//===----------------------------------------------------------------------===//
// DequantizeLinear
//===----------------------------------------------------------------------===//

/// The blocks of scales of shape `scales` in a matrix.
static std::optional<SmallVector<int64_t, 2>>
blocksOf(NodeImporter &node, ArrayRef<int64_t> matrix, ArrayRef<int64_t> scales,
         const Blocking &blocking) {
  // A dimension of 0 has no blocks, of any size.
  SmallVector<int64_t, 2> block{std::max<int64_t>(1, matrix[0]),
                                std::max<int64_t>(1, matrix[1])};
  SmallVector<int64_t, 2> expected;
  int64_t axis = blocking.axis;
  if (blocking.size > 0) {
    block = {1, 1};
    block[axis] = blocking.size;
    expected.assign(matrix.begin(), matrix.end());
    expected[axis] = llvm::divideCeilSigned(matrix[axis], blocking.size);
  } else if (productOf(scales) != 1 || scales.size() > 1) {
    block[axis] = 1;
    expected = {matrix[axis]};
  } else {
    return block;
  }
  if (scales == ArrayRef<int64_t>(expected))
    return block;
  node.emitError() << "scales have shape [" << scales << "], expected ["
                   << expected << "]";
  return std::nullopt;
}

/// Zero points of the shape of the scales.
static Attribute zeroPointsOf(NodeImporter &node, const StoredTensor &codes,
                              ArrayRef<int64_t> shape, int64_t blocksOfRow) {
  std::optional<StoredTensor> zeros = requireStored(node, 2, "zero points");
  if (!zeros)
    return {};
  if (!zeros->packed || zeros->packed->bits != codes.packed->bits ||
      zeros->packed->isSigned != codes.packed->isSigned) {
    node.emitError() << "zero points have another type than the codes";
    return {};
  }
  // A scalar can be a vector of one.
  bool isScalar = productOf(shape) == 1 && shape.size() <= 1 &&
                  productOf(zeros->shape) == 1 && zeros->shape.size() <= 1;
  if (ArrayRef<int64_t>(zeros->shape) != shape && !isScalar) {
    node.emitError() << "zero points have shape [" << zeros->shape
                     << "], expected that of the scales, [" << shape << "]";
    return {};
  }
  return packedAttr(node, *zeros, *codes.packed,
                    blocksOfRow * codes.packed->bits);
}

/// A matrix that is stored quantized.
static Value dequantizeWeight(NodeImporter &node, const StoredTensor &codes,
                              const StoredTensor &scales,
                              const Blocking &blocking) {
  auto block = blocksOf(node, codes.shape, scales.shape, blocking);
  if (!block)
    return {};
  SmallVector<int64_t> blocks;
  for (int64_t i : {0, 1})
    blocks.push_back(llvm::divideCeilSigned(codes.shape[i], (*block)[i]));
  Attribute zeroPoints;
  if (node.hasInput(2))
    zeroPoints = zeroPointsOf(node, codes, scales.shape, blocks[1]);
  if (node.hasFailed())
    return {};
  auto type = RankedTensorType::get(codes.shape, node.attrs().getF32Type());
  auto data = UniformDataAttr::get(
      node.graph().getContext(),
      packedAttr(node, codes, *codes.packed,
                 codes.shape[1] * codes.packed->bits),
      viewAs(scales.data, blocks, scales.type), zeroPoints, /*zero_point=*/0,
      node.attrs().getDenseI64ArrayAttr(*block), /*column_order=*/nullptr,
      type);
  return node.graph().importUniform(data, codes.name, node.getLoc());
}

Value nju::onnx_import::spreadBlocks(NodeImporter &node, Value value, Value x,
                                     const Blocking &blocking) {
  int64_t axis = blocking.axis, rank = node.rank(x);
  if (!value || node.hasFailed())
    return {};
  if (blocking.size > 0) {
    std::optional<int64_t> size = node.staticDim(x, axis);
    if (node.rank(value) != rank || !size || *size > (int64_t(1) << 24)) {
      node.emitError() << "has blocks of " << x.getType() << " with "
                       << value.getType() << ", expected the same rank and a "
                       << "static number of elements along the axis";
      return {};
    }
    SmallVector<int64_t> blocks;
    for (int64_t i = 0; i < *size; ++i)
      blocks.push_back(i / blocking.size);
    return node.create<GatherOp>({value, node.constant(blocks)},
                                 node.i64("axis", axis));
  }
  if (node.rank(value) == 0 || node.staticDim(value, 0) == 1)
    return node.rank(value) == 1 ? node.squeeze(value, {0}) : value;
  if (!node.checkRank(value, 1, "the scale or zero point"))
    return {};
  return node.alongAxis(value, axis, rank);
}

/// What the graph computes, or no matrix of small integers.
static Value dequantizeValue(NodeImporter &node, const Blocking &blocking) {
  Value x = node.input(0), scale = node.input(1), zero = node.input(2);
  if (!node.checkInteger(x, "input 0") || !node.checkFloat(scale, "input 1"))
    return {};
  Type f32 = node.attrs().getF32Type();
  Value y = node.cast(x, f32);
  if (zero)
    y = node.create<SubOp>(
        {y, node.cast(spreadBlocks(node, zero, x, blocking), f32)});
  return node.create<MulOp>(
      {y, node.cast(spreadBlocks(node, scale, x, blocking), f32)});
}

Blocking nju::onnx_import::readBlocking(NodeImporter &node, int64_t rank,
                                        bool (*fits)(Type),
                                        llvm::StringRef expected) {
  Blocking blocking;
  blocking.axis = node.intAttr("axis", 1);
  blocking.size = node.intAttr("block_size", 0);
  int64_t type = node.intAttr("output_dtype", 0);
  if (blocking.size < 0)
    node.emitError() << "attribute 'block_size' is " << blocking.size
                     << ", expected 0 or more";
  if (type != 0) {
    if (static_cast<int32_t>(type) == type)
      blocking.result = onnx_import::elementType(static_cast<int32_t>(type),
                                                 node.graph().getContext());
    if (!fits(blocking.result))
      node.emitError() << "attribute 'output_dtype' is " << type
                       << ", expected " << expected;
  }
  // Without blocks, a scalar of any rank has no axis that matters.
  if (blocking.size > 0 || rank > 1)
    blocking.axis = node.normalizeAxis(blocking.axis, rank);
  else
    blocking.axis = 0;
  return blocking;
}

static void importDequantizeLinear(NodeImporter &node) {
  std::optional<StoredTensor> codes = node.storedInput(0);
  std::optional<StoredTensor> scales = node.storedInput(1);
  bool isWeight = codes && codes->packed && codes->shape.size() == 2 &&
                  scales && isFloat(scales->type);
  Value x = isWeight || node.hasFailed() ? Value() : node.input(0);
  int64_t rank = isWeight ? 2 : node.rank(x);
  Blocking blocking =
      readBlocking(node, rank, isFloat, "FLOAT, FLOAT16 or BFLOAT16");
  if (node.hasFailed())
    return;
  Value y = isWeight ? dequantizeWeight(node, *codes, *scales, blocking)
                     : dequantizeValue(node, blocking);
  if (!y)
    return;
  Type type = isWeight ? scales->type : node.elementType(node.input(1));
  node.setOutput(node.cast(y, blocking.result ? blocking.result : type));
}

void nju::onnx_import::registerQuantizationOps(OpRegistry &registry) {
  registry.add("DequantizeLinear", 10, {2, 3}, importDequantizeLinear);
  registry.add("DequantizeLinear", 1, {2, 3}, importDequantizeLinear,
               kMicrosoft);
  registry.add("GatherBlockQuantized", 1, {3, 4}, importGatherBlockQuantized,
               kMicrosoft);
  registry.add("MatMulNBits", 1, {3, 6}, importMatMulNBits, kMicrosoft);
}
