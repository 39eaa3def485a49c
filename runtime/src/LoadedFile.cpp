//===- LoadedFile.cpp - A file read into memory ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LoadedFile.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace nju;

/// What one read asks for: large enough that a disk reaches its full rate.
static constexpr uint64_t chunkBytes = 4 << 20;
/// Reads under way at once; disks need several to reach their full rate.
static constexpr unsigned numReaders = 4;
/// What reads past the page cache must be aligned to.
static constexpr uint64_t directAlignment = 4096;

namespace {
/// Reads chunks of a file until all are there or something fails. Its methods
/// run in several threads at once.
class ChunkReader {
public:
  ChunkReader(const std::string &path, const MappedFile &mapped, uint8_t *to)
      : mapped(mapped), to(to),
        cached(open(path.c_str(), O_RDONLY | O_CLOEXEC)),
        direct(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)),
        hasDirect(direct >= 0) {
    if (cached >= 0)
      return;
    error = errno;
    end = 0;
  }
  ~ChunkReader() {
    for (int file : {cached, direct})
      if (file >= 0)
        close(file);
  }

  /// Reads one more chunk; false if there is none or something failed.
  bool readNext();
  void stop() { stopped = true; }

  uint64_t getDone() const { return done; }
  /// Byte at which the file ended too early; its size if it did not.
  uint64_t getEnd() const { return end; }
  /// The error number of a read that failed, or 0.
  int getError() const { return error; }

private:
  bool isCached(uint64_t begin, uint64_t size) const;
  ssize_t readOnce(uint64_t begin, uint64_t size, bool pastCache);
  bool fill(uint64_t begin, uint64_t size);

  const MappedFile &mapped;
  uint8_t *to;
  int cached; ///< descriptor that reads through the page cache
  int direct; ///< ... and past it
  std::atomic<bool> hasDirect;
  std::atomic<uint64_t> next{0}, done{0}, end{mapped.getSize()};
  std::atomic<int> error{0};
  std::atomic<bool> stopped{false};
};
} // namespace

bool ChunkReader::isCached(uint64_t begin, uint64_t size) const {
  const uint64_t page = sysconf(_SC_PAGESIZE);
  std::vector<unsigned char> resident((size + page - 1) / page);
  auto *address = const_cast<uint8_t *>(mapped.getData() + begin);
  return mincore(address, size, resident.data()) == 0 &&
         std::all_of(resident.begin(), resident.end(),
                     [](unsigned char bits) { return bits & 1; });
}

/// Reads what one call gives; the memory has room up to the next page.
ssize_t ChunkReader::readOnce(uint64_t begin, uint64_t size, bool pastCache) {
  if (pastCache && hasDirect && begin % directAlignment == 0) {
    uint64_t whole =
        (size + directAlignment - 1) / directAlignment * directAlignment;
    ssize_t count = pread(direct, to + begin, whole, begin);
    if (count >= 0 || errno != EINVAL)
      return std::min(count, ssize_t(size));
    // This file system has no such reads after all.
    hasDirect = false;
  }
  ssize_t count = pread(cached, to + begin, size, begin);
  if (pastCache && count > 0)
    posix_fadvise(cached, begin, count, POSIX_FADV_DONTNEED);
  return count;
}

bool ChunkReader::fill(uint64_t begin, uint64_t size) {
  bool pastCache = !isCached(begin, size);
  for (uint64_t got = 0; got < size && !stopped;) {
    ssize_t count = readOnce(begin + got, size - got, pastCache);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0) {
      error = count < 0 ? errno : 0;
      end = begin + got;
      // Another reader may be the one that meets the end first.
      struct stat info;
      if (count == 0 && fstat(cached, &info) == 0)
        end = std::min<uint64_t>(end, info.st_size);
      return false;
    }
    got += count;
    done += count;
  }
  return true;
}

bool ChunkReader::readNext() {
  uint64_t begin = next.fetch_add(chunkBytes);
  if (stopped || error || begin >= mapped.getSize())
    return false;
  if (fill(begin, std::min(chunkBytes, mapped.getSize() - begin)))
    return true;
  stop();
  return false;
}

/// Reads everything; false if `progress` asked to stop.
static bool readAll(ChunkReader &reader, uint64_t total,
                    const LoadProgress &progress) {
  std::vector<std::thread> readers;
  uint64_t most = std::min<uint64_t>(numReaders, total / chunkBytes);
  while (readers.size() + 1 < most) {
    try {
      readers.emplace_back([&reader] {
        while (reader.readNext())
          ;
      });
    } catch (const std::system_error &) {
      break; // No more threads: those that are there do the work.
    }
  }
  bool wanted = true;
  while (wanted && reader.readNext())
    wanted = !progress || !progress(reader.getDone(), total);
  if (!wanted)
    reader.stop();
  for (std::thread &thread : readers)
    thread.join();
  if (wanted && progress && reader.getDone() == total)
    wanted = !progress(total, total);
  return wanted;
}

nju_status LoadedFile::load(const std::string &path, const MappedFile &mapped,
                            const char *what, const LoadProgress &progress) {
  uint64_t size = mapped.getSize(), available = getAvailableMemory();
  // Reads past the page cache write whole pages.
  if (size > available || !memory.reserve((size + directAlignment - 1) /
                                              directAlignment * directAlignment,
                                          /*hugePages=*/true))
    return fail(NJU_RESOURCE_EXHAUSTED,
                "loading %s '%s' into memory needs %" PRIu64 " bytes, %" PRIu64
                " more than the %" PRIu64
                " available: map it instead (NJU_WEIGHTS_MAP, nju-run "
                "--weights=map)",
                what, path.c_str(), size, size - std::min(size, available),
                available);
  ChunkReader reader(path, mapped, memory.getData());
  if (!readAll(reader, size, progress))
    return fail(NJU_CANCELLED, "loading %s '%s' was cancelled", what,
                path.c_str());
  if (int error = reader.getError())
    return fail(NJU_IO_ERROR, "cannot read %s '%s' at byte %" PRIu64 ": %s",
                what, path.c_str(), reader.getEnd(), strerror(error));
  if (reader.getEnd() != size)
    return fail(NJU_DATA_LOSS,
                "%s '%s' ended at byte %" PRIu64
                " while it was read, expected %" PRIu64 " bytes",
                what, path.c_str(), reader.getEnd(), size);
  return NJU_OK;
}
