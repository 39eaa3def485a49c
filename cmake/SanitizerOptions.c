/* Linked into every program that is built with sanitizers. */

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
const char *__lsan_default_suppressions(void);

/* LLVM's allocators poison what they have not given out yet, where they are
   inlined into our code; LLVM's own library is not instrumented and writes
   there. 1 would be the exit code of a program that refuses its input. */
__attribute__((visibility("default"), used)) const char *
__asan_default_options(void) {
  return "allow_user_poisoning=0:exitcode=99";
}

__attribute__((visibility("default"), used)) const char *
__ubsan_default_options(void) {
  return "print_stacktrace=1";
}

/* libomp keeps the memory of its threads until the process ends. */
__attribute__((visibility("default"), used)) const char *
__lsan_default_suppressions(void) {
  return "leak:libomp.so";
}
