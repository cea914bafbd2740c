#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/stubs/logging.h"

#include "libs/changes/change_view.h"
#include "libs/eventlog/local_store.h"
#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "libs/tenants/directory.h"
#include "services/extractor/mirror.h"
#include "services/loader/heads.h"
#include "services/loader/index_rows.h"
#include "services/transformer/stage.h"
#include "tests/fuzz/invariant.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/log.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"

// Records of tables, as they are folded and indexed. Input: a byte for the topic, then records: a
// byte each for what it is, its key, its token and the size of its value, and the value. A copy
// that is closed and opened in between holds the same as one that is not; every index row is what
// its entry says; what a walk over the bytes finds in them is what their message holds.

namespace tributary {
namespace {

using eventlog::Table;
using eventlog::TableEntry;
using eventlog::Token;
using eventlog::Topic;
using fuzz::Require;

constexpr Topic kTopics[] = {Topic::kRecords, Topic::kCommands, Topic::kChanges, Topic::kTenants};

Table::Indexer IndexerOf(Topic topic) {
  switch (topic) {
    case Topic::kRecords:
      return loader::IndexRecord;
    case Topic::kCommands:
      return loader::IndexCommand;
    case Topic::kChanges:
      return transformer::IndexChange;
    default:
      return {};
  }
}

std::string KeyOf(fuzz::Choices& choices) {
  static const std::vector<std::string> kKeys = {
      ids::StateKey("acme", "crm", "client", "customers", "1"),
      ids::StateKey("acme", "crm", "client", "customers", "a/b"),
      ids::ActionKey("acme", "crm", std::string(32, 'a')),
      ids::MappedKey("acme", "crm"),
      ids::ChangeKey("acme", "billing", "customers", "1"),
      ids::ChangeKey("acme", "billing", "subscriptions", "2"),
      "acme",
      ids::BlobKey(std::string(64, '0')),
  };
  const std::size_t which = choices.Below(kKeys.size() + 2);
  if (which < kKeys.size()) return kKeys[which];
  return std::string(choices.TakeToNul());
}

eventlog::Record NextRecord(fuzz::Choices& choices, Topic topic, eventlog::Offset offset,
                            std::optional<Token>& fence) {
  eventlog::Record record;
  record.topic = topic;
  record.offset = offset;
  const std::size_t kind = choices.Below(8);
  if (kind == 0) {
    v1::Founding founding;
    founding.set_generation(5);
    record.key = "!g";
    record.value = founding.SerializeAsString();
    return record;
  }
  if (kind == 1) {
    v1::Fence written;
    written.set_generation(5);
    record.key = "!f/" + std::to_string(choices.Below(3));
    record.value = written.SerializeAsString();
    fence = Token{5, offset};
    return record;
  }
  if (kind == 2) {
    record.key = "!r/" + eventlog::FormatToken(fence.value_or(Token{}));
    record.value = "";
    return record;
  }
  record.key = KeyOf(choices);
  const std::size_t token = choices.Below(4);
  if (token == 0) {
    record.headers.emplace_back(eventlog::kTokenHeader, choices.TakeToNul());
  } else if (token != 1) {
    record.headers.emplace_back(
        eventlog::kTokenHeader,
        eventlog::FormatToken(token == 2 ? fence.value_or(Token{}) : Token{5, 0}));
  }
  if (kind != 3) record.value = std::string(choices.Take(choices.Byte()));
  return record;
}

struct Content {
  std::map<std::string, std::string> entries;
  std::set<std::string> index;
  std::set<std::string> void_keys;
  std::optional<Token> fence;
  std::optional<std::int64_t> generation;
  bool released = false;
  eventlog::Offset next = 0;
  friend bool operator==(const Content&, const Content&) = default;
};

Content ContentOf(const Table& table) {
  Content content;
  table.Scan("", "", [&](std::string_view key, const TableEntry& entry) {
    content.entries.emplace(key, eventlog::FormatToken(entry.token) + "@" +
                                     std::to_string(entry.offset) +
                                     (entry.is_void ? " void " : " ") + entry.value);
    return true;
  });
  table.ScanIndex("", [&](std::string_view row, std::string_view key) {
    content.index.insert(std::string(row) + "|" + std::string(key));
    return true;
  });
  content.void_keys.insert(table.void_keys().begin(), table.void_keys().end());
  content.fence = table.newest_fence();
  content.generation = table.generation();
  content.released = content.fence && table.released(*content.fence);
  content.next = table.next_offset();
  return content;
}

void CheckIndex(const Table& table, const Table::Indexer& indexer, const Content& content) {
  std::set<std::string> expected;
  table.Scan("", "", [&](std::string_view key, const TableEntry& entry) {
    const std::optional<TableEntry> got = table.Get(key);
    Require(got && got->value == entry.value && got->is_void == entry.is_void,
            "a scan shows what is found by key");
    if (!indexer) return true;
    for (const std::string& row : indexer(key, entry)) {
      expected.insert(row + "|" + std::string(key));
    }
    return true;
  });
  Require(expected == content.index, "the index is what the entries say");
}

/// Where the message can be read, the walk over its bytes finds what it holds.
void CheckWalks(std::string_view key, const TableEntry& entry) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  v1::RecordEntry record;
  if (parts && record.ParseFromString(entry.value) && !entry.is_void) {
    std::set<std::string> expected;
    if (parts->kind == ids::CommandKey::Kind::kState && !record.id().empty()) {
      expected.insert("i/" + ids::EncodePart(parts->tenant) + "/" + ids::EncodePart(parts->object) +
                      "/" + ids::EncodePart(record.id()) + "/");
    }
    const bool has_object = parts->kind != ids::CommandKey::Kind::kMapped;
    if (record.status() == v1::RecordEntry::STATUS_PARKED && has_object) {
      expected.insert("p/" + ids::EncodePart(parts->tenant) + "/");
    }
    const std::vector<std::string> rows = loader::IndexRecord(key, entry);
    Require(std::set<std::string>(rows.begin(), rows.end()) == expected, "rows of a record");
  }
  v1::Command command;
  if (parts && command.ParseFromString(entry.value) && !entry.is_void &&
      parts->kind != ids::CommandKey::Kind::kMapped) {
    const std::vector<std::string> rows = loader::IndexCommand(key, entry);
    Require(rows.size() == (command.customer().empty() ? 0U : 1U), "rows of a command");
  }
  v1::RecordEntry any_record;
  const std::optional<loader::RecordHead> record_head = loader::RecordHeadOf(entry.value);
  Require(record_head.has_value() == any_record.ParseFromString(entry.value),
          "the head of a record is refused where the record is");
  Require(!record_head || *record_head == loader::HeadOf(any_record), "the head of a record");
  v1::Command any_command;
  const std::optional<loader::CommandHead> command_head = loader::CommandHeadOf(entry.value);
  Require(command_head.has_value() == any_command.ParseFromString(entry.value),
          "the head of a command is refused where the command is");
  Require(!command_head || *command_head == loader::HeadOf(any_command), "the head of a command");
  v1::Command read;
  if (parts && loader::ParseCommand(parts->kind, entry.value, read)) {
    Require(command.ParseFromString(entry.value), "a command that is taken is a message");
  }
}

std::string TimeOf(const google::protobuf::Timestamp& time) {
  return std::to_string(time.seconds()) + "." + std::to_string(time.nanos());
}
std::string TimeOf(const changes::TimeView& time) {
  return std::to_string(time.seconds) + "." + std::to_string(time.nanos);
}

/// A change that is looked at where it stands says what its message does.
void CheckChange(std::string_view bytes) {
  v1::ChangeEvent change;
  std::string own;
  const std::optional<changes::ChangeView> view = changes::ViewOf(bytes, own);
  Require(view.has_value() == change.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())),
          "a change is refused where its message is");
  if (!view) return;
  const v1::Entity& entity = change.entity();
  const auto same = [](const auto& names, const changes::Names& seen) {
    return std::equal(names.begin(), names.end(), seen.begin(), seen.end());
  };
  const auto same_time = [](bool has, const auto& time, const auto& seen) {
    return has == seen.has_value() && (!has || TimeOf(time) == TimeOf(*seen));
  };
  const v1::ReadSequence& read = entity.read();
  Require(change.has_entity() == view->has_entity && change.first_read() == view->first_read &&
              entity.connection() == view->connection && entity.kind() == view->kind &&
              entity.id() == view->id && entity.gone() == view->gone &&
              entity.document_hash() == view->document_hash && entity.document() == view->document,
          "a change, looked at");
  Require(same(entity.customers(), view->customers) &&
              same(entity.former_customers(), view->former_customers),
          "the customers of a change");
  Require(same_time(entity.has_updated_at(), entity.updated_at(), view->updated_at) &&
              same_time(entity.has_read_at(), entity.read_at(), view->read_at) &&
              changes::ReadView{read.reader().generation(), read.reader().offset(),
                                read.number()} == view->read,
          "the times of a change");
}

void CheckTenants(const Table& table) {
  int undecodable = 0;
  tenants::Directory directory(
      [&](eventlog::Partition, std::string_view, const TableEntry&) { ++undecodable; });
  directory.Load(0, table);
  int wrong = 0;
  table.Scan("", "", [&](std::string_view key, const TableEntry& entry) {
    if (!entry.is_void && !loader::IsTenantsEntry(key, entry.value)) ++wrong;
    return true;
  });
  Require(wrong == undecodable, "what is no tenant is told, once");
  directory.ForEach([](const tenants::TenantState& tenant) {
    Require(!tenant.snapshot.tenant().empty(), "a tenant has a name");
  });
}

void CheckKeys(std::string_view text) {
  Require(ids::DecodePart(ids::EncodePart(text)) == text, "any part can be in a key");
  if (const auto parts = ids::SplitKey(text)) {
    std::string joined;
    for (const std::string& part : *parts) {
      joined += (joined.empty() && &part == &parts->front() ? "" : "/") + ids::EncodePart(part);
    }
    Require(joined == text, "a key that is taken apart can be put together");
  }
  if (const auto token = eventlog::ParseToken(text)) {
    Require(eventlog::ParseToken(eventlog::FormatToken(*token)) == token, "a token is read back");
  }
}

void Check(std::string_view input) {
  // It writes a line for each text that is no UTF-8.
  static google::protobuf::LogHandler* const log = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(log);
  CheckKeys(input.substr(0, 64));
  fuzz::Choices choices(input);
  const Topic topic = kTopics[choices.Below(std::size(kTopics))];
  Table::Options options;
  options.topic = topic;
  options.indexer = IndexerOf(topic);
  options.persists_when_told = true;
  const auto whole_disk = eventlog::MakeMemoryStores();
  const auto cut_disk = eventlog::MakeMemoryStores();
  Table whole(options, *whole_disk->Open(topic, 0));
  auto cut = std::make_unique<Table>(options, *cut_disk->Open(topic, 0));
  extractor::Mirror mirror(whole);

  std::optional<Token> fence;
  for (eventlog::Offset offset = 0; !choices.rest().empty() && offset < 64; ++offset) {
    const eventlog::Record record = NextRecord(choices, topic, offset, fence);
    const std::optional<TableEntry> entry = whole.Apply(record);
    cut->Apply(record);
    if (entry) CheckWalks(record.key, *entry);
    if (entry) CheckChange(entry->value);
    if (topic == Topic::kChanges && !record.key.starts_with('!')) {
      const bool is_readable = mirror.OnReadBack(record.key, entry);
      const bool is_told = entry && !extractor::IndexUndecodable(record.key, *entry).empty();
      Require(is_readable || is_told, "what cannot be decoded is told");
      mirror.Find(record.key);
      mirror.is_unknown(record.key);
    }
    if (offset % 5 == 4) {
      Require(cut->Persist().ok(), "a copy is written");
      cut.reset();
      cut = std::make_unique<Table>(options, *cut_disk->Open(topic, 0));
    }
  }
  const Content content = ContentOf(whole);
  Require(content == ContentOf(*cut), "a copy that was closed in between holds the same");
  CheckIndex(whole, options.indexer, content);
  if (topic == Topic::kTenants) CheckTenants(whole);
}

}  // namespace
}  // namespace tributary

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}
