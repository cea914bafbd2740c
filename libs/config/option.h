#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "tributary/v1/config.pb.h"

// What one option accepts, by its rules in the schema. Private to this library.

namespace tributary::config {

bool IsDuration(const google::protobuf::FieldDescriptor& field);
/// One value: neither a list nor a map nor a group of options.
bool IsScalar(const google::protobuf::FieldDescriptor& field);
const v1::OptionRules& RulesOf(const google::protobuf::FieldDescriptor& field);
/// What a person may write for it.
std::string Expected(const google::protobuf::FieldDescriptor& field);
std::vector<std::string> FieldNames(const google::protobuf::Descriptor& type);

/// Sets the field from its text, or says why not (after the path). The text of a secret's reference
/// is not repeated.
std::optional<std::string> SetScalar(google::protobuf::Message& message,
                                     const google::protobuf::FieldDescriptor& field,
                                     const std::string& text, bool is_secret_reference);
/// Sets every option below to its default.
void ApplyDefaults(google::protobuf::Message& message);

/// An option that is one value at one path: what the environment and flags can set. Maps are among
/// them, whose entries each are one.
struct ScalarOption {
  std::string path;
  /// From the root to the option itself.
  std::vector<const google::protobuf::FieldDescriptor*> fields;
};
std::vector<ScalarOption> ScalarOptions();

inline constexpr std::string_view kEnvironmentPrefix = "TRIBUTARY_";
/// `log.kind` → `TRIBUTARY_LOG_KIND`
std::string EnvironmentName(std::string_view path);

/// In back-quotes, not too long, without control characters.
std::string Quoted(std::string_view text);
std::string Join(const std::vector<std::string>& parts, std::string_view separator);

}  // namespace tributary::config
