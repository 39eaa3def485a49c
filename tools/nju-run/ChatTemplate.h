//===- ChatTemplate.h - How chat models want to be spoken to ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUN_CHATTEMPLATE_H
#define NJU_RUN_CHATTEMPLATE_H

#include <functional>
#include <string>
#include <vector>

namespace nju::run {

/// The text around the turns of a conversation.
struct ChatTemplate {
  const char *name;
  /// Around the system's text, where there is one.
  const char *systemBegin, *systemEnd;
  /// Around what the user says; the model answers after userEnd.
  const char *userBegin, *userEnd;
  /// After an answer.
  const char *answerEnd;
  /// Whether the system's text goes into the first turn of the user.
  bool systemInUser;
  /// Names of tokens that end an answer, beside the tokenizer's own.
  std::vector<const char *> endTokens;
  /// Texts that end an answer.
  std::vector<const char *> stops;
  /// A token that only models of this format have; null if there is none.
  const char *mark;
};

/// The formats: plain, chatml, llama-2, llama-3.
const std::vector<ChatTemplate> &getChatTemplates();

/// The format called `name`; null if there is none.
const ChatTemplate *findChatTemplate(const std::string &name);

/// The format whose mark is a token (`hasToken`); plain if none is.
const ChatTemplate &
detectChatTemplate(const std::function<bool(const char *)> &hasToken);

/// The text of one turn of the user, up to where the model answers. `system` is
/// the system's text, for the first turn only; empty for none.
std::string formatTurn(const ChatTemplate &format, const std::string &system,
                       const std::string &user);

} // namespace nju::run

#endif // NJU_RUN_CHATTEMPLATE_H
