//===- ChatTemplate.cpp - How chat models want to be spoken to ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ChatTemplate.h"

using namespace nju::run;

const std::vector<ChatTemplate> &nju::run::getChatTemplates() {
  static const std::vector<ChatTemplate> templates = {
      {"plain",
       "",
       "\n\n",
       "User: ",
       "\nAssistant:",
       "\n",
       false,
       {},
       {"\nUser:"},
       nullptr},
      {"chatml",
       "<|im_start|>system\n",
       "<|im_end|>\n",
       "<|im_start|>user\n",
       "<|im_end|>\n<|im_start|>assistant\n",
       "<|im_end|>\n",
       false,
       {"<|im_end|>"},
       {},
       "<|im_start|>"},
      {"llama-2",
       "<<SYS>>\n",
       "\n<</SYS>>\n\n",
       "[INST] ",
       " [/INST]",
       "</s><s>",
       true,
       {},
       {},
       nullptr},
      {"llama-3",
       "<|start_header_id|>system<|end_header_id|>\n\n",
       "<|eot_id|>",
       "<|start_header_id|>user<|end_header_id|>\n\n",
       "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
       "<|eot_id|>",
       false,
       {"<|eot_id|>"},
       {},
       "<|start_header_id|>"},
  };
  return templates;
}

const ChatTemplate *nju::run::findChatTemplate(const std::string &name) {
  for (const ChatTemplate &format : getChatTemplates())
    if (name == format.name)
      return &format;
  return nullptr;
}

const ChatTemplate &nju::run::detectChatTemplate(
    const std::function<bool(const char *)> &hasToken) {
  for (const ChatTemplate &format : getChatTemplates())
    if (format.mark && hasToken(format.mark))
      return format;
  return getChatTemplates().front();
}

std::string nju::run::formatTurn(const ChatTemplate &format,
                                 const std::string &system,
                                 const std::string &user) {
  std::string text =
      system.empty() ? "" : format.systemBegin + system + format.systemEnd;
  if (format.systemInUser)
    return format.userBegin + text + user + format.userEnd;
  return text + format.userBegin + user + format.userEnd;
}
