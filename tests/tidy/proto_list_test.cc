// Formats on topics are for good: proto/fields.txt lists every message, field, number and type.
// With TRIBUTARY_REWRITE_PROTO_LIST=1 in the environment, additions are written into it.

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "tributary/v1/changes.pb.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/log.pb.h"
#include "tributary/v1/portability.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"
#include "tributary/v1/version.pb.h"

namespace tributary {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

const std::string kList = TRIBUTARY_SOURCE_DIR "/proto/fields.txt";

std::string TypeOf(const FieldDescriptor& field) {
  if (field.is_map()) {
    return "map<" + TypeOf(*field.message_type()->map_key()) + ", " +
           TypeOf(*field.message_type()->map_value()) + ">";
  }
  std::string type = field.type_name();
  if (field.type() == FieldDescriptor::TYPE_MESSAGE) type = field.message_type()->full_name();
  if (field.type() == FieldDescriptor::TYPE_ENUM) type = field.enum_type()->full_name();
  return field.is_repeated() ? "repeated " + type : type;
}

void AddEnum(const EnumDescriptor& type, std::set<std::string>& lines) {
  for (int i = 0; i < type.value_count(); ++i) {
    lines.insert("enum " + type.full_name() + " " + std::to_string(type.value(i)->number()) + " " +
                 type.value(i)->name());
  }
}

void AddMessage(const Descriptor& message, std::set<std::string>& lines) {
  if (message.options().map_entry()) return;
  lines.insert("message " + message.full_name());
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const auto* const oneof = field.real_containing_oneof();
    lines.insert("field " + message.full_name() + " " + std::to_string(field.number()) + " " +
                 field.name() + ": " + TypeOf(field) +
                 (oneof == nullptr ? "" : " in oneof " + oneof->name()));
  }
  for (int i = 0; i < message.nested_type_count(); ++i) {
    AddMessage(*message.nested_type(i), lines);
  }
  for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i), lines);
}

std::vector<const FileDescriptor*> Files() {
  return {v1::Version::descriptor()->file(),       v1::Fence::descriptor()->file(),
          v1::ChangeEvent::descriptor()->file(),   v1::Command::descriptor()->file(),
          v1::RecordEntry::descriptor()->file(),   v1::TenantSnapshot::descriptor()->file(),
          v1::ConfigFile::descriptor()->file(),    v1::FromService::descriptor()->file(),
          v1::ExportedTenant::descriptor()->file()};
}

std::set<std::string> Declared() {
  std::set<std::string> lines;
  for (const FileDescriptor* const file : Files()) {
    for (int i = 0; i < file->message_type_count(); ++i) AddMessage(*file->message_type(i), lines);
    for (int i = 0; i < file->enum_type_count(); ++i) AddEnum(*file->enum_type(i), lines);
    for (int i = 0; i < file->service_count(); ++i) {
      const auto& service = *file->service(i);
      for (int n = 0; n < service.method_count(); ++n) {
        const auto& method = *service.method(n);
        lines.insert("rpc " + method.full_name() + "(" +
                     (method.client_streaming() ? "stream " : "") +
                     method.input_type()->full_name() +
                     "): " + (method.server_streaming() ? "stream " : "") +
                     method.output_type()->full_name());
      }
    }
  }
  return lines;
}

std::set<std::string> Committed() {
  std::set<std::string> lines;
  std::ifstream in(kList);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line[0] != '#') lines.insert(line);
  }
  return lines;
}

std::vector<std::string> Without(const std::set<std::string>& all,
                                 const std::set<std::string>& these) {
  std::vector<std::string> rest;
  std::set_difference(all.begin(), all.end(), these.begin(), these.end(), std::back_inserter(rest));
  return rest;
}

TEST(ProtoListTest, NothingWasRemovedRenumberedOrRetyped) {
  EXPECT_THAT(Without(Committed(), Declared()), ::testing::IsEmpty())
      << "records of these kinds are on topics; a field is deprecated, never changed";
}

TEST(ProtoListTest, AdditionsAreListed) {
  const std::set<std::string> declared = Declared();
  if (std::getenv("TRIBUTARY_REWRITE_PROTO_LIST") != nullptr) {
    std::set<std::string> all = Committed();
    all.insert(declared.begin(), declared.end());
    std::ofstream out(kList);
    out << "# Every message, field and number that records and calls are made of. Lines are only\n"
           "# ever added: TRIBUTARY_REWRITE_PROTO_LIST=1 proto_list_test (tests/tidy).\n";
    for (const std::string& line : all) out << line << '\n';
  }
  EXPECT_THAT(Without(declared, Committed()), ::testing::IsEmpty())
      << "run with TRIBUTARY_REWRITE_PROTO_LIST=1 and commit proto/fields.txt";
}

// So that a value that an older program does not know is told from one that was never set.
TEST(ProtoListTest, ZeroIsUnspecifiedInEveryEnum) {
  std::vector<std::string> found;
  for (const std::string& line : Declared()) {
    if (line.rfind("enum ", 0) != 0) continue;
    const std::size_t number = line.find(' ', 5);
    if (line.compare(number, 3, " 0 ") == 0 && !line.ends_with("_UNSPECIFIED")) {
      found.push_back(line);
    }
  }
  EXPECT_THAT(found, ::testing::IsEmpty());
}

}  // namespace
}  // namespace tributary
