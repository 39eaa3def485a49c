//===- LMGraph.h - A graph looked at as a language model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What --nju-to-lm-form knows of a function. Values are of three kinds:
//
//  * static: constants and weights;
//  * positional: they depend on the number of tokens, the length of the past,
//    the attention mask (all ones) and the position ids (counting up), but
//    neither on which tokens there are nor on what the past holds;
//  * data: all others.
//
// Nothing about positional values is matched by how it is written: they are
// evaluated for several lengths.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TRANSFORMS_LMGRAPH_H
#define NJU_LIB_TRANSFORMS_LMGRAPH_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Dialect/NJU/IR/NJU.h"

namespace nju {

/// A call of the graph: `tokens` new tokens after `past` earlier ones.
struct LMLength {
  int64_t tokens, past;
  int64_t total() const { return tokens + past; }
};

class LMGraph {
public:
  /// `function` is the analysis' own copy of the graph: its types change.
  explicit LMGraph(mlir::func::FuncOp function) : function(function) {}

  /// Finds the roles of arguments and results, sets batch 1 and the symbols of
  /// the lengths, and infers all shapes anew. The first thing to call.
  mlir::LogicalResult specialize();

  mlir::func::FuncOp getFunction() { return function; }
  ShapeInference &getShapes() { return shapes; }
  mlir::BlockArgument getTokens() { return tokens; }
  llvm::ArrayRef<mlir::BlockArgument> getPasts() { return pasts; }
  int64_t getVocabulary() const { return vocabulary; }
  /// The logits before the casts at the function's boundary.
  mlir::Value getLogits();
  /// The results that are not the logits, before casts at the boundary.
  llvm::SmallVector<mlir::Value> getPresents();
  /// What the output is called that is one of getPresents().
  std::string getPresentName(unsigned index);

  bool isData(mlir::Value value);
  bool isPositional(mlir::Value value);

  /// The dimension of a value that counts the new tokens, if there is just one
  /// such dimension and all others are numbers.
  std::optional<int64_t> tokenAxis(mlir::Value value);
  /// The same for the length of the past.
  std::optional<int64_t> pastAxis(mlir::Value value);
  /// True if every dimension is a number.
  bool hasStaticShape(mlir::Value value);
  /// Shape of a value for a length; empty if a dimension has no number.
  llvm::SmallVector<int64_t> shapeAt(mlir::Value value, LMLength length);

  /// An evaluator that knows masks, positions and shapes for a length.
  std::unique_ptr<Evaluator> createEvaluator(LMLength length);
  /// Lengths that show how values depend on the length, up to `maxTokens`.
  llvm::SmallVector<LMLength> sampleLengths(int64_t maxTokens);

  /// Records why the graph is no language model; returns failure.
  mlir::LogicalResult refuse(mlir::Location location, const llvm::Twine &why);
  llvm::StringRef getRefusal() const { return refusal; }
  mlir::Location getRefusalLocation() { return refusalLocation.value(); }

private:
  bool hasRowPerToken();
  bool takeAllTokens();
  bool selectsLastToken(mlir::Operation *op);
  mlir::LogicalResult findRoles();
  mlir::LogicalResult findResults();
  mlir::LogicalResult
  findIntegerRoles(llvm::ArrayRef<mlir::BlockArgument> arguments);
  mlir::LogicalResult setTokens(llvm::ArrayRef<mlir::BlockArgument> arguments);
  mlir::LogicalResult
  findUnnamedRoles(llvm::ArrayRef<mlir::BlockArgument> arguments);
  mlir::LogicalResult inferShapes();
  void assumeShort(mlir::Value value);
  SymbolicExpr linearForShort(SymbolicExpr dim);
  std::string nameOf(mlir::BlockArgument argument);
  std::string resultName(unsigned index);
  std::optional<int64_t> axisOf(mlir::Value value, SymbolicExpr symbol);
  enum class Kind { Static, Positional, Data };
  Kind kindOf(mlir::Value value);

  mlir::func::FuncOp function;
  ShapeInference shapes;
  SymbolicExpr tokenSymbol, pastSymbol;
  mlir::BlockArgument tokens;
  llvm::SmallVector<mlir::BlockArgument> masks, positions, pasts;
  mlir::Operation *terminator = nullptr;
  unsigned logitsIndex = 0;
  int64_t vocabulary = 0;
  llvm::DenseMap<mlir::Value, Kind> kinds;
  std::string refusal;
  std::optional<mlir::Location> refusalLocation;
};

/// Index of a tensor's element in row-major order.
int64_t flatten(llvm::ArrayRef<int64_t> coordinates,
                llvm::ArrayRef<int64_t> shape);
/// The coordinates of an element.
llvm::SmallVector<int64_t> unflatten(int64_t index,
                                     llvm::ArrayRef<int64_t> shape);

} // namespace nju

#endif // NJU_LIB_TRANSFORMS_LMGRAPH_H
