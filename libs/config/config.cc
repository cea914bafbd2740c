#include "libs/config/config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/message.h>
#include <re2/re2.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "libs/config/nearest.h"

namespace tributary::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::size_t kFileBytesMax = 8 << 20;
constexpr std::size_t kProblemsMax = 200;
constexpr std::string_view kPrefix = "TRIBUTARY_";

// Settings of librdkafka that we own: the guarantees rest on them, or an option of ours says them.
constexpr std::array<std::string_view, 16> kOwnKafkaSettings = {
    "acks",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id"};

struct Place {
  std::string file;
  int line = 0;
  int column = 0;
};

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == google::protobuf::Duration::descriptor();
}

bool IsSize(const FieldDescriptor& field) {
  return field.name().find("bytes") != std::string::npos;
}

bool IsScalar(const FieldDescriptor& field) {
  return !field.is_repeated() &&
         (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || IsDuration(field));
}

const v1::OptionRules& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::accepts);
}

// What a person may write for it.
std::string Expected(const FieldDescriptor& field) {
  if (field.is_map()) {
    return "a map";
  }
  if (field.is_repeated()) {
    return "a list";
  }
  if (IsDuration(field)) {
    return "a duration such as 90s, 5m or 2h";
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return IsSize(field) ? "a size such as 64KiB or 16MiB" : "a whole number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "a map";
    default:
      return "a text";
  }
}

std::string Quoted(std::string_view text) {
  std::string quoted = "`";
  for (const char c : text.substr(0, 80)) {
    quoted += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return quoted + (text.size() > 80 ? "…`" : "`");
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string joined;
  for (const std::string& part : parts) {
    if (!joined.empty()) {
      joined += separator;
    }
    joined += part;
  }
  return joined;
}

// A quantity in its own unit, for comparing with bounds. None: malformed.
std::optional<std::int64_t> Quantity(const FieldDescriptor& field, std::string_view text) {
  if (IsDuration(field)) {
    const std::optional<Duration> duration = ParseDuration(text);
    return duration ? std::optional(duration->count()) : std::nullopt;
  }
  std::optional<std::int64_t> number;
  if (IsSize(field)) {
    number = ParseSize(text);
  } else {
    std::int64_t parsed = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
    if (!text.empty() && error == std::errc() && end == text.data() + text.size()) {
      number = parsed;
    }
  }
  if (number && field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 &&
      (*number > std::numeric_limits<std::int32_t>::max() ||
       *number < std::numeric_limits<std::int32_t>::min())) {
    return std::nullopt;
  }
  return number;
}

// Sets the field from its text, or says why not (after the path).
std::optional<std::string> SetScalar(Message& message, const FieldDescriptor& field,
                                     const std::string& text, bool is_secret_reference) {
  const v1::OptionRules& rules = RulesOf(field);
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const std::string shown = is_secret_reference ? "what is given" : Quoted(text);

  if (IsDuration(field) || field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
      field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    const std::optional<std::int64_t> value = Quantity(field, text);
    if (!value) {
      return "expected " + Expected(field) + ", found " + shown;
    }
    const std::optional<std::int64_t> min =
        rules.min().empty() ? std::nullopt : Quantity(field, rules.min());
    const std::optional<std::int64_t> max =
        rules.max().empty() ? std::nullopt : Quantity(field, rules.max());
    if ((min && *value < *min) || (max && *value > *max)) {
      return shown + " is out of bounds: must be " +
             (min && max ? "between " + rules.min() + " and " + rules.max()
              : min      ? "at least " + rules.min()
                         : "at most " + rules.max());
    }
    if (IsDuration(field)) {
      reflection.MutableMessage(&message, &field)->CopyFrom(ToProto(Duration(*value)));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
      reflection.SetInt32(&message, &field, static_cast<std::int32_t>(*value));
    } else {
      reflection.SetInt64(&message, &field, *value);
    }
    return std::nullopt;
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    // Nothing else: `no`, `off` and `n` mean different things to different readers of YAML.
    if (text != "true" && text != "false") {
      return "expected true or false, found " + shown;
    }
    reflection.SetBool(&message, &field, text == "true");
    return std::nullopt;
  }
  if (rules.one_of_size() > 0 &&
      std::find(rules.one_of().begin(), rules.one_of().end(), text) == rules.one_of().end()) {
    const std::vector<std::string> known(rules.one_of().begin(), rules.one_of().end());
    const std::string nearest = Nearest(text, known);
    return shown + " is not known: must be one of " + Join(known, ", ") +
           (nearest.empty() ? "" : "; did you mean " + Quoted(nearest) + "?");
  }
  if (!rules.pattern().empty() && !RE2::FullMatch(text, rules.pattern())) {
    return shown + " must match " + rules.pattern();
  }
  reflection.SetString(&message, &field, text);
  return std::nullopt;
}

void ApplyDefaults(Message& message) {
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated()) {
      continue;
    }
    if (!IsScalar(field)) {
      ApplyDefaults(*message.GetReflection()->MutableMessage(&message, &field));
    } else if (!RulesOf(field).default_().empty()) {
      // A default that its own rules refuse is a mistake in the schema; config_test finds it.
      SetScalar(message, field, RulesOf(field).default_(), false);
    }
  }
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    names.push_back(type.field(i)->name());
  }
  return names;
}

// An option that is one value at one path: what the environment and flags can set.
struct ScalarOption {
  std::string path;
  std::vector<const FieldDescriptor*> fields;
};

void CollectScalars(const Descriptor& type, const ScalarOption& parent,
                    std::vector<ScalarOption>& options) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (field->is_repeated() && !field->is_map()) {
      continue;
    }
    ScalarOption option = parent;
    option.path += (option.path.empty() ? "" : ".") + field->name();
    option.fields.push_back(field);
    if (IsScalar(*field) || field->is_map()) {
      options.push_back(option);
    } else {
      CollectScalars(*field->message_type(), option, options);
    }
  }
}

std::string EnvironmentName(std::string_view path) {
  std::string name(kPrefix);
  for (const char c : path) {
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

bool IsLoopback(std::string_view host) {
  static const RE2 pattern(R"(127(\.[0-9]{1,3}){3}|localhost|\[::1\])");
  return RE2::FullMatch(re2::StringPiece(host.data(), host.size()), pattern);
}

bool LooksLikeSecret(std::string_view name) {
  static const RE2 pattern("(?i).*(password|passwd|secret|token|api_?key|private_?key|bearer).*");
  return RE2::FullMatch(re2::StringPiece(name.data(), name.size()), pattern);
}

bool IsSecretKafkaSetting(std::string_view name) {
  return name == "sasl.password" || name == "ssl.key.pem" || name == "ssl.key.password" ||
         name == "ssl.keystore.password" || name == "sasl.oauthbearer.client.secret" ||
         name == "sasl.oauthbearer.config";
}

class Reader {
 public:
  Reader(std::string file, const LoadOptions& options, Loaded& out)
      : file_(std::move(file)), options_(options), out_(out) {}

  void Read(std::string_view text) {
    ApplyDefaults(out_.config);
    ReadFile(text);
    ReadEnvironment();
    ReadFlags();
    CheckTogether();
    std::stable_sort(out_.problems.begin(), out_.problems.end(),
                     [](const Problem& a, const Problem& b) {
                       // Places in the file first, then environment and flags as they came.
                       return std::tuple(a.line == 0, a.line, a.column) <
                              std::tuple(b.line == 0, b.line, b.column);
                     });
  }

  void Check() {
    CheckFields(out_.config, "");
    CheckTogether();
  }

 private:
  void CheckTogether() {
    CheckKafka();
    CheckTimes();
    CheckTenants();
  }

  // Sets every scalar to what it is already, which its rules may refuse.
  void CheckFields(Message& message, const std::string& path) {
    const Descriptor& type = *message.GetDescriptor();
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const std::string child = path.empty() ? field.name() : path + "." + field.name();
      if (field.is_map()) {
        CheckMap(message, field, child);
      } else if (field.is_repeated()) {
        for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
          CheckFields(*reflection.MutableRepeatedMessage(&message, &field, j),
                      child + "[" + std::to_string(j) + "]");
        }
      } else if (!IsScalar(field)) {
        if (reflection.HasField(message, &field)) {
          CheckFields(*reflection.MutableMessage(&message, &field), child);
        }
      } else {
        CheckField(message, field, child);
      }
    }
  }

  void CheckMap(Message& message, const FieldDescriptor& field, const std::string& path) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (field.message_type()->FindFieldByName("value")->message_type() == nullptr) {
      return;
    }
    for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
      Message& entry = *reflection.MutableRepeatedMessage(&message, &field, j);
      const std::string name =
          entry.GetReflection()->GetString(entry, entry.GetDescriptor()->FindFieldByName("key"));
      CheckFields(*entry.GetReflection()->MutableMessage(
                      &entry, entry.GetDescriptor()->FindFieldByName("value")),
                  path + "." + name);
    }
  }

  void CheckField(Message& message, const FieldDescriptor& field, const std::string& path) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    std::string text;
    if (IsDuration(field)) {
      if (!reflection.HasField(message, &field)) {
        return;
      }
      google::protobuf::Duration duration;
      duration.CopyFrom(reflection.GetMessage(message, &field));
      text = FormatDuration(FromProto(duration));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      text = reflection.GetString(message, &field);
      if (text.empty()) {
        if (RulesOf(field).required()) {
          Report({file_, 0, 0}, path + ": must be set");
        }
        return;
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
      text = std::to_string(reflection.GetInt32(message, &field));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      text = std::to_string(reflection.GetInt64(message, &field));
    } else {
      return;
    }
    if (const std::optional<std::string> problem = SetScalar(
            message, field, text, message.GetDescriptor() == v1::SecretReference::descriptor())) {
      Report({file_, 0, 0}, path + ": " + *problem);
    }
  }

  void Report(const Place& place, std::string message) {
    if (out_.problems.size() < kProblemsMax) {
      out_.problems.push_back({place.file, place.line, place.column, std::move(message)});
    }
  }

  Place PlaceOf(const YAML::Node& node) const {
    const YAML::Mark mark = node.Mark();
    return mark.is_null() ? Place{file_, 1, 1} : Place{file_, mark.line + 1, mark.column + 1};
  }

  // Where the option was set, or the nearest enclosing thing that has a place.
  Place PlaceOf(std::string path) const {
    while (true) {
      const auto found = places_.find(path);
      if (found != places_.end()) {
        return found->second;
      }
      const std::size_t cut = path.find_last_of(".[");
      if (cut == std::string::npos) {
        return {file_, 0, 0};
      }
      path.resize(cut);
    }
  }

  void ReadFile(std::string_view text) {
    if (text.size() > kFileBytesMax) {
      Report({file_, 0, 0}, "the file is larger than 8 MiB");
      return;
    }
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(std::string(text));
    } catch (const YAML::Exception& e) {
      Report(
          {file_, e.mark.is_null() ? 0 : e.mark.line + 1, e.mark.is_null() ? 0 : e.mark.column + 1},
          "not YAML: " + e.msg);
      return;
    }
    if (documents.empty() || documents[0].IsNull()) {
      return;
    }
    if (documents.size() > 1) {
      Report(PlaceOf(documents[1]), "one document is expected, and another begins here");
      return;
    }
    ReadMessage(documents[0], out_.config, "");
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
      if (!seen.insert(name).second) {
        Report(place, child + ": set twice");
        continue;
      }
      const FieldDescriptor* field = type.FindFieldByName(name);
      if (field == nullptr) {
        ReportUnknown(place, child, name, FieldNames(type));
        continue;
      }
      places_[child] = PlaceOf(item.second);
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
    const std::string nearest = Nearest(name, known);
    Report(place, path + ": not known; " +
                      (nearest.empty() ? "known here: " + Join(known, ", ")
                                       : "did you mean " + Quoted(nearest) + "?"));
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
        places_[child] = PlaceOf(item);
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
    const std::string text = node.Scalar();
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
      resolved = std::filesystem::path(file_).parent_path() / resolved;
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
    std::set<std::string> seen;
    for (const auto& item : node) {
      const Place place = PlaceOf(item.first);
      if (!item.first.IsScalar() || item.first.Scalar().empty()) {
        Report(place, path + ": a name is expected here");
        continue;
      }
      const std::string name = item.first.Scalar();
      const std::string child = path + "." + name;
      if (!seen.insert(name).second) {
        Report(place, child + ": set twice");
        continue;
      }
      places_[child] = PlaceOf(item.second);
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
      if ((path == "log.kafka" && IsSecretKafkaSetting(name))) {
        Report(place, child +
                          ": a secret is never written into a file; set the environment "
                          "variable " +
                          EnvironmentName(child) + ", or `" + name + ".file: FILE`");
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
    places_[path] = place;
  }

  void ReadEnvironment() {
    std::vector<ScalarOption> scalars;
    CollectScalars(*v1::ConfigFile::descriptor(), {}, scalars);
    for (const auto& [name, value] : options_.environment) {
      if (!name.starts_with(kPrefix)) {
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
          (*out_.config.mutable_log()->mutable_kafka())[setting] = value;
          places_["log.kafka." + setting] = {name, 0, 0};
          known = true;
        }
      }
      if (!known) {
        out_.warnings.push_back(name + ": names no option");
      }
    }
  }

  void ReadFlags() {
    std::vector<ScalarOption> scalars;
    CollectScalars(*v1::ConfigFile::descriptor(), {}, scalars);
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

  void CheckKafka() {
    // Sorted, because a protobuf map has no order of its own.
    std::set<std::string> names;
    for (const auto& [name, value] : out_.config.log().kafka()) {
      names.insert(name);
    }
    for (const std::string& name : names) {
      if (std::find(kOwnKafkaSettings.begin(), kOwnKafkaSettings.end(), name) !=
          kOwnKafkaSettings.end()) {
        Report(PlaceOf("log.kafka." + name),
               "log.kafka." + name + ": is set by Tributary itself; delete it here");
      }
    }
  }

  void CheckTimes() {
    const v1::LoaderConfig& loader = out_.config.loader();
    if (FromProto(loader.retry_delay_min()) > FromProto(loader.retry_delay_max())) {
      Report(PlaceOf("loader.retry_delay_min"),
             "loader.retry_delay_min: must not be above loader.retry_delay_max, which is " +
                 FormatDuration(FromProto(loader.retry_delay_max())));
    }
  }

  template <typename Items>
  void CheckNames(const Items& items, const std::string& path, const std::string& what) {
    std::map<std::string, int> first;
    for (int i = 0; i < items.size(); ++i) {
      if (items[i].name().empty()) {
        continue;
      }
      const auto [found, is_new] = first.emplace(items[i].name(), i);
      if (!is_new) {
        const std::string place = path + "[" + std::to_string(i) + "].name";
        const Place earlier = PlaceOf(path + "[" + std::to_string(found->second) + "].name");
        Report(PlaceOf(place), place + ": there is already a " + what + " " +
                                   Quoted(items[i].name()) + ", in line " +
                                   std::to_string(earlier.line));
      }
    }
  }

  void CheckTenants() {
    CheckNames(out_.config.tenants(), "tenants", "tenant");
    for (int i = 0; i < out_.config.tenants_size(); ++i) {
      v1::TenantConfig& tenant = *out_.config.mutable_tenants(i);
      const std::string path = "tenants[" + std::to_string(i) + "]";
      CheckNames(tenant.connections(), path + ".connections", "connection");
      CheckNames(tenant.syncs(), path + ".syncs", "sync");
      for (int j = 0; j < tenant.connections_size(); ++j) {
        CheckConnection(*tenant.mutable_connections(j),
                        path + ".connections[" + std::to_string(j) + "]");
      }
      for (int j = 0; j < tenant.syncs_size(); ++j) {
        CheckSync(tenant, tenant.syncs(j), path + ".syncs[" + std::to_string(j) + "]");
      }
    }
  }

  void CheckConnection(v1::ConnectionConfig& connection, const std::string& path) {
    const std::string& integration = connection.integration();
    if (!integration.empty() &&
        std::find(options_.integrations.begin(), options_.integrations.end(), integration) ==
            options_.integrations.end()) {
      const std::string nearest = Nearest(integration, options_.integrations);
      Report(PlaceOf(path + ".integration"),
             path + ".integration: there is no integration " + Quoted(integration) + "; " +
                 (nearest.empty() ? "there are " + Join(options_.integrations, ", ")
                                  : "did you mean " + Quoted(nearest) + "?"));
    }
    CheckUrl(connection, path);
    if (integration == "rest" && connection.connector_file().empty()) {
      Report(PlaceOf(path), path + ".connector_file: must be set for the integration `rest`");
    }
    std::map<std::string, const v1::SecretReference*> references;
    for (const auto& [name, reference] : connection.credentials()) {
      references[name] = &reference;
    }
    for (const auto& [name, reference] : references) {
      const std::string place = path + ".credentials." + name;
      // Where there is a problem already, another one about the same thing helps nobody.
      const bool reported =
          std::any_of(out_.problems.begin(), out_.problems.end(),
                      [&](const Problem& problem) { return problem.message.starts_with(place); });
      if (reference->key_file().empty() == reference->env().empty() && !reported) {
        Report(PlaceOf(place), place + ": must have one of `key_file` and `env`");
      }
    }
    std::set<std::string> settings;
    for (const auto& [name, value] : connection.settings()) {
      settings.insert(name);
    }
    for (const std::string& name : settings) {
      if (LooksLikeSecret(name)) {
        const std::string place = path + ".settings." + name;
        Report(PlaceOf(place), place +
                                   ": looks like a secret; put it under `credentials` with "
                                   "`key_file:` or `env:`");
      }
    }
  }

  void CheckUrl(v1::ConnectionConfig& connection, const std::string& path) {
    const std::string place = path + ".url";
    if (connection.url().empty()) {
      if (connection.integration() == "chargify") {
        Report(PlaceOf(path), place + ": must be set, e.g. https://SITE.chargify.com");
      }
      return;
    }
    static const RE2 pattern(R"((https?)://([^/?#]*)([^?#]*))");
    std::string scheme;
    std::string authority;
    std::string rest;
    if (!RE2::FullMatch(connection.url(), pattern, &scheme, &authority, &rest)) {
      Report(PlaceOf(place), place + ": expected https://HOST[:PORT][/PATH], without query");
      return;
    }
    if (authority.find('@') != std::string::npos) {
      Report(PlaceOf(place), place +
                                 ": must not hold a user or password; put them under "
                                 "`credentials` with `key_file:` or `env:`");
      return;
    }
    static const RE2 authority_pattern(R"(([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?)");
    std::string host;
    std::string port;
    if (!RE2::FullMatch(authority, authority_pattern, &host, &port) ||
        (!port.empty() && (std::stoi(port) < 1 || std::stoi(port) > 65535))) {
      Report(PlaceOf(place), place + ": " + Quoted(authority) + " is no HOST[:PORT]");
      return;
    }
    if (scheme == "http" && !IsLoopback(host)) {
      Report(PlaceOf(place), place +
                                 ": must be https; plain http goes to this machine only "
                                 "(127.0.0.1, [::1], localhost)");
    } else if (scheme == "http" && !connection.allow_insecure_loopback()) {
      Report(PlaceOf(place), place +
                                 ": must be https; for plain http to this machine add "
                                 "`allow_insecure_loopback: true`");
    }
    std::string& url = *connection.mutable_url();
    while (url.ends_with('/')) {
      url.pop_back();
    }
  }

  void CheckSync(const v1::TenantConfig& tenant, const v1::SyncConfig& sync,
                 const std::string& path) {
    std::vector<std::string> names;
    const auto find = [&](const std::string& name) -> const v1::ConnectionConfig* {
      for (const v1::ConnectionConfig& connection : tenant.connections()) {
        if (connection.name() == name) {
          return &connection;
        }
      }
      return nullptr;
    };
    for (const v1::ConnectionConfig& connection : tenant.connections()) {
      names.push_back(connection.name());
    }
    const auto check = [&](const std::string& end, const std::string& name) {
      if (name.empty() || find(name) != nullptr) {
        return;
      }
      const std::string nearest = Nearest(name, names);
      Report(PlaceOf(path + "." + end),
             path + "." + end + ": there is no connection " + Quoted(name) + " in this tenant" +
                 (nearest.empty() ? (names.empty() ? "" : "; there are " + Join(names, ", "))
                                  : "; did you mean " + Quoted(nearest) + "?"));
    };
    check("source", sync.source());
    check("target", sync.target());
    const v1::ConnectionConfig* source = find(sync.source());
    const v1::ConnectionConfig* target = find(sync.target());
    if (source != nullptr && source->integration() != "chargify" &&
        !source->integration().empty()) {
      Report(PlaceOf(path + ".source"), path + ".source: must be a `chargify` connection, and " +
                                            Quoted(source->name()) + " is `" +
                                            source->integration() + "`");
    }
    if (target != nullptr && target->integration() == "chargify") {
      Report(PlaceOf(path + ".target"),
             path + ".target: must be a CRM, and " + Quoted(target->name()) + " is `chargify`");
    }
  }

  const std::string file_;
  const LoadOptions& options_;
  Loaded& out_;
  // Where options were set, by path.
  std::map<std::string, Place> places_;
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
  Loaded loaded;
  loaded.config.Swap(&config);
  Reader(origin, options, loaded).Check();
  config.Swap(&loaded.config);
  return std::move(loaded.problems);
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

absl::StatusOr<std::string> ReadSecret(const v1::SecretReference& reference) {
  std::string secret;
  std::string source;
  if (!reference.env().empty()) {
    source = "environment variable " + reference.env();
    // Read before threads start.
    const char* value = std::getenv(reference.env().c_str());  // NOLINT(concurrency-mt-unsafe)
    if (value == nullptr) {
      return absl::NotFoundError(source + " is not set");
    }
    secret = value;
  } else {
    source = "key file " + reference.key_file();
    struct stat status = {};
    if (stat(reference.key_file().c_str(), &status) != 0) {
      return absl::NotFoundError(source + " does not exist");
    }
    if ((status.st_mode & S_IRWXO) != 0) {
      return absl::FailedPreconditionError(source + " is open to everybody; run: chmod o-rwx " +
                                           reference.key_file());
    }
    std::ifstream stream(reference.key_file(), std::ios::binary);
    std::ostringstream text;
    if (!stream) {
      return absl::NotFoundError(source + " cannot be read");
    }
    text << stream.rdbuf();
    secret = text.str();
  }
  if (secret.ends_with('\n')) {
    secret.pop_back();
    if (secret.ends_with('\r')) {
      secret.pop_back();
    }
  }
  if (secret.empty()) {
    return absl::NotFoundError(source + " is empty");
  }
  return secret;
}

}  // namespace tributary::config
