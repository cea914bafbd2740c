// What compilers and clang-tidy cannot say about this tree. A rule is here only if it would have to
// be remembered otherwise.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary {
namespace {

namespace fs = std::filesystem;

const fs::path kTop = TRIBUTARY_SOURCE_DIR;

struct Source {
  /// From the top, with `/`.
  std::string path;
  std::vector<std::string> lines;

  bool In(std::string_view directory) const { return path.rfind(directory, 0) == 0; }
  std::string file() const { return path.substr(path.rfind('/') + 1); }
};

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

const std::vector<Source>& Sources() {
  static const std::vector<Source> sources = [] {
    std::vector<Source> found;
    for (const char* directory : {"libs", "services", "tests"}) {
      for (const auto& entry : fs::recursive_directory_iterator(kTop / directory)) {
        const auto extension = entry.path().extension();
        if (extension != ".cc" && extension != ".h") continue;
        Source source{.path = fs::relative(entry.path(), kTop).generic_string()};
        std::istringstream text(ReadFile(entry.path()));
        for (std::string line; std::getline(text, line);) source.lines.push_back(line);
        found.push_back(std::move(source));
      }
    }
    std::sort(found.begin(), found.end(),
              [](const Source& a, const Source& b) { return a.path < b.path; });
    return found;
  }();
  return sources;
}

/// What `#include` names, with its brackets or quotes; empty for other lines.
std::string IncludeOf(const std::string& line) {
  static const std::regex include(R"re(^\s*#\s*include\s*([<"][^>"]+[>"]).*)re");
  std::smatch match;
  return std::regex_match(line, match, include) ? match[1].str() : "";
}

bool IsComment(const std::string& line) {
  const std::size_t at = line.find_first_not_of(" \t");
  return at != std::string::npos && line.compare(at, 2, "//") == 0;
}

std::string Where(const Source& source, std::size_t line) {
  return source.path + ":" + std::to_string(line + 1) + ": " + source.lines[line];
}

/// A shell or a process: may do what stages may not.
bool IsShell(const Source& source) {
  static const std::set<std::string> files = {"main.cc", "app.cc", "app.h", "metrics.cc",
                                              "metrics.h"};
  return files.count(source.file()) != 0;
}

/// Single-threaded code that is given what happened and asks ports for what to do.
bool IsWithoutIo(const Source& source) {
  for (const char* directory :
       {"services/extractor/", "services/transformer/", "services/loader/"}) {
    if (source.In(directory)) return !IsShell(source);
  }
  for (const char* directory : {"libs/time/", "libs/ids/", "libs/json/", "libs/stage/",
                                "libs/tenants/", "libs/cel/", "libs/mapping/", "libs/connector/",
                                "libs/budget/", "libs/http/message.", "libs/eventlog/testing/"}) {
    if (source.In(directory)) return true;
  }
  // Directly in it: the port and what is built on it. Real logs and stores name what they are.
  static const std::set<std::string> port = {
      "libs/eventlog/log.h",    "libs/eventlog/log.cc",        "libs/eventlog/table.h",
      "libs/eventlog/table.cc", "libs/eventlog/local_store.h", "libs/eventlog/memory_stores.cc"};
  if (port.count(source.path) != 0 || source.path.starts_with("libs/eventlog/owner")) return true;
  // Of the simulator, all but what serves its world over HTTP.
  return source.In("services/simulator/") && !IsShell(source) &&
         source.file().find("server") == std::string::npos;
}

// Design, section 5.
TEST(TidyTest, StagesHaveNoThreadsClocksSocketsOrFiles) {
  const std::regex include(
      R"re(<(thread|mutex|shared_mutex|condition_variable|future|semaphore|stop_token|latch|barrier|)re"
      R"re(atomic|fstream|filesystem|time\.h|unistd\.h|poll\.h|netdb\.h|pthread\.h|sqlite3\.h|)re"
      R"re(lmdb\.h|fcntl\.h|sys/.*|netinet/.*|arpa/.*|curl/.*|librdkafka/.*|grpcpp/.*|boost/(asio|beast).*)>)re"
      R"re(|"(grpcpp/.*|.*\.grpc\.pb\.h|libs/http/(client|server)\.h|libs/runtime/.*|libs/observe/.*|)re"
      R"re(libs/eventlog/(clock|log_member|admin|lmdb_stores|directory_lock)\.h|)re"
      R"re(libs/eventlog/(kafka|embedded)/.*)")re");
  const std::regex call(
      R"re(\b(system_clock|steady_clock|high_resolution_clock|random_device|sleep_for|sleep_until)\b|)re"
      R"re(\b(usleep|nanosleep|gettimeofday|clock_gettime|getenv|std::rand|srand)\s*\(|)re"
      R"re(\b(std::)?time\((nullptr|NULL|0)\))re");
  std::vector<std::string> found;
  int files = 0;
  for (const Source& source : Sources()) {
    if (!IsWithoutIo(source)) continue;
    ++files;
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string& line = source.lines[i];
      if (std::regex_match(IncludeOf(line), include) ||
          (!IsComment(line) && std::regex_search(line, call))) {
        found.push_back(Where(source, i));
      }
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
  EXPECT_GT(files, 40) << "the rule looks at the wrong places";
}

/// Names in libs/CMakeLists.txt, in its order.
std::vector<std::string> Layers() {
  std::vector<std::string> layers;
  const std::string text = ReadFile(kTop / "libs/CMakeLists.txt");
  const std::regex entry(R"(add_subdirectory\(([a-z_]+)\))");
  for (auto it = std::sregex_iterator(text.begin(), text.end(), entry);
       it != std::sregex_iterator(); ++it) {
    layers.push_back((*it)[1]);
  }
  return layers;
}

TEST(TidyTest, ALibraryIncludesOnlyThoseAboveItInLibsCMakeLists) {
  const std::vector<std::string> layers = Layers();
  const auto rank = [&layers](const std::string& name) {
    return std::find(layers.begin(), layers.end(), name) - layers.begin();
  };
  const std::regex library(R"re("libs/([a-z_]+)/.*)re");
  std::vector<std::string> found;
  for (const Source& source : Sources()) {
    if (!source.In("libs/")) continue;
    const std::string own = source.path.substr(5, source.path.find('/', 5) - 5);
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string include = IncludeOf(source.lines[i]);
      std::smatch match;
      const bool below = std::regex_match(include, match, library) && rank(match[1]) > rank(own);
      const bool outside =
          include.rfind("\"services/", 0) == 0 || include.rfind("\"tests/", 0) == 0;
      if (below || outside) found.push_back(Where(source, i));
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
  EXPECT_GE(layers.size(), 15U);
}

TEST(TidyTest, AServiceIncludesNoOtherService) {
  const std::regex service(R"re("services/([a-z_]+)/(.*)")re");
  std::vector<std::string> found;
  for (const Source& source : Sources()) {
    // `tributary dev` is all of them in one process.
    if (!source.In("services/") || source.In("services/tributary/")) continue;
    const std::string own = source.path.substr(9, source.path.find('/', 9) - 9);
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string include = IncludeOf(source.lines[i]);
      std::smatch match;
      if (!std::regex_match(include, match, service) || match[1] == own) continue;
      // How a service's process attaches to control.
      if (IsShell(source) && match[1] == "control" && match[2] == "attachment_client.h") continue;
      found.push_back(Where(source, i));
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

TEST(TidyTest, ProductionCodeIncludesNoTestDoubles) {
  std::vector<std::string> found;
  for (const Source& source : Sources()) {
    if (source.In("tests/") || source.path.find("/testing/") != std::string::npos) continue;
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string include = IncludeOf(source.lines[i]);
      if (include.find("/testing/") != std::string::npos || include.rfind("\"tests/", 0) == 0 ||
          include.find("gtest/") == 1 || include.find("gmock/") == 1) {
        found.push_back(Where(source, i));
      }
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

TEST(TidyTest, EachForeignLibraryHasOneHome) {
  // Build information names the versions of what is loaded.
  const std::map<std::string, std::vector<std::string>> homes = {
      {"<librdkafka/", {"libs/eventlog/kafka/", "libs/observe/build_info.cc", "tests/"}},
      {"<curl/", {"libs/http/client.cc", "libs/observe/build_info.cc"}},
      {"<boost/asio", {"libs/http/server.cc", "tests/fuzz/"}},
      {"<boost/beast", {"tests/fuzz/"}},
      {"<prometheus/", {"libs/observe/"}},
      {"<lmdb.h>", {"libs/eventlog/", "tests/bench/", "tests/conformance/"}},
      {"<sqlite3.h>", {"services/control/", "tests/"}},
      {"<sodium.h>", {"services/control/", "tests/"}},
      {"<yaml-cpp/", {"libs/yaml/", "libs/config/", "libs/mapping/", "libs/connector/"}},
  };
  std::vector<std::string> found;
  for (const Source& source : Sources()) {
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      const std::string include = IncludeOf(source.lines[i]);
      for (const auto& [library, allowed] : homes) {
        if (include.rfind(library, 0) != 0) continue;
        if (std::none_of(allowed.begin(), allowed.end(),
                         [&source](const std::string& home) { return source.In(home); })) {
          found.push_back(Where(source, i));
        }
      }
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

// The judge of the whole pipeline must not share its code.
TEST(TidyTest, TheIndependentFoldIncludesNothingOfThePipeline) {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(kTop / "tests/end_to_end")) {
    if (entry.path().extension() != ".py") continue;
    const std::string text = ReadFile(entry.path());
    const std::regex import(R"((^|\n)\s*(from|import)\s+(libs|services|google\.protobuf)\b)");
    if (std::regex_search(text, import)) found.push_back(entry.path().string());
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

TEST(TidyTest, EverySourceIsInABuildFile) {
  std::map<fs::path, std::string> build_files;
  std::vector<std::string> found;
  for (const Source& source : Sources()) {
    if (!source.path.ends_with(".cc")) continue;
    bool listed = false;
    const fs::path file = kTop / source.path;
    for (fs::path directory = file.parent_path(); !listed && directory != kTop.parent_path();
         directory = directory.parent_path()) {
      const fs::path build_file = directory / "CMakeLists.txt";
      if (build_files.count(build_file) == 0) build_files[build_file] = ReadFile(build_file);
      const std::string name = std::regex_replace(fs::relative(file, directory).generic_string(),
                                                  std::regex(R"([.+])"), R"(\$&)");
      listed = std::regex_search(build_files[build_file],
                                 std::regex(R"((^|[\s(]|/))" + name + R"(([\s)]|$))"));
    }
    if (!listed) found.push_back(source.path);
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

TEST(TidyTest, DocumentsNameTestsThatThereAre) {
  std::string tests;
  for (const Source& source : Sources()) {
    if (!source.path.ends_with("_test.cc")) continue;
    for (const std::string& line : source.lines) {
      // TEST(Suite, Name), also of TEST_F and the typed ones.
      const std::size_t begin = line.find('(');
      if (line.find("TEST") == std::string::npos || begin == std::string::npos) continue;
      tests += line.substr(begin) + "\n";
    }
  }
  std::vector<std::string> found;
  for (const char* file : {"docs/limits.md", "docs/faults.md", "docs/threat-model.md"}) {
    const std::string text = ReadFile(kTop / file);
    const std::regex name(R"(`([A-Z]\w*)\.([A-Z]\w*)`)");
    for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it) {
      const std::string test = "(" + (*it)[1].str() + ", " + (*it)[2].str() + ")";
      if (tests.find(test) == std::string::npos) found.push_back(std::string(file) + test);
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

TEST(TidyTest, HeadersAreGuardedAndHaveNoUsingNamespace) {
  std::vector<std::string> found;
  for (const Source& source : Sources()) {
    if (!source.path.ends_with(".h")) continue;
    if (std::find(source.lines.begin(), source.lines.end(), "#pragma once") == source.lines.end()) {
      found.push_back(source.path + ": no #pragma once");
    }
    for (std::size_t i = 0; i < source.lines.size(); ++i) {
      if (source.lines[i].find("using namespace") != std::string::npos) {
        found.push_back(Where(source, i));
      }
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

}  // namespace
}  // namespace tributary
