//===- CommandTests.cpp - The commands of nju-run -------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include "nju/checksum.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

using namespace nju;
using namespace nju::test;

namespace {
struct Result {
  int status; ///< Exit code, or 128 plus the signal.
  std::string out, err;
};

struct Command : testing::Test {
  void SetUp() override {
    // The tests use two threads, wherever they run.
    setenv("NJU_CORES", "2", 1);
    for (const char *name :
         {"fake.so", "fake-graph.so", "fake-cpu.so", "fake-slow.so"})
      folder.write(name, readFile(std::string(NJU_TEST_MODELS "/") + name));
    folder.write("fake.safetensors", fake::makeWeightFile());
  }

  /// Starts nju-run in the test's folder and gives its process id.
  pid_t start(const std::vector<std::string> &arguments, int limit = 0) {
    pid_t child = fork();
    if (child)
      return child;
    std::vector<char *> argv = {const_cast<char *>("nju-run")};
    for (const std::string &argument : arguments)
      argv.push_back(const_cast<char *>(argument.c_str()));
    argv.push_back(nullptr);
    if (chdir(folder.get("").c_str()) || !freopen(input.c_str(), "r", stdin) ||
        !freopen("out", "w", stdout) || !freopen("err", "w", stderr))
      _exit(99);
    if (limit) {
      // Files cannot grow beyond this: writing fails as on a full disk.
      rlimit size = {rlim_t(limit), rlim_t(limit)};
      setrlimit(RLIMIT_FSIZE, &size);
    }
    execv(NJU_TEST_NJU_RUN, argv.data());
    _exit(98);
  }
  Result wait(pid_t child) {
    int status;
    waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            readFile(folder.get("out")), readFile(folder.get("err"))};
  }
  Result run(const std::vector<std::string> &arguments) {
    return wait(start(arguments));
  }

  void expectOutput(const std::vector<std::string> &arguments,
                    const std::string &output) {
    Result result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.out, output);
    EXPECT_EQ(result.err, "");
  }
  /// Expects exit code 1 and one line that contains `message`.
  void expectError(const std::vector<std::string> &arguments,
                   const std::string &message) {
    Result result = run(arguments);
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.err.rfind("nju-run: error: ", 0), 0u) << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
    EXPECT_NE(result.err.find(message), std::string::npos)
        << "expected '" << message << "' in: " << result.err;
  }

  TemporaryFolder folder;
  std::string input = "/dev/null";
};
} // namespace

/// Greedy continuation of `text` by the fake model.
static std::vector<int> predictAll(std::vector<int> text, int count) {
  std::vector<int> result;
  for (int i = 0; i < count; ++i) {
    result.push_back(fake::predict(text));
    text.push_back(result.back());
  }
  return result;
}

static std::string join(const std::vector<int> &tokens) {
  std::string text;
  for (int token : tokens)
    text += (text.empty() ? "" : ",") + std::to_string(token);
  return text;
}

/// The characters of the test's tokenizer: token i + 2 is characters[i].
static const std::string characters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static std::string makeTokenizer(int extra = 0) {
  nlohmann::json vocab = {{"<s>", 0}, {"</s>", 1}};
  for (size_t i = 0; i < characters.size(); ++i)
    vocab[characters.substr(i, 1)] = i + 2;
  for (int i = 0; i < extra; ++i)
    vocab["extra" + std::to_string(i)] = 64 + i;
  nlohmann::json added = nlohmann::json::array();
  for (int id = 0; id < 2; ++id)
    added.push_back({{"id", id},
                     {"content", id ? "</s>" : "<s>"},
                     {"special", true},
                     {"normalized", false},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false}});
  nlohmann::json tokenizer = {{"version", "1.0"},
                              {"added_tokens", added},
                              {"normalizer", nullptr},
                              {"pre_tokenizer", nullptr},
                              {"post_processor", nullptr},
                              {"decoder", {{"type", "Fuse"}}},
                              {"model",
                               {{"type", "BPE"},
                                {"vocab", vocab},
                                {"merges", nlohmann::json::array()}}}};
  return tokenizer.dump();
}

static std::vector<int> encode(const std::string &text) {
  std::vector<int> tokens;
  for (char c : text)
    tokens.push_back(characters.find(c) + 2);
  return tokens;
}

static std::string decode(const std::vector<int> &tokens) {
  std::string text;
  for (int token : tokens)
    if (token >= 2)
      text += characters[token - 2];
  return text;
}

/// A prompt whose greedy continuation of `count` tokens has no special token.
static std::string findPrompt(int count) {
  for (char a : characters)
    for (char b : characters) {
      std::string prompt = {a, b};
      bool isPlain = true;
      for (int token : predictAll(encode(prompt), count))
        isPlain &= token >= 2;
      if (isPlain)
        return prompt;
    }
  return "";
}

//===----------------------------------------------------------------------===//
// generate
//===----------------------------------------------------------------------===//

TEST_F(Command, GeneratesTokens) {
  expectOutput({"generate", "fake.so", "--tokens", "1,5,9", "--max-new-tokens",
                "20", "--ignore-eos", "--print", "tokens"},
               join(predictAll({1, 5, 9}, 20)) + "\n");
  // Without a tokenizer tokens are printed anyway.
  expectOutput({"generate", "fake.so", "--tokens", "3", "--max-new-tokens", "1",
                "--threads", "1", "--verify"},
               join(predictAll({3}, 1)) + "\n");
  expectOutput(
      {"generate", "fake.so", "--tokens", "3", "--max-new-tokens", "0"}, "\n");
}

TEST_F(Command, LoadsOrMapsTheWeights) {
  for (const char *mode : {"map", "load"})
    expectOutput({"generate", "fake.so", "--tokens", "3", "--max-new-tokens",
                  "5", "--ignore-eos", "--weights", mode},
                 join(predictAll({3}, 5)) + "\n");
  folder.write("elsewhere", fake::makeWeightFile());
  unlink(folder.get("fake.safetensors").c_str());
  expectOutput({"generate", "fake.so", "--tokens", "3", "--max-new-tokens", "1",
                "--weights=load", "--weights-file", "elsewhere"},
               join(predictAll({3}, 1)) + "\n");
  expectError({"info", "fake.so", "--weights", "elsewhere"},
              "'elsewhere' is neither 'map' nor 'load' (a weight file is given "
              "by --weights-file)");
}

TEST_F(Command, GeneratesText) {
  folder.write("fake.tokenizer.json", makeTokenizer());
  std::string prompt = findPrompt(12);
  std::vector<int> expected = predictAll(encode(prompt), 12);
  expectOutput(
      {"generate", "fake.so", "--prompt", prompt, "--max-new-tokens", "12"},
      prompt + decode(expected) + "\n");
  expectOutput({"generate", "fake.so", "--prompt", prompt, "--max-new-tokens",
                "12", "--no-echo"},
               decode(expected) + "\n");
  expectOutput({"generate", "fake.so", "--prompt", prompt, "--max-new-tokens",
                "12", "--print", "tokens"},
               join(expected) + "\n");
  // The first occurrence counts.
  std::string text = decode(expected), stop = text.substr(6, 2);
  expectOutput({"generate", "fake.so", "--prompt", prompt, "--max-new-tokens",
                "12", "--no-echo", "--stop", "??", "--stop", stop},
               text.substr(0, text.find(stop)) + "\n");
}

TEST_F(Command, StopsAtEndTokensUnlessTold) {
  folder.write("tokenizer.json", makeTokenizer());
  // A text that ends within 20 tokens.
  std::vector<int> text, expected;
  size_t end = 0;
  for (int first = 2; first < 62 && !end; ++first)
    for (int second = 2; second < 62 && !end; ++second) {
      text = {first, second};
      expected = predictAll(text, 20);
      for (size_t i = 0; i < expected.size() && !end; ++i)
        if (expected[i] == 1)
          end = i;
        else if (expected[i] == 0)
          break;
    }
  ASSERT_GT(end, 0u);
  std::vector<int> until(expected.begin(), expected.begin() + end);
  std::vector<std::string> arguments = {
      "generate", "fake.so", "--tokens",         join(text),
      "--print",  "tokens",  "--max-new-tokens", "20"};
  expectOutput(arguments, join(until) + "\n");
  arguments.push_back("--ignore-eos");
  expectOutput(arguments, join(expected) + "\n");
}

TEST_F(Command, SaysWhenTheSequenceIsFull) {
  Result result = run({"generate", "fake.so", "--tokens", "1,5,9"});
  EXPECT_EQ(result.status, 0);
  // The last token is generated, though it has no place any more.
  EXPECT_EQ(result.out, join(predictAll({1, 5, 9}, 38)) + "\n");
  EXPECT_EQ(result.err, "nju-run: note: stopped at the model's longest "
                        "sequence of 40 tokens\n");
}

TEST_F(Command, SamplesTheSameWithTheSameSeed) {
  std::vector<std::string> arguments = {"generate",
                                        "fake.so",
                                        "--tokens",
                                        "1,5,9",
                                        "--max-new-tokens",
                                        "30",
                                        "--temperature",
                                        "3",
                                        "--top-k",
                                        "20",
                                        "--top-p",
                                        "0.9",
                                        "--min-p",
                                        "0.001",
                                        "--seed",
                                        "7",
                                        "--repetition-penalty",
                                        "1.2"};
  Result first = run(arguments), second = run(arguments);
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(first.out, second.out);
  arguments[15] = "8";
  EXPECT_NE(run(arguments).out, first.out);
}

TEST_F(Command, RefusesBadPrompts) {
  expectError({"generate", "fake.so", "--tokens", "1,x"},
              "'x' in --tokens is not a number, expected a list such as 1,5,9");
  expectError({"generate", "fake.so", "--tokens", "1,,2"},
              "'' in --tokens is not a number");
  expectError({"generate", "fake.so", "--tokens", "1,64"},
              "token 64 in --tokens is outside the vocabulary of 0 to 63");
  expectError({"generate", "fake.so", "--tokens", "-1"},
              "token -1 in --tokens is outside");
  expectError({"generate", "fake.so", "--prompt", "hi"},
              "there is no tokenizer beside model 'fake.so': name one with "
              "--tokenizer");
  expectError({"generate", "fake.so", "--tokens", "1", "--prompt", "hi"},
              "--prompt");
  expectError({"generate", "fake.so", "--tokens", "1", "--stop", ""},
              "--stop needs a text");
  expectError({"generate", "fake.so", "--tokens", "1", "--stop", "x", "--print",
               "tokens"},
              "--stop looks at text");
  std::string long41 = "1";
  for (int i = 0; i < 40; ++i)
    long41 += ",1";
  expectError({"generate", "fake.so", "--tokens", long41},
              "the prompt has 41 tokens, model 'fake' was compiled for "
              "sequences of at most 40");
  expectError({"logits", "fake.so", "--tokens", long41, "-o", "l.npy"},
              "--tokens has 41 tokens, model 'fake' was compiled for");
  expectError({"generate", "fake.so", "--tokens", ""}, "--tokens is empty");
  expectError({"generate", "fake-graph.so", "--tokens", "1"},
              "model 'fake-graph' is no language model, so 'generate' does not "
              "apply: use 'nju-run run'");
}

TEST_F(Command, RefusesValuesOutOfRange) {
  struct {
    const char *option, *value, *message;
  } cases[] = {
      {"--max-new-tokens", "-1", "'-1' is not a whole number of at least 0"},
      {"--max-new-tokens", "99999999999", "of at least 0"},
      {"--top-k", "1.5", "'1.5' is not a whole number of at least 0"},
      {"--top-k", "", "'' is not a whole number"},
      {"--seed", "-1", "'-1' is not a whole number from 0 to 184467440737095"},
      {"--seed", "99999999999999999999", "is not a whole number from 0 to"},
      {"--threads", "0", "'0' is not a whole number from 1 to 1024"},
      {"--temperature", "-1", "'-1' is not a number of at least 0"},
      {"--temperature", "nan", "'nan' is not a number of at least 0"},
      {"--temperature", "inf", "'inf' is not a number of at least 0"},
      {"--temperature", "warm", "'warm' is not a number of at least 0"},
      {"--top-p", "1.5", "'1.5' is not a number from 0 to 1"},
      {"--min-p", "nan", "'nan' is not a number from 0 to 1"},
      {"--repetition-penalty", "-1", "'-1' is not a number of at least 0"},
      {"--print", "json", "json not in {text,tokens}"},
  };
  for (const auto &entry : cases) {
    SCOPED_TRACE(entry.option);
    expectError(
        {"generate", "fake.so", "--tokens", "1", entry.option, entry.value},
        entry.message);
  }
  expectError({"bench", "fake.so", "--prefill", "-1"},
              "'-1' is not a whole number of at least 0");
  expectError({"bench", "fake.so", "--repetitions", "0"},
              "'0' is not a whole number of at least 1");
}

TEST_F(Command, RefusesTokenizersThatDoNotFit) {
  folder.write("tokenizer.json", makeTokenizer(/*extra=*/1));
  expectError({"generate", "fake.so", "--prompt", "hi"},
              "tokenizer 'tokenizer.json' has 65 tokens, model 'fake.so' has a "
              "vocabulary of 64: they do not belong together");
  folder.write("broken.json", "{");
  expectError(
      {"generate", "fake.so", "--prompt", "hi", "--tokenizer", "broken.json"},
      "broken.json");
  expectError(
      {"generate", "fake.so", "--prompt", "hi", "--tokenizer", "none.json"},
      "none.json");
}

TEST_F(Command, StopsCleanlyAtSignals) {
  std::string all = join(predictAll({1, 5, 9}, 38));
  for (int number : {SIGINT, SIGTERM, SIGHUP}) {
    SCOPED_TRACE(number);
    folder.write("out", "");
    pid_t child = start({"generate", "fake-slow.so", "--tokens", "1,5,9"});
    // Wait for the first token, the rest takes seconds.
    for (int i = 0; i < 500 && readFile(folder.get("out")).empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, number);
    Result result = wait(child);
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.err, "nju-run: error: interrupted\n");
    ASSERT_GT(result.out.size(), 1u);
    EXPECT_EQ(result.out.back(), '\n');
    result.out.pop_back();
    EXPECT_LT(result.out.size(), all.size());
    EXPECT_EQ(all.rfind(result.out, 0), 0u) << result.out;
  }
}

TEST_F(Command, EndsQuietlyWhenThePipeCloses) {
  std::string command = "cd " + folder.get("") +
                        " && (" NJU_TEST_NJU_RUN
                        " info fake.so; echo $? >status) 2>err | true";
  // The reader is gone before or while nju-run writes; try until it is.
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(std::system(command.c_str()), 0);
    EXPECT_EQ(readFile(folder.get("err")), "");
    if (readFile(folder.get("status")) == "141\n")
      return;
  }
  FAIL() << "status " << readFile(folder.get("status"));
}

//===----------------------------------------------------------------------===//
// chat and ppl
//===----------------------------------------------------------------------===//

TEST_F(Command, ChatsInOneGrowingSequence) {
  // Every character of the plain format needs a token: let unknown ones be.
  nlohmann::json tokenizer = nlohmann::json::parse(makeTokenizer());
  tokenizer["model"]["unk_token"] = "</s>";
  folder.write("fake.tokenizer.json", tokenizer.dump());
  input = folder.write("questions", "ab\n\nc\n/reset\nab\n/quit\nzz\n");
  auto ask = [](const std::string &text) {
    std::vector<int> tokens;
    for (char c : text)
      tokens.push_back(characters.find(c) == std::string::npos
                           ? 1
                           : int(characters.find(c)) + 2);
    return tokens;
  };
  std::vector<int> text = ask("User: ab\nAssistant:");
  std::vector<int> first = predictAll(text, 3);
  text.insert(text.end(), first.begin(), first.end());
  for (int token : ask("\nUser: c\nAssistant:"))
    text.push_back(token);
  Result result = run({"chat", "fake.so", "--max-new-tokens", "3",
                       "--ignore-eos", "--template", "plain"});
  EXPECT_EQ(result.status, 0) << result.err;
  // Two turns of 19 and 20 tokens and an answer of three do not fit into 40.
  EXPECT_EQ(result.err, "nju-run: note: the conversation fills the model's 40 "
                        "tokens; starting anew\n");
  EXPECT_EQ(result.out, decode(first) + "\n" +
                            decode(predictAll(ask("User: c\nAssistant:"), 3)) +
                            "\n" + decode(first) + "\n");
  // A smaller conversation than the model was compiled for.
  input = folder.write("questions", "ab\n");
  expectError({"chat", "fake.so", "--template", "plain", "--max-tokens", "10"},
              "the turn has 19 tokens, --max-tokens is 10");
  expectError({"chat", "fake.so", "--max-tokens", "0"},
              "'0' is not a whole number of at least 1");
}

TEST_F(Command, RemembersTheConversation) {
  nlohmann::json tokenizer = nlohmann::json::parse(makeTokenizer());
  tokenizer["model"]["unk_token"] = "</s>";
  folder.write("fake.tokenizer.json", tokenizer.dump());
  input = folder.write("questions", "a\nb\n");
  auto ask = [](const std::string &text) {
    std::vector<int> tokens;
    for (char c : text)
      tokens.push_back(characters.find(c) == std::string::npos
                           ? 1
                           : int(characters.find(c)) + 2);
    return tokens;
  };
  // [INST] a [/INST] is 16 characters.
  std::vector<int> text = ask("[INST] a [/INST]");
  std::vector<int> first = predictAll(text, 2);
  text.insert(text.end(), first.begin(), first.end());
  text.push_back(1); // </s>
  text.push_back(0); // <s>
  for (int token : ask("[INST] b [/INST]"))
    text.push_back(token);
  Result result = run({"chat", "fake.so", "--max-new-tokens", "2",
                       "--ignore-eos", "--template", "llama-2"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out,
            decode(first) + "\n" + decode(predictAll(text, 2)) + "\n");
}

/// Nats that the fake model needs for `tokens`, the first one given.
static double getNats(const std::vector<int> &tokens) {
  double nats = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    std::vector<float> logits =
        fake::makeLogits(fake::predict({tokens.begin(), tokens.begin() + i}));
    double sum = 0;
    for (float logit : logits)
      sum += std::exp(double(logit));
    nats += std::log(sum) - logits[tokens[i]];
  }
  return nats;
}

TEST_F(Command, MeasuresPerplexity) {
  folder.write("fake.tokenizer.json", makeTokenizer());
  folder.write("text", "abcd\n<|endoftext|>\nefg<|endoftext|> \n");
  Result result = run({"ppl", "fake.so", "text", "--json"});
  // The line break after abcd has no token.
  EXPECT_EQ(result.status, 1);
  folder.write("text", "abcd<|endoftext|>\nefg<|endoftext|> \n");
  result = run({"ppl", "fake.so", "text", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  nlohmann::json report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report["documents"], 2);
  EXPECT_EQ(report["tokens"], 5);
  double nats = (getNats(encode("abcd")) + getNats(encode("efg"))) / 5;
  EXPECT_NEAR(report["nats_per_token"].get<double>(), nats, 1e-9);
  EXPECT_NEAR(report["perplexity"].get<double>(), std::exp(nats), 1e-6);
  result = run({"ppl", "fake.so", "text"});
  EXPECT_EQ(result.out.rfind("perplexity: ", 0), 0u);
  EXPECT_NE(result.out.find("\ntokens: 5\ndocuments: 2\n"), std::string::npos);
}

TEST_F(Command, MeasuresLongTextsInBlocks) {
  folder.write("fake.tokenizer.json", makeTokenizer());
  std::string text;
  for (int i = 0; i < 100; ++i)
    text += characters[i * 7 % 60];
  folder.write("text", text);
  Result result = run({"ppl", "fake.so", "text", "--json", "--context", "30"});
  ASSERT_EQ(result.status, 0) << result.err;
  nlohmann::json report = nlohmann::json::parse(result.out);
  double nats = 0;
  int count = 0;
  for (size_t begin = 0; begin < text.size(); begin += 30) {
    std::vector<int> block = encode(text.substr(begin, 30));
    nats += getNats(block);
    count += block.size() - 1;
  }
  EXPECT_EQ(report["tokens"], count);
  EXPECT_NEAR(report["nats_per_token"].get<double>(), nats / count, 1e-9);
}

TEST_F(Command, RefusesBadTexts) {
  folder.write("fake.tokenizer.json", makeTokenizer());
  expectError({"ppl", "fake.so", "none"}, "cannot open text 'none'");
  folder.write("empty", "");
  expectError({"ppl", "fake.so", "empty"}, "text 'empty' is empty");
  folder.write("blank", " <|endoftext|>\n");
  expectError({"ppl", "fake.so", "blank"}, "text 'blank' has no documents");
  folder.write("one", "a");
  expectError({"ppl", "fake.so", "one"}, "has no token to predict");
  expectError({"ppl", "fake.so", "one", "--context", "41"},
              "--context is 41, the model was compiled for 1 to 40");
}

//===----------------------------------------------------------------------===//
// info, logits, run, bench
//===----------------------------------------------------------------------===//

TEST_F(Command, PrintsInfo) {
  Result result = run({"info", "fake.so"});
  EXPECT_EQ(result.status, 0);
  for (const char *text :
       {"name:             fake\n", "kind:             language model\n",
        "weights:          fake.safetensors, 256 B\n", "vocabulary:       64\n",
        "tokens: i64 [b, s]\n"})
    EXPECT_NE(result.out.find(text), std::string::npos) << result.out;
  result = run({"info", "fake-graph.so", "--json"});
  EXPECT_EQ(nlohmann::json::parse(result.out),
            nlohmann::json::parse(fake::makeGraphSignature()));
  expectError({"info", "none.so"}, "cannot open model 'none.so'");
  expectError({"info", "fake-cpu.so"}, "lacks tbm, lwp");
  std::string broken = readFile(folder.get("fake.so"));
  size_t library = broken.find("libc.so.6");
  ASSERT_NE(library, std::string::npos);
  folder.write("broken.so", broken.replace(library, 9, "libx.so.6"));
  expectError({"info", "broken.so"},
              "cannot load model 'broken.so': libx.so.6");
  folder.write("fake.safetensors", fake::makeWeightFile("0123"));
  expectError({"info", "fake.so"}, "is not the one compiled with model 'fake'");
  Result help = run({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char *name :
       {"generate", "chat", "ppl", "info", "logits", "run", "bench"}) {
    EXPECT_NE(help.out.find(name), std::string::npos);
    Result own = run({name, "--help"});
    EXPECT_EQ(own.status, 0);
    EXPECT_NE(own.out.find(std::string("nju-run ") + name + " model.so"),
              std::string::npos)
        << own.out;
  }
  EXPECT_EQ(run({"--version"}).out,
            std::string("nju-run ") + nju_version() + "\n");
  expectError({}, "A subcommand is required");
  expectError({"info", "fake.so", "--colour"}, "--colour");
}

TEST_F(Command, WritesLogits) {
  std::vector<int> tokens;
  for (int i = 0; i < 20; ++i)
    tokens.push_back(i * 3);
  expectOutput({"logits", "fake.so", "--tokens", join(tokens), "-o", "l.npy"},
               "");
  std::string bytes = readFile(folder.get("l.npy"));
  size_t size = tokens.size() * fake::vocabulary * sizeof(float);
  ASSERT_GT(bytes.size(), size);
  EXPECT_NE(bytes.find("'shape': (20, 64)"), std::string::npos);
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::vector<float> row(fake::vocabulary);
    memcpy(row.data(),
           bytes.data() + bytes.size() - size +
               i * fake::vocabulary * sizeof(float),
           fake::vocabulary * sizeof(float));
    EXPECT_EQ(row, fake::makeLogits(fake::predict(
                       {tokens.begin(), tokens.begin() + i + 1})));
  }
}

TEST_F(Command, WritesIntoAPipeAndLeavesItThere) {
  std::string path = folder.get("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  int pipe = open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  expectOutput({"logits", "fake.so", "--tokens", "1", "-o", "pipe"}, "");
  char magic[6];
  ASSERT_EQ(read(pipe, magic, 6), 6);
  EXPECT_EQ(std::string(magic + 1, 5), "NUMPY");
  close(pipe);
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST_F(Command, WritesNothingOnFailure) {
  expectError(
      {"logits", "fake.so", "--tokens", "1,2,3,4,5,6,7,8,9,63", "-o", "l.npy"},
      "the step of model 'fake' failed with code 7");
  expectError({"logits", "fake.so", "--tokens", "1", "-o", "no/l.npy"},
              "cannot create 'no/l.npy': No such file or directory");
  // A full disk.
  Result result = wait(start(
      {"logits", "fake.so", "--tokens", "1,2,3,4,5", "-o", "l.npy"}, 1000));
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "nju-run: error: cannot write 'l.npy': File too "
                        "large\n");
  EXPECT_EQ(std::system(("ls " + folder.get("") + " | grep -q npy").c_str()),
            256);
}

TEST_F(Command, RunsGraphs) {
  // a = [[1, 2, 3]], b = [4], written by hand.
  auto npy = [](std::string dict, const std::string &data) {
    dict += std::string(117 - dict.size(), ' ') + "\n";
    return std::string("\x93NUMPY\x01\0\x76\0", 10) + dict + data;
  };
  float a[3] = {1, 2, 3};
  int32_t b = 4;
  folder.write("a.npy",
               npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}",
                   std::string(reinterpret_cast<char *>(a), sizeof(a))));
  folder.write("b.npy",
               npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1,)}",
                   std::string(reinterpret_cast<char *>(&b), sizeof(b))));
  expectOutput({"run", "fake-graph.so", "--input", "b=b.npy", "--input",
                "a=a.npy", "--output-dir", "results"},
               "");
  std::string sum = readFile(folder.get("results/sum.npy"));
  EXPECT_NE(sum.find("'<f4', 'fortran_order': False, 'shape': (1, 3)"),
            std::string::npos);
  float expected[3] = {5, 6, 7};
  EXPECT_EQ(sum.substr(sum.size() - 12),
            std::string(reinterpret_cast<char *>(expected), 12));
  std::string positive = readFile(folder.get("results/positive.npy"));
  EXPECT_NE(positive.find("'|b1'"), std::string::npos);
  EXPECT_EQ(positive.back(), 1);

  expectError({"run", "fake-graph.so", "--input", "a=a.npy"},
              "input 'b' is missing: add --input b=FILE.npy");
  expectError({"run", "fake-graph.so", "--input", "a=a.npy", "--input",
               "b=b.npy", "--input", "c=b.npy"},
              "the model has no input 'c', its inputs are: a, b");
  expectError({"run", "fake-graph.so", "--input", "a"},
              "--input 'a' is not of the form NAME=FILE.npy");
  expectError(
      {"run", "fake-graph.so", "--input", "a=a.npy", "--input", "a=a.npy"},
      "input 'a' is given twice");
  expectError(
      {"run", "fake-graph.so", "--input", "a=b.npy", "--input", "b=b.npy"},
      "input 'a' has elements of type i32, expected f32");
  expectError({"run", "fake-graph.so", "--input", "a=a.npy", "--input",
               "b=b.npy", "--output-dir", "no/where"},
              "cannot create folder 'no/where'");
  expectError({"run", "fake.so"}, "model 'fake' is a language model");
}

TEST_F(Command, Benchmarks) {
  Result result = run({"bench", "fake.so", "--prefill", "20", "--decode", "10",
                       "--repetitions", "3", "--threads", "2", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  nlohmann::json report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report["threads"], 2);
  EXPECT_EQ(report["bytes_per_token"], 256);
  EXPECT_GT(report["prefill_tokens_per_second"].get<double>(), 0);
  double rate = report["decode_tokens_per_second"];
  EXPECT_GT(rate, 0);
  EXPECT_DOUBLE_EQ(report["decode_bytes_per_second"].get<double>(), rate * 256);
  EXPECT_GT(report["memory"]["peak_rss"].get<uint64_t>(), 1000000u);
  EXPECT_EQ(report["memory"]["weights"], 256);
  // 30 tokens are two blocks of 16.
  EXPECT_EQ(report["memory"]["cache"], 32 * 4 * 2 * 16);
  EXPECT_EQ(report["target"], "fake-cpu");
  EXPECT_EQ(report["memory"]["arena"], fake::arenaBytes);
  EXPECT_EQ(report["memory"]["counted"],
            256 + 32 * 4 * 2 * 16 + fake::arenaBytes);
  EXPECT_GT(report["memory"]["rss_anonymous"].get<uint64_t>(), 0u);
  EXPECT_GT(report["memory"]["rss_file"].get<uint64_t>(), 0u);
  EXPECT_DOUBLE_EQ(report["decode_steps_per_second"].get<double>(), rate);
  // The median is one of the three.
  std::vector<double> seconds = report["decode_seconds"];
  ASSERT_EQ(seconds.size(), 3u);
  std::sort(seconds.begin(), seconds.end());
  EXPECT_DOUBLE_EQ(10 / seconds[1], rate);
  EXPECT_EQ(report["prefill_seconds"].size(), 3u);
  EXPECT_NE(run({"bench", "fake.so", "--prefill", "8", "--decode", "0"})
                .out.find("prefill       8 tokens"),
            std::string::npos);
  expectError({"bench", "fake.so"},
              "--prefill and --decode need 544 tokens, the model was compiled "
              "for 40");
  expectError({"bench", "fake.so", "--prefill", "0", "--decode", "0"},
              "nothing to measure");
  for (const char *threads : {"0", "-1", "1025", "2.5", "all"})
    expectError({"bench", "fake.so", "--threads", threads},
                "--threads: '" + std::string(threads) +
                    "' is not a whole number from 1 to 1024");
  expectError(
      {"bench", "fake.so", "--prefill", "1", "--decode", "1", "--threads", "3"},
      "number of threads is 3, expected 1 to 2, the processors that "
      "this process may use");
}

TEST_F(Command, BenchmarksSequencesAfterAContext) {
  Result result =
      run({"bench", "fake.so", "--prefill", "7", "--decode", "5", "--sequences",
           "3", "--context", "20", "--repetitions", "2", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  nlohmann::json report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report["sequences"], 3);
  EXPECT_EQ(report["context_tokens"], 20);
  // The weights are read once a step, whatever the number of sequences.
  double steps = report["decode_steps_per_second"];
  EXPECT_DOUBLE_EQ(report["decode_tokens_per_second"].get<double>(), 3 * steps);
  EXPECT_DOUBLE_EQ(report["decode_bytes_per_second"].get<double>(),
                   256 * steps);
  // 32 tokens are two blocks of 16.
  EXPECT_EQ(report["memory"]["cache"], 3 * 32 * 4 * 2 * 16);

  result = run({"bench", "fake.so", "--prefill", "4", "--decode", "3",
                "--sequences", "2", "--context", "9"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("2 sequences at once, after 9 tokens"),
            std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("prefill       8 tokens"), std::string::npos);
  EXPECT_NE(result.out.find("decode        6 tokens"), std::string::npos);

  expectError({"bench", "fake.so", "--context", "30", "--prefill", "8",
               "--decode", "8"},
              "--context, --prefill and --decode need 46 tokens, the model was "
              "compiled for 40");
  expectError({"bench", "fake.so", "--prefill", "8", "--decode", "8",
               "--sequences", "99"},
              "--sequences is 99, the model was compiled for " +
                  std::to_string(fake::maxSequences) +
                  ": compile it with a larger --max-sequences");
  expectError({"bench", "fake.so", "--sequences", "0"}, "--sequences");
}

TEST_F(Command, BenchmarksDoNotTimeTheContext) {
  // 100 ms a step: with the four steps of the context it would be 2 a second.
  Result result = run({"bench", "fake-slow.so", "--prefill", "0", "--decode",
                       "1", "--context", "32", "--repetitions", "3", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  nlohmann::json report = nlohmann::json::parse(result.out);
  double steps = report["decode_steps_per_second"];
  EXPECT_LE(steps, 10);
  EXPECT_GT(steps, 4);
  EXPECT_FALSE(report.contains("prefill_tokens_per_second"));
}
