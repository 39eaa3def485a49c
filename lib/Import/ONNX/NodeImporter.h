//===- NodeImporter.h - Imports one node -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_NODEIMPORTER_H
#define NJU_LIB_IMPORT_ONNX_NODEIMPORTER_H

#include "GraphImporter.h"
#include "OpRegistry.h"

namespace nju::onnx_import {

/// A tensor whose elements the model stores.
struct StoredTensor {
  std::string name;
  /// A #nju.file or elements; of integers of less than a byte those of the
  /// bytes that hold them.
  mlir::Attribute data;
  llvm::SmallVector<int64_t> shape;
  mlir::Type type;                  ///< Null for less than a byte.
  std::optional<PackedType> packed; ///< Of integers of at most a byte.
};

/// What the handler of an op works with: the node's inputs and attributes, and
/// functions that make nju ops.
///
/// An error is reported once and makes the import of the node fail; values that
/// are asked for after it are null and functions that get null values do
/// nothing, so that handlers need not check each step.
class NodeImporter {
public:
  NodeImporter(GraphImporter &importer, Scope &scope,
               const onnx::NodeProto &proto, int64_t opset);

  /// Runs the handler of the node's op type.
  mlir::LogicalResult run();

  int64_t opset() const { return nodeOpset; }
  bool hasFailed() const { return failedAlready; }
  /// After an error that was reported elsewhere.
  void setFailed() { failedAlready = true; }
  /// Starts the error of this node: "model.onnx: node 'x' (Add, opset 17): ".
  mlir::InFlightDiagnostic emitError();
  GraphImporter &graph() { return importer; }
  Scope &getScope() { return scope; }
  mlir::Location getLoc() const { return loc; }

  //===--------------------------------------------------------------------===//
  // Inputs and outputs
  //===--------------------------------------------------------------------===//

  int numInputs() const { return proto.input_size(); }
  int numOutputs() const { return proto.output_size(); }
  /// True if the node names this input (and a function call around did not
  /// leave it out).
  bool hasInput(int index);
  /// The same, or an error.
  bool requireInput(int index);
  /// True if the node names this output.
  bool wantsOutput(int index) const;
  /// The tensor, or null if the input is left out.
  mlir::Value input(int index);
  /// An input that is stored in the model; none if it is computed, or left out,
  /// or after an error.
  std::optional<StoredTensor> storedInput(int index);
  /// All inputs, none of which may be left out.
  llvm::SmallVector<mlir::Value> inputs();
  /// The tensors of a sequence.
  llvm::SmallVector<mlir::Value> inputSequence(int index);

  llvm::StringRef outputName(int index) const;
  void setOutput(int index, mlir::Value value);
  void setOutput(mlir::Value value) { setOutput(0, value); }
  void setOutputSequence(int index, llvm::ArrayRef<mlir::Value> values);
  void setOutput(int index, const ImportedValue &value);
  /// Makes an output what an input is, tensor or sequence.
  void forwardInput(int input, int output);

  //===--------------------------------------------------------------------===//
  // Attributes: the default if the node has none of this name
  //===--------------------------------------------------------------------===//

  std::optional<int64_t> intAttr(llvm::StringRef name);
  int64_t intAttr(llvm::StringRef name, int64_t defaultValue);
  bool boolAttr(llvm::StringRef name, bool defaultValue = false);
  std::optional<double> floatAttr(llvm::StringRef name);
  double floatAttr(llvm::StringRef name, double defaultValue);
  std::string stringAttr(llvm::StringRef name, llvm::StringRef defaultValue);
  std::optional<llvm::SmallVector<int64_t>> intsAttr(llvm::StringRef name);
  std::optional<llvm::SmallVector<float>> floatsAttr(llvm::StringRef name);
  /// Null if there is none.
  const onnx::TensorProto *tensorAttr(llvm::StringRef name);
  const onnx::GraphProto *graphAttr(llvm::StringRef name);
  /// Says that an attribute may be there but does not matter.
  void ignoreAttr(llvm::StringRef name) { usedAttributes.insert(name); }
  /// A tensor attribute as a value.
  mlir::Value importTensor(const onnx::TensorProto &tensor,
                           llvm::StringRef name);

  //===--------------------------------------------------------------------===//
  // What is known of values
  //===--------------------------------------------------------------------===//

  mlir::Type elementType(mlir::Value value) const;
  int64_t rank(mlir::Value value) const;
  /// Symbolic dimensions; empty for a null value.
  llvm::SmallVector<SymbolicExpr> dims(mlir::Value value);
  std::optional<int64_t> staticDim(mlir::Value value, int64_t index);
  /// Elements of an integer scalar or vector, if all are known.
  std::optional<llvm::SmallVector<int64_t>> constantInts(mlir::Value value);
  /// The same, or an error that names the input.
  llvm::SmallVector<int64_t> requireInts(int index, llvm::StringRef what);
  int64_t requireInt(int index, llvm::StringRef what);

  /// `axis` counted from the front, for a dimension of 0 to size - 1.
  int64_t normalizeAxis(int64_t axis, int64_t size,
                        llvm::StringRef what = "axis");
  /// The same of several, which must differ; sorted.
  llvm::SmallVector<int64_t> normalizeAxes(llvm::ArrayRef<int64_t> axes,
                                           int64_t size);
  /// Error unless the value has this element type (rank).
  bool checkType(mlir::Value value, mlir::Type type, llvm::StringRef what);
  bool checkFloat(mlir::Value value, llvm::StringRef what);
  /// Of integers that are no truth values.
  bool checkInteger(mlir::Value value, llvm::StringRef what);
  bool checkRank(mlir::Value value, int64_t rank, llvm::StringRef what);
  bool checkSameType(llvm::ArrayRef<mlir::Value> values);

  //===--------------------------------------------------------------------===//
  // Ops
  //===--------------------------------------------------------------------===//

  using Attributes = llvm::ArrayRef<mlir::NamedAttribute>;

  mlir::Builder &attrs() { return importer.builder; }
  mlir::NamedAttribute unit(llvm::StringRef name);
  mlir::NamedAttribute i64(llvm::StringRef name, int64_t value);
  mlir::NamedAttribute f64(llvm::StringRef name, double value);
  mlir::NamedAttribute array(llvm::StringRef name,
                             llvm::ArrayRef<int64_t> value);

  /// Creates an op and infers its type. The element type is needed where it
  /// does not follow from the operands.
  template <typename OpTy>
  mlir::Value create(mlir::ValueRange operands, Attributes attributes = {},
                     mlir::Type elementType = {}) {
    return createOp(OpTy::getOperationName(), operands, attributes,
                    elementType);
  }

  mlir::Value elements(mlir::ElementsAttr value);
  /// An i64 vector.
  mlir::Value constant(llvm::ArrayRef<int64_t> values);
  /// A scalar of an integer or float type.
  mlir::Value scalar(mlir::Type type, double value);
  mlir::Value scalarLike(mlir::Value value, double number) {
    return scalar(elementType(value), number);
  }
  /// An i64 scalar.
  mlir::Value index(int64_t value);

  mlir::Value cast(mlir::Value value, mlir::Type type);
  mlir::Value compare(ComparePredicate predicate, mlir::Value lhs,
                      mlir::Value rhs);
  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<int64_t> shape,
                      bool allowZero = false);
  /// To dimensions that are i64 vectors of one element each.
  mlir::Value reshape(mlir::Value value, llvm::ArrayRef<mlir::Value> dims);
  mlir::Value reshapeLike(mlir::Value value, mlir::Value like);
  mlir::Value transpose(mlir::Value value, llvm::ArrayRef<int64_t> permutation);
  mlir::Value squeeze(mlir::Value value, llvm::ArrayRef<int64_t> axes);
  mlir::Value unsqueeze(mlir::Value value, llvm::ArrayRef<int64_t> axes);
  /// A vector so that it is broadcast along dimension `axis` of `rank`.
  mlir::Value alongAxis(mlir::Value vector, int64_t axis, int64_t rank);
  mlir::Value concat(mlir::ValueRange values, int64_t axis);
  /// `value[start:end]` along a dimension.
  mlir::Value slice(mlir::Value value, int64_t axis, int64_t start, int64_t end,
                    int64_t step = 1);
  mlir::Value slice(mlir::Value value, int64_t axis, mlir::Value start,
                    mlir::Value end);
  /// The matrix `[product of the dimensions before axis, product of the rest]`.
  mlir::Value flatten(mlir::Value value, int64_t axis);
  mlir::Value shapeOf(mlir::Value value);
  /// A dimension as an i64 vector of one element, or as a scalar.
  mlir::Value dimVector(mlir::Value value, int64_t index);
  mlir::Value dimScalar(mlir::Value value, int64_t index);
  /// The numbers 0 to count - 1; `count` is an i64 scalar.
  mlir::Value iota(mlir::Value count);
  template <typename OpTy>
  mlir::Value reduce(mlir::Value value, llvm::ArrayRef<int64_t> axes,
                     bool keepDims) {
    if (axes.empty())
      return value;
    llvm::SmallVector<mlir::NamedAttribute> attributes{array("axes", axes)};
    if (keepDims)
      attributes.push_back(unit("keep_dims"));
    return create<OpTy>(value, attributes);
  }

private:
  mlir::Value createOp(llvm::StringRef name, mlir::ValueRange operands,
                       Attributes attributes, mlir::Type elementType);
  mlir::LogicalResult inferType(mlir::Operation *op);
  const onnx::AttributeProto *
  findAttr(llvm::StringRef name, onnx::AttributeProto::AttributeType type);
  const ImportedValue *lookupInput(int index);
  const onnx::TensorProto *findInitializer(int index) const;
  mlir::LogicalResult checkInputs(const OpEntry &entry);
  mlir::LogicalResult checkAttributes();
  mlir::LogicalResult defineOutputs();
  const OpEntry *findEntry();

  GraphImporter &importer;
  Scope &scope;
  const onnx::NodeProto &proto;
  int64_t nodeOpset;
  mlir::Location loc;
  bool failedAlready = false;
  llvm::StringSet<> usedAttributes;
  llvm::SmallVector<ImportedValue, 1> outputs;
};

/// The attribute of a node; one that refers to an attribute of the function
/// around is looked up in the call. Null if there is none.
const onnx::AttributeProto *resolveAttribute(const onnx::NodeProto &node,
                                             llvm::StringRef name,
                                             const Scope &scope);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_NODEIMPORTER_H
