//===- OutputFile.cpp - Files that appear complete or not at all *- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/OutputFile.h"
#include "nju/Support/Interrupt.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;
using nju::OutputFile;
using nju::TemporaryFile;
using nju::UninterruptedScope;

Error OutputFile::failure(StringRef doing, int error) {
  return createStringError("cannot " + doing + " '" + path +
                           "': " + std::strerror(error));
}

/// A rename would replace a device or a pipe by a file.
static Expected<int> openSpecial(StringRef path) {
  int descriptor = ::open(path.str().c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0)
    return createStringError("cannot create '" + path +
                             "': " + std::strerror(errno));
  return descriptor;
}

Expected<std::unique_ptr<OutputFile>> OutputFile::create(StringRef path) {
  struct stat info;
  if (::stat(path.str().c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    Expected<int> descriptor = openSpecial(path);
    if (!descriptor)
      return descriptor.takeError();
    return std::unique_ptr<OutputFile>(new OutputFile(path, "", *descriptor));
  }
  std::string temporary =
      (path + ".tmp-" + Twine(static_cast<uint64_t>(::getpid()))).str();
  int descriptor;
  {
    // Else the file could appear after an interrupt removed what there was.
    UninterruptedScope scope;
    sys::RemoveFileOnSignal(temporary);
    descriptor =
        ::open(temporary.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666);
  }
  if (descriptor < 0) {
    int error = errno;
    sys::DontRemoveFileOnSignal(temporary);
    return createStringError("cannot create '" + path +
                             "': " + std::strerror(error));
  }
  return std::unique_ptr<OutputFile>(
      new OutputFile(path, temporary, descriptor));
}

OutputFile::~OutputFile() {
  if (descriptor >= 0)
    ::close(descriptor);
  if (!temporary.empty()) {
    ::unlink(temporary.c_str());
    sys::DontRemoveFileOnSignal(temporary);
  }
}

Error OutputFile::reserve(uint64_t size) {
  if (size > 0 && ::fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, size) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
    return failure("write", errno);
  return Error::success();
}

/// Size and alignment of direct writes; a multiple of every block size.
static constexpr size_t kStagingBytes = size_t(4) << 20;
static constexpr size_t kBlock = 4096;

void OutputFile::bypassCache() {
  int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_DIRECT) != 0)
    return;
  staging.reset(static_cast<char *>(std::aligned_alloc(kBlock, kStagingBytes)));
  if (!staging)
    ::fcntl(descriptor, F_SETFL, flags);
}

Error OutputFile::writeNow(const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = ::write(descriptor, bytes, size);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return failure("write", errno);
    bytes += written;
    size -= written;
  }
  return Error::success();
}

/// Writes what is staged, and goes on through the cache.
Error OutputFile::flush() {
  if (!staging)
    return Error::success();
  size_t whole = staged / kBlock * kBlock;
  if (Error error = writeNow(staging.get(), whole))
    return error;
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) & ~O_DIRECT);
  std::unique_ptr<char, Free> rest = std::move(staging);
  return writeNow(rest.get() + whole, staged - whole);
}

Error OutputFile::write(const void *data, size_t size) {
  const char *bytes = static_cast<const char *>(data);
  if (!staging)
    return writeNow(bytes, size);
  while (size > 0) {
    size_t take = std::min(size, kStagingBytes - staged);
    std::memcpy(staging.get() + staged, bytes, take);
    staged += take;
    bytes += take;
    size -= take;
    if (staged < kStagingBytes)
      break;
    if (Error error = writeNow(staging.get(), staged))
      return error;
    staged = 0;
  }
  return Error::success();
}

Error OutputFile::writeAt(uint64_t offset, const void *data, size_t size) {
  if (Error error = flush())
    return error;
  const char *bytes = static_cast<const char *>(data);
  while (size > 0) {
    ssize_t written = ::pwrite(descriptor, bytes, size, offset);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return failure("write", errno);
    bytes += written;
    offset += written;
    size -= written;
  }
  return Error::success();
}

Error OutputFile::commit() {
  if (Error error = flush())
    return error;
  // close() may report a failed write of a network file system.
  int closed = ::close(descriptor);
  descriptor = -1;
  if (closed != 0)
    return failure("write", errno);
  if (temporary.empty())
    return Error::success();
  UninterruptedScope scope;
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return failure("create", errno);
  sys::DontRemoveFileOnSignal(temporary);
  temporary.clear();
  return Error::success();
}

Expected<TemporaryFile> TemporaryFile::create(StringRef suffix,
                                              StringRef content) {
  SmallString<128> path;
  int descriptor;
  {
    UninterruptedScope scope;
    if (std::error_code code =
            sys::fs::createTemporaryFile("nju", suffix, descriptor, path))
      return createStringError(code, "cannot create a temporary file: %s",
                               code.message().c_str());
    sys::RemoveFileOnSignal(path);
  }
  TemporaryFile file(path);
  raw_fd_ostream out(descriptor, /*shouldClose=*/true);
  out << content;
  out.close();
  if (std::error_code code = out.error()) {
    out.clear_error();
    return createStringError(code, "cannot write '%s': %s", path.c_str(),
                             code.message().c_str());
  }
  return file;
}

TemporaryFile::~TemporaryFile() {
  if (path.empty())
    return;
  sys::fs::remove(path);
  sys::DontRemoveFileOnSignal(path);
}

Error nju::writeFile(StringRef path, StringRef content) {
  Expected<std::unique_ptr<OutputFile>> file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  if (Error error = (*file)->write(content))
    return error;
  return (*file)->commit();
}
