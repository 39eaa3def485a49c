//===- NodeOrder.cpp - Order of the nodes of a graph -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeOrder.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <queue>

using namespace mlir;
using namespace nju::onnx_import;

std::string nju::onnx_import::nodeName(const onnx::NodeProto &node) {
  if (!node.name().empty())
    return node.name();
  for (const std::string &output : node.output())
    if (!output.empty())
      return output;
  return "";
}

/// Calls `visit` with each name that the node or its subgraphs use, but those
/// that a subgraph defines itself.
static void forEachUse(const onnx::NodeProto &node,
                       llvm::function_ref<void(llvm::StringRef)> visit) {
  for (const std::string &input : node.input())
    visit(input);
  auto visitGraph = [&](const onnx::GraphProto &graph) {
    llvm::StringSet<> inner;
    for (const onnx::ValueInfoProto &input : graph.input())
      inner.insert(input.name());
    for (const onnx::TensorProto &initializer : graph.initializer())
      inner.insert(initializer.name());
    for (const onnx::NodeProto &child : graph.node())
      for (const std::string &output : child.output())
        inner.insert(output);
    auto visitOuter = [&](llvm::StringRef name) {
      if (!inner.contains(name))
        visit(name);
    };
    for (const onnx::NodeProto &child : graph.node())
      forEachUse(child, visitOuter);
    for (const onnx::ValueInfoProto &output : graph.output())
      visitOuter(output.name());
  };
  for (const onnx::AttributeProto &attribute : node.attribute()) {
    if (attribute.has_g())
      visitGraph(attribute.g());
    for (const onnx::GraphProto &graph : attribute.graphs())
      visitGraph(graph);
  }
}

namespace {
/// The nodes as a graph of indices.
struct Dependencies {
  llvm::SmallVector<llvm::SmallVector<int, 2>> users;
  llvm::SmallVector<int> numWaitedFor;
};
} // namespace

static FailureOr<llvm::StringMap<int>> findProducers(const NodeList &nodes,
                                                     EmitError emitError) {
  llvm::StringMap<int> producers;
  for (int i = 0; i < nodes.size(); ++i)
    for (const std::string &output : nodes[i].output()) {
      if (output.empty())
        continue;
      auto [it, isNew] = producers.try_emplace(output, i);
      if (isNew)
        continue;
      emitError() << "'" << output << "' is an output of two nodes, '"
                  << nodeName(nodes[it->second]) << "' and '"
                  << nodeName(nodes[i]) << "'; expected one";
      return failure();
    }
  return producers;
}

/// Names the nodes of one cycle among those that still wait for others.
static void reportCycle(const NodeList &nodes,
                        const llvm::StringMap<int> &producers,
                        const Dependencies &dependencies, EmitError emitError) {
  // Every waiting node has a producer that waits: walk back until a node comes
  // again.
  int node = static_cast<int>(
      llvm::find_if(dependencies.numWaitedFor, [](int n) { return n > 0; }) -
      dependencies.numWaitedFor.begin());
  llvm::SmallVector<int> walk;
  llvm::SmallVector<int> place(nodes.size(), -1);
  while (place[node] < 0) {
    place[node] = static_cast<int>(walk.size());
    walk.push_back(node);
    int next = -1;
    forEachUse(nodes[node], [&](llvm::StringRef name) {
      auto it = producers.find(name);
      if (it != producers.end() && dependencies.numWaitedFor[it->second] > 0)
        next = it->second;
    });
    assert(next >= 0 && "a waiting node waits for a node that is done");
    node = next;
  }
  constexpr unsigned kMostNames = 8;
  InFlightDiagnostic error = emitError();
  error << "the graph has a cycle: ";
  auto cycle = llvm::drop_begin(walk, place[node]);
  unsigned count = 0;
  for (int member : llvm::reverse(cycle)) {
    if (count++ == kMostNames) {
      error << "... -> ";
      break;
    }
    error << "'" << nodeName(nodes[member]) << "' -> ";
  }
  error << "'" << nodeName(nodes[walk.back()]) << "'";
}

FailureOr<llvm::SmallVector<const onnx::NodeProto *>>
nju::onnx_import::orderNodes(const NodeList &nodes, EmitError emitError) {
  FailureOr<llvm::StringMap<int>> producers = findProducers(nodes, emitError);
  if (failed(producers))
    return failure();
  Dependencies dependencies;
  dependencies.users.resize(nodes.size());
  dependencies.numWaitedFor.resize(nodes.size(), 0);
  for (int i = 0; i < nodes.size(); ++i)
    forEachUse(nodes[i], [&](llvm::StringRef name) {
      auto it = producers->find(name);
      if (it == producers->end())
        return;
      dependencies.users[it->second].push_back(i);
      ++dependencies.numWaitedFor[i];
    });
  std::priority_queue<int, std::vector<int>, std::greater<int>> ready;
  for (int i = 0; i < nodes.size(); ++i)
    if (dependencies.numWaitedFor[i] == 0)
      ready.push(i);
  llvm::SmallVector<const onnx::NodeProto *> order;
  while (!ready.empty()) {
    int node = ready.top();
    ready.pop();
    order.push_back(&nodes[node]);
    for (int user : dependencies.users[node])
      if (--dependencies.numWaitedFor[user] == 0)
        ready.push(user);
  }
  if (static_cast<int>(order.size()) == nodes.size())
    return order;
  reportCycle(nodes, *producers, dependencies, emitError);
  return failure();
}
