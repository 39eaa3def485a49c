/*===- count-allocations.c - A step allocates nothing ------------*- C -*-===*\
|*
|* Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
|* See LICENSE for license information.
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
\*===----------------------------------------------------------------------===*/
/*
 * usage: count-allocations MODEL.so THREADS
 *
 * Counts what the process asks malloc and mmap for: the functions of this
 * program stand in for those of the C library, in every library. Fails if a
 * session takes more than its cache, its scratch memory and a little, or if
 * anything is asked for after the first step. Prints both numbers.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mmap64 */
#endif
#include <nju/nju.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the C library calls its own. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *data, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_ullong calls, bytes;

static void count(size_t size) {
  atomic_fetch_add(&calls, 1);
  atomic_fetch_add(&bytes, size);
}

void *malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}
void *calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}
void *realloc(void *data, size_t size) {
  count(size);
  return __libc_realloc(data, size);
}
void *memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size) {
  *out = memalign(alignment, size);
  return *out ? 0 : 12; /* ENOMEM */
}
void *mmap(void *address, size_t size, int protection, int flags, int file,
           off_t offset) {
  count(size);
  return (void *)syscall(SYS_mmap, address, size, protection, flags, file,
                         offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int file,
             off64_t offset) {
  return mmap(address, size, protection, flags, file, offset);
}

/* What a session may take beside cache and scratch memory: room to place them
 * at large pages, and some numbers for each token of a batch. */
enum { kRoom = 2 * (2 << 20) + (64 << 10) };

static void check(nju_status status) {
  if (status == NJU_OK)
    return;
  fprintf(stderr, "count-allocations: error: %s\n", nju_last_error_message());
  _exit(1);
}

struct Driver {
  nju_session *session;
  nju_session_options limits;
  int32_t *tokens, *sequences, *rows;
  float *logits;
};

/* Appends `length` tokens to each of the first `sequences` sequences, in one
 * batch; the logits of the last ones are wanted. */
static void append(struct Driver *driver, int32_t sequences, int32_t length) {
  nju_batch batch = {.tokens = driver->tokens,
                     .sequences = driver->sequences,
                     .rows = driver->rows};
  for (int32_t s = 0; s < sequences; ++s) {
    for (int32_t i = 0; i < length; ++i) {
      driver->tokens[batch.num_tokens] = (7 * i + s) % 100;
      driver->sequences[batch.num_tokens++] = s;
    }
    driver->rows[batch.num_rows++] = batch.num_tokens - 1;
  }
  check(nju_session_step(driver->session, &batch, driver->logits));
}

/* Prompts as long as they fit, decode of one sequence and of all of them, trim
 * and fork. */
static void work(struct Driver *driver) {
  int32_t all = driver->limits.max_sequences;
  int32_t longest = driver->limits.max_tokens;
  for (int32_t s = 0; s < all; ++s)
    check(nju_session_trim(driver->session, s, 0));
  append(driver, 1, longest - 8);
  check(nju_session_fork(driver->session, 0, all - 1, longest / 2));
  for (int i = 0; i < 8; ++i)
    append(driver, 1, 1);
  check(nju_session_trim(driver->session, 0, 0));
  check(nju_session_trim(driver->session, all - 1, 0));
  append(driver, all, longest - 8);
  for (int i = 0; i < 8; ++i)
    append(driver, all, 1);
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: count-allocations MODEL.so THREADS\n");
    return 1;
  }
  nju_model *model;
  check(nju_model_load(argv[1], NULL, &model));
  nju_session_options options = {.num_threads = atoi(argv[2])};
  struct Driver driver;
  unsigned long long before = bytes;
  check(nju_session_create(model, &options, &driver.session));
  unsigned long long taken = bytes - before;
  driver.limits = nju_session_limits(driver.session);
  nju_memory memory = nju_session_memory(driver.session);

  size_t most = (size_t)driver.limits.max_tokens * driver.limits.max_sequences;
  driver.tokens = malloc(most * sizeof(int32_t));
  driver.sequences = malloc(most * sizeof(int32_t));
  driver.rows = malloc(driver.limits.max_sequences * sizeof(int32_t));
  driver.logits = malloc(driver.limits.max_sequences *
                         nju_model_vocabulary(model) * sizeof(float));
  append(&driver, 1, 1);
  unsigned long long first = calls;
  work(&driver);
  work(&driver);
  unsigned long long later = calls - first;

  printf("session: %llu bytes beyond cache and scratch memory\n"
         "steps: %llu allocations\n",
         taken - (unsigned long long)(memory.cache + memory.arena), later);
  int isGood = later == 0 && taken >= memory.cache + memory.arena &&
               taken - memory.cache - memory.arena <= kRoom;
  nju_session_release(driver.session);
  nju_model_release(model);
  return isGood ? 0 : 1;
}
