//===- GraphImporter.h - Imports graphs and functions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_GRAPHIMPORTER_H
#define NJU_LIB_IMPORT_ONNX_GRAPHIMPORTER_H

#include "NodeOrder.h"
#include "Tensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Import/ONNX/Import.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace nju::onnx_import {

/// What a name of the model stands for.
struct ImportedValue {
  enum Kind {
    Tensor,
    Sequence,
    /// A constant tensor of integers of less than a byte.
    Packed,
    /// An optional input that a function call leaves out.
    Absent,
    /// An output that the importer does not compute.
    Unsupported,
  };
  Kind kind = Absent;
  mlir::Value tensor;
  llvm::SmallVector<mlir::Value, 0> sequence;
  const onnx::TensorProto *packed = nullptr;
  /// Of an unsupported output: what it is, for the diagnostic of its use.
  std::string what;
};

using OpsetMap = llvm::StringMap<int64_t>;
using AttributeMap = llvm::StringMap<const onnx::AttributeProto *>;

/// The names that the nodes of a graph or of a called function see.
struct Scope {
  /// The enclosing graph, whose names a subgraph sees as well.
  Scope *parent = nullptr;
  llvm::StringMap<ImportedValue> values;
  llvm::StringMap<const onnx::TensorProto *> initializers;
  const OpsetMap *opsets = nullptr;
  /// Attributes of the function call, which nodes refer to by ref_attr_name.
  const AttributeMap *attributes = nullptr;
  /// Precedes the node names of a called function.
  std::string prefix;
  /// Function calls and subgraphs around.
  unsigned depth = 0;
};

/// Imports one model. The functions emit a diagnostic when they fail.
class GraphImporter {
public:
  GraphImporter(const onnx::ModelProto &model, const ModelSource &source,
                mlir::MLIRContext *context, const ONNXImportOptions &options);

  mlir::OwningOpRef<mlir::ModuleOp> importModel();

  //===--------------------------------------------------------------------===//
  // For the ops
  //===--------------------------------------------------------------------===//

  mlir::OpBuilder builder;
  ShapeInference shapes;

  mlir::MLIRContext *getContext() { return builder.getContext(); }

  /// Takes `count` from what ONNXImportOptions::maxOps allows.
  mlir::LogicalResult spend(uint64_t count);
  /// Starts an error of the whole model.
  mlir::InFlightDiagnostic emitError();
  mlir::InFlightDiagnostic emitWarning();

  /// The value of a name, looked up from the inside to the outside; null if
  /// there is none. Makes the op of an initializer at its first use.
  mlir::FailureOr<const ImportedValue *> lookup(Scope &scope,
                                                llvm::StringRef name);
  mlir::LogicalResult define(Scope &scope, llvm::StringRef name,
                             ImportedValue value);

  /// A constant or, for a larger one, a reference to a new nju.param.
  mlir::FailureOr<mlir::Value> importTensor(const onnx::TensorProto &tensor,
                                            llvm::StringRef name,
                                            mlir::Location loc,
                                            EmitError emitError);

  /// The initializer of a name of which no op has been made; null if there is
  /// none, or if the name is that of another value.
  static const onnx::TensorProto *findInitializer(const Scope &scope,
                                                  llvm::StringRef name);
  /// A reference to the param with these data, which is made at its first use.
  mlir::Value importUniform(UniformDataAttr data, llvm::StringRef name,
                            mlir::Location loc);
  const ModelSource &getSource() const { return source; }

  /// Imports the nodes of a subgraph without inputs in place; returns the
  /// values of its outputs.
  mlir::FailureOr<llvm::SmallVector<ImportedValue>>
  importSubgraph(const onnx::GraphProto &graph, Scope &outer);

private:
  /// A new param, whose name is like `name`.
  ParamOp createParam(llvm::StringRef name, mlir::Type type,
                      mlir::Attribute data, mlir::Location loc);
  mlir::Value referTo(ParamOp param, mlir::Location loc);
  mlir::LogicalResult importOpsets(
      const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto> &from,
      OpsetMap &opsets);
  mlir::LogicalResult importFunctions();
  mlir::LogicalResult importInitializers(const onnx::GraphProto &graph,
                                         Scope &scope);
  mlir::LogicalResult importInputs(const onnx::GraphProto &graph, Scope &scope);
  mlir::LogicalResult importInput(const onnx::ValueInfoProto &input,
                                  Scope &scope);
  mlir::LogicalResult importOutputs(const onnx::GraphProto &graph,
                                    Scope &scope);
  mlir::LogicalResult checkIsTensor(llvm::StringRef output,
                                    const ImportedValue *value);
  mlir::LogicalResult checkOutput(const onnx::ValueInfoProto &output,
                                  mlir::Value value);
  mlir::LogicalResult importNodes(const NodeList &nodes, Scope &scope);
  mlir::LogicalResult importNode(const onnx::NodeProto &node, Scope &scope);
  mlir::LogicalResult importCall(const onnx::NodeProto &node,
                                 const onnx::FunctionProto &function,
                                 Scope &caller);
  mlir::FailureOr<AttributeMap>
  bindAttributes(const onnx::NodeProto &node,
                 const onnx::FunctionProto &function, Scope &caller,
                 EmitError emitError);
  std::string uniqueSymbol(llvm::StringRef name);
  void eraseDeadOps();
  mlir::LogicalResult narrowInputs();

  struct Function {
    const onnx::FunctionProto *proto;
    OpsetMap opsets;
    bool isActive = false;
  };

  const onnx::ModelProto &model;
  const ModelSource &source;
  const ONNXImportOptions &options;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp main;
  OpsetMap opsets;
  /// By domain, name and overload.
  llvm::StringMap<Function> functions;
  llvm::StringSet<> symbols;
  llvm::DenseMap<const onnx::TensorProto *, ParamOp> params;
  llvm::DenseMap<mlir::Attribute, ParamOp> uniformParams;
  uint64_t numOps = 0;
};

/// The domain as the registry and the opset imports spell it: "" for ai.onnx.
llvm::StringRef canonicalDomain(llvm::StringRef domain);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_GRAPHIMPORTER_H
