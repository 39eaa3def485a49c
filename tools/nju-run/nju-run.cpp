//===- nju-run.cpp - Run compiled models ----------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Common.h"

#include <csignal>
#include <cstdio>

using namespace nju::run;

/// Puts everything into one line.
static int reportError(std::string message) {
  for (char &c : message)
    if (c == '\n')
      c = ' ';
  fprintf(stderr, "nju-run: error: %s\n", message.c_str());
  return 1;
}

static int runTool(int argc, char **argv) {
  CLI::App app("Runs models compiled by nju-compile.", "nju-run");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("nju-run ") + nju_version());
  app.footer("'nju-run COMMAND --help' explains a command, with examples.");
  Work work;
  addGenerateCommand(app, work);
  addChatCommand(app, work);
  addPerplexityCommand(app, work);
  addInfoCommand(app, work);
  addLogitsCommand(app, work);
  addRunCommand(app, work);
  addBenchCommand(app, work);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &success) {
    return app.exit(success);
  } catch (const CLI::ParseError &error) {
    return reportError(std::string(error.what()) +
                       " (see 'nju-run COMMAND --help')");
  }
  work();
  return 0;
}

int main(int argc, char **argv) {
  // A closed pipe is noticed where standard output is written.
  signal(SIGPIPE, SIG_IGN);
  // A file that grows too large is an error of writing, not the end.
  signal(SIGXFSZ, SIG_IGN);
  catchInterrupts();
  try {
    return runTool(argc, argv);
  } catch (const BrokenPipe &) {
    return 128 + SIGPIPE;
  } catch (const std::bad_alloc &) {
    return reportError("out of memory");
  } catch (const std::exception &error) {
    return reportError(error.what());
  }
}
