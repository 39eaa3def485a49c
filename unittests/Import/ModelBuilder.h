//===- ModelBuilder.h - Small ONNX models for tests -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_IMPORT_MODELBUILDER_H
#define NJU_UNITTESTS_IMPORT_MODELBUILDER_H

#include "mlir/IR/MLIRContext.h"
#include "nju/Import/ONNX/Import.h"
#include "onnx-ml.pb.h"
#include "llvm/Support/raw_ostream.h"

namespace nju::test {

using Dims = std::vector<std::string>;
using Names = std::vector<std::string>;

/// Builds an ONNX model call by call and imports it.
class ModelBuilder {
public:
  explicit ModelBuilder(int64_t opset = 17) {
    model.set_ir_version(8);
    addOpset(model.add_opset_import(), "", opset);
    graph = model.mutable_graph();
    graph->set_name("graph");
  }

  /// Dimensions are numbers, names, or "" for an anonymous one.
  static void setType(onnx::ValueInfoProto *info, int32_t type,
                      const Dims &dims) {
    auto *tensor = info->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(type);
    auto *shape = tensor->mutable_shape();
    for (const std::string &dim : dims) {
      auto *proto = shape->add_dim();
      int64_t number;
      if (!llvm::StringRef(dim).getAsInteger(10, number))
        proto->set_dim_value(number);
      else if (!dim.empty())
        proto->set_dim_param(dim);
    }
  }

  ModelBuilder &input(const std::string &name, const Dims &dims,
                      int32_t type = onnx::TensorProto::FLOAT) {
    auto *info = graph->add_input();
    info->set_name(name);
    setType(info, type, dims);
    return *this;
  }

  ModelBuilder &output(const std::string &name) {
    graph->add_output()->set_name(name);
    return *this;
  }

  static void fillNode(onnx::NodeProto *node, const std::string &type,
                       const Names &inputs, const Names &outputs) {
    node->set_op_type(type);
    node->set_name(type + "_" + (outputs.empty() ? "" : outputs[0]));
    for (const std::string &name : inputs)
      node->add_input(name);
    for (const std::string &name : outputs)
      node->add_output(name);
  }

  /// The node's name is TYPE_FIRSTOUTPUT.
  onnx::NodeProto *node(const std::string &type, const Names &inputs,
                        const Names &outputs) {
    auto *node = graph->add_node();
    fillNode(node, type, inputs, outputs);
    return node;
  }

  onnx::TensorProto *ints(const std::string &name,
                          const std::vector<int64_t> &values) {
    return intsOfShape(name, {static_cast<int64_t>(values.size())}, values);
  }

  onnx::TensorProto *intsOfShape(const std::string &name,
                                 const std::vector<int64_t> &shape,
                                 const std::vector<int64_t> &values) {
    auto *tensor = initializer(name, onnx::TensorProto::INT64, shape);
    for (int64_t value : values)
      tensor->add_int64_data(value);
    return tensor;
  }

  /// A weight whose raw data are `values`.
  onnx::TensorProto *floats(const std::string &name,
                            const std::vector<int64_t> &shape,
                            const std::vector<float> &values) {
    auto *tensor = initializer(name, onnx::TensorProto::FLOAT, shape);
    tensor->set_raw_data(values.data(), values.size() * sizeof(float));
    return tensor;
  }

  onnx::TensorProto *initializer(const std::string &name, int32_t type,
                                 const std::vector<int64_t> &shape) {
    auto *tensor = graph->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(type);
    for (int64_t dim : shape)
      tensor->add_dims(dim);
    return tensor;
  }

  static void addOpset(onnx::OperatorSetIdProto *opset,
                       const std::string &domain, int64_t version) {
    opset->set_domain(domain);
    opset->set_version(version);
  }

  onnx::ModelProto model;
  onnx::GraphProto *graph;
};

inline onnx::AttributeProto *addAttr(onnx::NodeProto *node,
                                     const std::string &name,
                                     onnx::AttributeProto::AttributeType type) {
  auto *attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(type);
  return attribute;
}

inline onnx::NodeProto *setInt(onnx::NodeProto *node, const std::string &name,
                               int64_t value) {
  addAttr(node, name, onnx::AttributeProto::INT)->set_i(value);
  return node;
}

inline onnx::NodeProto *setInts(onnx::NodeProto *node, const std::string &name,
                                const std::vector<int64_t> &values) {
  auto *attribute = addAttr(node, name, onnx::AttributeProto::INTS);
  for (int64_t value : values)
    attribute->add_ints(value);
  return node;
}

inline onnx::NodeProto *setFloat(onnx::NodeProto *node, const std::string &name,
                                 float value) {
  addAttr(node, name, onnx::AttributeProto::FLOAT)->set_f(value);
  return node;
}

inline onnx::NodeProto *setString(onnx::NodeProto *node,
                                  const std::string &name,
                                  const std::string &value) {
  addAttr(node, name, onnx::AttributeProto::STRING)->set_s(value);
  return node;
}

/// What an import gave: the printed module or "", and the diagnostics, one a
/// line.
struct ImportResult {
  std::string ir;
  std::string diagnostics;
};

/// Runs `import` with a fresh context.
inline ImportResult collect(
    llvm::function_ref<mlir::OwningOpRef<mlir::ModuleOp>(mlir::MLIRContext *)>
        import) {
  mlir::MLIRContext context;
  ImportResult result;
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &d) {
    const char *severity =
        d.getSeverity() == mlir::DiagnosticSeverity::Warning ? "warning: " : "";
    result.diagnostics += severity + d.str() + "\n";
  });
  mlir::OwningOpRef<mlir::ModuleOp> module = import(&context);
  if (module) {
    llvm::raw_string_ostream os(result.ir);
    module->print(os);
  }
  return result;
}

inline ImportResult importBytes(const std::string &bytes,
                                const std::string &path = "model.onnx",
                                const ONNXImportOptions &options = {}) {
  return collect([&](mlir::MLIRContext *context) {
    return importONNXFromBuffer(bytes, path, context, options);
  });
}

inline ImportResult importModel(const ModelBuilder &builder,
                                const std::string &path = "model.onnx",
                                const ONNXImportOptions &options = {}) {
  return importBytes(builder.model.SerializeAsString(), path, options);
}

} // namespace nju::test

#endif // NJU_UNITTESTS_IMPORT_MODELBUILDER_H
