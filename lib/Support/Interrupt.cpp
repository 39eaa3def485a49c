//===- Interrupt.cpp - Ending in order after Ctrl-C -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/Interrupt.h"
#include "nju/Support/OutputFile.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <mutex>
#include <optional>
#include <thread>
#include <unistd.h>

using namespace llvm;
using namespace nju;

namespace {
struct State {
  std::mutex mutex;
  pid_t child = 0;
  bool finished = false;
};
} // namespace

/// Lives until the process is gone: the waiting thread uses it.
static State &getState() {
  static State *state = new State;
  return *state;
}

/// A thread of its own takes the signals, so that ending the program may lock,
/// which a signal handler must not.
static void waitForInterrupt(sigset_t signals, const std::string &program) {
  State &state = getState();
  while (true) {
    int signal;
    if (sigwait(&signals, &signal) != 0)
      return;
    std::lock_guard<std::mutex> lock(state.mutex);
    if (state.finished)
      continue;
    if (state.child)
      kill(state.child, SIGKILL);
    // Until it is reaped it may still write.
    for (int i = 0; i < 1000 && state.child && !kill(state.child, 0); ++i)
      usleep(1000);
    sys::RunInterruptHandlers();
    std::string message = program + ": error: interrupted\n";
    if (sys::Process::StandardErrIsDisplayed())
      message = "\n" + message;
    [[maybe_unused]] ssize_t written =
        ::write(STDERR_FILENO, message.data(), message.size());
    _exit(1);
  }
}

void nju::handleInterrupts(StringRef program) {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action;
    // nohup and shells that run in the background ignore signals on purpose.
    if (sigaction(signal, nullptr, &action) == 0 &&
        action.sa_handler != SIG_IGN)
      sigaddset(&signals, signal);
  }
  // Every thread made later inherits this.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(waitForInterrupt, signals, program.str()).detach();
}

UninterruptedScope::UninterruptedScope() { getState().mutex.lock(); }
UninterruptedScope::~UninterruptedScope() { getState().mutex.unlock(); }
void UninterruptedScope::ignoreInterrupts() { getState().finished = true; }

Error nju::runProgram(ArrayRef<std::string> command) {
  Expected<TemporaryFile> messages = TemporaryFile::create("txt");
  if (!messages)
    return messages.takeError();
  SmallVector<StringRef> arguments(command.begin(), command.end());
  std::optional<StringRef> redirects[] = {StringRef(), messages->getPath(),
                                          messages->getPath()};
  std::string reason;
  sys::ProcessInfo process;
  {
    UninterruptedScope scope;
    process =
        sys::ExecuteNoWait(command.front(), arguments, /*Env=*/std::nullopt,
                           redirects, /*MemoryLimit=*/0, &reason);
    getState().child = process.Pid;
  }
  if (process.Pid) {
    process = sys::Wait(process, /*SecondsToWait=*/std::nullopt, &reason);
    UninterruptedScope scope;
    getState().child = 0;
    if (process.ReturnCode == 0)
      return Error::success();
  }
  if (process.ReturnCode > 0)
    if (auto text = MemoryBuffer::getFile(messages->getPath()))
      reason = (*text)->getBuffer().trim().str();
  return createStringError(command.front() + " failed: " + reason);
}
