//===- Status.cpp - Failures of the C API ---------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Status.h"

#include <cstdarg>
#include <cstdio>

static thread_local char lastMessage[2048];

nju_status nju::fail(nju_status status, const char *format, ...) {
  // The arguments may point into the previous message, so write beside it.
  char message[sizeof(lastMessage)];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  snprintf(lastMessage, sizeof(lastMessage), "%s", message);
  return status;
}

const char *nju_last_error_message(void) { return lastMessage; }

const char *nju_version(void) { return NJU_VERSION; }
