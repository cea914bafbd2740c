#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "libs/observe/build_info.h"
#include "libs/tls/tls.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

int Version(const Streams& streams) {
  const observe::BuildInfo info = observe::GetBuildInfo();
  v1::BuildInfo proto;
  proto.set_version(info.version);
  proto.set_commit(info.commit);
  proto.set_compiler(info.compiler);
  proto.mutable_libraries()->insert(info.libraries.begin(), info.libraries.end());
  std::string text = "tributary " + info.version +
                     (info.commit.empty() ? "" : " (" + info.commit + ")") + "\n" + info.compiler +
                     "\n";
  for (const auto& [name, version] : info.libraries) {
    text += name + " " + version + "\n";
  }
  Print(streams, BuildInfoJson(proto), text);
  return kGood;
}

// Whom a certificate lets in goes by these.
constexpr std::array<std::string_view, 5> kOwnNames = {"control", "extractor", "transformer",
                                                       "loader", "tributary"};

// As certificates compare it.
bool IsOwnName(std::string name) {
  while (name.ends_with('.')) name.pop_back();
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::find(kOwnNames.begin(), kOwnNames.end(), name) != kOwnNames.end();
}

// Of what --host and --name say. Empty: none.
std::string ProblemOf(const std::vector<std::string>& hosts,
                      const std::vector<std::string>& others) {
  for (const std::string& host : hosts) {
    if (IsOwnName(host)) {
      return "--host " + host +
             ": who has this name in a certificate is taken for that process; "
             "leave it out, or write the whole name of the machine, e.g. control.example.com";
    }
  }
  for (const std::string& name : others) {
    if (IsOwnName(name)) {
      return "--name " + name + ": this process gets its certificate anyway; leave it out";
    }
  }
  return "";
}

// `others`: names beside those of our processes that get a certificate of the same authority.
int InitTls(const Streams& streams, const std::string& directory,
            const std::vector<std::string>& hosts, const std::vector<std::string>& others) {
  if (const std::string problem = ProblemOf(hosts, others); !problem.empty()) {
    streams.err << "error: " << problem << '\n';
    return kUsage;
  }
  // Nobody speaks to the others, and with a broker's name they could answer in its place.
  std::vector<std::string> servers = {"control"};
  servers.insert(servers.end(), others.begin(), others.end());
  if (absl::Status made = tls::EnsureDirectory(
          directory, {"extractor", "transformer", "loader", "tributary"}, servers, hosts);
      !made.ok()) {
    streams.err << "error: " << std::string(made.message()) << '\n';
    return made.code() == absl::StatusCode::kInvalidArgument ? kUsage : kBad;
  }
  if (!streams.json) {
    std::vector<std::string> names(kOwnNames.begin(), kOwnNames.end());
    names.insert(names.end(), others.begin(), others.end());
    for (const std::string& name : names) {
      streams.out << directory << '/' << name << '\n';
    }
    streams.err << "Give each process its own directory as control.tls_directory; keep "
                << directory << "/ca.key away from all of them.\n";
  } else {
    streams.out << "{}\n";
  }
  return kGood;
}

}  // namespace

void AddAbout(CommandTree& tree) {
  struct Arguments {
    std::string directory;
    std::vector<std::string> hosts;
    std::vector<std::string> names;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App& tls = tree.AddGroup("tls", "Certificates of our own processes",
                                "tls init ./tls --host control.example.com");
  CLI::App& init = tree.AddTo(
      tls, "init", "Makes an authority, and a certificate for each process, where missing",
      "tls init ./tls --host control.example.com");
  init.add_option("DIR", arguments->directory, "Where")->required();
  init.add_option("--host", arguments->hosts,
                  "More names and addresses of control, and of whom --name gives a certificate")
      ->type_name("HOST");
  init.add_option("--name", arguments->names, "Somebody else's certificate, e.g. a broker's: kafka")
      ->type_name("NAME");
  tree.Does(init, [arguments](const Streams& streams) {
    return InitTls(streams, arguments->directory, arguments->hosts, arguments->names);
  });

  tree.Does(tree.Add("version", "What this is made of", "version --json"), Version);
}

}  // namespace tributary::cli
