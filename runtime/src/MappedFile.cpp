//===- MappedFile.cpp - Read-only file mapping ----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace nju;

namespace {
struct FileDescriptor {
  int number;
  ~FileDescriptor() {
    if (number >= 0)
      ::close(number);
  }
};
} // namespace

MappedFile::~MappedFile() { close(); }

void MappedFile::close() {
  if (data)
    munmap(const_cast<uint8_t *>(data), size);
  data = nullptr;
  size = 0;
}

nju_status MappedFile::open(const std::string &path, const char *what) {
  // Without O_NONBLOCK the open of a fifo would wait for a writer.
  FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0)
    return fail(errno == ENOENT || errno == ENOTDIR ? NJU_NOT_FOUND
                                                    : NJU_IO_ERROR,
                "cannot open %s '%s': %s", what, path.c_str(), strerror(errno));
  struct stat info;
  if (fstat(file.number, &info))
    return fail(NJU_IO_ERROR, "cannot read %s '%s': %s", what, path.c_str(),
                strerror(errno));
  if (!S_ISREG(info.st_mode))
    return fail(NJU_INVALID_ARGUMENT, "%s '%s' is not a regular file", what,
                path.c_str());
  if (info.st_size == 0)
    return fail(NJU_DATA_LOSS, "%s '%s' is empty", what, path.c_str());
  void *address =
      mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (address == MAP_FAILED)
    return fail(NJU_IO_ERROR, "cannot map %" PRIu64 " bytes of %s '%s': %s",
                uint64_t(info.st_size), what, path.c_str(), strerror(errno));
  data = static_cast<const uint8_t *>(address);
  size = info.st_size;
  return NJU_OK;
}
