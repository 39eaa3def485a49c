//===- SymbolicExprParser.cpp - Reads names of dimensions -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/SymbolicExpr.h"
#include "llvm/ADT/StringExtras.h"

using namespace nju;
using llvm::StringRef;

namespace {

/// A recursive descent parser; a null expression says that the text is no
/// expression. Models are foreign input: depth and length are bounded.
class Parser {
public:
  Parser(SymbolicContext &context, StringRef text)
      : context(context), rest(text) {}

  SymbolicExpr parse() {
    SymbolicExpr expr = parseSum(0);
    skipSpace();
    return rest.empty() ? expr : SymbolicExpr();
  }

private:
  static constexpr unsigned kMaxDepth = 32;

  void skipSpace() { rest = rest.ltrim(); }
  bool consume(StringRef token) {
    skipSpace();
    return rest.consume_front(token);
  }

  SymbolicExpr parseSum(unsigned depth) {
    SymbolicExpr sum = parseProduct(depth);
    while (sum) {
      bool adds = consume("+");
      if (!adds && !consume("-"))
        break;
      SymbolicExpr next = parseProduct(depth);
      if (!next)
        return {};
      sum = adds ? sum + next : sum - next;
    }
    return sum;
  }

  SymbolicExpr parseProduct(unsigned depth) {
    SymbolicExpr product = parseUnary(depth);
    while (product) {
      bool multiplies = consume("*");
      if (!multiplies && !consume("//") && !consume("/"))
        break;
      SymbolicExpr next = parseUnary(depth);
      if (!next || (!multiplies && next.isConstant(0)))
        return {};
      product = multiplies ? product * next : product.floorDiv(next);
    }
    return product;
  }

  SymbolicExpr parseUnary(unsigned depth) {
    if (depth >= kMaxDepth)
      return {};
    if (consume("-")) {
      SymbolicExpr operand = parseUnary(depth + 1);
      return operand ? -operand : operand;
    }
    if (consume("(")) {
      SymbolicExpr inner = parseSum(depth + 1);
      return consume(")") ? inner : SymbolicExpr();
    }
    skipSpace();
    size_t length = 0;
    auto isNameChar = [](char c) {
      return llvm::isAlnum(c) || c == '_' || c == '.';
    };
    while (length < rest.size() && isNameChar(rest[length]))
      ++length;
    StringRef word = rest.take_front(length);
    rest = rest.drop_front(length);
    if (word.empty())
      return {};
    if (llvm::isDigit(word[0])) {
      int64_t number;
      return word.getAsInteger(10, number) ? SymbolicExpr()
                                           : context.constant(number);
    }
    return consume("(") ? parseCall(word, depth + 1) : context.symbol(word);
  }

  SymbolicExpr parseCall(StringRef callee, unsigned depth) {
    SymbolicExpr a = parseSum(depth), b;
    if (a && consume(",")) {
      b = parseSum(depth);
      if (!b)
        return {};
    }
    if (!a || !consume(")"))
      return {};
    std::string name = callee.lower();
    if (!b)
      return name == "floor" ? a : SymbolicExpr();
    bool divides = name == "floordiv" || name == "mod";
    if (divides && b.isConstant(0))
      return {};
    if (divides)
      return name == "mod" ? a.mod(b) : a.floorDiv(b);
    if (name == "min" || name == "max")
      return name == "min" ? SymbolicExpr::min(a, b) : SymbolicExpr::max(a, b);
    return {};
  }

  SymbolicContext &context;
  StringRef rest;
};

} // namespace

SymbolicExpr SymbolicContext::parse(StringRef text) {
  constexpr size_t kMaxLength = 512;
  if (text.size() <= kMaxLength)
    if (SymbolicExpr expr = Parser(*this, text).parse())
      return expr;
  return symbol(text.trim());
}
