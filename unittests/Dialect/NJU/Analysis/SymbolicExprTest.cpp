//===- SymbolicExprTest.cpp - Tests of symbolic expressions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/SymbolicExpr.h"
#include "gtest/gtest.h"
#include <limits>

using namespace nju;

namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

struct SymbolicExprTest : testing::Test {
  SymbolicContext context;
  SymbolicExpr s = context.symbol("s"), b = context.symbol("b"),
               past = context.symbol("past");
  SymbolicExpr c(int64_t value) { return context.constant(value); }
};

TEST_F(SymbolicExprTest, EqualPolynomialsAreOneExpression) {
  EXPECT_EQ((s + b) * (s - b), s * s - b * b);
  EXPECT_EQ((s - s).asConstant(), 0);
  EXPECT_EQ(context.symbol("s"), s);
  EXPECT_NE(context.unknown(), context.unknown());
  EXPECT_NE(s + 1, s);
}

TEST_F(SymbolicExprTest, PrintsReadably) {
  EXPECT_EQ((past + s * 2 - 1).str(), "2*s + past - 1");
  EXPECT_EQ((-s).str(), "-s");
  EXPECT_EQ(c(0).str(), "0");
  EXPECT_EQ(c(kMin).str(), "-9223372036854775808");
  EXPECT_EQ(s.floorDiv(b).str(), "floordiv(s, b)");
  EXPECT_EQ(s.mod(c(4)).str(), "mod(s, 4)");
  EXPECT_EQ(SymbolicExpr::min(s, c(1024)).str(), "min(s, 1024)");
}

TEST_F(SymbolicExprTest, DividesExactly) {
  EXPECT_EQ((s * b * 64).exactDiv(b * 8), s * 8);
  EXPECT_EQ((s * s + s * b * 2 + b * b).exactDiv(s + b), s + b);
  EXPECT_FALSE((s + 1).exactDiv(s));
  EXPECT_FALSE((s * 3).exactDiv(c(2)));
  EXPECT_FALSE(s.exactDiv(c(0)));
  EXPECT_EQ(c(0).exactDiv(s), c(0));
}

TEST_F(SymbolicExprTest, RoundsQuotients) {
  EXPECT_EQ(c(-7).floorDiv(c(2)), c(-4));
  EXPECT_EQ(c(7).floorDiv(c(-2)), c(-4));
  EXPECT_EQ(c(7).ceilDiv(c(2)), c(4));
  EXPECT_EQ(c(-7).mod(c(3)), c(2));
  EXPECT_EQ((s * 4 + 6).floorDiv(c(4)), s + 1);
  EXPECT_EQ((s + 4).floorDiv(c(4)), s.floorDiv(c(4)) + 1);
  EXPECT_EQ((s + 4).mod(c(4)), s.mod(c(4)));
  EXPECT_EQ(s.floorDiv(b), s.floorDiv(b));
}

TEST_F(SymbolicExprTest, KnowsBounds) {
  EXPECT_TRUE(s.isAtLeast(1));
  EXPECT_FALSE(s.isAtLeast(2));
  EXPECT_TRUE(past.isAtLeast(0));
  EXPECT_FALSE(past.isAtLeast(1)); // A cache may be empty.
  EXPECT_TRUE((past + s).isAtLeast(1));
  EXPECT_FALSE((s - b).isAtLeast(0));
  EXPECT_TRUE(s.floorDiv(b).isAtLeast(0));
  EXPECT_FALSE(context.unknown(kMin).isAtLeast(-5));
}

TEST_F(SymbolicExprTest, DecidesMinimaWhereItCan) {
  EXPECT_EQ(SymbolicExpr::min(s, s + past), s);
  EXPECT_EQ(SymbolicExpr::max(s, c(1)), s);
  EXPECT_EQ(SymbolicExpr::min(c(3), c(-4)), c(-4));
  SymbolicExpr open = SymbolicExpr::min(s, c(8));
  EXPECT_FALSE(open.isConstant());
  EXPECT_EQ(open, SymbolicExpr::min(c(8), s));
  // min(s, 8) is not larger than either.
  EXPECT_EQ(SymbolicExpr::max(open, s), s);
  EXPECT_TRUE((c(8) - open).isAtLeast(0));
}

TEST_F(SymbolicExprTest, SubstitutesInsideOfOpaqueSymbols) {
  SymbolicExpr expr = SymbolicExpr::min(s, c(8)) + (b * s).floorDiv(past);
  EXPECT_EQ(expr.substitute({{s, c(20)}, {past, c(3)}}).str(),
            "floordiv(20*b, 3) + 8");
  EXPECT_EQ(expr.evaluate({{s, 20}, {past, 3}, {b, 2}}), 8 + 13);
  EXPECT_EQ(expr.evaluate({{s, 20}, {past, 3}}), std::nullopt);
  // No value: a division by zero.
  EXPECT_EQ(expr.evaluate({{s, 20}, {past, 0}, {b, 2}}), std::nullopt);
  EXPECT_EQ((s * b).substitute({{b, c(1)}}), s);
}

TEST_F(SymbolicExprTest, OverflowIsOpaque) {
  SymbolicExpr sum = c(kMax) + c(1);
  EXPECT_FALSE(sum.isConstant());
  EXPECT_EQ(sum.str(), "overflow((9223372036854775807) + (1))");
  EXPECT_FALSE((c(kMax) * c(2)).isConstant());
  EXPECT_FALSE((-c(kMin)).isConstant());
  EXPECT_EQ((s * c(kMax) * c(3)).evaluate({{s, 2}}), std::nullopt);
  EXPECT_EQ(c(kMax) + c(0), c(kMax));
}

TEST_F(SymbolicExprTest, ParsesDimensionNames) {
  EXPECT_EQ(context.parse("past + s"), past + s);
  EXPECT_EQ(context.parse("2*(s - 1)"), s * 2 - 2);
  EXPECT_EQ(context.parse("s//4"), s.floorDiv(c(4)));
  EXPECT_EQ(context.parse("min(s, 8)"), SymbolicExpr::min(s, c(8)));
  EXPECT_EQ(context.parse("-s"), -s);
  EXPECT_EQ(context.parse("17"), c(17));
  EXPECT_EQ(context.parse(" s "), s);
}

TEST_F(SymbolicExprTest, OtherNamesAreSymbols) {
  for (llvm::StringRef name : {"batch size", "s +", "a/0", "Concat_12_dim(",
                               "99999999999999999999", "f(x)", "\xc3\xa4"})
    EXPECT_EQ(context.parse(name), context.symbol(name)) << name.str();
  std::string deep(100, '(');
  EXPECT_EQ(context.parse(deep), context.symbol(deep));
  std::string large = "(a+b+c+d+e+f)";
  for (int i = 0; i < 30; ++i)
    large += "*(a+b+c+d+e+f)";
  EXPECT_TRUE(context.parse(large)); // Comes back at once.
}

// Graphs are foreign input: nothing may take long or recurse deeply.
TEST_F(SymbolicExprTest, StaysSmall) {
  SymbolicExpr nested = s, sum = s, power = s;
  for (int i = 0; i < 20000; ++i) {
    nested = SymbolicExpr::min(nested, context.unknown()).floorDiv(nested + 1);
    sum = sum + context.unknown();
    power = power * power;
  }
  llvm::SetVector<SymbolicExpr> symbols;
  for (SymbolicExpr expr : {nested, sum, power}) {
    expr.collectSymbols(symbols);
    EXPECT_LT(expr.str().size(), 10000u);
    EXPECT_TRUE(expr.substitute({{s, c(1)}}));
  }
  EXPECT_LT(symbols.size(), 1000u);
}

TEST_F(SymbolicExprTest, CollectsSymbols) {
  llvm::SetVector<SymbolicExpr> symbols;
  (SymbolicExpr::min(s, c(8)) * b + 3).collectSymbols(symbols);
  EXPECT_EQ(symbols.size(), 2u);
  EXPECT_TRUE(symbols.contains(s) && symbols.contains(b));
  EXPECT_TRUE((s + b).isKnown());
  EXPECT_FALSE((s + context.unknown()).isKnown());
}

} // namespace
