#include "libs/config/config.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <unistd.h>

#include "libs/config/checks.h"
#include "libs/config/option.h"
#include "libs/nearest/nearest.h"
#include "libs/yaml/load.h"

namespace tributary::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::size_t kFileBytesMax = 8 << 20;

struct SecretKafkaSetting {
  std::string_view name;
  /// The setting that names a file of it. Empty: none, and the environment may have it.
  std::string_view file_setting;
};
constexpr SecretKafkaSetting kSecretKafkaSettings[] = {
    {"sasl.password", "sasl.password.file"},
    {"ssl.key.pem", "ssl.key.location"},
    {"ssl.key.password", "ssl.key.password.file"},
    {"ssl.keystore.password", "ssl.keystore.password.file"},
    {"sasl.oauthbearer.client.secret", ""},
    {"sasl.oauthbearer.config", ""}};

/// None: `name` is no secret.
const SecretKafkaSetting* FindSecretKafkaSetting(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kSecretKafkaSettings), std::end(kSecretKafkaSettings),
                   [&](const SecretKafkaSetting& secret) { return secret.name == name; });
  return found == std::end(kSecretKafkaSettings) ? nullptr : found;
}

bool IsName(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
}

// File, environment and flags, in this order, into one configuration.
class Reader {
 public:
  Reader(const std::string& file, const LoadOptions& options, Loaded& out)
      : options_(options), out_(out), findings_(file, out.problems) {}

  void Read(std::string_view text) {
    ApplyDefaults(out_.config);
    ReadFile(text);
    ReadEnvironment();
    ReadFlags();
    CheckTogether(options_, out_.config, findings_);
    if (options_.more_checks) {
      for (const auto& [path, problem] : options_.more_checks(out_.config)) {
        // The first reason is enough.
        if (findings_.HasReported(path + ":")) continue;
        Report(findings_.PlaceOf(path), path + ": " + problem);
      }
    }
    findings_.Sort();
  }

 private:
  void Report(const Place& place, std::string message) {
    findings_.Report(place, std::move(message));
  }

  Place PlaceOf(const YAML::Node& node) const {
    const YAML::Mark mark = node.Mark();
    return mark.is_null() ? Place{findings_.file(), 1, 1}
                          : Place{findings_.file(), mark.line + 1, mark.column + 1};
  }

  void ReadFile(std::string_view text) {
    YAML::Node root;
    if (const auto problem = yaml::Load(text, {.bytes_max = kFileBytesMax}, root)) {
      Report({findings_.file(), problem->line, problem->column}, problem->message);
      return;
    }
    if (!root.IsNull()) {
      ReadMessage(root, out_.config, "");
    }
  }

  void ReadMessage(const YAML::Node& node, Message& message, const std::string& path) {
    const Descriptor& type = *message.GetDescriptor();
    const bool is_secret = &type == v1::SecretReference::descriptor();
    if (!node.IsMap()) {
      Report(PlaceOf(node),
             is_secret ? path +
                             ": a secret is never written into a file; write `key_file: FILE` "
                             "or `env: NAME` below it"
                       : (path.empty() ? "the file" : path) + ": expected a map");
      return;
    }
    std::set<std::string> seen;
    for (const auto& item : node) {
      const Place place = PlaceOf(item.first);
      if (!item.first.IsScalar()) {
        Report(place, (path.empty() ? "the file" : path) + ": a name is expected here");
        continue;
      }
      const std::string& name = item.first.Scalar();
      const std::string child = path.empty() ? name : path + "." + name;
      if (is_secret && (item.second.IsNull() || !IsName(name))) {
        // Most likely the secret itself.
        Report(place, path + ": what stands here is not known; known here: " +
                          Join(FieldNames(type), ", "));
        continue;
      }
      if (!seen.insert(name).second) {
        Report(place, child + ": set twice");
        continue;
      }
      const FieldDescriptor* field = type.FindFieldByName(name);
      if (field == nullptr) {
        ReportUnknown(place, child, name, FieldNames(type));
        continue;
      }
      findings_.SetPlace(child, PlaceOf(item.second));
      ReadField(place, item.second, message, *field, child, is_secret);
    }
    for (int i = 0; i < type.field_count(); ++i) {
      if (RulesOf(*type.field(i)).required() && !seen.contains(type.field(i)->name())) {
        Report(PlaceOf(node),
               (path.empty() ? "" : path + ".") + type.field(i)->name() + ": must be set");
      }
    }
  }

  void ReportUnknown(const Place& place, const std::string& path, const std::string& name,
                     const std::vector<std::string>& known) {
    Report(place,
           path + ": not known" + DidYouMean(name, known, "known here: " + Join(known, ", ")));
  }

  void ReadField(const Place& key_place, const YAML::Node& node, Message& message,
                 const FieldDescriptor& field, const std::string& path, bool is_secret) {
    if (path == "tenants" && !options_.allow_tenants) {
      Report(key_place,
             "tenants: do not belong into a service's file; give them to control with "
             "`tributary apply -f FILE`");
      return;
    }
    if (node.IsNull() || !node.IsDefined()) {
      if (RulesOf(field).required()) {
        Report(key_place, path + ": must be set");
      }
      return;
    }
    if (field.is_map()) {
      ReadMap(node, message, field, path);
    } else if (field.is_repeated()) {
      if (!node.IsSequence()) {
        Report(PlaceOf(node), path + ": expected a list");
        return;
      }
      std::size_t index = 0;
      for (const YAML::Node& item : node) {
        const std::string child = path + "[" + std::to_string(index++) + "]";
        findings_.SetPlace(child, PlaceOf(item));
        Message& element = *message.GetReflection()->AddMessage(&message, &field);
        ApplyDefaults(element);
        ReadMessage(item, element, child);
      }
    } else if (!IsScalar(field)) {
      ReadMessage(node, *message.GetReflection()->MutableMessage(&message, &field), path);
    } else if (!node.IsScalar()) {
      Report(PlaceOf(node), path + ": expected " + Expected(field) + ", found a " +
                                (node.IsSequence() ? "list" : "map"));
    } else {
      SetFromFile(node, message, field, path, is_secret);
    }
  }

  void SetFromFile(const YAML::Node& node, Message& message, const FieldDescriptor& field,
                   const std::string& path, bool is_secret) {
    const std::string& text = node.Scalar();
    if (RulesOf(field).required() && text.empty()) {
      Report(PlaceOf(node), path + ": must be set");
      return;
    }
    if (const std::optional<std::string> problem = SetScalar(message, field, text, is_secret)) {
      Report(PlaceOf(node), path + ": " + *problem);
      return;
    }
    if (!RulesOf(field).is_path() || text.empty()) {
      return;
    }
    std::filesystem::path resolved(text);
    if (resolved.is_relative()) {
      resolved = std::filesystem::path(findings_.file()).parent_path() / resolved;
    }
    resolved = resolved.lexically_normal();
    message.GetReflection()->SetString(&message, &field, resolved.string());
    // Only what tenants name: control makes its own key and directory when they do not exist.
    if (options_.check_files && path.starts_with("tenants[") &&
        access(resolved.c_str(), R_OK) != 0) {
      Report(PlaceOf(node), path + ": cannot read " +
                                (is_secret ? "the file that is given" : Quoted(resolved.string())));
    }
  }

  void ReadMap(const YAML::Node& node, Message& message, const FieldDescriptor& field,
               const std::string& path) {
    if (!node.IsMap()) {
      Report(PlaceOf(node), path + ": expected a map");
      return;
    }
    const FieldDescriptor& key_field = *field.message_type()->FindFieldByName("key");
    const FieldDescriptor& value_field = *field.message_type()->FindFieldByName("value");
    const bool has_secrets = value_field.message_type() == v1::SecretReference::descriptor();
    const bool is_kafka = path == "log.kafka";
    std::set<std::string> seen;
    for (const auto& item : node) {
      const Place place = PlaceOf(item.first);
      if (!item.first.IsScalar() || item.first.Scalar().empty()) {
        Report(place, path + ": a name is expected here");
        continue;
      }
      const std::string name = item.first.Scalar();
      // `{api_key:SECRET}` and `{api_key SECRET}` are names to YAML: not to be shown.
      if ((has_secrets || is_kafka) && (item.second.IsNull() || !IsName(name))) {
        Report(place, path + (has_secrets ? ": the name of a credential is expected here, with "
                                            "`key_file: FILE` or `env: NAME` below it"
                                          : ": `NAME: VALUE` is expected here"));
        continue;
      }
      const std::string child = path + "." + name;
      if (!seen.insert(name).second) {
        Report(place, child + ": set twice");
        continue;
      }
      findings_.SetPlace(child, PlaceOf(item.second));
      if (value_field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Message& entry = *message.GetReflection()->AddMessage(&message, &field);
        entry.GetReflection()->SetString(&entry, &key_field, name);
        ReadMessage(item.second, *entry.GetReflection()->MutableMessage(&entry, &value_field),
                    child);
        continue;
      }
      if (!item.second.IsScalar()) {
        Report(PlaceOf(item.second), child + ": expected a text");
        continue;
      }
      if (const SecretKafkaSetting* secret = is_kafka ? FindSecretKafkaSetting(name) : nullptr) {
        Report(place, child + ": a secret is never written into a file; " +
                          (secret->file_setting.empty()
                               ? "set the environment variable " + EnvironmentName(child)
                               : "write `" + std::string(secret->file_setting) + ": FILE`"));
        continue;
      }
      Message& entry = *message.GetReflection()->AddMessage(&message, &field);
      entry.GetReflection()->SetString(&entry, &key_field, name);
      entry.GetReflection()->SetString(&entry, &value_field, item.second.Scalar());
    }
  }

  // Sets one option of the environment or of the flags.
  void SetOption(const ScalarOption& option, const Place& place, const std::string& path,
                 const std::string& text) {
    Message* message = &out_.config;
    for (std::size_t i = 0; i + 1 < option.fields.size(); ++i) {
      message = message->GetReflection()->MutableMessage(message, option.fields[i]);
    }
    const FieldDescriptor& field = *option.fields.back();
    if (const std::optional<std::string> problem = SetScalar(*message, field, text, false)) {
      Report(place, path + ": " + *problem);
      return;
    }
    findings_.SetPlace(path, place);
  }

  void ReadEnvironment() {
    const std::vector<ScalarOption> scalars = ScalarOptions();
    for (const auto& [name, value] : options_.environment) {
      if (!name.starts_with(kEnvironmentPrefix)) {
        continue;
      }
      bool known = false;
      for (const ScalarOption& option : scalars) {
        const std::string option_name = EnvironmentName(option.path);
        if (!option.fields.back()->is_map() && name == option_name) {
          SetOption(option, {name, 0, 0}, option.path, value);
          known = true;
        } else if (option.path == "log.kafka" && name.starts_with(option_name + "_")) {
          // librdkafka's names have no underscore of their own.
          std::string setting = name.substr(option_name.size() + 1);
          for (char& c : setting) {
            c = c == '_' ? '.' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
          }
          if (!yaml::IsUtf8(setting) || !yaml::IsUtf8(value)) {
            Report({name, 0, 0}, "log.kafka: not UTF-8");
          }
          known = true;
          const SecretKafkaSetting* secret = FindSecretKafkaSetting(setting);
          if (secret != nullptr && !secret->file_setting.empty()) {
            Report({name, 0, 0},
                   "log.kafka." + setting + ": is read from a file; set " +
                       EnvironmentName("log.kafka." + std::string(secret->file_setting)) +
                       " to its name");
            continue;
          }
          (*out_.config.mutable_log()->mutable_kafka())[setting] = value;
          findings_.SetPlace("log.kafka." + setting, {name, 0, 0});
        }
      }
      if (!known) {
        out_.warnings.push_back(name + ": names no option");
      }
    }
  }

  void ReadFlags() {
    const std::vector<ScalarOption> scalars = ScalarOptions();
    for (const Override& flag : options_.flags) {
      const std::string name = flag.name.empty() ? flag.path : flag.name;
      const auto option = std::find_if(scalars.begin(), scalars.end(), [&](const auto& candidate) {
        return candidate.path == flag.path && !candidate.fields.back()->is_map();
      });
      if (option == scalars.end()) {
        std::vector<std::string> known;
        for (const ScalarOption& scalar : scalars) {
          known.push_back(scalar.path);
        }
        ReportUnknown({name, 0, 0}, flag.path, flag.path, known);
        continue;
      }
      SetOption(*option, {name, 0, 0}, flag.path, flag.value);
    }
  }

  const LoadOptions& options_;
  Loaded& out_;
  Findings findings_;
};

}  // namespace

std::string Format(const Problem& problem) {
  std::string text = problem.file;
  if (problem.line > 0) {
    text += ":" + std::to_string(problem.line) + ":" + std::to_string(problem.column);
  }
  return text + ": error: " + problem.message;
}

Loaded LoadText(std::string_view text, const std::string& file, const LoadOptions& options) {
  Loaded loaded;
  Reader(file, options, loaded).Read(text);
  return loaded;
}

std::vector<Problem> Check(const std::string& origin, const LoadOptions& options,
                           v1::ConfigFile& config) {
  std::vector<Problem> problems;
  Findings findings(origin, problems);
  CheckFields(config, findings);
  CheckTogether(options, config, findings);
  return problems;
}

Loaded Load(const std::string& file, const LoadOptions& options) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  std::error_code error;
  if (!stream || std::filesystem::is_directory(file, error) || !(text << stream.rdbuf()).good()) {
    // An empty file sets failbit: nothing was copied.
    if (stream.is_open() && !std::filesystem::is_directory(file, error) && text.str().empty()) {
      return LoadText("", file, options);
    }
    Loaded loaded;
    loaded.problems.push_back({file, 0, 0, "the file cannot be read"});
    return loaded;
  }
  return LoadText(text.str(), file, options);
}

std::vector<std::pair<std::string, std::string>> ProcessEnvironment() {
  std::vector<std::pair<std::string, std::string>> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) {
      environment.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return environment;
}

}  // namespace tributary::config
