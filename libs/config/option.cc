#include "libs/config/option.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <limits>

#include <google/protobuf/duration.pb.h>
#include <re2/re2.h>

#include "libs/config/quantities.h"
#include "libs/nearest/nearest.h"
#include "libs/time/rfc3339.h"
#include "libs/yaml/load.h"

namespace tributary::config {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == google::protobuf::Duration::descriptor();
}

namespace {

bool IsSize(const FieldDescriptor& field) {
  return field.name().find("bytes") != std::string::npos;
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

}  // namespace

bool IsScalar(const FieldDescriptor& field) {
  return !field.is_repeated() &&
         (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || IsDuration(field));
}

const v1::OptionRules& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::accepts);
}

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
    return shown + " is not known: must be one of " + Join(known, ", ") + DidYouMean(text, known);
  }
  if (rules.is_time() && !text.empty()) {
    const std::optional<WallTime> time = ParseDateOrTime(text);
    if (!time || *time < WallTime()) {
      return "expected a date such as 2027-01-31 (its midnight in UTC) or a time with its zone, "
             "such as 2027-01-31T12:00:00Z";
    }
  }
  if (!rules.pattern().empty() && !RE2::FullMatch(text, rules.pattern())) {
    return shown + " must match " + rules.pattern();
  }
  if (!yaml::IsUtf8(text)) return "not UTF-8";
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

std::vector<ScalarOption> ScalarOptions() {
  std::vector<ScalarOption> options;
  CollectScalars(*v1::ConfigFile::descriptor(), {}, options);
  return options;
}

std::string EnvironmentName(std::string_view path) {
  std::string name(kEnvironmentPrefix);
  for (const char c : path) {
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

}  // namespace tributary::config
