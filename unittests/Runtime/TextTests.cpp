//===- TextTests.cpp - Stop strings and chat formats ----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ChatTemplate.h"
#include "Text.h"

#include <gtest/gtest.h>

using namespace nju::run;

/// Feeds `text` in pieces of `size` and returns all that comes out.
static std::string filter(const std::vector<std::string> &stops,
                          const std::string &text, size_t size) {
  StopFilter filter(stops);
  std::string result;
  for (size_t begin = 0; begin < text.size(); begin += size)
    result += filter.push(text.substr(begin, size));
  return result + filter.finish();
}

TEST(StopFilter, CutsBeforeTheFirstStopString) {
  for (size_t size = 1; size < 8; ++size) {
    EXPECT_EQ(filter({}, "hello world", size), "hello world");
    EXPECT_EQ(filter({"wor"}, "hello world", size), "hello ");
    EXPECT_EQ(filter({"h"}, "hello world", size), "");
    EXPECT_EQ(filter({"xyz", "lo w", "lo"}, "hello world", size), "hel");
    EXPECT_EQ(filter({"aab"}, "aaaab!", size), "aa");
    EXPECT_EQ(filter({"worlds"}, "hello world", size), "hello world");
  }
}

TEST(StopFilter, HoldsBackWhatMayBecomeAStop) {
  StopFilter filter({"\nUser:"});
  EXPECT_EQ(filter.push("hi\nUs"), "hi");
  EXPECT_FALSE(filter.isStopped());
  EXPECT_EQ(filter.push("age"), "\nUsage");
  EXPECT_EQ(filter.push("\nUser: x"), "");
  EXPECT_TRUE(filter.isStopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(ChatTemplate, FormatsTurns) {
  EXPECT_EQ(formatTurn(*findChatTemplate("plain"), "", "Hi"),
            "User: Hi\nAssistant:");
  EXPECT_EQ(formatTurn(*findChatTemplate("plain"), "Be brief.", "Hi"),
            "Be brief.\n\nUser: Hi\nAssistant:");
  EXPECT_EQ(formatTurn(*findChatTemplate("chatml"), "Be brief.", "Hi"),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
            "Hi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(formatTurn(*findChatTemplate("llama-2"), "Be brief.", "Hi"),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]");
  EXPECT_EQ(formatTurn(*findChatTemplate("llama-3"), "Be brief.", "Hi"),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(findChatTemplate("none"), nullptr);
}

TEST(ChatTemplate, IsDetectedByItsTokens) {
  auto detect = [](const std::string &token) {
    return std::string(detectChatTemplate([&](const char *name) {
                         return token == name;
                       }).name);
  };
  EXPECT_EQ(detect("<|im_start|>"), "chatml");
  EXPECT_EQ(detect("<|start_header_id|>"), "llama-3");
  EXPECT_EQ(detect("<s>"), "plain");
}
