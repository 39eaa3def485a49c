//===- bench-roofs.cpp - What this machine can do at most -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Reading memory far beyond the caches and arithmetic in registers, one JSON
// line a number of threads. Units the CPU does not have are null.
//
//   bench-roofs [--bytes N] [THREADS...]
//   bench-roofs --turns [--bytes N] THREADS
//
// With --turns it prints N, and for each line of its input the seconds that
// reading N bytes takes at that moment.
//
//===----------------------------------------------------------------------===//

#include "nju/Support/HostRates.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

using namespace nju;

/// Much more than any cache holds.
static constexpr size_t kDefaultBytes = size_t(2) << 30;

static std::string formatRate(const char *name, double rate) {
  char text[96];
  if (rate == 0)
    snprintf(text, sizeof(text), ", \"%s\": null", name);
  else
    snprintf(text, sizeof(text), ", \"%s\": %.4g", name, rate);
  return text;
}

static void printRates(const ReadMeter &meter, unsigned threads) {
  double plain = meter.measure(threads, 1), streams = plain;
  for (unsigned count : {2, 4})
    streams = std::max(streams, meter.measure(threads, count));
  std::string line = "{\"threads\": " + std::to_string(threads);
  line += formatRate("read_bytes_per_second", plain);
  line += formatRate("read_streams_bytes_per_second", streams);
  static const struct {
    const char *name;
    ComputeUnit unit;
  } units[] = {{"f32_flops_per_second", ComputeUnit::FMA},
               {"int8_vnni_ops_per_second", ComputeUnit::VNNI},
               {"int8_amx_ops_per_second", ComputeUnit::AMXInt8},
               {"bf16_amx_flops_per_second", ComputeUnit::AMXBF16}};
  for (const auto &entry : units)
    line += formatRate(entry.name, measureComputeRate(entry.unit, threads));
  puts((line + "}").c_str());
  fflush(stdout);
}

static void takeTurns(size_t bytes, unsigned threads) {
  ReadMeter meter(bytes, threads);
  printf("%zu\n", bytes);
  fflush(stdout);
  for (int c; (c = getchar()) != EOF;) {
    if (c != '\n')
      continue;
    printf("%.9g\n", bytes / meter.measure(threads, 1));
    fflush(stdout);
  }
}

/// A whole number from 1 to `most`; ends the program if it is none.
static size_t parseNumber(const char *text, size_t most) {
  char *rest;
  unsigned long long value = strtoull(text, &rest, 10);
  if (*text >= '0' && *text <= '9' && !*rest && value >= 1 && value <= most)
    return value;
  fprintf(stderr,
          "bench-roofs: error: '%s' is not a whole number from 1 to %zu\n",
          text, most);
  exit(1);
}

int main(int argc, char **argv) {
  size_t bytes = kDefaultBytes;
  bool turns = false;
  std::vector<unsigned> threads;
  for (int i = 1; i < argc; ++i) {
    if (!strcmp(argv[i], "--bytes") && i + 1 < argc)
      bytes = parseNumber(argv[++i], size_t(1) << 40);
    else if (!strcmp(argv[i], "--turns"))
      turns = true;
    else if (argv[i][0] == '-') {
      fprintf(stderr,
              "usage: bench-roofs [--turns] [--bytes N] [THREADS...]\n");
      return 1;
    } else
      threads.push_back(parseNumber(argv[i], 1024));
  }
  unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  if (threads.empty())
    threads =
        cores == 1 ? std::vector<unsigned>{1} : std::vector<unsigned>{1, cores};
  if (turns) {
    takeTurns(bytes, threads.back());
    return 0;
  }
  ReadMeter meter(bytes, *std::max_element(threads.begin(), threads.end()));
  for (unsigned count : threads)
    printRates(meter, count);
  return 0;
}
