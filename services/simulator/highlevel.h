#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/json/value.h"
#include "libs/time/time.h"
#include "services/simulator/query.h"
#include "services/simulator/quota.h"
#include "services/simulator/random.h"
#include "services/simulator/stored.h"
#include "services/simulator/world.h"

namespace tributary::simulator {

/// One location of HighLevel with its contacts. Unknown members are refused, tags are lower-cased
/// and replaced by whoever sends them in a contact, the search index comes after.
class HighLevel {
 public:
  struct State {
    /// Members of the contact that are plain values.
    std::map<std::string, json::Value> fields;
    std::vector<std::string> tags;
    /// By id of the field, which here is its key.
    std::map<std::string, json::Value> custom;
    WallTime updated{};
  };
  struct Note {
    std::string id;
    std::string body;
    WallTime added{};
  };
  struct Contact {
    std::string id;
    WallTime added{};
    bool is_deleted = false;
    std::shared_ptr<const State> state;
    /// What the search index knows, and what it will know when. Null pointer: nothing yet.
    std::shared_ptr<const State> indexed;
    std::deque<std::pair<WallTime, std::shared_ptr<const State>>> to_index;
    std::vector<Note> notes;
  };

  /// The fields that people have added to this location.
  static constexpr std::array<std::string_view, 4> kCustomFields = {
      "chargify_customer_id", "chargify_plans", "chargify_states", "chargify_balance"};

  explicit HighLevel(const WorldOptions& options);

  /// `applied` becomes true when something was stored.
  Answer Handle(WallTime now, const Asked& asked, bool* applied);

  const std::string& token() const { return token_; }
  const std::string& location() const { return location_; }
  const std::vector<Contact>& contacts() const { return contacts_; }
  const std::vector<Mark>& marks() const { return marks_; }
  Quota& quota() { return quota_; }
  const Quota& quota() const { return quota_; }
  void WriteRecords(std::string& out) const;
  static Flat Flattened(const State& state);

 private:
  Answer Json(int status, std::string body) const;
  Answer Error(int status, std::string_view message, std::string_view error) const;
  Answer Invalid(const std::vector<std::string>& messages) const;
  Answer Duplicate(const Contact& contact, std::string_view field) const;
  /// Checks the members of a contact; what is wrong, as the vendor words it.
  std::vector<std::string> Problems(const json::Value& body, bool is_update, bool is_upsert) const;
  void Apply(const json::Value& body, bool takes_phone, State& state) const;
  void Store(WallTime now, std::uint32_t index, State state);
  std::uint32_t Add(WallTime now, State state);
  Answer Upsert(WallTime now, const json::Value& body, bool* applied);
  Answer Create(WallTime now, const json::Value& body, bool* applied);
  Answer Update(WallTime now, std::uint32_t index, const json::Value& body, bool* applied);
  Answer Tags(WallTime now, std::uint32_t index, const json::Value& body, bool adds, bool* applied);
  Answer Notes(WallTime now, std::uint32_t index, const Asked& asked, const json::Value& body,
               bool* applied);
  Answer Search(WallTime now, const json::Value& body);
  Answer SearchDuplicate(const Asked& asked) const;
  bool Find(std::string_view id, std::uint32_t* index) const;
  /// Of the contacts that have it now, the oldest but `except`.
  bool FindBy(std::string_view what, const std::string& value, const std::uint32_t* except,
              std::uint32_t* index) const;
  void WriteContact(std::string& out, const Contact& contact, const State& state) const;
  /// Empty: it has no such member, or no text in it.
  static std::string TextOf(const State& state, const std::string& field);
  /// Of by_value_; e-mails compare without case.
  static std::string IndexKey(std::string_view what, std::string_view value);
  std::string NewId();
  void Refresh(WallTime now, Contact& contact) const;

  const WorldOptions options_;
  Random random_;
  std::string token_;
  std::string location_;
  std::vector<Contact> contacts_;
  std::unordered_map<std::string, std::uint32_t> by_id_;
  /// `email:…`, `phone:…`, `custom:KEY:…` → contacts that have or had it.
  std::unordered_map<std::string, std::vector<std::uint32_t>> by_value_;
  Quota quota_;
  std::int64_t requests_ = 0;
  std::vector<Mark> marks_;
};

}  // namespace tributary::simulator
