//===- ToLMForm.cpp - A causal language model becomes a step -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LMStep.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Transforms/Passes.h"

namespace nju {
#define GEN_PASS_DEF_TOLMFORM
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

namespace {

/// Positions that a step serves if nobody says how many are wanted.
constexpr int64_t kDefaultMaxTokens = 2048;

class ToLMForm : public nju::impl::ToLMFormBase<ToLMForm> {
public:
  using ToLMFormBase::ToLMFormBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || main.isExternal())
      return;
    if (failed(checkOptions()))
      return signalPassFailure();
    // The graph stays as it is unless everything succeeds.
    func::FuncOp copy = main.clone();
    SymbolTable symbols(getOperation());
    symbols.insert(copy);
    LMGraph graph(copy);
    Outcome outcome = transform(graph);
    if (outcome == Outcome::Refused) {
      InFlightDiagnostic remark = emitRemark(main.getLoc())
                                  << "no causal language model: "
                                  << graph.getRefusal();
      remark.attachNote(graph.getRefusalLocation()) << "this one";
    }
    symbols.erase(copy);
    if (outcome == Outcome::Done)
      symbols.erase(main);
    if (outcome == Outcome::Error)
      signalPassFailure();
  }

private:
  enum class Outcome { Done, Refused, Error };

  LogicalResult checkOptions() {
    for (auto [name, value] :
         {std::pair("max-tokens", maxTokens.getValue()),
          std::pair("max-sequences", maxSequences.getValue()),
          std::pair("max-batch-tokens", maxBatchTokens.getValue())})
      if (value < 0 || (value == 0 && StringRef(name) != "max-tokens"))
        return getOperation().emitError()
               << name << " is " << value << ", expected at least 1";
    if (!parseCacheType(cacheType))
      return getOperation().emitError()
             << "cache-type is '" << cacheType << "', expected "
             << getCacheTypeNames();
    return success();
  }

  Outcome transform(LMGraph &graph) {
    int64_t wanted = maxTokens > 0 ? maxTokens : kDefaultMaxTokens;
    if (failed(graph.specialize()))
      return Outcome::Refused;
    FailureOr<SmallVector<LMAttention, 0>> attentions = findAttentions(graph);
    if (failed(attentions) || failed(traceCaches(graph, *attentions, wanted)))
      return Outcome::Refused;
    if (failed(checkCacheType(graph, *attentions)))
      return Outcome::Error;
    FailureOr<LMPlan> plan = planStep(graph, *attentions);
    if (failed(plan))
      return Outcome::Refused;

    int64_t limit = findLimit(graph, *plan, *attentions, wanted);
    auto described =
        describeMasks(graph, *attentions, std::max<int64_t>(limit, 1));
    // Behind its end, one column of a table passes for one that is broadcast.
    if (!described && limit > 2 &&
        (described = describeMasks(graph, *attentions, limit - 1)))
      --limit;
    if (limit < wanted && limit > 0 && maxTokens > 0) {
      graph.getFunction().emitError()
          << "max-tokens is " << wanted << ", but the tables of positions in "
          << "the model end after " << limit << "; use max-tokens=" << limit;
      return Outcome::Error;
    }
    limit = std::max<int64_t>(limit, 1);
    // A mask that only covers the one pair of one token is another one.
    bool isTrivial =
        limit == 1 && wanted > 1 && !describeMasks(graph, *attentions, 2);
    if (!described || isTrivial) {
      // Once more, to say why.
      (void)analyzeMasks(graph, *attentions, isTrivial ? 2 : limit);
      return Outcome::Refused;
    }
    // The plan points to them.
    llvm::copy(*described, attentions->begin());
    PositionTables tables(graph, limit);
    FailureOr<func::FuncOp> step = buildStep(graph, *plan, tables);
    if (failed(step))
      return Outcome::Refused;
    numAttention += attentions->size();
    remarkLeftOut(findLeftOutOutputs(graph, *attentions));
    describe(graph, *attentions, limit);
    return succeeded(cleanUp(*step)) ? Outcome::Done : Outcome::Error;
  }

  /// Heads must be such that they can be kept as `cacheType` says.
  LogicalResult checkCacheType(LMGraph &graph,
                               ArrayRef<LMAttention> attentions) {
    for (auto [i, attention] : llvm::enumerate(attentions)) {
      CacheLayout layout{*parseCacheType(cacheType), attention.groups,
                         attention.headDim};
      if (std::string problem = layout.getProblem(); !problem.empty())
        return graph.getFunction().emitError()
               << "the cache cannot be " << cacheType << ": in layer " << i
               << ", " << problem;
    }
    return success();
  }

  /// Outputs must not go silently.
  void remarkLeftOut(ArrayRef<std::string> names) {
    if (names.empty())
      return;
    std::string list;
    llvm::raw_string_ostream os(list);
    llvm::interleaveComma(names, os,
                          [&](StringRef name) { os << "'" << name << "'"; });
    emitRemark(getOperation().lookupSymbol("main")->getLoc())
        << "a causal language model gives logits only: output"
        << (names.size() > 1 ? "s " : " ") << list
        << (names.size() > 1 ? " are" : " is") << " left out";
  }

  /// True if everything positional can be computed for `length` tokens.
  bool fits(LMGraph &graph, const LMPlan &plan,
            ArrayRef<LMAttention> attentions, int64_t length) {
    auto evaluator = graph.createEvaluator({length, 0});
    for (Value value : plan.tables) {
      FailureOr<HostTensor> tensor = evaluator->evaluate(value);
      if (failed(tensor) ||
          tensor->getShape() !=
              ArrayRef<int64_t>(graph.shapeAt(value, {length, 0})))
        return false;
    }
    for (GatherOp lookup : plan.lookups) {
      FailureOr<HostTensor> indices = evaluator->evaluate(lookup.getIndices());
      int64_t rows = lookup.getInput().getType().getDimSize(0);
      if (failed(indices) || llvm::any_of(indices->getInts(), [&](int64_t i) {
            return i < 0 || i >= rows;
          }))
        return false;
    }
    return masksFit(graph, attentions, length);
  }

  /// The greatest number of tokens, up to `wanted`, that tables in the model
  /// allow; 0 if there is none.
  int64_t findLimit(LMGraph &graph, const LMPlan &plan,
                    ArrayRef<LMAttention> attentions, int64_t wanted) {
    if (fits(graph, plan, attentions, wanted))
      return wanted;
    int64_t good = 0, bad = wanted;
    while (bad - good > 1) {
      int64_t middle = good + (bad - good) / 2;
      (fits(graph, plan, attentions, middle) ? good : bad) = middle;
    }
    return good;
  }

  /// What `analyzeMasks` makes of the attentions; none, silently, if it has a
  /// complaint.
  std::optional<SmallVector<LMAttention, 0>>
  describeMasks(LMGraph &graph, ArrayRef<LMAttention> attentions,
                int64_t length) {
    ScopedDiagnosticHandler silent(&getContext(), [](Diagnostic &) {});
    SmallVector<LMAttention, 0> described(attentions);
    if (failed(analyzeMasks(graph, described, length)))
      return std::nullopt;
    return described;
  }

  /// Sets the module's attribute `nju.lm`.
  void describe(LMGraph &graph, ArrayRef<LMAttention> attentions,
                int64_t limit) {
    Builder builder(&getContext());
    SmallVector<Attribute> cache;
    for (const LMAttention &attention : attentions)
      cache.push_back(builder.getDictionaryAttr(
          {builder.getNamedAttr("heads",
                                builder.getI64IntegerAttr(attention.groups)),
           builder.getNamedAttr("type", builder.getStringAttr(cacheType)),
           builder.getNamedAttr(
               "head_dim", builder.getI64IntegerAttr(attention.headDim))}));
    auto number = [&](StringRef name, int64_t value) {
      return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
    };
    getOperation()->setAttr(
        "nju.lm",
        builder.getDictionaryAttr(
            {number("vocabulary", graph.getVocabulary()),
             number("max_tokens", limit), number("max_sequences", maxSequences),
             number("max_batch_tokens", maxBatchTokens),
             builder.getNamedAttr("cache", builder.getArrayAttr(cache))}));
  }

  LogicalResult cleanUp(func::FuncOp step) {
    RewritePatternSet patterns(&getContext());
    populateLMCleanup(patterns);
    if (failed(applyPatternsGreedily(step, std::move(patterns))))
      return step.emitError() << "clean-up of 'step' does not end";
    IRRewriter rewriter(&getContext());
    DominanceInfo dominance(step);
    eliminateCommonSubExpressions(rewriter, dominance, step);
    return success();
  }
};

} // namespace
