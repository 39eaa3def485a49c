//===- TinyModel.h - A small language model for tests -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_REFINEMENT_TINYMODEL_H
#define NJU_UNITTESTS_REFINEMENT_TINYMODEL_H

#include "../ExpectValue.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "nju/Execution/Executor.h"
#include "gtest/gtest.h"
#include <cmath>
#include <memory>
#include <random>

namespace nju {

/// A decoder of some layers with random weights: 16 wide, two query heads and
/// one key head of 8, gated MLP of 24, 20 tokens.
class TinyModel {
public:
  explicit TinyModel(int layers, unsigned seed = 1,
                     llvm::StringRef activation = "swiglu")
      : TinyModel() {
    parse(makeText(layers, activation.str()), seed);
  }

  /// A model of another text, whose params get random values; `step` is its
  /// function.
  static std::unique_ptr<TinyModel> fromText(llvm::StringRef text) {
    std::unique_ptr<TinyModel> model(new TinyModel());
    model->parse(text, 1);
    return model;
  }

  /// Sequences of random tokens.
  static TokenBatch makeTokens(std::vector<int> lengths, unsigned seed = 9) {
    std::mt19937 random(seed);
    TokenBatch tokens;
    for (int length : lengths) {
      tokens.sequences.emplace_back();
      for (int i = 0; i < length; ++i)
        tokens.sequences.back().push_back(int32_t(random() % 20));
    }
    return tokens;
  }

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp step;

private:
  TinyModel() { context.loadDialect<NJUDialect, mlir::func::FuncDialect>(); }

  void parse(llvm::StringRef text, unsigned seed) {
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    EXPECT_TRUE(module) << text.str();
    step = *module->getOps<mlir::func::FuncOp>().begin();
    std::mt19937 random(seed);
    module->walk([&](ParamOp param) { fill(param, random); });
  }

  static void fill(ParamOp param, std::mt19937 &random) {
    auto type = mlir::cast<mlir::ElementsAttr>(param.getData());
    auto shape = mlir::cast<mlir::RankedTensorType>(type.getShapedType());
    bool isNorm = shape.getRank() == 1;
    std::vector<float> values(shape.getNumElements());
    for (float &value : values) {
      // Sums of uniform numbers: normal enough, the same on every machine.
      double sum = 0;
      for (int i = 0; i < 6; ++i)
        sum += random() / 4294967296.0 - 0.5;
      value = float(isNorm ? 1 + 0.2 * sum
                           : sum / std::sqrt(double(shape.getDimSize(0)) / 2));
    }
    param.setDataAttr(
        mlir::DenseElementsAttr::get(shape, llvm::ArrayRef<float>(values)));
  }

  static std::string makeText(int layers, const std::string &activation) {
    std::string params, body, x = "%x";
    auto addMatrix = [&](const std::string &name, int depth, int columns) {
      params += "nju.param @" + name + " : tensor<1x" + std::to_string(depth) +
                "x32xf32> = dense<0.0> : tensor<" + std::to_string(depth) +
                "x" + std::to_string(columns) + "xf32> {panels = 32 : i64}\n";
    };
    auto multiply = [&](const std::string &result, const std::string &input,
                        const std::string &name, int depth, int columns) {
      addMatrix(name, depth, columns);
      std::string weight = "tensor<1x" + std::to_string(depth) + "x32xf32>";
      body += "%" + name + " = nju.param_ref @" + name + " : " + weight + "\n" +
              result + " = nju.linear " + input + ", %" + name +
              " : (tensor<1x?x" + std::to_string(depth) + "xf32>, " + weight +
              ") -> tensor<1x?x" + std::to_string(columns) + "xf32>\n";
    };
    auto normalize = [&](const std::string &result, const std::string &input,
                         const std::string &name) {
      params += "nju.param @" + name +
                " : tensor<16xf32> = dense<1.0> : tensor<16xf32>\n";
      body += "%" + name + " = nju.param_ref @" + name + " : tensor<16xf32>\n" +
              result + " = nju.rms_norm " + input + ", %" + name +
              " {epsilon = 1.0e-5 : f64} : (tensor<1x?x16xf32>, "
              "tensor<16xf32>) -> tensor<1x?x16xf32>\n";
    };
    auto reshape = [&](const std::string &result, const std::string &input,
                       const std::string &from, const std::string &shape,
                       const std::string &to) {
      body += result + " = nju.reshape " + input + ", %" + shape +
              " : (tensor<1x?x" + from + ">, tensor<" +
              (to[1] == 'x' ? "4" : "3") + "xi64>) -> tensor<1x?x" + to + ">\n";
    };
    for (int i = 0; i < layers; ++i) {
      std::string l = std::to_string(i);
      normalize("%n" + l, x, "na" + l);
      multiply("%q" + l, "%n" + l, "wq" + l, 16, 16);
      multiply("%k" + l, "%n" + l, "wk" + l, 16, 8);
      multiply("%v" + l, "%n" + l, "wv" + l, 16, 8);
      reshape("%rq" + l, "%q" + l, "16xf32", "heads", "2x8xf32");
      reshape("%rk" + l, "%k" + l, "8xf32", "group", "1x8xf32");
      reshape("%rv" + l, "%v" + l, "8xf32", "group", "1x8xf32");
      body += "%a" + l + " = nju.cached_attention %rq" + l + ", %rk" + l +
              ", %rv" + l + ", %positions, %sequences {layer = " + l +
              " : i64, scale = 0.35 : f64} : (tensor<1x?x2x8xf32>, "
              "tensor<1x?x1x8xf32>, tensor<1x?x1x8xf32>, tensor<?xi32>, "
              "tensor<?xi32>) -> tensor<1x?x2x8xf32>\n";
      reshape("%ra" + l, "%a" + l, "2x8xf32", "flat", "16xf32");
      multiply("%o" + l, "%ra" + l, "wo" + l, 16, 16);
      std::string sum = " : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> "
                        "tensor<1x?x16xf32>\n";
      body += "%y" + l + " = nju.add " + x + ", %o" + l + sum;
      normalize("%m" + l, "%y" + l, "nm" + l);
      multiply("%g" + l, "%m" + l, "wg" + l, 16, 24);
      multiply("%u" + l, "%m" + l, "wu" + l, 16, 24);
      if (activation == "swiglu")
        body += "%s" + l + " = nju.swiglu %g" + l + ", %u" + l +
                " : (tensor<1x?x24xf32>, tensor<1x?x24xf32>) -> "
                "tensor<1x?x24xf32>\n";
      else
        body += "%s" + l + " = nju." + activation + " %g" + l +
                " : (tensor<1x?x24xf32>) -> tensor<1x?x24xf32>\n";
      multiply("%d" + l, "%s" + l, "wd" + l, 24, 16);
      body += "%z" + l + " = nju.add %y" + l + ", %d" + l + sum;
      x = "%z" + l;
    }
    normalize("%last", x, "nf");
    multiply("%head", "%last", "wh", 16, 20);
    return params +
           "nju.param @embed : tensor<20x16xf32> = dense<0.0> : "
           "tensor<20x16xf32>\n" +
           R"(func.func @step(%tokens: tensor<?xi32> {nju.name = "tokens"},
    %positions: tensor<?xi32> {nju.name = "positions"},
    %sequences: tensor<?xi32> {nju.name = "sequences"},
    %rows: tensor<?xi32> {nju.name = "rows"})
    -> (tensor<?x20xf32> {nju.name = "logits"}) {
  %heads = nju.constant dense<[1, 0, 2, 8]> : tensor<4xi64>
  %group = nju.constant dense<[1, 0, 1, 8]> : tensor<4xi64>
  %flat = nju.constant dense<[1, 0, 16]> : tensor<3xi64>
  %line = nju.constant dense<[1, -1]> : tensor<2xi64>
  %logits = nju.constant dense<[-1, 20]> : tensor<2xi64>
  %ids = nju.reshape %tokens, %line : (tensor<?xi32>, tensor<2xi64>) -> tensor<1x?xi32>
  %embed = nju.param_ref @embed : tensor<20x16xf32>
  %x = nju.gather %embed, %ids {axis = 0 : i64} : (tensor<20x16xf32>, tensor<1x?xi32>) -> tensor<1x?x16xf32>
)" + body +
           R"(%result = nju.reshape %head, %logits : (tensor<1x?x20xf32>, tensor<2xi64>) -> tensor<?x20xf32>
  return %result : tensor<?x20xf32>
})";
  }
};

} // namespace nju

#endif // NJU_UNITTESTS_REFINEMENT_TINYMODEL_H
