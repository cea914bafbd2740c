#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <signal.h>
#include <unistd.h>

#include "tests/fuzz/invariant.h"

// main() of a fuzz target where there is no libFuzzer: gives it every file of its corpus, and then
// inputs made of them by a fixed seed. The same inputs every time, so that it can be a test.
//
//   json_fuzz FILE|DIRECTORY… [--made N] [--seed N]

namespace {

std::string the_input;
std::string the_name;

/// The input that ended us, where it is found again. What is called here may be called in a signal
/// handler only because nothing comes behind it.
extern "C" void OnEnd(int signal) {
  std::ofstream("fuzz-finding.bin", std::ios::binary) << the_input;
  std::fprintf(stderr, "signal %d on %s; the input is in fuzz-finding.bin\n", signal,
               the_name.c_str());
  std::_Exit(1);
}

void Give(std::string name, std::string input) {
  the_name = std::move(name);
  the_input = std::move(input);
  // Its own memory, so that a sanitizer sees a read behind its end.
  const std::vector<std::uint8_t> bytes(the_input.begin(), the_input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string MadeOf(const std::vector<std::string>& inputs, std::mt19937_64& random) {
  const auto below = [&random](std::size_t count) {
    return count == 0 ? 0 : static_cast<std::size_t>(random() % count);
  };
  std::string made = inputs[below(inputs.size())];
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    const std::size_t at = below(made.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(made.size() - at, 16) + 1);
    switch (below(7)) {
      case 0:
        if (at < made.size()) made[at] = static_cast<char>(made[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < made.size()) made[at] = static_cast<char>(random());
        break;
      case 2:
        made.erase(at, length);
        break;
      case 3:
        made.insert(at, std::string(made, at, length));
        break;
      case 4:
        made.insert(at, 1, static_cast<char>(random()));
        break;
      case 5: {
        const std::string& other = inputs[below(inputs.size())];
        const std::size_t from = below(other.size() + 1);
        made.insert(at, other, from, below(64));
        break;
      }
      default:
        made.resize(at);
    }
  }
  return made;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t made = 2000;
  std::uint64_t seed = 1;
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--made" && i + 1 < argc) {
      made = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::filesystem::is_directory(argument)) {
      for (const auto& entry : std::filesystem::directory_iterator(argument)) {
        files.push_back(entry.path());
      }
    } else {
      files.emplace_back(argument);
    }
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::cerr << "no inputs\n";
    return 1;
  }
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) signal(number, OnEnd);

  std::vector<std::string> inputs;
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
      std::cerr << path << " cannot be read\n";
      return 1;
    }
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    Give(path.string(), inputs.back());
  }
  Give("the empty input", "");
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < made; ++i) {
    Give("made input " + std::to_string(i), MadeOf(inputs, random));
  }
  std::cout << inputs.size() << " inputs and " << made << " made of them\n";
  return 0;
}
