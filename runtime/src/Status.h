//===- Status.h - Failures of the C API -------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_STATUS_H
#define NJU_RUNTIME_STATUS_H

#include "nju/nju.h"

#include <cinttypes>
#include <exception>
#include <new>

namespace nju {

/// Records a message (printf style: lower case, no final stop) for the calling
/// thread and returns `status`. Messages longer than 2 KiB are cut.
[[gnu::format(printf, 2, 3)]] nju_status fail(nju_status status,
                                              const char *format, ...);

/// Runs the body of a C API function; no exception leaves it.
template <typename Body>
nju_status guard(Body &&body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return fail(NJU_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception &error) {
    return fail(NJU_INTERNAL, "unexpected exception: %s", error.what());
  } catch (...) {
    return fail(NJU_INTERNAL, "unexpected exception");
  }
}

} // namespace nju

#endif // NJU_RUNTIME_STATUS_H
