//===- ConformanceReport.h - Results of ONNX's tests of its ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_IMPORT_CONFORMANCEREPORT_H
#define NJU_UNITTESTS_IMPORT_CONFORMANCEREPORT_H

#include "NodeTests.h"
#include <map>
#include <set>

namespace nju::test {

/// What became of the node tests, a line for each operator:
/// docs/conformance.md.
class ConformanceReport {
public:
  /// `tests` are all that are added; they tell which operators there are.
  explicit ConformanceReport(const std::vector<NodeTest> &tests);

  void addPassed(const NodeTest &test);
  void addRefused(const NodeTest &test, const std::string &reason);
  void addFailed(const NodeTest &test);
  unsigned getNumPassed() const { return numPassed; }

  /// The page in Markdown.
  std::string print() const;
  /// Whether the file holds the page. With NJU_WRITE_CONFORMANCE in the
  /// environment, it is written first.
  testing::AssertionResult isPage(const std::string &path) const;

private:
  struct Line {
    unsigned passed = 0, failed = 0;
    std::map<std::string, unsigned> refused; ///< By reason.
    std::set<std::string> types;             ///< Of inputs of what passed.
  };

  Line &lineOf(const NodeTest &test);
  std::string operatorOf(const NodeTest &test) const;

  std::map<std::string, std::string> operators; ///< By the test's name.
  std::map<std::string, Line> lines;            ///< By operator.
  unsigned numTests = 0, numPassed = 0, numRefused = 0, numFailed = 0;
};

} // namespace nju::test

#endif // NJU_UNITTESTS_IMPORT_CONFORMANCEREPORT_H
